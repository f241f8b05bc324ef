"""Diffusion and screening as functions of the place: their derivatives, and the bound that walks through them need.

Equation numbers are those of csrc/wos/media/README.md.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ... import _arrays, _backends
from ..._call import call
from ..data import CLASSES, Cells, Fourier, PerVertex, interpolated
from ..data import _numba as _array_code
from ..data.functions import Function, OneEach, is_function
from ..mesh import Boundary, TriangleMesh
from ..polygon import Ball
from ..solid import SDF, Box
from . import METHODS, PLACE
from .packing import NOTHING, Packed, Target, pack
from .piece import Piece, Window, to_numpy

if TYPE_CHECKING:
    from .problem import Prepared, Problem

Array = Any
_data: Any = _array_code  # which has no types
STEP = 1e-3  # of the diagonal: a function's differences
SAMPLES, ON_BOUNDARY = 4096, 1024  # points where the bound is looked for, inside and on the boundary
_SPREAD, _SLACK = 0.25, 1.01  # what the bound has to spare: of the range of values that were found, and of itself


def is_data(screening: Any) -> bool:
    """Whether it is a function of the place, or one number an instance, and not one number."""
    if screening is None or screening.__class__ is float:
        return False
    return isinstance(screening, (*CLASSES, list, tuple)) or _arrays.kind(screening) is not None or is_function(screening)


@dataclass
class Medium:
    """α and σ of a problem; (B, 2): the bound (7) and the step of differences, absolute; (B,) the largest α that was found."""

    diffusion: Packed
    screening: Packed
    bounds: np.ndarray
    largest: np.ndarray

    @property
    def data(self) -> list[Packed]:
        return [self.diffusion, self.screening]

    def piece(self, plain: Piece, window: Window) -> MediumPiece:
        """That part of a problem."""
        of_part = slice(window.instance, window.instance_end)
        kind = _arrays.place(plain.start)
        diffusion, rate = (d.numbers if d.numbers is None or len(d.numbers) == 1 else d.numbers[of_part] for d in self.data)
        return MediumPiece(**vars(plain), diffusion=diffusion, rate=rate, bounds=_arrays.of_kind(kind, self.bounds[of_part]))


@dataclass
class MediumPiece(Piece):
    """The arguments of ``media`` for some points of some instances, under their global numbers."""

    diffusion: Array | None = None
    rate: Array | None = None  # the numbers of the screening
    bounds: Array = None

    ARRAYS: ClassVar[tuple[str, ...]] = (*Piece.ARRAYS, "diffusion", "rate", "bounds")

    @property
    def inputs(self) -> tuple[Array | None, ...]:
        return *super().inputs, self.diffusion, self.rate, self.bounds, self._slopes() if self.gradient else None

    def options(self, first: int, walks: int) -> tuple[Any, ...]:
        return *self.kinds, self.seed, first, walks, self.max_steps, self.gradient, self.instance, self.point

    def drawn(self, first: int, walks: int) -> tuple[Array, ...]:
        """The jumps beyond the bound are a column more of the counts."""
        mean, m2, counts, beyond = call(
            METHODS["media"], self.inputs, self.options(first, walks), self.extras, None, self.backend, self.num_threads
        )
        return mean, m2, _arrays.namespace(counts).concatenate([counts, beyond[..., None]], -1)

    def _slopes(self) -> Array:
        """(B, N, d) grad α / (2 α) where walks start."""
        start, frame, bounds = (to_numpy(x) for x in (self.start, self.frame, self.bounds))
        found = np.zeros(start.shape)
        for b in range(len(start)):
            live = ~np.isnan(start[b, :, 0])
            if live.any():
                alpha, slope, _ = derived(
                    self.kinds[2], to_numpy(self.diffusion), by_host(self.extras[3], self.start), self.instance, b, frame[b], bounds[b, 1],
                    start[b, live].astype(np.float64),
                )  # fmt: skip
                found[b, live] = slope / (2 * alpha[:, None])
        return _arrays.of_kind(_arrays.place(self.start), found)


def pack_medium(problem: Problem, target: Target) -> tuple[Packed, Packed]:
    """α and σ as the walks need them; nothing where there are none. ValueError for what has no second derivatives, or no gradient here."""
    boundary, given = target.boundary, (problem.diffusion, problem.screening)
    if problem.exterior or boundary.dimension > 3 or isinstance(boundary, SDF):
        raise ValueError(
            f"solve: a diffusion, or a screening that is no number, {'outside of' if problem.exterior else 'in'} {boundary!r}; "
            "it needs the inside of a Polygon, a TriangleMesh, or a Ball or Box in two or three dimensions"
        )
    for name, one in zip(("diffusion", "screening"), given):
        each = one if isinstance(one, (list, tuple)) else [one]
        if any(isinstance(x, PerVertex) for x in each):
            raise ValueError(f"solve: {name} is PerVertex data, which is known on the boundary only")
        if name == "diffusion" and any(isinstance(x, Fourier) for x in each):
            raise ValueError("solve: diffusion is Fourier data, which has no derivatives at its centre; give a function")
    diffusion = NOTHING if problem.diffusion is None else pack(problem.diffusion, target, "diffusion")
    screening = pack(problem.screening, target, "screening")
    for name, packed in (("diffusion", diffusion), ("screening", screening)):
        if getattr(packed.numbers, "requires_grad", False):
            raise ValueError(f"solve: {name} requires grad, but there is no gradient in it; detach it")
    if diffusion.kind == "grid":
        rows = [_with_curvature(row, target.boundary.dimension) for row in to_numpy(diffusion.numbers)]
        width = max(map(len, rows), default=0)
        numbers = np.array([np.pad(row, (0, width - len(row))) for row in rows]).reshape(len(rows), width)
        diffusion = replace(diffusion, numbers=target.array(numbers))
    if type(problem.screening) in (int, float) and problem.screening == 0:
        screening = NOTHING
    return diffusion, screening


def _with_curvature(row: np.ndarray, d: int) -> np.ndarray:
    """A grid's row, and behind it (3) at its nodes."""
    values, box = _data.table_of("grid", row, d), _data.box_of(row, d)
    if not (values > 0).all():
        raise ValueError(f"solve: diffusion has the value {values.min()} at a node, expected positive numbers")
    total, one = np.zeros_like(values), _power_of_two(values)
    for axis in range(d):
        h = (box[1, axis] - box[0, axis]) / (values.shape[axis] - 1)
        total += _second(values, axis) / h**2 / (2 * values) - (_first(values, axis) * one / h) ** 2 / (4 * (values * one) ** 2)
    return np.concatenate([row[: 3 * d + values.size], total.reshape(-1)])


def _first(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.gradient(values, axis=axis, edge_order=2 if values.shape[axis] > 2 else 1))


def _second(values: np.ndarray, axis: int) -> np.ndarray:
    """Second differences at the nodes; those of the first and last node go on as their neighbours do."""
    v = np.moveaxis(values, axis, 0)
    found = np.zeros_like(v)
    if len(v) > 2:
        found[1:-1] = v[2:] - 2 * v[1:-1] + v[:-2]
        found[0], found[-1] = (2 * found[1] - found[2], 2 * found[-2] - found[-3]) if len(v) > 3 else (found[1], found[1])
    return np.moveaxis(found, 0, axis)


def derived(
    kind: str, numbers: Any, function: Any, first_instance: int, b: int, frame: np.ndarray, step: float, X: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """α (n,), grad α (n, d) and (3) (n,) at scaled points (n, d) of instance b of those at hand; absolute units."""
    n, d = X.shape
    extent = frame[-2]
    if kind == "function":
        return _by_differences(function, first_instance + b, frame, step, X)
    row = None if numbers is None else _data.row_of(kind, numbers, b, None)
    if kind in ("none", "number"):
        return np.full(n, 1.0 if row is None else row[0]), np.zeros((n, d)), np.zeros(n)
    if kind == "grid":
        values, box = _data.table_of(kind, row, d), _data.box_of(row, d)
        bent = row[3 * d + values.size :][: values.size].reshape(values.shape)  # type: ignore[index]
        cell = Cells(values.shape, box, frame[:-2] + extent * X)
        per = (np.array(values.shape) - 1) / (box[1] - box[0])
        slope = np.stack([interpolated(_first(values, i) * per[i], cell.corner, cell.place) for i in range(d)], axis=-1)
        return interpolated(values, cell.corner, cell.place), slope, interpolated(bent, cell.corner, cell.place)
    alpha, slope, laplace = (_of_powers if kind == "polynomial" else _of_bells)(row, X)
    one = _power_of_two(alpha)
    steepness = ((slope * one[:, None]) ** 2).sum(axis=1) / (4 * (alpha * one) ** 2)
    return alpha, slope / extent, (laplace / (2 * alpha) - steepness) / extent**2


def _power_of_two(alpha: np.ndarray) -> np.ndarray:
    """By which α is near 1: its square may leave float64."""
    return np.asarray(np.ldexp(1.0, -np.frexp(alpha)[1]))


def _by_differences(
    function: Any, instance: int, frame: np.ndarray, step: float, X: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(4)"""
    n, d = X.shape
    shifts = np.concatenate([np.zeros((1, d)), *([-row, row] for row in step * np.eye(d))])
    at = (frame[:-2] + frame[-2] * X)[:, None] + shifts
    values = np.asarray(function(instance, np.ascontiguousarray(at.reshape(-1, d)))).reshape(n, 2 * d + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        bent = (np.sqrt(values[:, 1:]).sum(axis=1) / np.sqrt(values[:, 0]) - 2 * d) / step**2
    return values[:, 0], (values[:, 2::2] - values[:, 1::2]) / (2 * step), bent


def _of_powers(row: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    of: Any = np.polynomial.polynomial
    c, d = _data.table_of("polynomial", row, X.shape[1]), X.shape[1]
    value = of.polyval2d if d == 2 else of.polyval3d
    slope = np.stack([value(*X.T, of.polyder(c, axis=i)) for i in range(d)], axis=-1)
    return value(*X.T, c), slope, sum(value(*X.T, of.polyder(c, 2, axis=i)) for i in range(d))


def _of_bells(row: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = X.shape[1]
    bells = row.reshape(-1, d + 2)
    away, q = X[:, None, :] - bells[:, 1:-1], bells[:, -1]
    r2 = (away**2).sum(axis=-1)
    e = np.exp(-r2 * q) * bells[:, 0]
    return e.sum(axis=1), -((2 * q * e)[..., None] * away).sum(axis=1), (2 * q * e * (2 * q * r2 - d)).sum(axis=1)


def rates(
    kinds: tuple[str, str], numbers: tuple[Any, Any], functions: tuple[Any, Any], first_instance: int, b: int, frame: np.ndarray,
    step: float, X: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """α, σ and σ' (2) at scaled points, absolute."""
    alpha, _, bent = derived(kinds[0], numbers[0], functions[0], first_instance, b, frame, step, X)
    if kinds[1] == "none":
        return alpha, np.zeros(len(X)), bent
    row = None if numbers[1] is None else _data.row_of(kinds[1], numbers[1], b, None)
    sigma = np.asarray(_data.data_values(kinds[1], row, functions[1], first_instance + b, frame, X))
    with np.errstate(invalid="ignore", divide="ignore"):
        return alpha, sigma, bent + sigma / alpha


def by_host(function: Any, like: Array) -> Any:
    """A user's function of NumPy arrays, where it is one of arrays on a device: that of ``like``."""
    if function is None or _arrays.on_host(like):
        return function

    def there(instance: int, X: np.ndarray) -> np.ndarray:
        one = function.parts[instance - function.first] if isinstance(function, OneEach) else function
        if not isinstance(one, Function):  # compiled code
            return np.asarray(one(instance, X))
        return _arrays.to_host(one.function(_arrays.beside(like, np.ascontiguousarray(X, one.dtype)))).astype(np.float64)

    return there


def bounds(p: Prepared, diffusion: Packed, screening: Packed, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 2), (B,): of every instance the bound (7), from points in its domain, with the step of differences; and the largest α.

    ValueError where α <= 0 or σ < 0.
    """
    shared = p.boundary._batch is None and diffusion.batch in (None, 1) and screening.batch in (None, 1)
    found, largest = np.empty((p.B, 2)), np.empty(p.B)
    kinds, numbers = (diffusion.kind, screening.kind), (to_numpy(diffusion.numbers), to_numpy(screening.numbers))
    functions = by_host(diffusion.function, p.problem.points), by_host(screening.function, p.problem.points)
    for b in range(min(p.B, 1) if shared else p.B):
        step = STEP * float(p.boundary._diagonal[b if len(p.boundary._diagonal) > 1 else 0])
        X = _samples(p, b, frame[b])
        alpha, sigma, rate = rates(kinds, numbers, functions, 0, b, frame[b], step, X)
        _check(alpha, alpha > 0, "diffusion", "positive numbers", X, frame[b])
        _check(sigma, sigma >= 0, "screening", "0 or more", X, frame[b])
        _check(rate, np.isfinite(rate), "the second derivative of diffusion", "finite numbers", X, frame[b])
        from_zero = max(rate.max(), 0.0) - min(rate.min(), 0.0)
        found[b] = _SLACK * from_zero + _SPREAD * (rate.max() - rate.min()), step
        largest[b] = alpha.max()
    return (np.repeat(found[:1], p.B, axis=0), np.repeat(largest[:1], p.B)) if shared else (found, largest)


def _check(values: np.ndarray, good: np.ndarray, name: str, expected: str, X: np.ndarray, frame: np.ndarray) -> None:
    if not good.all():
        k = int(np.argmin(good))
        where = ", ".join(f"{x:.6g}" for x in frame[:-2] + frame[-2] * X[k])
        raise ValueError(f"solve: {name} is {values[k]:.6g} at ({where}), expected {expected} in the whole domain")


def _samples(p: Prepared, b: int, frame: np.ndarray) -> np.ndarray:
    """(n, d) scaled points of one instance's domain: well spread ones inside, and some of the boundary."""
    whole: Boundary = p.boundary
    part = whole if whole._batch is None else whole._part_of(b, b + 1)
    d = part.dimension
    golden = 1.32471795724474602596 if d == 2 else 1.22074408460575947536  # x^(d + 1) = x + 1
    u = (0.5 + np.arange(1, SAMPLES + 1)[:, None] * golden ** -np.arange(1.0, d + 1)) % 1
    ends, first = part._arrays_of("numpy")
    if isinstance(part, Ball):
        low, high, outer = np.full(d, -1.0), np.full(d, 1.0), 2 * u[:ON_BOUNDARY] - 1
        outer = outer / np.sqrt((outer**2).sum(axis=1, keepdims=True))
    elif isinstance(part, Box):
        high, outer = part._row(), 2 * u[:ON_BOUNDARY] - 1
        low, outer = -high, outer / np.abs(outer).max(axis=1, keepdims=True) * high
    else:
        corners = np.asarray(ends).reshape(-1, d)
        low, high, outer = corners.min(axis=0), corners.max(axis=0), corners[:: max(1, len(corners) // ON_BOUNDARY)]
    X = (low + u * (high - low)) * frame[-2] + frame[:-2]
    closed = part.watertight if isinstance(part, TriangleMesh) else True
    memo = part._memo_of("numpy")
    backend = p.backend if p.on_host else _backends.of_host()
    inner = call(PLACE, (X[None], frame[None], ends, first), (closed, False), (memo,), None, backend, p.problem.num_threads)[0]
    return np.concatenate([inner[~np.isnan(inner[:, 0])], outer])


def report(beyond: Array) -> None:
    """One warning for all jumps beyond the bound."""
    count = int(beyond.sum())
    if count:
        warnings.warn(
            f"solve: {count} jumps went to places where the diffusion and the screening vary more than the bound of the walks' rate, which "
            "was found from samples: answers are right, but their errors may be large; are there small features?",
            RuntimeWarning,
            stacklevel=5,
        )
