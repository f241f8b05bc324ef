"""Preconditioner (20) of the README for conjugate gradients on M of (9)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .grid import Grid

_NEAR = 0.1  # an axis is used if the correlation of its adjacent cells in the inverse is above this; each axis costs two more passes
_MIN_PIVOT = 1e-3  # minimum pivot relative to the diagonal; smaller ones may be rounding errors


def correlated_axes(grid: Grid, inverse: np.ndarray) -> list[int]:
    """The axes along which adjacent cells are correlated in Q diag(inverse) Qᵀ, on average."""
    axes = []
    for k, axis in enumerate(grid.axes):
        n, R = grid.shape[k], math.prod(grid.shape[k + 1 :])
        values = inverse.reshape(-1, n, R).sum(axis=(0, 2)) if inverse.size else np.zeros(n)
        near, own = (abs(axis.squares(stepped, whole=True).sum(axis=0) @ values) for stepped in (True, False))
        if near > _NEAR * own:
            axes.append(k)
    return axes


class NeighbourPreconditioner:
    """Map r to Gᵀ G r, approximately M⁻¹ r, on grids (B, N).

    G is lower triangular. A row has entries at a latent cell and at its latent predecessors along ``axes``; of all such G, this is the one
    whose G M Gᵀ is closest to I. Without axes, G is diagonal.
    """

    def __init__(self, grid: Grid, inverse: np.ndarray, latent: np.ndarray, extra_noise_inverse: np.ndarray, axes: Sequence[int]) -> None:
        self.shape, self.axes = grid.shape, list(axes)
        diagonal = np.where(
            latent, grid.diagonal_of(inverse) + extra_noise_inverse.astype(inverse.dtype, copy=False), inverse.dtype.type(1)
        )
        own, others = diagonal.reshape(-1, *self.shape), []
        is_latent = latent.reshape(own.shape)
        exists = [self._shifted(is_latent, k) & is_latent for k in axes]
        M = [[np.zeros(0)] * len(axes) for _ in axes]  # between the predecessors; the lower triangle
        for i, k in enumerate(axes):
            others.append(grid.diagonal_of(inverse, [k]).reshape(-1, *self.shape) * exists[i])
            M[i][i] = np.where(exists[i], self._shifted(own, k), own.dtype.type(1))
            for j in range(i):
                M[i][j] = grid.diagonal_of(inverse, [axes[j], k]).reshape(-1, *self.shape) * (exists[i] & exists[j])
        solved = _solved(M, [a.copy() for a in others])
        left = own.copy()
        for a, b in zip(others, solved):
            left -= a * b
        scale = 1 / np.sqrt(np.maximum(left, _MIN_PIVOT * own))
        self.own, self.before = scale * is_latent, [-a * scale for a in solved]

    def astype(self, dtype: type) -> NeighbourPreconditioner:
        copy = object.__new__(NeighbourPreconditioner)
        copy.shape, copy.axes = self.shape, self.axes
        copy.own, copy.before = self.own.astype(dtype, copy=False), [a.astype(dtype, copy=False) for a in self.before]
        return copy

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        r = rows.reshape(-1, *self.shape)
        t = self.own * r
        for k, g in zip(self.axes, self.before):
            later, earlier = _neighbour_slices(k)
            t[later] += g[later] * r[earlier]
        z = self.own * t
        for k, g in zip(self.axes, self.before):
            later, earlier = _neighbour_slices(k)
            z[earlier] += g[later] * t[later]
        return z.reshape(rows.shape)

    @staticmethod
    def _shifted(x: np.ndarray, k: int) -> np.ndarray:
        """The value of the previous cell; 0 for the first cell."""
        shifted = np.zeros_like(x)
        later, earlier = _neighbour_slices(k)
        shifted[later] = x[earlier]
        return shifted


def _neighbour_slices(k: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The cells with a predecessor along axis k, and the predecessors."""
    lead = (slice(None),) * (k + 1)
    return (*lead, slice(1, None)), (*lead, slice(None, -1))


def _solved(M: list[list[np.ndarray]], b: list[np.ndarray]) -> list[np.ndarray]:
    """M⁻¹ b by elimination in place: one small system for each entry of the arrays, M given by its lower triangle."""
    m = len(b)
    minimum = [_MIN_PIVOT * M[k][k] for k in range(m)]
    for k in range(m):
        np.maximum(M[k][k], minimum[k], out=M[k][k])
        for i in range(k + 1, m):
            factor = M[i][k] / M[k][k]
            b[i] -= factor * b[k]
            for j in range(k + 1, i + 1):
                M[i][j] = M[i][j] - factor * M[j][k]
    for k in reversed(range(m)):
        for j in range(k + 1, m):
            b[k] -= M[j][k] * b[j]
        b[k] /= M[k][k]
    return b
