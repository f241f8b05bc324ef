"""The array code against the same truths as the host's: errors by full SVDs, ranks of a known spectrum."""

import itertools

import numpy as np

from cheb.tucker.cases import tensor_of_spectrum
from cheb.tucker.oracle import full, ranks_of, sweeps, tails
from quatrefoil.cheb.tucker import _array


def tucker(C, tol=None, ranks=None, method="sthosvd"):
    room = tuple(ranks or C.shape)
    core, flat, kept = _array.tucker(np, C, -1.0 if tol is None else tol, room, method)
    assert core.shape == C.shape
    assert core.dtype == flat.dtype == C.dtype
    assert kept.dtype == np.int64
    ends = np.cumsum([n * most for n, most in zip(C.shape, room)])
    factors = [flat[end - n * most : end].reshape(n, most)[:, :r] for n, most, r, end in zip(C.shape, room, kept, ends)]
    return core[tuple(map(slice, kept))], factors


def check(C, core, factors):
    for U in factors:
        np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-6 if C.dtype == np.float32 else 1e-12)
        assert (U.max(axis=0) >= -U.min(axis=0) - 1e-7).all()
    projected = np.asarray(C, np.float64)
    for k, U in enumerate(factors):
        projected = np.moveaxis(np.tensordot(U.T, projected, axes=(1, k)), 0, k)
    np.testing.assert_allclose(core, projected, atol=(1e-5 if C.dtype == np.float32 else 1e-12) * np.abs(C).max() * C.size**0.5)
    return float(np.linalg.norm(C - full(core, factors)))


def test_exact_ranks(rng):
    for shape, method, dtype in itertools.product(
        [(7,), (9, 5), (3, 11), (6, 5, 7), (12, 2, 3), (4, 1, 5, 3)], ["sthosvd", "hooi", "rsvd"], [np.float32, np.float64]
    ):
        print(shape, method, dtype)
        C = rng.standard_normal(shape).astype(dtype)
        ranks = [int(rng.integers(1, n + 1)) for n in shape]
        core, factors = tucker(C, ranks=ranks, method=method)
        assert core.shape == tuple(ranks)
        error = check(C, core, factors)
        assert error**2 <= tails(C.astype(np.float64), ranks) * (1 + 1e-6) + 1e-9 * np.linalg.norm(C) ** 2
        if method == "hooi":
            started = tucker(C, ranks=ranks)[1]
            assert error <= sweeps(C.astype(np.float64), [U.astype(np.float64) for U in started], 3) + 1e-5 * np.linalg.norm(C)


def test_tolerance(rng):
    for tol, method in itertools.product([0.3, 1e-3, 1e-8, 1e-12], ["sthosvd", "hooi", "rsvd"]):
        print(tol, method)
        sigma = 0.2 ** np.arange(20)
        C = tensor_of_spectrum(rng, (24, 21, 30), sigma) * 10.0 ** rng.integers(-250, 250)
        core, factors = tucker(C, tol=tol, method=method)
        scaled = C / np.abs(C).max()
        error = np.linalg.norm(scaled - full(core / np.abs(C).max(), factors)) / np.linalg.norm(scaled)
        assert error <= tol
        assert all(r <= ranks_of(sigma, tol, 3) + 1 for r in core.shape)


def test_tolerance_with_ranks_at_most(rng):
    C = tensor_of_spectrum(rng, (10, 11, 12), 0.5 ** np.arange(9))
    core, factors = tucker(C, tol=1e-1, ranks=(2, 11, 12))
    assert core.shape[0] == 2
    check(C, core, factors)


def test_nothing_and_what_is_not_finite(rng):
    C = np.zeros((3, 4))
    assert tucker(C, tol=1e-3)[0].shape == (1, 1)
    assert (tucker(C, ranks=(2, 2))[0] == 0).all()
    C[1, 2] = np.inf
    core, factors = tucker(C, tol=1e-3)
    assert np.isnan(core).all()
    assert all(np.isnan(U).all() for U in factors)
