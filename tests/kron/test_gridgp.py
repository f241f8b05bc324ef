"""``GridGP`` against dense Gaussian process regression, by a likelihood and predictions written out in dense.py."""

import functools
import math
import pickle
import warnings

import numpy as np
import pytest
from scipy import optimize
from scipy.optimize import approx_fprime

import quatrefoil as qf
from kron.dense import Problem, dense_kernel, rbf

partial = functools.partial


@pytest.mark.parametrize("share", [None, 0.7, 0.2])
def test_predictions_are_the_dense_ones(backend, rng, share):
    p = Problem(rng, share=share)
    gp = p.fitted(backend=backend)
    assert abs(gp.log_marginal_likelihood() - p.dense.log_likelihood()) <= 1e-9 * 42
    new = [rng.uniform(0, 1, 3), rng.uniform(0, 1, 4)]
    grid = [g.reshape(-1) for g in np.meshgrid(*new, indexing="ij")]
    mean, covariance = p.dense.predict(grid)
    got, std = gp.predict(new, return_std=True)
    assert got.shape == std.shape == (3, 4)
    np.testing.assert_allclose(got.reshape(-1), mean, rtol=0, atol=1e-8)
    np.testing.assert_allclose(std.reshape(-1) ** 2, covariance.diagonal(), rtol=0, atol=1e-8)
    scattered, deviation = gp.predict(np.stack(grid, axis=1), return_std=True)
    np.testing.assert_allclose(scattered, mean, rtol=0, atol=1e-8)
    np.testing.assert_allclose(deviation**2, covariance.diagonal(), rtol=0, atol=1e-8)
    np.testing.assert_array_equal(gp.predict(new), got)


def test_axes_of_points(backend, rng):
    p = Problem(rng, (5, 6), columns=2)
    gp = p.fitted(backend=backend)
    X = rng.uniform(0, 1, (4, 3))
    mean, covariance = p.dense.predict([X[:, 0], X[:, 1:]])
    got, std = gp.predict(X, return_std=True)
    np.testing.assert_allclose(got, mean, rtol=0, atol=1e-8)
    np.testing.assert_allclose(std**2, covariance.diagonal(), rtol=0, atol=1e-8)
    assert gp.predict([X[:, 0], X[:, 1:]]).shape == (4, 4)


def test_one_axis_and_three(backend, rng):
    for shape in ((9,), (3, 4, 3)):
        p = Problem(rng, shape)
        gp = p.fitted(backend=backend)
        X = rng.uniform(0, 1, (5, len(shape)))
        np.testing.assert_allclose(gp.predict(X), p.dense.predict(list(X.T))[0], rtol=0, atol=1e-8)
    line = Problem(rng, (9,)).fitted()
    assert line.predict(np.array([0.1, 0.2])).shape == (2,)


KERNELS = {
    "rbf": lambda rng: partial(qf.kron.rbf, scale=0.3),
    "matern52": lambda rng: partial(qf.kron.matern52, scale=np.array(0.4)),
    "spectral_mixture": lambda rng: partial(
        qf.kron.spectral_mixture, log_weights=rng.standard_normal(2), log_scales=rng.standard_normal(2), freqs=rng.uniform(0, 2, 2)
    ),
    "gaussian": lambda rng: partial(
        qf.kron.spectral_mixture, kind="gaussian", log_weights=rng.standard_normal(2), log_scales=rng.standard_normal(2), freqs=np.ones(2)
    ),
    "gsmp": lambda rng: partial(qf.kron.gsmp_kernel, weights=rng.uniform(0.5, 1, 3), means=rng.uniform(0, 1, 3), std=np.array(0.5)),
    "fixed": lambda rng: partial(rbf, scale=0.3),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("share", [None, 0.7])
def test_gradient_of_the_likelihood(rng, name, share):
    p = Problem(rng, (5, 4), share)
    x = np.linspace(0, 1, 5)
    kernel = KERNELS[name](rng)
    if name == "fixed":
        kernel = lambda x, y=None: rbf(x, x if y is None else y, 0.3)  # noqa: E731
    gp = qf.kron.GridGP([kernel, p.kernels[1]], noise=0.1, optimizer=None).fit([x, p.axes[1]], p.Y, p.mask)
    theta = gp.theta_
    assert len(theta) == {"rbf": 4, "matern52": 4, "gsmp": 10, "fixed": 3}.get(name, 9)
    value, gradient = gp.log_marginal_likelihood(theta, eval_gradient=True)
    assert math.isclose(value, gp.log_marginal_likelihood_value_, rel_tol=1e-12)  # exp(log(x)) is x but for rounding
    expected = approx_fprime(theta, gp.log_marginal_likelihood, 1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


def test_a_fit_finds_what_made_the_data(backend, rng):
    """Within five times the width that the likelihood has there, and never lower than where it began."""
    axes = [np.linspace(0, 1, 30), np.linspace(0, 1, 25)]
    truth = [partial(qf.kron.rbf, scale=0.15), partial(qf.kron.rbf, scale=0.3)]
    f = qf.kron.gp_sample([k(x) for k, x in zip(truth, axes)], rng=rng)[0]
    Y = 2 * f.reshape(30, 25) + 0.2 * rng.standard_normal((30, 25))
    mask = rng.random((30, 25)) < 0.8
    gp = qf.kron.GridGP([partial(k, scale=0.5) for k in (qf.kron.rbf, qf.kron.rbf)], noise=1.0, backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gp.fit(axes, Y, mask)
    expected = np.log([4.0, 0.15, 0.3, 0.04])
    step = 1e-3
    H = np.array([(g(gp, gp.theta_ + step * e) - g(gp, gp.theta_ - step * e)) / (2 * step) for e in np.eye(4)])
    width = np.sqrt(np.linalg.inv(-(H + H.T) / 2).diagonal())
    assert (np.abs(gp.theta_ - expected) <= 5 * width).all()
    assert gp.log_marginal_likelihood_value_ >= gp.log_marginal_likelihood(np.log([1.0, 0.5, 0.5, 1.0]))
    assert np.abs(g(gp, gp.theta_)).max() <= 1e-2 * abs(gp.log_marginal_likelihood_value_)
    assert math.isclose(gp.noise_, np.exp(gp.theta_[-1]))
    assert math.isclose(float(gp.kernels_[0].keywords["scale"]), np.exp(gp.theta_[1]))


def g(gp, theta):
    return gp.log_marginal_likelihood(theta, eval_gradient=True)[1]


def test_optimisers(rng, monkeypatch):
    p = Problem(rng)
    calls = []

    def own(objective, theta, bounds):
        calls.append(bounds.shape)
        value, gradient = objective(theta)
        return theta - 1e-3 * gradient, value

    gp = p.fitted(optimizer=own)
    assert calls == [(4, 2)]
    assert not np.array_equal(gp.theta_, p.fitted().theta_)
    again = p.fitted(optimizer=own, n_restarts_optimizer=2, random_state=0)
    assert len(calls) == 4
    assert again.theta_.shape == (4,)
    real = optimize.minimize
    monkeypatch.setattr(optimize, "minimize", lambda *a, **k: real(*a, **k, options={"maxiter": 1}))
    with pytest.warns(RuntimeWarning, match="did not converge: .*[A-Z]"):
        p.fitted(optimizer="fmin_l_bfgs_b")


def test_noise_per_cell_is_kept(rng):
    p = Problem(rng)
    noise = rng.uniform(0.1, 0.3, 42)
    gp = qf.kron.GridGP(p.kernels, noise=noise).fit(p.axes, p.Y, p.mask)
    np.testing.assert_array_equal(gp.noise_, noise)
    assert len(gp.theta_) == 3


def test_normalised_values(rng):
    p = Problem(rng)
    offset, scale = p.Y[p.mask].mean(), p.Y[p.mask].std()
    plain = p.model().fit(p.axes, (p.Y - offset) / scale, p.mask)
    gp = p.fitted(normalize_y=True)
    X = rng.uniform(0, 1, (3, 2))
    mean, std = gp.predict(X, return_std=True)
    np.testing.assert_allclose(mean, plain.predict(X) * scale + offset, rtol=0, atol=1e-10)
    np.testing.assert_allclose(std, plain.predict(X, return_std=True)[1] * scale, rtol=0, atol=1e-10)


def test_samples(backend, rng):
    p = Problem(rng, (4, 3))
    gp = p.fitted(backend=backend)
    new = [rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)]
    grid = [a.reshape(-1) for a in np.meshgrid(*new, indexing="ij")]
    mean, covariance = p.dense.predict(grid)
    for X in (new, np.stack(grid, axis=1)):
        samples = gp.sample(X, 4000, rng=rng).reshape(4000, 4)
        z = (samples - mean).mean(axis=0) / np.sqrt(covariance.diagonal() / 4000)
        assert np.abs(z).max() <= 6  # a chance of 2e-9 each
        ratio = ((samples - mean) ** 2).mean(axis=0) / covariance.diagonal()
        assert np.abs(ratio - 1).max() <= 6 * (2 / 4000) ** 0.5
    rough = gp.predict(new, return_std="samples", samples=2000, rng=rng)[1].reshape(-1)
    assert np.abs(rough / np.sqrt(covariance.diagonal()) - 1).max() <= 6 * (1 / 4000) ** 0.5


@pytest.mark.filterwarnings("ignore:kron.gp_nll. conjugate gradients stopped:RuntimeWarning")  # where the search tries hardly any noise
def test_lanczos_fits_too(rng, monkeypatch):
    from quatrefoil.kron.gp import nll

    p = Problem(rng, (12, 10))
    grid = [g.reshape(-1) for g in np.meshgrid(*p.axes, indexing="ij")]  # a sample of the prior: of mere noise the likelihood is flat
    prior = 1.3 * dense_kernel(p.dense.kernels, grid, grid) + 0.1 * np.eye(120)
    p.Y = rng.multivariate_normal(np.zeros(120), prior).reshape(12, 10)
    exact = p.fitted(optimizer="fmin_l_bfgs_b")
    monkeypatch.setattr(nll, "FEW", 0)
    gp = p.fitted(optimizer="fmin_l_bfgs_b", logdet="lanczos", probes=64, random_state=0)
    assert exact.log_marginal_likelihood(gp.theta_) >= exact.log_marginal_likelihood_value_ - 0.1


# ---------------------------------------------------------------- manners


def test_manners_of_scikit_learn(rng):
    p = Problem(rng)
    gp = p.model()
    assert gp.get_params()["noise"] == 0.1
    assert gp.set_params(noise=0.2) is gp
    assert gp.noise == 0.2
    with pytest.raises(ValueError, match="unknown parameter 'nose'"):
        gp.set_params(nose=1)
    assert "noise=0.2" in repr(gp)
    fitted = p.fitted()
    again = pickle.loads(pickle.dumps(fitted))
    X = rng.uniform(0, 1, (3, 2))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    clone = fitted.__sklearn_clone__()
    assert not hasattr(clone, "theta_")
    assert clone.kernels is fitted.kernels
    sklearn = pytest.importorskip("sklearn")
    assert isinstance(sklearn.base.clone(fitted), qf.kron.GridGP)


def test_kernels_of_scikit_learn(rng):
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    p = Problem(rng)
    theirs = [kernels.RBF(length_scale=s) for s in p.scales]
    gp = qf.kron.GridGP(theirs, noise=0.1, variance=1.3, optimizer=None).fit(p.axes, p.Y, p.mask)
    ours = p.fitted()
    np.testing.assert_allclose(gp.theta_, ours.theta_)
    for a, b in zip(gp.log_marginal_likelihood(gp.theta_, True), ours.log_marginal_likelihood(gp.theta_, True)):
        np.testing.assert_allclose(a, b, rtol=1e-8)
    X = rng.uniform(0, 1, (3, 2))
    np.testing.assert_allclose(gp.predict(X, return_std=True), ours.predict(X, return_std=True), rtol=1e-6)


def test_bad_input(rng):
    p = Problem(rng)
    gp = p.fitted()
    for text, error, call in [
        ("Y has shape", ValueError, lambda: p.model().fit(p.axes, p.Y.T)),
        ("Y is list", TypeError, lambda: p.model().fit(p.axes, p.Y.tolist())),
        ("mask has shape", ValueError, lambda: p.model().fit(p.axes, p.Y, p.mask.T)),
        ("mask has dtype", TypeError, lambda: p.model().fit(p.axes, p.Y, p.mask.astype(float))),
        (r"observed part of Y\[0\] is nan", ValueError, lambda: p.model().fit(p.axes, p.Y * np.nan)),
        (r"axes\[0\]\[\d\] is inf", ValueError, lambda: p.model().fit([p.axes[0] + np.inf, p.axes[1]], p.Y)),
        ("2 axes for 1 kernels", ValueError, lambda: qf.kron.GridGP(p.kernels[:1], noise=0.1).fit(p.axes, p.Y)),
        ("noise is 0", ValueError, lambda: p.fitted(noise=0)),
        ("noise has 3", ValueError, lambda: p.fitted(noise=np.ones(3))),
        ("variance is -1", ValueError, lambda: p.fitted(variance=-1.0)),
        ("optimizer is 'adam'", ValueError, lambda: p.fitted(optimizer="adam")),
        ("logdet is 'some'", ValueError, lambda: p.fitted(logdet="some")),
        ("without hyperparameters", TypeError, lambda: qf.kron.GridGP([qf.kron.rbf] * 2, noise=0.1).fit(p.axes, p.Y)),
        ("expected a callable", TypeError, lambda: qf.kron.GridGP([1, 2], noise=0.1).fit(p.axes, p.Y)),
        ("not fitted", ValueError, lambda: p.model().predict(p.axes)),
        ("not fitted", ValueError, lambda: p.model().log_marginal_likelihood()),
        (r"expected \(P, 2\)", ValueError, lambda: gp.predict(np.zeros((3, 1)))),
        ("1 axes, expected 2", ValueError, lambda: gp.predict(p.axes[:1])),
        ("return_std is 'yes'", ValueError, lambda: gp.predict(p.axes, return_std="yes")),
        ("theta has shape", ValueError, lambda: gp.log_marginal_likelihood(np.zeros(3))),
    ]:
        with pytest.raises(error, match=text):
            call()
