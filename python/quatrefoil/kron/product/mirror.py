"""Even and odd parts of arrays about the middle of an axis, both times sqrt 2."""

from __future__ import annotations

from typing import Any

import numpy as np


def folded(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """x_i + x_{n-i}, and x_i - x_{n-i}; the middle element times sqrt 2. In the memory order of x."""
    first, last, middle = _cuts(x.shape[axis], axis)
    lead, count = (slice(None),) * axis, x.shape[axis] - x.shape[axis] // 2
    even = x[(*lead, slice(0, count))] + np.flip(x, axis)[(*lead, slice(0, count))]
    np.multiply(x[middle], x.dtype.type(2**0.5), out=even[middle])
    return even, x[first] - x[last]


def unfolded(even: np.ndarray, odd: np.ndarray, axis: int, found: np.ndarray | None = None) -> np.ndarray:
    """The transpose of ``folded``; in C order."""
    n = even.shape[axis] + odd.shape[axis]
    first, last, middle = _cuts(n, axis)
    if found is None:
        found = np.empty((*even.shape[:axis], n, *even.shape[axis + 1 :]), even.dtype)
    np.add(even[first], odd, out=found[first])
    np.subtract(even[first], odd, out=found[last])
    np.multiply(even[middle], even.dtype.type(2**0.5), out=found[middle])
    return found


def _cuts(n: int, axis: int) -> tuple[Any, Any, Any]:
    """The first half of an axis, its other half read backwards, and the middle element of an odd one."""
    lead, half = (slice(None),) * axis, n // 2
    return (*lead, slice(0, half)), (*lead, slice(None, n - half - 1, -1)), (*lead, slice(half, n - half))
