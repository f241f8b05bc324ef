"""Halves of Toeplitz matrices against the matrices, with an even and an odd number of points."""

import numpy as np
import pytest
from scipy.linalg import toeplitz

from quatrefoil.kron.gphm.halves import HalvedCholesky, Halves
from quatrefoil.kron.gphm.inverse import Spectrum
from quatrefoil.kron.product import mirror

SIZES = [3, 4, 9, 10]


def folded(halves, A):
    """By the matrix of an orthonormal basis: even vectors, then odd ones."""
    n = A.shape[1]
    pairs = np.eye(n)[: n // 2]
    even, odd = [(pairs + sign * pairs[:, ::-1]) / np.sqrt(2) for sign in (1, -1)]
    if n % 2:
        even = np.concatenate([even, np.eye(n)[n // 2 : n // 2 + 1]])
    return A @ even.T, A @ odd.T, even, odd


@pytest.mark.parametrize("n", SIZES)
def test_folding(rng, n):
    A, halves = rng.standard_normal((5, n)), Halves(n)
    for got, expected in zip(mirror.folded(A, 1), folded(halves, A)):
        np.testing.assert_allclose(got, np.sqrt(2) * expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(mirror.unfolded(*(0.5 * half for half in mirror.folded(A, 1)), axis=1), A, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", SIZES)
def test_matrices(rng, n):
    lags, halves = rng.standard_normal(n), Halves(n)
    *_, even, odd = folded(halves, np.eye(n))
    for got, basis in zip(halves.symmetric(lags), (even, odd)):
        np.testing.assert_allclose(got, basis @ toeplitz(lags) @ basis.T, rtol=0, atol=1e-14)
    lags[0] = 0.0
    np.testing.assert_allclose(halves.antisymmetric(lags), odd @ toeplitz(lags, -lags) @ even.T, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", SIZES)
def test_inverse(rng, n):
    lags = np.concatenate([[3.0], rng.uniform(-1, 1, n - 1) / n])
    found, K, rows = HalvedCholesky(Halves(n), lags, 0.0, "axes[0]"), toeplitz(lags), rng.standard_normal((2, n))
    np.testing.assert_allclose(found.solve(rows), np.linalg.solve(K, rows.T).T, rtol=0, atol=1e-14)
    assert found.logdet == pytest.approx(np.linalg.slogdet(K)[1], rel=1e-13)
    with pytest.raises(np.linalg.LinAlgError, match=r"covariance of axes\[0\] with jitter 0.5 is not positive definite"):
        HalvedCholesky(Halves(n), np.ones(n), 0.5, "axes[0]")


@pytest.mark.parametrize("n", SIZES)
def test_spectrum(rng, n):
    K = toeplitz(np.concatenate([[3.0], rng.uniform(-1, 1, n - 1) / n]))
    whole, found = Spectrum(K.copy(), 0.0, "axes[0]"), Spectrum(K.copy(), 0.0, "axes[0]", Halves(n))
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-13)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(n), rtol=0, atol=1e-14)
    np.testing.assert_allclose((found.vectors * found.values) @ found.vectors.T, K, rtol=0, atol=1e-13)
    np.testing.assert_allclose(abs(found.vectors[::-1]), abs(found.vectors), rtol=0, atol=1e-14)  # even or odd
