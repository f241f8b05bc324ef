"""One boundary value problem with its points and its seed: what a Result needs to draw more walks."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import _arrays, _backends
from ..._arguments import numbers_of
from ..._dispatch import call
from ..polygon import Boundary, Polygon
from . import PLACE, WALK
from .packing import NOTHING, Target, pack
from .state import State, schedule

Array = Any
MAX_STEPS = 2**20 - 1  # what the counter of the random words holds
MAX_WALKS = 2**32
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_SINGLE_FROM = 1e-5  # relative epsilon: below it float32 cannot tell the shell from the boundary


@dataclass
class Problem:
    """What the caller gave. Pickles without what was made of it."""

    boundary: Boundary
    points: Array
    dirichlet: Any
    source: Any
    epsilon: float
    relative: bool
    max_steps: int
    seed: int
    backend: str
    num_threads: int | None = None
    _ready: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None}

    @property
    def ready(self) -> Prepared:
        if self._ready is None:
            self._ready = Prepared(self)
        made: Prepared = self._ready
        return made

    def run(self, first: int, walks: int) -> State:
        """Walks [first, first + walks) of every point."""
        if first + walks > MAX_WALKS:
            raise ValueError(f"solve: walks up to {first + walks} were asked for, a point has {MAX_WALKS}")
        p = self.ready
        mean, m2, counts = call(
            WALK, p.inputs, (*p.kinds, self.signed_seed, first, walks, self.max_steps), p.extras, None, self.backend, self.num_threads
        )
        starts, sizes = schedule(first, walks)
        rows = p.B * p.N
        return State(starts, sizes, mean.reshape(rows, len(sizes)), m2.reshape(rows, len(sizes)), counts.reshape(rows, 3))

    @property
    def signed_seed(self) -> int:
        """The same 64 bits."""
        return self.seed - (self.seed >> 63 << 64)

    def fingerprint(self) -> str:
        """Two results may be merged where this agrees."""
        p = self.ready
        h = hashlib.sha256()
        b = self.boundary
        for array in (numbers_of(self.points, "merge", "points"), b.centre, b.extent, b.ends if isinstance(b, Polygon) else b.center):
            h.update(repr((array.shape, array.dtype)).encode() + np.ascontiguousarray(array).tobytes())
        for data in (p.dirichlet, p.source):
            given = data.given if data.function is not None else None
            h.update(repr((data.kind, getattr(given, "__qualname__", type(given).__name__))).encode())
            code = getattr(getattr(given, "py_func", given), "__code__", None)
            if code is not None:
                h.update(code.co_code + repr(code.co_names).encode())
            if data.numbers is not None:
                numbers = numbers_of(data.numbers, "merge", "data", graded=True)
                h.update(repr(numbers.shape).encode() + np.ascontiguousarray(numbers).tobytes())
        h.update(repr((self.epsilon, self.relative, self.max_steps, self.backend)).encode())
        return h.hexdigest()


class Prepared:
    """A problem checked, scaled and packed: the arrays of ``walk``."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        b = self.boundary = problem.boundary
        points = numbers_of(problem.points, "solve", "points")
        self.kind = str(_arrays.kind(problem.points))
        self.dtype = _SINGLE if points.dtype == _SINGLE else _DOUBLE
        d = b.dimension
        if points.ndim not in (2, 3) or points.shape[-1] != d:
            raise ValueError(f"solve: points has shape {points.shape}, expected (N, {d}) or (B, N, {d})")
        if b.kind is not None and b.kind != self.kind:
            raise TypeError(
                f"solve: boundary was built from a {b.kind} array but points is a {self.kind} array; "
                "all arrays of a call must be of one kind"
            )
        target = Target(b, self.kind, self.dtype)
        self.dirichlet = pack(problem.dirichlet, target, "dirichlet")
        self.source = NOTHING if problem.source is None else pack(problem.source, target, "source")
        self.kinds = (self.dirichlet.kind, self.source.kind)
        self._batches(points)
        self._place(points)

    @property
    def backend(self) -> str:
        return self.problem.backend

    def _batches(self, points: np.ndarray) -> None:
        self.N = points.shape[-2]
        self.shape: tuple[int, ...]
        if points.ndim == 2 and self.boundary.batch is None and self.dirichlet.batch is None and self.source.batch is None:
            self.B, self.shape = 1, (self.N,)
            return
        sizes = {
            "points": len(points) if points.ndim == 3 else None,
            "boundary": self.boundary.batch,
            "dirichlet": self.dirichlet.batch,
            "source": self.source.batch,
        }
        found = {name: n for name, n in sizes.items() if n is not None}
        if len(set(found.values())) > 1:
            raise ValueError(f"solve: different numbers of instances: {', '.join(f'{name} {n}' for name, n in found.items())}")
        self.B = next(iter(found.values()))
        self.shape = (self.B, self.N)

    def _place(self, points: np.ndarray) -> None:
        """Where walks start. Points outside get none; those within epsilon outside start from the boundary."""
        b, p = self.boundary, self.problem
        frame = b.frame(p.epsilon, p.relative)
        if frame.swallows:
            warnings.warn("solve: epsilon is as large as the domain: every answer is g at the nearest point", RuntimeWarning, stacklevel=6)
        precision = _SINGLE if frame.least >= _SINGLE_FROM else _DOUBLE
        # walks in float64 start from points in float64, before anything is rounded; the others are rounded last
        given = p.points if self.dtype is precision or precision is _SINGLE else _cast(p.points, precision)
        rows = frame.of_kind(self.kind, self.B)
        ends, first = b.arrays(self.kind)
        memo = b.memo(self.kind)
        start = call(PLACE, (given, rows, ends, first), (), (memo,), None, p.backend, p.num_threads)
        outside = start[:, :, 0] != start[:, :, 0]
        self.outside = outside.reshape(-1) if outside.any() else None
        if self.outside is not None:
            count = int(self.outside.sum())
            warnings.warn(f"solve: {count} points lie outside the boundary: their values are NaN", RuntimeWarning, stacklevel=6)
        start = start if self.dtype is precision else _cast(start, precision)
        self.inputs = (start, rows, ends, first, self.dirichlet.numbers, self.source.numbers)
        self.extras = (memo, self.dirichlet.function, self.source.function)

    def cast(self, array: Array) -> Array:
        """float64 results in the dtype of the points."""
        return array if self.dtype is _DOUBLE else _cast(array, self.dtype)


def _cast(array: Array, dtype: np.dtype) -> Array:
    return array.astype(dtype) if isinstance(array, np.ndarray) else array.to(getattr(_arrays.namespace(array), dtype.name))


def resolve(backend: str | None) -> str:
    """The backend that a problem's walks take, now and when it is resumed."""
    name = backend or _backends.chosen() or _backends.default()
    if name == "cuda":
        raise NotImplementedError(f"solve: no backend can run this (cuda: {_backends.reason('cuda') or 'has no such kernel'})")
    _backends.check_name(name, "solve")
    return name
