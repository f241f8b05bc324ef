"""Eigenvectors by parity, for mirror-symmetric axes of even and odd size and for other axes."""

import functools

import numpy as np
import pytest

import quatrefoil as qf
from kron.dense import smooth
from kron.gp import oracle
from kron.gp.cases import factor
from quatrefoil.kron.gp import basis, covariance, iterative, missing
from quatrefoil.kron.gp.grid import Grid


@pytest.fixture(autouse=True)
def halves_from_the_start(monkeypatch):
    monkeypatch.setattr(basis, "HALVED_FROM", 2)
    monkeypatch.setattr(basis, "FOLDED_FROM", 2)


def mirrored(rng, n):
    a = factor(rng, n)
    return (a + a[::-1, ::-1]) / 2


def factors_of(rng, kinds):
    return [(mirrored if kind == "m" else factor)(rng, n) for n, kind in kinds]


KINDS = [
    [(6, "m")], [(7, "m")], [(2, "m"), (3, "m")], [(6, "m"), (5, "f")], [(4, "f"), (7, "m")], [(3, "m"), (4, "f"), (5, "m")],
    [(2, "m")] * 4,
]  # fmt: skip


@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_eigenvectors_and_products(backend, rng, kinds):
    factors = factors_of(rng, kinds)
    grid = Grid(factors, "test", backend)
    K = functools.reduce(np.kron, factors)
    N = len(K)
    assert grid.basis.folded == [k for k, (_, kind) in enumerate(kinds) if kind == "m"]
    Q = functools.reduce(np.kron, grid.basis.matrices)
    np.testing.assert_allclose(Q.T @ Q, np.eye(N), rtol=0, atol=1e-13)
    np.testing.assert_allclose((Q * grid.eigenvalues) @ Q.T, K, rtol=0, atol=1e-13 * len(kinds))
    x = rng.standard_normal((3, 2, N))
    np.testing.assert_allclose(grid.to_basis(x), x @ Q, rtol=0, atol=1e-13)
    np.testing.assert_allclose(grid.from_basis(x), x @ Q.T, rtol=0, atol=1e-13)
    values = rng.uniform(0.5, 2, (3, N))
    got = basis.Filter(grid.basis, values)(x[:, 0])
    np.testing.assert_allclose(got, (x[:, 0] @ Q * values) @ Q.T, rtol=0, atol=1e-13)
    single = basis.Filter(grid.basis, values[:1], np.float32)(x[:, 0].astype("f"))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, (x[:, 0] @ Q * values[0]) @ Q.T, rtol=0, atol=2e-5)


@pytest.mark.parametrize("share", [None, 0.8, 0.2])
def test_likelihood_and_gradients(backend, rng, share):
    factors = factors_of(rng, [(5, "m"), (4, "m"), (3, "f")])
    y, mask = rng.standard_normal(60), None if share is None else rng.random(60) < share
    value, dfactors, dnoise = qf.kron.gp_nll(factors, y, 0.3, mask=mask, grad=True)
    assert abs(value - oracle.gp_nll(factors, y, [0.3], mask)) <= 1e-12 * abs(value)
    basis.FOLDED_FROM = 1000  # use parity for the eigenvectors only; the fixture restores this
    for got, expected in zip(qf.kron.gp_nll(factors, y, 0.3, mask=mask, grad=True)[1], dfactors):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))
    basis.HALVED_FROM = 1000
    plain = qf.kron.gp_nll(factors, y, 0.3, mask=mask, grad=True)
    for a, b in zip([*dfactors, dnoise], [*plain[1], plain[2]]):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, np.abs(b).max()))


def test_negative_eigenvalues_of_one_parity_raise(rng):
    a = mirrored(rng, 6)
    with pytest.raises(np.linalg.LinAlgError, match=r"factors\[0\] is not positive semidefinite"):
        qf.kron.gp_solve([a - 3 * np.eye(6)], np.zeros(6), 0.1)


def test_iterations_in_single_precision_end_in_double(backend, rng, monkeypatch):
    """A smooth covariance with few important eigenvectors and a rough one, with noise so small that single precision stalls."""
    monkeypatch.setattr(covariance, "FEW", 0)
    x = np.linspace(0, 1, 25)
    flat, rough = smooth(25, 0.3), np.exp(-np.abs(x[:, None] - x))
    for factors, noise in (([flat] * 2, 0.1), ([rough] * 2, 0.1), ([flat] * 2, 1e-4), ([rough, flat], 1e-6)):
        mask = rng.random(625) < 0.6
        y = np.where(mask, rng.standard_normal(625), 0)
        alpha = qf.kron.gp_solve(factors, y, noise, mask=mask, tol=1e-9)
        residual = np.where(mask, y - np.kron(*factors) @ alpha - noise * alpha, 0)
        rounding = 30 * 2.0**-52 * np.linalg.norm(np.kron(*factors), 2) * np.linalg.norm(alpha)  # of the residual itself
        assert np.linalg.norm(residual) <= 1e-9 * np.linalg.norm(y) + rounding


def test_values_outside_single_precision(rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    mask, y = rng.random(30) < 0.6, rng.standard_normal(30)
    for unit, noise, fits in ((1.0, 1e-20, False), (1e-20, 1e-20, True), (1e-200, 1e-200, True)):
        factors = [unit * factor(rng, 5), factor(rng, 6)]
        cells = missing.Cells(np.full(1, noise), mask, 30)
        assert (iterative.Iterative(Grid(factors, "test"), [cells], 1e-10)._single is not None) == fits
        got = qf.kron.gp_solve(factors, y, noise, mask=mask)
        expected = oracle.gp_solve(factors, y, [noise], mask).astype(float)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_unreachable_tolerances_warn(rng, monkeypatch):
    monkeypatch.setattr(covariance, "FEW", 0)
    mask = rng.random(625) < 0.6
    with pytest.warns(RuntimeWarning, match=r"kron.gp_solve: conjugate gradients stopped at a residual of .* expected 1.0e-15") as warned:
        qf.kron.gp_solve([smooth(25, 0.3)] * 2, rng.standard_normal(625), 1e-6, mask=mask, tol=1e-15)
    assert {w.filename for w in warned} == {__file__}
