"""Tucker tensors of Chebyshev coefficients from values of a function along fibres. Equation numbers: csrc/cheb/README.md.

A fibre is a line along an axis. All outputs of a function are sampled together, each divided by its largest value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import to_reference
from ..scattered import tucker_eval
from ..transform import coeffs2vals, polynomials, vals2coeffs
from ..tucker import tucker
from . import algebra, train
from .function import MAX_VALUES, Function, NotResolved
from .train import TensorTrain

Tensors = list[tuple[Any, list[np.ndarray]]]

START = 5  # initial number of points of a fibre; refinement from n to 2n - 1 points nests the grids
MAX_POINTS = 2**16 + 1  # maximum number of points of a fibre
MAX_RANK = 80  # maximum rank of an axis if the full grid exceeds MAX_VALUES, and of a train
CHAINED = 2 * MAX_RANK  # maximum number of random columns of an unfolding of a train
PROBES = 4  # initial random fibres per axis
CORNERS = 1  # how many of these pass through corners
SPARE = 2  # fibres per axis that must be in the span of the others
ROUGH = 1  # number of fibres of each initial group that are tested at two more points
BOUNDS = (*[1] * 12, 2, 4, 8, 10, 10)  # largest error in the test before compression, in units of tol, one per attempt
TESTED = (16, 100)  # minimum and maximum number of random points at which a result is tested
MAX_CORNERS = 32  # maximum number of corners of the domain at which it is tested
CHECKED = 30  # number of random test points for a fixed grid
ALLOWED = 10  # largest error at a point relative to the largest |f|, in units of tol; tol itself bounds the mean square
LEFT = 0.5  # fraction of tol allowed for the residual of a fibre outside a basis
FEW = 2  # failed tests after which the number of fibres grows by a third instead of by ``SPARE``
WORTH = 2  # after a failed test, a full grid of at most this factor times the values of fibres and core is used instead
PATIENCE = 0.3  # if fibres take more than this fraction of the full grid, their final number is predicted
KEPT = 0.2  # rows of an earlier core are reused if their pivots are at least this fraction of the largest value
FIRST, TIGHTER, FINEST = 0.5, 0.3, 0.1  # fraction of tol for bases, its factor after a failed test, and its minimum
TRUNCATED = 0.1  # fraction of tol for the first compression of a full grid
ROUNDING = 1e-13  # smallest allowed error
EPS = float(np.finfo(np.float64).eps)


def sampled(f: Function, tol: float, chained: bool = False) -> tuple[Tensors, np.ndarray]:
    """Return core and factors of each output (6)-(9) and its largest error at the test points, or raise NotResolved. With ``chained``
    cores are tensor trains (24)."""
    f.begun, numbers = f.count, np.random.Generator(np.random.Philox(key=0))
    axes = [Axis(f, k) for k in range(f.d)]
    for axis in axes:
        first = f.random_points(numbers, PROBES, CORNERS) if f.d > 1 else f.random_points(numbers, 1)
        axis.add(first[-1:], tol, rough=True)  # through a corner; the others start with as many points
        if f.d > 1:
            axis.add(first[:-1], tol, rough=True)
    X, values = np.zeros((0, f.d)), np.zeros((len(f.largest), 0))
    off, fine, corners, gridded = np.zeros(0), FIRST * tol, min(2**f.d, MAX_CORNERS), False
    core = Core(f)
    tails = np.zeros((0, f.d))  # points with large errors of earlier trains
    for tried, bound in enumerate(BOUNDS):
        rows = None if gridded or f.d == 1 else _spanned(f, axes, fine, numbers, core.points, chained)
        if f.d == 1:
            tensors = [(np.ones(1), [C]) for C in axes[0].coefficients]
        else:
            tensors = _gridded(f, axes, fine) if rows is None else _interpolated(core, rows, fine if chained else None, tails)
        more = f.random_points(numbers, corners + min(max(f.spent // 5 - len(X), TESTED[0]), TESTED[1]), corners)
        more = np.concatenate([more, *(axis.rough for axis in axes if tried == 0)])
        X, values, corners = np.concatenate([X, more]), np.concatenate([values, f(*more.T)], axis=1), 0
        errors = _errors(f, tensors, X, values)
        off = errors.max(axis=1)
        f.error = float(off.max())
        lines = [axis.worst(tensors) for axis in axes]
        if off.max() <= max(bound * tol, ROUNDING) and max(E.max() for _, E in lines) <= allowed(min(0.3 * bound, 1) * tol):
            rough = np.concatenate([axis.roughest() for axis in axes])
            missed = misfit(f, tensors, rough)
            if missed.max() <= (max(tol, ROUNDING) if bound == 1 else allowed(tol)):
                small, off = _compressed(f, tensors, tol, X, values, axes)
                return small, np.maximum(off, missed)
            X, values = np.concatenate([X, rough]), np.concatenate([values, f(*rough.T)], axis=1)
            errors = _errors(f, tensors, X, values)
        whole = math.prod(axis.n for axis in axes)
        if rows is not None and not chained and WORTH * _cost(axes, [len(part.points) for part in rows]) >= whole:
            gridded = True
            continue
        fine = max(TIGHTER * fine, FINEST * tol)
        worst = np.concatenate([X, *(points for points, _ in lines)])
        worst = worst[np.argsort(-np.concatenate([errors.max(axis=0), *(E for _, E in lines)]), kind="stable")]
        tails = np.concatenate([tails, worst[:SPARE]])
        off_lines = np.array([E.max() for _, E in lines])
        for axis, off_line in zip(axes, off_lines):
            n, count = axis.n, 1 if f.d == 1 else SPARE if tried < FEW or rows is None else max(SPARE, len(axis.others) // 3)
            for i in range(count):
                axis.add(worst[i : i + 1], fine)
                worst[i] = axis.worst(tensors, 1)[0][0]
                if rows is not None and axis.is_spanned(rows[axis.axis].basis, fine):
                    break
            if axis.n == n and off_line >= off_lines.max() / 3 and rows is None:
                axis.lengthen(fine, n // 4 if bound == 1 and f.d > 1 else n - 1)
    raise NotResolved(f"after {len(BOUNDS)} attempts, the error at the test points is {off.max():.1e} times its largest value")


def _compressed(
    f: Function, tensors: Tensors, tol: float, X: np.ndarray, values: np.ndarray, axes: Sequence[Axis]
) -> tuple[Tensors, np.ndarray]:
    """Round the tensors to ``tol``, or to less if their errors at the points X or on the fibres are too large. Also return the errors."""
    for share in (1.0, 0.3, 0.1):
        small = [algebra.rounded(core, factors, share * tol, f.label, trim=True) for core, factors in tensors]
        off = _errors(f, small, X, values).max(axis=1)
        line = max(axis.worst(small)[1].max() for axis in axes)
        if off.max() <= max(tol, ROUNDING) and line <= allowed(0.3 * tol):
            return small, off
    return small, np.maximum(off, line)


def _errors(f: Function, tensors: Tensors, X: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Errors (outputs, P) at the points X (P, d), relative to the largest |f| of each output."""

    def at_points(core: Any, factors: list[np.ndarray]) -> Any:
        if isinstance(core, TensorTrain):
            return train.evaluated(core, factors, X, f.domain, 0, False, f.label)
        return tucker_eval(core, factors, X, domain=tuple(f.domain))

    ours = [at_points(core / s, list(factors)) for (core, factors), s in zip(tensors, f.scale)]
    return np.abs(np.stack(ours) - values / f.scale[:, None])


def misfit(f: Function, tensors: Tensors, X: np.ndarray) -> np.ndarray:
    """The largest error of each output at the points X (P, d), relative to its largest |f|."""
    return _errors(f, tensors, X, f(*X.T)).max(axis=1)


def allowed(tol: float) -> float:
    """Bound on errors at points, relative to the largest |f|."""
    return max(ALLOWED * tol, ROUNDING)


def _tail_allowed(n: int, tol: float) -> float:
    """Bound on the last coefficients of a fibre relative to the largest |f|, not below the rounding errors of n values (chebfun3f)."""
    return max(0.1 * tol, 2 * math.pow(n, 0.8) * EPS)


def _tails(coefficients: np.ndarray) -> np.ndarray:
    """The largest of the last coefficients (n, ...) of each fibre."""
    n = len(coefficients)
    return np.abs(coefficients[n - max(2, n // 8) :]).max(axis=0, initial=0)


def _padded(coefficients: np.ndarray, n: int) -> np.ndarray:
    """Pad coefficients (outputs, n, m) with zeros to n."""
    return np.pad(coefficients, ((0, 0), (0, max(0, n - coefficients.shape[1])), (0, 0)))


class Axis:
    """Fibres along an axis, with as many points as the tolerance requires."""

    def __init__(self, f: Function, axis: int, max_n: int = MAX_POINTS) -> None:
        self.f, self.axis, self.n, self.min_n, self.max_n = f, axis, START, 1, max_n
        self.others = np.zeros((0, f.d))  # (m, d): coordinates of the other axes
        self.coefficients = np.zeros((1, START, 0))  # (outputs, n, m)
        self.rough = np.zeros((0, f.d))  # points where the first fibres are least smooth

    def add(self, others: np.ndarray, tol: float, rough: bool = False) -> None:
        """Sample f along fibres through points (m, d), refined until resolved (6); ``rough``: also test where they are least smooth."""
        f, k, n = self.f, self.axis, self.n
        values = f.along(k, f.grid(k, n), others)
        coefficients = np.zeros((len(values), n, len(others)))
        refined = np.arange(len(others))
        while True:
            scale = f.scale[:, None, None]
            relative = vals2coeffs(values / scale, 1)  # sums of unscaled values may overflow
            coefficients[:, :, refined] = relative * scale
            unresolved = _tails(np.moveaxis(relative, 1, 0)).max(axis=0) > _tail_allowed(n, tol)
            if rough:
                unresolved[:] = unresolved.any() or not self._is_smooth(relative, others, tol)
            if not unresolved.any():
                break
            if n >= self.max_n:
                raise _too_rough(f, k, values[:, :, unresolved])
            refined = refined[unresolved]
            finer = np.empty((len(values), 2 * n - 1, refined.size))
            finer[:, ::2], finer[:, 1::2] = values[:, :, unresolved], f.along(k, f.grid(k, 2 * n - 1)[1::2], others[refined])
            values, n = finer, 2 * n - 1
            coefficients = _padded(coefficients, n)
        earlier = len(self.others) if f.d > 1 else 0  # a function of one variable has one fibre
        before = self.coefficients if earlier else coefficients[:, :, :0]
        self.others = np.concatenate([self.others[:earlier], others])
        self.coefficients = np.concatenate([_padded(before, n), coefficients], axis=2)
        self._trim(tol)

    def _trim(self, tol: float) -> None:
        sizes = np.abs(self.coefficients / self.f.scale[:, None, None]).max(axis=(0, 2))
        m = 1 + int(np.flatnonzero(np.append(True, sizes[1:] > _tail_allowed(sizes.size, tol)))[-1])
        self.n = max(self.min_n, min(sizes.size, m + max(2, m // 7 + 1)))
        self.coefficients = _padded(self.coefficients, self.n)[:, : self.n]

    def worst(self, tensors: Tensors, last: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Point of the largest error of the tensors on each fibre, or on the ``last`` ones, and these errors."""
        f, k, points = self.f, self.axis, self.others[-last:].copy()
        n = max(self.n, *(len(factors[k]) for _, factors in tensors))
        t = [np.clip(to_reference(points[:, j], *f.domain[2 * j : 2 * j + 2]), -1, 1) for j in range(f.d)]
        errors = np.zeros((n, len(points)))
        for (core, factors), fibres, scale in zip(tensors, self.coefficients[:, :, -last:], f.scale):
            tables = [polynomials(t[j], len(U)) @ U for j, U in enumerate(factors)]
            if isinstance(core, TensorTrain):
                ours = (core / scale).fibres(tables, k)
            else:
                ours = np.moveaxis(core / scale, k, 0)[None]
                for table in (table for j, table in enumerate(tables) if j != k):
                    ours = np.einsum("pra...,pa->pr...", ours, table)
            rest = _padded(fibres[None] / scale, n)[0] - _padded((factors[k] @ ours.T)[None], n)[0]
            errors = np.maximum(errors, np.abs(coeffs2vals(rest, 0)))
        at = errors.argmax(axis=0)
        points[:, k] = f.grid(k, n)[at]
        return points, errors[at, np.arange(len(points))]

    def lengthen(self, tol: float, more: int) -> None:
        """Sample all fibres again with ``more`` additional points."""
        others, self.others = self.others, self.others[:0]
        self.min_n = self.n = self.n + max(2, more)
        self.add(others, tol)

    @property
    def columns(self) -> np.ndarray:
        """Coefficients (n, outputs m) relative to the largest |f|."""
        return np.concatenate(list(self.coefficients / self.f.scale[:, None, None]), axis=1)

    def basis(self, tol: float) -> np.ndarray:
        """Orthonormal columns (n, r) that span the fibres up to a residual of at most ``LEFT`` tol (7)."""
        U, sigma, V = np.linalg.svd(self.columns, full_matrices=False)
        left = np.cumsum((sigma[:, None] * V)[::-1] ** 2, axis=0)[::-1].max(axis=1)
        return U[:, : max(1, int((left > self._within(tol) ** 2).sum()))]

    def is_spanned(self, basis: np.ndarray, tol: float) -> bool:
        """Whether the last fibre is in the span of an earlier ``basis``, to the same precision as in ``basis(tol)``."""
        Q = _padded(basis[None], self.n)[0, : self.n]
        last = self.coefficients[:, :, -1].T / self.f.scale
        return bool(np.linalg.norm(last - Q @ (Q.T @ last), axis=0).max() <= self._within(tol))

    def _within(self, tol: float) -> float:
        return max(LEFT * tol, 4 * math.pow(self.n, 0.8) * EPS)

    def roughest(self) -> np.ndarray:
        """Points (2 ROUGH, d) where the fibres are least smooth."""
        return self._roughest(self.coefficients / self.f.scale[:, None, None], self.others)[0]

    def _roughest(self, coefficients: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two points in the grid cell to which the second half of the coefficients (outputs, n, m) contributes most, for each of the
        ``ROUGH`` fibres with the largest contribution: their coordinates (2 ROUGH, d), and interpolants (outputs, 2 ROUGH)."""
        n = coefficients.shape[1]
        last = np.zeros((len(coefficients), 2 * n - 1, coefficients.shape[2]))
        last[:, n // 2 : n] = coefficients[:, n // 2 :]
        sizes = np.abs(coeffs2vals(last, 1)[:, 1::2]).max(axis=0)
        which = np.repeat(np.argsort(-sizes.max(axis=0), kind="stable")[:ROUGH], 2)
        cells = sizes.argmax(axis=0)[which] + np.resize([0.3, 0.7], which.size)  # an error may vanish at one point of a cell
        t = -np.cos(np.pi * cells / (n - 1))
        points = others[which]
        lo, hi = self.f.domain[2 * self.axis : 2 * self.axis + 2]
        points[:, self.axis] = np.clip(lo * ((1 - t) / 2) + hi * ((1 + t) / 2), lo, hi)
        return points, np.einsum("pk,okp->op", polynomials(t, n), coefficients[:, :, which])

    def _is_smooth(self, coefficients: np.ndarray, others: np.ndarray, tol: float) -> bool:
        """Test the fibres where they are least smooth: near a kink, coefficients become small long before errors do."""
        self.rough, interpolated = self._roughest(coefficients, others)
        scale = self.f.scale[:, None]  # the scale of the coefficients; new values may change it
        return bool((np.abs(interpolated - self.f(*self.rough.T) / scale) <= allowed(tol)).all())


def _too_rough(f: Function, axis: int, values: np.ndarray) -> NotResolved:
    """Return the error for fibres (outputs, n, m) that are not resolved. It names a remedy and where second differences are largest."""
    lo, hi = f.domain[2 * axis : 2 * axis + 2]
    x = f.grid(axis, values.shape[1])
    slopes = np.diff(values, axis=1) / np.diff(x)[:, None]
    sizes = np.abs(np.diff(slopes, axis=1) / (x[2:] - x[:-2])[:, None]).max(axis=0)
    places = x[1 + sizes.argmax(axis=0)]
    at, near = float(np.median(places)), 1e-4 * (hi - lo)
    reason = f"{x.size} points along axis {axis} are too few near x{axis} = {at:.4g}"
    if np.ptp(places) > 10 * near:
        return NotResolved(f"{reason}, and at other positions on other lines", "or coordinates in which its kinks are at fixed values")
    end = "lo" if at < lo + near else "hi" if at > hi - near else None
    where = f'singular={{{axis}: "{end}"}}' if end else f"special_points={{{axis}: [{at:.4g}]}}"
    return NotResolved(reason, f"or PiecewiseTucker.from_function(f, domain, {where})")


class Rows:
    """Coordinates along an axis that determine a function in the span of a basis: pivots of a QR of its values (DEIM) (9). Earlier rows are
    preferred if they are well-conditioned."""

    def __init__(self, f: Function, axis: int, basis: np.ndarray, earlier: np.ndarray) -> None:
        grid = f.grid(axis, len(basis))
        t = to_reference(earlier, *f.domain[2 * axis : 2 * axis + 2])
        values = coeffs2vals(np.ascontiguousarray(basis), 0)
        known = polynomials(np.clip(t, -1, 1), len(basis)) @ basis
        threshold = KEPT * np.abs(values).max()
        first = _pivots(known, threshold)
        Q = np.linalg.qr(known[first].T)[0]
        more = _pivots(values - (values @ Q) @ Q.T, 0.0)[: basis.shape[1] - first.size]
        self.basis, self.points = basis, np.concatenate([earlier[first], grid[more]])
        self.inverse = np.linalg.inv(np.concatenate([known[first], values[more]]))


def _pivots(rows: np.ndarray, threshold: float) -> np.ndarray:
    """Rows in the order of a pivoted QR, as long as its diagonal is at least ``threshold``."""
    from scipy.linalg import qr

    R, order = qr(rows.T, mode="r", pivoting=True)
    return order[: int((np.abs(np.diagonal(R)) >= threshold).sum())] if rows.size else np.zeros(0, np.intp)


class Core:
    """Values of f on the grid of the rows. If the rows change, only new values are computed."""

    def __init__(self, f: Function) -> None:
        self.f, self.points, self.values = f, [np.zeros(0)] * f.d, np.zeros((len(f.largest), *[0] * f.d))

    def at(self, points: Sequence[np.ndarray]) -> np.ndarray:
        """Move to the grid of d arrays of points; return its values (outputs, m_1, ..., m_d)."""
        every = (slice(None),)
        kept, old = zip(*(np.intersect1d(x, y, return_indices=True)[1:] for x, y in zip(points, self.points)))
        values = np.empty((len(self.values), *map(len, points)))
        values[every + np.ix_(*kept)] = self.values[every + np.ix_(*old)]
        block = [np.arange(x.size) for x in points]
        for k, known in enumerate(kept):  # the old rows of the axes before k, the new ones of axis k, all of the others
            block[k] = np.setdiff1d(block[k], known)
            if all(map(len, block)):
                values[every + np.ix_(*block)] = self.f(*np.ix_(*(x[i] for x, i in zip(points, block))))
            block[k] = known
        self.points, self.values = list(points), values
        return values


def _interpolated(core: Core, rows: Sequence[Rows], tol: float | None, tails: np.ndarray) -> Tensors:
    """Cores for the bases of the rows, from values of f on their grid (9); with ``tol`` trains (24)."""
    f, points = core.f, [part.points for part in rows]
    cores: Any = core.at(points) if tol is None else _chained(f, points, tol, tails)
    tensors: Tensors = []
    for values, scale in zip(cores, f.scale):
        relative = values / scale
        for k, part in enumerate(rows):
            relative = algebra.mode_multiplied(relative, part.inverse, k)
        tensors.append((relative * scale, [part.basis for part in rows]))
    return tensors


def _chained(f: Function, points: Sequence[np.ndarray], tol: float, tails: np.ndarray) -> list[TensorTrain]:
    """Values of f on the grid of d arrays of points as trains, one per output, which differ only in their last arrays (24)."""
    numbers, sizes = np.random.Generator(np.random.Philox(key=0)), [x.size for x in points]
    left, cores = np.zeros((1, 0)), []  # coordinates of the rows of the unfolding

    def values(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return values (outputs, rows, columns)."""
        return f(*rows.T[:, :, None], *columns.T[:, None, :])

    drawn = np.stack([x[numbers.integers(0, x.size, CHAINED)] for x in points], axis=-1)
    for k in range(f.d - 1):
        rows = np.concatenate([np.repeat(left, sizes[k], axis=0), np.tile(points[k], len(left))[:, None]], axis=1)
        count, everything = 2 * SPARE, math.prod(sizes[k + 1 :])
        while True:
            columns = np.unique(np.concatenate([tails[:, k + 1 :], drawn[:count, k + 1 :]]), axis=0)
            A = np.concatenate(list(values(rows, columns) / f.scale[:, None, None]), axis=1)
            Q, sigma, V = np.linalg.svd(A, full_matrices=False)
            rest = np.cumsum((sigma[:, None] * V)[::-1] ** 2, axis=0)[::-1].max(axis=1)
            rank = max(1, int((rest > max(LEFT * tol, 4 * EPS) ** 2).sum()))
            if rank == len(rows) or count == CHAINED or len(columns) - SPARE >= rank or len(columns) >= everything:
                break
            count = min(CHAINED, count + max(SPARE, count // 2))
        if rank > MAX_RANK and count == CHAINED:
            raise NotResolved(f"the rank of the tensor train before axis {k + 1} exceeds {MAX_RANK}")
        Q = Q[:, :rank]
        chosen = _pivots(Q, 0.0)
        cores.append((Q @ np.linalg.inv(Q[chosen])).reshape(len(left), sizes[k], rank))
        left = rows[chosen]
    return [TensorTrain([*cores, last[:, :, None]]) for last in values(left, points[-1][:, None])]


def _spanned(
    f: Function, axes: Sequence[Axis], tol: float, numbers: np.random.Generator, at: Sequence[np.ndarray], chained: bool
) -> list[Rows] | None:
    """Add fibres along each axis until ``SPARE`` of them are spanned by the others (7); return None if the full grid takes fewer values,
    unless ``chained``."""
    while True:
        rows = [Rows(f, k, axis.basis(tol), at[k]) for k, axis in enumerate(axes)]
        ranks = [part.points.size for part in rows]
        short = [k for k, axis in enumerate(axes) if ranks[k] < axis.n and ranks[k] > axis.columns.shape[1] - SPARE * len(f.scale)]
        more = {k: max(SPARE, len(axes[k].others) // 2) for k in short}
        whole = math.prod(axis.n for axis in axes)
        spent = f.spent + sum(m * axes[k].n for k, m in more.items())
        if not chained and (spent + math.prod(ranks) >= whole or (spent >= PATIENCE * whole and _foreseen(axes, tol) >= whole)):
            return None
        if not short:
            return rows
        if max(ranks) > MAX_RANK and whole > MAX_VALUES:
            raise NotResolved(f"its rank along axis {int(np.argmax(ranks))} exceeds {MAX_RANK}")
        for k, m in more.items():
            others = f.random_points(numbers, m)
            for j in range(f.d):
                others[::2, j] = numbers.choice(rows[j].points, len(others[::2]))
            axes[k].add(others, tol)


def _cost(axes: Sequence[Axis], ranks: Sequence[float]) -> float:
    """Number of values of fibres and core."""
    return sum(axis.n * (r + SPARE) for axis, r in zip(axes, ranks)) + math.prod(ranks)


def _foreseen(axes: Sequence[Axis], tol: float) -> float:
    """Number of values that fibres and core would take if singular values continue to decay at the same rate."""
    ranks = []
    for axis in axes:
        every = np.linalg.svd(axis.columns, compute_uv=False)
        sigma = every[every > LEFT * tol]
        left = 0.0
        if 0 < sigma.size > every.size - SPARE * len(axis.coefficients):
            left = math.log(sigma[-1] / (LEFT * tol)) / max(math.log(sigma[0] / sigma[-1]), EPS)
        ranks.append(min(sigma.size * (1 + left), axis.n))
    return _cost(axes, ranks)


def _gridded(f: Function, axes: Sequence[Axis], tol: float) -> Tensors:
    """Compress all values on a grid, refined until its coefficients decay."""
    while True:
        n = [axis.n for axis in axes]
        values = f(*np.ix_(*(f.grid(k, m) for k, m in enumerate(n))))
        coefficients = [vals2coeffs(V / scale) for V, scale in zip(values, f.scale)]
        tails = [np.max([_tails(np.moveaxis(C, k, 0)) for C in coefficients], axis=0) for k in range(f.d)]
        short = [k for k in range(f.d) if tails[k].max() > _tail_allowed(n[k], tol)]
        if not short:
            parts = [tucker(C, tol=max(TRUNCATED * tol, 4 * EPS)) for C in coefficients]
            return [(core * scale, factors) for (core, factors), scale in zip(parts, f.scale)]
        for k in short:
            at = np.unravel_index(int(tails[k].argmax()), tails[k].shape)
            line = [f.grid(j, n[j])[i] for j, i in zip((j for j in range(f.d) if j != k), at)]
            axes[k].add(np.insert(line, k, f.domain[2 * k])[None], tol)
            if axes[k].n == n[k]:
                axes[k].lengthen(tol, n[k] // 4)
