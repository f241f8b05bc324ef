"""Tests specific to rational filters: poles near the unit circle, bad input."""

import numpy as np

import quatrefoil as qf
from checks import check_float32, check_rejected

filter, vjp = qf.ssm.arma_filter, qf.ssm.arma_filter_vjp


def test_float32_is_good_to_2e_6_where_the_poles_remember_thousands_of_samples(best_backend, rng):
    """Coefficients with few digits have the same values in both precisions. The filter computes in double precision."""
    a = np.array([1, -1.99609375, 0.99609761], np.float32)
    b = np.array([0.125, 0.25, 0.125], np.float32)
    x = rng.standard_normal((3, 5000)).astype(np.float32)
    check_float32(filter, [b, a, x], 2e-6)
    check_float32(vjp, [b, a, x, x], 5e-6)


B, A, X = np.ones(2), np.array([2.0, 1.0]), np.zeros((3, 5))
BAD = [
    (lambda: filter(B[:0], A, X), ValueError, r"ssm\.arma_filter: b has shape \(0,\), expected at least one coefficient"),
    (lambda: filter(B, A[:0], X), ValueError, r"a has shape \(0,\), expected at least one"),
    (lambda: filter(B, A, X, np.zeros((3, 2))), ValueError, r"zi has shape \(3, 2\), expected \(3, 1\)"),
    (lambda: filter([1.0], A, X), TypeError, r"b is list, .*; convert it: np\.asarray\(b, np\.float64\)"),
    (lambda: filter(B, np.array([[1.0, 1], [0, 1], [1, 1]]), X), ValueError, r"a\[..., 0\] is 0, expected a nonzero number"),
]


def test_bad_input(backend):
    check_rejected(BAD)
