"""Parts of a user's compiled walks in the plane.

Each step tests every segment in float32. ``fastmath`` lets LLVM vectorise the minima.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def compiled(function: Callable[..., Any]) -> Any:
    return numba.njit(fastmath=True, nogil=True)(function)


def segments(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Start, edge and 1 / length^2 of segments, (5, M)."""
    e = end - start
    return np.ascontiguousarray(np.concatenate([start.T, e.T, 1 / (e**2).sum(axis=1)[None]]), np.float32)


@compiled
def nearest(s: Any, x: Any, y: Any) -> Any:
    """The squared distance to the nearest segment."""
    best, zero, one = np.float32(1e30), np.float32(0), np.float32(1)
    for k in range(s.shape[1]):
        px, py = x - s[0, k], y - s[1, k]
        t = min(max((px * s[2, k] + py * s[3, k]) * s[4, k], zero), one)
        dx, dy = px - t * s[2, k], py - t * s[3, k]
        best = min(best, dx * dx + dy * dy)
    return best


@compiled
def closest(s: Any, x: Any, y: Any) -> Any:
    """The index of the nearest segment, and the parameter of its closest point, from 0 to 1."""
    best, index, at, zero, one = np.float32(1e30), 0, np.float32(0), np.float32(0), np.float32(1)
    for k in range(s.shape[1]):
        px, py = x - s[0, k], y - s[1, k]
        t = min(max((px * s[2, k] + py * s[3, k]) * s[4, k], zero), one)
        dx, dy = px - t * s[2, k], py - t * s[3, k]
        d2 = dx * dx + dy * dy
        if d2 < best:
            best, index, at = d2, k, t
    return index, at


@compiled
def series(c: Any, x: Any, y: Any) -> Any:
    """A Fourier series of the polar angle."""
    theta, value = np.arctan2(y, x), c[0]
    for m in range(1, (len(c) + 1) // 2):
        value += c[2 * m - 1] * np.cos(m * theta) + c[2 * m] * np.sin(m * theta)
    return value
