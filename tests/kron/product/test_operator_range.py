"""Factors so large or small that their products leave the range of float64, although the answers do not."""

import functools

import numpy as np
import pytest

from kron.dense import positive
from quatrefoil.kron import KroneckerOperator


def logdet(factors, noise):
    """log det from the logarithms of the eigenvalues, in extended precision."""
    logs = functools.reduce(np.add.outer, [np.log(np.linalg.eigvalsh(f).astype(np.longdouble)) for f in factors])
    return float(np.logaddexp(logs, np.log(np.longdouble(noise))).sum())


SCALES = [(1e200, 1e200), (1e-200, 1e-200), (1e200, 1e200, 1e-300), (1e-300, 1e200, 1e200), (1e-200, 1e-200, 1e300), (1e300, 1e-300)]


@pytest.mark.parametrize("scales", SCALES)
def test_logdet(rng, scales):
    factors = [s * f for s, f in zip(scales, positive(rng, 3, 4, 2))]
    for noise in (1e-300, 1.0, 1e300):
        assert KroneckerOperator(factors).logdet(noise) == pytest.approx(logdet(factors, noise), rel=1e-12, abs=1e-12)


def test_logdet_of_single_precision(rng):
    factors = [f.astype(np.float32) * np.float32(1e30) for f in positive(rng, 3, 4, *[2] * 9)]
    assert KroneckerOperator(factors).logdet(1.0) == pytest.approx(logdet(factors, 1.0), rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 1e80])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1)])
def test_solve_and_eigenvalues_with_partial_products_out_of_range(rng, order, noise):
    plain = positive(rng, 3, 4, 2)
    factors = [plain[i] * np.array([2.0**700, 2.0**600, 2.0**-1000])[i] for i in order]
    one, y = KroneckerOperator([plain[i] for i in order]), rng.standard_normal(24)
    K = KroneckerOperator(factors)
    np.testing.assert_allclose(K.solve(y, noise) * 2.0**300, one.solve(y, noise / 2.0**300), rtol=1e-10)
    np.testing.assert_allclose(K.eigh()[0], one.eigh()[0] * 2.0**300, rtol=1e-12)


def test_no_bit_changes_in_range(rng):
    factors = positive(rng, 3, 4, 2)
    K, y = KroneckerOperator(factors), rng.standard_normal(24)
    lam = functools.reduce(lambda a, b: (a[:, None] * b).reshape(-1), [np.linalg.eigh(f)[0] for f in factors])
    np.testing.assert_array_equal(K.eigh()[0], lam)
    assert K.logdet(0.5) == float(np.log(np.maximum(lam, 0) + 0.5).sum())
    scaled = KroneckerOperator([f * 2.0**300 for f in factors]).solve(y)
    np.testing.assert_array_equal(scaled * 2.0**450 * 2.0**450, K.solve(y))
