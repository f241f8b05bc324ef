"""``GridGP``: gradients, searches, estimates, structured noise and wrong arguments. attacks.py compares values with dense regression."""

import functools
import math

import numpy as np
import pytest
from scipy import optimize
from scipy.optimize import approx_fprime

import quatrefoil as qf
from checks import check_rejected
from kron.dense import Dense, Problem, dense_kernel, fixed, near
from kron.mixture import oracle
from quatrefoil.kron.gp import covariance
from quatrefoil.kron.models import gridfit, search

partial = functools.partial
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
    "matern12": lambda rng: partial(qf.kron.matern12, scale=0.4),
    "matern32": lambda rng: partial(qf.kron.matern32, scale=0.4),
    "periodic": lambda rng: partial(qf.kron.periodic, scale=0.8, period=0.7),
    "rational_quadratic": lambda rng: partial(qf.kron.rational_quadratic, scale=0.4, alpha=0.7),
    "fixed": lambda rng: partial(fixed, scale=0.3),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("share", [None, 0.7])
def test_gradient_of_the_likelihood(rng, name, share):
    p = Problem(rng, (5, 4), share)
    x = np.linspace(0, 1, 5)
    gp = qf.kron.GridGP([KERNELS[name](rng), p.kernels[1]], noise=0.1, optimizer=None).fit([x, p.axes[1]], p.Y, p.mask)
    theta = gp.theta_
    assert len(theta) == {"gsmp": 10, "fixed": 3, "periodic": 5, "rational_quadratic": 5, "spectral_mixture": 9, "gaussian": 9}.get(name, 4)
    value, gradient = gp.log_marginal_likelihood(theta, eval_gradient=True)
    assert math.isclose(value, gp.log_marginal_likelihood_value_, rel_tol=1e-12)  # exp(log(x)) rounds
    expected = approx_fprime(theta, gp.log_marginal_likelihood, 1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


def test_fit_recovers_the_parameters(rng):
    """Parameters agree within five standard errors, and the likelihood is not below its initial value."""
    axes = [np.linspace(0, 1, 30), np.linspace(0, 1, 25)]
    truth = [partial(qf.kron.rbf, scale=0.15), partial(qf.kron.rbf, scale=0.3)]
    f = qf.kron.gp_sample([k(x) for k, x in zip(truth, axes)], rng=rng)[0]
    Y = 2 * f.reshape(30, 25) + 0.2 * rng.standard_normal((30, 25))
    mask = rng.random((30, 25)) < 0.8
    gp = qf.kron.GridGP([partial(qf.kron.rbf, scale=0.5)] * 2, noise=1.0).fit(axes, Y, mask)
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
    again = p.fitted(optimizer=own, n_restarts_optimizer=2, rng=0)
    assert len(calls) == 4
    assert again.theta_.shape == (4,)
    real = optimize.minimize
    monkeypatch.setattr(optimize, "minimize", lambda *a, **k: real(*a, **k | {"options": {"maxiter": 1}}))
    with pytest.warns(RuntimeWarning, match="did not converge: .*[A-Z]"):
        p.fitted(optimizer="fmin_l_bfgs_b")


def test_predictions_by_samples_and_of_one_axis(rng):
    p, x = Problem(rng, (4, 3)), rng.uniform(0, 1, 5)
    gp, one = p.fitted(), Problem(rng, (9,)).fitted()
    rough, std = (gp.predict([x, x[:2]], return_std=how, samples=2000, rng=rng)[1] for how in ("samples", True))
    assert np.abs(rough / std - 1).max() <= 6 * (1 / 4000) ** 0.5  # a probability of 2e-9 each
    assert gp.sample([x, x[:2]], 3, rng=rng).shape == (3, 5, 2)
    np.testing.assert_allclose(one.predict(x), one.predict([x]), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:kron.gp_nll. conjugate gradients stopped:RuntimeWarning")  # the search tries very small noise
@pytest.mark.parametrize(("few", "noise"), [(120, None), (60, None), (60, np.linspace(0.05, 0.15, 120))])
def test_lanczos_fits_too(few, noise, rng, monkeypatch):
    p, cells, objective = Problem(rng, (12, 10)), [], gridfit.Fit.objective
    grid = [g.reshape(-1) for g in np.meshgrid(*p.axes, indexing="ij")]  # a sample of the prior: for pure noise the likelihood is flat
    prior = 1.3 * dense_kernel(p.kernels, grid, grid) + np.diag(np.broadcast_to(0.1 if noise is None else noise, 120))
    p.Y = rng.multivariate_normal(np.zeros(120), prior).reshape(12, 10)
    options = {"optimizer": "fmin_l_bfgs_b", **({} if noise is None else {"noise": noise})}
    exact = p.fitted(**options)
    monkeypatch.setattr(covariance, "FEW", 0)
    monkeypatch.setattr(search, "_FEW_CELLS", few)
    monkeypatch.setattr(gridfit.Fit, "objective", lambda fit, model: cells.append(len(fit.data.y)) or objective(fit, model))
    gp = p.fitted(**options, logdet="lanczos", probes=64, rng=0)
    assert cells == sorted(cells)
    assert {cells[0], cells[-1]} == {few, 120}
    assert exact.log_marginal_likelihood(gp.theta_) >= exact.log_marginal_likelihood_value_ - 0.1


def test_a_thinned_grid():
    """The thinned grid has every second point of the longest axis, repeatedly, with the same values at the same points."""
    axes, Y = [np.arange(9.0), np.arange(5.0) ** 2], np.arange(45.0).reshape(9, 5)
    mask = Y % 4 > 0
    fit = qf.kron.GridGP(optimizer=None, mean="linear").fit(axes, Y, mask)._fit
    data, cells = fit.data.thinned(13)
    assert [x.tolist() for x in data.axes] == [[0, 4, 8], [0, 4, 16]]
    assert cells.tolist() == [0, 2, 4, 20, 22, 24, 40, 42, 44]
    np.testing.assert_array_equal(data.mask, mask.reshape(-1)[cells])
    np.testing.assert_array_equal(data.rows, fit.data.rows[:, cells])


def test_kernels_of_scikit_learn(rng):
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    p = Problem(rng)
    theirs = [kernels.RBF(length_scale=s) for s in p.scales]
    gp = qf.kron.GridGP(theirs, noise=0.1, variance=1.3, mean="zero", optimizer=None).fit(p.axes, p.Y, p.mask)
    ours = p.fitted()
    np.testing.assert_allclose(gp.theta_, ours.theta_)
    for a, b in zip(gp.log_marginal_likelihood(gp.theta_, True), ours.log_marginal_likelihood(gp.theta_, True)):
        np.testing.assert_allclose(a, b, rtol=1e-8)
    X = rng.uniform(0, 1, (3, 2))
    for k in theirs:
        k.length_scale = 9.0  # the model has copies
    np.testing.assert_allclose(gp.predict(X, return_std=True), ours.predict(X, return_std=True), rtol=1e-6)


def test_rejected(rng):
    p = Problem(rng)
    gp, fit, fresh, axes, Y = p.fitted(), p.model().fit, p.model(), p.axes, p.Y
    hidden = np.where(p.mask, Y, np.nan)
    check_rejected([
        (lambda: fit(axes, Y.T), ValueError, "Y has shape"),
        (lambda: fit(axes, Y, p.mask.T), ValueError, "mask has shape"),
        (lambda: fit(axes, Y, p.mask.astype(float)), TypeError, "mask has dtype"),
        (lambda: fit(axes, Y * np.nan), ValueError, "Y is NaN in all observed cells"),
        (lambda: fit(axes, Y * np.inf), ValueError, r"observed part of Y\[0\] is -?inf"),
        (lambda: fit([axes[0] + np.inf, axes[1]], Y), ValueError, r"axes\[0\]\[\d\] is inf"),
        (lambda: qf.kron.GridGP(p.kernels[:1], noise=0.1).fit(axes, Y), ValueError, "got 1 kernels for 2 axes"),
        (lambda: p.fitted(noise=0), ValueError, "noise is 0"),
        (lambda: p.fitted(noise=np.ones(3)), ValueError, "noise has 3"),
        (lambda: p.fitted(variance=-1.0), ValueError, "variance is -1"),
        (lambda: p.fitted(optimizer="adam"), ValueError, "optimizer is 'adam'"),
        (lambda: p.fitted(logdet="some"), ValueError, "logdet is 'some'"),
        (lambda: qf.kron.GridGP(qf.kron.gsmp_kernel).fit(axes, Y), TypeError, "without hyperparameters"),
        (lambda: qf.kron.GridGP(partial(qf.kron.rbf, ls=0.3)).fit(axes, Y), TypeError, "rbf has no argument 'ls'; use scale"),
        (lambda: p.fitted(mean="square"), ValueError, "mean is 'square', expected one of 'zero', 'constant', 'linear'"),
        (lambda: p.fitted(mean=lambda x, y: x[:1]), ValueError, r"the mean has shape \(1, 6\), expected \(7, 6\)"),
        (lambda: fit(axes, Y + 0j), TypeError, "Y has dtype complex128"),
        (lambda: fit([np.ma.masked_less(axes[0], 0.2), axes[1]], Y), TypeError, r"axes\[0\] is a masked array"),
        (lambda: qf.kron.GridGP(random_state=0), TypeError, "GridGP has no argument 'random_state'; use rng"),
        (lambda: qf.kron.GridGP(normalize_y=True), TypeError, "GridGP has no argument 'normalize_y'; mean='constant' subtracts"),
        (lambda: qf.kron.GridGP([1, 2], noise=0.1).fit(axes, Y), TypeError, "expected a callable"),
        (lambda: fresh.set_params(nose=1), ValueError, "unknown parameter 'nose'"),
        (lambda: p.model().predict(axes), ValueError, "not fitted"),
        (p.model().log_marginal_likelihood, ValueError, "not fitted"),
        (lambda: gp.predict(np.zeros((3, 1))), ValueError, r"expected \(P, 2\)"),
        (lambda: gp.predict(axes[:1]), ValueError, "1 axes, expected 2"),
        (lambda: gp.predict(axes, return_std="yes"), ValueError, "return_std is 'yes'"),
        (lambda: gp.log_marginal_likelihood(np.zeros(3)), ValueError, "theta has shape"),
        (lambda: gp.score(axes, hidden * np.inf), ValueError, r"GridGP\.score: y\[\d+\] is -?inf"),
        (lambda: fit(*axes, Y), ValueError, r"pass axes of a grid as a list: fit\(\[x, t\], Y, mask\)"),
        (lambda: fit(axes), TypeError, r"Y is missing; pass axes and Y, as in fit\(\[x, t\], Y\), or a DataArray"),
        (lambda: qf.kron.GridGP("matern").fit(axes, Y), ValueError, r"kernels\[0\] is 'matern', expected 'rbf', 'matern12'"),
        (lambda: qf.kron.GridGP("rbf", "rbf"), TypeError, r"GridGP takes kernels by position, got 2 arguments; pass kernels as one list"),
        (lambda: qf.kron.GridGP(qf.kron.rbf(scale=0.3)), TypeError, r"rbf: x is missing; .*functools.partial\(qf.kron.rbf, scale="),
        (lambda: qf.kron.rbf(axes[0], 0.3), TypeError, "rbf: scale is missing; pass a length in the unit of x"),
        (lambda: qf.kron.rbf(axes[0], axes[0], 0.3), TypeError, "rbf takes x, y by position, got 3 arguments; pass the length by keyword"),
        (lambda: qf.kron.GridGP(0.3).fit(axes, Y), TypeError, "kernels is float, expected callables such as functools.partial"),
        (lambda: gp.predict(axes[0]), ValueError, r"expected \(P, 2\), one row per point, or a list of axes, \[x_1, x_2\]"),
        (lambda: gp.predict(*axes), TypeError, r"return_std is a numpy array of float64; pass axes as one list: predict\(\[x_1, x_2\]\)"),
        (lambda: gp.predict({"x": axes[0]}), TypeError, "X is a dict, but fit got axes without names"),
        (lambda: gp.predict(axes, return_cov=True), TypeError, "GridGP.predict has no argument 'return_cov'; use sample, which draws from"),
        (lambda: gp.sample(axes, n_samples=2), TypeError, "GridGP.sample has no argument 'n_samples'; use size"),
        (lambda: gp.score(axes, Y, p.mask.T), ValueError, r"GridGP\.score: mask has shape \(6, 7\), expected \(7, 6\)"),
    ])  # fmt: skip


NOISE = [partial(qf.kron.matern12, scale=0.1), "white", partial(qf.kron.matern32, scale=0.08)]


def test_likelihood_with_structured_noise_by_probes(rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    p = Problem(rng, (14, 15), 0.7, NOISE[:2])
    expected, estimate = (
        p.fitted(logdet=how, probes=400, rng=0).log_marginal_likelihood(eval_gradient=True) for how in ("exact", "lanczos")
    )
    near(estimate[0], expected[0], 2e-3, "likelihood")
    near(estimate[1], expected[1], 0.02, "gradient")


STRUCTURED = [((6, 7), None), ((6, 7), 0.8), ((6, 7), 0.3), ((4, 3, 5), 0.75)]


@pytest.mark.parametrize(("shape", "share"), STRUCTURED, ids=str)
def test_gradient_with_structured_noise(shape, share, rng):
    gp = Problem(rng, shape, share, NOISE[: len(shape)]).fitted()
    gradient = gp.log_marginal_likelihood(eval_gradient=True)[1]
    near(gradient, approx_fprime(gp.theta_, gp.log_marginal_likelihood, 1e-6), 1e-5, "gradient")


@pytest.mark.parametrize(("shape", "share"), STRUCTURED, ids=str)
def test_predictions_with_structured_noise_by_iterations(shape, share, rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    p = Problem(rng, shape, share, NOISE[: len(shape)])
    new = [rng.uniform(0, 1, 9) for _ in shape]
    expected, of_points = p.dense().predict(new)
    mean, std = p.fitted(tol=1e-10).predict(np.stack(new, axis=1), return_std=True)
    near(mean, expected, 1e-8, "mean")
    near(std**2, of_points.diagonal(), 1e-8, "variance")


def test_fit_recovers_structured_noise(rng):
    """Without the structure, noise would be taken for signal."""
    x, t = np.linspace(0, 1, 24), np.linspace(0, 1, 30)
    truth = np.sin(5 * x)[:, None] * np.cos(4 * t)
    noise = qf.kron.gp_sample([qf.kron.matern12(x, scale=0.2), np.eye(30)], rng=5)[0].reshape(truth.shape)
    Y = truth + 0.5 * noise
    Y[rng.random(Y.shape) < 0.1] = np.nan
    kernels, of_noise = [partial(qf.kron.rbf, scale=s) for s in (0.2, 0.4)], [partial(qf.kron.matern12, scale=0.1), "white"]
    gp = qf.kron.GridGP(kernels, noise_kernels=of_noise).fit([x, t], Y)
    assert 0.1 < gp.noise_kernels_[0].keywords["scale"] < 0.4
    assert 0.15 < gp.noise_ < 0.4
    plain = qf.kron.GridGP(kernels).fit([x, t], Y)
    assert gp.log_marginal_likelihood_value_ > plain.log_marginal_likelihood_value_ + 30
    off, off_plain = (np.sqrt(np.mean((g.predict() - truth) ** 2)) for g in (gp, plain))
    assert off < 0.5 * off_plain


def test_defaults_and_errors_of_noise_kernels(rng):
    x, t = np.linspace(0, 1, 9), np.linspace(0, 1, 8)
    Y = rng.standard_normal((9, 8))
    gp = qf.kron.GridGP(noise_kernels=["matern12", "white"]).fit([x, t], Y)
    assert len(gp.theta_) == 1 + 2 + 1 + 1
    nothing = qf.kron.GridGP(["rbf", "rbf"], noise_kernels="matern12", noise=0.1, variance=2.0, optimizer=None).fit([x[:0], t], Y[:0])
    mean, std = nothing.predict([x, t], return_std=True)
    assert (mean == 0).all()
    np.testing.assert_allclose(std, 2**0.5)
    near_singular = partial(qf.kron.rbf, scale=10.0)
    check_rejected([
        (lambda: qf.kron.GridGP(noise_kernels=["white"]).fit([x, t], Y), ValueError, "got 1 noise_kernels for 2 axes"),
        (lambda: qf.kron.GridGP(["white"] * 2).fit([x, t], Y), ValueError, r"kernels\[0\] is 'white'"),
        (lambda: qf.kron.GridGP(noise=np.ones(72), noise_kernels="white").fit([x, t], Y), ValueError, "one value per cell, but"),
        (lambda: qf.kron.GridGP(optimizer=None, noise_kernels=near_singular).fit([x, t], Y), np.linalg.LinAlgError,
         r"noise_kernels\[0\] is not positive definite"),
    ])  # fmt: skip


SPECTRAL = {"log_weights": np.array([0.1, -0.3]), "log_scales": np.array([0.5, 1.0]), "freqs": np.array([0.7, 1.9])}
DIFFERENTIABLE = {
    "rbf": {"scale": 0.3},
    "matern32": {"scale": 0.4},
    "matern52": {"scale": np.array(0.4)},
    "rational_quadratic": {"scale": 0.3, "alpha": 0.7},
    "periodic": {"scale": 0.8, "period": 0.9},
    "spectral_mixture": SPECTRAL,
    "gsmp_kernel": {"weights": np.array([0.5, 0.0, 1.0]), "means": np.array([0.3, 1.0, 1.1]), "std": np.array([0.2, 0.1, 0.3])},
}
X, T = np.linspace(0, 1, 9), np.sort(np.random.default_rng(3).uniform(0, 2, 7))
SEEN = np.random.default_rng(1).random((9, 7)) < 0.7
Y = np.sin(4 * X)[:, None] * np.cos(2 * T)
CASES = [(name, order) for name in DIFFERENTIABLE for order in (1, 2) if (name, order) != ("matern32", 2)]


def derivative(name, x, y, order):
    h = np.longdouble(1e-5 if order == 1 else 1e-4)
    k = partial(getattr(oracle, name), **DIFFERENTIABLE[name])
    x = np.asarray(x, np.longdouble)
    if order == 1:
        return (k(x + h, y) - k(x - h, y)) / (2 * h)
    return (k(x + h, y) - 2 * k(x, y) + k(x - h, y)) / h**2


def variance(name, order):
    """The variance (-1)^order k^(2 order)(0)."""
    h, zero, k = np.longdouble(1e-3), np.zeros(1), partial(getattr(oracle, name), **DIFFERENTIABLE[name])
    weights = [-1, 2, -1] if order == 1 else [1, -4, 6, -4, 1]
    return sum(w * k(np.array([(i - order) * h]), zero)[0, 0] for i, w in enumerate(weights)) / h ** (2 * order)


@pytest.mark.parametrize(("name", "order"), CASES)
def test_derivatives(name, order):
    kernel, other = partial(getattr(qf.kron, name), **DIFFERENTIABLE[name]), partial(qf.kron.matern12, scale=0.6)
    gp = qf.kron.GridGP([other, kernel], noise=0.01, variance=1.3, mean="linear", optimizer=None).fit([X, T], Y, SEEN)
    both = [partial(oracle.matern12, scale=0.6), partial(getattr(oracle, name), **DIFFERENTIABLE[name])]
    dense = Dense(both, [X, T], Y, SEEN, 0.01, 1.3, lambda points: np.stack([np.ones(len(points[0])), *points], axis=1))
    new = np.array([0.2, 0.55]), np.array([0.3, 1.7, T[0]])
    at = np.repeat(new[0], 3), np.tile(new[1], 2)
    cross = (1.3 * both[0](at[0], dense.x[0]) * derivative(name, at[1], dense.x[1], order)).astype(float)
    slope = np.array([0, 0, order == 1])
    expected = cross @ np.linalg.solve(dense.C, dense.rest) + slope @ dense.beta
    of_mean = slope - cross @ np.linalg.solve(dense.C, dense.H)
    explained = np.einsum("ij,ij->i", cross, np.linalg.solve(dense.C, cross.T).T) - np.einsum("ij,ij->i", of_mean, of_mean @ dense.A)
    spread = np.sqrt(1.3 * float(variance(name, order)) - explained)
    mean, std = gp.predict(list(new), return_std=True, derivative=(1, order))
    np.testing.assert_allclose(mean.ravel(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(std.ravel(), spread, rtol=2e-2)  # variances by finite differences with step 1e-3
    again = gp.predict(np.stack(at, axis=1), return_std=True, derivative=(1, order))
    np.testing.assert_allclose(again, [mean.ravel(), std.ravel()], rtol=1e-9)


def test_rejected_derivatives():
    kernels = [partial(qf.kron.matern32, scale=1.0), partial(qf.kron.matern12, scale=1.0)]
    gp = qf.kron.GridGP(kernels, optimizer=None, noise=0.1).fit([X, T], Y)
    moving = qf.kron.GridGP(optimizer=None, mean=lambda x, t: x + t).fit([X, T], Y)
    check_rejected([
        (lambda: gp.predict(derivative=2), ValueError, "the axis of derivative is 2, expected"),
        (lambda: gp.predict(derivative=(0, 3)), ValueError, "the order of derivative is 3, expected"),
        (lambda: gp.predict(derivative=(0, 2)), ValueError, "covariance matern32 have no derivative of order 2"),
        (lambda: gp.predict(derivative=1), TypeError, "available only for rbf, matern32, .*, but this axis has matern12"),
        (lambda: gp.predict(derivative=(0, 1, 1)), ValueError, r"expected an axis, or \(axis, order\)"),
        (lambda: gp.predict(return_std="samples", derivative=0), ValueError, "samples of derivatives are not available"),
        (lambda: moving.predict(derivative=0), TypeError, "callable mean"),
    ])  # fmt: skip
