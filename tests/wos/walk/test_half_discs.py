"""Steps that leave a half disc on a long segment: Laplace's equation in polygons of few segments."""

import numpy as np
import pytest

from quatrefoil import _backends, wos
from quatrefoil.wos.walk import _numba_half_discs
from wos.walk.oracle import gates, seed

NATIVE = _backends.reason("native") is None
POLYGONS = {
    "square": [[0, 0], [1, 0], [1, 1], [0, 1]],
    "corner": [[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]],
    "slab": [[0, 0], [4, 0], [4, 1], [0, 1]],
    "needle": [[0, 0], [2, 0.2], [2, 1], [1, 0.4]],
    "comb": [[0, 0], [4, 0], [4, 2], [3.5, 2], [3.5, 0.5], [2.5, 0.5], [2.5, 2], [2, 2], [2, 0.5], [0.5, 0.5], [0.5, 2], [0, 2]],
}


def wave(X):
    return np.exp(0.7 * X[:, 0]) * np.cos(0.7 * X[:, 1])


def wave_gradient(X):
    return 0.7 * np.stack([wave(X), -np.exp(0.7 * X[:, 0]) * np.sin(0.7 * X[:, 1])], axis=1)


def points(ring, rng, n, clear):
    X = rng.uniform(np.min(ring, axis=0), np.max(ring, axis=0), (40 * n, 2))
    polygon = wos.Polygon(ring)
    X = X[wos.contains(polygon, X)]
    return X[-wos.signed_distance(polygon, X) > clear][:n]


@pytest.mark.parametrize("name", POLYGONS)
@pytest.mark.parametrize("turned", [False, True])
def test_values_and_gradients(name, turned, best_backend, rng):
    fast = NATIVE and best_backend != "numba"
    ring = np.array(POLYGONS[name], float)[:: -1 if turned else 1]
    X, polygon = points(ring, rng, 400 if fast else 150, 0.05), wos.Polygon(ring)
    for epsilon in (1e-4, 1e-7):
        r = wos.solve(polygon, X, dirichlet=wave, walks=4096 if fast else 1024, epsilon=epsilon, rng=seed(rng))
        assert gates(r.value, r.stderr, wave(X), spread=False) == []
        assert r.n_truncated.sum() == 0
    r = wos.solve(polygon, X, dirichlet=wave, walks=4096 if fast else 1024, epsilon=1e-6, gradient=True, rng=seed(rng))
    assert gates(r.value, r.stderr, wave(X), spread=False) == []
    for c in range(2):
        assert gates(r.grad[:, c], r.grad_stderr[:, c], wave_gradient(X)[:, c], spread=False) == []


def test_steps_do_not_grow_with_a_smaller_epsilon(best_backend, rng):
    ring = np.array(POLYGONS["corner"], float)
    X, polygon = points(ring, rng, 200, 0.01), wos.Polygon(ring)
    steps = [wos.solve(polygon, X, dirichlet=1.0, walks=64, epsilon=e, rng=seed(rng)).mean_steps.mean() for e in (1e-3, 1e-9)]
    assert steps[1] < steps[0] + 1
    plain = wos.solve(polygon, X, dirichlet=1.0, source=0.0, walks=64, epsilon=1e-9, rng=seed(rng)).mean_steps.mean()
    assert plain > 2 * steps[1]


def test_no_shell(best_backend, rng):
    """What ends on the segment itself is not shifted by a large epsilon; with a source, which takes no half discs, it is."""
    X = rng.uniform([0.1, 0.4], [0.3, 0.6], (600, 2))
    truth = saddle(X)
    run = dict(dirichlet=saddle, walks=4096 if best_backend == "native" else 2048, epsilon=0.01, rng=seed(rng))
    half, plain = (wos.solve(wos.Polygon(np.array(POLYGONS["square"], float)), X, source=source, **run) for source in (None, 0.0))
    assert abs(((half.value - truth) / half.stderr).sum()) / np.sqrt(600) < 6
    assert ((plain.value - truth) / plain.stderr).sum() / np.sqrt(600) > 6


def saddle(X):
    return (X[:, 0] - 0.5) ** 2 - (X[:, 1] - 0.5) ** 2


@pytest.mark.parametrize("height", [0.01, 0.3, 0.7])
def test_where_a_half_disc_is_left(height):
    """Means of harmonic polynomials over all directions are their values, on either side of the segment."""
    ends = np.array([[-1.0, 0.0, 1.0, 0.0], [9.0, 9.0, 9.0, 8.0]])
    angle = (np.arange(20000) + 0.5) * (2 * np.pi / 20000)
    for side in (1, -1):
        left, on = np.empty((len(angle), 2)), 0
        for i, a in enumerate(angle):
            x, weights = np.array([0.0, side * height]), np.array([0.5])
            moved, landed = _numba_half_discs.leave_half_disc(ends, 0, weights, x, np.array([np.cos(a), np.sin(a)]), 1e-3)
            assert moved
            on += landed
            left[i] = x
            assert landed == (x[1] == 0)
            if landed:
                assert abs(2 * weights[0] - 1 - x[0]) < 1e-12
            else:
                assert abs(np.hypot(*x) - 1) < 1e-12
                assert x[1] * side > 0
        z = left[:, 0] + 1j * left[:, 1]
        for k in range(7):
            assert abs(np.mean(z**k) - (1j * side * height) ** k) < 3e-5  # the midpoint rule's error where the tangent is infinite
        assert abs(on / len(angle) - (1 - 4 / np.pi * np.arctan(height))) < 1e-3
