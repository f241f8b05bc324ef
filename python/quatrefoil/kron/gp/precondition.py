"""The preconditioner of conjugate gradients on M, the inverse between latent cells: README (20)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .grid import Grid

_NEAR = 0.1  # the least correlation, in the inverse, of cells next to each other for which their pairs are worth two more passes
_MIN_PIVOT = 1e-3  # of what it was: less may be rounding


def near_axes(grid: Grid, inverse: np.ndarray) -> list[int]:
    """The axes along which cells next to each other have something to do with each other in Q diag(inverse) Qᵀ, on average."""
    found = []
    for k, axis in enumerate(grid.axes):
        n, R = grid.shape[k], math.prod(grid.shape[k + 1 :])
        values = inverse.reshape(-1, n, R).sum(axis=(0, 2)) if inverse.size else np.zeros(n)
        near, own = (abs(axis.squares(stepped, whole=True).sum(axis=0) @ values) for stepped in (True, False))
        if near > _NEAR * own:
            found.append(k)
    return found


class Neighbours:
    """r -> Gᵀ G r on grids (B, N), about M⁻¹ r: of all lower triangular G with as few entries that whose G M Gᵀ is closest to I.

    A row of G has a latent cell and those before it along ``axes`` that are latent too; without axes it is the diagonal.
    """

    def __init__(self, grid: Grid, inverse: np.ndarray, latent: np.ndarray, extra_noise_inverse: np.ndarray, axes: Sequence[int]) -> None:
        self.shape, self.axes = grid.shape, list(axes)
        diagonal = np.where(
            latent, grid.diagonal_of(inverse) + extra_noise_inverse.astype(inverse.dtype, copy=False), inverse.dtype.type(1)
        )
        own, others = diagonal.reshape(-1, *self.shape), []
        is_latent = latent.reshape(own.shape)
        exists = [self._shifted(is_latent, k) & is_latent for k in axes]
        M = [[np.zeros(0)] * len(axes) for _ in axes]  # between the cells before; the lower triangle
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

    def astype(self, dtype: type) -> Neighbours:
        found = object.__new__(Neighbours)
        found.shape, found.axes = self.shape, self.axes
        found.own, found.before = self.own.astype(dtype, copy=False), [a.astype(dtype, copy=False) for a in self.before]
        return found

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        r = rows.reshape(-1, *self.shape)
        t = self.own * r
        for k, g in zip(self.axes, self.before):
            here, last = _places(k)
            t[here] += g[here] * r[last]
        z = self.own * t
        for k, g in zip(self.axes, self.before):
            here, last = _places(k)
            z[last] += g[here] * t[here]
        found: np.ndarray = z.reshape(rows.shape)
        return found

    @staticmethod
    def _shifted(x: np.ndarray, k: int) -> np.ndarray:
        """The value of the previous cell; 0 for the first cell."""
        found = np.zeros_like(x)
        here, last = _places(k)
        found[here] = x[last]
        return found


def _places(k: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The cells that have one before them along axis k, and those before them."""
    lead = (slice(None),) * (k + 1)
    return (*lead, slice(1, None)), (*lead, slice(None, -1))


def _solved(M: list[list[np.ndarray]], b: list[np.ndarray]) -> list[np.ndarray]:
    """M⁻¹ b, entry by entry of the arrays that M's lower triangle and b are made of: elimination, in place."""
    m = len(b)
    least = [_MIN_PIVOT * M[k][k] for k in range(m)]
    for k in range(m):
        np.maximum(M[k][k], least[k], out=M[k][k])
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
