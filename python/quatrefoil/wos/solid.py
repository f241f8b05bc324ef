"""Boxes and signed distance fields. Equation numbers refer to csrc/wos/solid/README.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._arguments import finite, host_array, keywords, number, point
from .._memo import Memo
from .._typing import ArrayLike
from .data import box_of, check_corners
from .data.functions import is_function, wrap
from .polygon import Solid, check_dimension, check_extent


class Box(Solid):
    """The box between two opposite corners: a rectangle in two dimensions.

    Parameters
    ----------
    lo, hi : d real numbers each
        Two opposite corners, not one pair per axis: Box((0, 2), (1, 3)) is 0 to 1 in x and 2 to 3 in y. d is from 2 to 1024, lo below hi on
        every axis, and sides from 1e-70 to 1e70.

    Notes
    -----
    Relative epsilons are multiplied by the diagonal. Points may be any kind of array. ``closest_point`` numbers the face at lo[k] as 2 k
    and the face at hi[k] as 2 k + 1.

    Raises
    ------
    ValueError
        For NaN or infinite values, corners of different lengths, lo >= hi, one coordinate or more than 1024.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> square = qf.wos.Box([0.0, 0.0], [1.0, 1.0])
    >>> square
    Box([0.0, 0.0], [1.0, 1.0])
    >>> r = qf.wos.solve(square, np.array([[0.5, 0.5]]), dirichlet=0.0, source=1.0, walks=4096, epsilon=1e-4, rng=0)
    >>> bool(abs(r.value[0] - 0.0736713) < 6 * r.stderr[0] + 1e-4)
    True

    In five dimensions, u = x0 x1:

    >>> g = lambda X: X[:, 0] * X[:, 1]
    >>> r = qf.wos.solve(qf.wos.Box([0.0] * 5, [1.0] * 5), np.full((1, 5), 0.3), dirichlet=g, walks=1024, rng=0)
    >>> bool(abs(r.value[0] - 0.09) < 6 * r.stderr[0] + 1e-3)
    True
    """

    @keywords(
        "Box",
        missing="expected lo and hi, two corners",
        **dict.fromkeys(("lower", "low", "min", "mins"), "use lo"),
        **dict.fromkeys(("upper", "high", "max", "maxs"), "use hi"),
    )
    def __init__(self, lo: ArrayLike, hi: ArrayLike) -> None:
        super().__init__()
        low, high = point(lo, "Box", "lo"), point(hi, "Box", "hi")
        check_dimension(len(low), "Box", "lo")
        check_corners(low, high, "Box", "the box")
        self.lo, self.hi = np.array(low), np.array(high)
        _enclose(self, self.lo, self.hi)
        self._half_width = np.array([0.5 * float((self.hi - self.lo).min())])

    def _row(self) -> np.ndarray:
        """Half of the side lengths, scaled."""
        return np.asarray(0.5 * (self.hi - self.lo) / self._extent[0])

    def _outline(self, instance: int) -> np.ndarray:
        """The edges (lines, 2, d)."""
        ends = np.stack([self.lo, self.hi])
        axes = np.arange(self.dimension)
        edges = []
        for axis in range(self.dimension):
            for sides in itertools.product((0, 1), repeat=self.dimension - 1):
                at = np.insert(np.array(sides), axis, 0)
                edges.append([ends[at, axes], ends[np.where(axes == axis, 1, at), axes]])
        return np.array(edges)

    def __repr__(self) -> str:
        return f"Box({self.lo.tolist()}, {self.hi.tolist()})"


class SDF(Solid):
    """The solid where a signed distance is negative, given on a regular grid or by a function.

    Parameters
    ----------
    values : (n1, n2) or (n1, n2, n3), or a function
        The signed distance of every node from the boundary, negative inside, float32 or float64. Each axis has at least two nodes; the
        first and last are on the faces of the box. Alternatively f(X (n, d)) -> (n,) of absolute coordinates in float64: a ``numba.njit``
        function, a ``numba.cfunc`` ``void(int64 n, const double* x, double* out)``, or any Python callable. Values on the faces of the box
        must not be negative.
    box : (lo, hi), each d real numbers
        Two opposite corners of the grid, or of a box that contains the domain; d = 2 or 3.
    lipschitz : float
        A bound on the field's slope; 1 for a true distance. The balls of walks have radius |field| / lipschitz.

    Notes
    -----
    The boundary is the zero set of the interpolated field. It differs from that of the exact distance by about h^2 / 8 times its curvature,
    with grid step h. The interpolated field of a true distance has a slope of about 1, except in cells that contain points with several
    closest boundary points, where the slope may be up to sqrt(d). A walk that leaves the domain because of that ends at its projection. The
    projection of x is x - φ ∇φ / |∇φ|^2 (3); for a function, ∇φ is computed by central differences with a step of 1e-5 of the box's longest
    side. ``closest_point`` returns this projection and |φ|, and ``signed_distance`` returns φ. Outside the box, both use the closest point
    of the box. There are no facets, so PerVertex and walls are not available. Relative epsilons are multiplied by the diagonal of the box.
    Points may be any kind of array. There is no gradient with respect to the values.

    Cost: a step takes about 3 times as long as in a ball. Native kernels call a function for 2 to 8 points at a time, depending on the
    instruction set. Compiled functions are called without the GIL, others with it, which takes a few us. The constructor evaluates a
    function at 33 points per axis, and checks that the values are finite, and not negative on the faces of the box.

    Raises
    ------
    ValueError
        For NaN or infinite values; a grid without negative values; a negative value on a face of the box; wrong shapes; lo >= hi; lipschitz
        <= 0.
    TypeError
        For float16, complex values and masked arrays.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> t = np.linspace(-1.25, 1.25, 101)
    >>> disc = qf.wos.SDF(np.hypot(t[:, None], t) - 1.0, box=([-1.25, -1.25], [1.25, 1.25]))
    >>> disc
    SDF(101 x 101 values)
    >>> r = qf.wos.solve(disc, np.array([[0.6, 0.0]]), dirichlet=0.0, source=1.0, walks=4096, epsilon=1e-4, rng=0)  # (1 - |x|^2) / 4
    >>> bool(abs(r.value[0] - 0.16) < 6 * r.stderr[0] + 2e-3)
    True

    A ring between two circles, u = log r / log 2:

    >>> ring = qf.wos.SDF(lambda X: abs(np.hypot(*X.T) - 1.5) - 0.5, box=([-2.1, -2.1], [2.1, 2.1]))
    >>> g = lambda X: (np.hypot(*X.T) > 1.5).astype(float)
    >>> r = qf.wos.solve(ring, np.array([[1.4, 0.0]]), dirichlet=g, walks=1024, rng=0)
    >>> bool(abs(r.value[0] - np.log2(1.4)) < 6 * r.stderr[0] + 2e-3)
    True
    """

    @keywords("SDF", missing="expected SDF(values, (lo, hi)), with a box that contains the domain", bounds="use box", domain="use box")
    def __init__(
        self,
        values: ArrayLike | Callable[..., Any],
        box: ArrayLike | tuple[ArrayLike, ArrayLike],
        lipschitz: float = 1.0,
    ) -> None:
        super().__init__()
        low, high = box_of(box, "SDF")
        if len(low) not in (2, 3):
            raise ValueError(f"SDF: box has corners of {len(low)} coordinates, expected 2 or 3")
        self.lipschitz = number(lipschitz, "SDF", "lipschitz", positive=True)
        self.lo, self.hi = np.array(low), np.array(high)
        _enclose(self, self.lo, self.hi)
        self.function: Any = values if is_function(values) else None
        self._memo: Memo | None = None
        self.values = self._nodes(33) if self.function is not None else _grid(values, len(low))
        for axis in range(self.dimension):
            if np.moveaxis(self.values, axis, 0)[[0, -1]].min() < 0:
                raise ValueError(
                    f"SDF: values are negative on a face of the box normal to axis {axis}; make the box larger than the domain"
                )
        deepest = -float(self.values.min()) / self.lipschitz
        self._half_width = np.array([deepest if deepest > 0 else np.inf])

    def _nodes(self, n: int) -> np.ndarray:
        """The function's values at n points per axis."""
        axes = [np.linspace(a, b, n) for a, b in zip(self.lo, self.hi)]
        X = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        values = np.asarray(self._memo_of("numpy").value(0, np.ascontiguousarray(X.reshape(-1, self.dimension))), np.float64)
        finite(values, "SDF", "values of the function")
        return values.reshape(X.shape[:-1])

    def _row(self) -> np.ndarray:
        """See csrc/wos/solid/README.md, The row of a field."""
        extent = self._extent[0]
        corners = ((np.stack([self.lo, self.hi]) - self._centre) / extent).reshape(-1)
        if self.function is not None:
            return np.concatenate([[self.lipschitz], np.zeros(self.dimension), corners, self._centre[0], [extent]])
        return np.concatenate([[self.lipschitz], self.values.shape, corners, self.values.reshape(-1) / extent])

    def _memo_of(self, kind: str) -> Any:
        """The function in the form that kernels call. None for a grid."""
        if self.function is not None and self._memo is None:
            self._memo = _FunctionMemo(wrap(self.function, self, np.dtype(np.float64), "values", "SDF"))
        return self._memo

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_memo": None}

    def _outline(self, instance: int) -> np.ndarray:
        """Lines (lines, 2, 2) of the zero set of the field, one or two lines per cell of the grid."""
        if self.dimension != 2:
            raise ValueError("plot: an SDF in three dimensions has no lines to draw; plot its values by other means")
        v = self.values if self.function is None else self._nodes(257)
        x, y = (np.linspace(a, b, n) for a, b, n in zip(self.lo, self.hi, v.shape))
        lines: list[Any] = []
        i, j = np.nonzero(np.ptp(np.sign([v[:-1, :-1], v[1:, :-1], v[1:, 1:], v[:-1, 1:]]), axis=0))
        for a, b in zip(i, j):
            corners = [(a, b), (a + 1, b), (a + 1, b + 1), (a, b + 1)]
            cuts = []
            for p, q in zip(corners, corners[1:] + corners[:1]):
                if (v[p] < 0) != (v[q] < 0):
                    t = v[p] / (v[p] - v[q])
                    cuts.append((x[p[0]] + t * (x[q[0]] - x[p[0]]), y[p[1]] + t * (y[q[1]] - y[p[1]])))
            lines += [cuts[k : k + 2] for k in range(0, len(cuts), 2)]
        return np.array(lines).reshape(-1, 2, 2)

    def __repr__(self) -> str:
        what = f"{' x '.join(map(str, self.values.shape))} values" if self.function is None else "of a function"
        return f"SDF({what})"


class _FunctionMemo(Memo):
    """A function, shared by all backends and by all calls with its boundary."""

    def __init__(self, function: Any) -> None:
        super().__init__(function, "native", ())

    def value_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        return self.value


def _grid(values: Any, d: int) -> np.ndarray:
    v = host_array(values, "SDF", "values", device="copy", convert=True)
    if v.ndim != d or min(v.shape) < 2:
        axes = ", ".join(f"n{i + 1}" for i in range(d))
        raise ValueError(f"SDF: values has shape {v.shape}, expected ({axes}) in a box of {d} axes, n >= 2")
    finite(v, "SDF", "values")
    if not v.min() < 0:
        raise ValueError("SDF: values are nowhere negative, but signed distances are negative inside the domain")
    return np.array(v, np.float64)


def _enclose(solid: Solid, lo: np.ndarray, hi: np.ndarray) -> None:
    """Set the centre, extent and diagonal of the box."""
    solid.dimension = len(lo)
    solid._centre = (lo + 0.5 * (hi - lo))[None]
    extent = float((hi - lo).max())
    check_extent(extent, f"{type(solid).__name__}: the box")
    solid._extent = np.array([extent])
    solid._diagonal = np.array([float(np.sqrt((((hi - lo) / extent) ** 2).sum()) * extent)])
