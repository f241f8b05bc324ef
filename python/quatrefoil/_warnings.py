"""Warnings at the line of the caller's code that calls or imports quatrefoil."""

from __future__ import annotations

import sys
import warnings

_INNER = {"quatrefoil", "functools", "importlib", "jax", "numba", "scipy", "torch"}  # this package, and those that call it back


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Issue a warning at the innermost line outside this package and those that call it back."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _INNER:
        frame = frame.f_back
        level += "importlib._bootstrap" not in frame.f_code.co_filename  # ``warnings.warn`` does not count these frames
    warnings.warn(message, category, stacklevel=level)
