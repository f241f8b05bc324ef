"""``GridCovariance``: C = K + S on the observed cells of a grid, with factorisations, solves, likelihood and gradients.

Products, sums over the spectrum and sums over axes are the ops ``matvec``, ``gp_spectrum`` and ``gp_gram``. Equation numbers refer to
csrc/kron/gp/README.md.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._typing import Backend
from .grid import Grid
from .iterative import Estimated, Iterative, Progress
from .missing import ByLatent, ByObserved, Cells, Closed
from .points import GridPoints, ScatteredPoints, explained
from .spectrum import gp_spectrum
from .structured import StructuredGrid

FEW = 512  # up to this many latent or observed cells, a Cholesky factor costs less than iterations
LOG_2PI = math.log(2 * math.pi)


class RowGroup(NamedTuple):
    """Rows of right-hand sides that share a solver."""

    rows: np.ndarray
    cells: Cells
    solver: Any


class GridCovariance:
    """C = K_1 ⊗ ... ⊗ K_d + diag(noise) on observed cells. Solvers are cached.

    Without a mask, all cells are observed. A mask (N,) holds for all right-hand sides; (..., N) has one row for each.

    With ``noise_factors`` the covariance of the noise is ``noise`` (1,) times S_1 ⊗ ... ⊗ S_d. Gradients with respect to S_k follow those
    with respect to the factors.
    """

    def __init__(
        self, label: str, factors: Sequence[np.ndarray], noise: np.ndarray, mask: np.ndarray | None,
        backend: Backend | None = None, num_threads: int | None = None, noise_factors: Sequence[np.ndarray] = (),
    ) -> None:  # fmt: skip
        structured = StructuredGrid(factors, noise_factors, label, backend, num_threads) if noise_factors else None
        self.grid, self.noise, self.mask = structured or Grid(factors, label, backend, num_threads), noise, mask
        self._exact: dict[Cells, Any] = {}
        self._last_iterative: tuple[Cells, float, Iterative] | None = None
        self.begins_deflated = False  # whether iterations start with the preconditioner for large holes

    @functools.cached_property
    def _by_mask(self) -> tuple[list[Cells], np.ndarray | None]:
        """The cells of each distinct mask, and for each row the index of its mask, or None if all rows share one."""
        mask, N = self.mask, self.grid.size
        if mask is None or mask.ndim == 1:
            return [Cells(self.noise, mask, N)], None
        if not mask.size:
            return [Cells(self.noise, np.ones(N, bool), N)], None
        different, which = np.unique(mask.reshape(-1, N), axis=0, return_inverse=True)
        return [Cells(self.noise, m, N) for m in different], which.reshape(-1)

    @property
    def cells(self) -> list[Cells]:
        return self._by_mask[0]

    def rows(self, y: np.ndarray) -> np.ndarray:
        """y as rows (B, N) in double precision, 0 at missing cells."""
        if self.mask is not None:
            y = np.where(self.mask, y, 0)
        return np.ascontiguousarray(y, np.float64).reshape(math.prod(y.shape[:-1]), self.grid.size)

    def groups(self, count: int, solver: Callable[[Cells], Any]) -> list[RowGroup]:
        """The rows of each distinct mask, ``count`` in all, with its solver. If there are more rows than masks, masks repeat."""
        every, which = self._by_mask
        if which is None:
            return [RowGroup(np.arange(count), every[0], solver(every[0]))]
        which = np.resize(which, count)
        return [RowGroup(np.flatnonzero(which == i), cells, solver(cells)) for i, cells in enumerate(every)]

    @property
    def kernel(self) -> tuple[Backend | None, int | None]:
        """The backend and the number of threads of products."""
        return self.grid.kernel

    @property
    def factors(self) -> list[np.ndarray]:
        return self.grid.factors

    def sampled(self, normal: np.ndarray, noise: Any) -> np.ndarray:
        """Samples of N(0, K + noise I) on the full grid, from standard normal draws (..., N): (8)."""
        return self.grid.from_basis(normal * np.sqrt(self.grid.eigenvalues + noise))

    def solved(self, y: np.ndarray, tol: float) -> np.ndarray:
        """C⁻¹ y, in the shape of y."""
        return self.solve(self.rows(y), tol).alpha.reshape(y.shape)

    def noise_of(self, normal: np.ndarray) -> np.ndarray:
        """Noise on the grid, from standard normal draws (..., N)."""
        return self.grid.noise_root(normal * np.sqrt(self.noise))

    def explained(self, points: GridPoints | ScatteredPoints) -> np.ndarray:
        """diag(K* C⁻¹ K*ᵀ) for each row of the mask, (B, M): (7), (17)."""
        count = 1 if self.mask is None else math.prod(self.mask.shape[:-1])
        variances = np.empty((count, points.size))
        for group in self.groups(count, self.exact):
            if len(group.rows):
                variances[group.rows] = explained(group.solver, points)
        return variances

    # ---- solvers

    def exact(self, cells: Cells) -> Any:
        """The cheapest solver without iterations; MemoryError if it does not fit into memory."""
        if cells not in self._exact:
            self._exact[cells] = self._new_exact(cells)
        return self._exact[cells]

    def _new_exact(self, cells: Cells) -> Any:
        grid, latent, observed = self.grid, len(cells.latent), cells.count
        if latent == 0:
            return Closed(grid, cells.base_noise)
        if observed <= latent or grid.is_negligible(cells.base_noise):
            _check_memory(grid.label, observed)
            return ByObserved(grid, cells, self.noise)
        _check_memory(grid.label, latent)
        return ByLatent(grid, cells)

    def _iterative(self, cells: Cells, tol: float) -> Iterative:
        """An iterative solver; the last one is cached, with its preconditioner."""
        last = self._last_iterative
        if last is None or last[:2] != (cells, tol):
            solver = Iterative(self.grid, [cells], tol)
            if last is not None and last[0] is cells:
                solver.low_rank = last[2].low_rank
            elif self.begins_deflated:
                solver.deflate()
            self._last_iterative = last = (cells, tol, solver)
        return last[2]

    @property
    def is_deflated(self) -> bool:
        """Whether iterations use the preconditioner for large holes."""
        return self._last_iterative is not None and self._last_iterative[2].low_rank is not None

    def _has_few(self, cells: Cells) -> bool:
        """Whether to solve exactly: few cells, or too little noise for iterations."""
        return min(len(cells.latent), cells.count) <= FEW or self.grid.is_negligible(cells.base_noise)

    def solve(self, rows: np.ndarray, tol: float, start: np.ndarray | None = None, progress: Progress | None = None) -> Solution:
        """C⁻¹ x for rows x (B, N)."""
        alpha = np.zeros_like(rows)
        done, left = [], []
        for group in self.groups(len(rows), lambda cells: self.exact(cells) if self._has_few(cells) else None):
            if not len(group.rows):
                continue
            if group.solver is None:
                left.append(group)
            else:
                alpha[group.rows] = group.solver.solve(rows[group.rows])
                done.append(group)
        if left:
            at = np.concatenate([g.rows for g in left])
            cells = [g.cells for g in left for _ in g.rows]
            solver = Iterative(self.grid, cells, tol) if len(left) > 1 else self._iterative(cells[0], tol)
            alpha[at] = solver.solve(rows[at], None if start is None else start[at], progress)
            done.append(RowGroup(at, left[0].cells, solver))
        return Solution(self, done, alpha=alpha)

    def likelihood(
        self, rows: np.ndarray, tol: float, start: np.ndarray | None = None, logdet: str = "exact", probes: int = 0, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray, Solution]:
        """Negative log-likelihoods of rows (B, N), their standard errors (B,), and the solution for their gradients: (1), (10), (15)."""
        grid = self.grid

        def solver(cells: Cells) -> Any:
            if logdet == "exact" or self._has_few(cells):
                return self.exact(cells)
            return Estimated(self._iterative(cells, tol), cells, tol, probes, np.random.default_rng(seed))

        done = [g for g in self.groups(len(rows), solver) if len(g.rows)]
        values, errors = np.zeros(len(rows)), np.zeros(len(rows))
        solution: Solution
        if len(done) == 1 and isinstance(done[0].solver, Closed):
            z = grid.to_basis(rows)
            grid.reject_singular(done[0].solver.noise)
            if len(rows) == 1 and done[0].solver.noise and grid.floored is not None:
                solution = one = OneRow(self, done[0], z, grid.floored)
                fit = np.full(1, one.fit)
            else:
                solution = Solution(self, done, basis=z * done[0].solver.inverse)
                fit = np.einsum("bn,bn->b", z, solution.basis)
        else:
            alpha = np.zeros_like(rows)
            for group in done:
                if isinstance(group.solver, Estimated):
                    alpha[group.rows] = group.solver.iterative.solve(rows[group.rows], None if start is None else start[group.rows])
                    errors[group.rows] = group.solver.logdet_error() / 2
                else:
                    alpha[group.rows] = group.solver.solve(rows[group.rows])
            solution = Solution(self, done, alpha=alpha)
            fit = np.einsum("bn,bn->b", rows, alpha)
        for group in done:
            determinant = solution.logdet if isinstance(solution, OneRow) else group.solver.logdet()
            values[group.rows] = (fit[group.rows] + determinant + group.cells.count * LOG_2PI) / 2
        return values, errors, solution


class Solution:
    """α = C⁻¹ y of every row, and its coefficients in the eigenbasis; each is computed from the other at first use."""

    def __init__(
        self, covariance: GridCovariance, groups: list[RowGroup], *, alpha: np.ndarray | None = None, basis: np.ndarray | None = None
    ) -> None:
        self.covariance, self.groups = covariance, groups
        self._alpha, self._basis = alpha, basis

    @property
    def alpha(self) -> np.ndarray:
        if self._alpha is None:
            self._alpha = self.covariance.grid.from_basis(self.basis)
        return self._alpha

    @property
    def basis(self) -> np.ndarray:
        if self._basis is None:
            self._basis = self._to_basis()
        return self._basis

    def _to_basis(self) -> np.ndarray:
        assert self._alpha is not None
        return self.covariance.grid.coefficients(self._alpha)

    def combined(self, weights: np.ndarray) -> Solution:
        """The solution for linear combinations of the rows, weights (b, B); all rows must share one mask."""
        if np.array_equal(weights, np.eye(len(weights))) and len(weights) == len(self.groups[0].rows):
            return self
        (group,) = self.groups
        return Solution(self.covariance, [group._replace(rows=np.arange(len(weights)))], alpha=weights @ self.alpha)

    def vjp(self, grad: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Gradients of α with respect to factors, y (as rows) and noise (19): C is symmetric, so its solve is its own adjoint."""
        grid, g = self.covariance.grid, self.covariance.rows(grad)
        mu = np.zeros_like(g)
        for group in self.groups:
            mu[group.rows] = group.solver.solve(g[group.rows])
        of_noise = -(mu * self.alpha).sum(axis=0)
        dfactors = [-a for a in grid.rotated(grid.grams(grid.coefficients(mu), self.basis))]
        return dfactors, mu, of_noise if len(self.covariance.noise) > 1 else of_noise.sum()

    def nll_gradients(self, weights: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Gradients of the weighted sum of the rows' nll with respect to factors and noise, a number or (N,): (3)-(5), (11), (16)."""
        grid, per_cell = self.covariance.grid, len(self.covariance.noise) > 1
        if len(weights) > 0 and bool((weights == weights[0]).all()):  # a matrix times its own transpose takes half the work
            R = [-weights[0] * a for a in grid.grams(self.basis)]
        else:
            R = grid.grams(self.basis * -weights[:, None], self.basis)
        squares = self.alpha**2 if per_cell else np.einsum("bn,bn->b", self.basis, self.basis)[:, None]
        trace = -(weights[:, None] * squares).sum(axis=0)
        for group in self.groups:
            weight = weights[group.rows].sum()
            own, diagonal = group.solver.traces(per_cell)
            R = [a + weight * b for a, b in zip(R, own)]
            trace = trace + weight * diagonal
        return [a / 2 for a in grid.rotated(R)], trace / 2


class OneRow(Solution):
    """One row on a full grid with equal noise in all cells, from one pass over z = Qᵀ y. ``values``: the eigenvalues per axis, above 0."""

    def __init__(self, covariance: GridCovariance, group: RowGroup, z: np.ndarray, values: list[np.ndarray]) -> None:
        super().__init__(covariance, [group])
        backend, num_threads = covariance.grid.kernel
        self._z, self._values = z, values
        noise = group.solver.noise
        self._weighted, self._shrinkages, sums = gp_spectrum(values, z[0], noise=noise, backend=backend, num_threads=num_threads)
        self.fit, self.logdet, self._square, self._trace = map(float, sums)

    def _to_basis(self) -> np.ndarray:
        return self._z * self.groups[0].solver.inverse

    def nll_gradients(self, weights: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        if len(self.covariance.noise) > 1:
            return super().nll_gradients(weights)
        grid, w = self.covariance.grid, float(weights[0])
        shrinkages = np.split(self._shrinkages, np.cumsum(grid.shape)[:-1])
        R = grid.weighted_grams(self._weighted[None], None, self._values)
        for a, shrinkage, l in zip(R, shrinkages, self._values):
            a *= -w / 2
            a[np.diag_indices_from(a)] += w / 2 * shrinkage / l
        return grid.rotated(R), np.asarray(w / 2 * (self._trace - self._square))


def _check_memory(label: str, n: int) -> None:
    needed = 24 * n * n  # a matrix, its factor and a temporary
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return
    if needed > memory:
        raise MemoryError(
            f"{label}: a Cholesky factor of {n} cells needs {needed / 2**30:.0f} GiB, more memory than this machine has; "
            "logdet='lanczos' and the iterative solver need little memory"
        )
