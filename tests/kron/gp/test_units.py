"""Units of y, of the covariance and of its factors scale the answers of every solver. They are powers of two, so nothing is rounded."""

import functools
import itertools

import numpy as np
import pytest

from kron.gp.cases import factor
from quatrefoil.kron import KroneckerOperator, gp_nll, gp_posterior, gp_sample, gp_solve
from quatrefoil.kron.gp import composition, covariance

UNITS = [(2.0**-600, 1.0, 1.0), (2.0**600, 1.0, 1.0), (1.0, 2.0**-600, 1.0), (1.0, 2.0**600, 1.0), (2.0**-100, 2.0**-200, 2.0**400)]
MATCHED = [(2.0**-300, 2.0**-600, 1.0), (2.0**300, 2.0**600, 1.0), (1.0, 1.0, 2.0**400), (2.0**-100, 2.0**-200, 2.0**-400)]
PROBLEMS = list(itertools.product([False, True], repeat=2))  # noise per cell, with missing cells
SHAPE, N = (5, 6), 30


class Problem:
    """A problem in units of y and of K; the first factor also has a unit that the second one cancels."""

    def __init__(self, rng, cells, mask):
        self.factors, self.y = [factor(rng, n) for n in SHAPE], rng.standard_normal(N)
        self.noise = rng.uniform(0.1, 1, N) if cells else np.full(1, 0.3)
        self.mask = rng.random(N) < 0.7 if mask else None

    def arguments(self, height=1.0, variance=1.0, ratio=1.0):
        return [self.factors[0] * (variance * ratio), self.factors[1] / ratio], self.y * height, self.noise * variance


def near(got, expected, tolerance=1e-9):
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(params=["few", "many"])
def cells(request, monkeypatch):
    """Few or many cells; for many, the thresholds are lowered so that the solver iterates instead of factorising."""
    if request.param == "many":
        monkeypatch.setattr(covariance, "FEW", 0)
        monkeypatch.setattr(composition, "DENSE_UP_TO", 0)


@pytest.mark.parametrize("backend", ["native", "numba", "array"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("units", UNITS)
def test_solutions_and_predictions(backend, problem, units, cells, rng):
    p, (height, variance, ratio) = Problem(rng, *problem), units
    inputs = {"mask": p.mask, "backend": backend}
    expected = gp_solve(*p.arguments(), **inputs)
    near(gp_solve(*p.arguments(*units), **inputs) * variance / height, expected)
    start = expected + 0.1 * rng.standard_normal(N)
    near(gp_solve(*p.arguments(*units), start=start / variance * height, **inputs) * variance / height, expected)
    cross = [f[:2] for f in p.factors]
    moved = [cross[0] * (variance * ratio), cross[1] / ratio]
    mean, var = gp_posterior(p.factors, cross, p.y, p.noise, prior_diag=4.0, **inputs)
    got = gp_posterior(p.arguments(*units)[0], moved, *p.arguments(*units)[1:], prior_diag=4.0 * variance, **inputs)
    near(got[0] / height, mean)
    near(got[1] / variance, var)
    drawn = gp_sample(p.arguments(*units)[0], noise=p.noise * variance, size=3, rng=1)
    near(drawn / variance**0.5, gp_sample(p.factors, noise=p.noise, size=3, rng=1))


@pytest.mark.parametrize("backend", ["native", "numba", "array"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("units", MATCHED)
@pytest.mark.parametrize("logdet", ["exact", "lanczos"])
def test_likelihoods_and_gradients(backend, problem, units, logdet, cells, rng):
    """If y scales by h and the covariance by h^2, the likelihood changes by a constant."""
    p, (_, variance, ratio) = Problem(rng, *problem), units
    inputs = {"mask": p.mask, "backend": backend, "logdet": logdet, "rng": 3, "grad": True}
    value, of_factors, of_noise = gp_nll(*p.arguments(), **inputs)
    got = gp_nll(*p.arguments(*units), **inputs)
    near(got[0], value + (N if p.mask is None else p.mask.sum()) * np.log(variance) / 2)
    near(got[1][0] * (variance * ratio), of_factors[0])
    near(got[1][1] / ratio, of_factors[1])
    near(got[2] * variance, of_noise)


@pytest.mark.parametrize("unit", [2.0**-600, 2.0**600])
def test_gradients_of_functions_of_an_operator(unit, rng):
    """Cancellation in difference quotients is detected in any unit of y and of the gradient."""
    factors = [np.diag([1.0, 1.0 + 1e-9, 3.0]), factor(rng, 4)]
    y, grad = rng.standard_normal((2, 12))
    gradients = functools.partial(KroneckerOperator(factors).apply_vjp, np.sqrt, lambda lam: 0.5 / np.sqrt(lam))
    expected = gradients(y, grad)
    got = gradients(y * unit, grad / unit)
    for a, b in zip((*got[0], got[1], got[2] * unit), (*expected[0], *expected[1:])):
        near(a, b)
