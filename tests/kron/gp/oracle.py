"""The dense covariance of the observed cells, inverted in extended precision."""

import functools

import numpy as np


def covariance(factors, noise, size):
    K = functools.reduce(np.kron, [(np.asarray(f, np.longdouble) + np.asarray(f, np.longdouble).T) / 2 for f in factors])
    return K + np.diag(np.broadcast_to(np.asarray(noise, np.longdouble), size))


def inverse(C):
    """(C^-1, log det C) by Gauss-Jordan elimination without pivots: C is positive definite."""
    n = len(C)
    rows, logdet = np.hstack([C, np.eye(n)]), np.longdouble(0)
    for j in range(n):
        logdet = logdet + np.log(rows[j, j])
        rows[j] /= rows[j, j]
        others = np.arange(n) != j
        rows[others] -= rows[others, j : j + 1] * rows[j]
    return rows[:, n:], logdet


def solved(factors, y, noise, mask):
    """Yield (row index, observed cells, C^-1 y, log det C) for each row."""
    C = covariance(factors, noise, y.shape[-1])
    masks = np.broadcast_to(True if mask is None else mask, y.shape)
    for index in np.ndindex(y.shape[:-1]):
        cells = np.flatnonzero(masks[index])
        C_inverse, logdet = inverse(C[np.ix_(cells, cells)])
        yield index, cells, C_inverse @ y[index][cells], logdet


def gp_nll(factors, y, noise, mask=None, start=None, *, logdet="exact", return_error=False):
    nll = np.zeros(y.shape[:-1], np.longdouble)
    for index, cells, alpha, determinant in solved(factors, y, noise, mask):
        nll[index] = (y[index][cells] @ alpha + determinant + len(cells) * np.log(2 * np.longdouble(np.pi))) / 2
    return (nll, np.zeros(nll.shape)) if return_error else nll  # nothing is estimated


def gp_solve(factors, y, noise, mask=None, start=None):
    result = np.zeros(y.shape, np.longdouble)
    for index, cells, alpha, _ in solved(factors, y, noise, mask):
        result[(*index, cells)] = alpha
    return result


def gp_spectrum(values, z, *, noise):
    shape = tuple(map(len, values))
    lam = functools.reduce(np.multiply.outer, [np.asarray(l, np.longdouble) for l in values])
    a = z.reshape(shape) / (lam + noise)
    shrinkage = lam / (lam + noise)
    shrinkages = [shrinkage.sum(axis=tuple(i for i in range(len(shape)) if i != k)) for k in range(len(shape))]
    sums = [(z.reshape(shape) * a).sum(), np.log(lam + noise).sum(), (a * a).sum(), (1 / (lam + noise)).sum()]
    return (a * np.sqrt(lam)).reshape(-1), np.concatenate(shrinkages), np.array(sums)


def gp_gram(x):
    x = np.moveaxis(np.asarray(x, np.longdouble), 1, 0).reshape(x.shape[1], x.shape[0] * x.shape[2])
    return x @ x.T


def posterior(factors, cross_factors, y, noise, mask=None, prior=1.0):
    """Mean and covariance of one y (N,) at the points. ``prior`` is their covariance or its diagonal."""
    cells = np.flatnonzero(np.broadcast_to(True if mask is None else mask, y.shape))
    C_inverse, _ = inverse(covariance(factors, noise, y.shape[-1])[np.ix_(cells, cells)])
    cross = functools.reduce(np.kron, [np.asarray(c, np.longdouble) for c in cross_factors])[:, cells]
    explained = cross @ C_inverse @ cross.T
    return cross @ C_inverse @ y[cells], (prior - explained if np.ndim(prior) == 2 else prior - explained.diagonal())
