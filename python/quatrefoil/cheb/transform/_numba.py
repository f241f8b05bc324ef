"""The transforms as array code: a product with the cosine matrix where an axis is short, SciPy's fast cosine transform where it is long.

Plain loops would take longer than either.
"""

from functools import lru_cache

import numpy as np

from ..._backends.numba import dense
from . import mode_product

MATRIX_UP_TO = 97  # points: up to here a product with the cosine matrix takes no longer than a fast transform


@lru_cache(maxsize=64)
def _to_values(n: int) -> np.ndarray:
    """README (3) as a matrix: cos(pi k (n-1-j) / (n-1)), its angle reduced in integers, so that every entry is good to an ulp."""
    N = max(n - 1, 1)
    quarter = np.sin(np.pi * np.arange(N, -N - 1, -2) / (2 * N))  # cos(pi i / N), i = 0..N, antisymmetric to the last bit
    period = np.concatenate([quarter, quarter[-2:0:-1]])
    matrix: np.ndarray = period[np.outer(np.arange(n)[::-1], np.arange(n)) % (2 * N)]
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def _to_coefficients(n: int) -> np.ndarray:
    """README (2) as a matrix."""
    ends = np.ones(n)
    ends[[0, -1]] = 0.5
    matrix: np.ndarray = ends[:, None] * _to_values(n).T * ends * (2 / (n - 1)) if n > 1 else np.ones((1, 1))
    matrix.flags.writeable = False
    return matrix


def _cosines(x):
    """x_0 + (-1)^k x_N + 2 sum of x_j cos(pi j k / N), 0 < j < N, along the first axis."""
    from scipy import fft

    return fft.dct(x, type=1, axis=0)


def _interpolated(v):
    """README (2) along the first axis, v from its other end."""
    C = _cosines(v)
    C /= len(v) - 1
    C[[0, -1]] *= 0.5
    return C


def _sums(c):
    """README (1) along the first axis."""
    halved = c * c.dtype.type(0.5)
    halved[[0, -1]] *= 2
    return _cosines(halved)


def _transform(A, out, axes, matrix, fast):
    if not axes:
        out[...] = A
    for axis in axes:
        n = A.shape[axis]
        if n <= MATRIX_UP_TO or A.size == 0:
            out[...] = mode_product(dense(A), matrix(n).astype(A.dtype), axis)
        else:
            np.moveaxis(out, axis, 0)[...] = fast(np.moveaxis(A, axis, 0))
        A = out


def vals2coeffs(V, C, axes, num_threads):
    _transform(V, C, axes, _to_coefficients, lambda v: _interpolated(v[::-1]))


def coeffs2vals(C, V, axes, num_threads):
    _transform(C, V, axes, _to_values, lambda c: _sums(c)[::-1])


def vals2coeffs_vjp(V, grad, dV, axes, num_threads):
    _transform(grad, dV, axes, lambda n: _to_coefficients(n).T, lambda g: _interpolated(g)[::-1])


def coeffs2vals_vjp(C, grad, dC, axes, num_threads):
    _transform(grad, dC, axes, lambda n: _to_values(n).T, lambda g: _sums(g[::-1]))
