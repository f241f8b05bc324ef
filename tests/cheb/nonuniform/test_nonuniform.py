"""Tests specific to nonuniform cosine transforms: the error that eps allows, transposes, the ends, threads, the choice of a method."""

import functools
import itertools

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import quatrefoil as qf
from case import precisions
from cheb.nonuniform import oracle
from checks import check_rejected
from quatrefoil._call import call
from quatrefoil.cheb.nonuniform import CHEB_EVAL


def by_grid(C, X, eps):
    return call(CHEB_EVAL, (C, X), (eps, True, (-1.0, 1.0) * C.ndim), (None,))


def points(rng, P, d):
    X = rng.uniform(-1, 1, (P, d))
    X[: P // 8] = np.sign(X[: P // 8])
    X[P // 8 : P // 4] = np.cos(rng.uniform(0, 0.1, X[P // 8 : P // 4].shape))
    return X


def test_error_is_what_eps_allows(backend, rng):
    """Coefficients that do not decay, sizes with the coarsest allowed grid and with finer ones, and points anywhere."""
    for n, dtype in itertools.product(((400,), (33, 52), (17, 18, 9), (33, 2, 1)), precisions(backend)):
        C, X = rng.standard_normal(n).astype(dtype), points(rng, 500, len(n)).astype(dtype)
        expected = oracle.cheb_eval(C.astype(float), X.astype(float))
        for eps in (1e-1, 1e-2, 1e-5, 1e-8, 1e-11, 1e-13)[: 3 if dtype == np.float32 else 6]:
            print(n, dtype, eps)
            assert np.linalg.norm(by_grid(C, X, eps) - expected) <= eps * np.linalg.norm(expected)


def test_moments_are_the_transpose(backend, rng):
    """y . (E C) = (E' y) . C up to rounding, for any eps: a sum of P products whose factors are sums of prod(n) terms."""
    sizes = ((50,), 300), ((40, 41), 3000), ((20, 17, 23), 5000), ((3, 2, 4, 3), 100), ((5, 6, 7), 20)
    for eps, (n, P) in itertools.product((None, 1e-3, 1e-8), sizes):
        print(n, eps)
        P = P if backend == "native" else P // 10
        C, X, y = rng.standard_normal(n), points(rng, P, len(n)), rng.standard_normal(P)
        f, M = qf.cheb.cheb_eval(C, X, eps=eps), qf.cheb.cheb_moments(X, y, n, eps=eps)
        assert abs((f * y).sum() - (M * C).sum()) <= 1e-12 * np.linalg.norm(f) * np.linalg.norm(y)
        # the gradients of each function are bitwise equal to the values and moments of the other
        dC, dX = qf.cheb.cheb_eval_vjp(C, X, y, eps=eps)
        np.testing.assert_array_equal(dC, M)
        dX_too, dq = qf.cheb.cheb_moments_vjp(X, y, C, n=n, eps=eps)
        np.testing.assert_array_equal(dq, f)
        np.testing.assert_array_equal(dX_too, dX)


@pytest.mark.parametrize("eps", [None, 1e-10])
def test_slopes_up_to_the_ends(backend, rng, eps):
    n, P = (20, 17, 23), 1500 if backend == "native" or eps else 300
    C, X = rng.standard_normal(n), points(rng, P, 3)
    dX = qf.cheb.cheb_eval_vjp(C, X, np.ones(P), eps=eps)[1]
    for k in range(3):
        D = np.moveaxis(np.zeros(n), k, 0)
        D[:-1] = chebyshev.chebder(np.moveaxis(C, k, 0))
        expected = oracle.cheb_eval(np.moveaxis(D, 0, k), X)
        assert np.linalg.norm(dX[:, k] - expected) <= (eps or 1e-13) * np.linalg.norm(expected)


def test_the_choice_follows_shapes(backend, rng):
    """Many points with many coefficients use the grid. Few points, no eps, an eps that the grid cannot meet, and four axes do not."""
    C, X = rng.standard_normal((33, 33, 33)), rng.uniform(-1, 1, (4000, 3))
    np.testing.assert_array_equal(qf.cheb.cheb_eval(C, X, eps=1e-6), by_grid(C, X, 1e-6))
    exact = qf.cheb.cheb_eval(C, X[:50])
    for eps in (1e-6, 1e-14):
        np.testing.assert_array_equal(qf.cheb.cheb_eval(C, X[:50], eps=eps), exact)
    np.testing.assert_array_equal(qf.cheb.cheb_eval(C, X, eps=1e-14), qf.cheb.cheb_eval(C, X))
    C, X = rng.standard_normal((9, 9, 9, 9)), rng.uniform(-1, 1, (4000, 4))
    np.testing.assert_array_equal(qf.cheb.cheb_eval(C, X, eps=1e-3), qf.cheb.cheb_eval(C, X))


def test_threads_do_not_change_a_bit_of_a_grid(rng):
    for (n, P, eps), dtype in itertools.product([((64, 64), 150_001, 1e-4), ((33, 30, 31), 9001, 1e-9)], [np.float32, np.float64]):
        print(n, dtype)
        C, X, y = rng.standard_normal(n).astype(dtype), points(rng, P, len(n)).astype(dtype), rng.standard_normal(P).astype(dtype)
        for compute in (
            lambda **options: qf.cheb.cheb_eval(C, X, **options),  # noqa: B023
            lambda **options: qf.cheb.cheb_moments(X, y, n, **options),  # noqa: B023
            lambda **options: qf.cheb.cheb_eval_vjp(C, X, y, **options)[1],  # noqa: B023
        ):
            one = compute(eps=eps, num_threads=1)
            for threads in (2, 7):
                np.testing.assert_array_equal(compute(eps=eps, num_threads=threads), one)


def test_points_outside_are_named(backend, rng):
    n, P = (33, 33, 33), 4000 if backend == "native" else 50
    q, grad = np.ones(P), np.ones(n)
    for value, eps in itertools.product((np.nan, np.inf, 1 + 1e-12, -1.5), (None, 1e-4)):
        X = rng.uniform(-1, 1, (P, 3))
        X[[P - 1, 17], [0, 2]] = value
        calls = [functools.partial(qf.cheb.cheb_eval, grad, X, eps=eps), functools.partial(qf.cheb.cheb_eval_vjp, grad, X, q, eps=eps)]
        calls += [functools.partial(qf.cheb.cheb_moments, X, q, n, eps=eps)]
        calls += [functools.partial(qf.cheb.cheb_moments_vjp, X, q, grad, n=n, eps=eps)]
        check_rejected([(f, ValueError, r"X\[17, 2\] is .*, expected a number within the domain \[-1, 1\] of axis 2") for f in calls])


@pytest.mark.parametrize("eps", [None, 1e-4])
def test_rounding_at_the_ends_is_forgiven(backend, rng, eps):
    P = 4000 if backend == "native" else 50
    C, X = rng.standard_normal((33, 33, 33)), np.sign(rng.uniform(-1, 1, (P, 3)))
    np.testing.assert_array_equal(qf.cheb.cheb_eval(C, X * (1 + 5e-15), eps=eps), qf.cheb.cheb_eval(C, X, eps=eps))


C, X, Q = np.ones((3, 4)), np.zeros((5, 2)), np.ones(5)
BAD = [
    (lambda: qf.cheb.cheb_eval(C[0, 0], X), (ValueError, TypeError), "cheb.cheb_eval"),
    (lambda: qf.cheb.cheb_eval(np.ones(()), X), ValueError, "0 axes, expected 1 to 16"),
    (lambda: qf.cheb.cheb_eval(C, X, eps=0), ValueError, "eps is 0"),
    (lambda: qf.cheb.cheb_eval(C, X, eps=1), ValueError, "eps is 1"),
    (lambda: qf.cheb.cheb_eval(C, X, eps=np.nan), ValueError, "eps is nan"),
    (lambda: qf.cheb.cheb_eval(C, X, eps="1"), TypeError, "eps is '1'"),
    (lambda: qf.cheb.cheb_moments(X, Q, (3, 4, 5)), ValueError, "n has 3 entries, expected 2"),
    (lambda: qf.cheb.cheb_moments(X, Q, 0), ValueError, "n is 0, expected at least 1"),
    (lambda: qf.cheb.cheb_moments(X, Q, 2.5), TypeError, "n is 2.5"),
]


def test_one_number_for_all_axes(rng):
    X, q = points(rng, 30, 2), rng.standard_normal(30)
    np.testing.assert_array_equal(qf.cheb.cheb_moments(X, q, 4), qf.cheb.cheb_moments(X, q, (4, 4)))
