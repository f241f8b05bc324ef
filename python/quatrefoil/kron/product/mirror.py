"""Even and odd parts along an axis, of arrays (times sqrt 2) and centrosymmetric matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def folded(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """x_i + x_{n-1-i} and x_i - x_{n-1-i}; the middle element times sqrt 2. Keeps the memory order of x."""
    first, last, middle = _cuts(x.shape[axis], axis)
    lead, count = (slice(None),) * axis, x.shape[axis] - x.shape[axis] // 2
    even = x[(*lead, slice(0, count))] + np.flip(x, axis)[(*lead, slice(0, count))]
    np.multiply(x[middle], x.dtype.type(2**0.5), out=even[middle])
    return even, x[first] - x[last]


def unfolded(even: np.ndarray, odd: np.ndarray, axis: int, out: np.ndarray | None = None) -> np.ndarray:
    """The transpose of ``folded``; in C order."""
    n = even.shape[axis] + odd.shape[axis]
    first, last, middle = _cuts(n, axis)
    if out is None:
        out = np.empty((*even.shape[:axis], n, *even.shape[axis + 1 :]), even.dtype)
    np.add(even[first], odd, out=out[first])
    np.subtract(even[first], odd, out=out[last])
    np.multiply(even[middle], even.dtype.type(2**0.5), out=out[middle])
    return out


def _cuts(n: int, axis: int) -> tuple[Any, Any, Any]:
    """The first half of an axis, its last half in reverse, and the middle element if n is odd."""
    lead, half = (slice(None),) * axis, n // 2
    return (*lead, slice(0, half)), (*lead, slice(None, n - half - 1, -1)), (*lead, slice(half, n - half))


def halves(K: np.ndarray) -> list[np.ndarray]:
    """K restricted to even and to odd vectors; only the upper half of K is read."""
    n = len(K)
    half = n // 2
    near, far = K[:half, :half], K[:half, n - half :][:, ::-1]
    even = np.empty((n - half, n - half))
    np.add(near, far, out=even[:half, :half])
    if n % 2:
        even[half, :half] = even[:half, half] = 2**0.5 * K[half, :half]
        even[half, half] = K[half, half]
    return [even, near - far]


def whole(parts: Sequence[np.ndarray], n: int) -> np.ndarray:
    """Even and odd eigenvectors in the coordinates of the axis."""
    half, count = n // 2, n - n // 2
    even, odd = (0.5**0.5 * q[:half] for q in parts)
    vectors = np.zeros((n, n))
    vectors[:half, :count], vectors[n - half :, :count] = even, even[::-1]
    vectors[half : n - half, :count] = parts[0][half:]
    vectors[:half, count:], vectors[n - half :, count:] = odd, -odd[::-1]
    return vectors
