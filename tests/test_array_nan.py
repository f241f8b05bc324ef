"""Backend "array" looks at no number: what is an error on the host because of one is NaN, where that number comes in."""

import numpy as np
import pytest

import quatrefoil as qf
from wos.ops import stars


def _radial(rng):
    x = rng.standard_normal(5)
    x[2] = np.inf
    return lambda: qf.kron.rbf(x, scale=1.0), np.isinf(x)[:, None] | np.isinf(x)


def _scale(rng):
    return lambda: qf.kron.matern52(rng.standard_normal((4, 2)), scale=np.array([1.0, -1.0])), np.ones((4, 4), bool)


def _mixture(rng):
    x, q = rng.standard_normal(4), np.zeros(3)
    bad = np.array([0.0, np.nan, 0.0])
    return lambda: qf.kron.spectral_mixture(x, log_weights=q, log_scales=bad, freqs=q), np.ones((4, 4), bool)


def _product(rng):
    weights = np.array([1.0, -0.5])
    return lambda: qf.kron.gsmp_kernel(rng.standard_normal(3), weights=weights, means=weights, std=0.1), np.ones((3, 3), bool)


def _sum(rng):
    A, S = np.eye(3), np.diag([1.0, 2.0, 3.0])
    A[0, 1] = 0.5
    return lambda: qf.kron.sum_solve(A, A, S, S, rng.standard_normal((3, 3))), np.ones((3, 3), bool)


def _singular(rng):
    K = np.diag([-1.0, 1.0])
    return lambda: qf.kron.sum_solve(K, np.eye(2), np.eye(2), np.eye(2), rng.standard_normal((2, 2))), np.ones((2, 2), bool)


def _negative(rng):
    return lambda: qf.kron.sum_logdet(np.diag([-2.0, 1.0]), np.eye(1), np.eye(2), np.eye(1)), np.array(True)


def _tucker(rng):
    X = rng.uniform(-1, 1, (6, 2))
    X[1, 0], X[4, 1] = 1.5, np.nan
    return lambda: qf.cheb.tucker_eval(np.ones((2, 2)), [rng.standard_normal((1, 2))] * 2, X), (np.abs(np.nan_to_num(X, nan=9)) > 1).any(1)


def _coefficients(rng):
    X = rng.uniform(-1, 1, (6, 3))
    X[5, 2] = -1.01
    return lambda: qf.cheb.cheb_eval(rng.standard_normal((3, 1, 4)), X), np.arange(6) == 5


def _moments(rng):
    X = rng.uniform(-1, 1, (6, 2))
    X[0, 0] = 2
    return lambda: qf.cheb.cheb_moments(X, np.ones(6), n=(1, 2)), np.ones((1, 2), bool)


def _layer(rng):
    b = np.array([1.0, 0.5, 0.0])
    return lambda: qf.cheb.poly_layer(rng.standard_normal((2, 3)), rng.standard_normal((3, 3, 4)), np.zeros(3), b), np.ones((2, 4), bool)


def _short(rng):
    sog, targets = qf.cheb.coulomb_sog(1e-6, 0.1, 10.0, split=1.0), rng.uniform(0, 1, (3, 3))
    targets[1, 1] = np.nan
    return lambda: qf.cheb.short_range(rng.uniform(0, 1, (4, 3)), np.ones(4), targets, sog=sog), np.arange(3) == 1


def _stars(rng):
    ends, walls = np.array([[-0.5, -0.5, 0.5, -0.5]]), np.array([[0.5, -0.5, 0.0, 0.5, 0, 0], [0.0, 0.5, -0.5, -0.5, 0, 0]])
    tables = [ends, np.array([0, 1]), walls, np.array([0, 3]), np.zeros((0, 6)), np.array([0, 0])]
    start, frame = rng.uniform(-0.1, 0.1, (1, 2, 2)), np.array([[0.0, 0.0, 1.0, 0.01]])
    return lambda: stars(start, frame, *tables, np.ones((1, 1)), walks=4)[0], np.ones((1, 2, 1, 1), bool)


CALLS = [_stars, _radial, _scale, _mixture, _product, _sum, _singular, _negative, _tucker, _coefficients, _moments, _layer, _short]


@pytest.mark.parametrize("make", CALLS, ids=[c.__name__[1:] for c in CALLS])
def test_nan_where_the_host_raises(make, rng):
    call, bad = make(rng)
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        call()
    with qf.use_backend("array"):
        got = call()
    np.testing.assert_array_equal(np.isnan(got), bad)


@pytest.mark.emulator
@pytest.mark.parametrize("bad", [1.5, np.nan, -np.inf])
def test_emulated_points_outside_are_nan(bad, rng):
    """Of a kernel too: what that point has, and the gradients of core and factors."""
    X = rng.uniform(-1, 1, (150, 2))
    X[140, 1] = bad
    arrays = rng.standard_normal((2, 3)), [rng.standard_normal((4, 2)), rng.standard_normal((1, 3))], X
    with qf.use_backend("emulator"):
        f = qf.cheb.tucker_eval(*arrays)
        results = qf.cheb.tucker_derivatives(*arrays, hessian=True)
        dcore, dfactors, dX = qf.cheb.tucker_eval_vjp(*arrays, np.ones(150))
    for got in (f, *results, dX):
        nan = np.isnan(got).reshape(150, -1)
        np.testing.assert_array_equal(nan.all(axis=1), np.arange(150) == 140)
        np.testing.assert_array_equal(nan.any(axis=1), np.arange(150) == 140)
    assert all(np.isnan(a).all() for a in (dcore, *dfactors))
