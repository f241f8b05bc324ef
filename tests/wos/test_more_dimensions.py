"""Calls in more than three dimensions that NumPy runs on every host backend: operators, compiled functions, executors, caching."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import eval_gegenbauer, iv

from quatrefoil import wos
from quatrefoil.wos.models.harmonic import TRUNCATION, modes_of, reach_of
from quatrefoil.wos.walk.composition_expand import _from_walks
from wos.walk.oracle import directions, disc_points, gates, same, seed

BALL = wos.Ball([0.3, 0.0, 0.0, 0.1], 1.2)


def first(X):
    return 1.5 + X[:, 0]


def product(X):
    return X[:, 0] * X[:, 3]


PROBLEMS = {
    "medium": (0.5, {"diffusion": first, "screening": first}),
    "outside": (1.5, {"screening": 2.0, "exterior": True}),
}


def problem(name, rng):
    radius, options = PROBLEMS[name]
    return wos.Problem(BALL, dirichlet=product, source=first, **options), BALL._centre[0] + radius * directions(rng, 4, 4)


@pytest.mark.parametrize("name", PROBLEMS)
def test_operators(name, backend, rng):
    """An operator uses the walks of ``solve``."""
    p, X = problem(name, rng)
    operator, r = p.operator(X, 40, rng=3), p.solve(X, wos.Walks(40), rng=3)
    np.testing.assert_allclose(operator.solve(p.dirichlet, p.source).value, r.value, rtol=1e-12, atol=1e-12)
    assert len(operator.source_points) == int((r.mean_steps * r.n_walks).sum() + 0.5)


def test_compiled_functions(backend, rng):
    njit = pytest.importorskip("numba").njit
    p, X = problem("medium", rng)
    options = {name: getattr(p, name) for name in ("source", "screening", "diffusion", "exterior")}
    compiled = {name: njit(f) if callable(f) else f for name, f in options.items()}
    same(p.solve(X, wos.Walks(8), rng=3), wos.solve(BALL, X, njit(product), **compiled, walks=8, rng=3))


@pytest.mark.parametrize("name", PROBLEMS)
def test_executors(name, backend, rng):
    p, X = problem(name, rng)
    with ThreadPoolExecutor(2) as executor:
        same(p.solve(X, wos.Walks(8), rng=3), p.solve(X, wos.Walks(8), rng=3, executor=executor))


@pytest.mark.parametrize("screening", [0.0, 5.0])
@pytest.mark.parametrize("d", [4, 5, 8])
def test_the_kernel_of_harmonic_caching(d, screening, rng):
    """(31), (32) against the sum (16) of 100 degrees. Every sample has one pair of walks."""
    nu, x, z = d / 2 - 1, reach_of(d) * rng.random((20, 1)) * directions(rng, 20, d), np.sqrt(screening) / 3
    n, less, mean = directions(rng, 20, d), rng.standard_normal((20, 1, 2)), rng.standard_normal((20, 1, 1))
    coefficients = np.concatenate([mean, less, n[:, None], -n[:, None]], axis=2)
    rho = np.linalg.norm(x, axis=1)

    def radial(k):
        return rho**-nu * iv(nu + k, rho * z) / iv(nu + k, z) if z else rho**k

    expected = radial(0) * mean[:, 0, 0]
    for k in range(1, 100):
        zonal = (1 + k / nu) * eval_gegenbauer(k, nu, (n * x).sum(axis=1) / rho)
        expected += radial(k) * zonal * (less[:, 0, 0] + (-1) ** k * less[:, 0, 1]) / 2
    for modes, error in ((modes_of(d, screening), TRUNCATION if screening else 1e-12), (60, 1e-12)):
        value = _from_walks(np, coefficients, x, np.full(20, z * z / 4), modes)[:, 0]
        np.testing.assert_allclose(value, expected, rtol=0, atol=error)


@pytest.mark.parametrize("screening", [0.0, 3.0])
def test_harmonic_caching(screening, best_backend, rng):
    """Points share walks, so their errors are correlated. Each z-score is that of a separate run."""

    def u(X):
        return np.exp(np.sqrt(screening + 1) * X[:, 0]) * np.cos(X[:, 3])

    ball, X, walks = wos.Ball([0.0] * 4, 1.0), disc_points(rng, 12, 0.3, 4), 64
    run = {"dirichlet": u, "screening": screening, "walks": walks, "epsilon": 1e-5}
    results = [wos.solve(ball, X, **run, cache="harmonic", rng=seed(rng)) for _ in X]
    assert all((r.n_walks == walks).all() for r in results)
    value, stderr = (np.array([getattr(r, name)[k] for k, r in enumerate(results)]) for name in ("value", "stderr"))
    assert gates(value, stderr, u(X)) == []
    assert np.median(stderr) < 0.7 * np.median(wos.solve(ball, X, **run, rng=1).stderr)


@pytest.mark.filterwarnings("ignore:solve. 1 point lies outside")
def test_harmonic_caching_cut_and_merged(backend, rng):
    X = np.concatenate([disc_points(rng, 20, 0.4, 4), [[5.0] * 4]])
    run = dict(dirichlet=product, cache="harmonic", screening=0.5, rng=seed(rng))
    box = wos.Box([-1.0] * 4, [1.0] * 4)
    whole, *parts = (wos.solve(box, X, walks=n, walk_offset=at, **run) for n, at in ((14, 0), (5, 0), (9, 5)))
    same(whole, parts[1].merge(parts[0]))
    same(whole, wos.solve(box, X, walks=14, num_threads=3, **run))
    same(whole, pickle.loads(pickle.dumps(parts[0])).resume(9))
    assert np.isnan(whole.value[-1])
