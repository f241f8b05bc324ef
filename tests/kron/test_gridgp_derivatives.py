"""Predictions of derivatives against dense regression, with derivatives of the covariance by finite differences in extended precision."""

import functools

import numpy as np
import pytest

import quatrefoil as qf
from kron.dense import Dense
from kron.mixture import oracle

partial = functools.partial
SPECTRAL = {"log_weights": np.array([0.1, -0.3]), "log_scales": np.array([0.5, 1.0]), "freqs": np.array([0.7, 1.9])}
KERNELS = {
    "rbf": {"scale": 0.3},
    "matern32": {"scale": 0.4},
    "matern52": {"scale": np.array(0.4)},
    "rational_quadratic": {"scale": 0.3, "alpha": 0.7},
    "periodic": {"scale": 0.8, "period": 0.9},
    "spectral_mixture": SPECTRAL,
    "gsmp_kernel": {"weights": np.array([0.5, 0.0, 1.0]), "means": np.array([0.3, 1.0, 1.1]), "std": np.array([0.2, 0.1, 0.3])},
}
X, T = np.linspace(0, 1, 9), np.sort(np.random.default_rng(3).uniform(0, 2, 7))
SEEN = np.random.default_rng(1).random((9, 7)) < 0.7
Y = np.sin(4 * X)[:, None] * np.cos(2 * T)
CASES = [(name, order) for name in KERNELS for order in (1, 2) if (name, order) != ("matern32", 2)]


def derivative(name, x, y, order):
    h = np.longdouble(1e-5 if order == 1 else 1e-4)
    k = partial(getattr(oracle, name), **KERNELS[name])
    x = np.asarray(x, np.longdouble)
    if order == 1:
        return (k(x + h, y) - k(x - h, y)) / (2 * h)
    return (k(x + h, y) - 2 * k(x, y) + k(x - h, y)) / h**2


def variance(name, order):
    """The variance (-1)^order k^(2 order)(0)."""
    h, zero, k = np.longdouble(1e-3), np.zeros(1), partial(getattr(oracle, name), **KERNELS[name])
    weights = [-1, 2, -1] if order == 1 else [1, -4, 6, -4, 1]
    return sum(w * k(np.array([(i - order) * h]), zero)[0, 0] for i, w in enumerate(weights)) / h ** (2 * order)


@pytest.mark.parametrize(("name", "order"), CASES)
def test_against_dense_regression(name, order):
    kernel, other = partial(getattr(qf.kron, name), **KERNELS[name]), partial(qf.kron.matern12, scale=0.6)
    gp = qf.kron.GridGP([other, kernel], noise=0.01, variance=1.3, mean="linear", optimizer=None).fit([X, T], Y, SEEN)
    both = [partial(oracle.matern12, scale=0.6), partial(getattr(oracle, name), **KERNELS[name])]
    dense = Dense(both, [X, T], Y, SEEN, 0.01, 1.3, lambda points: np.stack([np.ones(len(points[0])), *points], axis=1))
    new = np.array([0.2, 0.55]), np.array([0.3, 1.7, T[0]])
    at = np.repeat(new[0], 3), np.tile(new[1], 2)
    cross = (1.3 * both[0](at[0], dense.x[0]) * derivative(name, at[1], dense.x[1], order)).astype(float)
    slope = np.array([0, 0, order == 1])
    expected = cross @ np.linalg.solve(dense.C, dense.rest) + slope @ dense.beta
    of_mean = slope - cross @ np.linalg.solve(dense.C, dense.H)
    explained = np.einsum("ij,ij->i", cross, np.linalg.solve(dense.C, cross.T).T) - np.einsum("ij,ij->i", of_mean, of_mean @ dense.A)
    spread = np.sqrt(1.3 * float(variance(name, order)) - explained)
    mean, std = gp.predict(list(new), return_std=True, derivative=(1, order))
    np.testing.assert_allclose(mean.ravel(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(std.ravel(), spread, rtol=2e-2)  # variances by finite differences with step 1e-3
    again = gp.predict(np.stack(at, axis=1), return_std=True, derivative=(1, order))
    np.testing.assert_allclose(again, [mean.ravel(), std.ravel()], rtol=1e-9)


def test_rejected():
    kernels = [partial(qf.kron.matern32, scale=1.0), partial(qf.kron.matern12, scale=1.0)]
    gp = qf.kron.GridGP(kernels, optimizer=None, noise=0.1).fit([X, T], Y)
    for derivative, error, message in [
        (2, ValueError, "the axis of derivative is 2, expected"),
        ((0, 3), ValueError, "the order of derivative is 3, expected"),
        ((0, 2), ValueError, "covariance matern32 have no derivative of order 2"),
        (1, TypeError, "derivatives are available only for rbf, matern32, .*, but this axis has matern12"),
        ((0, 1, 1), ValueError, r"expected an axis, or \(axis, order\)"),
    ]:
        with pytest.raises(error, match=message):
            gp.predict(derivative=derivative)
    with pytest.raises(ValueError, match="samples of derivatives are not available"):
        gp.predict(return_std="samples", derivative=0)
    with pytest.raises(TypeError, match="callable mean"):
        qf.kron.GridGP(optimizer=None, mean=lambda x, t: x + t).fit([X, T], Y).predict(derivative=0)
