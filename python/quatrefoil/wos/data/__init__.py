"""Boundary values and sources: numbers, Fourier series, sums of Gaussians, polynomials, values at vertices and on grids, functions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..._arguments import array_like, axes, finite, is_number, number, numbers_here, numbers_of, point, points_like, refuse_masked
from ..._typing import AnyArray, ArrayLike

_SMALLEST, _LARGEST = 1e-70, 1e70  # a box's side: as the extent of a polygon


class Fourier:
    """Boundary values that are a Fourier series in the angle around a centre, in two dimensions.

    g = a0 + sum_m a_m cos(m theta) + b_m sin(m theta), theta = atan2(y - center_y, x - center_x).

    Parameters
    ----------
    coefficients : (K,) or (B, K), K odd
        [a0, a1, b1, a2, b2, ...].
    center : two real numbers

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, x = qf.wos.Ball((0, 0), 1), np.array([[0.5, 0.0]])
    >>> u = qf.wos.solve(disc, x, dirichlet=qf.wos.Fourier([0, 1, 0]), walks=10_000, rng=0)  # u = x
    >>> bool(abs(u.value[0] - 0.5) < 5 * u.stderr[0])
    True
    """

    def __init__(self, coefficients: ArrayLike, center: ArrayLike = (0.0, 0.0)) -> None:
        coefficients = array_like(coefficients, "Fourier", "coefficients")
        c = numbers_here(coefficients, "Fourier", "coefficients", graded=True)
        if c.ndim not in (1, 2) or c.shape[-1] % 2 == 0:
            raise ValueError(f"Fourier: coefficients has shape {c.shape}, expected (K,) or (B, K) with K odd: a0, a1, b1, ...")
        finite(c, "Fourier", "coefficients")
        self.coefficients: Any = coefficients
        self.center = point(center, "Fourier", "center")
        if len(self.center) != 2:
            raise ValueError(f"Fourier: center has {len(self.center)} coordinates, expected 2")

    def __call__(self, X: Any) -> np.ndarray:
        """g at absolute points (n, 2), by NumPy: (n,), or with B first (B, n), for points (n, 2) or (B, n, 2)."""
        X = points_like(X, "Fourier", "X")
        c = numbers_of(self.coefficients, "Fourier", "coefficients", graded=True)
        c = c[:, None] if c.ndim == 2 else c
        theta = np.arctan2(X[..., 1] - self.center[1], X[..., 0] - self.center[0])[..., None]
        m = np.arange(1, (c.shape[-1] + 1) // 2)
        return np.asarray(c[..., 0] + (c[..., 1::2] * np.cos(m * theta) + c[..., 2::2] * np.sin(m * theta)).sum(axis=-1))


class PerVertex:
    """Values at the vertices of a polygon or mesh, linear along its segments and on its triangles.

    Parameters
    ----------
    values : (M,) or (B, M), or a list of B arrays (M_b,) where the polygons differ in M
        Outer ring first, then the holes; a value for each row of ``mesh.vertices``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> square = qf.wos.Polygon(np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]))
    >>> g = qf.wos.PerVertex([0, 1, 1, 0])  # x on the boundary, and so inside
    >>> u = qf.wos.solve(square, np.array([[0.25, 0.5]]), dirichlet=g, walks=10_000, rng=0)
    >>> bool(abs(u.value[0] - 0.25) < 5 * u.stderr[0] + 1e-3)
    True
    """

    def __init__(self, values: ArrayLike) -> None:
        several = isinstance(values, (list, tuple)) and axes(values) != 1
        given: Any = values if several else [values]
        rows = [array_like(v, "PerVertex", f"values[{b}]" if several else "values") for b, v in enumerate(given)]
        for row in rows:
            a = numbers_here(row, "PerVertex", "values", graded=True)
            if a.ndim not in ((1,) if several else (1, 2)):
                raise ValueError(f"PerVertex: values has shape {a.shape}, expected (M,) or (B, M)")
            finite(a, "PerVertex", "values")
        self.values: Any = rows if several else rows[0]


class PerRing:
    """What ``dirichlet_per_ring`` of ``solve`` is: (R,) numbers, or a list of R numbers and data, of the outline and then of its holes."""

    def __init__(self, values: Any) -> None:
        is_list = isinstance(values, (list, tuple))
        found: Any = list(values) if is_list else array_like(values, "solve", "dirichlet_per_ring")
        if not is_list and found.ndim != 1:
            raise ValueError(f"solve: dirichlet_per_ring has shape {tuple(found.shape)}, expected (R,) or a list, one entry per ring")
        self.values: Any = found


class Gaussians:
    """sum_j amplitude_j exp(-|x - center_j|^2 / width_j^2).

    Parameters
    ----------
    amplitude : (J,) or (B, J), or a number for J = 1
    center : (J, d) or (B, J, d), or (d,) for J = 1
    width : number, (J,) or (B, J)
        Positive.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> f = qf.wos.Gaussians(1.0, [0, 0], 0.5)  # one source at the origin
    >>> u = qf.wos.solve(qf.wos.Ball((0, 0), 1), np.array([[0.0, 0.0]]), dirichlet=0.0, source=f, walks=1000, rng=0)
    >>> bool(u.value[0] > 0)
    True
    """

    def __init__(self, amplitude: ArrayLike, center: ArrayLike, width: ArrayLike) -> None:
        self.amplitude: Any = array_like(amplitude, "Gaussians", "amplitude")
        self.center: Any = array_like(center, "Gaussians", "center")
        is_one = is_number(width)
        self.width: Any = number(width, "Gaussians", "width", positive=True) if is_one else array_like(width, "Gaussians", "width")
        if self.amplitude.ndim == 0 and self.center.ndim == 1:  # of one
            self.amplitude, self.center = self.amplitude[None], self.center[None]
        a, c, w = self._arrays(numbers_here)
        if a.ndim not in (1, 2) or c.ndim not in (2, 3) or c.shape[-2] != a.shape[-1] or (w.ndim and w.shape[-1] != a.shape[-1]):
            raise ValueError(
                f"Gaussians: amplitude {a.shape}, center {c.shape}, width {w.shape}; expected (J,), (J, d) and (J,), with B first or not"
            )
        for name, array in (("amplitude", a), ("center", c), ("width", w)):
            finite(array, "Gaussians", name)
        if isinstance(w, np.ndarray) and not (w > 0).all():
            raise ValueError("Gaussians: width must be positive")

    def _arrays(self, numbers: Callable[..., Any] = numbers_of) -> tuple[Any, Any, Any]:
        a, c = (numbers(getattr(self, name), "Gaussians", name, graded=True) for name in ("amplitude", "center"))
        return a, c, np.asarray(self.width) if is_number(self.width) else numbers(self.width, "Gaussians", "width", graded=True)

    def __call__(self, X: Any) -> np.ndarray:
        """The sum at absolute points (n, d), by NumPy: (n,), or with B first (B, n), for points (n, d) or (B, n, d)."""
        X = points_like(X, "Gaussians", "X")
        a, c, w = (x[:, None] if x.ndim == axes else x for x, axes in zip(self._arrays(), (2, 3, 2)))
        return np.asarray((a * np.exp(-((X[..., None, :] - c) ** 2).sum(axis=-1) / w**2)).sum(axis=-1))


class Polynomial:
    """A polynomial in absolute coordinates, sum c[i, j(, k)] x^i y^j (z^k).

    As ``numpy.polynomial.polynomial.polyval2d`` or ``polyval3d``.

    Parameters
    ----------
    coefficients : (n1, n2) in the plane, (n1, n2, n3) in space, (n1, ..., nd) in d dimensions, or the same with B first
        Finite; no axis is empty. Three axes are (n1, n2, n3) in space and (B, n1, n2) in the plane.

    Notes
    -----
    ``solve`` takes a gradient in ``coefficients``. Before walks run, the polynomial is written in coordinates centred on the boundary's box
    and scaled by it, in float64: where the box lies far from 0 that loses what evaluating the given coefficients in float64 would lose.
    Cost: n1 n2 (n3) multiply-adds a point. Equation numbers: csrc/wos/data/README.md (6), (7).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> g = qf.wos.Polynomial(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))  # x^2 - y^2, which is harmonic
    >>> g(np.array([[2.0, 1.0], [0.5, 0.5]]))
    array([3., 0.])
    >>> result = qf.wos.solve(qf.wos.Ball((0.0, 0.0), 1.0), np.array([[0.5, 0.2]]), dirichlet=g, walks=4096, rng=0)
    >>> bool(abs(result.value[0] - 0.21) < 5 * result.stderr[0] + 1e-3)
    True
    """

    def __init__(self, coefficients: ArrayLike) -> None:
        coefficients = array_like(coefficients, "Polynomial", "coefficients")
        c = numbers_here(coefficients, "Polynomial", "coefficients", graded=True)
        if c.ndim < 2 or 0 in c.shape[c.ndim > 2 :]:  # the first of three axes or more may be that of no instances
            raise ValueError(
                f"Polynomial: coefficients has shape {c.shape}, expected (n1, n2) or (n1, n2, n3), with B first or not, n >= 1"
            )
        finite(c, "Polynomial", "coefficients")
        self.coefficients: Any = coefficients

    def __call__(self, X: Any) -> np.ndarray:
        """The polynomial at absolute points (n, d), by NumPy: (n,), or with B first (B, n), for points (n, d) or (B, n, d)."""
        X = points_like(X, "Polynomial", "X")
        c = numbers_of(self.coefficients, "Polynomial", "coefficients", graded=True)
        d = X.shape[-1]
        if d < 2 or c.ndim - d not in (0, 1):
            raise ValueError(
                f"Polynomial: X has shape {X.shape}, expected points in {' or '.join(map(str, _dimensions(c.ndim)))} dimensions"
            )
        return at_instances(polynomial, c, X, d)


def _dimensions(axes: int) -> list[int]:
    return [d for d in (axes - 1, axes) if d > 1]


def polynomial(c: np.ndarray, X: np.ndarray) -> np.ndarray:
    """sum c[i, j, ...] x^i y^j ... of d axes at points (..., d)."""
    of: Any = np.polynomial.polynomial
    found = of.polyval(X[..., 0], c)  # the remaining axes of c come first
    for axis in range(1, X.shape[-1]):
        found = of.polyval(X[..., axis], found, tensor=False)
    return np.asarray(found)


class GridField:
    """Values at the nodes of a regular grid, linear along every axis between them.

    Outside of the box those of its nearest face.

    Parameters
    ----------
    values : (n1, ..., nd) or (B, n1, ..., nd)
        The first axis is x. At least two nodes an axis, the first and the last on the faces of the box. A NaN stays in the points whose
        walks met one of its cells.
    box : (lo, hi), each d real numbers
        Opposite corners in absolute coordinates, lo below hi on every axis.

    Notes
    -----
    ``solve`` takes a gradient in ``values``, and none in ``box``. Values are read, and kinks are, in float64. Cost: 2^d values a point.
    Equation numbers: csrc/wos/data/README.md (8), (9).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> f = qf.wos.GridField(np.array([[0.0, 1.0], [2.0, 3.0]]), box=((0.0, 0.0), (1.0, 1.0)))  # 2 x + y
    >>> f(np.array([[0.5, 0.25], [9.0, 1.0]]))
    array([1.25, 3.  ])
    >>> square = qf.wos.Polygon(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    >>> result = qf.wos.solve(square, np.array([[0.5, 0.5]]), dirichlet=f, walks=1024, rng=0)
    >>> bool(abs(result.value[0] - 1.5) < 5 * result.stderr[0] + 1e-3)
    True
    """

    def __init__(self, values: ArrayLike, box: ArrayLike | tuple[ArrayLike, ArrayLike]) -> None:
        self.box, values = box_of(box, "GridField"), array_like(values, "GridField", "values")
        v, d = numbers_here(values, "GridField", "values", graded=True), len(self.box[0])
        if v.ndim not in (d, d + 1) or min(v.shape[-d:], default=0) < 2:
            axes = ", ".join(f"n{i + 1}" for i in range(d))
            raise ValueError(f"GridField: values has shape {v.shape}, expected ({axes}) or (B, {axes}) in a box of {d} axes, n >= 2")
        self.values: Any = values

    def __call__(self, X: Any) -> np.ndarray:
        """The field at absolute points (n, d), by NumPy: (n,), or with B first (B, n), for points (n, d) or (B, n, d)."""
        X = points_like(X, "GridField", "X")
        v = numbers_of(self.values, "GridField", "values", graded=True)
        d = len(self.box[0])
        if X.shape[-1] != d:
            raise ValueError(f"GridField: X has shape {X.shape}, expected points in {d} dimensions")
        box = np.array(self.box)

        def of(v: np.ndarray, X: np.ndarray) -> np.ndarray:
            cell = Cells(v.shape, box, X.astype(np.float64))
            return interpolated(v, cell.corner, cell.place).astype(np.result_type(v, X), copy=False)

        return at_instances(of, v, X, d)


def box_of(box: Any, label: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The corners of a box, as the caller gave them, checked."""
    refuse_masked(box, label, "box")
    if not hasattr(box, "__len__") or isinstance(box, (str, dict)):
        raise TypeError(f"{label}: box is {type(box).__name__}, expected (lo, hi), the corners of a box")
    if len(box) != 2:
        raise ValueError(f"{label}: box has {len(box)} entries, expected (lo, hi), the corners of a box")
    lo, hi = (point(x, label, f"box[{i}]") for i, x in enumerate(box))
    check_corners(lo, hi, label, "box", "lo < hi")
    return lo, hi


def check_corners(lo: Sequence[float], hi: Sequence[float], label: str, name: str, expected: str) -> None:
    """ValueError where they are no opposite corners of a box."""
    if len(lo) != len(hi):
        raise ValueError(f"{label}: {name} has corners of {len(lo)} and {len(hi)} coordinates, expected as many")
    for i, (a, b) in enumerate(zip(lo, hi)):
        if not a < b:
            raise ValueError(f"{label}: {name} is from {a} to {b} along axis {i}, expected {expected}")
        if not _SMALLEST <= b - a <= _LARGEST:
            raise ValueError(f"{label}: {name} has a side of {b - a:.3g}, expected {_SMALLEST:.0e} to {_LARGEST:.0e}")


class Cells:
    """(8) Where absolute points (..., d) lie in a grid: their cells' lowest corners, their places in them and in the grid."""

    def __init__(self, sizes: Sequence[int], box: np.ndarray, X: np.ndarray) -> None:
        last = np.array(sizes) - 1
        t = (X - box[0]) * (last / (box[1] - box[0]))
        self.inside = (t >= 0) & (t <= last)
        self.t = np.where(t > 0, np.minimum(t, last), 0.0)
        self.corner = np.minimum(self.t.astype(np.int64), last - 1)
        self.place = self.t - self.corner


def interpolated(values: np.ndarray, corner: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Linear along every axis, the last one first; exact where neighbours are equal."""
    d = values.ndim
    found = [values[tuple(corner[..., i] + bit for i, bit in enumerate(bits))] for bits in itertools.product((0, 1), repeat=d)]
    for i in reversed(range(d)):
        found = [a + place[..., i] * (b - a) for a, b in zip(found[::2], found[1::2])]
    return np.asarray(found[0])


def at_instances(of: Callable[[np.ndarray, np.ndarray], np.ndarray], table: np.ndarray, X: np.ndarray, d: int) -> np.ndarray:
    """``of`` one table of d axes, or of every instance's with its points: (n, d) for all, or (B, n, d)."""
    if table.ndim == d:
        return of(table, X)
    if X.ndim == 3 and len(X) != len(table):
        raise ValueError(f"X has shape {X.shape}, expected (n, {d}) or ({len(table)}, n, {d})")
    empty = np.zeros((0, X.shape[-2]), np.result_type(table, X))
    return np.stack([of(one, X[b] if X.ndim == 3 else X) for b, one in enumerate(table)]) if len(table) else empty


# what solve takes for g and f: a function gets points, a list has one of the others for each instance
CLASSES = (Fourier, PerVertex, Gaussians, Polynomial, GridField)
Data: TypeAlias = float | AnyArray | Fourier | PerVertex | Gaussians | Polynomial | GridField | Callable[..., Any] | list[Any]
PerRingData: TypeAlias = AnyArray | Sequence[Data]
