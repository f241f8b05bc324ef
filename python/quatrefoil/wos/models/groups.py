"""Points that have different walks: a State for each group of points with the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _arrays
from .state import State, taken

Array = Any
Part = tuple[np.ndarray, State]  # numbers of points among all, in order, and their walks


@dataclass
class Groups:
    """The state of a result whose points have different walks, for no two groups the same. Every point is in one of them.

    It is asked for what a State is asked for; ``samples``, ``walks`` and ``end`` are (rows,) numbers.
    """

    parts: list[Part]

    @property
    def group(self) -> int:
        return self.parts[0][1].group

    @property
    def samples(self) -> np.ndarray:
        return self._each("samples")

    @property
    def walks(self) -> np.ndarray:
        return self._each("walks")

    @property
    def end(self) -> np.ndarray:
        return self._each("end")

    @property
    def counts(self) -> Array:
        return self._whole([state.counts for _, state in self.parts])

    def fold(self) -> tuple[Array, Array]:
        folded = [state.fold() for _, state in self.parts]
        return self._whole([mean for mean, _ in folded]), self._whole([m2 for _, m2 in folded])

    def _each(self, name: str) -> np.ndarray:
        return np.asarray(self._whole([np.full(len(rows), getattr(state, name)) for rows, state in self.parts]))

    def _whole(self, pieces: list[Array]) -> Array:
        return whole_of([(rows, piece) for (rows, _), piece in zip(self.parts, pieces)])


def whole_of(pieces: list[tuple[np.ndarray, Array]]) -> Array:
    """The rows of all points in their order, of pieces with their numbers."""
    order = np.argsort(np.concatenate([rows for rows, _ in pieces]))
    return taken(_joined([piece for _, piece in pieces]), order)


def parts_of(state: State | Groups) -> list[Part]:
    return state.parts if isinstance(state, Groups) else [(np.arange(len(state.counts)), state)]


def gather(parts: Iterable[Part]) -> State | Groups:
    """The parts of all points as one state: a State where all points have the same walks."""
    alike: dict[Any, list[Part]] = {}
    for rows, state in parts:
        alike.setdefault((tuple(state.starts), tuple(state.sizes)), []).append((rows, state))
    found = [_stacked(same) for same in alike.values()]
    return found[0][1] if len(found) == 1 else Groups(found)


def _stacked(parts: list[Part]) -> Part:
    """Points with the same walks in the order of their numbers."""
    if len(parts) == 1:
        return parts[0]
    rows, first = np.concatenate([r for r, _ in parts]), parts[0][1]
    order = np.argsort(rows)
    mean, m2, counts = (taken(_joined([getattr(s, name) for _, s in parts]), order) for name in ("mean", "m2", "counts"))
    return rows[order], State(first.starts, first.sizes, mean, m2, counts)


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else _arrays.namespace(arrays[0]).concatenate(arrays, 0)


def meeting(a: State | Groups, b: State | Groups) -> list[tuple[np.ndarray, State, State]]:
    """Both states of the points of each pair of groups that have some in common."""
    mine, theirs = parts_of(a), parts_of(b)
    if len(mine) == len(theirs) == 1:
        return [(mine[0][0], mine[0][1], theirs[0][1])]
    (of_a, at_a), (of_b, at_b) = _places(mine), _places(theirs)
    pair = of_a * len(theirs) + of_b
    order = np.argsort(pair, kind="stable")
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(pair[order])) + 1):
        i, j = divmod(int(pair[rows[0]]), len(theirs))
        found.append((rows, mine[i][1].take(at_a[rows]), theirs[j][1].take(at_b[rows])))
    return found


def _places(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Of every point the group that it is in, and its place there."""
    count = sum(len(rows) for rows, _ in parts)
    of, at = np.empty(count, np.int64), np.empty(count, np.int64)
    for k, (rows, _) in enumerate(parts):
        of[rows], at[rows] = k, np.arange(len(rows))
    return of, at


def overlap(a: State | Groups, b: State | Groups) -> bool:
    """Whether a point has a walk in both."""
    return any(x.overlaps(y) for _, x, y in meeting(a, b))


def join(a: State | Groups, b: State | Groups) -> State | Groups:
    """The walks of both, point by point."""
    return gather((rows, x.join(y)) for rows, x, y in meeting(a, b))
