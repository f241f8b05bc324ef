"""Tests specific to sums of exponentials: modes that vanish within one step, bad input."""

import numpy as np

import quatrefoil as qf


def test_the_gradient_of_a_mode_that_is_gone_in_one_step(backend):
    """dx = 2 conj(v S1), S1 = sum l g_l z^l, must have all digits of a small z, not those of 1 + (z - 1)."""
    for decay in [1, 10, 40, 80]:
        print(decay)
        x, v, g = np.array([[-decay + 0.3j]]), np.array([[0.5 - 2j]]), np.array([[1.0, 2.0, -1.0, 3.0]])
        dv, dx = qf.ssm.log_vandermonde_vjp(v, x, g, L=4)
        powers = np.exp(x.astype(np.clongdouble) * np.arange(4))
        np.testing.assert_allclose(dx, 2 * np.conj(v * (np.arange(4) * g * powers).sum()), rtol=1e-14)
        np.testing.assert_allclose(dv, 2 * np.conj((g * powers).sum())[None, None], rtol=1e-14)


A, C = np.ones((3, 4), complex), np.ones((3, 4), complex)
BAD = [
    (lambda: qf.ssm.log_vandermonde(C[0, 0], C[0, 0], 5), TypeError, "v is complex128"),
    (lambda: qf.ssm.log_vandermonde(C, A, -2), ValueError, "L is -2, expected at least 0"),
]
