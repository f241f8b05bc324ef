"""A benchmark: our call, the peers' calls with the same result, and the tolerance of the results."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np

Run = Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """The unavoidable work of an algorithm.

    Floating-point operations (a fused multiply-add counts as 2, a transform of n complex numbers as 5 n log2 n), exponentials,
    counted separately, and the bytes of inputs and results, each touched once.
    """

    flops: float
    bytes: float
    dtype: str = "float32"
    exps: float = 0.0


@dataclass(frozen=True)
class Problem:
    """One row of the table. Every side runs on one thread, interleaved with the others, after its value has been compared with ``truth``.

    ``goals``: the smallest acceptable ratio (peer's time / ours) per peer. Modules omit peers that are not installed; goals for them do not
    count. Monte Carlo means are compared like other values, with a ``tolerance`` that allows for their scatter.
    """

    family: str
    name: str
    size: str
    ours: Callable[..., Any]
    peers: Mapping[str, Run]
    truth: Run  # float64 or better, called once
    tolerance: float  # relative to the largest value
    goals: Mapping[str, float] = field(default_factory=dict)
    peer_tolerance: float | None = None  # if peers are less accurate
    work: Work | None = None  # determines the floor that is printed next to our time
    parts: Mapping[str, Run] = field(default_factory=dict)  # parts of our run, timed separately and printed as shares
    rate: tuple[float, str] | None = None  # (count, unit) produced by one run; printed per second


@cache
def installed(peer: str) -> bool:
    """Whether a peer is installed; prints a line if not."""
    if importlib.util.find_spec(peer):
        return True
    print(f"{peer} is not installed, so its rows are omitted", file=sys.stderr)
    return False


def against_numba(problem: Problem) -> Problem:
    """The same problem with the Numba backend as its only peer, as accurate as ours. ``ours`` must accept ``backend``."""
    return replace(problem, peers={"numba backend": partial(problem.ours, backend="numba")}, goals={}, peer_tolerance=None)


def double(*arrays: np.ndarray) -> list[Any]:
    """Arrays in double precision."""
    return [a.astype(np.result_type(a, np.float64)) for a in arrays]


def tensors(arrays: Sequence[Any]) -> list[Any]:
    """Tensors that share the memory of arrays. A list becomes a list of tensors, and None stays None."""
    import torch

    return [a if a is None else tensors(a) if isinstance(a, (list, tuple)) else torch.from_numpy(a) for a in arrays]


def torch_peers(functions: Mapping[str, Callable[..., Any]], *arrays: Any) -> dict[str, Run]:
    """Peers that call functions of tensors on these arrays; empty if torch is not installed."""
    if not installed("torch"):
        return {}
    arguments = tensors(arrays)
    return {name: partial(function, *arguments) for name, function in functions.items()}


def autograd(arrays: Sequence[np.ndarray], grad: np.ndarray, index: int = 0) -> Callable[[Callable[..., Any]], Run]:
    """Turn a function of tensors into a run: forward, then backward from ``grad`` to all arrays; returns gradient number ``index``."""
    import torch

    leaves, start = [t.requires_grad_() for t in tensors(arrays)], torch.from_numpy(grad)
    return lambda function: lambda: torch.autograd.grad(function(*leaves), leaves, start)[index]
