"""Sparse polynomial chaos: exact for polynomials, with a reliable error estimate, and accurate with few samples."""

import math
import pickle

import numpy as np
import pytest
from scipy import stats

import quatrefoil as qf
from checks import check_rejected

PolynomialChaos = qf.cheb.PolynomialChaos


def test_polynomials_are_found(rng):
    samples = rng.exponential(size=400)
    inputs = [(-1, 3), stats.norm(1, 2), stats.gamma(2.5), samples]

    def f(x, y, z, w):
        return 2 + x**3 * y - z + x * w

    chaos = PolynomialChaos.from_function(f, inputs, max_evaluations=120)
    x, y, z = (stats.uniform(-1, 4), inputs[1], inputs[2])
    moment = [(samples**k).mean() for k in (1, 2)]
    mean = 2 + x.moment(3) * y.mean() - z.mean() + x.mean() * moment[0]
    square = [x.moment(6) * y.moment(2), x.moment(2) * moment[1], 2 * x.moment(4) * y.mean() * moment[0]]
    variance = sum(square) - (x.moment(3) * y.mean() + x.mean() * moment[0]) ** 2 + z.var()
    np.testing.assert_allclose([chaos.mean(), chaos.var()], [mean, variance], rtol=1e-9)
    X = np.stack([rng.uniform(-1, 3, 50), rng.normal(1, 2, 50), rng.gamma(2.5, size=50), rng.choice(samples, 50)], axis=-1)
    np.testing.assert_allclose(chaos(X), f(*X.T), rtol=1e-8, atol=1e-7)
    np.testing.assert_allclose(chaos(*X.T), chaos(X), rtol=1e-14)
    assert chaos(X[0]).shape == ()
    values, gradient = chaos.value_and_grad(X)
    a, b, _, d = X.T
    np.testing.assert_allclose(gradient, np.stack([3 * a**2 * b + d, a**3, -np.ones(50), a], axis=-1), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(values, chaos(X))
    again = pickle.loads(pickle.dumps(chaos))
    np.testing.assert_array_equal(again(X), chaos(X))
    assert (again.n_evaluations, again.error_estimate) == (120, chaos.error_estimate)


def borehole(rw, r, Tu, Hu, Tl, Hl, L, Kw):
    g = np.log(r / rw)
    return 2 * np.pi * Tu * (Hu - Hl) / (g * (1 + 2 * L * Tu / (g * rw**2 * Kw) + Tu / Tl))


BOREHOLE = [(0.05, 0.15), (100, 50000), (63070, 115600), (990, 1110), (63.1, 116), (700, 820), (1120, 1680), (9855, 12045)]


@pytest.mark.parametrize(("max_evaluations", "of_indices"), [(100, 1e-3), pytest.param(300, 2e-4, marks=pytest.mark.slow)])
def test_few_samples_of_a_borehole(max_evaluations, of_indices, rng):
    """The reference is a Chebyshev tensor from a few thousand values; limits are twice the errors stated in csrc/cheb/README.md."""
    ct = qf.cheb.ChebTucker.from_function(borehole, BOREHOLE, tol=1e-6)
    lo, hi = np.array(BOREHOLE, float).T
    X = lo + (hi - lo) * rng.random((2000, 8))
    y = borehole(*X.T)
    np.testing.assert_allclose(ct(X), y, rtol=0, atol=1e-5 * y.max())
    chaos = PolynomialChaos.from_function(borehole, BOREHOLE, max_evaluations=max_evaluations)
    np.testing.assert_allclose(chaos.sobol("total"), ct.sobol("total"), atol=of_indices)
    np.testing.assert_allclose(chaos.sobol(1), ct.sobol(1), atol=of_indices)
    np.testing.assert_allclose(chaos.sobol(2), ct.sobol(2), atol=of_indices)
    missed = np.sqrt(np.mean((chaos(X) - y) ** 2)) / y.std()
    assert missed / 3 < chaos.error_estimate < 3 * missed


def test_noise_is_not_fitted(rng):
    X = rng.uniform(-1, 1, (200, 5))
    y = X[:, 0] + X[:, 1] ** 2 + 0.1 * rng.standard_normal(200)
    chaos = PolynomialChaos.fit(X, y, [(-1, 1)] * 5)
    assert len(chaos.coefficients) < 20
    assert 0.1 < chaos.error_estimate * y.std() < 0.13
    np.testing.assert_allclose(chaos.var(), 1 / 3 + 4 / 45, rtol=0.1)


@pytest.mark.slow
def test_a_ridge_needs_many_terms(rng):
    """No small basis fits better than a constant; the search continues as long as it is cheap."""
    X = rng.uniform(-1, 1, (300, 2))
    chaos = PolynomialChaos.fit(X, np.exp(-3 * (X[:, 0] - X[:, 1]) ** 2), [(-1, 1)] * 2)
    T = rng.uniform(-1, 1, (500, 2))
    expected = np.exp(-3 * (T[:, 0] - T[:, 1]) ** 2)
    assert np.sqrt(np.mean((chaos(T) - expected) ** 2)) < 0.1 * expected.std()
    assert chaos.error_estimate < 0.1


def test_constants_and_indices(rng):
    X = rng.uniform(2, 5, (10, 3))
    chaos = PolynomialChaos.fit(X, np.full(10, 7.0))
    assert (chaos.mean(), chaos.var(), chaos.error_estimate) == (7, 0, 0)
    assert np.isnan(chaos.sobol(1)).all()
    # Sobol's g-function, prod (|4 x - 2| + a) / (1 + a), is not a polynomial; its indices are known
    a = np.array([0.0, 1.0, 9.0])
    partial = 1 / (3 * (1 + a) ** 2)
    variance = math.prod(1 + partial) - 1
    chaos = PolynomialChaos.from_function(
        lambda *x: np.prod([(abs(4 * t - 2) + b) / (1 + b) for t, b in zip(x, a)], axis=0), [(0, 1)] * 3, max_evaluations=200
    )
    np.testing.assert_allclose(chaos.sobol(1), partial / variance, atol=0.02)
    np.testing.assert_allclose(chaos.sobol()[1], partial * math.prod(1 + partial) / (1 + partial) / variance, atol=0.02)


@pytest.mark.parametrize("frozen", [stats.norm(3, 2), stats.expon(), stats.beta(0.5, 4), stats.lognorm(0.3), stats.uniform(2, 3)])
def test_polynomials_are_orthonormal_to_a_distribution(frozen):
    basis = qf.cheb.orthopoly.from_distribution(frozen, 6)
    for j, k in np.ndindex(3, 3):
        product = frozen.expect(lambda x, j=j, k=k: np.prod(basis(np.atleast_1d(x))[0, [j, k]]))
        np.testing.assert_allclose(product, j == k, atol=1e-6)  # error of SciPy's quadrature
    if frozen.dist.name in ("norm", "expon"):
        known = qf.cheb.orthopoly.classical("hermite" if frozen.dist.name == "norm" else "laguerre", 6)
        scale = frozen.std()
        np.testing.assert_allclose(basis.a[:6], known.a[:6] * scale + (frozen.mean() if frozen.dist.name == "norm" else 0), rtol=1e-9)
        np.testing.assert_allclose(basis.b, known.b * np.append(1, [scale**2] * 6), rtol=1e-9)
    x = np.linspace(frozen.ppf(0.1), frozen.ppf(0.9), 5)
    np.testing.assert_allclose(basis.derivative(x), (basis(x + 1e-6) - basis(x - 1e-6)) / 2e-6, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_the_example_of_a_wing(monkeypatch, tmp_path, example):
    module = example("sobol_indices")
    monkeypatch.setattr(module, "CALLS", (100,))
    pytest.importorskip("matplotlib")
    totals = list(module.main(str(tmp_path / "wing.png")).values())
    np.testing.assert_allclose(totals[0], totals[1], atol=4e-3)
    assert (tmp_path / "wing.png").stat().st_size > 10_000


def test_bad_input(rng):
    X = rng.random((10, 2))
    y = X[:, 0]
    check_rejected([
        (lambda: PolynomialChaos.fit(X, y[:9]), ValueError, r"expected \(P, d\) and \(P,\)"),
        (lambda: PolynomialChaos.fit(X, y, [(0, 1)]), ValueError, "distributions has 1 entries, expected 2"),
        (lambda: PolynomialChaos.fit(X, np.full(10, np.nan)), ValueError, "nan"),
        (lambda: PolynomialChaos.fit(X, y, domain=(0, 1)), TypeError, "use distributions"),
        (lambda: PolynomialChaos.from_function(np.add, [(0, 1)] * 2, max_evaluations=1), ValueError, "at least 2"),
        (lambda: PolynomialChaos.fit(X, y)(X[:, :1]), ValueError, "X has shape"),
    ])  # fmt: skip
