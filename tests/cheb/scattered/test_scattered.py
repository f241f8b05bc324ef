"""Values, gradients and Hessians at scattered points: accuracy, NaN, memory, points at and beyond the ends, cells."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions
from cheb.scattered import oracle
from cheb.scattered.cases import random_tensor


def test_flat_coefficients_keep_their_digits(backend, rng):
    """Coefficients that do not decay, and points crowded at the ends, where the three-term recurrence loses n^2 eps.

    Here the error is n rounding errors, in sums whose terms all have the same size: 4 sqrt(n) eps leaves room for the worst of 4000 points.
    """
    for n, dtype in itertools.product([33, 65, 257], precisions(backend)):
        print(n, dtype)
        U = rng.standard_normal((n, 5)).astype(dtype)
        ends = np.cos(rng.uniform(0, 5 / n, (2, 1000)))
        X = np.concatenate([rng.uniform(-1, 1, 2000), ends[0], -ends[1], [-1.0, 1.0]]).astype(dtype)
        T = np.cos(np.arccos(X.astype(np.longdouble))[:, None] * np.arange(n))
        expected = T @ U.astype(np.longdouble) @ np.ones(5)
        got = qf.cheb.tucker_eval(np.ones(5, dtype), [U], X[:, None])
        assert np.abs(got - expected).max() <= 4 * n**0.5 * np.finfo(dtype).eps * np.abs(expected).max()


@pytest.mark.parametrize("kernel", ["eval", "vjp"])
def test_memory_does_not_grow_with_points_times_ranks(kernel, peak_memory):
    """NumPy would need P r^2 numbers, 460 MB here. The limit is 50 MB in addition to inputs and outputs."""
    setup = (
        "import numpy as np, quatrefoil as qf; rng = np.random.default_rng(0); qf.set_num_threads(2); tucker = qf.cheb.tucker_eval\n"
        "core, factors = rng.standard_normal((24, 24, 24)), [rng.standard_normal((33, 24)) for _ in range(3)]\n"
        "X, grad = rng.uniform(-1, 1, (100_000, 3)), np.ones(100_000); tucker(core, factors, X[:200])"
    )
    code = "y = tucker(core, factors, X)" if kernel == "eval" else "d = qf.cheb.tucker_eval_vjp(core, factors, X, grad)"
    assert peak_memory(setup, code) < 50e6 + 100_000 * 8 * (1 if kernel == "eval" else 3)


def test_up_to_the_ends(backend, rng):
    for dtype in precisions(backend):
        print(dtype)
        core, factors = random_tensor(rng, (12, 9, 33), (5, 3, 9), dtype, decay=0.85)
        X = rng.uniform(-1, 1, (300, 3)).astype(dtype)
        X[:100] = np.sign(X[:100])
        X[100:200, 1] = 1 - 8 * np.finfo(dtype).eps * rng.random(100)
        expected = oracle.tucker_derivatives(core, factors, X, hessian=True)
        dX = qf.cheb.tucker_eval_vjp(core, factors, X, np.ones(300, dtype))[2]
        for got, e in zip((*qf.cheb.tucker_derivatives(core, factors, X, hessian=True), dX), (*expected, expected[1])):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, e.astype(float), rtol=0, atol=90 * np.finfo(dtype).eps * float(np.abs(e).max()))


def test_flat_coefficients_inside_the_domain(backend, rng):
    """Inside, derivatives are n and n^3 times smaller than at the ends, and their errors must be too. Many points use cells."""
    for n, P in [(65, 100), (257, 100), *[(129, 12_000)] * (backend == "native")]:
        print(n, P)
        core, factors = rng.standard_normal((8, 1)), [np.ones((n, 8)), rng.standard_normal((3, 1))]
        X = rng.uniform(-0.9, 0.9, (P, 2))
        expected = oracle.tucker_derivatives(core, factors, X[:400], hessian=True)
        for got, e in zip(qf.cheb.tucker_derivatives(core, factors, X, hessian=True), expected):
            np.testing.assert_allclose(got[:400], e.astype(float), rtol=0, atol=1e-13 * float(np.abs(e).max()))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_points_beyond_the_domain_on_request(backend, rng, order):
    core, factors = random_tensor(rng, (6, 5), (3, 4))
    ct = qf.cheb.ChebTucker(core, factors, domain=((-1, 1), (0, 4)))
    X = np.array([[1.5, 2.0], [-3.0, 9.0], [0.5, -0.1], [1 + 1e-15, 4.0]])
    with pytest.raises(ValueError, match=r"X\[0, 0\] is 1.5, expected a number within the domain"):
        ct.eval(X, order)
    got = ct.eval(X, order, extrapolate=True)
    expected = oracle.tucker_derivatives(core, factors, X, gradient=order > 0, hessian=order > 1, domain=((-1, 1), (0, 4)))
    for g, e in zip((got,) if order == 0 else got, (expected,) if order == 0 else expected):
        np.testing.assert_allclose(g, e.astype(float), rtol=0, atol=1e-12 * float(np.abs(e).max()))
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[2, 1\] is .*expected a finite number"):
        ct.eval(X, order, extrapolate=True)


@pytest.mark.parametrize("n", [256, 1000])
def test_slopes_in_float32_keep_their_digits(best_backend, rng, n):
    """For coefficients that do not decay, slopes inside the interval are n times smaller than the coefficients of the derivative."""
    core, X = np.ones((1, 1, 1), np.float32), rng.uniform(-0.9, 0.9, (50, 3)).astype(np.float32)
    factors, grad = [np.ones((n, 1), np.float32)] * 3, rng.standard_normal(50).astype(np.float32)
    *_, slopes = qf.cheb.tucker_eval_vjp(core, factors, X, grad)
    *_, exact = qf.cheb.tucker_eval_vjp(np.ones((1, 1, 1)), [np.ones((n, 1))] * 3, X.astype(float), grad.astype(float))
    each = np.abs(exact).max(axis=1, keepdims=True)  # largest derivative at a point: small ones do not have smaller errors
    assert np.median(np.abs(slopes - exact) / each) < 2e-8 * n


MANY = 12_000  # points: enough for cells at n = 129, which need 3 x 2560
FEW = 400  # too few for cells; compared with the oracle


def points(rng, d, dtype=np.float64):
    """Points inside, at the ends, at 0 and at the ends of cells, which are at 1 - (i / 64)^2."""
    X = rng.uniform(-1, 1, (MANY, d))
    X[:100] = np.sign(X[:100])
    X[100:200] = np.sign(X[100:200]) * (1 - 10.0 ** -rng.uniform(0, 16, (100, d)))
    X[200:300] = np.sign(X[200:300]) * (1 - (rng.integers(0, 65, (100, d)) / 64) ** 2)
    X[300:310] = 0.0
    return X.astype(dtype)


def compared(rng, X):
    return np.concatenate([np.arange(310), rng.choice(np.arange(310, len(X)), FEW - 310, replace=False)])


def test_values_and_derivatives(rng):
    """With coefficients that do not decay, the sums have an error of sqrt(n) eps, as without cells."""
    for dtype, (n, r) in itertools.product([np.float32, np.float64], [((129,), (17,)), ((129, 5), (16, 4)), ((7, 129, 60), (3, 24, 9))]):
        print(n, dtype)
        core, factors = random_tensor(rng, n, r, dtype, decay=1.0)
        X = points(rng, len(n), dtype)
        at = compared(rng, X)
        expected = oracle.tucker_derivatives(core, factors, X[at], hessian=True)
        tolerance = 6 * max(n) ** 0.5 * np.finfo(dtype).eps
        result = qf.cheb.tucker_derivatives(core, factors, X, hessian=True)
        for got, e in zip((qf.cheb.tucker_eval(core, factors, X), *result), (expected[0], *expected)):
            assert np.isfinite(got).all()
            np.testing.assert_allclose(got[at], e.astype(float), rtol=0, atol=tolerance * float(np.abs(e).max()))


def test_what_is_kept_and_threads_change_no_bit(rng):
    core, factors = random_tensor(rng, (129, 70), (16, 20))
    X = points(rng, 2)
    ct = qf.cheb.ChebTucker(core, factors)
    few = ct.eval(X[:FEW])  # stores the packed tensor without cells
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
    core, factors = random_tensor(rng, (129, 70), (16, 20))
    X = points(rng, 2)
    expected = qf.cheb.tucker_eval(core, factors, X)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            ct = qf.cheb.ChebTucker(core, factors)
            for got in pool.map(lambda _, ct=ct: ct.eval(X), range(4)):
                np.testing.assert_array_equal(got, expected)


def test_points_beyond_the_domain(rng):
    core, factors = random_tensor(rng, (129, 5), (16, 4), decay=0.8)
    X = points(rng, 2)
    X[MANY - 7] = 1.0001, -0.5
    with pytest.raises(ValueError, match=rf"X\[{MANY - 7}, 0\] is 1.0001"):
        qf.cheb.tucker_eval(core, factors, X)
    got = qf.cheb.tucker_derivatives(core, factors, X, gradient=False, extrapolate=True)
    at = np.append(compared(rng, X), MANY - 7)
    expected = oracle.tucker_eval(core, factors, X[at]).astype(float)
    np.testing.assert_allclose(got[at], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
