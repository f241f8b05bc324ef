"""What a family's demo returns, and how it says what it is doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
