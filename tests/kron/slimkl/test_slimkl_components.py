"""A worker's objective from one-dimensional factors of the components, against dense matrices."""

import itertools
import tracemalloc

import numpy as np
import pytest

from kron.slimkl.oracle import objective
from quatrefoil.kron.models import slimkl_components as parts
from quatrefoil.kron.models.slimkl_components import Components
from quatrefoil.kron.models.slimkl_worker import Worker

GRID = np.array(list(itertools.product([0.1, 0.3], [0.0, 0.1, 0.2], [0.4], [0.0, 0.2, 0.3], [0.1, 0.2, 0.3])))


def several(rng, A, P):
    return rng.uniform(0, 0.5, (A, P))


# points, means, std, number of leading dimensions
CASES = {
    "one dimension": (20, lambda r: several(r, 5, 1), lambda m: np.full(m.shape, 0.01), 0),
    "no width": (20, lambda r: several(r, 5, 2), lambda m: np.zeros(m.shape), 0),
    "frequencies of 0": (20, lambda r: several(r, 9, 4) * (r.random((9, 4)) < 0.5), lambda m: np.full(m.shape, 0.02), 0),
    "frequencies below 0": (9, lambda r: -several(r, 4, 2), lambda m: np.full(m.shape, 0.02), 0),
    "a grid": (90, lambda r: GRID, lambda m: np.full(m.shape, 0.05), 2),
    "many dimensions": (40, lambda r: several(r, 6, 8), lambda m: np.full(m.shape, 0.003), 4),
    "a width each, narrow": (50, lambda r: several(r, 7, 1), lambda m: np.linspace(0, 0.01, m.size).reshape(m.shape), 0),
    "a width each, of both kinds": (150, lambda r: several(r, 7, 2), lambda m: np.geomspace(1e-4, 2, m.size).reshape(m.shape), 2),
    "wide": (40, lambda r: several(r, 1, 1), lambda m: np.full(m.shape, 2.0), 0),
    "three dimensions": (31, lambda r: several(r, 4, 3), lambda m: np.full(m.shape, 0.02), 0),
    "one point": (1, lambda r: several(r, 3, 2), lambda m: np.full(m.shape, 0.1), 0),
}


@pytest.mark.parametrize("small", [False, True], ids=["whole", "chunks"])
@pytest.mark.parametrize("name", CASES)
def test_objective_and_gradient(name, small, rng, monkeypatch):
    """With some weights of 0, also in chunks of one component and tiles of 32 rows."""
    for setting in ("_TILE", "_CHUNK", "_ROWS") if small else ():
        monkeypatch.setattr(parts, setting, 1)
    n, means, std, leading = CASES[name]
    means = means(rng)
    std, x, y = std(means), rng.uniform(-30, 30, (n, means.shape[1])) + 1000, rng.standard_normal(n)
    weights = np.where(rng.random(len(means)) < 0.7, rng.uniform(0, 1, len(means)), 0) / len(means)
    at, on = Worker(x, y, means, std, 0.1).weigh(weights), weights > 0
    value, gradient, t = objective(weights, [(x, y)], means, std, 0.1)
    assert at.objective == pytest.approx(value, rel=1e-10)  # for condition numbers up to 1e3
    np.testing.assert_allclose(at.t[on], t[on], rtol=1e-10)
    np.testing.assert_allclose((at.t - at.q)[on], gradient[on], atol=1e-9 * np.abs(t).max() * max(1, y @ y))
    every = Components(x, means, std)
    every.total(np.ones(len(means)))
    assert small or every._chunks[1] == leading


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
