"""One boundary value problem with its points and its seed: what a Result needs to draw more walks."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import _arrays, _backends
from ..data import PER_VERTEX, pack
from ..polygon import Ball, Polygon, as_numpy, check_finite
from .result import State, schedule

Array = Any
MAX_STEPS = 2**20 - 1  # what the counter of the random words holds
MAX_WALKS = 2**32
_ROUND = 1 << 20  # walks between two reductions: 12 MB
_GROUP = 64  # instances whose grids are held at once
_SINGLE_FROM = 1e-5  # relative epsilon: below it float32 cannot tell the shell from the boundary


@dataclass
class Walks:
    """What the walks of one round did, for gradients: absolute ends, the segment and the place on it."""

    ends: np.ndarray  # (B, N, w, d)
    place: np.ndarray  # (B, N, w)
    segment: np.ndarray  # (B, N, w)


@dataclass
class Problem:
    boundary: Polygon | Ball
    points: Array
    dirichlet: Any
    source: Any
    epsilon: float
    relative: bool
    max_steps: int
    seed: int
    backend: str | None = None
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
        return self.ready.run(first, walks, None)

    def fingerprint(self) -> str:
        """Two results may be merged where this agrees."""
        p = self.ready
        h = hashlib.sha256()
        b = self.boundary
        for array in (p.points, b.centre, b.extent, b.ends if isinstance(b, Polygon) else b.center):
            h.update(repr((array.shape, array.dtype)).encode() + np.ascontiguousarray(array).tobytes())
        for data in (p.dirichlet, p.source):
            given = data.given if data.function is not None else None
            h.update(repr((data.kind, data.width, data.stride, getattr(given, "__qualname__", type(given).__name__))).encode())
            code = getattr(getattr(given, "py_func", given), "__code__", None)
            if code is not None:
                h.update(code.co_code + repr(code.co_names).encode())
            if data.numbers is not None:
                h.update(data.numbers.tobytes())
        h.update(repr((self.epsilon, self.relative, self.max_steps, p.backend)).encode())
        return h.hexdigest()


class Prepared:
    """A problem checked and scaled."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        b = self.boundary = problem.boundary
        kind = _arrays.kind(problem.points)
        self.points = as_numpy(problem.points, "solve", "points")
        self.kind = str(kind)
        d = b.dimension
        if self.points.ndim not in (2, 3) or self.points.shape[-1] != d:
            raise ValueError(f"solve: points has shape {self.points.shape}, expected (N, {d}) or (B, N, {d})")
        if b.kind is not None and b.kind != kind:
            raise TypeError(
                f"solve: boundary was built from a {b.kind} array but points is a {kind} array; all arrays of a call must be of one kind"
            )
        check_finite(self.points, "solve", "points")
        self.dirichlet = pack(problem.dirichlet, b, self.points, self.kind, "dirichlet")
        self.source = pack(problem.source, b, self.points, self.kind, "source")
        self._batches()
        self._scale()
        self.live = self._live()
        self.backend = self._backend()

    def _batches(self) -> None:
        sizes = {
            "points": len(self.points) if self.points.ndim == 3 else None,
            "boundary": self.boundary.batch,
            "dirichlet": self.dirichlet.batch,
            "source": self.source.batch,
        }
        found = {name: n for name, n in sizes.items() if n is not None}
        if len(set(found.values())) > 1:
            raise ValueError(f"solve: different numbers of instances: {', '.join(f'{name} {n}' for name, n in found.items())}")
        self.batch = next(iter(found.values()), None)
        self.B = 1 if self.batch is None else self.batch
        self.N = self.points.shape[-2]
        self.shape = (self.N,) if self.batch is None else (self.B, self.N)

    def _each(self, array: np.ndarray) -> np.ndarray:
        """A row of the boundary for every instance."""
        return np.ascontiguousarray(np.broadcast_to(array, (self.B, *array.shape[1:])))

    def _scale(self) -> None:
        b, p = self.boundary, self.problem
        self.centre, self.extent = self._each(b.centre), self._each(b.extent)
        absolute = p.epsilon * b.diagonal if p.relative else np.full(b.count, p.epsilon)
        if (absolute >= b.half_width).any():
            warnings.warn(
                "solve: epsilon is as large as the domain: every answer is g at the nearest point",
                RuntimeWarning,
                stacklevel=5,
            )
        self.epsilon = self._each(absolute / b.extent)
        single = self.points.dtype == np.float32 or bool(b.count == 0 or (absolute / b.diagonal).min() >= _SINGLE_FROM)
        if self.points.dtype == np.float32 and b.count and (absolute / b.diagonal).min() < _SINGLE_FROM:
            single = False
        self.precision = np.dtype(np.float32 if single else np.float64)
        points = np.broadcast_to(self.points, (self.B, self.N, b.dimension)).astype(np.float64)
        self.scaled = (points - self.centre[:, None]) / self.extent[:, None, None]
        self.levels = np.zeros(self.B, np.int64)
        if isinstance(b, Polygon):
            self.levels = self._each(np.array([_level(int(M), e) for M, e in zip(np.diff(b.first), absolute / b.extent)], np.int64))

    def _live(self) -> np.ndarray:
        """Which points get walks. Points outside but within epsilon are moved to the boundary."""
        b = self.boundary
        live = np.ones((self.B, self.N), bool)
        if isinstance(b, Ball):
            radius = np.sqrt((self.scaled**2).sum(axis=-1))
            live = radius <= 1 + self.epsilon[:, None]
            beyond = radius > 1
            self.scaled[beyond] /= radius[beyond][:, None]
        else:
            for i in range(self.B):
                live[i] = self._inside_polygon(b, i)
        outside = int((~live).sum())
        if outside:
            warnings.warn(f"solve: {outside} points lie outside the boundary: their values are NaN", RuntimeWarning, stacklevel=5)
        return live

    def _inside_polygon(self, b: Polygon, i: int) -> np.ndarray:
        from . import _locate

        at = i if b.count > 1 else 0
        backend = self.problem.backend or _backends.chosen()
        inside = _locate.contains(b, at, self.scaled[i], backend, self.problem.num_threads)
        out = np.flatnonzero(~inside)
        if len(out):
            distance, closest = _locate.closest(b, at, self.scaled[i, out], backend, self.problem.num_threads)
            near = distance <= self.epsilon[i]
            self.scaled[i, out[near]] = closest[near]
            inside[out[near]] = True
        return inside

    def _backend(self) -> str:
        wanted = self.problem.backend or _backends.chosen() or _backends.default()
        if wanted == "cuda":
            raise NotImplementedError(f"solve: no backend can run this (cuda: {_backends.reason('cuda') or 'has no such kernel'})")
        _backends.check_name(wanted, "solve")
        return wanted

    def run(self, first: int, walks: int, keep: Callable[[int, int, Walks], None] | None) -> State:
        """Rounds of walks over groups of instances; neither shows in the result."""
        if first + walks > MAX_WALKS:
            raise ValueError(f"solve: walks up to {first + walks} were asked for, a point has {MAX_WALKS}")
        parts = []
        for begin in range(0, max(self.B, 1), _GROUP):
            end = min(begin + _GROUP, self.B)
            state: State | None = None
            for at, count in _rounds(first, walks, (end - begin) * self.N):
                more = self._round(begin, end, at, count, keep)
                state = more if state is None else state.join(more)
            assert state is not None
            parts.append(state)
        return parts[0] if len(parts) == 1 else State.stack(parts)

    def _round(self, begin: int, end: int, first: int, walks: int, keep: Callable[[int, int, Walks], None] | None) -> State:
        rows = (end - begin) * self.N
        starts, sizes = schedule(first, walks)
        state = State(
            starts, sizes, _arrays.empty((rows, len(starts)), np.float64), _arrays.empty((rows, len(starts)), np.float64),
            np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64),
        )  # fmt: skip
        d = self.boundary.dimension
        ends = segments = None
        if keep is not None:
            ends, segments = (
                np.zeros((end - begin, self.N, walks, d + 1)),
                np.zeros((end - begin, self.N, walks), np.int64),
            )
        if self.backend == "native":
            self._native(begin, end, first, walks, state, ends, segments)
        else:
            from ._twin import walk

            walk(self, begin, end, first, walks, state, ends, segments)
        if keep is not None and ends is not None and segments is not None:
            keep(begin, end, Walks(ends[..., :d], ends[..., d], segments))
        return state

    def _native(self, begin: int, end: int, first: int, walks: int, state: State, ends: Any, segments: Any) -> None:
        core = _backends.native.core().wos
        b = self.boundary
        start = np.ascontiguousarray(self.scaled[begin:end], self.precision)
        at = slice(begin, end)
        core.walk(
            b.native(core) if isinstance(b, Polygon) else None,
            (start, self.live[at], self.epsilon[at], self.centre[at], self.extent[at], self.levels[at]),
            self.dirichlet.native(),
            self.source.native(),
            begin,
            first,
            walks,
            self.problem.max_steps,
            self.problem.seed,
            (state.mean, state.m2, state.steps, state.truncated, state.escaped, ends, segments),
            self.problem.num_threads or 0,
        )

    def first_pair(self, instance: int) -> int:
        """Where an instance's pairs of PerVertex values begin."""
        b = self.boundary
        if not isinstance(b, Polygon) or self.dirichlet.kind != PER_VERTEX:
            return 0
        return int(b.first[instance]) if b.batch is not None else instance * self.dirichlet.stride


def _level(M: int, epsilon: float) -> int:
    """log2 of the grid's side. By the number of segments, 32 to 512 cells; coarser for a large epsilon, so that bounds stay above it."""
    by_size = min(max((M - 1).bit_length(), 5), 9)
    by_epsilon = int(np.floor(np.log2(3.5 / epsilon)))  # a leaf's bound is at least 5 half diagonals, 3.5 cells
    return max(0, min(by_size, by_epsilon))


def _rounds(first: int, walks: int, rows: int) -> Iterator[tuple[int, int]]:
    """The range cut at multiples of a power of two."""
    size = 1 << max(0, (_ROUND // max(rows, 1)).bit_length() - 1)
    at, end = first, first + walks
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield at, stop - at
        at = stop
