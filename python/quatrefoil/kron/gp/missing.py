"""C = K + S on the observed cells of a grid, with missing cells or noise per cell: README (9) to (12).

Every solver has ``solve(rows) -> C⁻¹ y`` for rows (B, N) that are 0 at missing cells, as is the result; ``logdet()``; and
``traces(per_cell) -> ([T_k], trace of C⁻¹ S or, per cell, its diagonal (N,))`` with tr(C⁻¹ dK) = <Q_k T_k Q_kᵀ, dK_k>.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..product.dense import inverse_lower
from .basis import Filter
from .grid import Grid

_COLUMNS_BYTES = 16 << 20  # of rows that are multiplied together; about four such arrays exist at a time
_MAX_LEFT, _LEFT, _REFINEMENTS = 3e-2, 1e-9, 6  # relative residual: largest before refinement, goal, and the number of steps


class Closed:
    """All cells, one noise: README (2) to (5)."""

    def __init__(self, grid: Grid, noise: float) -> None:
        self.grid, self.noise = grid, noise

    @functools.cached_property
    def inverse(self) -> np.ndarray:
        """The inverse eigenvalues (N,)."""
        return self.grid.inverse_eigenvalues(self.noise)

    @functools.cached_property
    def solve(self) -> Filter:
        return Filter(self.grid.basis, self.inverse[None])

    def logdet(self) -> float:
        return self.grid.logdet(self.noise)

    def traces(self, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        return self.grid.traces(self.inverse), self.grid.diagonal_of(self.inverse) if per_cell else self.inverse.sum()


class Cells:
    """The observed cells and their noise: ``base_noise`` for all, plus ``extra_noise`` at latent cells, infinite at missing ones."""

    def __init__(self, noise: np.ndarray, mask: np.ndarray | None, size: int) -> None:
        self.observed: np.ndarray = np.broadcast_to(True, size) if mask is None else mask
        if mask is None and len(noise) == 1:
            self.base_noise, self.latent, self.extra_noise = float(noise[0]), np.zeros(0, np.intp), np.zeros(0)
            self.extra_noise_inverse, self.count = self.extra_noise, size
            return
        if len(noise) == 1:
            self.latent = np.flatnonzero(~self.observed)
            self.count = size - len(self.latent)
            self.base_noise = float(noise[0]) if self.count else 1.0
            self.extra_noise, self.extra_noise_inverse = np.full(len(self.latent), math.inf), np.zeros(len(self.latent))
            return
        noise = np.broadcast_to(noise, size)
        seen = noise[self.observed]
        self.base_noise = float(seen.min(initial=math.inf)) if seen.size else 1.0
        extra = np.where(self.observed, noise - self.base_noise, math.inf)
        self.latent = np.flatnonzero(extra > 0)  # E of README (9)
        self.extra_noise = extra[self.latent]
        self.extra_noise_inverse = 1 / self.extra_noise  # 0 at missing cells
        self.count = int(self.observed.sum())


class ByLatent:
    """A Cholesky factor of M = Eᵀ P E + diag(1 / extra noise); P is (K + s I)⁻¹ with the smallest noise s: README (9) to (11)."""

    def __init__(self, grid: Grid, cells: Cells) -> None:
        self.grid, self.cells, self.closed = grid, cells, Closed(grid, cells.base_noise)
        M = inverse_block(grid, self.closed.inverse, cells.latent)
        M[np.diag_indices_from(M)] += cells.extra_noise_inverse
        self.factor = cholesky(M, grid.label, "the matrix of the cells that are missing or have additional noise")

    def solve(self, rows: np.ndarray) -> np.ndarray:
        alpha, size = self._solve(rows), np.abs(rows).max(axis=1, initial=0.0)
        noise = np.full(self.grid.size, self.cells.base_noise)
        seen = self.cells.observed[self.cells.latent]
        noise[self.cells.latent[seen]] += self.cells.extra_noise[seen]
        first = 0.0
        for _ in range(_REFINEMENTS):
            residual = rows - self.grid.product(alpha) - noise * self.grid.noise_product(alpha)
            residual[:, ~self.cells.observed] = 0
            left = np.abs(residual).max(axis=1, initial=0.0) / np.where(size > 0, size, 1)
            share = float(left.max(initial=0.0))
            if not share <= _MAX_LEFT:
                raise np.linalg.LinAlgError(
                    f"{self.grid.label}: the noise is below the rounding error of the covariance of the observed cells (a solution "
                    f"leaves a residual of {share:.1g} |y|); add noise"
                )
            alpha += self._solve(residual)
            first = first or share
            if share * first <= _LEFT:  # each step multiplies the residual by about ``first``
                break
        return alpha

    def _solve(self, rows: np.ndarray) -> np.ndarray:
        from scipy.linalg import cho_solve

        at, basis = self.cells.latent, self.grid.to_basis(rows) * self.closed.inverse
        b = cho_solve((self.factor, True), self.grid.from_basis(basis)[:, at].T, check_finite=False).T
        lifted = np.zeros_like(rows)
        lifted[:, at] = b
        alpha = self.grid.from_basis(basis - self.grid.to_basis(lifted) * self.closed.inverse)
        alpha[:, ~self.cells.observed] = 0
        return alpha

    def logdet(self) -> float:
        extra = self.cells.extra_noise[np.isfinite(self.cells.extra_noise)]
        return self.closed.logdet() + 2 * float(np.log(self.factor.diagonal()).sum()) + float(np.log(extra).sum())

    def columns(self) -> Iterator[np.ndarray]:
        """Yields Qᵀ of the columns of W = P E L⁻ᵀ as rows (b, N), in batches: C⁻¹ = P - W Wᵀ."""
        inverse, step = inverse_lower(self.factor), max(1, _COLUMNS_BYTES // (8 * max(1, self.grid.size)))
        for i in range(0, len(inverse), step):
            rows = inverse[i : i + step]
            lifted = np.zeros((len(rows), self.grid.size))
            lifted[:, self.cells.latent] = rows
            yield self.grid.to_basis(lifted) * self.closed.inverse

    def traces(self, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        R, trace = self.closed.traces(per_cell)
        for columns in self.columns():
            R = [a - b for a, b in zip(R, self.grid.grams(columns))]
            trace = trace - ((self.grid.from_basis(columns) ** 2).sum(axis=0) if per_cell else (columns**2).sum())
        if per_cell:
            trace[~self.cells.observed] = 0
        return R, trace


class ByObserved:
    """A Cholesky factor of C, for few observed cells."""

    def __init__(self, grid: Grid, cells: Cells, noise: np.ndarray) -> None:
        self.grid, self.cells = grid, cells
        self.at = np.unravel_index(np.flatnonzero(cells.observed), grid.shape)
        C = self._others(grid.factors, -1)
        self._correlations = [self._others(factors, -1) for factors in grid.terms[1:]]  # of structured noise
        for S in self._correlations:
            C += noise * S
        if not self._correlations:
            C[np.diag_indices_from(C)] += np.broadcast_to(noise, grid.size)[cells.observed]
        self.factor = cholesky(C, grid.label, "the covariance of the observed cells")
        if len(C) and self.factor.diagonal().min() ** 2 <= grid.eps * np.abs(C).sum(axis=0).max():
            raise np.linalg.LinAlgError(
                f"{grid.label}: the covariance of the observed cells is singular to working precision (pivot "
                f"{self.factor.diagonal().argmin()}); add noise"
            )

    def _others(self, factors: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The Hadamard product of these covariances between observed cells, over all axes but k."""
        n = len(self.at[0])
        product = np.ones((n, n))
        for l, f in enumerate(factors):
            if l != k:
                product *= f[self.at[l][:, None], self.at[l]]
        return product

    def solve(self, rows: np.ndarray) -> np.ndarray:
        from scipy.linalg import cho_solve

        alpha = np.zeros_like(rows)
        alpha[:, self.cells.observed] = cho_solve((self.factor, True), rows[:, self.cells.observed].T, check_finite=False).T
        return alpha

    def logdet(self) -> float:
        return 2 * float(np.log(self.factor.diagonal()).sum())

    @functools.cached_property
    def inverse(self) -> np.ndarray:
        root = inverse_lower(self.factor)
        return root.T @ root

    def traces(self, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        R = []
        for factors in self.grid.terms:
            for k, duals in enumerate(self.grid.duals):
                vectors = duals[self.at[k]]
                R.append(vectors.T @ (self.inverse * self._others(factors, k)) @ vectors)
        if not per_cell:
            return R, sum((self.inverse * S).sum() for S in self._correlations) if self._correlations else self.inverse.trace()
        diagonal = np.zeros(self.grid.size)
        diagonal[self.cells.observed] = self.inverse.diagonal()
        return R, diagonal


def inverse_block(grid: Grid, inverse: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Rows and columns ``cells`` of Q diag(inverse) Qᵀ: README (12). Pairs of cells with equal first indices share weights."""
    d, count = len(grid.shape), len(cells)
    vectors, at = grid.basis.matrices, np.unravel_index(cells, grid.shape)

    def cost(m: int) -> float:
        n1, n2 = math.prod(grid.shape[:m]), math.prod(grid.shape[m:])
        return n2 * (count**2 / 2 + 4.0 * n1 * count) + float(n1) ** 3 * n2 / 2 + (1e18 if n1 > 4096 else 0)

    m = min(range(d), key=cost) if count else 0
    n1, n2 = math.prod(grid.shape[:m]), math.prod(grid.shape[m:])
    first = _columns(vectors[:m], at[:m], count, 0, n1)
    weights = inverse.reshape(n1, n2)
    outer = np.ravel_multi_index(at[:m], grid.shape[:m]) if m else np.zeros(count, np.int64)
    begins = np.flatnonzero(np.diff(outer, prepend=-1))  # cells ascend, so equal indices are adjacent
    block = np.zeros((count, count))
    step = max(1, _COLUMNS_BYTES // (16 * max(1, count)))
    for b in range(0, n2, step):
        second = _columns(vectors[m:], at[m:], count, b, min(b + step, n2))
        for i, begin in enumerate(begins):
            end = begins[i + 1] if i + 1 < len(begins) else count
            per_place = (first[begins[i:]] * first[begin]) @ weights[:, b : b + step]  # (first indices from this one on, columns)
            repeats = np.diff(np.append(begins[i:], count))
            block[begin:end, begin:] += second[begin:end] @ (second[begin:] * np.repeat(per_place, repeats, axis=0)).T
    lower = np.tril_indices(count, -1)
    block[lower] = block.T[lower]
    return block


def _columns(vectors: Sequence[np.ndarray], at: Sequence[np.ndarray], count: int, begin: int, end: int) -> np.ndarray:
    """Columns [begin, end) of the rows of a Kronecker product at cells: (count, end - begin)."""
    index = np.unravel_index(np.arange(begin, end), [len(q) for q in vectors]) if vectors else ()
    columns = np.ones((count, end - begin))
    for q, i, j in zip(vectors, at, index):
        columns *= q[i[:, None], j]
    return columns


def cholesky(a: np.ndarray, label: str, what: str) -> np.ndarray:
    """The lower factor of a matrix. Raises LinAlgError if it is not positive definite."""
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        from scipy.linalg import lapack

        pivot = lapack.dpotrf(a, lower=1)[1] - 1
        raise np.linalg.LinAlgError(f"{label}: {what} is not positive definite (pivot {pivot}); add noise") from None
