"""What a benchmark is: our call, the peers' calls that give the same answer, and how close the answers must be."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Run = Callable[[], Any]


@cache
def installed(peer: str) -> bool:
    """Whether a peer is here; a line says where it is not."""
    if importlib.util.find_spec(peer):
        return True
    print(f"{peer} is not installed: its rows are left out", file=sys.stderr)
    return False


@dataclass(frozen=True)
class Work:
    """What the algorithm cannot avoid: floating-point operations (a fused multiply and add counts 2, a transform of n complex numbers
    5 n log2 n), exponentials beside them, and bytes of the arrays that are given and returned, each touched once."""

    flops: float
    bytes: float
    dtype: str = "float32"
    exps: float = 0.0


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
    work: Work | None = None  # gives the floor that our time is printed beside
    parts: Mapping[str, Run] = field(default_factory=dict)  # what ours spends time on: timed alone, printed as a share
    rate: tuple[float, str] | None = None  # how many of what a run makes: printed a second
