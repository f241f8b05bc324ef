"""Walk on Spheres: statistics against closed forms, and that the gates see planted errors."""

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.walk import oracle
from wos.walk.oracle import disc_points, gates, seed, star_points

NATIVE = _backends.reason("native") is None


# ---------------------------------------------------------------- statistics


def test_pairs_cancel_constants_in_the_gradient(backend, rng):
    """An offset of 1000 in u changes neither the gradient nor its error bar; a constant has the gradient 0."""
    X = star_points(rng, 20)
    star = wos.Polygon(oracle.star(60))
    run = dict(walks=64, gradient=True, rng=seed(rng))
    low, high = (wos.solve(star, X, dirichlet=lambda Y, c=c: oracle.harmonic(Y) + c, **run) for c in (0.0, 1000.0))
    np.testing.assert_allclose(high.grad, low.grad, rtol=0, atol=1e-9)
    np.testing.assert_allclose(high.grad_stderr, low.grad_stderr, rtol=1e-7)
    constant = wos.solve(star, X, dirichlet=3.0, **run)
    assert not constant.grad.any()
    assert not constant.grad_stderr.any()
    assert (constant.value == 3.0).all()
    assert (constant.n_walks == 64).all()


@pytest.mark.skipif(not NATIVE, reason="takes many walks")
@pytest.mark.parametrize("screening", [0.0, 3.0])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.slow
def test_harmonic_caching(d, screening, rng):
    """Points share walks, so their errors are correlated: every gate is over runs of their own, some points of each."""
    runs, n, W = 50, 120, 512
    if d == 2:
        u = lambda X: np.exp(np.sqrt(screening + 1) * X[:, 0]) * np.cos(X[:, 1])  # noqa: E731
        boundary = wos.Polygon(oracle.star(100))
    else:
        u = (lambda X: X[:, 0] * X[:, 1] - X[:, 2] + 2) if screening == 0 else (lambda X: np.exp(np.sqrt(screening) * X[:, 2]))
        boundary = wos.Ball([0.0, 0.0, 0.0], 1.0)
    value, stderr, truth = [], [], []
    for _ in range(runs):
        X = star_points(rng, n) if d == 2 else disc_points(rng, n, 0.97, 3)
        r = wos.solve(boundary, X, dirichlet=u, screening=screening, walks=W, epsilon=1e-5, cache="harmonic", rng=seed(rng))
        assert (r.n_walks == W).all()
        for i in rng.choice(len(X), 5, replace=False):
            value.append(r.value[i]), stderr.append(r.stderr[i]), truth.append(u(X[i : i + 1])[0])
    assert gates(np.array(value), np.array(stderr), np.array(truth), spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="takes many walks")
def test_harmonic_caching_is_worth_it(rng):
    """At as many walks a point the error is less than half in the plane."""
    X, run = star_points(rng, 1000), dict(dirichlet=oracle.harmonic, walks=64, rng=seed(rng))
    star = wos.Polygon(oracle.star(100))
    plain, cached = (wos.solve(star, X, cache=cache, **run).value - oracle.harmonic(X) for cache in (None, "harmonic"))
    assert np.sqrt((cached**2).mean()) < 0.5 * np.sqrt((plain**2).mean())


def test_stderr_shrinks_and_the_bias_is_of_the_order_of_epsilon(best_backend, rng):
    X = disc_points(rng, 40, 0.5)
    few, many = (wos.solve(wos.Ball([0, 0], 1), X, dirichlet=oracle.harmonic, walks=W, rng=seed(rng)) for W in (256, 4096))
    assert 3 < (few.stderr / many.stderr).mean() < 5.5  # 4, and 256 walks know their spread to 5%
