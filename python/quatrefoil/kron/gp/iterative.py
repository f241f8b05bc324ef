"""Conjugate gradients on the special cells of a grid (missing, or of more noise): README (13), (14). Each row has its own cells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .grid import Grid
from .missing import Cells, Closed

Progress = Callable[[int, float], Any]
_MOST = 2000  # iterations: hundreds are many for M, whose eigenvalues lie between 1 / (largest of C) and 1 / noise


class Iterative:
    """Rows (B, N), the cells of each in ``cells``, or one for all. Works on grids, so that rows may differ in their cells."""

    def __init__(self, grid: Grid, cells: Sequence[Cells], tol: float, progress: Progress | None = None) -> None:
        self.grid, self.tol, self.progress = grid, tol, progress
        self.observed = np.array([c.observed for c in cells]).reshape(-1, grid.size)
        inverses = {c.least: grid.inverse_eigenvalues(c.least) for c in cells}
        self.inverse = np.array([inverses[c.least] for c in cells] if len(inverses) > 1 else list(inverses.values()))
        shape = self.observed.shape
        self.special, self.ridge, self.more = np.zeros(shape, bool), np.zeros(shape), np.zeros(shape)
        for b, c in enumerate(cells):
            self.special[b, c.special], self.ridge[b, c.special] = True, c.ridge
            seen = np.isfinite(c.more)
            self.more[b, c.special[seen]] = c.more[seen]
        self.diagonal = np.where(self.special, grid.diagonal_of(self.inverse) + self.ridge, 1.0)  # of M: the preconditioner

    def closed(self, rows: np.ndarray) -> np.ndarray:
        """P x, with each row's least noise."""
        return self.grid.basis.filter(rows, self.inverse)

    def apply(self, b: np.ndarray) -> np.ndarray:
        """M b for grids b that are 0 but at special cells."""
        found = self.closed(b)
        found *= self.special
        found += self.ridge * b
        return found

    def solve(self, y: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """C⁻¹ y, until the residual of C's own system is at most ``tol`` |y|: README (13)."""
        w = self.closed(y)
        size = np.linalg.norm(y, axis=1)
        b = np.zeros_like(y)
        if start is not None:  # README (14)
            missing = self.special & ~self.observed
            b = np.where(missing, -self.grid.product(start * self.observed), self.more * start)
        scale = np.linalg.norm(w * self.special, axis=1)
        target, cg = self.tol * scale, ConjugateGradients(self.apply, w * self.special, self.diagonal, b)
        for _ in range(8):
            cg.run(target, self._report(scale))
            residual = np.linalg.norm(self._true_residual(cg.r), axis=1)
            late = residual > self.tol * size
            if not late.any():
                break
            shrink = 0.5 * self.tol * size / np.where(late, residual, 1)
            target = np.where(late, np.linalg.norm(cg.r, axis=1) * shrink, target)
        else:
            worst = float((residual / np.where(size > 0, size, 1)).max())
            warnings.warn(
                f"{self.grid.label}: conjugate gradients stopped at a residual of {worst:.1e} |y| after {len(cg.steps)} iterations, "
                f"expected {self.tol:.1e}; raise tol, or add noise",
                RuntimeWarning,
                stacklevel=2,
            )
        found: np.ndarray = (w - self.closed(cg.x)) * self.observed
        return found

    def _true_residual(self, r: np.ndarray) -> np.ndarray:
        missing = self.special & ~self.observed
        found: np.ndarray = (self.more * r - self.grid.product(r * missing)) * self.observed
        return found

    def _report(self, scale: np.ndarray) -> Progress | None:
        progress = self.progress
        if progress is None:
            return None
        return lambda count, size: progress(count, float((size / np.where(scale > 0, scale, 1)).max(initial=0.0)))


class ConjugateGradients:
    """A x = b for the rows of b at once, preconditioned by a diagonal; keeps its coefficients, which are those of Lanczos."""

    def __init__(self, apply: Callable[[np.ndarray], np.ndarray], b: np.ndarray, diagonal: np.ndarray, start: np.ndarray) -> None:
        self.apply, self.diagonal = apply, diagonal
        self.x = start.copy()
        self.r = b - apply(self.x) if start.any() else b.copy()
        self.p = self.r / diagonal
        self.rho = _dots(self.r, self.p)
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []  # (alpha, beta) of every iteration, a number a row

    def run(self, target: np.ndarray, progress: Any = None) -> None:
        """Until the residual of every row is at most its target; may go on later, to a lower one."""
        size = np.linalg.norm(self.r, axis=1)
        while len(self.steps) < _MOST and (size > target).any():
            q = self.apply(self.p)
            curvature = _dots(self.p, q)
            alive = (size > target) & (curvature > 0)
            if not alive.any():
                break
            alpha = np.where(alive, self.rho / np.where(alive, curvature, 1), 0)
            self.x += alpha[:, None] * self.p
            self.r -= alpha[:, None] * q
            z = self.r / self.diagonal
            rho = np.where(alive, _dots(self.r, z), self.rho)
            beta = np.where(alive, rho / np.where(self.rho > 0, self.rho, 1), 0)
            self.p = np.where(alive[:, None], z + beta[:, None] * self.p, self.p)  # a row that waits keeps its direction
            self.rho, size = rho, np.linalg.norm(self.r, axis=1)
            self.steps.append((alpha, beta))
            if progress is not None:
                progress(len(self.steps), size)

    def log_quadrature(self) -> np.ndarray:
        """e_1^T log(T) e_1 of the tridiagonal matrix T of every row, README (15)."""
        found = np.zeros(len(self.x))
        for row in range(len(found)):
            steps = [(a[row], b[row]) for a, b in self.steps if a[row] > 0]
            if not steps:
                continue
            alpha, beta = np.array(steps).T
            diagonal = 1 / alpha
            diagonal[1:] += beta[:-1] / alpha[:-1]
            off = np.sqrt(beta[:-1]) / alpha[:-1]
            theta, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
            found[row] = vectors[0] ** 2 @ np.log(theta)
        return found


class Estimated:
    """log det C and traces by probes of random signs, for a row whose cells are too many for a Cholesky factor: README (15), (16)."""

    def __init__(self, grid: Grid, cells: Cells, tol: float, probes: int, rng: np.random.Generator) -> None:
        self.grid, self.cells, self.iterative = grid, cells, Iterative(grid, [cells], tol)
        self.closed, it = Closed(grid, cells.least), self.iterative
        signs = np.zeros((probes, grid.size))
        for row in signs:  # so that the first probes do not depend on how many there are
            row[cells.special] = rng.integers(0, 2, len(cells.special)) * 2.0 - 1
        root = np.sqrt(it.diagonal[0])
        cg = ConjugateGradients(it.apply, signs * root, it.diagonal, np.zeros_like(signs))
        cg.run(np.full(probes, tol) * np.linalg.norm(signs * root, axis=1))
        self.left, self.right = cg.x, signs / root
        more = cells.more[np.isfinite(cells.more)]
        known = self.closed.logdet() + float(np.log(more).sum()) + 2 * float(np.log(root[cells.special]).sum())
        self.logdets = known + len(cells.special) * cg.log_quadrature()

    def logdet(self) -> float:
        return float(self.logdets.mean())

    def logdet_error(self) -> float:
        """The standard error of ``logdet``."""
        return float(self.logdets.std(ddof=1) / len(self.logdets) ** 0.5)

    def traces(self, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        R, trace = self.closed.traces(per_cell)
        left, right = (self.grid.to_basis(a) * self.closed.inverse for a in (self.left, self.right))
        R = [a - b / len(left) for a, b in zip(R, self.grid.grams(left, right))]
        if not per_cell:
            return R, trace - (left * right).sum() / len(left)
        trace = trace - (self.grid.from_basis(left) * self.grid.from_basis(right)).mean(axis=0)
        trace[~self.cells.observed] = 0
        return R, trace


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.einsum("bn,bn->b", a, b)
    return found
