"""The peers that call PyTorch, under torch.compile."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ._problem import Run

LIMIT = 30  # seconds for compiling a peer and running it once


class TooLong(RuntimeError):
    """The first call of a compiled peer exceeded the limit."""


def peers(runs: Mapping[str, Run]) -> dict[str, Run]:
    """``torch.compile`` of each peer whose name begins with torch. They compile on their first call."""
    names = [name for name in runs if name.startswith("torch")]
    if not names:
        return {}
    import torch

    torch.compiler.reset()  # otherwise later peers would run uncompiled: recompilations are limited, and counted over all problems
    return {f"{name}, compiled": torch.compile(_function(runs[name])) for name in names}


def _function(run: Run) -> Run:
    return lambda: run()  # torch.compile accepts functions, but not partial objects


@contextmanager
def limited() -> Iterator[None]:
    """Raise ``TooLong`` after the limit, on systems with timers: a loop over time becomes a graph that takes minutes to compile."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TooLong(f"not compiled within {LIMIT} s")

    handler, timer = signal.signal(signal.SIGALRM, stop), signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # restores a caller's timer, such as a test's timeout
