"""``GridGP(noise_kernels=...)``: iterations and estimates, learning and errors. ``attack_structured_noise`` tests values and gradients."""

import functools

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from kron.dense import Problem, near
from quatrefoil.kron import GridGP
from quatrefoil.kron.gp import covariance

partial = functools.partial
NOISE = [partial(qf.kron.matern12, scale=0.1), "white", partial(qf.kron.matern32, scale=0.08)]


def test_likelihood_by_probes(rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    p = Problem(rng, (14, 15), 0.7, NOISE[:2])
    expected, estimate = (
        p.fitted(logdet=how, probes=400, rng=0).log_marginal_likelihood(eval_gradient=True) for how in ("exact", "lanczos")
    )
    near(estimate[0], expected[0], 2e-3, "likelihood")
    near(estimate[1], expected[1], 0.02, "gradient")


@pytest.mark.parametrize(("shape", "share"), [((6, 7), None), ((6, 7), 0.8), ((6, 7), 0.3), ((4, 3, 5), 0.75)], ids=str)
def test_predictions_by_iterations(shape, share, rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    p = Problem(rng, shape, share, NOISE[: len(shape)])
    new = [rng.uniform(0, 1, 9) for _ in shape]
    expected, of_points = p.dense().predict(new)
    mean, std = p.fitted(tol=1e-10).predict(np.stack(new, axis=1), return_std=True)
    near(mean, expected, 1e-8, "mean")
    near(std**2, of_points.diagonal(), 1e-8, "variance")


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
