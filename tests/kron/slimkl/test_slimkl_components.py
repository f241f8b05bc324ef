"""Components of SlimKL's covariance from one-dimensional factors, against their definition with dense matrices."""

import tracemalloc

import numpy as np
import pytest

from kron.slimkl.oracle import components
from quatrefoil.kron.models import slimkl_components as parts
from quatrefoil.kron.models.slimkl_components import Components

EPS = 2.0**-52


def grid(*lists):
    return np.stack(np.meshgrid(*lists, indexing="ij"), axis=-1).reshape(-1, len(lists))


def several(rng, A, P):
    return rng.uniform(0, 0.5, (A, P))


# points, means, std, number of leading dimensions
CASES = {
    "one dimension": (20, lambda r: several(r, 5, 1), lambda m: np.full(m.shape, 0.01), 0),
    "no width": (20, lambda r: several(r, 5, 2), lambda m: np.zeros(m.shape), 0),
    "frequencies of 0": (20, lambda r: several(r, 9, 4) * (r.random((9, 4)) < 0.5), lambda m: np.full(m.shape, 0.02), 0),
    "frequencies below 0": (9, lambda r: -several(r, 4, 2), lambda m: np.full(m.shape, 0.02), 0),
    "a grid": (
        90,
        lambda r: grid([0.1, 0.3], [0.0, 0.1, 0.2], [0.4], [0.0, 0.2, 0.3], [0.1, 0.2, 0.3]),
        lambda m: np.full(m.shape, 0.05),
        2,
    ),
    "many dimensions": (40, lambda r: several(r, 6, 8), lambda m: np.full(m.shape, 0.003), 4),
    "a width each, narrow": (50, lambda r: several(r, 7, 1), lambda m: np.linspace(0, 0.01, m.size).reshape(m.shape), 0),
    "a width each, of both kinds": (150, lambda r: several(r, 7, 2), lambda m: np.geomspace(1e-4, 2, m.size).reshape(m.shape), 2),
    "one point": (1, lambda r: several(r, 3, 2), lambda m: np.full(m.shape, 0.1), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_components(name, rng, monkeypatch):
    n, means, std, leading = CASES[name]
    means = means(rng)
    std, x = std(means), rng.uniform(-30, 30, (n, means.shape[1])) + 1000
    K, A = components(x, x, means, std), len(means)
    M, a = rng.standard_normal((n, n)), rng.standard_normal(n)
    M = M + M.T
    tolerance = 4 * EPS * (n + 400 * means.shape[1])  # n rounding errors of a low-rank factor; phases of up to 60 periods, 2 pi 60 each
    for small in (False, True):
        if small:
            monkeypatch.setattr(parts, "_TILE", 1)
            monkeypatch.setattr(parts, "_CHUNK", 1)
            monkeypatch.setattr(parts, "_ROWS", 1)
        result = Components(x, means, std)
        for i, one in enumerate(np.eye(A)):
            np.testing.assert_allclose(np.tril(result.total(one)), np.tril(K[i]), atol=tolerance)
        on = np.flatnonzero(rng.random(A) < 0.7) if small else np.arange(A)
        which, t, q = result.products(M, a, on)
        assert set(which) == set(on)
        t, q = (np.bincount(which, b, A) for b in (t, q))
        np.testing.assert_allclose(t[on], np.einsum("ij,kij->k", M, K)[on], atol=tolerance * np.abs(M).sum())
        np.testing.assert_allclose(q[on], np.einsum("i,kij,j->k", a, K, a)[on], atol=tolerance * np.abs(a).sum() ** 2)
        if not small:
            assert result._chunks[1] == leading


def test_no_component(rng):
    result = Components(rng.uniform(0, 1, (5, 2)), several(rng, 3, 2), np.zeros((3, 2)))
    assert not result.total(np.zeros(3)).any()


def test_memory(rng):
    """300 components of 400 points in 5 dimensions: their matrices take 384 MB, the cosines and sines of each frequency 10 MB."""
    x, means = rng.uniform(0, 1, (400, 5)), several(rng, 300, 5)
    tracemalloc.start()
    try:
        result = Components(x, means, np.full(means.shape, 0.05))
        result.products(result.total(np.ones(300)), x[:, 0].copy(), np.arange(300))
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
