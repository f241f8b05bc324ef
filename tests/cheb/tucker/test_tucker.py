"""Tolerance, ranks and quality of ``tucker`` with every method, extreme inputs, some axes, prescribed factors and unknown entries."""

import itertools
import tracemalloc

import numpy as np
import pytest

import quatrefoil as qf
from case import BACKENDS
from cheb.tucker.cases import tensor_of_spectrum
from cheb.tucker.oracle import full, ranks_of, sweeps, tails
from checks import check_rejected

tucker = qf.cheb.tucker
METHODS = ("sthosvd", "hooi", "rsvd")
EPS = np.finfo(float).eps


def relative_error(C, tensor):
    return np.linalg.norm(C - full(*tensor)) / np.linalg.norm(C)


def check_form(tensor, atol=1e-13):
    for U in tensor.factors:
        np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=atol)
        assert (U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])] > 0).all()
        assert U.flags.c_contiguous
    assert tensor.core.flags.c_contiguous
    assert tensor.core.shape == tuple(U.shape[1] for U in tensor.factors)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-8, 1e-11])
def test_tolerance_is_met_with_the_ranks_of_the_spectrum(rng, method, tol):
    """Sizes of 60 and more use sketches and both Gram methods; smaller sizes also use triangles."""
    sigma = 10.0 ** -np.arange(0, 15, 0.5)
    for n in ((31, 30, 35), (64, 61, 70)):
        C = tensor_of_spectrum(rng, n, sigma)
        result = tucker(C, tol=tol, method=method)
        assert relative_error(C, result) <= tol
        assert result.core.shape == (ranks_of(sigma, tol, 3),) * 3
        check_form(result)
    few = sigma[::4]
    result = tucker(tensor_of_spectrum(rng, (8, 9, 10), few), tol=tol, method=method, backend="array")
    assert result.core.shape == (ranks_of(few, tol, 3),) * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [1e-9, 1e-5])
def test_noise_that_must_be_kept(rng, method, level):
    """Low rank plus noise of full rank, 10 times the allowed error: both Gram methods keep most columns."""
    C = tensor_of_spectrum(rng, (40, 41, 42), np.geomspace(1, 1e-2, 5))
    C += level * rng.standard_normal(C.shape) / np.sqrt(C.size)
    result = tucker(C, tol=level / 10, method=method)
    assert relative_error(C, result) <= level / 10
    assert min(result.core.shape) > 30
    assert tucker(C, tol=10 * level, method=method).core.shape == (5, 5, 5)


@pytest.mark.parametrize("method", METHODS)
def test_exact_ranks_of_large_tensors(rng, method):
    """The error with rank r is given by the next singular values, down to 1e-13 of the first one."""
    for last in [1.0, 1e-9, 1e-13]:
        print(last)
        sigma = np.concatenate([np.geomspace(1, last, 8), last * 0.1 ** np.arange(1, 4)])
        C = tensor_of_spectrum(rng, (50, 47, 53), sigma)
        result = tucker(C, rank=8, method=method)
        assert result.core.shape == (8, 8, 8)
        check_form(result)
        best = np.linalg.norm(sigma[8:])
        assert np.linalg.norm(C - full(*result)) <= 1.8 * best + 20 * EPS * np.linalg.norm(sigma)
    C = tensor_of_spectrum(rng, (50, 47, 53), np.array([1.0, 0.5]))  # lower rank than requested
    result = tucker(C, rank=(7, 8, 9), method=method)
    assert result.core.shape == (7, 8, 9)
    check_form(result)
    assert relative_error(C, result) <= 30 * EPS


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.97])
def test_sketches_of_given_ranks_are_nearly_as_good(rng, ratio):
    """Singular values that decay fast, and others that decay slowly and need the power step. The worst of 20 draws was 6 % off."""
    C = tensor_of_spectrum(rng, (90, 70, 80), ratio ** np.arange(60))
    errors = [relative_error(C, tucker(C, rank=8, method=method)) for method in ("sthosvd", "rsvd")]
    assert errors[1] <= 1.25 * errors[0]


def test_sweeps_lower_the_error_as_far_as_they_can(rng):
    sigma = np.geomspace(1, 0.3, 4)
    C = tensor_of_spectrum(rng, (12, 13, 14), sigma)
    C += 0.1 * rng.standard_normal(C.shape) / np.sqrt(C.size)
    for backend in (None, "array"):
        first, better = (tucker(C, rank=4, method=method, backend=backend) for method in ("sthosvd", "hooi"))
        errors = [np.linalg.norm(C - full(*result)) for result in (first, better)]
        assert errors[1] < errors[0]
        assert errors[1] <= min(1.01 * sweeps(C, better.factors, 20), sweeps(C, first.factors, 3) * (1 + 1e-5))


@pytest.mark.parametrize("method", METHODS)
def test_always_the_same_bits(rng, method):
    C = tensor_of_spectrum(rng, (60, 31, 42), np.geomspace(1, 1e-12, 20))
    for options in ({"tol": 1e-5}, {"tol": 1e-9}, {"rank": 6}):
        expected = tucker(C, method=method, **options)
        np.random.seed(int(rng.integers(1000)))
        for same in (C, np.asfortranarray(C), np.repeat(C, 2, axis=1)[:, ::2], np.ascontiguousarray(C[::-1])[::-1]):
            result = tucker(same, method=method, **options)
            for a, b in zip((expected.core, *expected.factors), (result.core, *result.factors)):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_and_single_numbers(method):
    for backend, (options, shape) in itertools.product((None, "array"), [({"tol": 1e-3}, (1, 1, 1)), ({"rank": (2, 3, 1)}, (2, 3, 1))]):
        result = tucker(np.zeros((4, 5, 6)), method=method, backend=backend, **options)
        assert result.core.shape == shape
        assert not result.core.any()
        check_form(result)
    assert tucker(np.full((1, 1, 1), -2.0), rank=1, method=method).core.item() == -2


def test_what_is_not_finite_is_named(rng):
    for method, value in itertools.product(METHODS, [np.nan, np.inf, -np.inf]):
        print(method, value)
        C = rng.standard_normal((9, 8, 7))
        C[4, 3, 2] = C[8, 7, 6] = value
        for dtype in (np.float64, np.float32):
            with pytest.raises(ValueError, match=r"cheb.tucker: C\[4, 3, 2\] is (nan|-?inf)"):
                tucker(C.astype(dtype), tol=1e-3, method=method)
        assert all(np.isnan(a).all() for a in tucker(C, tol=1e-3, backend="array").factors)


@pytest.mark.parametrize("name", [BACKENDS[0], "array"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3000,), (2, 3000, 2), (3, 1, 3000)])
def test_an_axis_longer_than_all_others_together(shape, method, name):
    """A square matrix for that axis would take 72 MB; the result takes at most 0.4 MB."""
    rng = np.random.default_rng(3)
    C = rng.standard_normal(shape)
    columns, others = C.size // 3000, np.array([1 if n == 3000 else n for n in shape])
    ranks = [columns + 5 if n == 3000 else n for n in shape]  # more columns than the unfolding has

    def check():
        for request in ({"tol": 0.3}, {"tol": 1e-12}, {"rank": ranks}, {"rank": others.tolist()}, {"rank": shape, "tol": 1e-12}):
            actual = tucker(C, method=method, backend=name, **request)
            check_form(actual)
            error = relative_error(C, actual)
            if "tol" in request:
                assert error <= request["tol"]
                assert actual.factors[shape.index(3000)].shape[1] <= columns
            else:
                assert actual.core.shape == tuple(request["rank"])
                limit = np.sqrt(tails(C, request["rank"])) / np.linalg.norm(C)
                assert error <= (1 + 1e-9 if method != "rsvd" else 1.1) * limit + 1e-13

    check()
    tracemalloc.start()
    check()
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("backend", [None, "array"])
@pytest.mark.parametrize("method", METHODS)
def test_some_axes(rng, method, backend):
    C = tensor_of_spectrum(rng, (14, 15, 16, 13), 0.3 ** np.arange(12))
    for modes in ((2, 0), (1,), (-1, 0, 1)):
        axes = [k % 4 for k in modes]
        for tol in (1e-2, 1e-5):
            result = tucker(C, tol=tol, modes=modes, method=method, backend=backend)
            assert np.linalg.norm(full(*result, axes) - C) <= tol * np.linalg.norm(C)
            assert [result.core.shape[k] for k in axes] == [U.shape[1] for U in result.factors]
            assert all(result.core.shape[k] == C.shape[k] for k in range(4) if k not in axes)
            assert max(result.core.shape[k] for k in axes) < 12
        result = tucker(C, rank=[3] * len(modes), modes=modes, method=method, backend=backend)
        error = np.linalg.norm(full(*result, axes) - C)
        left = [np.linalg.svd(np.moveaxis(C, k, 0).reshape(C.shape[k], -1), compute_uv=False)[3:] for k in axes]
        assert error <= 1.2 * np.sqrt(sum((s**2).sum() for s in left))
    assert tucker(np.zeros((3, 4)), tol=1e-3, modes=0).core.shape == (1, 4)


def test_factors_that_span_the_tensor_miss_nothing(rng):
    """A difference of norms would be about 1e-8 because of rounding."""
    C = tensor_of_spectrum(rng, (7, 8, 9), 0.3 ** np.arange(5))
    U = tucker(C, tol=1e-14).factors[1]
    for _ in range(20):
        factor = U @ (np.eye(5) + 0.1 * rng.standard_normal((5, 5)))
        np.testing.assert_allclose(full(*tucker(C, tol=1e-12, fixed={1: factor})), C, rtol=0, atol=1e-12)


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
    np.testing.assert_allclose(full(*line, (0, 1)), C, atol=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.15])
def test_unknown_entries_of_a_low_rank(rng, share):
    C = 1e5 * full(rng.standard_normal((3, 4, 2)), [rng.standard_normal((n, r)) for n, r in ((20, 3), (18, 4), (16, 2))])
    known = rng.random(C.shape) < share
    for dtype, tol in ((np.float64, 1e-7), (np.float32, 1e-5)):
        result = tucker(np.where(known, C, np.nan).astype(dtype), rank=(3, 4, 2), mask=known)
        assert result.core.dtype == dtype
        assert np.linalg.norm(full(*result) - C) <= tol * np.linalg.norm(C)
    U = np.linalg.qr(C.reshape(20, -1) @ rng.standard_normal((288, 3)))[0]
    fixed = tucker(np.where(known, C, np.nan), rank=(4, 2), mask=known, fixed={0: U})
    np.testing.assert_array_equal(fixed.factors[0], U)
    assert np.linalg.norm(full(*fixed) - C) <= 1e-7 * np.linalg.norm(C)
    partly = tucker(np.where(known, C, np.nan), rank=(3, 4), mask=known, modes=(0, 1))
    assert np.linalg.norm((full(*partly, (0, 1)) - C)[known]) <= 1e-6 * np.linalg.norm(C)


def test_prescribed_factors_reduce_the_known_entries_needed(rng):
    U, core = np.linalg.qr(rng.standard_normal((30, 10)))[0], rng.standard_normal((10, 1, 1))
    C = full(core, [U, rng.standard_normal((6, 1)), rng.standard_normal((5, 1))])
    known = np.zeros(C.shape, bool)
    known[:, 0, 0] = known[:3, :, 1] = known[:3, 1, :] = True  # 57 entries for 10 + 5 + 4 unknowns; 200 more if U were unknown
    fixed = tucker(np.where(known, C, np.nan), rank=(1, 1), mask=known, fixed={0: U})
    assert np.linalg.norm(full(*fixed) - C) <= 1e-6 * np.linalg.norm(C)


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
        (lambda: tucker(C, rank=(5, 6), mask=few, modes=(0, 1)), ValueError, r"210, the number of parameters at rank \(5, 6, 7\)"),
        (lambda: tucker(C, rank=2, mask=known, backend="array"), ValueError, "supported only on the host"),
    ])  # fmt: skip
