"""A part of a problem, some points of some instances: what is walked at a time. None of the cuts shows in the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from ... import _arrays
from ..._call import call
from ..._typing import Backend
from . import METHODS
from .state import State, schedule

if TYPE_CHECKING:
    from ..mesh import Boundary
    from .problem import Prepared
    from .walls import Tables

Array = Any
MOST_INSTANCES = 64  # of a piece: whose grids a boundary keeps


class Window(NamedTuple):
    """Instances [instance, instance_end), and of each the points [point, point_end)."""

    instance: int
    instance_end: int
    point: int
    point_end: int

    def rows(self, N: int) -> np.ndarray:
        """Numbers of its points among those of all instances with N each."""
        of_instance = np.arange(self.instance, self.instance_end)[:, None] * N
        return (of_instance + np.arange(self.point, self.point_end)).reshape(-1)


def windows(B: int, N: int, points: int) -> Iterator[Window]:
    """All points of B instances, at most ``points`` of them, or one, in a window."""
    if not B * N:
        return
    if points >= N:
        step = min(MOST_INSTANCES, points // N)
        for b in range(0, B, step):
            yield Window(b, min(B, b + step), 0, N)
        return
    for b in range(B):
        for n in range(0, N, max(1, points)):
            yield Window(b, b + 1, n, min(N, n + max(1, points)))


def walk_ranges(first: int, walks: int, most: int) -> Iterator[tuple[int, int]]:
    """[first, first + walks) cut at multiples of ``most``, a power of two: few nodes a part (5)."""
    at, end = first, first + walks
    while at < end:
        count = min(end, (at // most + 1) * most) - at
        yield at, count
        at += count


@dataclass
class Piece:
    """The arguments of ``walk`` for some points of some instances, under their global numbers. Not frozen, which costs 2 us."""

    ARRAYS: ClassVar[tuple[str, ...]] = ("start", "frame", "dirichlet", "source")  # what a worker is sent, beside the boundary

    start: Array
    frame: Array
    ends: Array | None
    first: Array | None
    dirichlet: Array | None
    source: Array | None
    extras: tuple[Any, ...]  # grids, g, f
    kinds: tuple[str, ...]
    seed: int  # signed
    max_steps: int
    gradient: bool
    screening: float
    instance: int
    point: int
    backend: Backend | None
    num_threads: int | None
    exterior: bool = False
    units: np.ndarray | None = None  # the exponents of the units of u
    method: ClassVar[str] = "walk"

    @property
    def points(self) -> int:
        """Of all instances."""
        return int(self.start.shape[0] * self.start.shape[1])

    def units_of(self, rows: np.ndarray) -> np.ndarray | None:
        """The exponents of the units of those points, numbered instance after instance."""
        return None if self.units is None else self.units[rows // self.start.shape[1]]

    @property
    def inputs(self) -> tuple[Array | None, ...]:
        return self.start, self.frame, self.ends, self.first, self.dirichlet, self.source

    def options(self, first: int, walks: int) -> tuple[Any, ...]:
        """Those of the op for walks [first, first + walks)."""
        return *self._about(first, walks), self.exterior

    def _about(self, first: int, walks: int) -> tuple[Any, ...]:
        about = (*self.kinds, self.seed, first, walks, self.max_steps, self.gradient, self.screening)
        return (*about, self.instance, self.point)

    def run(self, first: int, walks: int, rows: np.ndarray | None = None) -> State:
        """Walks [first, first + walks) of every point, or of those ``rows``, instance after instance."""
        if rows is not None and len(rows) < self.points:
            part, kept = self._only(rows)
            return part.run(first, walks).take(kept)
        group = 2 if self.gradient else 1
        return _state(first // group, walks // group, self.drawn(first, walks))

    def drawn(self, first: int, walks: int) -> tuple[Array, ...]:
        """mean, m2 and counts (B, N, ...) of walks [first, first + walks) of every point."""
        about = self.options(first, walks), self.extras, None, self.backend, self.num_threads
        found: tuple[Array, ...] = call(METHODS[self.method], self.inputs, *about)
        return found

    def _only(self, rows: np.ndarray) -> tuple[Piece, np.ndarray]:
        """Where only those points start, in the window that holds them all; and where they lie in it."""
        b, n = np.divmod(rows, self.start.shape[1])
        low, high = int(n.min()), int(n.max()) + 1
        kept = b * (high - low) + n - low
        return replace(self, start=_starting(self.start[:, low:high], kept), point=self.point + low), kept

    def bare(self) -> Self:
        """In NumPy arrays, without the boundary and functions: what is sent elsewhere."""
        arrays = {name: to_numpy(getattr(self, name)) for name in self.ARRAYS}
        return replace(self, **arrays, ends=None, first=None, extras=())

    def clothed(self, tables: tuple[Array, ...], extras: tuple[Any, ...]) -> Self:
        """With what ``bare`` left out."""
        return replace(self, ends=tables[0], first=tables[1], extras=extras)


@dataclass
class WithWalls(Piece):
    """The same where part of the boundary reflects: the arguments of ``stars``."""

    tables: tuple[Array, ...] = ()  # walls, first_wall, corners, first_corner
    neumann: Array | None = None
    robin: Array | None = None
    endless: bool = False
    method: ClassVar[str] = "stars"

    ARRAYS: ClassVar[tuple[str, ...]] = (*Piece.ARRAYS, "neumann", "robin")

    @property
    def inputs(self) -> tuple[Array | None, ...]:
        return self.start, self.frame, self.ends, self.first, *self.tables, self.dirichlet, self.source, self.neumann, self.robin

    def options(self, first: int, walks: int) -> tuple[Any, ...]:
        return *self._about(first, walks), self.endless

    def bare(self) -> Self:
        return replace(super().bare(), tables=())

    def clothed(self, tables: tuple[Array, ...], extras: tuple[Any, ...]) -> Self:
        return replace(super().clothed(tables, extras), tables=tables[2:])


def copied(array: Array) -> Array:
    if array.__class__ is np.ndarray:
        return array.copy()
    return (
        np.array(array, subok=isinstance(array, _arrays.Plain))
        if isinstance(array, np.ndarray)
        else array.clone()
        if hasattr(array, "clone")
        else array.copy()
    )


def _starting(start: Array, rows: np.ndarray) -> Array:
    """``start`` where none but those of its points start, numbered instance after instance."""
    rest = np.ones(start.shape[:2], bool)
    rest.reshape(-1)[rows] = False
    start = copied(start)
    start[rest if isinstance(start, np.ndarray) else _arrays.of_kind(_arrays.place(start), rest)] = np.nan
    return start


def _state(first: int, samples: int, found: tuple[Array, ...]) -> State:
    """An op's mean, m2 and counts (B, N, ...) of samples [first, first + samples)."""
    starts, sizes = schedule(first, samples)
    return State(starts, sizes, *(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) for x in found))


def cut_out(p: Prepared, window: Window, geometry: Boundary | Tables | None = None) -> Piece:
    """That part of a prepared problem, its data under their gradients; ``geometry`` is that of its instances, if it is at hand."""
    problem, (start, frame, *_), (memo, *functions) = p.problem, p.inputs, p.extras
    b, end, n, n_end = window
    part, numbers = p.geometry, [data.numbers for data in p.data]
    if (b, end) != (0, p.B):
        part, frame = geometry or part._part_of(b, end), frame[b:end]
        memo = part._memo_of(p.kind)
        numbers = [_numbers(p, k, b, end) for k in range(len(numbers))]
    tables = part._arrays_of(p.kind)
    piece = Piece(
        start[b:end, n:n_end], frame, tables[0], tables[1], numbers[0], numbers[1], (memo, *functions), p.kinds, problem.signed_seed,
        problem.max_steps, problem.gradient, p.screening, b, n, p.backend, problem.num_threads, problem.exterior,
        None if p.units is None else p.units[b:end],
    )  # fmt: skip
    if p.mixed is not None:
        return WithWalls(**vars(piece), tables=tables[2:], neumann=numbers[2], robin=numbers[3], endless=p.mixed.endless)
    return piece if p.medium is None else p.medium.piece(piece, window)


def _numbers(p: Prepared, k: int, b: int, end: int) -> Array | None:
    """The numbers of data k for instances [b, end)."""
    numbers = p.data[k].numbers
    if numbers is None:
        return None
    if (first := p.corners_of(k)) is not None:
        return numbers[:, 2 * first[b] : 2 * first[end]]
    return numbers if len(numbers) == 1 else numbers[b:end]


def to_numpy(array: Array) -> Array:
    """The same numbers as a NumPy array, read back from a device; nobody asks for their gradient."""
    return array if array is None else _arrays.to_host(array)
