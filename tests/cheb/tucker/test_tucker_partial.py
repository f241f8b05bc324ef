"""``tucker`` along some axes, with prescribed factors, and with unknown entries."""

import numpy as np
import pytest

import quatrefoil as qf
from cheb.tucker.cases import tensor_of_spectrum
from cheb.tucker.oracle import full, tails
from checks import check_rejected

tucker = qf.cheb.tucker


def whole(tensor, modes):
    result = tensor.core
    for k, U in zip(modes, tensor.factors, strict=True):
        result = np.moveaxis(np.tensordot(U, result, axes=(1, k)), 0, k)
    return result


@pytest.mark.parametrize("backend", [None, "array"])
@pytest.mark.parametrize("method", ["sthosvd", "hooi", "rsvd"])
def test_some_axes(rng, method, backend):
    C = tensor_of_spectrum(rng, (14, 15, 16, 13), 0.3 ** np.arange(12))
    for modes in ((2, 0), (1,), (-1, 0, 1)):
        axes = [k % 4 for k in modes]
        for tol in (1e-2, 1e-5):
            result = tucker(C, tol=tol, modes=modes, method=method, backend=backend)
            assert np.linalg.norm(whole(result, axes) - C) <= tol * np.linalg.norm(C)
            assert [result.core.shape[k] for k in axes] == [U.shape[1] for U in result.factors]
            assert all(result.core.shape[k] == C.shape[k] for k in range(4) if k not in axes)
            assert max(result.core.shape[k] for k in axes) < 12
        result = tucker(C, rank=[3] * len(modes), modes=modes, method=method, backend=backend)
        error = np.linalg.norm(whole(result, axes) - C)
        left = [np.linalg.svd(np.moveaxis(C, k, 0).reshape(C.shape[k], -1), compute_uv=False)[3:] for k in axes]
        assert error <= 1.2 * np.sqrt(sum((s**2).sum() for s in left))
    assert tucker(np.zeros((3, 4)), tol=1e-3, modes=0).core.shape == (1, 4)


def test_given_factors(rng):
    """The tensor's own factor times a matrix reproduces it; other factors give its projection."""
    C = tensor_of_spectrum(rng, (14, 15, 16), 0.3 ** np.arange(6))
    U = tucker(C, tol=1e-13).factors[1] @ (np.eye(6) + 0.1 * rng.standard_normal((6, 6)))
    result = tucker(C, tol=1e-10, fixed={1: U})
    np.testing.assert_array_equal(result.factors[1], U)
    np.testing.assert_allclose(full(*result), C, atol=1e-9)
    W = rng.standard_normal((14, 9))
    for fixed in ({0: W}, {0: W, -1: rng.standard_normal((16, 10))}):
        projected = C
        for k, V in fixed.items():
            projected = np.moveaxis(np.tensordot(V @ np.linalg.pinv(V), projected, axes=(1, k)), 0, k)
        free = [k for k in range(3) if k not in fixed and k - 3 not in fixed]
        np.testing.assert_allclose(full(*tucker(C, rank=6, fixed=fixed)), projected, atol=1e-12)
        missed = np.linalg.norm(full(*tucker(C, rank=3, fixed=fixed, method="hooi")) - projected)
        ranks = [3 if k in free else 14 + k for k in range(3)]
        assert missed <= 1.001 * np.sqrt(tails(projected, ranks))
        tol = 1.1 * np.linalg.norm(C - projected) / np.linalg.norm(C)
        assert np.linalg.norm(full(*tucker(C, tol=tol, fixed=fixed)) - C) <= tol * np.linalg.norm(C)
    every = tucker(C, fixed=dict(enumerate(result.factors)))
    np.testing.assert_allclose(every.core, result.core, atol=1e-9)
    line = tucker(C, rank=6, modes=(0, 1), fixed={1: U})
    assert line.core.shape == (6, 6, 16)
    np.testing.assert_allclose(whole(line, (0, 1)), C, atol=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.15])
def test_unknown_entries_of_a_low_rank(rng, share):
    C = 1e5 * full(rng.standard_normal((3, 4, 2)), [rng.standard_normal((n, r)) for n, r in ((20, 3), (18, 4), (16, 2))])
    known = rng.random(C.shape) < share
    for dtype, tol in ((np.float64, 1e-7), (np.float32, 1e-5)):
        result = tucker(np.where(known, C, np.nan).astype(dtype), rank=(3, 4, 2), mask=known)
        assert result.core.dtype == dtype
        assert np.linalg.norm(full(*result) - C) <= tol * np.linalg.norm(C)
    U = np.linalg.qr(np.moveaxis(C, 0, 0).reshape(20, -1) @ rng.standard_normal((288, 3)))[0]
    fixed = tucker(np.where(known, C, np.nan), rank=(4, 2), mask=known, fixed={0: U})
    np.testing.assert_array_equal(fixed.factors[0], U)
    assert np.linalg.norm(full(*fixed) - C) <= 1e-7 * np.linalg.norm(C)
    partly = tucker(np.where(known, C, np.nan), rank=(3, 4), mask=known, modes=(0, 1))
    assert np.linalg.norm((whole(partly, (0, 1)) - C)[known]) <= 1e-6 * np.linalg.norm(C)


def test_unknown_entries_of_decaying_singular_values(rng):
    x = np.linspace(0, 1, 16)
    C = 1 / (1 + x[:, None, None] + x[:, None] + x)
    known = rng.random(C.shape) < 0.5
    best = np.linalg.norm(full(*tucker(C, rank=2, method="hooi")) - C)
    assert np.linalg.norm(full(*tucker(np.where(known, C, np.nan), rank=2, mask=known)) - C) <= 3 * best


def test_the_nearest_tensor_to_noisy_entries(rng):
    """The result is a stationary point: the residual at the known entries is orthogonal to every change of the core and of a factor."""
    C = full(rng.standard_normal((2, 3, 2)), [rng.standard_normal((n, r)) for n, r in ((12, 2), (11, 3), (10, 2))])
    noisy = C + 0.1 * rng.standard_normal(C.shape)
    known = rng.random(C.shape) < 0.6
    fitted = tucker(noisy, rank=(2, 3, 2), mask=known)
    left = np.where(known, full(*fitted) - noisy, 0)
    assert np.linalg.norm(full(*fitted) - C) < 0.5 * np.linalg.norm(noisy - C)
    core, factors = fitted
    slopes = [full(left, [U.T for U in factors])]
    for k in range(3):
        others = full(core, [np.eye(core.shape[k]) if j == k else U for j, U in enumerate(factors)])
        slopes.append(np.tensordot(left, others, axes=([j for j in range(3) if j != k],) * 2))
    assert max(np.abs(slope).max() for slope in slopes) <= 1e-6 * np.linalg.norm(left) * np.linalg.norm(core)


def test_bad_input(rng):
    C = rng.standard_normal((5, 6, 7))
    known = np.ones(C.shape, bool)
    hidden = known.copy()
    hidden[:, 3] = False
    few = np.zeros(C.shape, bool)
    few[:, :, 0] = few[0] = few[:, 0] = True
    with_nan = C.copy()
    with_nan[1, 2, 3] = np.nan
    check_rejected([
        (lambda: tucker(C, tol=1e-3, modes=(0, 0)), ValueError, "expected distinct axes"),
        (lambda: tucker(C, tol=1e-3, modes=3), ValueError, "modes is 3"),
        (lambda: tucker(C, rank=(2, 2, 2), modes=(0, 1)), ValueError, "rank has 3 entries, expected 2"),
        (lambda: tucker(C, rank=8, modes=(0, 1)), ValueError, r"rank is \(8, 8\), expected at most the shape of C, \(5, 6\)"),
        (lambda: tucker(C, rank=2, fixed=[np.eye(5)]), TypeError, "fixed is list, expected a mapping"),
        (lambda: tucker(C, rank=2, fixed={0: np.eye(6)}), ValueError, r"fixed\[0\] has shape \(6, 6\), expected \(5, r\)"),
        (lambda: tucker(C, rank=2, fixed={0: np.ones((5, 2))}), ValueError, "linearly dependent"),
        (lambda: tucker(C, rank=2, modes=1, fixed={0: np.eye(5)}), ValueError, "an axis among modes"),
        (lambda: tucker(C, tol=1e-3, fixed={0: np.eye(5, 1)}), ValueError, r"alone miss .* of C, more than tol = 0\.001"),
        (lambda: tucker(C, fixed={0: np.eye(5)}), ValueError, "rank is None"),
        (lambda: tucker(C, tol=1e-3, mask=known), ValueError, "with a mask, a tolerance cannot determine them"),
        (lambda: tucker(C, rank=2, mask=known[0]), ValueError, r"mask is bool of shape \(6, 7\)"),
        (lambda: tucker(C, rank=2, mask=known * 1.0), ValueError, "mask is float64"),
        (lambda: tucker(with_nan, rank=2, mask=known), ValueError, r"C\[1, 2, 3\] is nan"),
        (lambda: tucker(C, rank=2, mask=hidden), ValueError, "no known entry at index 3 of axis 1"),
        (lambda: tucker(C, rank=(5, 6, 7), mask=few), ValueError, "known entries, expected at least 210"),
        (lambda: tucker(C, rank=2, mask=known, backend="array"), ValueError, "supported only on the host"),
    ])  # fmt: skip
