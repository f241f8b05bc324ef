import functools

import numpy as np


def _dense(factors):
    return functools.reduce(np.kron, [np.asarray(f, np.longdouble) for f in factors])


def matvec(factors, x, *, transpose=False):
    """Use the dense matrix if it is small; otherwise einsum along one axis at a time."""
    factors = [f.T for f in factors] if transpose else list(factors)
    rows, columns = (int(np.prod([f.shape[i] for f in factors])) for i in (0, 1))
    if rows * columns <= 1 << 16:
        return np.asarray(x, np.longdouble) @ _dense(factors).T
    y = np.asarray(x, np.longdouble).reshape(*x.shape[:-1], *[f.shape[1] for f in factors])
    for k, f in enumerate(factors):
        axis = x.ndim - 1 + k
        y = np.moveaxis(np.einsum("ij,j...->i...", np.asarray(f, np.longdouble), np.moveaxis(y, axis, 0)), 0, axis)
    return y.reshape(*x.shape[:-1], rows)
