"""A smooth function as a Tucker tensor of Chebyshev coefficients, from its values along fibres. Equation numbers: csrc/cheb/README.md.

Fibres are lines of grid points along an axis. They store coordinates of the other axes, not indices, because grids change. A function with
several outputs is sampled once for all of them: their fibres are concatenated, each output divided by its largest value.
"""

from __future__ import annotations

import inspect
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments
from ..scattered import tucker_eval
from ..transform import chebpts, coeffs2vals, mode_product, polynomials, vals2coeffs
from ..tucker import tucker
from . import algebra

START = 17  # points of an axis, then 2n - 1: grids are nested
MAX_POINTS = 2**16 + 1  # of an axis
MAX_VALUES = 2**25  # of f
BLOCK = 2**20  # values of f at a time
MAX_FIBRES = 8192  # along an axis at a time
PROBES = 8  # fibres along an axis that determine its number of points
ROUGH = 4  # of these fibres are tested at two more points
FIRST_RANK = 6
EXTRA = 2  # random coordinates of an axis in every sweep, in addition to those of cross approximation
MAX_SWEEPS = 12
RESTARTS = 10
TESTED = 100  # random points at which a result is tested, in addition to those where fibres are roughest
CHECKED = 30  # the same on a given grid
ALLOWED = 10  # times tol: the largest error there, relative to the largest |f|; tol itself bounds the mean square
TRUNCATED = 0.1  # share of tol for a first compression of a full grid
ROUNDING = 1e-13  # the least allowed error
EPS = float(np.finfo(np.float64).eps)


def arguments_of(f: Callable[..., Any]) -> int:
    """The number of required positional arguments of f; 1 if it has no signature."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # NumPy's own functions
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(p.kind in positional and p.default is p.empty for p in parameters))


class NotResolved(Exception):
    """f needs too many values or points."""


class Function:
    """A user's f with checked results: finite real values (outputs, ...), their number, and the largest |f| of each output so far."""

    def __init__(self, f: Callable[..., Any], domain: Sequence[float], label: str) -> None:
        self.f, self.domain, self.label = f, domain, label
        self.d = len(domain) // 2
        self.count = 0
        self.most: int | None = MAX_VALUES
        self.outputs: int | None = None  # set by the first call if f returns a tuple
        self.largest = np.zeros(0)

    def __call__(self, *points: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(*(x.shape for x in points))
        if self.most is not None and self.count + math.prod(shape) > self.most:
            raise NotResolved(f"more than {self.most} values would be needed")
        whole = [np.broadcast_to(x, shape) for x in points]
        step = max(1, BLOCK // max(1, math.prod(shape[1:])))
        blocks = [self._values([x[i : i + step].reshape(-1) for x in whole]) for i in range(0, max(1, shape[0]), step)]
        values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        return values.reshape(len(values), *shape)

    def _values(self, points: list[np.ndarray]) -> np.ndarray:
        """(outputs, P) at d arrays (P,)."""
        P = points[0].size
        self.count += P
        is_first = not self.largest.size
        try:
            result = self.f(*(np.array(x) for x in points))  # copies, which f may overwrite
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            hint = self._hint(points) if is_first and P else None
            if hint is None:
                raise
            raise TypeError(f"{self.label}: f failed on arrays: {error}; {hint}") from error
        several = isinstance(result, (tuple, list))
        parts = list(result) if several else [result]
        if is_first:
            if 1 < P == len(parts) and all(np.ndim(part) == 0 for part in parts):
                kind = type(result).__name__
                raise TypeError(f"{self.label}: f returned a {kind} of {P} numbers, expected an array; give np.array of it")
            self.outputs = len(parts) if several else None
            self.largest = np.zeros(len(parts))
        if not parts or len(parts) != self.largest.size:
            raise ValueError(f"{self.label}: f returned {len(parts)} outputs, expected {self.largest.size or 'at least 1'}")
        checked = [self._checked(part, points, f"[{i}]" if several else "", is_first) for i, part in enumerate(parts)]
        if P:
            self.largest = np.maximum(self.largest, [max(values.max(), -values.min()) for values in checked])
        return np.stack(checked)

    def _hint(self, points: Sequence[np.ndarray]) -> str | None:
        """The cure if f is a function of numbers, of one point or of an array of points instead of d arrays of coordinates."""
        names = ", ".join("xyz"[: self.d] if self.d <= 3 else [f"x{k}" for k in range(self.d)])
        X = np.stack([x[[0, -1, 0]] for x in points], axis=-1)  # three points
        tried: list[tuple[tuple[Any, ...], tuple[int, ...], str]] = [
            ((X.copy(),), (3,), f"f takes points (P, {self.d}): give lambda {names}: f(np.stack([{names}], -1))"),
            (tuple(X[0].tolist()), (), "f takes numbers: give np.vectorize(f)"),
            ((X[0].copy(),), (), f"f takes one point: give np.vectorize(lambda {names}: f(np.array([{names}])))"),
        ]
        if (torch := sys.modules.get("torch")) is not None:
            tensors = tuple(torch.from_numpy(X.T.copy()))
            tried.append((tensors, (3,), f"f takes tensors: give lambda {names}: f(*map(torch.from_numpy, ({names},)))"))
        for arguments, shape, hint in tried:
            try:
                if np.shape(self.f(*arguments)) == shape:
                    return hint
            except Exception:
                continue
        return None

    @property
    def scale(self) -> np.ndarray:
        """The divisor of each output."""
        return np.where(self.largest > 0, self.largest, 1.0)

    def _checked(self, part: Any, points: Sequence[np.ndarray], name: str, is_first: bool) -> np.ndarray:
        _arguments.refuse_masked(part, self.label, "what f returned")
        try:
            values = np.asarray(part)
        except (TypeError, ValueError, RuntimeError) as reason:  # lists of unequal lengths, tensors with a gradient or on a device
            raise TypeError(f"{self.label}: f returned {type(part).__name__}, which is no array of numbers: {reason}") from None
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{self.label}: f returned {values.dtype} values, expected real numbers")
        shape = points[0].shape
        if values.shape != shape and (values.ndim or (is_first and not name and not self._is_constant(values, points))):
            hint = (self._hint(points) if is_first else None) or "several outputs are a tuple"
            what = f"shape {values.shape}" if values.ndim else "one number that is not the same at each of them"
            raise ValueError(f"{self.label}: f returned {what} for {shape[0]} points, expected shape {shape}; {hint}")
        full = np.array(np.broadcast_to(values, shape), np.float64)  # f may overwrite its result later
        bad = ~np.isfinite(full)
        if bad.any():
            at = int(bad.argmax())
            where = ", ".join(f"{x[at]:.17g}" for x in points)
            raise ValueError(f"{self.label}: f({where}){name} is {full[at]}, expected a finite number")
        return full

    def _is_constant(self, value: np.ndarray, points: Sequence[np.ndarray]) -> bool:
        """Whether f, which returned one number for many points, returns the same for one of them."""
        self.count += 1
        return bool(np.array_equal(np.ravel(self.f(*(x[:1].copy() for x in points))), np.ravel(value), equal_nan=True))

    def grid(self, axis: int, n: int) -> np.ndarray:
        return chebpts(n, self.domain[2 * axis : 2 * axis + 2])

    def along(self, axis: int, x: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Values (outputs, len(x), m) on m fibres with coordinates ``others`` (m, d), of which that of the axis is not used."""
        points = [np.broadcast_to(x[:, None], (x.size, 1)) if k == axis else others[None, :, k] for k in range(self.d)]
        return self(*points)

    def random_points(self, numbers: np.random.Generator, count: int) -> np.ndarray:
        lo, hi = np.array(self.domain[::2]), np.array(self.domain[1::2])
        X: np.ndarray = np.clip(lo + (hi - lo) * numbers.random((count, self.d)), lo, hi)
        return X


class Fibres(NamedTuple):
    """The fibres that span an axis."""

    values: np.ndarray  # (n, r)
    others: np.ndarray  # (r, d): coordinates of the other axes
    output: np.ndarray  # (r,)
    rows: np.ndarray  # (r,): coordinates along the axis at which the fibres are independent


def sampled(f: Function, tol: float) -> tuple[list[tuple[np.ndarray, list[np.ndarray]]], np.ndarray]:
    """Core and factors of every output (6)-(9), and its largest error at the points of the test; or NotResolved."""
    numbers = np.random.Generator(np.random.Philox(key=0))
    start, rank = START, FIRST_RANK
    off = np.zeros(0)
    for _ in range(RESTARTS):
        axes = [_resolution(f, k, start, tol, numbers) for k in range(f.d)]
        fibres = _swept(f, [axis.n for axis in axes], rank, tol, numbers)
        if fibres is None:
            tensors = _gridded(f, [axis.n for axis in axes], tol)
        else:
            tensors = _interpolated(f, [_refined(f, k, part, tol) for k, part in enumerate(fibres)])
        tensors = [algebra.rounded(core, factors, tol, f.label, trim=True) for core, factors in tensors]
        X = f.random_points(numbers, TESTED)
        values = np.concatenate([f(*X.T), *(axis.values for axis in axes)], axis=1)
        off = misfit(f, tensors, np.concatenate([X, *(axis.points for axis in axes)]), values)
        if off.max() <= allowed(tol):
            return tensors, off
        start, rank = 2 * start - 1, 2 * rank
    raise NotResolved(f"after {RESTARTS} tries it is off by {off.max():.1e} of its largest value at the points of the test")


def misfit(f: Function, tensors: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]], X: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The largest error of each output at the points X (P, d), relative to its largest |f|."""
    ours = [tucker_eval(core / s, list(factors), X, domain=tuple(f.domain)) for (core, factors), s in zip(tensors, f.scale)]
    errors: np.ndarray = np.abs(np.stack(ours) - values / f.scale[:, None]).max(axis=1)
    return errors


def allowed(tol: float) -> float:
    """A bound on errors at points, relative to the largest |f|."""
    return max(ALLOWED * tol, ROUNDING)


def _tail_allowed(n: int, tol: float) -> float:
    """A bound on the last coefficients of a fibre relative to the largest |f|, not below the rounding errors of n values (chebfun3f)."""
    return max(0.1 * tol, 2 * math.pow(n, 0.8) * EPS)


def _is_resolved(coefficients: np.ndarray, tol: float) -> bool:
    n = len(coefficients)
    return bool(np.abs(coefficients[n - max(2, n // 8) :]).max(initial=0) <= _tail_allowed(n, tol))


def _between(f: Function, axis: int, n: int, others: np.ndarray) -> np.ndarray:
    """Values (outputs, n - 1, m) at the points of the grid of 2n - 1 that are not in the grid of n."""
    if n >= MAX_POINTS:
        raise NotResolved(f"{n} points along axis {axis} are too few")
    return f.along(axis, f.grid(axis, 2 * n - 1)[1::2], others)


def _woven(values: np.ndarray, between: np.ndarray) -> np.ndarray:
    finer = np.empty((*values.shape[:-2], 2 * values.shape[-2] - 1, values.shape[-1]))
    finer[..., ::2, :], finer[..., 1::2, :] = values, between
    return finer


class Resolution(NamedTuple):
    """The number of points that random fibres along an axis need, and points where these are roughest, with the values there."""

    n: int
    points: np.ndarray  # (P, d)
    values: np.ndarray  # (outputs, P)


def _resolution(f: Function, axis: int, start: int, tol: float, numbers: np.random.Generator) -> Resolution:
    """Small last coefficients are not enough, since those of a kink decay slowly: each fibre is also tested where it is roughest."""
    others = f.random_points(numbers, PROBES if f.d > 1 else 1)
    values = f.along(axis, f.grid(axis, start), others)
    while True:
        n, scale = values.shape[1], f.scale[:, None]
        coefficients = vals2coeffs(np.ascontiguousarray(values / scale[:, None]), 1)
        if _is_resolved(np.concatenate(list(coefficients), axis=1), tol):
            which, t, interpolated = _roughest(coefficients)
            points = others[which]
            lo, hi = f.domain[2 * axis : 2 * axis + 2]
            points[:, axis] = np.clip(lo * ((1 - t) / 2) + hi * ((1 + t) / 2), lo, hi)
            seen = f(*points.T)
            if (np.abs(interpolated - seen / scale) <= allowed(tol)).all():
                return Resolution(n, points, seen)
        values = _woven(values, _between(f, axis, n, others))


def _roughest(coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two points in the cell of the grid to which the second half of the coefficients (outputs, n, m) contributes most, for the ``ROUGH``
    fibres where that is most: the fibre of each, its coordinate in [-1, 1], and the interpolants (outputs, 2 ROUGH) there."""
    n = coefficients.shape[1]
    last = np.zeros((len(coefficients), 2 * n - 1, coefficients.shape[2]))
    last[:, n // 2 : n] = coefficients[:, n // 2 :]
    sizes = np.abs(coeffs2vals(last, 1)[:, 1::2]).max(axis=0)
    which = np.repeat(np.argsort(-sizes.max(axis=0), kind="stable")[:ROUGH], 2)
    cells = sizes.argmax(axis=0)[which] + np.resize([0.3, 0.7], which.size)  # an error may be 0 at one place of a cell
    t = -np.cos(np.pi * cells / (n - 1))
    return which, t, np.einsum("pk,okp->op", polynomials(t, n), coefficients[:, :, which])


def _swept(f: Function, n: Sequence[int], rank: int, tol: float, numbers: np.random.Generator) -> list[Fibres] | None:
    """Fibres that span the unfoldings on the grid of n points, at the rows chosen on the other axes and a few random ones (6); None if a
    sweep would take at least half as many values as the grid has."""
    grids = [f.grid(k, m) for k, m in enumerate(n)]
    rows = [_strata(x, rank, numbers) for x in grids]
    fibres: list[Any] = [None] * f.d
    extra = EXTRA
    for sweep in range(MAX_SWEEPS):
        grown = exhausted = False
        for k in range(f.d):
            seen = [np.concatenate([rows[j], numbers.choice(grids[j], extra)]) for j in range(f.d)]
            others = _crossed(seen, k, numbers)
            if 2 * f.d * len(others) * n[k] >= math.prod(n):
                return None
            values = f.along(k, grids[k], others)
            table = np.concatenate(list(values / f.scale[:, None, None]), axis=1)
            at, columns = _crosses(table, _tail_allowed(n[k], tol))
            exhausted |= f.d > 1 and len(columns) == table.shape[1] < n[k]
            grown |= sweep == 0 or len(at) > fibres[k].rows.size
            output, which = np.divmod(columns, len(others))
            fibres[k] = Fibres(values[output, :, which].T, others[which], output, grids[k][at])
            rows[k] = fibres[k].rows
        if exhausted:
            extra *= 2
        elif not grown and sweep:
            break
    return fibres


def _strata(x: np.ndarray, count: int, numbers: np.random.Generator) -> np.ndarray:
    """One random entry of each of ``count`` equal parts."""
    edges = np.linspace(0, x.size, min(count, x.size) + 1).astype(int)
    return x[[int(numbers.integers(a, b)) for a, b in itertools.pairwise(edges)]]


def _crossed(rows: Sequence[np.ndarray], axis: int, numbers: np.random.Generator) -> np.ndarray:
    """Every combination (m, d) of the other axes' coordinates, or a random subset of very many."""
    sizes = [1 if k == axis else x.size for k, x in enumerate(rows)]
    m = math.prod(sizes)
    chosen = np.arange(m) if m <= MAX_FIBRES else numbers.integers(0, m, MAX_FIBRES)
    return np.stack([x[i] for x, i in zip(rows, np.unravel_index(chosen, sizes))], axis=1)


def _crosses(table: np.ndarray, allowed: float) -> tuple[np.ndarray, np.ndarray]:
    """Cross approximation with full pivoting: rows and columns whose crosses leave no more than ``allowed``; at least one (7)."""
    rest = table.copy()
    rows: list[int] = []
    columns: list[int] = []
    while len(rows) < min(table.shape):
        i, j = np.unravel_index(int(np.abs(rest).argmax()), rest.shape)
        pivot = rest[i, j]
        if rows and abs(pivot) <= allowed:
            break
        rows.append(int(i))
        columns.append(int(j))
        if pivot == 0:
            break
        rest -= np.outer(rest[:, j] / pivot, rest[i])
        rest[i], rest[:, j] = 0, 0
    return np.array(rows), np.array(columns)


def _refined(f: Function, axis: int, fibres: Fibres, tol: float) -> Fibres:
    """The same fibres on a grid that resolves them (8)."""
    values, which = fibres.values, (fibres.output, slice(None), np.arange(fibres.output.size))
    while not _is_resolved(vals2coeffs(values / f.scale[fibres.output], 0), tol):
        values = _woven(values, _between(f, axis, len(values), fibres.others)[which].T)
    return fibres._replace(values=values)


def _gridded(f: Function, n: Sequence[int], tol: float) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """From all values on the grid of n points, refined until its coefficients decay."""
    n = list(n)
    while True:
        values = f(*np.ix_(*(f.grid(k, m) for k, m in enumerate(n))))
        all_coefficients = [vals2coeffs(V / scale) for V, scale in zip(values, f.scale)]
        short = [k for k in range(f.d) if not all(_is_resolved(np.moveaxis(C, k, 0), tol) for C in all_coefficients)]
        if not short:
            parts = [tucker(C, tol=max(TRUNCATED * tol, 4 * EPS)) for C in all_coefficients]
            return [(core * scale, factors) for (core, factors), scale in zip(parts, f.scale)]
        for k in short:
            if n[k] >= MAX_POINTS:
                raise NotResolved(f"{n[k]} points along axis {k} are too few")
            n[k] = 2 * n[k] - 1


def _interpolated(f: Function, fibres: Sequence[Fibres]) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Cores from values of f at rows that determine the orthonormal fibres (9)."""
    from scipy.linalg import qr

    factors, rows, inverses = [], [], []
    for axis, part in enumerate(fibres):
        Q = np.linalg.qr(part.values / f.scale[part.output])[0]
        at = np.sort(qr(Q.T, mode="r", pivoting=True)[1][: Q.shape[1]])
        rows.append(f.grid(axis, len(Q))[at])
        inverses.append(np.linalg.inv(Q[at]))
        factors.append(vals2coeffs(np.ascontiguousarray(Q), 0))
    tensors = []
    for core in f(*np.ix_(*rows)):
        for k, inverse in enumerate(inverses):
            core = mode_product(core, inverse, k)
        tensors.append((core, factors))
    return tensors
