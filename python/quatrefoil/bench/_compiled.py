"""The peers that call PyTorch, under torch.compile."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from ._problem import Run

LIMIT = 30  # seconds in which a peer must have been compiled and run once


class TooLong(RuntimeError):
    """The first call of a compiled peer exceeded the limit."""


def peers(of: Mapping[str, Run]) -> dict[str, Run]:
    """``torch.compile`` of each peer whose name begins with torch. They compile in their first call."""
    names = [name for name in of if name.startswith("torch")]
    if not names:
        return {}
    import torch

    torch.compiler.reset()  # otherwise later peers would run uncompiled: recompilations are limited, and counted over all problems
    return {f"{name}, compiled": with_limit(torch.compile(_function(of[name]))) for name in names}


def _function(run: Run) -> Run:
    return lambda: run()  # torch.compile takes functions, not partial objects


def with_limit(run: Run) -> Run:
    """Raise ``TooLong`` if the first call takes longer than the limit, on systems with timers: a loop over time becomes a graph that takes
    minutes to compile."""
    first = hasattr(signal, "setitimer")

    def stop(*_: object) -> None:
        raise TooLong(f"not compiled within {LIMIT} s")

    def call() -> Any:
        nonlocal first
        if not first:
            return run()
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            return run()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            first = False

    return call
