"""Conjugate gradients on latent cells, which are missing or have additional noise: README (13), (14). Each row has its own cells."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._warnings import warn
from .basis import Filter
from .grid import Grid
from .low_rank import LowRank
from .missing import Cells, Closed
from .precondition import NeighbourPreconditioner, correlated_axes

Progress = Callable[[int, float], Any]
_MAX = 2000  # iterations; hundreds are already many for M, whose eigenvalues are between 1 / (largest of C) and 1 / noise
_FLOOR = (1e-14, 2e-6)  # the smallest residual in double and in single precision
_ROUNDS = 30
_LOSS = 30.0  # first estimate of the residual of C's system relative to that of M's
_MIN = 1e-15  # smallest number for single precision: the product of two such numbers does not underflow
_PROBE_TOL = 1e-4  # residual of the probes' systems, far below the error from their random signs
_NEGLIGIBLE = 1e-8  # eigenvectors with a smaller λ / noise are omitted in single precision
_PATIENCE = 16  # iterations after which M is treated as ill-conditioned


class Single(NamedTuple):
    """Products in single precision for one round; if ``closed`` is None, P is applied in double precision."""

    apply: Callable[[np.ndarray], np.ndarray]
    closed: Callable[[np.ndarray], np.ndarray] | None


class Iterative:
    """Solves for rows (B, N), with one entry of ``cells`` per row or one for all. All arrays are full grids, so rows may differ in cells.

    M, P and α are as in README (9), times the smallest noise, and right-hand sides are about 1: all numbers are unitless, so no square
    leaves the range of float64.
    """

    def __init__(self, grid: Grid, cells: Sequence[Cells], tol: float) -> None:
        self.grid, self.tol = grid, tol
        self.low_rank: LowRank | None = None
        self.observed = np.array([c.observed for c in cells]).reshape(-1, grid.size)
        base_noise = [c.base_noise for c in cells]
        self.base_noise = np.array(base_noise if len(set(base_noise)) > 1 else base_noise[:1])
        self.inverse = np.array([s * grid.inverse_eigenvalues(s) for s in self.base_noise])
        shape = self.observed.shape
        self.latent, self.extra_noise_inverse, self.extra_noise = np.zeros(shape, bool), np.zeros(shape), np.zeros(shape)
        for b, c in enumerate(cells):
            self.latent[b, c.latent], self.extra_noise_inverse[b, c.latent] = True, c.base_noise * c.extra_noise_inverse
            seen = np.isfinite(c.extra_noise)
            self.extra_noise[b, c.latent[seen]] = c.extra_noise[seen]

    @functools.cached_property
    def diagonal(self) -> np.ndarray:
        """The diagonal of M, and 1 at cells that are not latent."""
        return np.where(self.latent, self.grid.diagonal_of(self.inverse) + self.extra_noise_inverse, 1.0)

    @functools.cached_property
    def _fits_single(self) -> bool:
        """Whether M is in the range of single precision."""
        inverse, high = self.inverse, 1 / _MIN
        if not inverse.size:
            return True
        return bool(inverse.min() > _MIN and inverse.max() < high and self.extra_noise_inverse.max(initial=0.0) < high)

    @functools.cached_property
    def _neighbours(self) -> NeighbourPreconditioner:
        inverse = self.inverse.astype(np.float32) if self._fits_single else self.inverse
        return NeighbourPreconditioner(self.grid, inverse, self.latent, self.extra_noise_inverse, correlated_axes(self.grid, self.inverse))

    @functools.cached_property
    def _may_deflate(self) -> bool:
        """Whether a ``LowRank`` may help if there are many iterations."""
        smooth = self.grid.is_orthogonal and not self._neighbours.axes
        return smooth and len(self.observed) == 1 and len(self.grid.shape) > 1 and self.grid.eigenvalues.max() > self.base_noise[0]

    def deflate(self) -> None:
        """Switch to the preconditioner for large holes."""
        if self.low_rank is None and self._may_deflate:
            self.low_rank = LowRank(self.grid, float(self.base_noise[0]), self.latent[0] / (1 + self.extra_noise_inverse[0]))

    @functools.cached_property
    def closed(self) -> Filter:
        """x -> P x, with each row's smallest noise."""
        return Filter(self.grid.basis, self.inverse)

    def apply(self, b: np.ndarray) -> np.ndarray:
        """M b for grids b that are 0 except at latent cells."""
        product = self.closed(b)
        product *= self.latent
        product += self.extra_noise_inverse * b
        return product

    def solve(self, y: np.ndarray, start: np.ndarray | None = None, progress: Progress | None = None) -> np.ndarray:
        """C⁻¹ y, with a residual of C's own system of at most ``tol`` |y|: README (13).

        Each round solves for the residual of the last one: in single precision while rounds reduce it tenfold, then in double.
        """
        e = np.frexp(np.abs(y).max(axis=1, initial=0.0))[1][:, None]
        if start is not None:
            start = np.ldexp(start * self.observed, -e) * self.base_noise[:, None]
        return np.ldexp(self._solve(np.ldexp(y, -e), start, progress) / self.base_noise[:, None], e)

    def _solve(self, y: np.ndarray, start: np.ndarray | None, progress: Progress | None) -> np.ndarray:
        alpha: np.ndarray = np.zeros_like(y) if start is None else start
        left = y.copy() if start is None else self._left(y, alpha)
        target, scale, single = self.tol * _norms(y), _norms(left), self._single
        count, stalled, loss, after = 0, 0, _LOSS, scale
        for _ in range(_ROUNDS):
            before, low_rank = after, self.low_rank
            if not (before > target).any():
                return alpha
            per_unit = 1 / np.where(before > 0, before, 1)
            step, cg = self._round(left, target * per_unit / loss, single, progress and _continued(progress, scale, before, count))
            alpha += step
            left, count = self._left(y, alpha), count + len(cg.steps)
            after = _norms(left)
            if self.low_rank is not low_rank:  # the round was cut short
                continue
            share = np.where(after > target, after * per_unit, 0)
            seen = float((share / np.maximum(cg.left, 1e-300)).max())
            if share.max() > 0.1 and seen > 30 * loss and single is not None:
                single = None  # probably rounding
            elif share.max() > 0.5 and single is None:
                stalled += 1
                if stalled == 3:
                    break
            loss = max(2 * seen, 1.0)
        if not (after > target).any():
            return alpha
        size = _norms(y)
        worst = float((after / np.where(size > 0, size, 1)).max())
        warn(
            f"{self.grid.label}: conjugate gradients stopped at a residual of {worst:.1e} |y| after {count} iterations, expected "
            f"{self.tol:.1e}; raise tol, or add noise"
        )
        return alpha

    def _round(
        self, y: np.ndarray, share: np.ndarray, single: Single | None, report: Progress | None
    ) -> tuple[np.ndarray, ConjugateGradients]:
        """An approximate C⁻¹ y: iterations on M, in single or double precision, to a residual of ``share`` times its right-hand side."""
        size = _norms(y)
        unit = np.where(size > 0, size, 1)[:, None]
        rough = single is not None and single.closed is not None
        closed: Any = single.closed if single is not None and rough else self.closed
        w = closed((y / unit).astype(np.float32 if rough else np.float64))
        dtype = np.float64 if single is None else np.float32
        rhs = (w * self.latent).astype(dtype)
        begin = _norms(rhs)
        cg = ConjugateGradients(single.apply if single else self.apply, rhs, self.low_rank or self._neighbours.astype(dtype))
        scale, max_steps = np.where(begin > 0, begin, 1), _PATIENCE if self.low_rank is None and self._may_deflate else _MAX
        cg.run(begin * np.maximum(np.minimum(share, 1), _FLOOR[single is not None]), report and _scaled(report, scale), max_steps)
        cg.left = _norms(cg.r) / scale
        if len(cg.steps) == _PATIENCE == max_steps:
            self.deflate()
        step: np.ndarray = (w - closed(cg.x.astype(w.dtype, copy=False))) * self.observed * unit
        return step, cg

    def _left(self, y: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The residual y - C α at observed cells."""
        base_noise = self.base_noise[:, None]
        noise = (1 + self.extra_noise / base_noise) * self.grid.noise_product(alpha)
        return (y - self.grid.product(alpha) / base_noise - noise) * self.observed

    @functools.cached_property
    def _single(self) -> Single | None:
        """M and P in single precision; None if its range is too small. If few eigenvectors matter, M uses only these, README (14), which
        would not be accurate enough for P."""
        if not self._fits_single:
            return None
        grid = self.grid
        largest = [l.max(initial=0.0) for l in grid.values]
        others = [math.prod(largest[:k] + largest[k + 1 :]) for k in range(len(largest))]
        selected = [l * o > _NEGLIGIBLE * self.base_noise.min() for l, o in zip(grid.values, others)]
        few = grid.is_orthogonal and math.prod(int(k.sum()) for k in selected) < grid.size / 2
        if few:
            parts = Filter(grid.basis, -self.inverse * grid.eigenvalues / self.base_noise[:, None], np.float32, selected)
        else:
            parts = Filter(grid.basis, self.inverse, np.float32)
        latent, direct = self.latent.astype(np.float32), (self.extra_noise_inverse + (self.latent if few else 0)).astype(np.float32)

        def apply(x: np.ndarray) -> np.ndarray:
            product: np.ndarray = parts(x)
            product *= latent
            product += direct * x
            return product

        return Single(apply, None if few else parts)


class ConjugateGradients:
    """Solves A x = b for all rows of b together, from x = 0; records the coefficients, from which the Lanczos matrix follows."""

    def __init__(self, apply: Callable[[np.ndarray], np.ndarray], b: np.ndarray, precondition: Callable[[np.ndarray], np.ndarray]) -> None:
        self.apply, self.precondition = apply, precondition
        self.x, self.r = np.zeros_like(b), b.copy()
        self.p = precondition(b)
        self.rho = _dots(self.r, self.p)
        self.left = np.ones(len(b))  # residual relative to the right-hand side after a round
        self.steps: list[tuple[np.ndarray, np.ndarray]] = []  # (alpha, beta) of every iteration, one number per row

    def run(self, target: np.ndarray, progress: Any = None, max_steps: int = _MAX) -> None:
        """Iterates until the residual of every row is at most its target; another call may continue to a lower target."""
        size = _norms(self.r)
        while len(self.steps) < max_steps and (size > target).any():
            q = self.apply(self.p)
            curvature = _dots(self.p, q)
            alive = (size > target) & (curvature > 0)
            if not alive.any():
                break
            alpha = np.where(alive, self.rho / np.where(alive, curvature, 1), 0)
            steps = alpha.astype(q.dtype)[:, None]
            self.x += steps * self.p
            q *= steps
            self.r -= q
            z = self.precondition(self.r)
            rho = np.where(alive, _dots(self.r, z), self.rho)
            beta = np.where(alive, rho / np.where(self.rho > 0, self.rho, 1), 0)
            self._turn(z, beta.astype(z.dtype)[:, None], alive)
            self.rho, size = rho, _norms(self.r)
            self.steps.append((alpha, beta))
            if progress is not None:
                progress(len(self.steps), size)

    def _turn(self, z: np.ndarray, beta: np.ndarray, alive: np.ndarray) -> None:
        """The next direction; rows that have stopped keep theirs."""
        if alive.all():
            self.p *= beta
            self.p += z
        else:
            self.p = np.where(alive[:, None], z + beta * self.p, self.p)

    def log_quadrature(self) -> np.ndarray:
        """e_1^T log(T) e_1 for the tridiagonal matrix T of every row, README (15)."""
        values = np.zeros(len(self.x))
        for row in range(len(values)):
            steps = [(a[row], b[row]) for a, b in self.steps if a[row] > 0]
            if not steps:
                continue
            alpha, beta = np.array(steps).T
            diagonal = 1 / alpha
            diagonal[1:] += beta[:-1] / alpha[:-1]
            off = np.sqrt(beta[:-1]) / alpha[:-1]
            theta, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
            values[row] = vectors[0] ** 2 @ np.log(theta)
        return values


class Estimated:
    """log det C and traces from probes of random signs, for a row with too many cells for a Cholesky factor: README (15), (16)."""

    def __init__(self, iterative: Iterative, cells: Cells, tol: float, probes: int, rng: np.random.Generator) -> None:
        self.grid, self.cells, self.iterative = iterative.grid, cells, iterative
        self.closed, self._tol, self._probes, self._rng = Closed(self.grid, cells.base_noise), tol, probes, rng

    @functools.cached_property
    def _solved(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, W z and the estimate of log det M for every probe z; W is the preconditioner, and z has the covariance W⁻¹."""
        it, latent = self.iterative, self.cells.latent
        single, low_rank = it._single, it.low_rank
        apply, dtype = (it.apply, np.float64) if single is None else (single.apply, np.float32)
        signs = np.zeros((self._probes, self.grid.size if low_rank is None else low_rank.signs), dtype)
        for row in signs:  # row by row, so that the first probes do not depend on the number of probes
            at = latent if low_rank is None else slice(None)
            row[at] = self._rng.integers(0, 2, len(row[at])) * 2.0 - 1
        if low_rank is None:
            root, inverse = np.sqrt(it.diagonal[0]), (1 / it.diagonal).astype(dtype)
            rows, known = signs * root.astype(dtype), 2 * float(np.log(root[latent]).sum())
            cg = ConjugateGradients(apply, rows, lambda r: r * inverse)
        else:
            rows, known = low_rank.probes(signs), low_rank.logdet()
            cg = ConjugateGradients(apply, rows, low_rank)
        right, size = cg.p.astype(np.float64), cg.rho
        cg.run(np.full(len(rows), max(self._tol, _PROBE_TOL)) * _norms(rows))
        unit = self.cells.base_noise**0.5
        left = cg.x.astype(np.float64)
        return left * unit, right * unit, known - len(latent) * math.log(self.cells.base_noise) + size * cg.log_quadrature()

    @functools.cached_property
    def _logdets(self) -> np.ndarray:
        """Every probe's estimate of log det C, (probes,)."""
        extra = self.cells.extra_noise[np.isfinite(self.cells.extra_noise)]
        return self.closed.logdet() + float(np.log(extra).sum()) + self._solved[2]

    def logdet(self) -> float:
        return float(self._logdets.mean())

    def logdet_error(self) -> float:
        """The standard error of ``logdet``."""
        return float(self._logdets.std(ddof=1) / len(self._logdets) ** 0.5)

    def traces(self, per_cell: bool) -> tuple[list[np.ndarray], np.ndarray]:
        R, trace = self.closed.traces(per_cell)
        left, right = (self.grid.to_basis(a) * self.closed.inverse for a in self._solved[:2])
        R = [a - b / len(left) for a, b in zip(R, self.grid.grams(left, right))]
        if not per_cell:
            return R, trace - (left * right).sum() / len(left)
        trace = trace - (self.grid.from_basis(left) * self.grid.from_basis(right)).mean(axis=0)
        trace[~self.cells.observed] = 0
        return R, trace


def _continued(progress: Progress, scale: np.ndarray, now: np.ndarray, before: int) -> Progress:
    """``progress`` for one round after ``before`` iterations; the round's residuals start at 1, in units of ``now``."""
    share = now / np.where(scale > 0, scale, 1)
    return lambda count, size: progress(before + count, float((size * share).max(initial=0.0)))


def _scaled(report: Any, scale: np.ndarray) -> Any:
    return lambda count, left: report(count, left / scale)


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise dot products by BLAS in the precision of the rows, returned in double precision."""
    return np.array([x @ y for x, y in zip(a, b)], np.float64).reshape(len(a))


def _norms(a: np.ndarray) -> np.ndarray:
    return np.sqrt(_dots(a, a))
