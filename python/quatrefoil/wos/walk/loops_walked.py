"""Blocks of walks, and the data where they are: array code around the loops of loops_paths."""

import numpy as np

from ..query.loops_solids import Distances, is_function
from .loops_half_discs import half_discs_pay
from .loops_paths import CUT_OFF, ESCAPED, walks
from .loops_steps import walks_by_steps

_BLOCK = 1 << 14  # walks at once, whose source points are in memory


class Walked:
    """Some walks of one instance: their ends and source points."""

    def __init__(
        self, start, frame, ends, instance, point, first_point, walk, seed, max_steps, pairs, screening, sources, outside=False, memo=None,
        laplace=False,
    ):  # fmt: skip
        n, d = len(point), start.shape[1]
        self.end, self.piece, self.place, self.left = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1)), np.empty(n)
        self.mark, first = np.empty(n, np.int64), np.empty((n, 2 + 2 * d))
        by_steps = is_function(ends, d)
        half_discs = () if by_steps else (laplace and screening == 0 and half_discs_pay(ends, d, frame[-1]),)
        events, self.owner = (walks_by_steps if by_steps else walks)(
            Distances(ends[0], memo) if by_steps else ends, outside, np.ascontiguousarray(start[point], np.float64), walk.astype(np.uint64),
            (point + first_point).astype(np.uint64), np.uint64(instance),
            np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF), frame[-1], screening * frame[-2] ** 2, pairs, max_steps,
            sources, self.end, self.piece, self.place, self.left, first, self.mark, *half_discs,
        )  # fmt: skip
        self.event, self.weight, self.entering = np.ascontiguousarray(events[:, :d]), events[:, d] * frame[-2] ** 2, events[:, d + 1] > 0
        first[:, 2:] /= frame[-2]
        columns = np.arange(d)
        self.along = first[:, [0, *(2 + columns)]] if pairs else np.ones((n, 1))  # (walks, channels), after the first ball
        self.toward = first[:, [1, *(2 + d + columns)]] if pairs else np.ones((n, 1))  # and for the source in it

    def channels(self, values, at_sources):
        """(walks, channels): the value, and the gradient of a walk of a pair (13), from the data at ends and source points."""
        values = np.where(self.left > 0, self.left, 0.0) * np.where(self.left > 0, values, 0.0)
        if at_sources is None:
            return values[:, None] * self.along
        weighted = self.weight * at_sources
        later, n = ~self.entering, len(values)
        values = values + np.bincount(self.owner[later], weighted[later], minlength=n)
        in_first = np.bincount(self.owner[self.entering], weighted[self.entering], minlength=n)
        channels = values[:, None] * self.along
        return channels + in_first[:, None] * self.toward if self.entering.any() else channels


def tallied(marks):
    """(..., 3): steps, 1 for walks that ``max_steps`` cut off, 1 for walks that left the box."""
    return np.stack([marks & (ESCAPED - 1), (marks & CUT_OFF) != 0, (marks & ESCAPED) != 0], axis=-1)


def blocks(start, first_walk, count):
    """(points, walks) of one instance, a few thousand walks at a time; points outside have none."""
    live = np.flatnonzero(~np.isnan(start[:, 0]))
    for at in range(0, len(live) * count, _BLOCK):
        index = np.arange(at, min(at + _BLOCK, len(live) * count))
        yield live[index // count], first_walk + index % count
