"""What a benchmark is: our call, the peers' calls that give the same answer, and how close the answers must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Run = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """One row of the table. Every side runs on one thread, interleaved with the others, after its value was compared with ``truth``.

    ``goals`` gives the least ratio (peer's time / ours) wanted against a peer. A peer that is not installed is left out by the module
    that makes the problem. ``statistical``: answers are Monte Carlo means, compared by ``tolerance`` all the same, in units that the
    problem's ``truth`` and runs agree on.
    """

    family: str
    name: str
    size: str
    ours: Run
    peers: Mapping[str, Run]
    truth: Run  # float64 or better, called once
    tolerance: float  # of the largest value
    goals: Mapping[str, float] = field(default_factory=dict)
    peer_tolerance: float | None = None  # where peers are less accurate
