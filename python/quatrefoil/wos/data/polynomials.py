"""Polynomials in absolute coordinates, and their form in the scaled coordinates of walks: csrc/wos/data/README.md (6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._arguments import array_like, finite, host_array, points_like
from ..._typing import ArrayLike
from ..region import Region
from .grids import at_instances
from .packed import Array, DataClass, PackedData, Parameters, Target, as_given, instances, stacked, table


class Polynomial(DataClass):
    """A polynomial in absolute coordinates, sum c[i, j(, k)] x^i y^j (z^k).

    Like ``numpy.polynomial.polynomial.polyval2d`` or ``polyval3d``.

    Parameters
    ----------
    coefficients : (n1, n2) in the plane, (n1, n2, n3) in space, (n1, ..., nd) in d dimensions, or the same with B first
        Finite values; no axis is empty. Three axes are (n1, n2, n3) in space and (B, n1, n2) in the plane. So B polynomials a + b x + c y
        are an array (B, 2, 2), [[[a, c], [b, 0]], ...]; an array (B, 3) is a single polynomial of degrees B - 1 and 2.

    Notes
    -----
    ``solve`` is differentiable with respect to ``coefficients``. Before walks run, the polynomial is converted, in float64, to coordinates
    centred on the boundary's box and scaled by it. Far from 0 this loses as many digits as evaluating the original coefficients in float64.
    Cost: n1 n2 (n3) multiply-adds per point. Equation numbers: csrc/wos/data/README.md (6), (7).

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
        c = host_array(coefficients, "Polynomial", "coefficients", device="keep", differentiable=True)
        if c.ndim < 2 or 0 in c.shape[c.ndim > 2 :]:  # the first of three or more axes may be B = 0
            raise ValueError(
                f"Polynomial: coefficients has shape {c.shape}, expected (n1, n2) or (n1, n2, n3), or with a leading B, and n >= 1"
            )
        finite(c, "Polynomial", "coefficients")
        self.coefficients: Any = coefficients

    def __call__(self, X: Any) -> np.ndarray:
        """Evaluate with NumPy. Returns (n,) for points (n, d) in absolute coordinates; with instances, (B, n) for (n, d) or (B, n, d)."""
        X = points_like(X, "Polynomial", "X")
        c = host_array(self.coefficients, "Polynomial", "coefficients", differentiable=True)
        d = X.shape[-1]
        if d < 2 or c.ndim - d not in (0, 1):
            dimensions = " or ".join(str(axes) for axes in (c.ndim - 1, c.ndim) if axes > 1)
            raise ValueError(f"Polynomial: X has shape {X.shape}, expected points in {dimensions} dimensions")
        return at_instances(polynomial, c, X, d)

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        return [(self.coefficients, d)]

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        c, d = self.coefficients, boundary.dimension
        if c.ndim not in (d, d + 1) or 0 in c.shape[-d:]:
            axes = ", ".join(f"n{i + 1}" for i in range(d))
            raise ValueError(f"{label}: {name}.coefficients has shape {tuple(c.shape)}, expected ({axes}) or (B, {axes}) in {d} dimensions")
        return instances(c, d, boundary, label, f"{name}.coefficients")

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """The number of powers on every axis, then the coefficients in scaled coordinates. One row per instance if the boxes differ."""
        b, d = target.boundary, target.boundary.dimension
        parts, batch = [], len(data) if len(data) > 1 else None
        for i, g in enumerate(data):
            c = target.parameter(g.coefficients, f"{name}.coefficients")
            batch = len(c) if c.ndim > d else batch
            sizes = tuple(c.shape[-d:])
            which = slice(None) if len(data) == 1 or b._batch is None else slice(i, i + 1)
            matrices = shifts(sizes, b._centre[which], b._extent[which])
            if not all(np.isfinite(m).all() for m in matrices):
                raise ValueError(f"solve: {name} has powers up to {max(sizes) - 1}, which overflow float64 at the boundary's coordinates")
            parts.append(table(sizes, along_axes(c.reshape(-1, *sizes), [target.array(m) for m in matrices]), target))

        def pull(g: np.ndarray) -> Parameters:
            of_scaled = g[:, d:].reshape(-1, *sizes)
            return {"coefficients": as_given(along_axes(of_scaled, [m.transpose(0, 2, 1) for m in matrices]), data[0].coefficients)}

        return PackedData("polynomial", batch, stacked(parts, target.namespace), pull=pull, linear=slice(d, None))


def polynomial(c: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Evaluate sum c[i, j, ...] x^i y^j ..., with d axes, at points (..., d)."""
    numpy_polynomial: Any = np.polynomial.polynomial
    sums = numpy_polynomial.polyval(X[..., 0], c)  # the remaining axes of c come first
    for axis in range(1, X.shape[-1]):
        sums = numpy_polynomial.polyval(X[..., axis], sums, tensor=False)
    return np.asarray(sums)


def shifts(sizes: Sequence[int], centre: np.ndarray, extent: np.ndarray) -> list[np.ndarray]:
    """For each axis, (rows, n, n): coefficients C(i, k) centre^(i - k) extent^k of (centre + extent t)^i in powers k of t.

    ``centre`` (rows, d), ``extent`` (rows,). Overflow gives infinity.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return [_shift(n, centre[:, axis, None, None], extent[:, None, None]) for axis, n in enumerate(sizes)]


def _shift(n: int, centre: np.ndarray, extent: np.ndarray) -> np.ndarray:
    choose = np.zeros((n, n))
    for i in range(n):
        choose[0, i] = 1.0
        choose[1 : i + 1, i] = choose[:i, i - 1] + choose[1 : i + 1, i - 1] if i else 0.0
    k = np.arange(n)[:, None]
    lower = np.maximum(np.arange(n) - k, 0)
    return np.where(choose > 0, choose * centre**lower * extent**k, 0.0)


def along_axes(c: Array, matrices: Sequence[Array]) -> Array:
    """Multiply (rows, n1, ..., nd) by a matrix (rows, n, n) along every axis except the first. Sums in the order of the powers."""
    sizes = tuple(c.shape[1:])
    rows = max(len(c), *(len(m) for m in matrices)) if len(c) and all(map(len, matrices)) else 0
    for axis, m in enumerate(matrices):
        n = sizes[axis]
        flat = c.reshape(len(c), math.prod(sizes[:axis]), n, math.prod(sizes[axis + 1 :]))
        total = m[:, None, :, :1] * flat[:, :, :1]
        for i in range(1, n):
            total = total + m[:, None, :, i : i + 1] * flat[:, :, i : i + 1]
        c = total.reshape(rows, *sizes)
    return c
