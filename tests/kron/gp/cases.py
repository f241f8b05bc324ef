import contextlib
import functools
import math
from unittest import mock

import numpy as np

import quatrefoil as qf
from case import Case
from kron.dense import EPS, near, unit_of, with_eigenvalues
from quatrefoil.kron.gp import covariance


def factor(rng, n):
    """A covariance with eigenvalues from 0.1 to about 2: solves lose two digits at most."""
    return with_eigenvalues(rng, *rng.uniform(0.1, 2, n)) if n else np.zeros((0, 0))


def symmetric(arguments):
    """Perturb both triangles of the factors together, as derivatives assume."""
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
    ("few-seen-and-noise-per-cell", [4, 6], {"mask": "few", "noise": "cells"}),
]
_GRAMS = [
    (1, 1, 1), (0, 3, 2), (3, 0, 2), (2, 3, 0), (9, 1, 7), (40, 8, 1), (300, 17, 1), (1, 24, 130), (5, 33, 29), (130, 7, 3),
    (2, 40, 129), (7, 100, 50),
]  # fmt: skip
CASES = [
    *[Case("gp_nll", name, _grid(shape, **options), symmetric) for name, shape, options in _SHAPES],
    *[Case("gp_solve", name, _grid(shape, **options), symmetric) for name, shape, options in _SHAPES],
    *[
        Case("gp_spectrum", "x".join(map(str, shape)), _spectrum(shape))
        for shape in ([1], [7], [16], [40], [3, 5], [5, 33], [2, 3, 17], [4, 1, 6, 1], [0, 3], [3, 0], [30, 16, 9])
    ],
    *[Case("gp_gram", "x".join(map(str, shape)), _gram(shape), longest=200) for shape in _GRAMS],
    Case("gp_solve", "start", _grid([4, 5], mask="most", start=True), symmetric),
]


def drawn_factor(rng, n, unit):
    """A covariance of full rank, of lower rank, or 0."""
    rank = int(rng.choice([0, 1, n], p=[0.1, 0.2, 0.7]))
    a = rng.standard_normal((n, rank))
    return unit * (a @ a.T + (0.1 * np.eye(n) if rank == n else 0))


def dense_likelihood(K, y, noise, seen):
    """(nll, alpha, C⁻¹) of one row, with 0 for missing cells."""
    C = (K + np.diag(noise))[np.ix_(seen, seen)]
    inverse, alpha = np.zeros_like(K), np.zeros(len(y))
    inverse[np.ix_(seen, seen)] = np.linalg.inv(C)
    alpha[seen] = np.linalg.solve(C, y[seen])
    nll = (y[seen] @ alpha[seen] + np.linalg.slogdet(C)[1] + seen.sum() * math.log(2 * math.pi)) / 2
    return nll, alpha, inverse


def contracted(G, factors, k):
    """Contract the gradient with respect to the full covariance to that of factor k."""
    left, right = (functools.reduce(np.kron, part, np.eye(1)) for part in (factors[:k], factors[k + 1 :]))
    sizes = len(left), len(factors[k]), len(right)
    return np.einsum("aibcjd,ac,bd->ij", G.reshape(*sizes, *sizes), left, right)


def attack_grids(rng, backend):
    """Likelihoods, solves, posteriors and samples for factors that may be singular or 0, in any units."""
    sizes = [int(n) for n in rng.choice([1, 2, 3, 4, 5], rng.integers(1, 4))]
    variance, height = unit_of(rng, 30), unit_of(rng, 30)
    factors = [drawn_factor(rng, n, variance if k == 0 else 1.0) for k, n in enumerate(sizes)]
    if rng.random() < 0.3:
        factors[-1] = factors[-1] * 1e40
        factors[0] = factors[0] / 1e40
    K, N, rows = functools.reduce(np.kron, factors), math.prod(sizes), int(rng.choice([1, 1, 2, 3]))
    largest = np.linalg.norm(K, 2) or variance
    level = largest * 10.0 ** rng.uniform(-6, 1)
    noise = level * (rng.uniform(1, 10, N) if rng.random() < 0.4 else np.ones(1))
    y = height * rng.standard_normal((rows, N))
    mask = {0: None, 1: rng.random(N) < rng.choice([0, 0.2, 0.7, 1]), 2: rng.random((rows, N)) < 0.5}[int(rng.integers(3))]
    options = {"mask": mask, "backend": backend}
    singular = any(np.linalg.matrix_rank(f) < len(f) for f in factors) and K.any()
    if singular and mask is None and rng.random() < 0.2:
        with contextlib.suppress(np.linalg.LinAlgError):
            qf.kron.gp_solve(factors, y, largest * 1e-18 * np.ones(1), **options)
            raise AssertionError("a noise of 1e-18 of the largest eigenvalue of a singular covariance was accepted")
    seen = np.broadcast_to(True if mask is None else mask, y.shape)
    tolerance = 1e4 * EPS * (1 + largest / level)
    each = [dense_likelihood(K, row, np.broadcast_to(noise, N), s) for row, s in zip(y, seen)]
    nll, of_factors, of_noise = qf.kron.gp_nll(factors, np.where(seen, y, np.nan), noise, grad=True, **options)
    G = sum((inverse - np.outer(a, a)) / 2 for _, a, inverse in each)
    terms = N * (1 + abs(math.log(level)) + abs(math.log(largest))) + (y**2).sum() / level
    near(nll, [value for value, *_ in each], tolerance, "nll", terms)
    size = N * rows / level + sum((a**2).sum() for _, a, _ in each)
    for k, got in enumerate(of_factors):
        others = math.prod(np.linalg.norm(f, 2) for i, f in enumerate(factors) if i != k)
        near(got, contracted(G, factors, k), tolerance, f"gradient of factor {k}", size * others)
    near(of_noise, np.diagonal(G) if len(noise) > 1 else np.trace(G)[None], tolerance, "gradient of the noise", size)
    near(qf.kron.gp_solve(factors, y, noise, **options), [a for _, a, _ in each], tolerance, "solve", height / level)
    with mock.patch.object(covariance, "FEW", 0):  # the solver iterates
        alpha = qf.kron.gp_solve(factors, y, noise, **options)
    near(alpha, [a for _, a, _ in each], tolerance + 1e-9, "solve by iteration", height * math.sqrt(N) / level)
    at = [rng.integers(0, n, rng.integers(0, 4)) for n in sizes]
    cross, prior = [f[i] for f, i in zip(factors, at)], [np.diagonal(f)[i] for f, i in zip(factors, at)]
    mean, var = qf.kron.gp_posterior(factors, cross, y, noise, prior_diag=prior, **options)
    points = functools.reduce(np.kron, cross)
    near(mean, np.stack([points @ a for _, a, _ in each]), tolerance, "mean", height)
    explained = [np.einsum("pi,ij,pj->p", points, inverse, points) for *_, inverse in each]
    left = np.maximum(functools.reduce(np.kron, prior) - np.stack(explained), 0)
    near(var, left if mask is not None and mask.ndim == 2 else left[0], tolerance, "variance", largest)
    drawn = qf.kron.gp_sample(factors, noise=noise, size=64, rng=rng, backend=backend)
    z = (drawn**2).mean(axis=0) / (np.diagonal(K) + noise) - 1
    assert np.abs(z).max(initial=0) < 8 * (2 / 64) ** 0.5 + 1, f"samples: {z}"
    operator, s = qf.kron.KroneckerOperator(factors, backend=backend), float(noise[0])
    near(operator.solve(y[0], s), np.linalg.solve(K + s * np.eye(N), y[0]), tolerance, "operator's solve", height / s)
    near(operator.logdet(s), np.linalg.slogdet(K / s + np.eye(N))[1] + N * math.log(s), tolerance, "logdet", terms)


ATTACKS = [attack_grids]
