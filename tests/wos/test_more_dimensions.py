"""Calls in more than three dimensions that NumPy runs on every host backend: operators, compiled functions, executors."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import wos
from wos.walk.oracle import directions, same

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


@pytest.mark.parametrize("name", PROBLEMS)
def test_compiled_functions(name, backend, rng):
    njit = pytest.importorskip("numba").njit
    p, X = problem(name, rng)
    options = {name: getattr(p, name) for name in ("source", "screening", "diffusion", "exterior")}
    compiled = {name: njit(f) if callable(f) else f for name, f in options.items()}
    same(p.solve(X, wos.Walks(8), rng=3), wos.solve(BALL, X, njit(product), **compiled, walks=8, rng=3))


@pytest.mark.parametrize("name", PROBLEMS)
def test_executors(name, backend, rng):
    p, X = problem(name, rng)
    with ThreadPoolExecutor(2) as executor:
        same(p.solve(X, wos.Walks(8), rng=3), p.solve(X, wos.Walks(8), rng=3, executor=executor))
