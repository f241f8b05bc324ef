"""Preconditioners of the iterations, against their definition on dense matrices."""

import functools

import numpy as np
import pytest

import quatrefoil as qf
from kron.gp.cases import factor
from quatrefoil.kron.gp import basis, covariance, iterative
from quatrefoil.kron.gp.grid import Grid
from quatrefoil.kron.gp.low_rank import LowRank
from quatrefoil.kron.gp.precondition import NeighbourPreconditioner, correlated_axes


@pytest.fixture(params=[2, 1000], ids=["halves", "whole"])
def halves(request, monkeypatch):
    monkeypatch.setattr(basis, "HALVED_FROM", 2)
    monkeypatch.setattr(basis, "FOLDED_FROM", request.param)


def grid_of(rng, shape, backend):
    factors = [factor(rng, n) for n in shape]
    return Grid([a if n % 3 == 0 else (a + a[::-1, ::-1]) / 2 for n, a in zip(shape, factors)], "test", backend)


def inverse_of(grid, values):
    Q = functools.reduce(np.kron, grid.basis.matrices)
    return (Q * values) @ Q.T


def before(shape, k):
    """The cell before each cell along axis k, or -1 if there is none."""
    cells = np.arange(np.prod(shape)).reshape(shape)
    result = np.full(shape, -1)
    np.moveaxis(result, k, 0)[1:] = np.moveaxis(cells, k, 0)[:-1]
    return result.reshape(-1)


SHAPES = [(1,), (7,), (2, 5), (4, 6), (3, 1, 4), (5, 2, 3), (2, 2, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_of_the_factor(backend, rng, halves, shape, dtype):
    grid, d = grid_of(rng, shape, backend), len(shape)
    axes = [k for k in range(d) if rng.random() < 0.8]
    values = rng.uniform(0.5, 2, (2, grid.size))
    latent = rng.random(values.shape) < 0.7
    extra_inverse = np.where(latent & (rng.random(values.shape) < 0.5), rng.uniform(0, 1, values.shape), 0)
    r = np.where(latent, rng.standard_normal(values.shape), 0)
    result = NeighbourPreconditioner(grid, values.astype(dtype), latent, extra_inverse, axes)(r.astype(dtype))
    assert result.dtype == dtype
    for row in range(2):
        M, G = inverse_of(grid, values[row]) + np.diag(extra_inverse[row]), np.zeros((grid.size, grid.size))
        for i in np.flatnonzero(latent[row]):
            S = [i, *[j for k in axes if (j := before(shape, k)[i]) >= 0 and latent[row, j]]]
            g = np.linalg.solve(M[np.ix_(S, S)], np.eye(len(S))[0])
            G[i, S] = g / np.sqrt(g[0])
        expected = G.T @ G @ r[row]
        np.testing.assert_allclose(result[row], expected, rtol=0, atol=100 * np.finfo(dtype).eps * max(1, np.abs(expected).max()))


def test_which_axes_count(rng):
    """White noise along an axis does not predict the next cell; a rough curve predicts it well."""
    x = np.arange(30.0)
    rough, white = np.exp(-np.abs(x[:, None] - x) / 5), np.eye(30)
    for factors, expected in (([rough, white], [0]), ([white, rough], [1]), ([rough, rough], [0, 1]), ([white], [])):
        grid = Grid(factors, "test")
        assert correlated_axes(grid, grid.inverse_eigenvalues(0.05)[None]) == expected
    empty = Grid([np.zeros((0, 0)), white], "test")
    assert correlated_axes(empty, np.zeros((1, 0))) == []


def test_neighbours_that_say_the_same(rng, monkeypatch):
    """Neighbours that determine each other to single precision: the factor stays regular and the solution accurate."""
    monkeypatch.setattr(covariance, "FEW", 0)
    x = np.linspace(0, 1, 40)
    smooth = np.exp(-np.abs(x[:, None] - x) / 50)
    factors, noise, mask = [smooth, smooth], 1e-7, rng.random(1600) < 0.5
    y = np.where(mask, np.kron(*factors) @ rng.standard_normal(1600), 0)
    alpha = qf.kron.gp_solve(factors, y, noise, mask=mask, tol=1e-7)
    residual = np.where(mask, y - np.kron(*factors) @ alpha - noise * alpha, 0)
    assert np.linalg.norm(residual) <= 1.01e-7 * np.linalg.norm(y)


def test_few_iterations_on_a_rough_curve(rng):
    """An image that is smooth over two or three pixels, 30 % missing. A diagonal preconditioner takes 45 iterations."""
    x = np.arange(96.0)
    factors = [qf.kron.matern52(x, scale=3.2), qf.kron.matern52(x, scale=2.2)]
    mask, counts = rng.random(96**2) < 0.7, []
    y = np.where(mask, rng.standard_normal(96**2), 0)
    qf.kron.gp_solve(factors, y, 0.02, mask=mask, tol=1e-6, progress=lambda count, left: counts.append(count))
    assert max(counts) < 36


def smooth_grid(shape, backend=None, scale=0.3):
    return Grid([qf.kron.rbf(np.linspace(0, 1, n), scale=scale) for n in shape], "test", backend)


@pytest.mark.parametrize("shape", [(9, 8), (6, 4, 5), (1, 12)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_leading_eigenvectors(backend, rng, shape, dtype):
    grid, noise = smooth_grid(shape, backend), 0.01
    weights = np.where(rng.random(grid.size) < 0.5, rng.choice([1.0, 0.3] if len(shape) == 2 else [1.0], grid.size), 0)
    at = np.flatnonzero(weights)
    smallest = max(np.sort(grid.eigenvalues)[-int((40 * grid.size * sum(shape)) ** (1 / 3)) :][0], 0.1 * noise)
    selected = np.where(grid.eigenvalues >= smallest, grid.eigenvalues, 0)
    M = noise * inverse_of(grid, 1 / (selected + noise))[np.ix_(at, at)] + np.diag(1 / weights[at] - 1)
    output, r = LowRank(grid, noise, weights), np.zeros((2, grid.size), dtype)
    r[:, at] = rng.standard_normal((2, len(at)))
    result = output(r)
    assert result.dtype == dtype
    expected = np.linalg.solve(M, r[:, at].T).T
    np.testing.assert_allclose(result[:, at], expected, rtol=0, atol=2e4 * np.finfo(dtype).eps * np.abs(expected).max())
    assert not result[:, weights == 0].any()
    assert output.logdet() == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-9)
    probes = output.probes(rng.choice([-1.0, 1.0], (20000, output.signs)))
    np.testing.assert_allclose(np.cov(probes[:, at].T), M, rtol=0, atol=6 * M.max() / 20000**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("noises", [[0.01], [0.01, 0.02]], ids=str)
def test_a_large_hole(rng, monkeypatch, noises):
    grid, mask, y = smooth_grid((60, 60), scale=0.15), np.ones((60, 60), bool), rng.standard_normal(3600)
    mask[10:45, 15:55] = False
    mask, noise = mask.reshape(-1), np.resize(noises, 3600) if len(noises) > 1 else noises[0]
    exact, *gradients = qf.kron.gp_nll(grid.factors, y, noise, mask=mask, grad=True)
    iterations, errors = [], []
    for patience in (iterative._PATIENCE, 10**6):
        monkeypatch.setattr(iterative, "_PATIENCE", patience)
        counts = []
        alpha = qf.kron.gp_solve(grid.factors, y, noise, mask=mask, tol=1e-9, progress=lambda count, left: counts.append(count))  # noqa: B023
        iterations.append(counts[-1])
        residual = np.where(mask, y - np.kron(*grid.factors) @ alpha - noise * alpha, 0)
        assert np.linalg.norm(residual) <= 1.01e-9 * np.linalg.norm(y[mask])
        value, error, *estimates = qf.kron.gp_nll(
            grid.factors, y, noise, mask=mask, grad=True, logdet="lanczos", probes=100, rng=0, return_error=True
        )
        assert abs(value - exact) <= 4 * error + 1e-6 * abs(exact)
        for a, b in zip([*estimates[0], estimates[1]], [*gradients[0], gradients[1]]):
            np.testing.assert_allclose(a, b, rtol=0, atol=0.01 * np.abs(b).max())
        errors.append(error)
    assert iterations[0] < 0.2 * iterations[1]
    assert errors[0] < 0.1 * errors[1]
