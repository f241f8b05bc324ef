"""Chunks of a problem: points of some instances whose walks run in one call. The split does not change the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._call import call
from ..._typing import Backend
from ..data.packed import copied
from ..media import MEDIA
from ..stars import STARS
from ..walk import WALK
from ..walk.nodes import schedule
from .state import State

Array = Any
METHODS = {"walk": WALK, "stars": STARS, "media": MEDIA}  # ops that solve a problem
GEOMETRY = ("ends", "first", "walls", "first_wall", "corners", "first_corner")  # inputs that describe the boundary
_OF_POINTS = ("start", "slopes")  # inputs with an axis for points
MAX_INSTANCES = 64  # per chunk, because a boundary caches 64 grids


class Window(NamedTuple):
    """Points [point, point_end) of the instances [instance, instance_end)."""

    instance: int
    instance_end: int
    point: int
    point_end: int

    def rows(self, N: int) -> np.ndarray:
        """Indices of the window's points among the points of all instances, N each."""
        of_instance = np.arange(self.instance, self.instance_end)[:, None] * N
        return (of_instance + np.arange(self.point, self.point_end)).reshape(-1)


def windows(B: int, N: int, points: int, together: bool = False) -> Iterator[Window]:
    """Split all points of B instances into windows of at most ``points``. ``together``: instances share walks."""
    if not B * N:
        return
    if together:
        yield from (window._replace(instance_end=B) for window in windows(1, N, points // B))
        return
    if points >= N:
        step = min(MAX_INSTANCES, points // N)
        for b in range(0, B, step):
            yield Window(b, min(B, b + step), 0, N)
        return
    for b in range(B):
        for n in range(0, N, max(1, points)):
            yield Window(b, b + 1, n, min(N, n + max(1, points)))


def walk_ranges(first: int, walks: int, most: int) -> Iterator[tuple[int, int]]:
    """Split [first, first + walks) at multiples of ``most``, a power of two, so that each range has few nodes (5)."""
    at, end = first, first + walks
    while at < end:
        count = min(end, (at // most + 1) * most) - at
        yield at, count
        at += count


@dataclass
class Chunk:
    """An op's arguments for a chunk, with global indices. Not frozen: that would cost 2 us per instance."""

    method: str  # a key of METHODS
    arrays: dict[str, Array]  # the op's inputs by name; absent inputs are None
    options: dict[str, Any]  # the op's options by name, except the range of walks
    extras: tuple[Any, ...]  # grids, and the functions among the data
    backend: Backend | None
    num_threads: int | None
    units: np.ndarray | None = None  # exponents of the units of u

    @property
    def points(self) -> int:
        """The number of points in all instances."""
        B, N, _ = self.arrays["start"].shape
        return int(B * N * self.options["nrhs"])

    @property
    def inputs(self) -> tuple[Array | None, ...]:
        return tuple([self.arrays.get(arg.name) for arg in METHODS[self.method].inputs])

    def units_of(self, rows: np.ndarray) -> np.ndarray | None:
        """The exponents of the units of points ``rows``, indexed instance by instance."""
        return None if self.units is None else self.units[rows // self.arrays["start"].shape[1]]

    def options_of(self, first: int, walks: int) -> tuple[Any, ...]:
        """The op's options for walks [first, first + walks)."""
        options = {**self.options, "first_walk": first, "walks": walks}
        return tuple([options[option.name] for option in METHODS[self.method].options])

    def run(self, first: int, walks: int, rows: np.ndarray | None = None) -> State:
        """Run walks [first, first + walks) of every point, or only of points ``rows``, indexed instance by instance."""
        if rows is not None and len(rows) < self.points:
            part, places = self._only(rows)
            return part.run(first, walks).take(places)
        mean, m2, *counts = call(
            METHODS[self.method], self.inputs, self.options_of(first, walks), self.extras, None, self.backend, self.num_threads
        )
        if counts[1:] and counts[1] is not None:  # jumps beyond a medium's bound are one more column
            counts = [_arrays.namespace(counts[0]).concatenate([counts[0], counts[1][..., None]], -1)]
        group = 2 if self.options["gradient"] else 1
        starts, sizes = schedule(first // group, walks // group)
        return State(starts, sizes, *(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) for x in (mean, m2, counts[0])))

    def _only(self, rows: np.ndarray) -> tuple[Chunk, np.ndarray]:
        """A chunk of the window around points ``rows`` in which no other points start, and their indices in it."""
        b, n = np.divmod(rows, self.arrays["start"].shape[1])
        low, high = int(n.min()), int(n.max()) + 1
        places = b * (high - low) + n - low
        cut = {name: self.arrays[name][:, low:high] for name in _OF_POINTS if self.arrays.get(name) is not None}
        cut["start"] = _starting(cut["start"], places if self.options["nrhs"] == 1 else n - low)
        options = {**self.options, "first_point": self.options["first_point"] + low}
        return replace(self, arrays={**self.arrays, **cut}, options=options), places

    def without_geometry(self) -> Chunk:
        """The chunk in NumPy arrays, without the boundary and functions, to be sent to a worker."""
        arrays = {name: x if x is None else _arrays.to_host(x) for name, x in self.arrays.items() if name not in GEOMETRY}
        return replace(self, arrays=arrays, extras=())

    def with_geometry(self, tables: Sequence[Array], extras: tuple[Any, ...]) -> Chunk:
        """The inverse of ``without_geometry``."""
        return replace(self, arrays={**self.arrays, **dict(zip(GEOMETRY, tables))}, extras=extras)


def _starting(start: Array, rows: np.ndarray) -> Array:
    """``start`` with NaN for all points except ``rows``, indexed instance by instance."""
    rest = np.ones(start.shape[:2], bool)
    rest.reshape(-1)[rows] = False
    start = copied(start)
    start[rest if isinstance(start, np.ndarray) else _arrays.of_kind(_arrays.location(start), rest)] = np.nan
    return start
