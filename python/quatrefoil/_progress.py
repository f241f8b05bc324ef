"""``progress=`` of long computations: True, or a callable that receives the work done and the distance to the goal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any, cast

Report = Callable[[int, float], Any]


def reporter(progress: Any, label: str, line: Callable[[int, float], str]) -> Report | None:
    """The function to call with the work done and the distance to the goal, or None. If True, it prints ``line`` to stderr every second."""
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Printer(line)
    if not callable(progress):
        raise TypeError(f"{label}: progress is {progress!r}, expected True or a callable")
    return cast(Report, progress)


class _Printer:
    def __init__(self, line: Callable[[int, float], str]) -> None:
        self.line, self.last = line, -math.inf

    def __call__(self, done: int, distance: float) -> None:
        if time.monotonic() - self.last >= 1:
            self.last = time.monotonic()
            print(self.line(done, distance), file=sys.stderr, flush=True)
