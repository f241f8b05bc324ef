"""Covariance functions: closed forms, uniform axes, phases of many periods."""

import functools

import numpy as np
import pytest

import quatrefoil as qf
from kron.mixture import oracle
from kron.mixture.cases import mixture
from quatrefoil.kron.mixture import spectral_mixture_lags, spectral_mixture_lags_vjp

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
KINDS = ("student_t", "gaussian")
ALL = [(kind, order) for kind in KINDS for order in (0, 1, 2)]
NAMES = ("log_weights", "log_scales", "freqs")


def scale_of(parameters, order):
    """The scale of a sum's errors: sum w (a + m)^order, an upper bound on the derivative's terms at 0."""
    scales = np.exp(parameters["log_scales"])
    rate = np.sqrt(5) * scales + 2 * np.sqrt(scales) + 2 * np.pi * np.abs(parameters["freqs"])
    return float((np.exp(parameters["log_weights"]) * rate**order).sum())


@pytest.mark.parametrize(("kind", "order"), ALL)
def test_lags_of_many_turns(backend, rng, kind, order):
    parameters = mixture(rng, 6) | {"freqs": np.sort(rng.uniform(0, 100, 6))}
    d = np.concatenate([rng.uniform(0.1, 1, 20) * rng.choice([-1, 1], 20), rng.uniform(1, 6, 5)])
    got = spectral_mixture_lags(d, **parameters, kind=kind, order=order)
    expected = oracle.spectral_mixture_lags(d, **parameters, kind=kind, order=order)
    assert np.abs(got - expected).max() <= 1e-13 * scale_of(parameters, order)


def test_a_float32_phase_has_all_its_turns(backend, rng):
    """Float32 arguments are converted to float64: only the result is rounded."""
    parameters = {name: a.astype(np.float32) for name, a in (mixture(rng, 5) | {"freqs": rng.uniform(50, 100, 5)}).items()}
    x, y = rng.uniform(0, 6, (2, 40)).astype(np.float32)
    K = qf.kron.spectral_mixture(x, y, **parameters)
    exact = {name: a.astype(float) for name, a in parameters.items()}
    expected = oracle.spectral_mixture(x.astype(float), y.astype(float), **exact)
    assert np.abs(K - expected).max() <= EPS["float32"] * np.abs(expected).max()


def test_slopes_vanish_at_coincident_points(backend, rng):
    """Slopes at lag 0 are exactly 0. tests/test_ops.py compares values there."""
    for kind in KINDS:
        dd, *_ = spectral_mixture_lags_vjp(np.zeros(1), *mixture(rng, 4).values(), np.ones(1), kind=kind, order=2)
        assert dd[0] == 0


def test_one_number_for_all(backend, rng):
    x, y, weights = rng.standard_normal((7, 2)), rng.standard_normal((5, 2)), rng.random(4)
    means = rng.random(4)
    for function in (qf.kron.rbf, qf.kron.matern52):
        for scale in (np.full(2, 0.3), np.array(0.3)):
            np.testing.assert_array_equal(function(x, y, scale=0.3), function(x, y, scale=scale))
        assert function(x.astype(np.float32), scale=2).dtype == np.float32
    assert is_toeplitz(qf.kron.rbf(np.arange(40.0)[:, None], scale=10.0))  # a single column is an axis
    K = qf.kron.gsmp_kernel(x, y, weights=weights, means=means, std=0.1)
    for std, mu in ((np.array(0.1), means), (np.full(4, 0.1), means), (np.full((4, 2), 0.1), np.repeat(means[:, None], 2, axis=1))):
        np.testing.assert_allclose(qf.kron.gsmp_kernel(x, y, weights=weights, means=mu, std=std), K, atol=1e-14 * weights.sum())


def is_toeplitz(K):
    return all(len(set(np.diag(K, k).tolist())) == 1 for k in range(1 - len(K), K.shape[1]))


def uneven(y):
    """Append a point that makes the axis non-uniform, so that the kernel is computed pair by pair."""
    return np.append(y, y[:1] + y.dtype.type(0.37 * (1 + np.ptp(y))))


AXES = {
    "up": lambda n, m: (np.linspace(0, 2 * np.pi, n),),
    "down": lambda n, m: (np.linspace(3, -1.1, n),),
    "far": lambda n, m: (100 + 0.1 * np.arange(n),),
    "one place": lambda n, m: (np.full(n, 0.7),),
    "after": lambda n, m: (0.1 * np.arange(n), 0.1 * np.arange(n, n + m)),
    "between": lambda n, m: (0.1 * np.arange(n), 0.05 + 0.1 * np.arange(m)),
    "both down": lambda n, m: (1 - 0.02 * np.arange(n), 7 - 0.02 * np.arange(m)),
    "the same": lambda n, m: (np.linspace(0, 2, n), np.linspace(0, 2, n)),
    "two places": lambda n, m: (np.full(n, 0.7), np.full(m, -0.2)),
}


def functions(rng, dtype):
    """Kernels as functions of points only, each with a bound on its slope."""
    parameters = {name: a.astype(dtype) for name, a in (mixture(rng, 5) | {"freqs": rng.uniform(0, 20, 5)}).items()}
    for kind, order in ALL:
        yield functools.partial(qf.kron.spectral_mixture, **parameters, kind=kind, order=order), scale_of(parameters, order + 1)
    for function in (qf.kron.rbf, qf.kron.matern52):
        yield functools.partial(function, scale=0.3), 2 / 0.3
    yield functools.partial(qf.kron.gsmp_kernel, weights=np.ones(3, dtype), means=rng.uniform(0, 5, 3).astype(dtype), std=0.1), 100.0


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 2), (2, 7), (3, 1), (64, 3), (67, 101)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_axes_of_one_step_are_toeplitz_and_the_same(backend, rng, axes, n, m, dtype):
    """Values differ from those of pairs by at most the effect of errors of 4 eps max|x| in points and lag, plus 4 eps of the largest."""
    points = [a.astype(dtype) for a in AXES[axes](n, m)]
    eps = np.finfo(dtype).eps
    for function, steepest in functions(rng, dtype):
        K, pairs = function(*points), function(points[0], uneven(points[-1]))[:, :-1]
        assert is_toeplitz(K)
        moved = 12 * eps * sum(np.abs(a).max() for a in points)
        assert np.abs(K - pairs).max() <= steepest * moved + 4 * eps * np.abs(pairs).max()


def test_axes_of_nearly_one_step_are_pairs(backend, rng):
    """Points off by 1e-9, a step that differs by 1e-12, is twice as long or negative, and a single point."""
    x, parameters = np.linspace(0, 2 * np.pi, 101), mixture(rng, 5) | {"freqs": rng.uniform(50, 100, 5)}
    inputs = [(x + 1e-9 * (np.arange(101) == at),) for at in (0, 1, 50, 100)]
    inputs += [(x, y) for y in (x * (1 + 1e-12), x[:50] + 1e-9 * (np.arange(50) == 7), x[::2], x[::-1], x[4:5])]
    for axes in inputs:
        K = qf.kron.spectral_mixture(*axes, **parameters)
        # one rounding of a difference of up to 2 pi, with up to 100 periods per unit: 3e-13
        assert np.abs(K - oracle.spectral_mixture(*axes, **parameters)).max() <= 1e-12 * np.exp(parameters["log_weights"]).sum()
    K = qf.kron.rbf(x, x[::-1].copy(), scale=1.0)
    np.testing.assert_array_equal(K[:, ::-1], qf.kron.rbf(x, uneven(x), scale=1.0)[:, :-1])


@pytest.mark.parametrize("n", [1, 2, 7, 64, 65, 139, 200])
@pytest.mark.parametrize("uniform_axis", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_symmetry(backend, rng, n, uniform_axis, dtype):
    x = (np.linspace(0, 3, n) if uniform_axis else rng.uniform(0, 3, n)).astype(dtype)
    for function, _ in functions(rng, dtype):
        K = function(x)
        np.testing.assert_array_equal(K.T, -K if function.keywords.get("order") == 1 else K)
        if not uniform_axis:
            above = np.triu_indices(n)
            np.testing.assert_array_equal(K[above], function(x, uneven(x))[:, :-1][above])


@pytest.mark.parametrize("far", [1e3, 1e10, 1e100, 1e200])
def test_distant_points_have_covariance_0(backend, far):
    parameters = dict(zip(NAMES, np.zeros((3, 2))))
    x, y = np.array([0.0]), np.array([far, -far])
    for kind, order in ALL:
        np.testing.assert_array_equal(qf.kron.spectral_mixture(x, y, **parameters, kind=kind, order=order), 0)
        for g in qf.kron.spectral_mixture_vjp(x, y, *parameters.values(), np.ones((1, 2)), kind=kind, order=order):
            np.testing.assert_array_equal(g, 0)
    for name in ("rbf", "matern52"):
        np.testing.assert_array_equal(getattr(qf.kron, name)(x, y, scale=1.0), 0)
        for g in getattr(qf.kron, f"{name}_vjp")(x, y, 1.0, np.ones((1, 2))):
            np.testing.assert_array_equal(g, 0)
    np.testing.assert_array_equal(qf.kron.gsmp_kernel(x, y, weights=np.ones(1), means=np.ones(1), std=1.0), 0)


@pytest.mark.parametrize("axis", ["pairs", "uniform"])
def test_nan_in_the_gradient_stays_with_its_points(backend, rng, axis):
    x = rng.standard_normal(30) if axis == "pairs" else np.linspace(0, 1, 30)
    grad, parameters = rng.standard_normal((30, 30)), [*mixture(rng, 3).values()]
    clean, *_ = qf.kron.spectral_mixture_vjp(x, None, *parameters, grad)
    grad[7, 11] = np.nan
    dx, *others = qf.kron.spectral_mixture_vjp(x, None, *parameters, grad)
    np.testing.assert_array_equal(np.isnan(dx).nonzero()[0], [7, 11])
    np.testing.assert_array_equal(np.delete(dx, [7, 11]), np.delete(clean, [7, 11]))
    assert all(np.isnan(g).all() for g in others)
