"""Chunks of a problem: points of some instances whose walks run in one call. The split does not change the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._call import call
from ..._spec import Op
from ..._typing import Backend
from ..data import loops as _array_code
from ..data.composition import Data, Points
from ..data.packed import copied, detached
from ..media import MEDIA
from ..stars import STARS
from ..walk import REPLAYED, WALK
from ..walk.nodes import schedule
from .composed import for_dimension
from .interfaces import Interfaces
from .jumping import How, Walked, blocks
from .state import State, of_samples

Array = Any
_data: Any = _array_code  # untyped module
METHODS = {"walk": WALK, "stars": STARS, "media": MEDIA, "jumps": WALK}  # a method's op; "jumps" uses only the names of its arguments
GEOMETRY = ("ends", "first", "walls", "first_wall", "corners", "first_corner")  # inputs that describe the boundary
LINEAR = ("dirichlet", "source", "neumann", "robin")  # data in which u is linear, evaluated here in a diffusion with jumps
_OF_POINTS = ("start", "slopes")  # inputs with an axis for points
MAX_INSTANCES = 64  # per chunk, because a boundary caches 64 grids


class Window(NamedTuple):
    """Points [point, point_end) of the instances [instance, instance_end)."""

    instance: int
    instance_end: int
    point: int
    point_end: int

    def rows(self, N: int) -> np.ndarray:
        """Indices of the window's points among the points of all instances, with N points each."""
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


def walk_ranges(first: int, walks: int, size: int) -> Iterator[tuple[int, int]]:
    """Split [first, first + walks) at multiples of ``size``, a power of two, so that each range has few nodes (5)."""
    at, end = first, first + walks
    while at < end:
        count = min(end, (at // size + 1) * size) - at
        yield at, count
        at += count


@dataclass
class Chunk:
    """An op's arguments for a chunk, with global indices. Not frozen, which saves 2 us per construction."""

    method: str  # a key of METHODS
    arrays: dict[str, Array]  # the op's inputs by name; absent inputs are None
    options: dict[str, Any]  # the op's options by name, except the range of walks
    extras: tuple[Any, ...]  # grids, and the functions among the data
    backend: Backend | None
    num_threads: int | None
    units: np.ndarray | None = None  # exponents of the units of u
    interfaces: Interfaces | None = None  # those of a diffusion with jumps

    @property
    def points(self) -> int:
        """The number of points in all instances."""
        B, N, _ = self.arrays["start"].shape
        return int(B * N * self.options["nrhs"])

    @property
    def op(self) -> Op:
        return for_dimension(METHODS[self.method], self.arrays["start"].shape[2], self.options["outside"])

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
        if self.interfaces is not None:
            return self._run_jumps(self.interfaces, first, walks)
        mean, m2, *counts = call(self.op, self.inputs, self.options_of(first, walks), self.extras, None, self.backend, self.num_threads)
        if counts[1:] and counts[1] is not None:  # append the jumps beyond a medium's bound as a column
            counts = [_arrays.namespace(counts[0]).concatenate([counts[0], counts[1][..., None]], -1)]
        group = 2 if self.options["gradient"] else 1
        starts, sizes = schedule(first // group, walks // group)
        return State(starts, sizes, *(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) for x in (mean, m2, counts[0])))

    def _run_jumps(self, interfaces: Interfaces, first: int, walks: int) -> State:
        """Run walks through a diffusion with jumps, which NumPy moves from region to region."""
        pairs, d = self.options["gradient"], self.arrays["start"].shape[2]
        starts, sizes = schedule(*((first // 2, walks // 2) if pairs else (first, walks)))
        none, states = np.zeros((0, len(sizes), 1 + d * pairs)), dict[tuple[int, int], State]()
        for b, row, part in self.jumps(interfaces, first, walks):
            key, state = (b, part.first_point), self._state(part, b, row)
            states[key] = states[key].join(state) if key in states else state
        in_order = [State(starts, sizes, none, none, np.zeros((0, 3), np.int64)), *(states[key] for key in sorted(states))]
        parts = (np.concatenate([getattr(state, name) for state in in_order]) for name in ("mean", "m2", "counts"))
        mean, m2, counts = (_arrays.of_kind(_arrays.location(self.arrays["start"]), x) for x in parts)
        tables = [self.arrays.get(name) for name in LINEAR]
        if any(getattr(x, "requires_grad", False) for x in tables):
            B, N, _ = self.arrays["start"].shape

            def pull(grad: np.ndarray) -> list[np.ndarray | None]:
                return self.replay_jumps(interfaces, first, walks, grad.reshape(B * self.options["nrhs"], N, *grad.shape[1:]))

            mean = call(REPLAYED, (mean, *tables), (), (pull,))
        return State(starts, sizes, mean, m2, counts)

    def replay_jumps(self, interfaces: Interfaces, first: int, walks: int, grad: np.ndarray) -> list[np.ndarray | None]:
        """(7), (8): gradients with respect to the parameters of data. ``grad`` (B, N, K, C): with respect to the nodes' means."""
        group = 2 if self.options["gradient"] else 1
        starts, sizes = map(np.array, schedule(first // group, walks // group))
        tables = [None if (x := self.arrays.get(name)) is None else np.asarray(_arrays.to_host(detached(x)), np.float64) for name in LINEAR]
        fields = [Data(np, "solve", self.options.get(f"{name}_kind", "none"), x, None) for name, x in zip(LINEAR, tables)]
        totals = [None if x is None else np.zeros(x.shape) for x in tables]

        def add(k: int, b: int, frame: np.ndarray, X: np.ndarray, weight: np.ndarray, facet: Any = None, corners: Any = None) -> None:
            n, d = X.shape
            if n and totals[k] is not None:
                at = (X - frame[:d]) / frame[d], np.full(n, b), np.tile(frame[:d], (n, 1)), np.full(n, frame[d])
                weights = () if corners is None else [corners[:, j] for j in range(1, d)]
                totals[k] += fields[k].gradient(Points(*at, [], facet, weights), weight)

        for b, frame, part in self.jumps(interfaces, first, walks):
            W, point = len(part.walks), part.first_point - self.options["first_point"]
            node = np.searchsorted(starts, np.asarray(part.walks) // group, side="right") - 1
            each = grad[b, point : point + len(part.end) // W][:, node] / (group * sizes[node])[:, None]
            each = each.reshape(-1, grad.shape[3])
            later, inside, in_first = each[:, 0], ~np.isnan(part.end[:, 0]), None
            if part.first is not None:
                along, toward = part.first.channels(np, np.ones(len(each)))
                later, in_first = (np.where(each == 0, 0.0, each * x).sum(axis=1) for x in (along, toward))
            add(0, b, frame, part.end[inside], (later * part.left)[inside], part.facet[inside], part.weights[inside])
            add(1, b, frame, part.point, later[part.owner] * part.share)
            for k, wall in part.walls.items():
                add(1 + k, b, frame, wall.point, later[wall.owner] * wall.share, wall.facet, wall.weights)
            if in_first is not None and part.entered is not None and part.area is not None:
                entered = part.area > 0
                add(1, b, frame, part.entered[entered], (part.area * in_first)[entered])
        return totals

    def jumps(self, interfaces: Interfaces, first: int, walks: int) -> Iterator[tuple[int, np.ndarray, Walked]]:
        """Yield an instance, its frame, and some of its walks through a diffusion with jumps. Instances may share walks."""
        start, frame = (np.asarray(_arrays.to_host(self.arrays[name]), np.float64) for name in ("start", "frame"))
        options, d = self.options, start.shape[2]
        for b, row in enumerate(frame):
            bounds, sigma = self.arrays.get("bounds"), None
            if bounds is not None:
                sigma = partial(self._data, "screening", b, row)
            rate = options["screening"] if bounds is None else float(_arrays.to_host(bounds)[b, 0])
            limits = row[d] * row[d + 1], rate, sigma if rate > 0 else None, options["max_steps"]
            sourced = options["source_kind"] != "none"
            fluxes = tuple(k for k in (1, 2) if options.get(f"{LINEAR[1 + k]}_kind", "none") != "none")
            how = How(options["seed"], *limits, sourced, fluxes, options["gradient"], self.backend, self.num_threads)
            ranges = range(first, first + walks), options["first_point"], options["first_instance"] + b
            for part in blocks(interfaces, how, row[:d] + row[d] * start[b], *ranges):
                for side in range(options["nrhs"]):
                    yield b + side, row, part

    def _state(self, part: Walked, b: int, frame: np.ndarray) -> State:
        """The nodes of walks of instance b, from the data at their ends and source points."""
        W, group = len(part.walks), 2 if part.first is not None else 1
        inside, sourced = ~np.isnan(part.end[:, 0]), self.options["source_kind"] != "none"
        values = np.full(len(inside), np.nan)
        at_ends = part.end[inside], part.facet[inside], part.weights[inside, 1:]
        values[inside] = part.left[inside] * self._data("dirichlet", b, frame, *at_ends)
        if sourced:
            values += np.bincount(part.owner, part.share * self._data("source", b, frame, part.point), minlength=len(values))
        for k, wall in part.walls.items():
            met = wall.share * self._data(LINEAR[1 + k], b, frame, wall.point, wall.facet, wall.weights[:, 1:])
            values += np.bincount(wall.owner, met, minlength=len(values))
        channels = values[:, None]
        if part.first is not None and part.entered is not None and part.area is not None:
            along, toward = part.first.channels(np, np.ones(len(values)))
            channels = channels * along
            if sourced:
                met, own = np.zeros(len(values)), part.area > 0
                met[own] = part.area[own] * self._data("source", b, frame, part.entered[own])
                channels = channels + met[:, None] * toward
        samples = channels.reshape(-1, W // group, group, channels.shape[1]).mean(axis=2)
        return of_samples(part.walks.start // group, samples, part.counts.reshape(-1, W, 3).sum(axis=1))

    def _data(self, name: str, b: int, frame: np.ndarray, X: np.ndarray, *on_boundary: np.ndarray) -> np.ndarray:
        """The data of instance b at points X in absolute coordinates."""
        if not len(X):
            return np.zeros(0)
        kind, table, row, d = self.options[f"{name}_kind"], self.arrays[name], None, len(frame) - 2
        if table is not None:
            row = _data.row_of(kind, np.asarray(_arrays.to_host(detached(table)), np.float64), b, self.arrays["first"])
        names = [key.removesuffix("_kind") for key in self.options if key.endswith("_kind")]  # in the order of ``extras``
        function, scaled = self.extras[1 + names.index(name)], (X - frame[:d]) / frame[d]
        return np.asarray(_data.data_values(kind, row, function, self.options["first_instance"] + b, frame, scaled, *on_boundary))

    def _only(self, rows: np.ndarray) -> tuple[Chunk, np.ndarray]:
        """A chunk of the smallest window around points ``rows``, in which other points have no walks, and the indices of ``rows`` in it."""
        b, n = np.divmod(rows, self.arrays["start"].shape[1])
        low, high = int(n.min()), int(n.max()) + 1
        places = b * (high - low) + n - low
        cut = {name: self.arrays[name][:, low:high] for name in _OF_POINTS if self.arrays.get(name) is not None}
        rest = np.ones(cut["start"].shape[:2], bool)
        rest.reshape(-1)[places if self.options["nrhs"] == 1 else n - low] = False
        cut["start"] = copied(cut["start"])
        cut["start"][_arrays.of_kind(_arrays.location(cut["start"]), rest)] = np.nan
        options = {**self.options, "first_point": self.options["first_point"] + low}
        return replace(self, arrays={**self.arrays, **cut}, options=options), places

    def without_geometry(self) -> Chunk:
        """The chunk in NumPy arrays, without the boundary and functions, to be sent to a worker."""
        arrays = {name: x if x is None else _arrays.to_host(x) for name, x in self.arrays.items() if name not in GEOMETRY}
        return replace(self, arrays=arrays, extras=())

    def with_geometry(self, tables: Sequence[Array], extras: tuple[Any, ...]) -> Chunk:
        """The inverse of ``without_geometry``."""
        return replace(self, arrays={**self.arrays, **dict(zip(GEOMETRY, tables))}, extras=extras)
