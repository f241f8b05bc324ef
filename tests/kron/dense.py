"""Dense Gaussian process regression on the observed cells: likelihood, predictions and kernels."""

import functools
import math

import numpy as np

import quatrefoil as qf
from kron.mixture import oracle

partial = functools.partial
EPS = 2.0**-52


def near(got, expected, tolerance, what, size=0.0):
    """Check that values agree to a tolerance relative to the largest one, or to ``size`` if that is larger."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    size = max(np.abs(expected).max(initial=0), size)
    off = np.abs(got - expected).max(initial=0)
    assert off <= tolerance * size, f"{what}: off by {off:.2e} where numbers are {size:.2e}, allowed {tolerance * size:.2e}"


def close(got, expected, k=64, dtype=np.float64):
    """Check that values agree to k rounding errors of the largest one. Each factor contributes those of a sum of a few dozen terms."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= k * np.finfo(dtype).eps * np.abs(expected).max(initial=1e-300)


def normal(rng, *shapes):
    return [rng.standard_normal(s) for s in shapes]


def dense_of(factors):
    return functools.reduce(np.kron, [np.asarray(f, float) for f in factors])


def positive(rng, *sizes):
    """Random symmetric positive definite matrices with small condition numbers."""
    return [a @ a.T / len(a) + 0.3 * np.eye(len(a)) for a in (rng.standard_normal((n, n)) for n in sizes)]


def smooth(n, scale=0.2, jitter=0.0):
    """A smooth covariance of n points, ill-conditioned for a large scale."""
    x = np.linspace(0, 1, n)
    return np.exp(-0.5 * np.subtract.outer(x, x) ** 2 / scale**2) + jitter * np.eye(n)


def with_eigenvalues(rng, *values):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    K = (q * values) @ q.T
    return (K + K.T) / 2


def of_items(batch, function, factors, *arrays):
    """Call ``function`` with the factors and arrays of each item of a batch, and stack the results."""
    factors = [np.broadcast_to(f, (*batch, *f.shape[-2:])) for f in factors]
    output = [np.asarray(function([f[at] for f in factors], *[a[at] for a in arrays])) for at in np.ndindex(batch)]
    return np.stack(output).reshape(*batch, *output[0].shape)


def unit_of(rng, decades=12):
    return 10.0 ** rng.uniform(-decades, decades) if rng.random() < 0.7 else 1.0


def dense_kernel(kernels, a, b):
    """The kernel matrix of two sets of points, each a tuple of columns."""
    K = np.ones((len(a[0]), len(b[0])))
    for k, x, y in zip(kernels, a, b):
        K *= np.asarray(k(x, y), float)
    return K


def fixed(x, y=None, *, scale):
    """A user's callable, whose scale is not learnt."""
    return np.asarray(oracle.matern52(x, y, scale=scale), float)


def written_out(kernel):
    """Replace a partial of one of our kernels with its oracle. Other callables and names are returned unchanged."""
    return partial(getattr(oracle, kernel.func.__name__, kernel.func), **kernel.keywords) if hasattr(kernel, "func") else kernel


class Dense:
    """Exact regression on the observed cells. ``design(points)`` returns the columns of a mean with unknown coefficients.

    ``noise_kernels`` has one entry per axis: "white" or a callable of its points.
    """

    def __init__(self, kernels, axes, Y, mask, noise, variance, design=None, noise_kernels=()):
        at = np.flatnonzero(np.ones(Y.size, bool) if mask is None else mask.reshape(-1))
        index = np.unravel_index(at, Y.shape)
        self.kernels, self.variance = kernels, variance
        self.x = [a[i] for a, i in zip(axes, index)]
        self.y = Y.reshape(-1)[at]
        self.noise_factors = [np.eye(len(a)) if k == "white" else np.asarray(k(a), float) for k, a in zip(noise_kernels, axes)]
        S = np.diag(np.broadcast_to(noise, Y.size)[at])
        if self.noise_factors:
            S = noise * math.prod(f[np.ix_(i, i)] for f, i in zip(self.noise_factors, index))
        self.C = variance * dense_kernel(kernels, self.x, self.x) + S
        self.design = design or (lambda points: np.zeros((len(points[0]), 0)))
        self.H = self.design(self.x)
        self.A = np.linalg.inv(self.H.T @ np.linalg.solve(self.C, self.H))
        self.beta = self.A @ (self.H.T @ np.linalg.solve(self.C, self.y))
        self.rest = self.y - self.H @ self.beta

    def log_likelihood(self):
        return -0.5 * (self.rest @ np.linalg.solve(self.C, self.rest) + np.linalg.slogdet(self.C)[1] + len(self.y) * np.log(2 * np.pi))

    def predict(self, points):
        K, h = self.variance * dense_kernel(self.kernels, points, self.x), self.design(points)
        of_mean = h - K @ np.linalg.solve(self.C, self.H)
        covariance = self.variance * dense_kernel(self.kernels, points, points) - K @ np.linalg.solve(self.C, K.T)
        return h @ self.beta + K @ np.linalg.solve(self.C, self.rest), covariance + of_mean @ self.A @ of_mean.T


class Problem:
    def __init__(self, rng, shape=(7, 6), share=0.7, noise_kernels=None):
        self.axes = [np.sort(rng.uniform(0, 1, n)) for n in shape]
        self.Y = rng.standard_normal(shape)
        self.mask = None if share is None else rng.random(shape) < share
        self.scales = rng.uniform(0.2, 0.6, len(shape))
        self.kernels = [partial(qf.kron.rbf, scale=s) for s in self.scales]
        self.noise_kernels = noise_kernels

    def model(self, **options):
        defaults = {"noise": 0.1, "noise_kernels": self.noise_kernels, "variance": 1.3, "mean": "zero", "optimizer": None}
        return qf.kron.GridGP(self.kernels, **defaults | options)

    def fitted(self, **options):
        return self.model(**options).fit(self.axes, self.Y, self.mask)

    def dense(self):
        kernels, noise_kernels = ([written_out(k) for k in both or ()] for both in (self.kernels, self.noise_kernels))
        return Dense(kernels, self.axes, self.Y, self.mask, 0.1, 1.3, noise_kernels=noise_kernels)
