"""Tests specific to Mamba-2's scan: accuracy of decays and of the gradients of rates, extreme steps, limits of dt, bad input."""

import itertools
from itertools import pairwise

import mpmath
import numpy as np
import pytest

import quatrefoil as qf
from case import Case, build
from quatrefoil import _backends
from ssm.ssd.cases import CASES
from ssm.ssd.cases import scan as scan_case

scan, scan_vjp = qf.ssm.mamba_chunk_scan_combined, qf.ssm.mamba_chunk_scan_combined_vjp


def draw(rng, items=2, L=150, H=4, G=2, precision="float64"):
    """Random x, dt, A, B, C."""
    return build("ssm", Case(CASES[0].op, "drawn", scan_case((items, L, H), 6, 5, groups=G)), rng, precision)[0]


def test_extreme_steps_give_no_nan(backend, rng):
    """A decay that underflows is 0, for exponents of any size; growth is right as long as it does not overflow."""
    x, dt, A, B, C = draw(rng, precision="float32")
    for size in (1e3, 1e10, 1e30):
        y, states = scan(x, abs(dt) * np.float32(size), -np.ones_like(A), B, C, 64, return_final_states=True)
        assert np.isfinite(y).all()
        assert np.isfinite(states).all()
        grads = scan_vjp(x, abs(dt) * np.float32(size), -np.ones_like(A), B, C, y / np.float32(size), chunk_size=64)
        assert all(np.isfinite(g).all() for g in (grads[0], *grads[3:]))
    one = np.ones((1, 120, 1, 1))
    y = scan(one, np.full((1, 120, 1), 1.0), np.array([5.0]), one, one, 64)
    np.testing.assert_allclose(y.ravel(), np.cumsum(np.exp(5.0 * np.arange(120))), rtol=1e-12)


def test_gradients_reach_a_dt_that_limits_leave_alone_and_no_other(backend, rng):
    x, _, A, B, C = draw(rng, L=70)
    dt = rng.uniform(0, 1, (2, 70, 4))
    y = scan(x, dt, A, B, C, 64, dt_limit=(0.2, 0.7))
    np.testing.assert_array_equal(y, scan(x, np.clip(dt, 0.2, 0.7), A, B, C, 64))
    ddt = scan_vjp(x, dt, A, B, C, y, chunk_size=64, dt_limit=(0.2, 0.7))[1]
    np.testing.assert_array_equal(ddt == 0, (dt < 0.2) | (dt > 0.7))
    edge = np.full_like(dt, 0.2)
    assert (scan_vjp(x, edge, A, B, C, y, chunk_size=64, dt_limit=(0.2, 0.7))[1] != 0).all()


def backends(backend):
    return [backend, "array"] if backend == _backends.default() else [backend]


def test_decays_are_right_to_a_rounding_of_their_exponents(backend, rng):
    """Decays from the first step of a chunk to later ones, up to e^+-600, have only the rounding errors of their exponents."""
    L, H = 64, 32
    dt, one = rng.uniform(0, 16, (1, L, H)), np.ones((1, L, 1, 1))
    x = np.zeros((1, L, H, 1))
    x[:, 0] = 1
    for sign, name in itertools.product((-1, 1), backends(backend)):
        print(sign, name)
        got = scan(x, dt, np.full(H, sign * 1.0), one, one, 64, backend=name)[0, ..., 0]
        with mpmath.workdps(40):
            for h in range(H):
                exponent = mpmath.mpf(0)
                for t in range(L):
                    exponent += mpmath.mpf(dt[0, t, h]) if t else 0
                    expected = mpmath.exp(sign * exponent) * mpmath.mpf(dt[0, 0, h])
                    # half an eps of the exponent each: product with the rate, difference of sums, adding its low part; 8 eps elsewhere
                    assert abs(mpmath.mpf(got[t, h]) / expected - 1) <= (2 * float(exponent) + 8) * np.finfo(float).eps


@pytest.mark.parametrize("rate", [-40.0, -5.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_a_rate_has_its_own_digits(backend, dtype, rate):
    """A small gradient is accurate too if states forget fast: terms that pass over a decay are summed directly, not as a difference."""
    rng = np.random.default_rng(14)
    x, _, _, B, C = draw(rng, 1, 70, 1, 1, np.dtype(dtype).name)
    dt, A = rng.uniform(0.5, 1.5, x.shape[:3]).astype(dtype), np.array([rate], dtype)
    cuts, grads = np.array([0, 30, 70]), [rng.standard_normal(s).astype(dtype) for s in (x.shape, (2, *x.shape[2:], B.shape[3]))]
    inputs, options = (x, dt, A, B, C, *[None] * 5, cuts, tuple(grads)), {"chunk_size": 64, "return_varlen_states": True}
    x, dt, B, C, grad, ends = (v[0, :, 0].astype(np.longdouble) for v in (x, dt, B, C, grads[0], grads[1][None]))
    expected = size = 0
    for end, (first, last) in zip(ends, pairwise(cuts)):
        states = [np.zeros_like(end)]
        for t in range(first, last):
            states.append(np.exp(dt[t] * rate) * states[-1] + np.outer(dt[t] * x[t], B[t]))
        m = end
        for t in reversed(range(first, last)):
            m = m + np.outer(grad[t], C[t])
            terms = np.exp(dt[t] * rate) * dt[t] * m * states[t - first]
            expected, size, m = expected + terms.sum(), size + np.abs(terms).sum(), np.exp(dt[t] * rate) * m
    for name in backends(backend):
        assert abs(scan_vjp(*inputs, **options, backend=name)[2][0] - expected) <= 8 * np.finfo(dtype).eps * size


X, DT, A, B, C = draw(np.random.default_rng(0), L=10)
FIRST = X[:1], DT[:1], A, B[:1], C[:1], 64


def cuts(*numbers):
    return {"cu_seqlens": np.array(numbers, int)}


BAD = [
    (lambda: scan(X[:, :, :3], DT[:, :, :3], A[:3], B, C, 64), ValueError, r"B has shape .* divides the number of heads of x, 3"),
    (lambda: scan(X, DT, A, B[:, :, :0], C[:, :, :0], 64), ValueError, "where G divides"),
    (lambda: scan(X, DT, A, B, C, 0), ValueError, "chunk_size is 0, expected at least 1"),
    (lambda: scan(X, DT, A, B, C, 64.0), TypeError, "chunk_size is 64.0, expected an integer"),
    (lambda: scan(X, DT, A, B, C, 64, dt_limit=(1.0, 0.5)), ValueError, r"dt_limit is \(1.0, 0.5\), expected \(lower, upper\)"),
    (lambda: scan(X, DT, A, B, C, 64, dt_limit=(0.0, np.nan)), ValueError, "dt_limit is"),
    (lambda: scan(X, DT, A, B, C, 64, dt_limit=0.5), TypeError, "dt_limit is 0.5, expected two numbers"),
    (lambda: scan(X, DT, A, B, C, 64, **cuts(0, 4, 10)), ValueError, "expected one item"),
    (lambda: scan(*FIRST, **cuts(4, 10)), ValueError, "start with 0, never decrease, and end with the length, 10"),
    (lambda: scan(X, DT, A, B, C, 64, return_varlen_states=True), ValueError, "return_varlen_states=True requires cu_seqlens"),
    (lambda: scan_vjp(X, DT, A, B, C, X, chunk_size=64, return_final_states=True), ValueError, "grad_final_states is None"),
]
