"""The Kronecker kernels in plain loops: same order, same names as csrc/kron/product."""

import math

import numpy as np

from ..._backends.numba import jit


@jit
def _mode_product(a, x, y):
    """README (1) along one axis: y (L, m, R) = a (m, n) x (L, n, R)."""
    L, n, R = x.shape
    m = a.shape[0]
    for l in range(L):
        for i in range(m):
            for r in range(R):
                y[l, i, r] = 0
            for k in range(n):
                s = a[i, k]
                for r in range(R):
                    y[l, i, r] += s * x[l, k, r]


@jit
def _mode_product_last(a, x, y):
    """The same along the last axis: y (L, m) = x (L, n) a^T, a^T being (n, m)."""
    L, n = x.shape
    m = a.shape[1]
    for l in range(L):
        for i in range(m):
            y[l, i] = 0
        for k in range(n):
            s = x[l, k]
            for i in range(m):
                y[l, i] += s * a[k, i]


@jit
def _gram(g, x, total):
    """README (5): total (m, n) += sum over l and r of g (L, m, R) x (L, n, R)."""
    L, n, R = x.shape
    m = g.shape[1]
    for l in range(L):
        for i in range(m):
            for j in range(n):
                s = 0.0
                for r in range(R):
                    s += g[l, i, r] * x[l, j, r]
                total[i, j] += s


def _apply(a, x, L, R, y=None):
    m, n = a.shape
    y = np.empty(L * m * R, x.dtype) if y is None else y
    if R == 1:
        _mode_product_last(np.ascontiguousarray(a.T), x.reshape(L, n), y.reshape(L, m))
    else:
        _mode_product(np.ascontiguousarray(a), x.reshape(L, n, R), y.reshape(L, m, R))
    return y


def _phase(a):
    """Axes that shrink go first, those that grow last."""
    return int(np.sign(a.shape[0] - a.shape[1]))


def _product(factors, x, y):
    if y.size == 0 or x.size == 0:
        y[...] = 0
        return
    size = [a.shape[1] for a in factors]
    batch = x.size // math.prod(size)
    order = sorted(range(len(factors) - 1, -1, -1), key=lambda k: _phase(factors[k]))
    x = np.ascontiguousarray(x)
    for step, k in enumerate(order):
        L, R = batch * math.prod(size[:k]), math.prod(size[k + 1 :])
        x = _apply(factors[k], x, L, R, y if step == len(order) - 1 else None)
        size[k] = factors[k].shape[0]


def _adjoint(factors, x, grad, dfactors, dx):
    totals = [np.zeros(a.shape) for a in factors]
    if x.size and grad.size:
        n, m = [a.shape[1] for a in factors], [a.shape[0] for a in factors]
        d, batch = len(factors), x.size // math.prod(n)
        later = [np.ascontiguousarray(x)]
        for k in range(d - 1, 0, -1):  # (4)
            later.insert(0, _apply(factors[k], later[0], batch * math.prod(n[:k]), math.prod(m[k + 1 :])))
        g = np.ascontiguousarray(grad)
        for k in range(d):
            L, R = batch * math.prod(n[:k]), math.prod(m[k + 1 :])
            _gram(g.reshape(L, m[k], R), later[k].reshape(L, n[k], R), totals[k])  # (5)
            g = _apply(factors[k].T, g, L, R, dx if k == d - 1 else None)  # (6)
    else:
        dx[...] = 0
    for to, total in zip(dfactors, totals):
        to[...] = total


def matvec(factors, x, y, packed, num_threads):
    _product(factors, x, y)


def rmatvec(factors, x, y, packed, num_threads):
    _product([a.T for a in factors], x, y)


def matvec_vjp(factors, x, grad, dfactors, dx, packed, num_threads):
    _adjoint(factors, x, grad, dfactors, dx)


def rmatvec_vjp(factors, x, grad, dfactors, dx, packed, num_threads):
    _adjoint([a.T for a in factors], x, grad, [a.T for a in dfactors], dx)
