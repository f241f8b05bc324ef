import functools

import numpy as np


def _dense(factors):
    return functools.reduce(np.kron, [np.asarray(f, np.longdouble) for f in factors])


def matvec(factors, x, *, transpose=False):
    """The dense matrix where it is small; otherwise one axis at a time, in the axes' order, by einsum."""
    factors = [f.T for f in factors] if transpose else list(factors)
    rows, columns = (int(np.prod([f.shape[i] for f in factors])) for i in (0, 1))
    if rows * columns <= 1 << 16:
        return np.asarray(x, np.longdouble) @ _dense(factors).T
    y = np.asarray(x, np.longdouble).reshape(*x.shape[:-1], *[f.shape[1] for f in factors])
    for k, f in enumerate(factors):
        axis = x.ndim - 1 + k
        y = np.moveaxis(np.einsum("ij,j...->i...", np.asarray(f, np.longdouble), np.moveaxis(y, axis, 0)), 0, axis)
    return y.reshape(*x.shape[:-1], rows)


def matvec_vjp(factors, x, grad, *, transpose=False):
    """The definition: d<grad, K x> by every entry of every factor, with a basis matrix in its place."""
    gradients = []
    for k, f in enumerate(factors):
        g = np.zeros(f.shape, np.longdouble)
        for i, j in np.ndindex(*f.shape):
            basis = np.zeros(f.shape)
            basis[i, j] = 1
            g[i, j] = np.sum(grad * matvec([*factors[:k], basis, *factors[k + 1 :]], x, transpose=transpose))
        gradients.append(g)
    return gradients, matvec(factors, grad, transpose=not transpose)
