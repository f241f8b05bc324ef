"""Likelihood and solves, in addition to tests/test_ops.py. The oracle uses the dense covariance in extended precision."""

import functools
import math

import numpy as np
import pytest

import quatrefoil as qf
from case import flat
from checks import check_rejected
from kron.dense import EPS, smooth, with_eigenvalues
from kron.gp import oracle
from kron.gp.cases import factor
from quatrefoil.kron.gp import composition, covariance
from quatrefoil.kron.gp.spectrum import gp_gram


def grid_of(rng, shape, share=None):
    factors = [factor(rng, n) for n in shape]
    N = math.prod(shape)
    mask = None if share is None else rng.random(N) < share
    return factors, rng.standard_normal(N), mask


@pytest.mark.parametrize("share", [None, 0.9, 0.2, 1.0, 0.0])
def test_value_and_gradients_at_once(backend, rng, share):
    factors, y, mask = grid_of(rng, (5, 3, 4), share)
    value, dfactors, dnoise = qf.kron.gp_nll(factors, y, 0.3, mask=mask, grad=True)
    again, _, dnoise_again = qf.kron.gp_nll_vjp(factors, y, 0.3, mask, None, np.ones(()))
    assert value == qf.kron.gp_nll(factors, y, 0.3, mask=mask)
    assert dnoise.shape == dnoise_again.shape == ()
    assert dnoise == dnoise_again
    for a, b in zip(dfactors, again):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, a.T)
    if share == 0.0:
        assert value == 0


@pytest.mark.parametrize("smallest", [1e-7, 1e-10, 1e-12])
def test_small_eigenvalues_are_not_clamped(rng, smallest):
    factors = [with_eigenvalues(rng, smallest, 0.5, 1, 2), factor(rng, 3)]
    y = np.linalg.cholesky(np.kron(*factors)) @ rng.standard_normal(12)  # in its range, so that no large numbers cancel
    got, expected = qf.kron.gp_nll(factors, y, 0.0), oracle.gp_nll(factors, y, [0.0])
    assert abs(got - expected) <= 30 * EPS / smallest * 12  # rounding an entry changes the smallest eigenvalue, which occurs 3 times
    assert abs(qf.kron.gp_nll(factors, 0 * y, 1e-9) - oracle.gp_nll(factors, 0 * y, [1e-9])) <= 30 * EPS / (smallest + 1e-9)


def test_a_mask_of_all_cells_is_no_mask(backend, rng):
    factors, y, _ = grid_of(rng, (6, 7))
    full = np.ones(42, bool)
    for got, expected in zip(*(flat(qf.kron.gp_nll(factors, y, 0.2, mask=mask, grad=True)) for mask in (full, None))):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", ["one", "cells"])
def test_iterations_reach_the_tolerance(backend, rng, monkeypatch, kind):
    monkeypatch.setattr(covariance, "FEW", 0)
    factors = [smooth(24, 0.1), smooth(19, 0.15)]
    N = 24 * 19
    mask = rng.random((3, N)) < 0.7  # a different one for each row
    hole = np.ones((24, 19), bool)
    hole[6:16, 4:12] = False
    mask[1] = hole.reshape(-1)
    y, noise = rng.standard_normal((3, N)), np.array([0.03]) if kind == "one" else rng.uniform(0.01, 0.1, N)
    C = oracle.covariance(factors, noise, N).astype(float)
    for tol in (1e-4, 1e-8, 1e-12):
        seen = []
        alpha = qf.kron.gp_solve(factors, y, noise, mask=mask, tol=tol, progress=lambda i, r, seen=seen: seen.append((i, r)))
        residual = np.where(mask, y - alpha @ C, 0)
        assert (np.linalg.norm(residual, axis=1) <= 1.01 * tol * np.linalg.norm(np.where(mask, y, 0), axis=1)).all()
        assert (alpha[~mask] == 0).all()
        assert [i for i, _ in seen] == list(range(1, len(seen) + 1))
        assert seen
    warm = []
    qf.kron.gp_solve(factors, y, noise * 1.001, mask=mask, tol=1e-6, start=alpha, progress=lambda i, r: warm.append(i))
    cold = []
    qf.kron.gp_solve(factors, y, noise * 1.001, mask=mask, tol=1e-6, progress=lambda i, r: cold.append(i))
    assert len(warm) < len(cold)


def test_gradients_by_iteration_are_those_of_the_factor(backend, rng, monkeypatch):
    factors, y, mask = grid_of(rng, (7, 8), 0.6)
    g = rng.standard_normal(56)
    expected = qf.kron.gp_solve_vjp(factors, y, 0.3, mask, None, g)
    monkeypatch.setattr(covariance, "FEW", 0)
    got = qf.kron.gp_solve_vjp(factors, y, 0.3, mask, None, g, tol=1e-13)
    for a, b in zip([*got[0], *got[1:]], [*expected[0], *expected[1:]]):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * max(1, np.abs(b).max()))


def test_lanczos_is_within_its_error(best_backend, rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    factors, N = [smooth(12, 0.2), smooth(10, 0.3)], 120
    mask, y = rng.random(N) < 0.7, rng.standard_normal(N)
    exact = float(oracle.gp_nll(factors, y, [0.05], mask))
    z = []
    for seed in range(60):
        value, error = qf.kron.gp_nll(factors, y, 0.05, mask=mask, logdet="lanczos", probes=20, rng=seed, return_error=True)
        z.append((value - exact) / error)
    assert abs(np.mean(z)) <= 5 / 60**0.5  # five standard deviations of the mean of 60 values
    assert 0.5 <= np.std(z) <= 2


def test_lanczos_gradients_are_unbiased(best_backend, rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    factors, N = [smooth(6, 0.4), smooth(5, 0.4)], 30
    mask, y = rng.random(N) < 0.6, rng.standard_normal(N)
    noise = rng.uniform(0.1, 0.2, N)
    _, (d1, d2), dn = qf.kron.gp_nll(factors, y, noise, mask=mask, grad=True)
    drawn = [qf.kron.gp_nll(factors, y, noise, mask=mask, grad=True, logdet="lanczos", probes=50, rng=s)[1:] for s in range(40)]
    for got, expected in (([d[0][0] for d in drawn], d1), ([d[0][1] for d in drawn], d2), ([d[1] for d in drawn], dn)):
        error = np.std(got, axis=0, ddof=1) / 40**0.5
        assert (np.abs(np.mean(got, axis=0) - expected) <= 6 * error + 1e-8).all()


def test_lanczos_depends_on_the_seed_alone(rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    factors, y, mask = grid_of(rng, (6, 5), 0.5)
    values = [float(qf.kron.gp_nll(factors, y, 0.1, mask=mask, logdet="lanczos", rng=s)) for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_rejected(rng):
    factors, y, _ = grid_of(rng, (3, 4))
    (A, B), ones, nll_of = factors, np.ones((3, 3)), functools.partial(qf.kron.gp_nll, noise=0.1)
    missing_y, five = np.where(np.arange(12) == 2, np.nan, y), np.arange(12) < 5
    check_rejected([
        (lambda: nll_of([A, B[:, :3]], y), ValueError, r"factors\[1\] has shape"),
        (lambda: nll_of([np.triu(A), B], y), ValueError, r"^kron.gp_nll: .*factors\[0\] is not symmetric"),
        (lambda: nll_of([-np.eye(3), B], y), np.linalg.LinAlgError, r"factors\[0\] is not positive semidefinite.*-1"),
        (lambda: nll_of([A, B * np.nan], y), ValueError, r"factors\[1\] contains NaN"),
        (lambda: nll_of(factors, missing_y), ValueError, r"y\[2\] is nan.*torch.isnan or jnp.isnan"),
        (lambda: qf.kron.gp_nll(factors, y, -1.0), ValueError, "noise is -1"),
        (lambda: qf.kron.gp_nll(factors, y, np.array([np.nan])), ValueError, "noise is nan"),
        (lambda: qf.kron.gp_nll(factors, y, np.ones(5)), ValueError, "noise has shape"),
        (lambda: qf.kron.gp_nll([ones, B], y, 0.0), np.linalg.LinAlgError, "singular"),
        (lambda: qf.kron.gp_nll([ones, np.ones((4, 4))], y, 0.0, mask=five), np.linalg.LinAlgError, "not positive definite"),
        (lambda: qf.kron.gp_nll(factors, y.reshape(3, 4), 0.1, None), TypeError, "takes factors, y, noise by position, got 4 arguments"),
        (lambda: qf.kron.gp_nll(factors, y.reshape(3, 4), 0.1, noise=5.0), TypeError, "multiple values for argument 'noise'"),
        (lambda: nll_of(factors, y, logdet="both"), ValueError, "logdet is 'both'"),
        (lambda: nll_of(factors, y, probes=1), ValueError, "probes is 1"),
        (lambda: nll_of(factors, y, tol=0.0), ValueError, "tol is 0"),
        (lambda: nll_of([np.eye(4)] * 10, np.zeros(4**10), mask=np.arange(4**10) % 2 == 0), MemoryError, "524288 cells"),
    ])  # fmt: skip


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2], lambda a: a[..., ::-1].copy()[..., ::-1]])
def test_strides_change_no_bit_of_gram_matrices(backend, rng, layout):
    """BLAS sums strided arrays in a different order, so the code copies them to contiguous memory first."""
    for _ in range(20):
        x = rng.standard_normal((2, 9, 29))
        np.testing.assert_array_equal(gp_gram(layout(x)), gp_gram(x))


@pytest.mark.torch
def test_one_eigendecomposition_serves_value_and_gradient(rng, monkeypatch):
    torch = pytest.importorskip("torch")
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: calls.append(len(a)) or eigh(a))
    factors = [torch.from_numpy(factor(rng, n)).requires_grad_() for n in (4, 5)]
    y = torch.from_numpy(rng.standard_normal(20))
    qf.kron.gp_nll(factors, y, 0.3, mask=torch.from_numpy(rng.random(20) < 0.8)).backward()
    assert calls == [4, 5]


@pytest.mark.torch
def test_the_mean_is_differentiable_and_the_variance_says_no(rng):
    torch = pytest.importorskip("torch")
    factors = [torch.from_numpy(factor(rng, n)) for n in (3, 4)]
    cross = [torch.from_numpy(rng.standard_normal((2, n))).requires_grad_() for n in (3, 4)]
    y = torch.from_numpy(rng.standard_normal(12)).requires_grad_()
    mean = qf.kron.gp_posterior(factors, cross, y, 0.1, variance=False)
    da, db, dy = torch.autograd.grad(mean.sum(), [*cross, y])
    assert all(bool(g.abs().max() > 0) for g in (da, db, dy))
    with pytest.raises(NotImplementedError, match="detach"):
        qf.kron.gp_posterior(factors, cross, y, 0.1)


@pytest.mark.torch
def test_tables_compile(rng):
    torch = pytest.importorskip("torch")
    factors, y = [torch.from_numpy(factor(rng, n)) for n in (3, 4)], torch.from_numpy(rng.standard_normal((3, 4)))
    solve = torch.compile(lambda y, mask: qf.kron.gp_solve(factors, y, 0.1, mask=mask), fullgraph=True, backend="eager")
    expected = qf.kron.gp_solve(factors, y.reshape(-1), 0.1, mask=y.reshape(-1) > 0)
    torch.testing.assert_close(solve(y, y > 0), expected.reshape(3, 4), rtol=0, atol=0)


def system(rng, shape, kind, cells, share=0.7):
    N = int(np.prod(shape))
    y, noise = rng.standard_normal((3, N)), rng.uniform(0.1, 1, N if cells else 1)
    mask = {"none": None, "shared": rng.random(N) < share, "rows": rng.random((3, N)) < share}[kind]
    if mask is not None:
        y[~np.broadcast_to(mask, y.shape)] = np.nan
    return [factor(rng, n) for n in shape], y, noise, mask


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("kind", ["none", "shared", "rows"])
@pytest.mark.parametrize("share", [0.1, 0.7, 1.0])
def test_iterations_for_many_cells(kind, cells, share, rng, monkeypatch):
    monkeypatch.setattr(composition, "DENSE_UP_TO", 0)
    factors, y, noise, mask = system(rng, (5, 4, 3), kind, cells, share)
    expected = oracle.gp_solve(factors, y, noise, mask)
    for start in (None, rng.standard_normal(y.shape)):
        alpha = composition.gp_solve(np, factors, y, noise, mask, start, 1e-10)
        np.testing.assert_allclose(alpha, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_a_residual_that_is_too_large_is_nan(rng, monkeypatch):
    monkeypatch.setattr(composition, "DENSE_UP_TO", 0)
    monkeypatch.setattr(composition, "ITERATIONS", 1)
    factors, y, noise, mask = system(rng, (6, 7), "shared", False)
    assert np.isnan(composition.gp_solve(np, factors, y, noise * 1e-3, mask, None, 1e-12)).all()


REJECTED = {
    "asymmetric": lambda A, B, noise: ([A + 0.1 * np.eye(4, k=1), B], noise),
    "indefinite": lambda A, B, noise: ([A, B - 5 * np.eye(3)], noise),
    "NaN": lambda A, B, noise: ([np.where(np.eye(4) > 0, np.nan, A), B], noise),
    "noise": lambda A, B, noise: ([A, B], -noise),
    "singular": lambda A, B, noise: ([np.ones((4, 4)), B], 0 * noise),
}


@pytest.mark.parametrize("what", REJECTED)
def test_nan_if_the_host_raises(what, rng):
    (A, B), y, noise, mask = system(rng, (4, 3), "none", False)
    factors, noise = REJECTED[what](A, B, noise)
    inputs = factors, y, noise, mask
    assert np.isnan(composition.gp_solve(np, *inputs, None, 1e-10)).all()
    nll, error = composition.gp_nll(np, *inputs, None, "exact", 16, 0, 1e-10, True)
    assert np.isnan(nll).all()
    assert (error == 0).all()
    (dfactors, dy, dnoise, *_) = composition.gp_nll_vjp(np, *inputs, None, np.ones(3), "exact", 16, 0, 1e-10, False)
    assert all(np.isnan(g).all() for g in (*dfactors, dy, dnoise))


def test_nan_stays_in_its_row(rng):
    factors, y, noise, mask = system(rng, (4, 3), "none", False)
    expected = oracle.gp_solve(factors, y, noise, mask)
    y[1, 5] = np.inf
    got = composition.gp_solve(np, factors, y, noise, mask, None, 1e-10)
    assert np.isnan(got[1]).all()
    np.testing.assert_allclose(got[::2], expected[::2], rtol=1e-9, atol=1e-12)  # the tolerance is absolute for values near 0
