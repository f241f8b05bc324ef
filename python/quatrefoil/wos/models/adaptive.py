"""Runs walks until error bars are small enough: csrc/wos/walk/README.md (19)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import integer, number
from .chunk import Chunk
from .state import Part, State, error_bars
from .units import times

MAX_WALKS = 2**20  # default limit per point
ALIKE = 1000  # with this many equal samples, other values are rarer than 3 / 1000 with 95 % confidence, by the rule of three


@dataclass(frozen=True)
class Rule:
    """Decides when a point has enough walks. ``walks`` is the size of a round."""

    rtol: float
    atol: float
    walks: int
    max_walks: int
    dtype: np.dtype  # dtype of the results, in which errors are compared

    @staticmethod
    def from_arguments(label: str, rtol: Any, atol: Any, walks: int, max_walks: Any, dtype: np.dtype) -> Rule | None:
        """The rule for a caller's arguments, or None without a tolerance."""
        if rtol is None and atol is None:
            if max_walks is not None:
                raise ValueError(f"{label}: max_walks requires rtol or atol; pass one of them, or pass the number of walks as walks")
            return None
        relative, absolute = (0.0 if x is None else number(x, label, name) for x, name in ((rtol, "rtol"), (atol, "atol")))
        limit = MAX_WALKS if max_walks is None else integer(max_walks, label, "max_walks")
        if limit < walks:
            default = ", its default" if max_walks is None else ""
            raise ValueError(f"{label}: max_walks is {limit}{default}, expected at least {walks}, the walks of one round")
        return Rule(relative, absolute, walks, limit, dtype)

    def met(self, state: State, units: np.ndarray | None) -> np.ndarray:
        """Whether each point (rows,) is done, because its error bar is small enough or its value is not finite.

        An error bar of 0 from few walks is not enough if the walks took steps. A value that is not finite stays that way with more walks.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            mean, m2 = state.fold()
            bar = error_bars(state.samples, m2[:, :1], state.counts[:, 0], mean[:, :1])[:, 0]
            value, bar = (times(_arrays.to_host(x), units).astype(self.dtype).astype(np.float64) for x in (mean[:, 0], bar))
            alike = _arrays.to_host(m2[:, 0] == 0) & _arrays.to_host(state.counts[:, 0] > 0) & (state.samples < ALIKE)
            return np.asarray((bar <= np.maximum(self.atol, self.rtol * np.abs(value))) & ~alike | ~np.isfinite(value))


def draw_until(
    chunk: Chunk, rule: Rule, first: int, tell: Callable[[int, int], Any] | None = None, stop: Event | None = None
) -> list[Part]:
    """Run rounds of walks from ``first`` on for the points that need more.

    ``tell`` receives the number of walks in a round and the number of points that it finished.
    """
    done: list[Part] = []
    state, count = None, 0
    rows = np.arange(chunk.points)
    while len(rows) and not (stop is not None and stop.is_set()):
        step = min(rule.walks, rule.max_walks - count)
        fresh = chunk.run(first + count, step, rows)
        state = fresh if state is None else state.join(fresh)
        count += step
        enough = rule.met(state, chunk.units_of(rows)) | (count == rule.max_walks)
        ended = int(enough.sum())
        if tell is not None:
            tell(step * len(rows), ended)
        if ended:
            done.append((rows[enough], state.take(enough)))
            rows, state = rows[~enough], state.take(~enough)
    return done
