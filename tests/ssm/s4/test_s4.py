"""Tests specific to S4 kernels and sums over poles: limits, NaN, bad input."""

import numpy as np

import quatrefoil as qf
from case import Case, build, complex_normal
from checks import check_float32
from ssm.s4 import oracle
from ssm.s4.cases import s4


def test_a_zero_system(backend):
    """Lambda = P = 0 is an integrator."""
    zero = np.zeros((1, 2), complex)
    K = qf.ssm.s4_kernel(np.array([0.5]), zero, zero, zero + 1, zero + 1, 9)
    np.testing.assert_allclose(K, np.full((1, 9), 2.0), rtol=1e-14)


def test_float32_is_rounded_once(best_backend, rng):
    for L in [37, 4096]:
        print(L)
        arguments, _ = build("ssm", Case("s4_kernel", "drawn", s4(3, 5, L)), rng, "float32")
        check_float32(qf.ssm.s4_kernel, [*arguments, L], 1.2e-7)


def test_points_next_to_a_pole(backend):
    """The difference from the pole is exact in float32; computing a product first would lose it."""
    for distance in [1e-2, 1e-5]:
        print(distance)
        v, w = np.array([[1 - 2j, 0.5 + 0j]], np.complex64), np.array([[-0.75 + 3j, -0.5 + 1j]], np.complex64)
        z = (w[0, 0] + np.array([distance, 1j * distance, -distance])).astype(np.complex64)
        for symmetric in (True, False):
            y = qf.ssm.cauchy_mult(v, z, w, symmetric)
            expected = oracle.cauchy_mult(v, z, w, symmetric)
            assert float((np.abs(y - expected) / np.abs(expected)).max()) < 4e-7


def test_on_a_pole_only_that_point_is_lost(backend, rng):
    v, w, z = complex_normal(rng, (2, 5)), complex_normal(rng, (2, 5)), complex_normal(rng, 30)
    clean = qf.ssm.cauchy_mult(v, z, w)
    z[7] = w[1, 2]
    z[9] = np.nan
    dirty = qf.ssm.cauchy_mult(v, z, w)
    assert not np.isfinite(dirty[1, 7])
    assert np.isfinite(dirty[0, 7])
    assert np.isnan(dirty[:, 9]).all()
    np.testing.assert_array_equal(np.delete(dirty, [7, 9], 1), np.delete(clean, [7, 9], 1))


def test_far_points(backend):
    """The nodes of state-spaces/s4 extend to infinity."""
    v, w, z = np.ones((1, 1), complex), -np.ones((1, 1), complex), np.array([1e8j, 1e16j, 1e30j])
    np.testing.assert_allclose(qf.ssm.cauchy_mult(v, z, w)[0], 2 / z, rtol=1e-7)


DT, X = np.ones(3), np.ones((3, 4), complex)
BAD = [(lambda: qf.ssm.s4_kernel(DT, X, X, X, X, -5), ValueError, "L is -5, expected at least 0")]
