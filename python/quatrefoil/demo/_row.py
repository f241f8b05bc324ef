"""What a family's demo returns, and how it says what it is doing."""

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
    seconds: float  # ours, median
    peer: str
    peer_seconds: float
    error: float  # against the truth named in `error_of`
    error_of: str

    @property
    def ratio(self) -> float:
        return self.peer_seconds / self.seconds


def median_seconds(f: Callable[[], Any], runs: int = 5) -> float:
    """The median of some runs after one that warms up."""
    f()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
