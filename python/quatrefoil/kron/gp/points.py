"""Points of predictions, on a grid or scattered, with their covariance with the data on every axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..product.dense import inverse_lower, outer
from ..product.packed import PackedFactors
from .missing import ByLatent, ByObserved, Closed

_BLOCK_BYTES = 64 << 20

Product = Callable[[np.ndarray], np.ndarray]  # rows (..., N) -> (..., M)


class GridPoints:
    """All combinations of the points of every axis: matrices (m_k, n_k), M = prod m_k."""

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        self.matrices = list(map(_arrays.double, matrices))
        self.shape = tuple(len(m) for m in matrices)
        self.size = math.prod(self.shape)

    def product(self, matrices: Sequence[np.ndarray], kernel: Any) -> Product:
        return PackedFactors(matrices, *kernel)

    def rows(self, begin: int, end: int, at: Sequence[np.ndarray]) -> np.ndarray:
        """Covariances of points [begin, end) with the cells ``at``."""
        index = np.unravel_index(np.arange(begin, end), self.shape)
        covariances = np.ones((end - begin, len(at[0])))
        for m, i, o in zip(self.matrices, index, at):
            covariances *= m[i[:, None], o]
        return covariances

    def covariances(self, begin: int, end: int) -> Any:
        """Covariances of points [begin, end) with all N cells, for arrays of any kind."""
        index = np.unravel_index(np.arange(begin, end), self.shape)
        return outer([m[_arrays.to_device_of(i, m)] for m, i in zip(self.matrices, index)])


class ScatteredPoints:
    """M points anywhere: row p of every matrix (M, n_k) belongs to point p."""

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        self.matrices = list(map(_arrays.double, matrices))
        self.size = len(matrices[0])

    def product(self, matrices: Sequence[np.ndarray], kernel: Any) -> Product:
        return lambda rows: scattered_product(matrices, rows)

    def rows(self, begin: int, end: int, at: Sequence[np.ndarray]) -> np.ndarray:
        covariances = np.ones((end - begin, len(at[0])))
        for m, o in zip(self.matrices, at):
            covariances *= m[begin:end, o]
        return covariances

    def covariances(self, begin: int, end: int) -> Any:
        """As ``GridPoints.covariances``."""
        return outer([m[begin:end] for m in self.matrices])


def scattered_product(matrices: Sequence[Any], rows: Any) -> Any:
    """(..., N) -> (..., M): the sum over cells of prod_k matrices[k][p, i_k] x_i; 2 N operations per point."""
    M, shape = len(matrices[0]), [m.shape[1] for m in matrices]
    x = rows.reshape(math.prod(rows.shape[:-1]), math.prod(shape))
    rest = math.prod(shape[1:])
    xp, products = _arrays.namespace(rows), []
    step = max(1, _BLOCK_BYTES // (8 * max(1, len(x) * rest)))
    for begin in range(0, M, step):
        part = matrices[0][begin : begin + step] @ x.reshape(len(x), shape[0], rest)  # (B, points, rest)
        left = rest
        for m, n in zip(matrices[1:], shape[1:]):
            left //= max(n, 1)
            part = xp.einsum("pk,bpkr->bpr", m[begin : begin + step], part.reshape(len(x), part.shape[1], n, left))
        products.append(part.reshape(len(x), part.shape[1]))
    return (xp.concatenate(products, -1) if products else x[:, :0]).reshape((*rows.shape[:-1], M))


def squared_product(xp: Any, points: GridPoints | ScatteredPoints, matrices: Sequence[Any], inverse: Any, kernel: Any) -> Any:
    """The product of the matrices with squared entries and ``inverse`` (N,): README (7). Scales the matrices, as squares may overflow."""
    unit, scaled = xp.ones((), dtype=inverse.dtype, device=inverse.device), []
    for m in matrices:
        if 0 not in m.shape:
            size = xp.max(xp.abs(m))
            size = xp.where(size > 0, size, xp.ones_like(size))
            unit, m = unit * size, m / size
        scaled.append(m * m)
    return points.product(scaled, kernel)(inverse * unit) * unit


def explained(solver: Any, points: GridPoints | ScatteredPoints) -> np.ndarray:
    """diag(K* C⁻¹ K*ᵀ), (M,): README (7), (17)."""
    grid = solver.grid
    if isinstance(solver, ByObserved):
        return _explained_by_observed(solver, points)
    rotated = [m @ q for m, q in zip(points.matrices, grid.basis.matrices)]
    closed: Closed = solver if isinstance(solver, Closed) else solver.closed
    variances: np.ndarray = squared_product(np, points, rotated, closed.inverse, grid.kernel)
    if isinstance(solver, ByLatent):
        to_points = points.product(rotated, grid.kernel)
        for columns in solver.columns():
            variances = variances - (to_points(columns) ** 2).sum(axis=0)
    return variances


def _explained_by_observed(solver: ByObserved, points: GridPoints | ScatteredPoints) -> np.ndarray:
    variances, root = np.zeros(points.size), inverse_lower(solver.factor)
    step = max(1, _BLOCK_BYTES // (8 * max(1, len(solver.factor))))
    for begin in range(0, points.size, step):
        block = points.rows(begin, min(points.size, begin + step), solver.at)
        variances[begin : begin + step] = ((block @ root.T) ** 2).sum(axis=1)
    return variances
