"""Covariances that are 0 or singular. Answers are right if the noise exceeds their rounding; otherwise every path raises the same error."""

import functools
import itertools
import math

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from kron.dense import EPS
from quatrefoil.kron import KroneckerOperator, gp_nll, gp_posterior, gp_posterior_sample, gp_sample, gp_solve
from quatrefoil.kron.gp import composition, covariance

ZEROS, ONES, MIXED = np.zeros((3, 3)), np.ones((4, 4)), np.diag([0.0, 1.0, 2.0])
PAIRS = [ZEROS, np.zeros((4, 4))], [ZEROS, ONES], [MIXED, np.zeros((4, 4))], [MIXED, ONES]
SINGULAR = np.linalg.LinAlgError, "singular to working precision|not positive definite"
BACKENDS = ["native", "numba", "array"]


def dense(factors, y, noise, mask=None):
    seen = np.flatnonzero(np.ones(len(y), bool) if mask is None else mask)
    C = (np.kron(*factors) + np.diag(np.broadcast_to(noise, len(y))))[np.ix_(seen, seen)]
    inverse = np.zeros((len(y), len(y)))
    inverse[np.ix_(seen, seen)] = np.linalg.inv(C)
    alpha = inverse @ y
    value = (y @ alpha + np.linalg.slogdet(C)[1] + len(seen) * math.log(2 * math.pi)) / 2
    G = (inverse - np.outer(alpha, alpha)) / 2
    pairs = G.reshape(*map(len, factors), *map(len, factors))
    return value, [np.einsum("iajb,ab->ij", pairs, factors[1]), np.einsum("iajb,ij->ab", pairs, factors[0])], np.diagonal(G), alpha


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("cells", ["few", "many"])
def test_factors_of_zeros_are_zeros(name, cells, monkeypatch):
    if cells == "many":
        monkeypatch.setattr(covariance, "FEW", 0)
        monkeypatch.setattr(composition, "DENSE_UP_TO", 0)
    y = np.linspace(-1, 2, 12)
    for factors, noise, missing in itertools.product(PAIRS, (0.1, 0.1 + 0.01 * np.arange(12)), (0, 3, 9)):
        print(factors, noise, missing)
        mask = np.arange(12) >= missing if missing else None
        value, of_factors, of_noise, alpha = dense(factors, y, noise, mask)
        result = gp_nll(factors, y, noise, mask=mask, grad=True, backend=name)
        np.testing.assert_allclose(result[0], value, rtol=1e-12)
        for got, expected in zip(result[1], of_factors):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * max(1, np.abs(expected).max()))
        np.testing.assert_allclose(result[2], of_noise if np.ndim(noise) else of_noise.sum(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(gp_solve(factors, y, noise, mask=mask, backend=name), alpha, rtol=0, atol=1e-9 * np.abs(alpha).max())


def test_models_and_samples_of_zeros(backend):
    def zeros(x, y=None):
        return np.zeros((len(x), len(x if y is None else y)))

    axes = [np.arange(3.0), np.arange(3.0)]
    gp = qf.kron.GridGP([zeros, zeros], noise=0.1, mean="zero", optimizer=None).fit(axes, np.ones((3, 3)))
    assert round(gp.log_marginal_likelihood(), 3) == -42.909
    mean, std = gp.predict(axes, return_std=True)
    assert (mean == 0).all()
    assert (std == 0).all()
    assert (gp_sample([ZEROS, ONES], size=2, rng=0) == 0).all()
    assert (gp_posterior_sample([ZEROS, ONES], [ZEROS, ONES], np.ones(12), 0.1, rng=0) == 0).all()
    K = KroneckerOperator([ZEROS, ONES])
    np.testing.assert_allclose(K.solve(np.ones(12), 0.1), 10)
    np.testing.assert_allclose(K.logdet(0.1), 12 * math.log(0.1))


# ---------------------------------------------------------------- noise below the rounding error of the largest eigenvalue

LARGEST = 8.0  # largest eigenvalue of MIXED x ONES
SEEN = np.arange(12) % 5 > 0  # without one cell of each row of MIXED: the covariance stays singular
REJECTED = {
    "gp_nll": lambda f, y, s, **o: gp_nll(f, y, s, **o),
    "gp_nll with gradients": lambda f, y, s, **o: gp_nll(f, y, s, grad=True, **o)[1][0],
    "gp_nll by lanczos": lambda f, y, s, **o: gp_nll(f, y, s, logdet="lanczos", **o),
    "gp_solve": lambda f, y, s, **o: gp_solve(f, y, s, **o),
    "gp_solve of rows": lambda f, y, s, **o: gp_solve(f, np.stack([y, y]), s, **o),
    "gp_posterior": lambda f, y, s, **o: gp_posterior(f, f, y, s, prior_diag=1.0, **o)[1],
    "gp_posterior_sample": lambda f, y, s, **o: gp_posterior_sample(f, f, y, s, rng=0, **o),
}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("function", REJECTED)
def test_singular_covariances_need_noise(name, function):
    for noise, mask in itertools.product((0.0, 1e-300, 0.5 * EPS * LARGEST, 2.0**-60 * np.arange(12)), (None, SEEN)):
        call = functools.partial(REJECTED[function], [MIXED, ONES], np.linspace(-1, 2, 12), noise, mask=mask, backend=name)
        if name == "array" and function not in ("gp_posterior", "gp_posterior_sample"):  # partly computed on the host
            assert np.isnan(call()).all()
        else:
            check_rejected([(call, *SINGULAR)])


@pytest.mark.parametrize("unit", [1e-200, 1e-12, 1.0, 1e12, 1e200])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_limit_is_eps_of_the_largest_eigenvalue_in_any_unit(unit, backend):
    factors, y = [MIXED * unit, ONES], np.linspace(-1, 2, 12)
    limit = EPS * LARGEST * unit
    low = functools.partial(gp_solve, factors, y, 0.99 * limit, backend=backend)
    if backend == "array":
        assert np.isnan(low()).all()
    else:
        with pytest.raises(SINGULAR[0], match=r"factors\[0\] is singular.*add noise"):
            low()
    far = gp_solve(factors, y, 1e6 * limit, backend=backend)
    seen = gp_solve(factors, y, 1e6 * limit, mask=SEEN, backend=backend)
    for alpha, m in ((far, np.ones(12, bool)), (seen, SEEN)):
        expected = dense([MIXED, ONES], y, 1e6 * EPS * LARGEST, m)[3] / unit
        np.testing.assert_allclose(alpha, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_limit_in_single_precision(backend):
    factors, y = [MIXED.astype("f"), ONES.astype("f")], np.ones(12, "f")
    with pytest.raises(SINGULAR[0], match=SINGULAR[1]):
        gp_solve(factors, y, 1e-7)
    assert np.isfinite(gp_solve(factors, y, 1e-5)).all()
    with pytest.raises(SINGULAR[0], match=SINGULAR[1]):
        KroneckerOperator(factors).solve(y, 1e-7)


def test_regular_cells_of_a_singular_covariance_need_no_noise(backend):
    """Two points of an axis coincide, but only one of them is observed."""
    x = np.array([0.0, 0.5, 0.5, 1.0])
    K = np.exp(-np.abs(np.subtract.outer(x, x)))
    mask = np.repeat([True, True, False, True], 3)
    y = np.where(mask, np.linspace(-1, 2, 12), np.nan)
    mean, var = gp_posterior([K, np.eye(3)], [K, np.eye(3)], y, 0.0, mask=mask, prior_diag=1.0)
    np.testing.assert_allclose(mean[mask], y[mask], rtol=1e-12)
    np.testing.assert_allclose(mean.reshape(4, 3)[2], mean.reshape(4, 3)[1], rtol=1e-12)
    np.testing.assert_allclose(var, 0, atol=1e-12)
    with pytest.raises(SINGULAR[0], match=SINGULAR[1]):
        gp_posterior([K, np.eye(3)], [K, np.eye(3)], np.nan_to_num(y), 0.0)


def test_regular_factors_of_a_product_that_is_not():
    """The least eigenvalue of each factor exceeds its rounding; the product of both is far below the rounding error of the covariance."""
    axes = [np.linspace(0, 1, n) for n in (30, 40)]
    factors = [1e3 * qf.kron.matern52(axes[0], scale=1.4), qf.kron.matern52(axes[1], scale=1.6)]
    mask, y = np.random.default_rng(5).random(1200) < 0.8, (np.sin(6 * axes[0])[:, None] * np.cos(5 * axes[1])).reshape(-1)
    with pytest.raises(np.linalg.LinAlgError, match="the noise is below the rounding error of the covariance of the observed cells"):
        gp_solve(factors, y, 1e-14, mask=mask)
    K = np.kron(*factors)[:, mask]
    for noise in (1e-9, 1e-7):  # the first system needs more than one refinement
        mean, _ = gp_posterior(factors, factors, y, noise, mask=mask, prior_diag=1e3)
        expected = K @ np.linalg.solve(K[mask] + noise * np.eye(len(K[0])), y[mask])
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1e-300, 0.5 * EPS * LARGEST])
def test_an_operator_and_a_model_reject_the_same(noise):
    K = KroneckerOperator([MIXED, ONES])
    check_rejected([(call, SINGULAR[0], "singular") for call in (lambda: K.solve(np.ones(12), noise), lambda: K.logdet(noise))])
    if noise:
        kernels = [lambda x, y=None: MIXED, lambda x, y=None: ONES]
        with pytest.raises(SINGULAR[0], match="singular to working precision"):
            qf.kron.GridGP(kernels, noise=noise, optimizer=None).fit([np.arange(3.0), np.arange(4.0)], np.ones((3, 4)))
