"""The state of a ``GridGP``: fits are complete or discarded, arguments are copied, and units do not matter."""

import copy
import functools
import math
import warnings

import numpy as np
import pytest

import quatrefoil as qf
from kron.attacks import INNER, attack_gridgp, stopped
from kron.dense import Problem

partial = functools.partial


def everything(gp, X):
    kernels = [np.asarray(k.keywords["scale"]) for k in gp.kernels_]
    mean, std = gp.predict(X, return_std=True)
    value, gradient = gp.log_marginal_likelihood(eval_gradient=True)
    return [mean, std, gp.sample(X, 2, rng=0), value, gradient, gp.theta_, gp.noise_, gp.variance_, gp.n_features_in_, *kernels]


def same(got, expected):
    return all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", INNER)
def test_an_interrupted_fit_leaves_the_old_one(rng, name):
    p, q = Problem(rng, (4, 3)), Problem(rng, (3, 5))
    options = {"optimizer": lambda objective, theta, bounds: (theta - 1e-3 * objective(theta)[1], 0.0), "mean": "linear"}
    gp, fresh, X, finished = p.fitted(**options), p.model(**options), rng.uniform(0, 1, (3, 2)), 0
    old = everything(gp, X)
    for count in range(20):
        for model in (gp, fresh):
            with stopped(name, count, KeyboardInterrupt):
                model.fit(q.axes, q.Y, q.mask)
                finished += 1
        if finished:
            break
        assert same(everything(gp, X), old)
        assert not [attribute for attribute in vars(fresh) if attribute.endswith("_")]
    assert count > 0
    assert finished == 2


def test_parameters_for_the_next_fit_change_no_prediction(rng):
    p = Problem(rng)
    gp, X = p.fitted(), rng.uniform(0, 1, (3, 2))
    old = everything(gp, X)
    gp.set_params(kernels=p.kernels[:1], noise=7.0, tol=1e-2, logdet="lanczos", probes=2, backend="numba", num_threads=1, variance=3.0)
    assert same(everything(gp, X), old)


def test_results_are_copies(rng):
    p, X = Problem(rng), rng.uniform(0, 1, (3, 2))
    gp = p.fitted(noise=rng.uniform(0.1, 0.3, 42))
    old = copy.deepcopy(everything(gp, X)[:5])
    for array in (gp.theta_, gp.noise_, np.asarray(gp.kernels_[0].keywords["scale"])):
        array[...] = 2
    assert same(everything(gp, X)[:5], old)


@pytest.mark.parametrize(("length", "height"), [(2.0**-40, 1.0), (2.0**40, 2.0**-40), (1.0, 2.0**40)])
def test_units_of_a_search(rng, length, height):
    """Searches and their restarts take the same steps in all units."""
    x, t = np.sort(rng.uniform(0, 1, 12)), np.sort(rng.uniform(0, 1, 5))
    Y = np.sin(9 * x)[:, None] + 0.1 * rng.standard_normal((12, 5))

    def fitted(unit, height, **changes):
        options = {"n_restarts_optimizer": 1, "rng": 0, **changes}
        waves = partial(qf.kron.gsmp_kernel, weights=np.ones(1), means=np.ones(1) / unit, std=np.array(0.3 / unit))
        spectral = {"log_weights": np.zeros(1), "log_scales": np.full(1, -np.log(unit)), "freqs": np.ones(1) / unit}
        gp = qf.kron.GridGP([waves, partial(qf.kron.spectral_mixture, **spectral)], noise=0.1 * height**2, variance=height**2, **options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*(did not converge|search ended with)", RuntimeWarning)
            return gp.fit([x * unit, t * unit], height * Y)

    one, other, X = fitted(1.0, 1.0), fitted(length, height), rng.uniform(0, 1, (4, 2))
    # a search stops at a relative change of 2e-9 in the likelihood, so parameters agree to its square root
    np.testing.assert_allclose(other.predict(X * length) / height, one.predict(X), rtol=0, atol=5e-5)
    shift = 60 * np.log(height)
    value = other.log_marginal_likelihood_value_ + shift
    if length == 1:
        unit = fitted(length, height, optimizer=None).theta_ - fitted(1.0, 1.0, optimizer=None).theta_
        np.testing.assert_allclose(value, one.log_marginal_likelihood(other.theta_ - unit), rtol=1e-10)
    # the last steps gain less than 1e-7 each, but there may be many, and their number depends on the processor
    np.testing.assert_allclose(value, one.log_marginal_likelihood_value_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(other.kernels_[0].keywords["means"] * length, one.kernels_[0].keywords["means"], rtol=1e-4)


def test_a_search_recovers_without_a_likelihood(rng):
    """At some parameters, the covariance is singular or not finite."""
    x = np.linspace(0, 1, 9)
    spectral = {"log_weights": np.zeros(1), "log_scales": np.zeros(1), "freqs": np.ones(1)}
    kernels = [partial(qf.kron.spectral_mixture, **spectral), partial(qf.kron.rbf, scale=20.0)]
    for height in (1.0, 1e20):
        values = []

        def far(objective, theta, bounds, values=values):
            for log_weight, log_noise in ((0.0, theta[-1]), (800.0, theta[-1]), (0.0, -200.0)):
                value, gradient = objective(np.array([theta[0], log_weight, *theta[2:-1], log_noise]))
                values.append(value)
            assert (gradient == 0).all()
            return theta, values[0]

        gp = qf.kron.GridGP(kernels, noise=0.1, variance=1.0, optimizer=far).fit([x, x], height * rng.standard_normal((9, 9)))
        assert values[1:] == [values[0] + 81] * 2
        assert np.isfinite(gp.predict([x, x])).all()
        with pytest.raises(np.linalg.LinAlgError, match=r"GridGP: kernels\[0\] returned NaN or infinity"):
            gp.log_marginal_likelihood(np.array([0.0, 800, 0, 1, 0, 0]))


def test_a_search_recovers_without_a_gradient(backend):
    attack_gridgp(np.random.default_rng([41, 728]), backend)  # weights reach 1e300 in a search from a random start


def test_grids_of_one_and_no_cells(rng):
    kernel = partial(qf.kron.rbf, scale=0.5)
    one = qf.kron.GridGP([kernel], noise=np.full(1, 0.3)).fit([np.zeros(1)], np.ones(1))
    np.testing.assert_array_equal(one.noise_, [0.3])
    assert len(one.theta_) == 2
    none = qf.kron.GridGP([kernel] * 2, noise=np.zeros(0), optimizer=None).fit([np.zeros(0), np.zeros(3)], np.zeros((0, 3)))
    mean, std = none.predict([np.zeros(2), np.zeros(2)], return_std=True)
    assert (mean == 0).all()
    assert (std == 1).all()
    assert none.sample([np.zeros(2), np.zeros(2)], 64, rng=0).shape == (64, 2, 2)
    assert none.sample([np.zeros(0), np.zeros(3)], 64, rng=0).shape == (64, 0, 3)


def test_no_slope_along_an_axis_of_one_value(rng):
    """Not even rounding causes a slope, which distances of 1e10 would reveal."""
    x, pairs = np.linspace(-1, 1, 7), rng.random((4, 2))
    Y = np.where(rng.random((1, 7, 4)) < 0.4, rng.standard_normal((1, 7, 4)), np.nan)
    gp = qf.kron.GridGP([partial(qf.kron.rbf, scale=1.0)] * 3, noise=8.0, variance=0.01, mean="linear", optimizer=None)
    gp.fit([np.zeros(1), x, pairs], Y)
    stds = [gp.predict([np.full(1, far), x, pairs], return_std=True)[1] for far in (1e3, 1e10)]
    np.testing.assert_allclose(*stds, rtol=1e-12)


SCALED = {"mean": "constant", "noise": None, "variance": None}


@pytest.mark.parametrize("value", [0.1, -1e150, 1e-150, 0.0])
def test_values_that_are_all_the_same(rng, value):
    p = Problem(rng)
    p.Y[...] = value
    gp = p.fitted(**SCALED)
    mean, std = gp.predict(p.axes, return_std=True)
    assert (mean == value).all()
    assert (std <= (abs(value) or 1.0)).all()
    assert gp.score(p.axes, p.Y) == 1.0
    assert gp.score(p.axes, np.full((7, 6), 0.7)) == 0.0
    p.Y[::2] = np.nextafter(value, 1)  # up to rounding
    if abs(value) > 1e-300:
        np.testing.assert_allclose(p.fitted(**SCALED).predict(p.axes), value, rtol=1e-14)


@pytest.mark.parametrize("height", [1e-150, 1e150])
def test_scaled_values_and_scores_have_no_unit(rng, height):
    p, X = Problem(rng), rng.uniform(0, 1, (3, 2))
    gp, Y = p.fitted(**SCALED), p.Y.copy()
    score, left = gp.score(p.axes, Y), Y - gp.predict(p.axes)
    assert math.isclose(score, 1 - (left**2).sum() / ((Y - Y.mean()) ** 2).sum(), rel_tol=1e-12)
    left, y = left[p.mask], Y[p.mask]
    of_cells = gp.score(p.axes, np.where(p.mask, Y, np.nan), p.mask)
    assert math.isclose(of_cells, 1 - left @ left / ((y - y.mean()) ** 2).sum(), rel_tol=1e-12)
    p.Y *= height
    other = p.fitted(**SCALED)
    assert math.isclose(other.score(p.axes, Y * height), score, rel_tol=1e-9)
    for a, b in zip(other.predict(X, return_std=True), gp.predict(X, return_std=True)):
        np.testing.assert_allclose(a / height, b, rtol=1e-9)
    one = np.arange(42).reshape(7, 6) == 15
    for mask in (one, one & False):
        with pytest.warns(RuntimeWarning, match=f"GridGP.score: the score of {mask.sum()} values is NaN"):
            assert math.isnan(gp.score(p.axes, Y, mask))
