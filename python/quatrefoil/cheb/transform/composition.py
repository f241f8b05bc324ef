"""The transforms with array API functions: a product with the cosine matrix for short axes, an FFT of the even extension otherwise.

For NumPy arrays SciPy's cosine transform replaces the FFT, because it takes half the time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._array_tools import double, mode_product

MATRIX_UP_TO = 512  # points; the matrix, 2 MB, is small compared with the array, and an FFT makes more passes over the array
ON_HOST = 97  # the same for NumPy arrays


def _to_values(xp: Any, n: int, like: Any) -> Any:
    """README (3) as a matrix: cos(pi k (n-1-j) / (n-1)), the angle reduced in integers, so that every entry is accurate to an ulp."""
    N = max(n - 1, 1)
    k = xp.arange(n, dtype=xp.int64, device=like.device)
    i = xp.remainder((n - 1 - k)[:, None] * k, 2 * N)
    i = xp.where(i > N, 2 * N - i, i)
    return xp.astype(xp.sin(xp.astype(N - 2 * i, xp.float64) * (math.pi / (2 * N))), like.dtype)


def _ends(xp: Any, n: int, end: float, like: Any) -> Any:
    """Ones (n,), with ``end`` at both ends."""
    k = xp.arange(n, dtype=xp.int64, device=like.device)
    ones = xp.ones((n,), dtype=like.dtype, device=like.device)
    return xp.where((k == 0) | (k == n - 1), end * ones, ones)


def _to_coefficients(xp: Any, n: int, like: Any) -> Any:
    """README (2) as a matrix."""
    if n == 1:
        return xp.ones((1, 1), dtype=like.dtype, device=like.device)
    ends = _ends(xp, n, 0.5, like)
    return ends[:, None] * _to_values(xp, n, like).T * ends * (2 / (n - 1))


def _cosines(xp: Any, x: Any) -> Any:
    """x_0 + (-1)^k x_N + 2 sum of x_j cos(pi j k / N), 0 < j < N, along the last axis."""
    if xp is np:
        from scipy import fft

        return fft.dct(x, type=1, axis=-1)
    even = xp.concat([x, xp.flip(x[..., 1:-1], axis=-1)], axis=-1)
    return xp.real(xp.fft.rfft(even, axis=-1))


def _interpolated(xp: Any, v: Any) -> Any:
    """README (2) along the last axis, with v reversed."""
    n = v.shape[-1]
    return _cosines(xp, v) * (_ends(xp, n, 0.5, v) / (n - 1))


def _sums(xp: Any, c: Any) -> Any:
    """README (3) along the last axis, with v reversed."""
    return _cosines(xp, c * (_ends(xp, c.shape[-1], 2.0, c) / 2))


def _transform(xp: Any, A: Any, axes: Sequence[int], matrix: Callable[[int], Any], fast: Callable[[Any], Any]) -> Any:
    matrix = functools.cache(matrix)  # shared by all axes of the same length
    for axis in axes:
        n = A.shape[axis]
        if n <= (ON_HOST if xp is np else MATRIX_UP_TO):
            A = mode_product(xp, A, matrix(n), axis)
        elif 0 not in A.shape:
            A = xp.astype(xp.moveaxis(fast(double(xp, xp.moveaxis(A, axis, -1))), -1, axis), A.dtype)
    return A


def vals2coeffs(xp: Any, V: Any, axes: Sequence[int]) -> Any:
    return _transform(xp, V, axes, lambda n: _to_coefficients(xp, n, V), lambda v: _interpolated(xp, xp.flip(v, axis=-1)))


def coeffs2vals(xp: Any, C: Any, axes: Sequence[int]) -> Any:
    return _transform(xp, C, axes, lambda n: _to_values(xp, n, C), lambda c: xp.flip(_sums(xp, c), axis=-1))


def vals2coeffs_vjp(xp: Any, V: Any, grad: Any, axes: Sequence[int]) -> Any:
    return (_transform(xp, grad, axes, lambda n: _to_coefficients(xp, n, V).T, lambda g: xp.flip(_interpolated(xp, g), axis=-1)),)


def coeffs2vals_vjp(xp: Any, C: Any, grad: Any, axes: Sequence[int]) -> Any:
    return (_transform(xp, grad, axes, lambda n: _to_values(xp, n, C).T, lambda g: _sums(xp, xp.flip(g, axis=-1))),)
