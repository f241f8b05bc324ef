"""Gaussian process regression on the cells observed, by a likelihood and predictions written out with matrices of all of them."""

import functools

import numpy as np

import quatrefoil as qf

partial = functools.partial


def dense_kernel(kernels, a, b):
    """Of points, a tuple of columns each."""
    K = np.ones((len(a[0]), len(b[0])))
    for k, x, y in zip(kernels, a, b):
        K *= k(x, y)
    return K


def rbf(x, y, scale):
    d = (x[:, None] - y[None]) / scale
    return np.exp(-0.5 * (d**2 if d.ndim == 2 else (d**2).sum(-1)))


class Dense:
    """Exact regression on the cells observed."""

    def __init__(self, kernels, axes, Y, mask, noise, variance):
        at = np.flatnonzero(np.ones(Y.size, bool) if mask is None else mask.reshape(-1))
        index = np.unravel_index(at, Y.shape)
        self.kernels, self.variance = kernels, variance
        self.x = [a[i] for a, i in zip(axes, index)]
        self.y = Y.reshape(-1)[at]
        self.C = variance * dense_kernel(kernels, self.x, self.x) + np.diag(np.broadcast_to(noise, Y.size)[at])

    def log_likelihood(self):
        return -0.5 * (self.y @ np.linalg.solve(self.C, self.y) + np.linalg.slogdet(self.C)[1] + len(self.y) * np.log(2 * np.pi))

    def predict(self, points):
        K = self.variance * dense_kernel(self.kernels, points, self.x)
        covariance = self.variance * dense_kernel(self.kernels, points, points) - K @ np.linalg.solve(self.C, K.T)
        return K @ np.linalg.solve(self.C, self.y), covariance


class Problem:
    def __init__(self, rng, shape=(7, 6), share=0.7, columns=0):
        self.axes = [np.sort(rng.uniform(0, 1, n)) for n in shape]
        if columns:
            self.axes[-1] = rng.uniform(0, 1, (shape[-1], columns))
        self.Y = rng.standard_normal(shape)
        self.mask = None if share is None else rng.random(shape) < share
        self.scales = rng.uniform(0.2, 0.6, len(shape))
        self.kernels = [partial(qf.kron.rbf, scale=s) for s in self.scales]
        self.dense = Dense([partial(rbf, scale=s) for s in self.scales], self.axes, self.Y, self.mask, 0.1, 1.3)

    def model(self, **options):
        return qf.kron.GridGP(self.kernels, **({"noise": 0.1, "variance": 1.3, "optimizer": None} | options))

    def fitted(self, **options):
        return self.model(**options).fit(self.axes, self.Y, self.mask)
