"""How many values of f ``from_function`` computes, and how well it meets its tolerance with them."""

import itertools
import math

import numpy as np
import pytest

import quatrefoil as qf
from cheb.recorded import Recorded

ChebTucker = qf.cheb.ChebTucker

FUNCTIONS = {
    "a product in an angle": (lambda x, y: np.cos(10 * x * y), [(-1, 1)] * 2),
    "a ridge": (lambda x, y: np.exp(-20 * (x - y) ** 2), [(0, 2), (-1, 1)]),
    "a rational": (lambda x, y, z: 1 / (4 + x + y * z), [(-1, 1)] * 3),
    "Runge": (lambda x, y, z: 1 / (1 + 25 * (x * x + y * y + z * z)), [(-1, 1)] * 3),
    "Ishigami": (lambda x, y, z: np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x), [(-np.pi, np.pi)] * 3),
    "four exponentials": (lambda a, b, c, d: np.exp(-(a * b + c * d)), [(-1, 1)] * 4),
    "a root": (lambda a, b, c, d: np.sqrt(1 + a + b * c) / (2 + d), [(0.1, 1)] * 4),
    "a wave": (lambda a, b, c, d: np.cos(a + 2 * b + 3 * c + 4 * d), [(-1, 1)] * 4),
    "five exponentials": (lambda a, b, c, d, e: np.exp(-(a * b + c * d + e) / 2), [(-1, 1)] * 5),
    "a corner peak": (lambda a, b, c, d, e: (1 + 0.5 * a + 0.4 * b + 0.3 * c + 0.2 * d + 0.1 * e) ** -6.0, [(0, 1)] * 5),
    "a front": (lambda x, y, z: np.tanh(3 * (x + y * z)), [(-1, 1)] * 3),  # a large core, which grows several times
    "one axis": (lambda x: np.cos(200 * x) / (1.1 + x), [(0, 1)]),
    "axes that differ": (lambda x, y, z: np.sin(40 * x) * np.exp(y) + z**3 * x, [(-1, 3), (0, 0.01), (100, 101)]),
    "short waves": (lambda x, y, z: np.exp(x) * np.sin(90 * y) * np.cos(60 * z) + np.sin(80 * x) * y * z, [(-1, 1)] * 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_at_most_about_twice_the_cheaper_of_fibres_and_grid(rng, name):
    f, domain = FUNCTIONS[name]
    lo, hi = np.array(domain, float).T
    X = lo + (hi - lo) * rng.random((100_000, len(domain)))
    X[:1000] = np.where(rng.random((1000, len(domain))) < 0.5, lo, hi)
    expected = f(*X.T)
    for tol in (1e-2, 1e-5, 1e-8, 1e-10):
        model = Recorded(f)
        ct = ChebTucker.from_function(model, domain, tol=tol)
        fibres = sum(n * (r + 2) for n, r in zip(ct.n, ct.rank)) + math.prod(ct.rank)
        print(tol, ct.n, ct.rank, ct.n_evaluations)
        assert ct.n_evaluations <= 2.1 * min(fibres, math.prod(ct.n)) + 100  # plus the points of its tests
        assert ct.n_evaluations == len(model.seen)
        # its own test uses a few hundred points
        assert np.abs(ct(X) - expected).max() <= 5 * tol * np.abs(expected).max()
        if name != "a front":  # its core grows in 250 calls, until the error is at most 10 tol
            assert model.calls < 200
            assert ct.error_estimate <= tol
        for U in ct.factors:
            np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-13)


def test_first_fibres_are_not_refined_because_the_scale_changes():
    """If the first test of a fibre finds a larger |f|, both sides of the comparison must be divided by it."""
    f, domain = FUNCTIONS["a wave"]
    counts = [ChebTucker.from_function(f, domain, tol=tol).n_evaluations for tol in (1e-5, 1e-7, 1e-9)]
    assert all(count < budget for count, budget in zip(counts, (400, 480, 560), strict=True))  # with two scales: 466, 543, 620


def test_ten_variables_take_a_few_thousand_values(rng):
    """A sum of two products, for which the full grid would need 10^9 values."""

    def f(*x):
        return np.prod([1 + t / (k + 2) for k, t in enumerate(x)], axis=0) + x[0] * np.exp(x[9])

    ct = ChebTucker.from_function(f, [(0, 1)] * 10, tol=1e-8)
    assert ct.n_evaluations < 3000
    X = rng.random((1000, 10))
    np.testing.assert_allclose(ct(X), f(*X.T), rtol=0, atol=1e-7 * f(*X.T).max())


def test_a_number_of_values_is_kept_to(rng):
    f, domain = FUNCTIONS["a root"]
    errors = []
    X = 0.1 + 0.9 * rng.random((1000, 4))
    for budget in (400, 1200, 4000):
        ct = ChebTucker.from_function(f, domain, max_evaluations=budget)
        assert ct.n_evaluations <= budget
        errors.append(np.abs(ct(X) - f(*X.T)).max())
        assert errors[-1] <= 20 * ct.error_estimate * np.abs(f(*X.T)).max()
    assert all(a > 3 * b for a, b in itertools.pairwise(errors))
    exact = ChebTucker.from_function(f, domain, max_evaluations=10**6, tol=1e-6)
    assert exact.error_estimate <= 1e-6
    with pytest.raises(ValueError, match=r"not resolved to tol = 0\.1: it needs more than 30 values"):
        ChebTucker.from_function(f, domain, max_evaluations=30)
    with pytest.raises(ValueError, match="got n and max_evaluations"):
        ChebTucker.from_function(f, domain, n=5, max_evaluations=1000)
