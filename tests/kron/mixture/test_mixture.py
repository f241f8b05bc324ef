"""What is particular to covariance functions: closed forms, spectra, uniform axes, phases of many turns, bad input."""

import functools
import itertools

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

import quatrefoil as qf
from case import made
from kron.mixture import oracle
from kron.mixture.cases import mixture, one_step, uniform
from quatrefoil.kron.mixture import spectral_mixture_lags, spectral_mixture_lags_vjp

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
KINDS = ("student_t", "gaussian")
ALL = [(kind, order) for kind in KINDS for order in (0, 1, 2)]
NAMES = ("log_weights", "log_scales", "freqs")


def by_mpmath(d, parameters, kind, order):
    """The definition and mpmath's numerical derivative of it, with 60 digits."""
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for w, r, f in zip(*[map(mpmath.mpf, map(float, parameters[name])) for name in NAMES]):

            def k(t, w=w, r=r, f=f):
                s = mpmath.sqrt(5) * mpmath.exp(r) * abs(t)
                g = (1 + s + s**2 / 3) * mpmath.exp(-s) if kind == "student_t" else mpmath.exp(-mpmath.exp(r) * t**2)
                return mpmath.exp(w) * g * mpmath.cos(2 * mpmath.pi * f * t)

            total += mpmath.diff(k, mpmath.mpf(float(d)), order, h=mpmath.mpf(10) ** -15)
        return float(total)


def scale_of(parameters, order):
    """What a sum's errors are relative to: sum w (a + m)^order, the derivative's terms at 0 and more."""
    rate = (
        np.sqrt(5) * np.exp(parameters["log_scales"]) + 2 * np.exp(parameters["log_scales"] / 2) + 2 * np.pi * np.abs(parameters["freqs"])
    )
    return float((np.exp(parameters["log_weights"]) * rate**order).sum())


@pytest.mark.parametrize(("kind", "order"), ALL)
def test_lags_against_mpmath(backend, rng, kind, order):
    """Phases of hundreds of radians, to 1e-13 of what is summed."""
    parameters = mixture(rng, 6) | {"freqs": np.sort(rng.uniform(0, 100, 6))}
    d = np.concatenate([rng.uniform(0.1, 1, 20) * rng.choice([-1, 1], 20), rng.uniform(1, 6, 5)])
    got = spectral_mixture_lags(d, **parameters, kind=kind, order=order)
    expected = np.array([by_mpmath(x, parameters, kind, order) for x in d])
    assert np.abs(got - expected).max() <= 1e-13 * scale_of(parameters, order)
    alone = oracle.spectral_mixture_lags(d, **parameters, kind=kind, order=order)  # so that the oracle has been checked too
    assert np.abs(alone - expected).max() <= 1e-15 * scale_of(parameters, order)


def test_a_float32_phase_has_all_its_turns(backend, rng):
    """What float32 numbers say is computed in float64: only the result is rounded."""
    parameters = {name: a.astype(np.float32) for name, a in (mixture(rng, 5) | {"freqs": rng.uniform(50, 100, 5)}).items()}
    x, y = rng.uniform(0, 6, (2, 40)).astype(np.float32)
    K = qf.kron.spectral_mixture(x, y, **parameters)
    exact = {name: a.astype(float) for name, a in parameters.items()}
    expected = oracle.spectral_mixture(x.astype(float), y.astype(float), **exact)
    assert np.abs(K - expected).max() <= EPS["float32"] * np.abs(expected).max()


def test_closed_forms_where_points_coincide(backend, rng):
    parameters = mixture(rng, 4)
    w, m2 = np.exp(parameters["log_weights"]), (2 * np.pi * parameters["freqs"]) ** 2
    r = np.exp(parameters["log_scales"])
    zero = np.zeros(1)
    for kind, curvature in (("student_t", 5 * r**2 / 3), ("gaussian", 2 * r)):
        at = [spectral_mixture_lags(zero, **parameters, kind=kind, order=order)[0] for order in (0, 1, 2)]
        np.testing.assert_allclose(at, [w.sum(), 0, -(w * (curvature + m2)).sum()], rtol=1e-14)
        dd, *_ = spectral_mixture_lags_vjp(zero, *parameters.values(), np.ones(1), kind=kind, order=2)
        assert dd[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_spectrum(backend, rng, kind):
    """A component is the transform of its density at +f and -f, by quadrature."""
    log_scale, f, d = rng.uniform(-0.5, 0.5), rng.uniform(0.2, 1), rng.uniform(0, 1.5, 5)
    if kind == "student_t":
        density = scipy.stats.t(5, loc=f, scale=np.exp(log_scale) / (2 * np.pi))
    else:
        density = scipy.stats.norm(f, np.sqrt(np.exp(log_scale) / (2 * np.pi**2)))
    got = spectral_mixture_lags(d, np.zeros(1), np.array([log_scale]), np.array([f]), kind=kind)
    for t, k in zip(d, got):
        ends = density.mean() - 300 * density.std(), density.mean() + 300 * density.std()
        expected = scipy.integrate.quad(
            lambda v, t=t: density.pdf(v) * np.cos(2 * np.pi * v * t), *ends, limit=2000, points=[f], epsabs=1e-9
        )
        assert abs(k - expected[0]) <= 1e-7


def test_matern_is_a_bessel_function(backend, rng):
    x, y = rng.standard_normal((2, 30, 3))
    s = np.sqrt(5 * ((x[:, None] - y) ** 2).sum(-1)) / 0.7
    expected = 2 ** (1 - 2.5) / scipy.special.gamma(2.5) * s**2.5 * scipy.special.kv(2.5, s)
    np.testing.assert_allclose(qf.kron.matern52(x, y, scale=0.7), expected, rtol=1e-12)


def test_products_over_columns(backend, rng):
    """exp of a sum is a product: rbf of every column alone; gsmp is gaussian mixtures with p = 2 pi^2 std^2."""
    x, y, scale = rng.standard_normal((13, 3)), rng.standard_normal((9, 3)), rng.uniform(0.5, 2, 3)
    each = [qf.kron.rbf(np.ascontiguousarray(x[:, p]), y[:, p], scale=scale[p]) for p in range(3)]
    np.testing.assert_allclose(qf.kron.rbf(x, y, scale=scale), np.prod(each, axis=0), rtol=1e-13)
    means, std, weight = rng.uniform(0, 0.5, (1, 3)), rng.uniform(0.05, 0.3, (1, 3)), rng.uniform(0.5, 1, 1)
    waves = [
        qf.kron.spectral_mixture(
            x[:, p].copy(), y[:, p].copy(), log_weights=np.zeros(1), freqs=means[:, p].copy(),
            log_scales=np.log(2 * np.pi**2 * std[:, p] ** 2), kind="gaussian",
        )
        for p in range(3)
    ]  # fmt: skip
    K = qf.kron.gsmp_kernel(x, y, weights=weight, means=means, std=std)
    assert np.abs(K - weight * np.prod(waves, axis=0)).max() <= 64 * EPS["float64"]


def test_one_number_for_all(backend, rng):
    x, y, weights = rng.standard_normal((7, 2)), rng.standard_normal((5, 2)), rng.random(4)
    means, grad = rng.random(4), rng.standard_normal((7, 5))
    for function in (qf.kron.rbf, qf.kron.matern52):
        np.testing.assert_array_equal(function(x, y, scale=0.3), function(x, y, scale=np.full(2, 0.3)))
        np.testing.assert_array_equal(function(x, y, scale=0.3), function(x, y, scale=np.array(0.3)))
        adjoint = getattr(qf.kron, f"{function.__name__}_vjp")
        one, many = adjoint(x, y, 0.3, grad)[2], adjoint(x, y, np.full(2, 0.3), grad)[2]
        np.testing.assert_allclose(one, many.sum(), rtol=1e-12)
        assert function(x.astype(np.float32), scale=2).dtype == np.float32
    wide = np.repeat(means[:, None], 2, axis=1)
    K, gradients = None, None
    for std in (0.1, np.full(4, 0.1), np.full((4, 2), 0.1)):
        for mu in (means, wide):
            k = qf.kron.gsmp_kernel(x, y, weights=weights, means=mu, std=std)
            g = qf.kron.gsmp_kernel_vjp(x, y, weights, mu, std, grad)
            g = [g[0], g[1] if g[1].ndim == 1 else g[1].sum(1), g[2].sum()]
            K, gradients = (k, g) if K is None else (K, gradients)
            np.testing.assert_allclose(k, K, atol=1e-14 * weights.sum())
            for a, b in zip(g, gradients):
                np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(grad).sum())


# ---- uniform axes


def is_toeplitz(K):
    """Whether every diagonal is one number, to the last bit."""
    return all(len(set(np.diag(K, k).tolist())) == 1 for k in range(1 - len(K), len(K)))


def uneven(y):
    """The same points and another, which no axis of one step has: what is made of them is made pair by pair."""
    return np.append(y, y[:1] + y.dtype.type(0.37 * (1 + np.ptp(y))))


AXES = {
    "up": lambda n: np.linspace(0, 2 * np.pi, n),
    "down": lambda n: np.linspace(3, -1.1, n),
    "far": lambda n: 100 + 0.1 * np.arange(n),
    "one place": lambda n: np.full(n, 0.7),
}


def functions(rng, dtype):
    """Every kernel as a function of points alone, how fast it may change with them, and whether its derivative is the odd one."""
    parameters = {name: a.astype(dtype) for name, a in (mixture(rng, 5) | {"freqs": rng.uniform(0, 20, 5)}).items()}
    for kind, order in ALL:
        yield functools.partial(qf.kron.spectral_mixture, **parameters, kind=kind, order=order), scale_of(parameters, order + 1)
    for function in (qf.kron.rbf, qf.kron.matern52):
        yield functools.partial(function, scale=0.3), 2 / 0.3
    yield functools.partial(qf.kron.gsmp_kernel, weights=np.ones(3, dtype), means=rng.uniform(0, 5, 3).astype(dtype), std=0.1), 100.0


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("n", [1, 2, 3, 64, 101])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_uniform_axis_is_toeplitz_and_the_same(backend, rng, axis, n, dtype):
    """The pairs may differ by what 4 eps of the largest |x| in either point and in the lag change, and one rounding of the result."""
    x = AXES[axis](n).astype(dtype)
    for function, steepest in functions(rng, dtype):
        K, pairs = function(x), function(x, uneven(x))[:, :-1]
        assert is_toeplitz(K)
        moved = 12 * np.finfo(dtype).eps * np.abs(x).max()
        assert np.abs(K - pairs).max() <= steepest * moved + 4 * np.finfo(dtype).eps * np.abs(pairs).max()


@pytest.mark.parametrize("n", [3, 64, 257])
def test_gradients_on_a_uniform_axis(backend, rng, n):
    """The same as those of the pairs, dx as the sum of both points'; the axis is exact."""
    x, grad = uniform(rng, n), rng.standard_normal((n, n))
    parameters = [*mixture(rng, 4).values()]
    y, wide = uneven(x), np.pad(grad, ((0, 0), (0, 1)))
    for kind, order in ALL:
        dx, *rest = qf.kron.spectral_mixture_vjp(x, None, *parameters, grad, kind=kind, order=order)
        left, right, *others = qf.kron.spectral_mixture_vjp(x, y, *parameters, wide, kind=kind, order=order)
        scale = np.abs(grad).sum() * scale_of(dict(zip(NAMES, parameters)), order + 1)
        for got, expected in zip([dx, *rest], [left + right[:-1], *others]):
            assert np.abs(got - expected).max() <= 1e-14 * scale
    for name in ("rbf", "matern52"):
        adjoint = getattr(qf.kron, f"{name}_vjp")
        (dx, ds), (left, right, expected) = adjoint(x, None, 0.7, grad), adjoint(x, y, 0.7, wide)
        assert np.abs(dx - left - right[:-1]).max() <= 1e-14 * np.abs(grad).sum()
        assert abs(ds - expected) <= 1e-14 * np.abs(grad).sum()


ONE_STEP = {
    "behind": lambda n, m: (0.1 * np.arange(n), 0.1 * np.arange(n, n + m)),
    "between": lambda n, m: (0.1 * np.arange(n), 0.05 + 0.1 * np.arange(m)),
    "down": lambda n, m: (1 - 0.02 * np.arange(n), 7 - 0.02 * np.arange(m)),
    "the same": lambda n, m: (np.linspace(0, 2, n), np.linspace(0, 2, n)),
    "one place": lambda n, m: (np.full(n, 0.7), np.full(m, -0.2)),
}


@pytest.mark.parametrize("axes", ONE_STEP)
@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 7), (64, 3), (67, 101)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_axes_of_one_step_are_toeplitz_and_the_same(backend, rng, axes, n, m, dtype):
    x, y = (a.astype(dtype) for a in ONE_STEP[axes](n, m))
    for function, steepest in functions(rng, dtype):
        K, pairs = function(x, y), function(x, uneven(y))[:, :-1]
        assert all(len(set(np.diag(K, k).tolist())) == 1 for k in range(1 - len(x), len(y)))
        moved = 12 * np.finfo(dtype).eps * (np.abs(x).max() + np.abs(y).max())
        assert np.abs(K - pairs).max() <= steepest * moved + 4 * np.finfo(dtype).eps * np.abs(pairs).max()
        for a, b in zip((x[::-1], x, x[:, None]), (y[::-1], y, y[:, None])):
            if a.ndim == 1 or "spectral" not in function.func.__name__:
                np.testing.assert_array_equal(function(a, b), function(np.ascontiguousarray(a), np.ascontiguousarray(b)))


@pytest.mark.parametrize(("n", "m"), [(2, 5), (64, 31), (3, 257)])
def test_gradients_on_axes_of_one_step(backend, rng, n, m):
    """The same as those of the pairs; the axes are exact."""
    x, y = one_step(rng, n, m)
    grad, extended = rng.standard_normal((n, m)), uneven(y)
    parameters, wide = [*mixture(rng, 4).values()], np.pad(grad, ((0, 0), (0, 1)))
    for kind, order in ALL:
        got = qf.kron.spectral_mixture_vjp(x, y, *parameters, grad, kind=kind, order=order)
        dx, dy, *others = qf.kron.spectral_mixture_vjp(x, extended, *parameters, wide, kind=kind, order=order)
        scale = np.abs(grad).sum() * scale_of(dict(zip(NAMES, parameters)), order + 1) * (1 + np.abs(x[0] - y[0]))
        for a, b in zip(got, (dx, dy[:-1], *others), strict=True):
            assert np.abs(a - b).max() <= 1e-14 * scale
    for name in ("rbf", "matern52"):
        adjoint = getattr(qf.kron, f"{name}_vjp")
        dx, dy, ds = adjoint(x, extended, 0.7, wide)
        for a, b in zip(adjoint(x, y, 0.7, grad), (dx, dy[:-1], ds), strict=True):
            assert np.abs(a - b).max() <= 1e-14 * np.abs(grad).sum()


def test_axes_of_nearly_one_step_are_pairs(backend, rng):
    """Another step, in the last digits too; one point; one axis that is not uniform."""
    x, parameters = np.linspace(0, 2 * np.pi, 101), mixture(rng, 5) | {"freqs": rng.uniform(50, 100, 5)}
    wanted = 1e-12 * np.exp(parameters["log_weights"]).sum()  # one rounding of a difference, in turns of up to 100 a unit
    for y in (x * (1 + 1e-12), x[:50] + 1e-9 * (np.arange(50) == 7), x[::2], x[::-1], x[4:5]):
        K = qf.kron.spectral_mixture(x, y, **parameters)
        assert np.abs(K - oracle.spectral_mixture(x, y, **parameters)).max() <= wanted
    K = qf.kron.rbf(x, x[::-1].copy(), scale=1.0)
    np.testing.assert_array_equal(K[:, ::-1], qf.kron.rbf(x, uneven(x), scale=1.0)[:, :-1])


@pytest.mark.parametrize("at", [0, 1, 50, 100])
def test_a_nearly_uniform_axis_is_not_taken_for_one(backend, rng, at):
    x = np.linspace(0, 2 * np.pi, 101)
    x[at] += 1e-9
    parameters = mixture(rng, 5) | {"freqs": rng.uniform(50, 100, 5)}
    K = qf.kron.spectral_mixture(x, **parameters)
    assert not is_toeplitz(K)
    expected = oracle.spectral_mixture(x, **parameters)
    # one rounding of a difference of up to 2 pi, in turns of up to 100 a unit: 3e-13
    assert np.abs(K - expected).max() <= 1e-12 * np.exp(parameters["log_weights"]).sum()
    toeplitz = qf.kron.spectral_mixture(np.linspace(0, 2 * np.pi, 101), **parameters)
    assert np.abs(toeplitz - expected).max() > 1e-9


def test_others_are_never_taken_for_uniform(backend, rng):
    x = np.cumsum(rng.uniform(0.5, 1, 40))
    for points in (x, np.append(np.arange(39.0), 39.5), np.arange(40.0)[rng.permutation(40)]):
        assert not is_toeplitz(qf.kron.rbf(points, scale=10.0))
    assert is_toeplitz(qf.kron.rbf(np.arange(40.0)[:, None], scale=10.0))  # a single column is an axis


@pytest.mark.parametrize("n", [1, 2, 7, 64, 65, 139, 200])
@pytest.mark.parametrize("uniform_axis", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_symmetry(backend, rng, n, uniform_axis, dtype):
    """To the last bit, and above the diagonal what the pairs give."""
    x = (np.linspace(0, 3, n) if uniform_axis else rng.uniform(0, 3, n)).astype(dtype)
    for function, _ in functions(rng, dtype):
        K = function(x)
        np.testing.assert_array_equal(K.T, -K if function.keywords.get("order") == 1 else K)
        if not uniform_axis:
            above = np.triu_indices(n)
            np.testing.assert_array_equal(K[above], function(x, uneven(x))[:, :-1][above])


# ---- extremes, bits


@pytest.mark.parametrize("far", [1e3, 1e10, 1e100, 1e200])
def test_what_is_far_away_is_0(backend, far):
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


def calls(rng, x, dtype=np.float64):
    """Every function and its adjoint on these points, as a function of the rest of a call."""
    n, y = len(x), rng.standard_normal(53).astype(dtype)
    parameters = [a.astype(dtype) for a in mixture(rng, 6).values()]
    own, other = rng.standard_normal((n, n)).astype(dtype), rng.standard_normal((n, 53)).astype(dtype)
    for z, grad in ((None, own), (y, other)):
        yield functools.partial(qf.kron.spectral_mixture, x, z, **dict(zip(NAMES, parameters)), order=1)
        yield functools.partial(qf.kron.spectral_mixture_vjp, x, z, *parameters, grad, order=1)
        yield functools.partial(qf.kron.rbf, x, z, scale=0.5)
        yield functools.partial(qf.kron.matern52_vjp, x, z, 0.5, grad)
        yield functools.partial(qf.kron.gsmp_kernel, x, z, weights=parameters[2], means=parameters[2], std=0.1)
        yield functools.partial(qf.kron.gsmp_kernel_vjp, x, z, parameters[2], parameters[2], 0.1, grad)
    yield functools.partial(spectral_mixture_lags, x, *parameters)
    yield functools.partial(spectral_mixture_lags_vjp, x, *parameters, own[0])


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_a_bit(rng, threads, dtype):
    for x in (rng.standard_normal(401), np.linspace(0, 1, 401)):
        for call in calls(rng, x.astype(dtype), dtype):
            for a, b in zip(made(call(num_threads=1)), made(call(num_threads=threads)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_one_long_row_is_cut(rng):
    x, y = rng.standard_normal(1), rng.standard_normal(10_007)
    K = qf.kron.matern52(x, y, scale=0.5)
    assert np.abs(K - oracle.matern52(x, y, scale=0.5)).max() <= 8 * EPS["float64"]
    np.testing.assert_array_equal(qf.kron.matern52(x, y, scale=0.5, num_threads=5), K)


def test_a_pair_does_not_depend_on_others(backend, rng):
    x, y = rng.standard_normal((31, 2)), rng.standard_normal((45, 2))
    for function in (
        functools.partial(qf.kron.rbf, scale=0.5),
        functools.partial(qf.kron.gsmp_kernel, weights=np.ones(3), means=rng.random((3, 2)), std=0.1),
    ):
        whole = function(x, y)
        for rows, columns in itertools.product((slice(0, 1), slice(3, 20)), repeat=2):
            np.testing.assert_array_equal(function(x[rows], y[columns]), whole[rows, columns])


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
