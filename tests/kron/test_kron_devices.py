"""Gaussian processes with arrays on a device: results agree with the host's, and only documented values are read back."""

import functools
import warnings

import numpy as np
import pytest

import devices
import quatrefoil as qf
import stand_in
from checks import check_rejected
from quatrefoil.kron import gp_posterior, gp_posterior_sample, gp_sample, rbf

near = functools.partial(devices.near, tolerance=1e-8)


def covariances(*sizes):
    return [rbf(np.linspace(0, 1, n) ** 1.3, scale=0.4) + 0.05 * np.eye(n) for n in sizes]


def problem(rng, kind):
    factors = covariances(4, 5)
    cross = [rng.standard_normal((3, 4)) * 0.1, rng.standard_normal((2, 5)) * 0.1]
    mask = {"full": None, "noises": None, "missing": rng.random(20) > 0.3, "missing in rows": rng.random((2, 20)) > 0.3}[kind]
    noise = rng.uniform(0.1, 0.3, 20) if kind == "noises" else np.array([0.2])
    return factors, cross, rng.standard_normal((2, 20)), noise, mask


@pytest.mark.parametrize("kind", ["full", "noises", "missing", "missing in rows"])
def test_posterior_and_samples(kind, cupy, rng):
    factors, cross, y, noise, mask = problem(rng, kind)
    own = [c @ np.linalg.solve(f, c.T) + np.eye(len(c)) for f, c in zip(factors, cross)]  # a covariance in addition to factors
    priors = [1.1, [np.full(3, 1.1), np.full(2, 1.2)], rng.uniform(1, 2, 6)]

    def results(t):
        f, inputs, at = t(factors), (t(y), t(noise)), [t([f[[2, 0]] for f in factors])]
        common = {"mask": t(mask), "rng": 7}
        result = [a for prior in priors for a in gp_posterior(f, t(cross), *inputs, mask=t(mask), prior_diag=t(prior))]
        result += gp_posterior(f, t(cross), *inputs, variance="samples", prior_factors=t(own), samples=16, **common)
        if kind != "noises":  # as many points as cells
            result += [gp_posterior_sample(f, t(cross), *inputs, prior_factors=t(own), size=3, **common)]
            result += [gp_posterior_sample(f, *at, *inputs, size=3, **common)]
        return result

    with stand_in.nothing_read_back():
        result = results(cupy)
    for g, e in zip(result, results(lambda x: x), strict=True):
        near(g, e)


def test_posterior_of_cells(cupy, rng):
    """Single precision. The prior comes from the factors if their diagonals are constant."""
    single = [f.astype(np.float32) for f in covariances(4, 5)]
    y = rng.standard_normal(20).astype(np.float32)
    got = gp_posterior(cupy(single), cupy([single[0][:2], single[1]]), cupy(y), 0.2)
    for g, e in zip(got, gp_posterior(single, [single[0][:2], single[1]], y, 0.2), strict=True):
        near(g, e, tolerance=1e-5)
    uneven = [np.diag([1.0, 2.0]), np.eye(2)]
    assert np.isnan(gp_posterior(cupy(uneven), cupy(uneven), cupy(np.ones(4)), 0.2)[1].get()).all()


def test_errors_of_the_host_are_nan(cupy, rng):
    factors, cross, y, noise, _ = problem(rng, "full")
    skew = [factors[0] + np.triu(np.ones((4, 4)), 1), factors[1]]
    negative = [factors[0] - 3 * np.eye(4), factors[1]]
    for bad in (skew, negative):
        mean, var = gp_posterior(cupy(bad), cupy(cross), cupy(y), cupy(noise), prior_diag=1.0)
        assert np.isnan(mean.get()).all()
        assert np.isnan(var.get()).all()
        assert np.isnan(gp_sample(cupy(bad), rng=0).get()).all()
    assert np.isnan(gp_sample(cupy(factors), noise=cupy(-np.ones(20)), rng=0).get()).all()
    drawn = gp_posterior_sample(cupy(factors), cupy(cross), cupy(y), cupy(noise), rng=0)  # points outside the grid
    assert np.isnan(drawn.get()).all()


def test_errors(cupy, rng):
    factors, cross, y, *_ = problem(rng, "full")
    axes, Y = [np.linspace(0, 1, n) for n in (4, 5)], rng.standard_normal((4, 5))
    on_device, elsewhere, kernels = cupy(factors), [stand_in.ndarray(c, 0) for c in cross], [functools.partial(rbf, scale=0.4)] * 2
    gp = qf.kron.GridGP(kernels, noise=0.1, optimizer=None).fit(cupy(axes), cupy(Y))
    host = qf.kron.GridGP([lambda x, y=None: np.eye(len(x))] * 2, noise=0.1)
    posterior = functools.partial(gp_posterior, on_device)
    check_rejected([
        (lambda: posterior(cross, cupy(y), 0.1), TypeError, r"cross_factors\[0\] is a numpy array of float64 but factors\[0\] is a cupy"),
        (lambda: posterior(elsewhere, cupy(y), 0.1), TypeError, r"cross_factors\[0\] is on cuda:0 but factors\[0\] is on cuda:1; all"),
        (lambda: posterior(cupy(cross), cupy(y), 0.1, backend="native"), TypeError, r"on cuda:1, but backend 'native' runs only on"),
        (lambda: gp_sample(cupy([np.ones((2, 3))])), ValueError, r"gp_sample: factors\[0\] has shape \(2, 3\), expected a square matrix"),
        (lambda: gp.fit(cupy(axes), Y), TypeError, r"GridGP.fit: Y is on cpu but axes\[0\] is on cuda:1; all arrays of a call must be on"),
        (lambda: gp.predict(axes), TypeError, r"GridGP.predict: X\[0\] is on cpu but axes\[0\] is on cuda:1"),
        (lambda: host.fit(cupy(axes), cupy(Y)), TypeError, r"a kernel of a cupy array of float64 on cuda:1 returned a numpy array of"),
    ])  # fmt: skip


@pytest.mark.parametrize("kind", ["full", "missing", "noises"])
def test_grid_gp(kind, cupy, rng):
    axes = [np.linspace(0, 1, 6), rng.random((5, 2))]
    new = [np.linspace(0, 1, 4), rng.random((3, 2))]
    Y = np.sin(3 * axes[0])[:, None] * axes[1].sum(axis=1) + 0.1 * rng.standard_normal((6, 5))
    mask = rng.random((6, 5)) > 0.2 if kind == "missing" else None
    noise = rng.uniform(0.01, 0.03, 30) if kind == "noises" else 0.05
    kernels = [functools.partial(rbf, scale=0.5), functools.partial(qf.kron.matern52, scale=np.array([0.7, 0.9]))]

    def fitted(t):
        gp = qf.kron.GridGP(kernels, noise=t(noise))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # from the optimiser, which is at the limit of its precision
            return gp.fit(t(axes), t(Y), mask=t(mask))

    host, on_device = fitted(lambda x: x), fitted(cupy)
    np.testing.assert_allclose(on_device.theta_, host.theta_, rtol=0, atol=1e-3)
    np.testing.assert_allclose(on_device.log_marginal_likelihood(host.theta_), host.log_marginal_likelihood(host.theta_), rtol=1e-9)
    _, gradient = on_device.log_marginal_likelihood(host.theta_, eval_gradient=True)
    np.testing.assert_allclose(gradient, host.log_marginal_likelihood(host.theta_, eval_gradient=True)[1], rtol=0, atol=1e-6)
    fixed = [qf.kron.GridGP(kernels, noise=t(noise), optimizer=None).fit(t(axes), t(Y), mask=t(mask)) for t in (lambda x: x, cupy)]
    with stand_in.nothing_read_back():
        got, drawn = fixed[1].predict(cupy(new), True), fixed[1].predict(cupy(new), "samples", rng=2)[1]
    for g, e in zip(got, fixed[0].predict(new, True), strict=True):
        near(g, e, tolerance=1e-6)
    assert np.isfinite(drawn.get()).all()


def test_a_model_on_a_device_has_copies(cupy, rng):
    axes, Y, mask, noise = [rng.random(4), rng.random(5)], rng.standard_normal((4, 5)), rng.random((4, 5)) > 0.2, rng.uniform(0.1, 0.3, 20)
    inputs = cupy([*axes, Y, mask, noise])
    gp = qf.kron.GridGP([functools.partial(rbf, scale=0.5)] * 2, noise=inputs[4], optimizer=None).fit(inputs[:2], inputs[2], inputs[3])
    expected = [a.get() for a in gp.predict(cupy(axes), True)]
    for array in inputs:
        array[...] = array[:1] * 0
    for a, b in zip(gp.predict(cupy(axes), True), expected):
        np.testing.assert_array_equal(a.get(), b)
