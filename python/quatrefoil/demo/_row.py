"""The result of a family's demo, and helpers for the demos."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[str], None]  # called with a short text before every long step


@dataclass(frozen=True)
class Row:
    """One line of the demo's table."""

    family: str
    problem: str
    size: str
    seconds: float  # ours, median, including all preparation
    peer: str
    peer_seconds: float
    rounding: float  # this and model are relative to the largest value
    rounding_of: str
    model: float | None  # None if the method is exact
    model_of: str
    note: str = ""  # about the times
    estimated: bool = False  # the peer's time is extrapolated from a part of its work

    @property
    def ratio(self) -> float:
        return self.peer_seconds / self.seconds


def median_seconds(f: Callable[[], Any], runs: int = 5) -> float:
    """The median time of several runs after a warm-up run."""
    f()
    return statistics.median(seconds(f)[0] for _ in range(runs))


def seconds(f: Callable[[], Any]) -> tuple[float, Any]:
    """The time of one run, and its result."""
    start = time.perf_counter()
    result = f()
    return time.perf_counter() - start, result
