"""Tests specific to layers of polynomials and to their bases."""

import numpy as np
import pytest
from numpy.polynomial import chebyshev, hermite_e, laguerre, legendre

import quatrefoil as qf
from quatrefoil.cheb import orthopoly


@pytest.mark.slow
def test_no_large_temporary(peak_memory):
    """An array of N I K elements would take 160 MB."""
    setup = (
        "import numpy as np, quatrefoil as qf; rng = np.random.default_rng(0); p = qf.cheb.orthopoly.classical('legendre', 9); "
        "X, W, g = rng.uniform(-1, 1, (20000, 100)), rng.standard_normal((100, 10, 8)), rng.standard_normal((20000, 8))"
    )
    assert peak_memory(setup, "Y = qf.cheb.poly_layer(X, W, p.a, p.b, num_threads=2)") < 12e6
    assert peak_memory(setup, "d = qf.cheb.poly_layer_vjp(X, W, p.a, p.b, g, num_threads=2)") < 40e6


def test_classical_polynomials(rng):
    x = rng.uniform(-1, 1, 30)
    k = np.arange(7)
    one = np.eye(7)
    np.testing.assert_allclose(orthopoly.classical("legendre", 6)(x), legendre.legval(x, one).T * np.sqrt(2 * k + 1), atol=1e-13)
    np.testing.assert_allclose(orthopoly.classical("chebyshev", 6)(x), chebyshev.chebval(x, one).T * np.where(k, 2**0.5, 1), atol=1e-13)
    factorials = np.cumprod(np.maximum(k, 1.0))
    np.testing.assert_allclose(orthopoly.classical("hermite", 6)(x), hermite_e.hermeval(x, one).T / np.sqrt(factorials), atol=1e-13)
    np.testing.assert_allclose(orthopoly.classical("laguerre", 6)(x), laguerre.lagval(x, one).T * (-1.0) ** k, atol=1e-12)


def test_moments(rng):
    """Moments of the uniform measure on [-1, 1], of the normal distribution, and of samples, compared with the samples themselves."""
    for name, mu in (("legendre", [1 / (j + 1) if j % 2 == 0 else 0 for j in range(15)]), ("hermite", [1, 0, 1, 0, 3, 0, 15, 0, 105])):
        known, result = orthopoly.classical(name, len(mu) // 2), orthopoly.from_moments(np.array(mu, float))
        np.testing.assert_allclose(result.b, known.b, rtol=1e-9)
        np.testing.assert_allclose(result.a, 0, atol=1e-9)
    x = rng.gamma(2.0, size=300)
    by_samples = orthopoly.from_samples(x, 4)
    by_moments = orthopoly.from_moments(np.array([np.mean(x**j) for j in range(9)]))
    np.testing.assert_allclose(by_moments.b, by_samples.b, rtol=1e-6)
    np.testing.assert_allclose(by_moments.a[:4], by_samples.a[:4], rtol=1e-6)


@pytest.mark.parametrize("method", ["christoffel", "dpp", "volume"])
def test_optimal_samples_of_products(rng, method):
    """For three inputs, every point combines samples, and weighted means of a product and of a different function are unbiased."""
    inputs = [rng.exponential(size=30), rng.standard_normal(25), rng.uniform(size=20)]
    bases = [orthopoly.from_samples(x, n) for x, n in zip(inputs, (2, 2, 1))]
    degrees = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 1, 0], [1, 1, 1]])
    generator, estimates = np.random.default_rng(rng.integers(2**32)), []

    def g(x, y, z):
        return np.stack([x * y * z, np.exp(-x) * np.cos(y) + z], axis=-1)

    def products(points):
        return np.prod([basis(t)[:, k] for basis, t, k in zip(bases, points.T, degrees.T)], axis=0)

    every = np.stack(np.meshgrid(*inputs, indexing="ij"), axis=-1).reshape(-1, 3)
    for _ in range(400):
        m = 5 if method == "dpp" else 7
        points, weights = orthopoly.optimal_samples(bases, m, degrees=degrees, method=method, rng=generator)
        assert all(np.isin(t, x).all() for t, x in zip(points.T, inputs))
        assert method != "dpp" or len(np.unique(points, axis=0)) == 5
        np.testing.assert_allclose(weights, 5 / (products(points) ** 2).sum(axis=1), rtol=1e-9)
        values, root = g(*points.T), np.sqrt(weights)[:, None]
        fit = np.linalg.lstsq(root * products(points), root[:, 0] * values[:, 1])[0] if method == "volume" else []
        estimates.append([*(weights @ values) / m, *fit])
    best = np.linalg.lstsq(products(every), g(*every.T)[:, 1])[0] if method == "volume" else []
    truth, estimates = np.array([*g(*every.T).mean(axis=0), *best]), np.array(estimates)
    assert (np.abs(estimates.mean(axis=0) - truth) <= 6.5 * estimates.std(axis=0) / 400**0.5).all()


def test_optimal_samples_determine_many_products(rng):
    """56 products of five inputs: 56 determinantal points give a fit that twice as many random points hardly improve."""
    bases = [orthopoly.from_samples(rng.uniform(-1, 1, 500), 3) for _ in range(5)]
    points, weights = orthopoly.optimal_samples(bases, 56, method="dpp", rng=1)
    rows = np.prod([basis(t)[:, k] for basis, t, k in zip(bases, points.T, orthopoly.multi_indices(5, 3).T)], axis=0)
    assert np.linalg.cond(np.sqrt(weights)[:, None] * rows) < 300


def test_multi_indices():
    for d, degree, norm in ((1, 5, 1.0), (3, 4, 1.0), (3, 4, 0.5), (4, 3, 0.75), (2, 0, 1.0)):
        grid = np.indices((degree + 1,) * d).reshape(d, -1).T
        expected = grid[(grid**norm).sum(axis=1) <= degree**norm + 1e-9]
        result = orthopoly.multi_indices(d, degree, norm=norm)
        assert sorted(map(tuple, result)) == sorted(map(tuple, expected))
        assert (np.diff(result.sum(axis=1)) >= 0).all()


def test_one_degree_and_a_seed(rng):
    one = orthopoly.from_samples(np.full(7, 3.0), 0)
    np.testing.assert_array_equal(one(np.array([1.0, 2.0])), np.ones((2, 1)))
    basis = orthopoly.from_samples(rng.standard_normal(50), 3)
    np.testing.assert_array_equal(*(orthopoly.optimal_samples(basis, 7, rng=3) for _ in range(2)))


BASIS = orthopoly.from_samples(np.linspace(-1, 1, 50) ** 3, 3)
LAYER = np.zeros((5, 2)), np.ones((2, 4, 3)), np.zeros(4)


def layer(wrong):
    return lambda: qf.cheb.poly_layer(*LAYER, np.array([1, 1, 1, wrong]))


def layer_vjp(wrong):
    return lambda: qf.cheb.poly_layer_vjp(*LAYER, np.array([1, 1, 1, wrong]), np.ones((5, 3)))


BAD = [
    *(
        (f(b), ValueError, r"b\[3\] is .*, expected a positive finite number")
        for f in (layer, layer_vjp)
        for b in (0.0, -1.0, np.nan, np.inf)
    ),
    (lambda: orthopoly.classical("jacobi", 3), ValueError, "name is 'jacobi'"),
    (lambda: orthopoly.from_moments(np.ones(4)), ValueError, r"mu has shape \(4,\)"),
    (lambda: orthopoly.from_moments(np.array([1.0, 0, -1.0])), np.linalg.LinAlgError, "not positive definite"),
    (lambda: orthopoly.from_samples(np.array([1.0, 1, 2, 3]), 3), ValueError, "degree is 3, expected less than the 3 distinct samples"),
    (lambda: orthopoly.from_samples(np.array([1.0, np.nan]), 0), ValueError, r"x\[1\] is nan"),
    (lambda: orthopoly.from_samples(np.zeros(0), 0), ValueError, "distinct samples"),
    (lambda: orthopoly.from_samples(np.arange(5) > 2, 1), TypeError, "bool"),
    (lambda: orthopoly.optimal_samples(BASIS, 5, method="dpp"), ValueError, "m is 5, expected 4, degree"),
    (lambda: orthopoly.optimal_samples(BASIS, 3, method="volume"), ValueError, "m is 3, expected at least 4"),
    (lambda: orthopoly.optimal_samples(BASIS, 0, method="christoffel"), ValueError, "m is 0"),
    (lambda: orthopoly.optimal_samples(BASIS, 4, method="best"), ValueError, "method is 'best'"),
    (lambda: orthopoly.optimal_samples(orthopoly.classical("legendre", 3), 4, method="dpp"), ValueError, "no samples"),
    (lambda: orthopoly.optimal_samples([BASIS] * 2, 5, method="dpp"), ValueError, "m is 5, expected 10, the number of products"),
    (lambda: orthopoly.optimal_samples([BASIS, 3], 5), TypeError, "basis is int"),
    (lambda: orthopoly.optimal_samples([BASIS] * 2, 5, degrees=[[4, 0]]), ValueError, r"\[:, 0\] ranges from 4 to 4, expected 0 to 3"),
    (lambda: orthopoly.optimal_samples([BASIS] * 2, 5, degrees=[[1, 0, 0]]), ValueError, r"expected integers \(K, 2\)"),
    (lambda: orthopoly.optimal_samples([BASIS] * 2, 5, degrees=[[1, 0], [1, 0]]), ValueError, "a row twice"),
    (lambda: orthopoly.multi_indices(2, -1), ValueError, "degree is -1"),
    (lambda: orthopoly.multi_indices(50, 20), ValueError, "more than 1000000 products"),
    (lambda: qf.cheb.product_layer(*LAYER[:1], np.ones((4, 3)), np.zeros(4), np.ones(4), [[0, 1]]), ValueError, r"expected \(4, 2\)"),
    (lambda: qf.cheb.product_layer(*LAYER[:1], np.ones((1, 3)), np.zeros(4), np.ones(4), [[0, 4]]), ValueError, "expected less than 4"),
    (lambda: qf.cheb.product_layer(*LAYER[:1], np.ones((1, 3)), np.zeros(2), np.array([1.0, 0]), [[0, 1]]), ValueError, r"b\[1\] is 0"),
    (lambda: qf.cheb.trig_layer(*LAYER[:1], np.ones((1, 3)), [[0, -1]]), ValueError, "degrees contains -1, expected at least 0"),
    (lambda: qf.cheb.trig_layer(*LAYER[:1], np.ones((1, 3)), [[0, 1.5]]), ValueError, "expected integers"),
]
