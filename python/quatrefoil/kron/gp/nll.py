"""The kernels of ``gp_nll`` and ``gp_solve``: rows of y by their cells, each with the solver that fits."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments
from ..._typing import Backend
from .grid import Grid
from .iterative import Estimated, Iterative, Progress
from .missing import ByObserved, BySpecial, Cells, Closed
from .spectrum import gp_spectrum

FEW = 512  # special or observed cells for which a Cholesky factor costs less than iterations
LOG_2PI = math.log(2 * math.pi)


class Kept:
    """What the call of a function leaves for that of its adjoint: the memo of both."""

    solution: Solution | None = None


class Part(NamedTuple):
    """Rows that share a solver."""

    rows: np.ndarray
    cells: Cells
    solver: Any


class Solution:
    """α of every row, in the basis of eigenvectors too, either made from the other when it is first asked for."""

    def __init__(self, grid: Grid, parts: list[Part], *, alpha: np.ndarray | None = None, basis: np.ndarray | None = None) -> None:
        self.grid, self.parts = grid, parts
        self._alpha, self._basis = alpha, basis

    @property
    def alpha(self) -> np.ndarray:
        if self._alpha is None:
            self._alpha = self.grid.from_basis(self.basis)
        return self._alpha

    @property
    def basis(self) -> np.ndarray:
        if self._basis is None:
            self._basis = self._to_basis()
        return self._basis

    def _to_basis(self) -> np.ndarray:
        assert self._alpha is not None
        return self.grid.to_basis(self._alpha)

    def gradients(self, weights: np.ndarray, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        """Of the weighted sum of the rows' nll, by the factors and the noise, one number or (N,): README (3) to (5), (11), (16)."""
        grid, same = self.grid, len(weights) > 0 and bool((weights == weights[0]).all())
        if same:  # a matrix times its own transpose: half the work
            R = [-weights[0] * a for a in grid.grams(self.basis)]
        else:
            R = grid.grams(self.basis * -weights[:, None], self.basis)
        squares = self.alpha**2 if per_cell else np.einsum("bn,bn->b", self.basis, self.basis)[:, None]
        trace = -(weights[:, None] * squares).sum(axis=0)
        for part in self.parts:
            weight = weights[part.rows].sum()
            own, diagonal = part.solver.traces(per_cell)
            R = [a + weight * b for a, b in zip(R, own)]
            trace = trace + weight * diagonal
        return [a / 2 for a in grid.rotated(R)], trace / 2


class OneRow(Solution):
    """Of one row of all cells with one noise, from one pass over z = Qᵀ y; ``values`` are the eigenvalues of every axis, above 0."""

    def __init__(self, grid: Grid, part: Part, z: np.ndarray, values: list[np.ndarray]) -> None:
        super().__init__(grid, [part])
        backend, num_threads = grid.kernel
        self._z, self._values = z, values
        noise = part.solver.noise
        self._weighted, self._shares, sums = gp_spectrum(values, z[0], noise=noise, backend=backend, num_threads=num_threads)
        self.fit, self.logdet, self._square, self._trace = map(float, sums)

    def _to_basis(self) -> np.ndarray:
        found: np.ndarray = self._z * self.parts[0].solver.inverse
        return found

    def gradients(self, weights: np.ndarray, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        if per_cell:
            return super().gradients(weights, per_cell)
        grid, w = self.grid, float(weights[0])
        shares = np.split(self._shares, np.cumsum(grid.shape)[:-1])
        R = grid.weighted_grams(self._weighted[None], None, self._values)
        for a, share, l in zip(R, shares, self._values):
            a *= -w / 2
            a[np.diag_indices_from(a)] += w / 2 * share / l
        return grid.rotated(R), np.asarray(w / 2 * (self._trace - self._square))


def check_numbers(label: str, y: np.ndarray, noise: np.ndarray, mask: np.ndarray | None) -> None:
    check_noise(label, noise)
    try:
        _arguments.finite(y if mask is None else np.where(mask, y, 0), label, "y")
    except ValueError as error:
        raise ValueError(f"{error}; mask=~np.isnan(y) leaves cells out (by torch.isnan or jnp.isnan for their arrays)") from None


def check_noise(label: str, noise: np.ndarray) -> None:
    bad = np.flatnonzero(~(np.isfinite(noise) & (noise >= 0)))
    if len(bad):
        where = f"noise[{bad[0]}]" if len(noise) > 1 else "noise"
        raise ValueError(f"{label}: {where} is {noise[bad[0]]}, expected a finite number, at least 0")


def observed_rows(y: np.ndarray, mask: np.ndarray | None, size: int) -> np.ndarray:
    """y as rows (B, N) in double precision, 0 where a cell is missing."""
    if mask is not None:
        y = np.where(mask, y, 0)
    rows: np.ndarray = np.ascontiguousarray(y, np.float64).reshape(math.prod(y.shape[:-1]), size)
    return rows


def parts(grid: Grid, noise: np.ndarray, mask: np.ndarray | None, count: int, make: Any) -> list[Part]:
    """The rows of every different mask, with the solver that ``make(cells)`` gives for it."""
    masks: list[np.ndarray | None] = [mask]
    which = np.zeros(count, np.intp)
    if mask is not None and mask.ndim > 1 and not mask.size:
        masks = [np.ones(grid.size, bool)]
    elif mask is not None and mask.ndim > 1:
        different, which = np.unique(mask.reshape(-1, grid.size), axis=0, return_inverse=True)
        masks = list(different)
    found = []
    for i, m in enumerate(masks):
        cells = Cells(noise, m, grid.size)
        found.append(Part(np.flatnonzero(which.reshape(-1) == i), cells, make(cells)))
    return found


def exact(grid: Grid, noise: np.ndarray, cells: Cells) -> Any:
    """The solver without iterations that costs least; MemoryError where there is no room for it."""
    special, observed = len(cells.special), cells.count
    if special == 0:
        return Closed(grid, cells.least)
    if observed <= special or grid.is_negligible(cells.least):
        _check_room(grid.label, observed)
        return ByObserved(grid, cells, noise)
    _check_room(grid.label, special)
    return BySpecial(grid, cells)


def fastest(grid: Grid, noise: np.ndarray, cells: Cells) -> Any:
    """The solver for right-hand sides alone; None for one that iterates."""
    if len(cells.special) == 0 or grid.is_negligible(cells.least) or min(len(cells.special), cells.count) <= FEW:
        return exact(grid, noise, cells)
    return None


def _check_room(label: str, n: int) -> None:
    needed = 24 * n * n  # a matrix, its factor and one on the way
    try:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return
    if needed > room:
        raise MemoryError(
            f"{label}: a Cholesky factor of {n} cells takes {needed / 2**30:.0f} GiB, more than this machine has; "
            "logdet='lanczos' and the iterative solver take little"
        )


def solve_rows(
    grid: Grid,
    noise: np.ndarray,
    mask: np.ndarray | None,
    rows: np.ndarray,
    tol: float,
    start: np.ndarray | None,
    progress: Progress | None,
) -> tuple[list[Part], np.ndarray]:
    """C⁻¹ y, and what solved it."""
    found = np.zeros_like(rows)
    done, left = [], []
    for part in parts(grid, noise, mask, len(rows), lambda cells: fastest(grid, noise, cells)):
        if not len(part.rows):
            continue
        if part.solver is None:
            left.append(part)
        else:
            found[part.rows] = part.solver.solve(rows[part.rows])
            done.append(part)
    if left:
        at = np.concatenate([p.rows for p in left])
        cells = [p.cells for p in left for _ in p.rows]
        solver = Iterative(grid, cells if len(left) > 1 else cells[:1], tol, progress)
        found[at] = solver.solve(rows[at], None if start is None else start[at])
        done.append(Part(at, left[0].cells, solver))
    return done, found


# ---------------------------------------------------------------- gp_solve


def solve(
    factors: Sequence[np.ndarray],
    y: np.ndarray,
    noise: np.ndarray,
    mask: np.ndarray | None,
    start: np.ndarray | None,
    found: np.ndarray,
    tol: float,
    kept: Kept | None,
    progress: Progress | None,
    num_threads: int,
    *,
    backend: Backend,
) -> None:
    check_numbers("kron.gp_solve", y, noise, mask)
    grid = Grid(factors, "kron.gp_solve", backend, num_threads or None)
    rows = observed_rows(y, mask, grid.size)
    begin = None if start is None else observed_rows(start, mask, grid.size)
    done, alpha = solve_rows(grid, noise, mask, rows, tol, begin, progress)
    if kept is not None:
        kept.solution = Solution(grid, done, alpha=alpha)
    found[...] = alpha.reshape(found.shape)


def solve_adjoint(
    factors: Sequence[np.ndarray],
    y: np.ndarray,
    noise: np.ndarray,
    mask: np.ndarray | None,
    start: np.ndarray | None,
    grad: np.ndarray,
    dfactors: Sequence[np.ndarray],
    dy: np.ndarray,
    dnoise: np.ndarray,
    dmask: None,
    dstart: None,
    tol: float,
    kept: Kept | None,
    progress: Progress | None,
    num_threads: int,
    *,
    backend: Backend,
) -> None:
    """README (19): C is symmetric, so its solve is its own adjoint."""
    kept = kept or Kept()
    if kept.solution is None:
        solve(factors, y, noise, mask, start, np.empty_like(y), tol, kept, None, num_threads, backend=backend)
    assert kept.solution is not None
    solved = kept.solution
    grid = solved.grid
    g = observed_rows(grad, mask, grid.size)
    mu = np.zeros_like(g)
    for part in solved.parts:
        mu[part.rows] = part.solver.solve(g[part.rows])
    dy[...] = mu.reshape(dy.shape)
    for d, a in zip(dfactors, grid.rotated(grid.grams(grid.to_basis(mu), solved.basis))):
        d[...] = -a
    of_noise = -(mu * solved.alpha).sum(axis=0)
    dnoise[...] = of_noise if len(noise) > 1 else of_noise.sum()


# ---------------------------------------------------------------- gp_nll


def nll(
    factors: Sequence[np.ndarray],
    y: np.ndarray,
    noise: np.ndarray,
    mask: np.ndarray | None,
    start: np.ndarray | None,
    found: np.ndarray,
    error: np.ndarray | None,
    logdet: str,
    probes: int,
    seed: int,
    tol: float,
    return_error: bool,
    kept: Kept | None,
    num_threads: int,
    *,
    backend: Backend,
) -> None:
    """README (1), (10)."""
    check_numbers("kron.gp_nll", y, noise, mask)
    grid = Grid(factors, "kron.gp_nll", backend, num_threads or None)
    rows = observed_rows(y, mask, grid.size)
    begin = None if start is None else observed_rows(start, mask, grid.size)
    values, errors = np.zeros(len(rows)), np.zeros(len(rows))
    solved: Solution
    found_parts = parts(grid, noise, mask, len(rows), lambda cells: _with_logdet(grid, noise, cells, logdet, probes, seed, tol))
    done = [p for p in found_parts if len(p.rows)]
    if len(done) == 1 and isinstance(done[0].solver, Closed):
        z = grid.to_basis(rows)
        grid.refuse_singular(done[0].solver.noise)
        if len(rows) == 1 and done[0].solver.noise and grid.floored is not None:
            one = OneRow(grid, done[0], z, grid.floored)
            solved, fit = one, np.full(1, one.fit)
        else:
            solved = Solution(grid, done, basis=z * done[0].solver.inverse)
            fit = np.einsum("bn,bn->b", z, solved.basis)
    else:
        alpha = np.zeros_like(rows)
        for part in done:
            if isinstance(part.solver, Estimated):
                iterative = Iterative(grid, [part.cells], tol)
                alpha[part.rows] = iterative.solve(rows[part.rows], None if begin is None else begin[part.rows])
                errors[part.rows] = part.solver.logdet_error() / 2
            else:
                alpha[part.rows] = part.solver.solve(rows[part.rows])
        solved = Solution(grid, done, alpha=alpha)
        fit = np.einsum("bn,bn->b", rows, alpha)
    for part in done:
        determinant = solved.logdet if isinstance(solved, OneRow) else part.solver.logdet()
        values[part.rows] = (fit[part.rows] + determinant + part.cells.count * LOG_2PI) / 2
    if kept is not None:
        kept.solution = solved
    found[...] = values.reshape(found.shape)
    if error is not None:
        error[...] = errors.reshape(error.shape)


def _with_logdet(grid: Grid, noise: np.ndarray, cells: Cells, logdet: str, probes: int, seed: int, tol: float) -> Any:
    if logdet == "exact" or grid.is_negligible(cells.least) or min(len(cells.special), cells.count) <= FEW:
        return exact(grid, noise, cells)
    return Estimated(grid, cells, tol, probes, np.random.default_rng(seed))


def nll_adjoint(
    factors: Sequence[np.ndarray],
    y: np.ndarray,
    noise: np.ndarray,
    mask: np.ndarray | None,
    start: np.ndarray | None,
    grad: np.ndarray,
    dfactors: Sequence[np.ndarray],
    dy: np.ndarray,
    dnoise: np.ndarray,
    dmask: None,
    dstart: None,
    logdet: str,
    probes: int,
    seed: int,
    tol: float,
    return_error: bool,
    kept: Kept | None,
    num_threads: int,
    *,
    backend: Backend,
) -> None:
    """README (3) to (5), (11), (16)."""
    kept = kept or Kept()
    if kept.solution is None:
        made = np.empty(y.shape[:-1], y.dtype)
        nll(factors, y, noise, mask, start, made, None, logdet, probes, seed, tol, False, kept, num_threads, backend=backend)
    assert kept.solution is not None
    weights = grad.astype(np.float64).reshape(-1)
    dy[...] = (kept.solution.alpha * weights[:, None]).reshape(dy.shape)
    R, of_noise = kept.solution.gradients(weights, len(noise) > 1)
    for d, a in zip(dfactors, R):
        d[...] = a
    dnoise[...] = of_noise
