"""Tolerance, ranks and quality of ``tucker`` with every method, and extreme inputs: tiny, huge, zero, exact, strided."""

import itertools
import tracemalloc

import numpy as np
import pytest

import quatrefoil as qf
from case import BACKENDS
from cheb.tucker.cases import tensor_of_spectrum
from cheb.tucker.oracle import full, ranks_of, sweeps, tails

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
def test_tolerance_is_met_with_the_ranks_of_the_spectrum(rng, method):
    """Sizes of 60 and more use sketches and both Gram methods; smaller sizes also use triangles."""
    for tol in [1e-2, 1e-5, 1e-8, 1e-11]:
        print(tol)
        sigma = 10.0 ** -np.arange(0, 15, 0.5)
        for n in ((31, 30, 35), (64, 61, 70)):
            C = tensor_of_spectrum(rng, n, sigma)
            result = qf.cheb.tucker(C, tol=tol, method=method)
            assert relative_error(C, result) <= tol
            assert result.core.shape == (ranks_of(sigma, tol, 3),) * 3
            check_form(result)
        few = sigma[::4]
        result = qf.cheb.tucker(tensor_of_spectrum(rng, (8, 9, 10), few), tol=tol, method=method, backend="array")
        assert result.core.shape == (ranks_of(few, tol, 3),) * 3


@pytest.mark.parametrize("method", METHODS)
def test_noise_that_must_be_kept(rng, method):
    """Low rank plus noise of full rank, 10 times the allowed error: both Gram methods keep most columns."""
    for level in [1e-9, 1e-5]:
        print(level)
        C = tensor_of_spectrum(rng, (40, 41, 42), np.geomspace(1, 1e-2, 5))
        C += level * rng.standard_normal(C.shape) / np.sqrt(C.size)
        result = qf.cheb.tucker(C, tol=level / 10, method=method)
        assert relative_error(C, result) <= level / 10
        assert min(result.core.shape) > 30
        assert qf.cheb.tucker(C, tol=10 * level, method=method).core.shape == (5, 5, 5)


@pytest.mark.parametrize("method", METHODS)
def test_exact_ranks_of_large_tensors(rng, method):
    """The error with rank r is given by the next singular values, down to 1e-13 of the first one."""
    for last in [1.0, 1e-9, 1e-13]:
        print(last)
        sigma = np.concatenate([np.geomspace(1, last, 8), last * 0.1 ** np.arange(1, 4)])
        C = tensor_of_spectrum(rng, (50, 47, 53), sigma)
        result = qf.cheb.tucker(C, rank=8, method=method)
        assert result.core.shape == (8, 8, 8)
        check_form(result)
        best = np.linalg.norm(sigma[8:])
        assert np.linalg.norm(C - full(*result)) <= 1.8 * best + 20 * EPS * np.linalg.norm(sigma)
    C = tensor_of_spectrum(rng, (50, 47, 53), np.array([1.0, 0.5]))  # lower rank than requested
    result = qf.cheb.tucker(C, rank=(7, 8, 9), method=method)
    assert result.core.shape == (7, 8, 9)
    check_form(result)
    assert relative_error(C, result) <= 30 * EPS


def test_sketches_of_given_ranks_are_nearly_as_good(rng):
    """Singular values that decay fast, and others that decay slowly and need the power step. The worst of 20 draws was 6 % off."""
    for ratio in [0.5, 0.9, 0.97]:
        print(ratio)
        C = tensor_of_spectrum(rng, (90, 70, 80), ratio ** np.arange(60))
        errors = [relative_error(C, qf.cheb.tucker(C, rank=8, method=method)) for method in ("sthosvd", "rsvd")]
        assert errors[1] <= 1.25 * errors[0]


def test_sweeps_lower_the_error_as_far_as_they_can(rng):
    sigma = np.geomspace(1, 0.3, 4)
    C = tensor_of_spectrum(rng, (12, 13, 14), sigma)
    C += 0.1 * rng.standard_normal(C.shape) / np.sqrt(C.size)
    for backend in (None, "array"):
        first, better = (qf.cheb.tucker(C, rank=4, method=method, backend=backend) for method in ("sthosvd", "hooi"))
        errors = [np.linalg.norm(C - full(*result)) for result in (first, better)]
        assert errors[1] < errors[0]
        assert errors[1] <= min(1.01 * sweeps(C, better.factors, 20), sweeps(C, first.factors, 3) * (1 + 1e-5))


@pytest.mark.parametrize("method", METHODS)
def test_always_the_same_bits(rng, method):
    C = tensor_of_spectrum(rng, (60, 31, 42), np.geomspace(1, 1e-12, 20))
    for options in ({"tol": 1e-5}, {"tol": 1e-9}, {"rank": 6}):
        expected = qf.cheb.tucker(C, method=method, **options)
        np.random.seed(int(rng.integers(1000)))
        for same in (C, np.asfortranarray(C), np.repeat(C, 2, axis=1)[:, ::2], np.ascontiguousarray(C[::-1])[::-1]):
            result = qf.cheb.tucker(same, method=method, **options)
            for a, b in zip((expected.core, *expected.factors), (result.core, *result.factors)):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_and_single_numbers(method):
    for backend, (options, shape) in itertools.product((None, "array"), [({"tol": 1e-3}, (1, 1, 1)), ({"rank": (2, 3, 1)}, (2, 3, 1))]):
        result = qf.cheb.tucker(np.zeros((4, 5, 6)), method=method, backend=backend, **options)
        assert result.core.shape == shape
        assert not result.core.any()
        check_form(result)
    assert qf.cheb.tucker(np.full((1, 1, 1), -2.0), rank=1, method=method).core.item() == -2


def test_what_is_not_finite_is_named(rng):
    for method, value in itertools.product(METHODS, [np.nan, np.inf, -np.inf]):
        print(method, value)
        C = rng.standard_normal((9, 8, 7))
        C[4, 3, 2] = C[8, 7, 6] = value
        for dtype in (np.float64, np.float32):
            with pytest.raises(ValueError, match=r"cheb.tucker: C\[4, 3, 2\] is (nan|-?inf)"):
                qf.cheb.tucker(C.astype(dtype), tol=1e-3, method=method)
        assert all(np.isnan(a).all() for a in qf.cheb.tucker(C, tol=1e-3, backend="array").factors)


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
            actual = qf.cheb.tucker(C, method=method, backend=name, **request)
            check_form(actual)
            error = relative_error(C, actual)
            if "tol" in request:
                assert error <= request["tol"]
                assert actual.factors[shape.index(3000)].shape[1] <= columns
            else:
                assert actual.core.shape == tuple(request["rank"])
                limit = np.sqrt(tails(C, request["rank"])) / np.linalg.norm(C)
                assert error <= (1 + 1e-9) * limit + 1e-13 if method != "rsvd" else 1.1 * limit + 1e-13

    check()
    tracemalloc.start()
    check()
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
