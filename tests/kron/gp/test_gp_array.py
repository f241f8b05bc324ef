"""The array code's own solvers: iterations if a matrix would be too large, and NaN if the host raises."""

import numpy as np
import pytest

from kron.gp import oracle
from kron.gp.cases import factor
from quatrefoil.kron.gp import composition


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
