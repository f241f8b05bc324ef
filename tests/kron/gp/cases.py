import functools
import math

import numpy as np

import quatrefoil as qf
from case import Case


def factor(rng, n):
    """A covariance with eigenvalues from 0.1 to about 2: solves lose two digits at most."""
    q = np.linalg.qr(rng.standard_normal((n, n)))[0] if n else np.zeros((0, 0))
    a = (q * rng.uniform(0.1, 2, n)) @ q.T
    return (a + a.T) / 2


def symmetric(arguments):
    """What a derivative may see: factors whose two triangles move together."""
    factors, *rest = arguments
    return [[(f + f.T) / 2 for f in factors], *rest]


def _grid(shape, batch=(), noise="one", mask=None, start=False):
    def make(rng):
        N = math.prod(shape)
        y = rng.standard_normal((*batch, N))
        s = rng.uniform(0.2, 1, N if noise == "cells" else 1)
        arguments = [[factor(rng, n) for n in shape], y, s]
        keywords = {}
        if mask is not None:
            observed = rng.random(y.shape if mask == "rows" else N) < (0.3 if mask == "few" else 0.8)
            keywords["mask"] = observed
            if N > 1:
                y[~np.broadcast_to(observed, y.shape)] = np.nan
        if start:
            keywords["start"] = rng.standard_normal(y.shape)
        return arguments, keywords

    return make


def _spectrum(shape, noise=0.3):
    def make(rng):
        return [[rng.uniform(0.1, 2, n) for n in shape], rng.standard_normal(math.prod(shape))], {"noise": noise}

    return make


def _gram(shape):
    return lambda rng: ([rng.standard_normal(shape)], {})


_SHAPES = [
    ("one-1", [1], {}),
    ("one-5", [5], {}),
    ("two", [4, 3], {}),
    ("two-odd-batch", [7, 5], {"batch": (3,)}),
    ("three", [3, 4, 5], {"batch": (2,)}),
    ("four", [2, 3, 1, 2], {}),
    ("empty", [3, 0], {"batch": (2,)}),
    ("no-rows", [3, 2], {"batch": (0,)}),
    ("noise-per-cell", [4, 5], {"noise": "cells", "batch": (2,)}),
    ("gaps", [5, 6], {"mask": "most", "batch": (2,)}),
    ("few-seen", [4, 6], {"mask": "few"}),
    ("gaps-per-row", [3, 4], {"mask": "rows", "batch": (3,)}),
    ("gaps-and-noise-per-cell", [3, 2, 4], {"mask": "most", "noise": "cells"}),
]
CASES = [
    *[Case("gp_nll", name, _grid(shape, **options), symmetric) for name, shape, options in _SHAPES],
    *[Case("gp_solve", name, _grid(shape, **options), symmetric) for name, shape, options in _SHAPES],
    *[
        Case("gp_spectrum", "x".join(map(str, shape)), _spectrum(shape))
        for shape in ([1], [7], [16], [40], [3, 5], [5, 33], [2, 3, 17], [4, 1, 6, 1], [0, 3], [3, 0], [30, 16, 9])
    ],
    *[
        Case("gp_gram", "x".join(map(str, shape)), _gram(shape), longest=200)
        for shape in (
            [1, 1, 1],
            [0, 3, 2],
            [3, 0, 2],
            [2, 3, 0],
            [9, 1, 7],
            [40, 8, 1],
            [300, 17, 1],
            [1, 24, 130],
            [5, 33, 29],
            [130, 7, 3],
            [2, 40, 129],
            [7, 100, 50],
        )
    ],
    Case("gp_solve", "start", _grid([4, 5], mask="most", start=True), symmetric),
]


def attack_posterior(rng, backend):
    """Mean and variance at cells of the grid against the dense inverse, for any share of cells, by whichever solver is chosen."""
    shape = [int(n) for n in rng.choice([1, 2, 3, 5, 8], rng.integers(1, 4))]
    factors, N = [factor(rng, n) for n in shape], math.prod(shape)
    noise = rng.uniform(0.2, 1, N if rng.random() < 0.5 else 1)
    mask = rng.random(N) < rng.choice([0, 0.2, 0.8, 1])
    y = np.where(mask, rng.standard_normal(N), np.nan)
    rows = [rng.integers(0, n, rng.integers(0, 4)) for n in shape]
    cross = [f[r] for f, r in zip(factors, rows)]
    prior = [f.diagonal()[r] for f, r in zip(factors, rows)]
    mean, var = qf.kron.gp_posterior(factors, cross, y, noise, mask=mask, prior_diag=prior, backend=backend)
    K, at = functools.reduce(np.kron, factors), np.flatnonzero(mask)
    points = functools.reduce(np.kron, cross)[:, at]
    solved = np.linalg.solve(K[np.ix_(at, at)] + np.diag(np.broadcast_to(noise, N)[at]), points.T).T
    # condition numbers of at most 10 a factor
    np.testing.assert_allclose(mean, solved @ y[at], rtol=0, atol=1e-12 * (1 + np.abs(y[at]).sum()))
    np.testing.assert_allclose(var, functools.reduce(np.kron, prior) - (solved * points).sum(axis=1), rtol=0, atol=1e-12 * 8)


ATTACKS = [attack_posterior]
