"""The preconditioner of conjugate gradients on M for large holes, by leading eigenvectors of the covariance: README (21), (22)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..product.dense import inverse_lower
from ..product.packed import PackedFactors
from .grid import Grid
from .missing import cholesky

# (weights, first, second) -> matrix: entry (i, j) sums, over cells, the weights times columns first[k][i] and second[k][j] of each axis k
Sums: TypeAlias = Callable[[np.ndarray, Sequence[np.ndarray], Sequence[np.ndarray]], np.ndarray]
_MAX_VECTORS = 3000  # eigenvectors
_SETUP = 40  # the Cholesky factor of A may cost as much as this many iterations on M
_MIN_RATIO = 0.1  # smallest λ / noise of the eigenvectors used


class LowRank:
    """r -> w∘(r + Q_r A⁻¹ Q_rᵀ (w∘r)) on grids (B, N). ``weights`` are w (N,), 0 at cells that are not latent."""

    def __init__(self, grid: Grid, noise: float, weights: np.ndarray) -> None:
        count = min(_MAX_VECTORS, int((_SETUP * grid.size * sum(grid.shape)) ** (1 / 3)), grid.size)
        leading = np.argpartition(grid.eigenvalues, -count)[-count:]
        leading = leading[grid.eigenvalues[leading] > _MIN_RATIO * noise]
        self.weights, self._share = weights, noise / grid.eigenvalues[leading]  # s / λ
        extra = np.sqrt(1 / np.where(weights > 0, weights, 1) - 1)
        self._extra = extra if extra.any() else None  # standard deviations of the additional noise of probes
        selected, self._columns = zip(*[np.unique(p, return_inverse=True) for p in np.unravel_index(leading, grid.shape)])
        self._vectors = [q[:, k] for q, k in zip(grid.basis.matrices, selected)]
        self._cells = np.ravel_multi_index(self._columns, list(map(len, selected)))
        self._kernel, self._shape = grid.kernel, grid.shape
        A = self._gram(1 - weights)
        A[np.diag_indices_from(A)] += self._share
        L = cholesky(A, grid.label, "the matrix of the preconditioner")
        self._logdet = 2 * float(np.log(L.diagonal()).sum())
        root = inverse_lower(L)
        self._inverse = root.T @ root

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        weights = self.weights.astype(rows.dtype, copy=False)
        weighted = rows * weights
        result: np.ndarray = self._filtered(weighted, lambda c: c @ self._inverse)
        result *= weights
        result += weighted
        return result

    @property
    def signs(self) -> int:
        """The number of random signs per probe."""
        return len(self.weights) * (1 if self._extra is None else 2)

    def probes(self, signs: np.ndarray) -> np.ndarray:
        """Rows whose covariance is the inverse of this operator."""
        first, shrunk = signs[:, : len(self.weights)], 1 - np.sqrt(self._share / (1 + self._share))
        probes: np.ndarray = (first - self._filtered(first, lambda c: c * shrunk)) * (self.weights > 0)
        if self._extra is not None:
            probes += self._extra.astype(signs.dtype) * signs[:, len(self.weights) :]
        return probes

    def logdet(self) -> float:
        """log det of the inverse of this operator."""
        return self._logdet - float(np.log1p(self._share).sum()) - float(np.log(self.weights[self.weights > 0]).sum())

    def _filtered(self, rows: np.ndarray, scaled: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Q_r scaled(Q_rᵀ x) for every row x."""
        product = self._product(rows.dtype)
        box = product(rows, True)
        coefficients = scaled(box[:, self._cells].astype(np.float64))
        box[:] = 0
        box[:, self._cells] = coefficients
        return product(box)

    @functools.cache  # noqa: B019
    def _product(self, dtype: np.dtype) -> PackedFactors:
        return PackedFactors([q.astype(dtype, order="C") for q in self._vectors], *self._kernel)

    def _gram(self, weights: np.ndarray) -> np.ndarray:
        """Q_rᵀ diag(weights) Q_r: sums over the grid of weights times products of two columns per axis."""
        last = int(np.argmin([q.shape[1] for q in self._vectors]))
        others = [k for k in range(len(self._shape)) if k != last]
        grid = np.ascontiguousarray(np.moveaxis(weights.reshape(self._shape), last, 0)).reshape(self._shape[last], -1)
        vectors, columns = [self._vectors[k] for k in others], [self._columns[k] for k in others]
        sums_of_pairs = _one_axis(vectors[0]) if len(others) == 1 else _several_axes(vectors, self._kernel)
        q, G = self._vectors[last], np.empty((len(self._cells),) * 2)
        groups = [np.flatnonzero(self._columns[last] == a) for a in range(q.shape[1])]
        for a, first in enumerate(groups):
            for sums, second in zip((q[:, : a + 1] * q[:, a : a + 1]).T @ grid, groups):
                block = sums_of_pairs(sums, [c[first] for c in columns], [c[second] for c in columns])
                G[first[:, None], second] = block
                G[second[:, None], first] = block.T
        return G


def _one_axis(q: np.ndarray) -> Sums:
    return lambda weights, first, second: (q[:, first[0]].T * weights) @ q[:, second[0]]


def _several_axes(vectors: Sequence[np.ndarray], kernel: Any) -> Sums:
    """Computes the products of all pairs of columns of every axis beforehand, because most are needed."""
    pairs = [np.triu_indices(q.shape[1]) for q in vectors]
    product = PackedFactors([(q[:, a] * q[:, b]).T.copy() for q, (a, b) in zip(vectors, pairs)], *kernel)
    numbers = [np.zeros((q.shape[1],) * 2, np.intp) for q in vectors]  # the index of every pair, in either order
    for number, (a, b) in zip(numbers, pairs):
        number[a, b] = number[b, a] = np.arange(len(a))

    def sums(weights: np.ndarray, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
        table = product(weights).reshape([len(a) for a, _ in pairs])
        return table[tuple(n[i[:, None], j] for n, i, j in zip(numbers, first, second))]

    return sums
