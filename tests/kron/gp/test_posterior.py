"""Means, variances and samples against the dense posterior; samples by statistics."""

import functools
import math

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from kron.gp import oracle


def kernel(x, y, scale=0.3):
    return np.exp(-0.5 * np.subtract.outer(x, y) ** 2 / scale**2)


class Problem:
    def __init__(self, rng, shape=(6, 5), points=(3, 4), share=None, noise=0.1):
        axes, new = [np.linspace(0, 1, n) for n in shape], [rng.uniform(-0.2, 1.2, m) for m in points]
        self.factors = [kernel(x, x) + 1e-6 * np.eye(len(x)) for x in axes]
        self.cross = [kernel(x, y) for x, y in zip(new, axes)]
        self.prior = [kernel(x, x) for x in new]
        N = math.prod(shape)
        self.y, self.noise = rng.standard_normal(N), noise
        self.mask = None if share is None else rng.random(N) < share

    def expected(self, cross=None, prior=None):
        prior = functools.reduce(np.kron, prior or self.prior)
        mean, covariance = oracle.posterior(self.factors, cross or self.cross, self.y, self.noise, self.mask, prior)
        return mean.astype(float), covariance.astype(float)


@pytest.mark.parametrize("share", [None, 0.8, 0.2])
@pytest.mark.parametrize(("shape", "points"), [((7,), (4,)), ((6, 5), (3, 4)), ((3, 4, 2), (2, 1, 3)), ((5, 4), (0, 3))])
def test_mean_and_variance(backend, rng, share, shape, points):
    for noise in (0.1, rng.uniform(0.1, 1, math.prod(shape))):
        p = Problem(rng, shape, points, share, noise)
        mean, covariance = p.expected()
        posterior = functools.partial(qf.kron.gp_posterior, p.factors, p.cross, p.y, p.noise, mask=p.mask)
        for prior in (None, [q.diagonal() for q in p.prior], functools.reduce(np.kron, [q.diagonal() for q in p.prior]), 1.0):
            got, var = posterior(prior_diag=prior)
            np.testing.assert_allclose(got, mean, rtol=0, atol=1e-9)  # condition numbers to about 100, and jitter
            # without prior_diag, the prior is the diagonal of the factors, with jitter
            np.testing.assert_allclose(var, covariance.diagonal(), rtol=0, atol=1e-9 if prior is not None else 5e-6)
        np.testing.assert_array_equal(posterior(variance=False), got)


def test_batches_with_masks_per_row(backend, rng):
    p = Problem(rng)
    y, mask = rng.standard_normal((2, 3, 30)), rng.random((2, 3, 30)) < 0.7
    posterior = functools.partial(qf.kron.gp_posterior, p.factors, p.cross, noise=0.1, prior_diag=1.0)
    sample = functools.partial(qf.kron.gp_posterior_sample, p.factors, p.cross, noise=0.1, prior_factors=p.prior, size=3, rng=1)
    (mean, var), drawn = posterior(y=y, mask=mask), sample(y=y, mask=mask)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose([mean[index], var[index]], posterior(y=y[index], mask=mask[index]), rtol=0, atol=1e-10)
        np.testing.assert_allclose(drawn[:, *index], sample(y=y[index], mask=mask[index]), rtol=0, atol=1e-10)
    assert posterior(y=y, mask=mask[0, 0])[1].shape == (12,)


def largest_z(samples, mean, covariance):
    """The largest standardised errors of the samples' mean and covariance. Among hundreds, 4 is expected by chance."""
    S = len(samples)
    centred = samples - mean
    variance = covariance.diagonal()
    of_mean = np.abs(centred.mean(axis=0)) / np.sqrt(variance / S)
    of_covariance = np.abs(centred.T @ centred / S - covariance) / np.sqrt((np.outer(variance, variance) + covariance**2) / S)
    return max(of_mean.max(), of_covariance.max())


LIMIT = 6  # a probability of 2e-9 for each of a few hundred statistics


@pytest.mark.parametrize("share", [None, 0.6])
@pytest.mark.parametrize("where", ["points", "cells"])
def test_moments_of_posterior_samples(best_backend, rng, share, where):
    p = Problem(rng, (4, 3), (2, 3), share, noise=0.2)
    cross, prior, joint = p.cross, p.prior, p.prior
    if where == "cells":
        rows = [np.array([2, 0]), np.array([1, 1, 2])]
        cross, prior = [f[r] for f, r in zip(p.factors, rows)], [f[np.ix_(r, r)] for f, r in zip(p.factors, rows)]
        joint = None
    mean, covariance = p.expected(cross, prior)
    samples = qf.kron.gp_posterior_sample(p.factors, cross, p.y, 0.2, mask=p.mask, prior_factors=joint, size=4000, rng=rng)
    assert samples.shape == (4000, 6)
    assert largest_z(samples, mean, covariance + 1e-12 * np.eye(6)) <= LIMIT


def test_prior_samples_have_the_prior_s_moments(best_backend, rng):
    p = Problem(rng, (3, 4))
    for noise in (0.3, np.linspace(0, 2, 12)):
        samples = qf.kron.gp_sample(p.factors, noise=noise, size=4000, rng=rng)
        covariance = oracle.covariance(p.factors, noise, 12).astype(float)
        assert largest_z(samples, np.zeros(12), covariance) <= LIMIT
    rank_one = qf.kron.gp_sample([np.ones((3, 3)), np.ones((2, 2))], size=2, rng=0)
    np.testing.assert_allclose(rank_one, rank_one[:, :1] * np.ones(6), rtol=0, atol=1e-7)
    one = qf.kron.gp_sample(p.factors, noise=0.3, size=3, rng=1)
    for same in (np.array(0.3), np.full(1, 0.3)):
        np.testing.assert_array_equal(qf.kron.gp_sample(p.factors, noise=same, size=3, rng=1), one)
    single = qf.kron.gp_sample([f.astype("f") for f in p.factors], noise=noise.astype("f"), size=2, rng=3)
    np.testing.assert_allclose(single, qf.kron.gp_sample(p.factors, noise=noise, size=2, rng=3), rtol=0, atol=1e-3)


def test_fewer_samples_are_the_first_of_more(backend, rng):
    p = Problem(rng, share=0.7)
    prior = functools.partial(qf.kron.gp_sample, p.factors, rng=7)
    posterior = functools.partial(qf.kron.gp_posterior_sample, p.factors, p.cross, p.y, 0.1, mask=p.mask, prior_factors=p.prior, rng=7)
    for draw, rounding in ((prior, 1e-14), (functools.partial(prior, noise=np.linspace(0, 1, 30)), 1e-14), (posterior, 1e-12)):
        for size in (0, 1, 5):
            np.testing.assert_allclose(draw(size=size), draw(size=9)[:size], rtol=0, atol=rounding)


def test_samples_of_smooth_covariances_in_single_precision(best_backend, rng):
    """Rounding puts the least eigenvalues of the factors on either side of 0."""
    x = np.linspace(0, 1, 40, dtype="f")
    factors, y = [qf.kron.rbf(x, scale=0.4)] * 2, rng.standard_normal(1600).astype("f")
    assert np.linalg.eigvalsh(factors[0].astype(float))[0] < -1e-9
    wide = [f.astype(float) + 1e-6 * np.eye(40) for f in factors]
    expected = qf.kron.gp_posterior(wide, wide, y.astype(float), 0.1, variance=False)
    samples = qf.kron.gp_posterior_sample(factors, factors, y, 0.1, size=400, rng=rng)
    var = qf.kron.gp_posterior(factors, factors, y, 0.1, variance="samples", samples=400, rng=rng)[1]
    spread = np.sqrt(qf.kron.gp_posterior(wide, wide, y.astype(float), 0.1)[1])
    assert np.abs((samples.mean(axis=0) - expected) / spread).max() * 20 <= LIMIT
    assert np.abs(np.sqrt(var) / spread - 1).max() <= LIMIT / 800**0.5


def test_variance_from_samples_is_within_its_error(best_backend, rng, monkeypatch):
    p = Problem(rng, share=0.7)
    _, covariance = p.expected()
    monkeypatch.setattr("quatrefoil.kron.gp.covariance.FEW", 0)  # the solver iterates
    options = {"variance": "samples", "prior_factors": p.prior, "samples": 800, "rng": rng}
    _, var = qf.kron.gp_posterior(p.factors, p.cross, p.y, p.noise, mask=p.mask, **options)
    z = (var / covariance.diagonal() - 1) / (2 / 800) ** 0.5
    assert np.abs(z).max() <= LIMIT


def test_tables(rng):
    """y, noise, mask and start may have the grid's shape. The results then have it too."""
    p, kron = Problem(rng, share=0.7), qf.kron
    noise, shape, several = rng.uniform(0.1, 1, 30), (6, 5), rng.standard_normal((2, 30))
    operator, prior = kron.KroneckerOperator(p.factors), {"prior_factors": p.prior}
    calls = {
        "nll": (lambda y, s, m: kron.gp_nll(p.factors, y, s, mask=m, grad=True)[::2], [(), shape]),
        "several": (lambda y, s, m: kron.gp_nll(p.factors, several.reshape(2, *y.shape), 0.1, mask=m), [(2,)]),
        "solve": (lambda y, s, m: kron.gp_solve(p.factors, y, s, mask=m, start=0 * y), [shape]),
        "posterior": (lambda y, s, m: kron.gp_posterior(p.factors, p.cross, y, noise=s, mask=m), [(3, 4)] * 2),
        "samples": (lambda y, s, m: kron.gp_posterior(p.factors, p.cross, y, 0.1, variance="samples", rng=0, **prior), [(3, 4)] * 2),
        "drawn": (lambda y, s, m: kron.gp_posterior_sample(p.factors, p.cross, y, s, size=7, rng=0, **prior), [(7, 3, 4)]),
        "K": (lambda y, s, m: operator.solve(y, 0.1), [shape]),
        "h": (lambda y, s, m: operator.apply(np.exp, y), [shape]),
    }  # fmt: skip
    for name, (call, shapes) in calls.items():
        results = call(p.y, noise, p.mask), call(*(a.reshape(shape) for a in (p.y, noise, p.mask)))
        flat, tables = (r if isinstance(r, tuple) else (r,) for r in results)
        assert [r.shape for r in tables] == shapes, name
        for a, b in zip(flat, tables, strict=True):
            np.testing.assert_array_equal(a.reshape(-1), b.reshape(-1))
    noisy = [kron.gp_sample(p.factors, noise=s, size=2, rng=0) for s in (noise, noise.reshape(shape))]
    np.testing.assert_array_equal(*noisy)
    row = [np.eye(1), np.eye(5)]
    assert kron.gp_nll(row, np.ones((1, 5)), 0.1).shape == (1,)  # rows of a batch, as without a table


def test_rejected(rng):
    p, kron = Problem(rng), qf.kron
    posterior, drawn = (functools.partial(f, p.factors, p.cross, p.y, 0.1) for f in (kron.gp_posterior, kron.gp_posterior_sample))
    at = lambda *cross: functools.partial(kron.gp_posterior, p.factors, list(cross), p.y, 0.1)  # noqa: E731
    uneven, negative = [np.diag(np.arange(1.0, 7)), p.factors[1]], np.where(np.arange(30) == 2, -1.0, 1)
    check_rejected([
        (lambda: posterior(variance="some"), ValueError, "variance is 'some'"),
        (at(*(c.T for c in p.cross)), ValueError, r"cross_factors\[0\] has shape"),
        (at(p.cross[0]), ValueError, "1 cross_factors for 2"),
        (at(p.cross[0], p.cross[1].astype("f")), TypeError, r"cross_factors\[1\] is .*float32"),
        (lambda: posterior(prior_diag=np.ones(3)), ValueError, "prior_diag has shape"),
        (lambda: kron.gp_posterior(uneven, p.cross, p.y, 0.1), ValueError, "not constant"),
        (drawn, ValueError, "not a cell of the grid"),
        (lambda: drawn(prior_factors=p.factors), ValueError, "prior_factors have shapes"),
        (lambda: kron.gp_posterior(p.factors, p.cross, p.y.reshape(5, 6), 0.1), ValueError, r"expected \(..., 30\) or \(..., 6, 5\)"),
        (lambda: kron.gp_nll(p.factors, p.y[:9], 0.1, mask=p.y > 0), ValueError, r"all cells of the grid; mask marks the observed ones"),
        (lambda: kron.gp_sample(p.factors, size=-1), ValueError, "size is -1"),
        (lambda: kron.gp_sample([p.factors[0], p.cross[1]]), ValueError, r"factors\[1\] has shape"),
        (lambda: kron.gp_sample(p.factors, noise=np.ones(3)), ValueError, r"noise has shape \(3,\), expected \(1,\) or \(30,\)"),
        (lambda: kron.gp_sample(p.factors, noise=negative), ValueError, r"gp_sample: noise\[2\] is -1"),
        (lambda: kron.gp_sample(p.factors, noise=np.ones(30, "f")), TypeError, "noise is a numpy array of float32 but"),
    ])  # fmt: skip


def test_one_eigendecomposition_serves_mean_and_variance(rng, monkeypatch):
    calls, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: calls.append(len(a)) or eigh(a))
    for share in (None, 0.7):
        p = Problem(rng, share=share)
        calls.clear()
        qf.kron.gp_posterior(p.factors, p.cross, p.y, p.noise, mask=p.mask, prior_diag=1.0)
        assert calls == [6, 5]


@pytest.mark.parametrize("own_masks", [False, True])
def test_samples_in_blocks(backend, rng, monkeypatch, own_masks):
    p = Problem(rng)
    y, mask = rng.standard_normal((2, 30)), rng.random((2, 30) if own_masks else 30) < 0.7
    draw = functools.partial(qf.kron.gp_posterior_sample, p.factors, p.cross, y, p.noise, mask=mask, prior_factors=p.prior, size=5)
    whole, prior = draw(rng=3), qf.kron.gp_sample(p.factors, noise=0.1, size=5, rng=3)
    monkeypatch.setattr("quatrefoil.kron.gp.sample._BLOCK_BYTES", 1 if own_masks else 8 * 2 * 2 * 42)
    np.testing.assert_allclose(draw(rng=3), whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(qf.kron.gp_sample(p.factors, noise=0.1, size=5, rng=3), prior, rtol=0, atol=1e-12)
    assert draw(size=0, rng=3).shape == (0, 2, 12)
