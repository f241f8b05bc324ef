"""The kernels of ``gp_nll`` and ``gp_solve``: rows of y by their cells, each with the solver that fits."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments
from .grid import Grid
from .iterative import Estimated, Iterative, Progress
from .missing import ByObserved, BySpecial, Cells, Closed

FEW = 512  # special or observed cells for which a Cholesky factor costs less than iterations
LOG_2PI = math.log(2 * math.pi)


class Kept:
    """What the call of a function leaves for that of its adjoint: the memo of both."""

    solution: Any = None


class Part(NamedTuple):
    """Rows that share a solver."""

    rows: np.ndarray
    cells: Cells
    solver: Any


def check_numbers(label: str, y: np.ndarray, noise: np.ndarray, mask: np.ndarray | None) -> None:
    for i, s in enumerate(noise):
        if not (s >= 0 and math.isfinite(s)):
            where = f"noise[{i}]" if len(noise) > 1 else "noise"
            raise ValueError(f"{label}: {where} is {s}, expected a finite number, at least 0")
    _arguments.finite(y if mask is None else np.where(mask, y, 0), label, "y")


def observed_rows(y: np.ndarray, mask: np.ndarray | None, size: int) -> np.ndarray:
    """y as rows (B, N) in double precision, 0 where a cell is missing."""
    rows = np.array(y, np.float64).reshape(-1, size) if size else np.zeros((math.prod(y.shape[:-1]), 0))
    if mask is not None:
        rows[~np.broadcast_to(mask, y.shape).reshape(rows.shape)] = 0
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
    if observed <= special or cells.least == 0:
        _check_room(grid.label, observed)
        return ByObserved(grid, cells, noise)
    _check_room(grid.label, special)
    return BySpecial(grid, cells)


def fastest(grid: Grid, noise: np.ndarray, cells: Cells) -> Any:
    """The solver for right-hand sides alone; None for one that iterates."""
    if len(cells.special) == 0 or cells.least == 0 or min(len(cells.special), cells.count) <= FEW:
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
    backend: str,
) -> None:
    check_numbers("kron.gp_solve", y, noise, mask)
    grid = Grid(factors, "kron.gp_solve", backend, num_threads or None)
    rows = observed_rows(y, mask, grid.size)
    begin = None if start is None else observed_rows(start, mask, grid.size)
    done, alpha = solve_rows(grid, noise, mask, rows, tol, begin, progress)
    if kept is not None:
        kept.solution = grid, done, alpha
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
    backend: str,
) -> None:
    """README (19): C is symmetric, so its solve is its own adjoint."""
    if kept is None or kept.solution is None:
        kept = kept or Kept()
        solve(factors, y, noise, mask, start, np.empty_like(y), tol, kept, None, num_threads, backend=backend)
    grid, done, alpha = kept.solution
    g = observed_rows(grad, mask, grid.size)
    mu = np.zeros_like(g)
    for part in done:
        mu[part.rows] = part.solver.solve(g[part.rows])
    dy[...] = mu.reshape(dy.shape)
    _put(dfactors, grid.grams(grid.to_basis(mu), grid.to_basis(alpha)), -1.0)
    _put_noise(dnoise, -(mu * alpha).sum(axis=0))


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
    backend: str,
) -> None:
    """README (1), (10)."""
    check_numbers("kron.gp_nll", y, noise, mask)
    grid = Grid(factors, "kron.gp_nll", backend, num_threads or None)
    rows = observed_rows(y, mask, grid.size)
    begin = None if start is None else observed_rows(start, mask, grid.size)
    alpha, values, errors = np.zeros_like(rows), np.zeros(len(rows)), np.zeros(len(rows))
    done = []
    for part in parts(grid, noise, mask, len(rows), lambda cells: _with_logdet(grid, noise, cells, logdet, probes, seed, tol)):
        if not len(part.rows):
            continue
        if isinstance(part.solver, Estimated):
            iterative = Iterative(grid, [part.cells], tol)
            alpha[part.rows] = iterative.solve(rows[part.rows], None if begin is None else begin[part.rows])
            errors[part.rows] = part.solver.logdet_error() / 2
        else:
            alpha[part.rows] = part.solver.solve(rows[part.rows])
        fit = np.einsum("bn,bn->b", rows[part.rows], alpha[part.rows])
        values[part.rows] = (fit + part.solver.logdet() + part.cells.count * LOG_2PI) / 2
        done.append(part)
    if kept is not None:
        kept.solution = grid, done, alpha
    found[...] = values.reshape(found.shape)
    if error is not None:
        error[...] = errors.reshape(error.shape)


def _with_logdet(grid: Grid, noise: np.ndarray, cells: Cells, logdet: str, probes: int, seed: int, tol: float) -> Any:
    if logdet == "exact" or cells.least == 0 or min(len(cells.special), cells.count) <= FEW:
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
    backend: str,
) -> None:
    """README (3) to (5), (11), (16)."""
    if kept is None or kept.solution is None:
        kept = kept or Kept()
        made = np.empty(y.shape[:-1], y.dtype)
        nll(factors, y, noise, mask, start, made, None, logdet, probes, seed, tol, False, kept, num_threads, backend=backend)
    grid, done, alpha = kept.solution
    weights = grad.astype(np.float64).reshape(-1)
    dy[...] = (alpha * weights[:, None]).reshape(dy.shape)
    basis = grid.to_basis(alpha)
    R = grid.grams(basis * -weights[:, None], basis) if (weights != weights[:1]).any() else [-w * a for w, a in _same(weights, grid, basis)]
    trace = -(weights[:, None] * alpha**2).sum(axis=0)
    per_cell = len(noise) > 1
    trace = trace if per_cell else trace.sum()
    for part in done:
        weight = weights[part.rows].sum()
        own, diagonal = part.solver.traces(per_cell)
        R = [a + weight * b for a, b in zip(R, own)]
        trace = trace + weight * diagonal
    _put(dfactors, R, 0.5)
    _put_noise(dnoise, np.atleast_1d(trace) / 2)


def _same(weights: np.ndarray, grid: Grid, basis: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """All rows with one weight: half the work, as a matrix times its own transpose."""
    return [(float(weights[0]) if len(weights) else 0.0, a) for a in grid.grams(basis)]


def _put(dfactors: Sequence[np.ndarray], found: Sequence[np.ndarray], scale: float) -> None:
    for d, a in zip(dfactors, found):
        d[...] = scale / 2 * (a + a.T)  # to the last bit


def _put_noise(dnoise: np.ndarray, per_cell: np.ndarray) -> None:
    dnoise[...] = per_cell if len(dnoise) == len(per_cell) else per_cell.sum()
