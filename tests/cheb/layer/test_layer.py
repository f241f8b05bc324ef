"""What is particular to layers of polynomials, and the bases that they take."""

import numpy as np
import pytest
from numpy.polynomial import chebyshev, hermite_e, laguerre, legendre

import quatrefoil as qf
from cheb.layer import oracle
from quatrefoil.cheb import orthopoly


def random_layer(rng, N=50, I=4, K=5, O=6):
    basis = orthopoly.classical("legendre", K - 1)
    return rng.uniform(-1, 1, (N, I)), rng.standard_normal((I, K, O)), basis.a, basis.b


def test_chebyshev_layers(rng, backend):
    """As Chebyshev-KAN has them, sum_ik W T_k(x)."""
    X, W, *_ = random_layer(rng)
    basis = orthopoly.classical("chebyshev", 4)
    scaled = W * np.where(np.arange(5) > 0, 0.5**0.5, 1.0)[:, None]
    expected = sum(chebyshev.chebval(X[:, i], W[i]).T for i in range(4))
    np.testing.assert_allclose(qf.cheb.poly_layer(X, scaled, basis.a, basis.b), expected, atol=1e-13)


def test_a_recurrence_an_input(rng, backend):
    X, W, a, b = random_layer(rng)
    np.testing.assert_array_equal(qf.cheb.poly_layer(X, W, np.tile(a, (4, 1)), np.tile(b, (4, 1))), qf.cheb.poly_layer(X, W, a, b))
    apart = [orthopoly.classical(name, 4) for name in ("legendre", "hermite", "laguerre", "chebyshev")]
    rows = np.stack([p.a for p in apart]), np.stack([p.b for p in apart])
    expected = sum(p(X[:, i]) @ W[i] for i, p in enumerate(apart))
    np.testing.assert_allclose(qf.cheb.poly_layer(X, W, *rows), expected, atol=1e-13 * np.abs(expected).max())


def test_rows_do_not_change_each_other(rng):
    X, W, a, b = random_layer(rng, 9000, 3, 40, 5)
    np.testing.assert_array_equal(qf.cheb.poly_layer(X[:7], W, a, b), qf.cheb.poly_layer(X, W, a, b)[:7])


def test_a_nan_stays_in_its_row(rng, backend):
    X, W, a, b = random_layer(rng, 200)
    expected = qf.cheb.poly_layer(X, W, a, b)
    X[101, 2] = np.nan
    Y = qf.cheb.poly_layer(X, W, a, b)
    assert np.isnan(Y[101]).all()
    np.testing.assert_array_equal(np.delete(Y, 101, 0), np.delete(expected, 101, 0))


def test_weights_must_be_positive(rng, backend):
    X, W, a, b = random_layer(rng)
    b = b.copy()
    for wrong in (0.0, -1.0, np.nan, np.inf):
        b[3] = wrong
        with pytest.raises(ValueError, match=r"number 3 of b is .*expected a positive finite one"):
            qf.cheb.poly_layer(X, W, a, b)
        with pytest.raises(ValueError, match=r"number 3 of b is .*expected a positive finite one"):
            qf.cheb.poly_layer_vjp(X, W, a, b, np.ones((50, 6)))


def test_no_large_temporary(peak_memory):
    """N I K numbers would be 160 MB."""
    made = (
        "import numpy as np, quatrefoil as qf; rng = np.random.default_rng(0); p = qf.cheb.orthopoly.classical('legendre', 9); "
        "X, W, g = rng.uniform(-1, 1, (20000, 100)), rng.standard_normal((100, 10, 8)), rng.standard_normal((20000, 8))"
    )
    assert peak_memory(made, "Y = qf.cheb.poly_layer(X, W, p.a, p.b, num_threads=2)") < 12e6
    assert peak_memory(made, "d = qf.cheb.poly_layer_vjp(X, W, p.a, p.b, g, num_threads=2)") < 40e6


# ---------------------------------------------------------------- bases


def test_classical_polynomials(rng):
    x = rng.uniform(-1, 1, 30)
    k = np.arange(7)
    one = np.eye(7)
    np.testing.assert_allclose(orthopoly.classical("legendre", 6)(x), legendre.legval(x, one).T * np.sqrt(2 * k + 1), atol=1e-13)
    np.testing.assert_allclose(orthopoly.classical("chebyshev", 6)(x), chebyshev.chebval(x, one).T * np.where(k, 2**0.5, 1), atol=1e-13)
    factorials = np.cumprod(np.maximum(k, 1.0))
    np.testing.assert_allclose(orthopoly.classical("hermite", 6)(x), hermite_e.hermeval(x, one).T / np.sqrt(factorials), atol=1e-13)
    np.testing.assert_allclose(orthopoly.classical("laguerre", 6)(x), laguerre.lagval(x, one).T * (-1.0) ** k, atol=1e-12)
    with pytest.raises(ValueError, match="name is 'jacobi'"):
        orthopoly.classical("jacobi", 3)


def test_moments(rng):
    """Of the uniform measure on [-1, 1] and the normal one; of samples, as the samples give them."""
    for name, mu in (("legendre", [1 / (j + 1) if j % 2 == 0 else 0 for j in range(15)]), ("hermite", [1, 0, 1, 0, 3, 0, 15, 0, 105])):
        known, found = orthopoly.classical(name, len(mu) // 2), orthopoly.from_moments(np.array(mu, float))
        np.testing.assert_allclose(found.b, known.b, rtol=1e-9)
        np.testing.assert_allclose(found.a, 0, atol=1e-9)
    x = rng.gamma(2.0, size=300)
    by_samples = orthopoly.from_samples(x, 4)
    by_moments = orthopoly.from_moments(np.array([np.mean(x**j) for j in range(9)]))
    np.testing.assert_allclose(by_moments.b, by_samples.b, rtol=1e-6)
    np.testing.assert_allclose(by_moments.a[:4], by_samples.a[:4], rtol=1e-6)
    with pytest.raises(ValueError, match=r"mu has shape \(4,\)"):
        orthopoly.from_moments(np.ones(4))
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        orthopoly.from_moments(np.array([1.0, 0, -1.0]))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_samples(rng, offset):
    x = np.concatenate([rng.gamma(2.0, size=500), rng.normal(6, 0.3, 500)]) + offset
    basis = orthopoly.from_samples(x, 8)
    P = basis(x)
    np.testing.assert_allclose(P.T @ P / x.size, np.eye(9), atol=1e-7 if offset else 1e-10)  # at 1e4 the recurrence holds 1e-12
    values, _ = oracle.values(x, basis.a, basis.b, 9)
    np.testing.assert_allclose(P, np.stack(values, -1).astype(float), rtol=0, atol=1e-9 * np.abs(P).max())
    assert basis.degree == 8
    assert repr(basis) == "Basis(degree=8, 1000 samples)"


def test_bad_samples():
    with pytest.raises(ValueError, match="degree is 3, expected less than the 3 distinct samples"):
        orthopoly.from_samples(np.array([1.0, 1, 2, 3]), 3)
    with pytest.raises(ValueError, match=r"x\[1\] is nan"):
        orthopoly.from_samples(np.array([1.0, np.nan]), 0)
    with pytest.raises(ValueError, match="distinct samples"):
        orthopoly.from_samples(np.zeros(0), 0)
    with pytest.raises(TypeError, match="int64"):
        orthopoly.from_samples(np.arange(5), 1)
    one = orthopoly.from_samples(np.full(7, 3.0), 0)
    np.testing.assert_array_equal(one(np.array([1.0, 2.0])), np.ones((2, 1)))


@pytest.mark.parametrize(("method", "m"), [("christoffel", 9), ("dpp", 4), ("volume", 9)])
def test_optimal_samples(rng, method, m):
    """Weighted means are unbiased: 4000 draws of a cubic's, and of a function outside the basis; without weights they are not."""
    x = rng.exponential(size=60)
    basis = orthopoly.from_samples(x, 3)
    g = np.stack([np.ones(60), x**3, np.cos(3 * x)])
    order = np.argsort(x)
    means, plain = [], []
    generator = np.random.default_rng(rng.integers(2**32))
    for _ in range(4000):
        points, weights = orthopoly.optimal_samples(basis, m, method=method, rng=generator)
        at = order[np.searchsorted(x[order], points)]
        np.testing.assert_array_equal(x[at], points)
        if method == "dpp":
            assert np.unique(points).size == m
        means.append((weights * g[:, at]).mean(axis=1))
        plain.append(g[:, at].mean(axis=1))
    for found, biased in ((means, False), (plain, True)):
        found = np.array(found)
        z = (found.mean(axis=0) - g.mean(axis=1)) / (found.std(axis=0) / 4000**0.5 + 1e-300)
        assert (np.abs(z[1:]).max() > 6.5) == biased


def test_volume_sampling_makes_least_squares_unbiased(rng):
    """The coefficients of a function outside the basis, by 6 points; by christoffel draws alone they are off."""
    x = rng.exponential(size=40)
    basis = orthopoly.from_samples(x, 2)
    g = np.exp(-((x - 1) ** 2)) * 10
    truth = np.linalg.lstsq(basis(x), g, rcond=None)[0]
    order = np.argsort(x)
    generator = np.random.default_rng(rng.integers(2**32))
    found = []
    for _ in range(6000):
        points, weights = orthopoly.optimal_samples(basis, 6, method="volume", rng=generator)
        root = np.sqrt(weights)
        values = g[order[np.searchsorted(x[order], points)]]
        found.append(np.linalg.lstsq(root[:, None] * basis(points), root * values, rcond=None)[0])
    found = np.array(found)
    assert (np.abs(found.mean(axis=0) - truth) < 6.5 * found.std(axis=0) / 6000**0.5).all()


def test_bad_optimal_samples(rng):
    basis = orthopoly.from_samples(rng.standard_normal(50), 3)
    for arguments, match in (
        ((basis, 5, "dpp"), "m is 5, expected 4, degree"),
        ((basis, 3, "volume"), "m is 3, expected at least 4"),
        ((basis, 0, "christoffel"), "m is 0"),
        ((basis, 4, "best"), "method is 'best'"),
        ((orthopoly.classical("legendre", 3), 4, "dpp"), "no samples"),
    ):
        with pytest.raises(ValueError, match=match):
            orthopoly.optimal_samples(*arguments[:2], method=arguments[2])
    a, b = (orthopoly.optimal_samples(basis, 7, rng=3) for _ in range(2))
    np.testing.assert_array_equal(a, b)
