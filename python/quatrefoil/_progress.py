"""``progress=`` of what takes long: True, or a callable of how much is done and how far it is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

Report = Callable[[int, float], Any]


def reporter(progress: Any, label: str, line: Callable[[int, float], str]) -> Report | None:
    """What is called with both numbers, if anything: for True it prints ``line`` of them, once a second, to stderr."""
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Printer(line)
    if not callable(progress):
        raise TypeError(f"{label}: progress is {progress!r}, expected True or a callable")
    found: Report = progress
    return found


class _Printer:
    """A line a second."""

    def __init__(self, line: Callable[[int, float], str]) -> None:
        self.line, self.last = line, -math.inf

    def __call__(self, done: int, far: float) -> None:
        if time.monotonic() - self.last >= 1:
            self.last = time.monotonic()
            print(self.line(done, far), file=sys.stderr, flush=True)
