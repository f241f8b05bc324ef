import functools

import numpy as np


@functools.lru_cache(maxsize=2)
def cosines(n):
    """T_k at point j of n, [j, k], in extended precision. The angle is reduced to a quarter turn in integer arithmetic."""
    if n == 1:
        return np.ones((1, 1), np.longdouble)
    N = n - 1
    i = np.outer(np.arange(n)[::-1], np.arange(n)) % (2 * N)
    i = np.minimum(i, 2 * N - i)
    far = 2 * i > N
    pi = np.arccos(np.longdouble(-1))
    return np.where(far, -1, 1) * np.cos(pi * np.where(far, N - i, i).astype(np.longdouble) / N)


def along(A, axes, matrix):
    A = np.asarray(A, np.longdouble)
    axes = range(A.ndim) if axes is None else axes if isinstance(axes, (list, tuple)) else [axes]
    for axis in axes:
        A = np.moveaxis(np.tensordot(matrix(A.shape[axis]), A, (1, axis)), 0, axis)
    return A.copy()


def coeffs2vals(C, *, axes=None):
    return along(C, axes, cosines)


def vals2coeffs(V, *, axes=None):
    """sum'' halves the first and the last term; the first and last results are halved too."""

    def matrix(n):
        ends = np.ones(n, np.longdouble)
        ends[[0, -1]] = 0.5
        return ends[:, None] * cosines(n).T * ends * (np.longdouble(2) / (n - 1)) if n > 1 else cosines(1)

    return along(V, axes, matrix)
