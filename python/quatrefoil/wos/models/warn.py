"""Warnings that point at the caller's line."""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path

_OURS = str(Path(__file__).resolve().parents[2]), functools.__file__


def warn(text: str) -> None:
    """Issue a RuntimeWarning of ``solve`` at the line that called this library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"solve: {text}", RuntimeWarning, stacklevel=level)
