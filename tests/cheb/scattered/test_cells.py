"""Axes of many coefficients at many points, where factor functions are read from cells: digits, ends, derivatives, memos, threads."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quatrefoil as qf
from cheb.scattered import oracle
from cheb.scattered.cases import random_tensor

MANY = 12_000  # points: enough for cells at n = 129, which ask for 3 x 2560
FEW = 400  # too few for them; compared with the oracle


def points(rng, d, dtype=np.float64):
    """Inside, at the ends, at 0 and at the ends of cells, which lie at 1 - (i / 64)^2."""
    X = rng.uniform(-1, 1, (MANY, d))
    X[:100] = np.sign(X[:100])
    X[100:200] = np.sign(X[100:200]) * (1 - 10.0 ** -rng.uniform(0, 16, (100, d)))
    X[200:300] = np.sign(X[200:300]) * (1 - (rng.integers(0, 65, (100, d)) / 64) ** 2)
    X[300:310] = 0.0
    return X.astype(dtype)


def compared(rng, X):
    return np.concatenate([np.arange(310), rng.choice(np.arange(310, len(X)), FEW - 310, replace=False)])


def test_values_and_derivatives(rng):
    """Coefficients that do not decay: sqrt(n) eps for the sums, as without cells."""
    for dtype, (n, r) in itertools.product([np.float32, np.float64], [((129,), (17,)), ((129, 5), (16, 4)), ((7, 129, 60), (3, 24, 9))]):
        print(n, dtype)
        core, factors = random_tensor(rng, n, r, dtype, decay=1.0)
        X = points(rng, len(n), dtype)
        at = compared(rng, X)
        expected = oracle.tucker_derivatives(core, factors, X[at], hessian=True)
        tolerance = 6 * max(n) ** 0.5 * np.finfo(dtype).eps
        found = qf.cheb.tucker_derivatives(core, factors, X, hessian=True)
        for got, e in zip((qf.cheb.tucker_eval(core, factors, X), *found), (expected[0], *expected)):
            assert np.isfinite(got).all()
            np.testing.assert_allclose(got[at], e.astype(float), rtol=0, atol=tolerance * float(np.abs(e).max()))


def test_what_is_kept_and_threads_change_no_bit(rng):
    core, factors = random_tensor(rng, (129, 70), (16, 20))
    X = points(rng, 2)
    ct = qf.cheb.ChebTucker(core, factors)
    few = ct.eval(X[:FEW])  # keeps what it packed, without cells
    one = qf.cheb.tucker_eval(core, factors, X, num_threads=1)
    for got in (ct.eval(X, num_threads=5), ct.eval(X), qf.cheb.tucker_eval(core, factors, X, num_threads=2)):
        np.testing.assert_array_equal(got, one)
    np.testing.assert_array_equal(ct.eval(X[:FEW]), few)
    np.testing.assert_array_equal(few, qf.cheb.tucker_eval(core, factors, X[:FEW]))


def test_a_point_does_not_depend_on_its_place(rng):
    for dtype in [np.float32, np.float64]:
        core, factors = random_tensor(rng, (129, 70, 5), (17, 20, 3), dtype)
        X = points(rng, 3, dtype)
        for order in (0, 1, 2):
            forwards = qf.cheb.tucker_derivatives(core, factors, X, gradient=order > 0, hessian=order > 1)
            backwards = qf.cheb.tucker_derivatives(core, factors, X[::-1], gradient=order > 0, hessian=order > 1)
            for a, b in zip((forwards,) if order == 0 else forwards, (backwards,) if order == 0 else backwards):
                np.testing.assert_array_equal(a, b[::-1])


def test_threads_that_all_make_the_cells(rng):
    """One tensor, first read with many points by four threads at once."""
    core, factors = random_tensor(rng, (129, 70), (16, 20))
    X = points(rng, 2)
    expected = qf.cheb.tucker_eval(core, factors, X)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            ct = qf.cheb.ChebTucker(core, factors)
            for got in pool.map(lambda _, ct=ct: ct.eval(X), range(4)):
                np.testing.assert_array_equal(got, expected)


def test_points_beyond_the_domain(rng):
    """Refused by their index among many points; continued where that is asked for, by the coefficients."""
    core, factors = random_tensor(rng, (129, 5), (16, 4), decay=0.8)
    X = points(rng, 2)
    X[MANY - 7] = 1.0001, -0.5
    with pytest.raises(ValueError, match=rf"X\[{MANY - 7}, 0\] is 1.0001"):
        qf.cheb.tucker_eval(core, factors, X)
    got = qf.cheb.tucker_derivatives(core, factors, X, gradient=False, extrapolate=True)
    at = np.append(compared(rng, X), MANY - 7)
    expected = oracle.tucker_eval(core, factors, X[at]).astype(float)
    np.testing.assert_allclose(got[at], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
