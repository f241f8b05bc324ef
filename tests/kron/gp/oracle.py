"""The dense covariance of the observed cells, factorised in extended precision."""

import functools

import numpy as np


def covariance(factors, noise, size):
    K = functools.reduce(np.kron, [(np.asarray(f, np.longdouble) + np.asarray(f, np.longdouble).T) / 2 for f in factors])
    return K + np.diag(np.broadcast_to(np.asarray(noise, np.longdouble), size))


def cholesky(C):
    L = np.array(C)
    for j in range(len(L)):
        L[j, j] = np.sqrt(L[j, j] - L[j, :j] @ L[j, :j])
        L[j + 1 :, j] = (L[j + 1 :, j] - L[j + 1 :, :j] @ L[j, :j]) / L[j, j]
    return np.tril(L)


def forward(L, b):
    x = np.array(b, np.longdouble)
    for j in range(len(L)):
        x[j] = (x[j] - L[j, :j] @ x[:j]) / L[j, j]
    return x


def backward(L, b):
    x = np.array(b, np.longdouble)
    for j in reversed(range(len(L))):
        x[j] = (x[j] - L[j + 1 :, j] @ x[j + 1 :]) / L[j, j]
    return x


def rows(factors, y, noise, mask):
    """(row, its observed cells, their Cholesky factor) one after the other."""
    size = y.shape[-1]
    C = covariance(factors, noise, size)
    masks = np.broadcast_to(True if mask is None else mask, y.shape)
    for index in np.ndindex(y.shape[:-1]):
        cells = np.flatnonzero(masks[index])
        yield index, cells, cholesky(C[np.ix_(cells, cells)])


def gp_nll(factors, y, noise, mask=None, start=None, *, logdet="exact", return_error=False):
    nll = np.zeros(y.shape[:-1], np.longdouble)
    for index, cells, L in rows(factors, y, noise, mask):
        half = forward(L, y[index][cells])
        nll[index] = (half @ half + len(cells) * np.log(2 * np.longdouble(np.pi))) / 2 + np.log(L.diagonal()).sum()
    return (nll, np.zeros(nll.shape)) if return_error else nll  # nothing is estimated


def gp_solve(factors, y, noise, mask=None, start=None):
    alpha = np.zeros(y.shape, np.longdouble)
    for index, cells, L in rows(factors, y, noise, mask):
        alpha[(*index, cells)] = backward(L, forward(L, y[index][cells]))
    return alpha


def gp_spectrum(values, z, *, noise):
    shape = tuple(map(len, values))
    lam = functools.reduce(np.multiply.outer, [np.asarray(l, np.longdouble) for l in values])
    a = z.reshape(shape) / (lam + noise)
    share = lam / (lam + noise)
    shares = [share.sum(axis=tuple(i for i in range(len(shape)) if i != k)) for k in range(len(shape))]
    sums = [(z.reshape(shape) * a).sum(), np.log(lam + noise).sum(), (a * a).sum(), (1 / (lam + noise)).sum()]
    return (a * np.sqrt(lam)).reshape(-1), np.concatenate(shares), np.array(sums)


def gp_gram(x):
    x = np.moveaxis(np.asarray(x, np.longdouble), 1, 0).reshape(x.shape[1], x.shape[0] * x.shape[2])
    return x @ x.T


def posterior(factors, cross_factors, y, noise, mask=None, prior=1.0):
    """Mean and covariance of one y (N,) at the points; ``prior``: their covariance, or its diagonal."""
    cells = np.flatnonzero(np.broadcast_to(True if mask is None else mask, y.shape))
    L = cholesky(covariance(factors, noise, y.shape[-1])[np.ix_(cells, cells)])
    cross = functools.reduce(np.kron, [np.asarray(c, np.longdouble) for c in cross_factors])[:, cells]
    half = np.array([forward(L, c) for c in cross]).reshape(len(cross), len(cells))
    explained = half @ half.T
    return half @ forward(L, y[cells]), (prior - explained if np.ndim(prior) == 2 else prior - explained.diagonal())
