"""``GridGP(noise_kernels=...)`` against dense algebra: full grids, and holes with a factorisation or iterations."""

import functools

import numpy as np
import pytest
from scipy.optimize import approx_fprime

import quatrefoil as qf
from checks import check_rejected
from kron.dense import Dense, near, written_out
from quatrefoil.kron import GridGP
from quatrefoil.kron.gp import covariance

partial = functools.partial
SIGNAL = [partial(qf.kron.rbf, scale=0.4), partial(qf.kron.matern52, scale=0.5), partial(qf.kron.matern32, scale=0.6)]
NOISE = [partial(qf.kron.matern12, scale=0.1), "white", partial(qf.kron.matern32, scale=0.08)]


class Problem:
    """A random problem with 2 or 3 axes."""

    def __init__(self, rng, shape, share):
        self.axes = [np.sort(rng.uniform(0, 1, n)) for n in shape]
        self.Y = rng.standard_normal(shape)
        self.seen = rng.random(shape) < share
        self.kernels, self.noise_kernels = SIGNAL[: len(shape)], NOISE[: len(shape)]

    def model(self, **options):
        return GridGP(self.kernels, noise=0.2, noise_kernels=self.noise_kernels, variance=1.3, optimizer=None, mean="zero", **options)

    def fitted(self, **options):
        return self.model(**options).fit(self.axes, np.where(self.seen, self.Y, np.nan))

    def dense(self):
        kernels = [written_out(k) for k in self.kernels]
        return Dense(kernels, self.axes, self.Y, self.seen, 0.2, 1.3, noise_kernels=list(map(written_out, self.noise_kernels)))


@pytest.fixture(params=[((6, 7), 1.0), ((6, 7), 0.8), ((6, 7), 0.3), ((4, 3, 5), 0.75)], ids=["full", "holes", "few", "three axes"])
def problem(request, rng):
    return Problem(rng, *request.param)


def test_likelihood_and_gradient(problem):
    gp = problem.fitted()
    value, gradient = gp.log_marginal_likelihood(gp.theta_, eval_gradient=True)
    near(value, problem.dense().log_likelihood(), 1e-11, "likelihood")
    near(gradient, approx_fprime(gp.theta_, gp.log_marginal_likelihood, 1e-6), 1e-5, "gradient")


def test_likelihood_by_probes(rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    p = Problem(rng, (14, 15), 0.7)
    expected, estimate = (
        p.fitted(logdet=how, probes=400, rng=0).log_marginal_likelihood(eval_gradient=True) for how in ("exact", "lanczos")
    )
    near(estimate[0], expected[0], 2e-3, "likelihood")
    near(estimate[1], expected[1], 0.02, "gradient")


@pytest.mark.parametrize("iterative", [False, True])
def test_predictions(problem, rng, monkeypatch, iterative):
    monkeypatch.setattr(covariance, "FEW", 0 if iterative else covariance.FEW)
    gp = problem.fitted(tol=1e-10)
    new = [rng.uniform(0, 1, 9) for _ in problem.axes]
    expected, of_points = problem.dense().predict(new)
    mean, std = gp.predict(np.stack(new, axis=1), return_std=True)
    near(mean, expected, 1e-8, "mean")
    near(std**2, of_points.diagonal(), 1e-8, "variance")


def test_samples(rng):
    p = Problem(rng, (5, 6), 0.8)
    gp, grid = p.fitted(), p.axes
    mean, std = gp.predict(return_std=True)
    samples = gp.sample(grid, 20000, rng=0)
    near(samples.mean(0), mean, 0.03, "mean")
    near(samples.std(0), std, 0.03, "deviation")
    scattered = gp.sample(np.stack([a[:3] for a in grid], axis=1), 20000, rng=0)
    near(scattered.std(0), std[range(3), range(3)], 0.03, "deviation at points")


def test_fit_recovers_the_parameters(rng):
    """Without the structure, noise would be taken for signal."""
    x, t = np.linspace(0, 1, 24), np.linspace(0, 1, 30)
    truth = np.sin(5 * x)[:, None] * np.cos(4 * t)
    noise = qf.kron.gp_sample([qf.kron.matern12(x, scale=0.2), np.eye(30)], rng=5)[0].reshape(truth.shape)
    Y = truth + 0.5 * noise
    Y[rng.random(Y.shape) < 0.1] = np.nan
    kernels, of_noise = [partial(qf.kron.rbf, scale=s) for s in (0.2, 0.4)], [partial(qf.kron.matern12, scale=0.1), "white"]
    gp = GridGP(kernels, noise_kernels=of_noise).fit([x, t], Y)
    assert 0.1 < gp.noise_kernels_[0].keywords["scale"] < 0.4
    assert 0.15 < gp.noise_ < 0.4
    plain = GridGP(kernels).fit([x, t], Y)
    assert gp.log_marginal_likelihood_value_ > plain.log_marginal_likelihood_value_ + 30
    off, off_plain = (np.sqrt(np.mean((g.predict() - truth) ** 2)) for g in (gp, plain))
    assert off < 0.5 * off_plain


def test_defaults_and_errors(rng):
    x, t = np.linspace(0, 1, 9), np.linspace(0, 1, 8)
    Y = rng.standard_normal((9, 8))
    gp = GridGP(noise_kernels=["matern12", "white"]).fit([x, t], Y)
    assert len(gp.theta_) == 1 + 2 + 1 + 1
    nothing = GridGP(["rbf", "rbf"], noise_kernels="matern12", noise=0.1, variance=2.0, optimizer=None).fit([x[:0], t], Y[:0])
    mean, std = nothing.predict([x, t], return_std=True)
    assert (mean == 0).all()
    np.testing.assert_allclose(std, 2**0.5)
    near_singular = partial(qf.kron.rbf, scale=10.0)
    check_rejected([
        (lambda: GridGP(noise_kernels=["white"]).fit([x, t], Y), ValueError, "got 1 noise_kernels for 2 axes"),
        (lambda: GridGP(["white"] * 2).fit([x, t], Y), ValueError, r"kernels\[0\] is 'white'"),
        (lambda: GridGP(noise=np.ones(72), noise_kernels="white").fit([x, t], Y), ValueError, "one value per cell, but noise_kernels"),
        (lambda: GridGP(optimizer=None, noise_kernels=near_singular).fit([x, t], Y), np.linalg.LinAlgError,
         r"noise_kernels\[0\] is not positive definite"),
    ])  # fmt: skip
