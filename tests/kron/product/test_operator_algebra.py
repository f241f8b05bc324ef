"""Decompositions, entries, multiples, sums and products of operators, against dense matrices."""

import copy
import pickle

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator, cg

from checks import check_rejected
from kron.dense import close, dense_of, normal, positive
from quatrefoil.kron import KroneckerOperator

SHAPES = [[(3, 4), (5, 2), (2, 3)], [(6, 5)], [(1, 3), (4, 1)]]


@pytest.mark.parametrize("shapes", SHAPES)
def test_svd(rng, shapes):
    factors = normal(rng, *shapes)
    U, s, Vt = KroneckerOperator(factors).svd()
    close(U.to_dense() * s @ Vt.to_dense(), dense_of(factors), 256)
    close(U.T.to_dense() @ U.to_dense(), np.eye(len(s)), 256)
    close(np.sort(s)[::-1], np.linalg.svd(dense_of(factors), compute_uv=False)[: len(s)], 256)


def test_decompositions_keep_the_precision_and_empty_axes(rng):
    narrow = [f.astype(np.float32) for f in positive(rng, 3, 2)]
    K = KroneckerOperator(narrow, num_threads=1)
    U, s, Vt = K.svd()
    assert {a.dtype for a in (K.inverse(), K.cholesky(), U, s, Vt, K.trace(), 2.0 * K, K / 3, K @ K, K + K, K[0])} == {np.dtype(np.float32)}
    assert (K @ KroneckerOperator(narrow).inverse())._num_threads == 1
    close((K @ K.inverse()).to_dense(), np.eye(6), 64, np.float32)
    close((K.cholesky() @ K.cholesky().T).to_dense(), K.to_dense(), 64, np.float32)
    close(K.trace(), np.trace(K.to_dense()), 64, np.float32)
    wide = KroneckerOperator([f.astype(float) for f in narrow])
    assert (K @ wide).dtype == (K + wide).dtype == ((K + wide) @ np.ones(6, np.float32)).dtype == np.float64
    empty = KroneckerOperator([np.zeros((0, 0)), np.eye(3)])
    assert empty.trace() == 0
    for output in (empty.inverse(), empty.cholesky(), empty.svd()[0], empty @ empty, 2 * empty, empty + empty):
        assert output.shape == (0, 0)
    assert empty[:].shape == (0, 0)
    assert empty[:0, [True] * 0].shape == (0, 0)


@pytest.mark.parametrize("shapes", SHAPES)
def test_entries(rng, shapes):
    factors = normal(rng, *shapes)
    K, dense = KroneckerOperator(factors), dense_of(factors)
    M, N = dense.shape
    i, j = rng.integers(-M, M, 7), rng.integers(-N, N, 7)
    everything = slice(None)
    pairs = [(i, j), (i[:, None], j), (i, everything), (everything, j), (i[0], j[1]), (i[0], everything), (everything, j[0]), (i[0], j)]
    pairs += [(slice(1, None, 2), slice(None, None, -1)), (i[:, None], slice(2)), (slice(-2, None), j[None]), (i.tolist(), [0])]
    pairs += [(rng.random(M) < 0.5, everything), (everything, rng.random(N) < 0.5), (slice(0), slice(3)), (int(i[0]), int(j[0]))]
    for index in [*pairs, i, 0, -1, slice(2), rng.random(M) < 0.5, ..., (...,), (..., 0), (0, ...), (..., 0, i[:0]), (0, ..., j), ()]:
        got = K[index]
        close(got, dense[index], 8)
        assert np.ndim(got) == np.ndim(dense[index])
    close((K + 2 * K)[i, j], 3 * dense[i, j], 16)


def test_entries_of_a_large_operator(rng):
    """A row of 10^6 entries, and an entry."""
    factors = normal(rng, (100, 100), (100, 100), (100, 100))
    K = KroneckerOperator(factors)
    row = K[123456]
    assert row.shape == (10**6,)
    close(K[123456, 654321], factors[0][12, 65] * factors[1][34, 43] * factors[2][56, 21], 4)
    assert K[123456, 654321] == row[654321]
    assert K[np.array([100], np.uint8), np.int8(-1)] == K[100, -1]
    x = np.zeros(10**6)
    x[123456] = 1
    close(row, K.rmatvec(x), 64)


@pytest.mark.parametrize("shapes", SHAPES)
def test_multiples_sums_and_products(backend, rng, shapes):
    A, B, C = normal(rng, *shapes), normal(rng, *shapes), normal(rng, *[(n, m) for m, n in shapes])
    K, L, R = map(KroneckerOperator, (A, B, C))
    a, b, c = map(dense_of, (A, B, C))
    x, X, y = normal(rng, K.shape[1], (K.shape[1], 3), K.shape[0])
    products = [(2 * K, 2 * a), (K * np.float64(0.5), a / 2), (K / 4, a / 4), (-K, -a), (np.array(3.0) * K, 3 * a)]
    products += [(K @ R, a @ c), (K.T @ L, a.T @ b)]
    sums = [(K + L, a + b), (K - L, a - b), (3 * (K + L) - K / 2, 2.5 * a + 3 * b), ((K + L) / 2 + (L - K), 1.5 * b - a / 2)]
    for output, expected in products:
        assert isinstance(output, KroneckerOperator)
        close(output.to_dense(), expected, 256)
    for output, expected in sums:
        assert isinstance(output, LinearOperator)
        for got, e in [
            (output @ x, expected @ x), (output @ X, expected @ X), (output.matvec(x), expected @ x), (output.rmatvec(y), expected.T @ y),
            (output.T @ y, expected.T @ y), (y @ output, y @ expected), (output.T.T.to_dense(), expected),
            (output.matvec(x, out=np.empty(len(y))), expected @ x), (pickle.loads(pickle.dumps(output)) @ x, expected @ x),
            (copy.deepcopy(output) @ x, expected @ x),
        ]:  # fmt: skip
            close(got, e, 512)
        assert output.T.T is output
    one, two = K @ R, KroneckerOperator([np.eye(m) for m, _ in shapes])
    close((one + two).diagonal(), np.diagonal(a @ c) + 1, 256)
    np.testing.assert_allclose((one + two).trace(), np.trace(a @ c) + len(y), rtol=1e-12)


def test_systems_of_two_terms(rng):
    A, B, C, D = positive(rng, 3, 4, 3, 4)
    S, dense = KroneckerOperator([A, B]) + KroneckerOperator([C, D]), np.kron(A, B) + np.kron(C, D)
    for columns in ((), (2,), (0,)):
        y = rng.standard_normal((12, *columns))
        close(S.solve(y), np.linalg.solve(dense, y), 1e3)
    table = rng.standard_normal((3, 4))
    close(S.solve(table).reshape(-1), np.linalg.solve(dense, table.reshape(-1)), 1e3)
    np.testing.assert_allclose(S.logdet(), np.linalg.slogdet(dense)[1], rtol=1e-11)
    for other in (S + S, KroneckerOperator([A]) + KroneckerOperator([C]), KroneckerOperator([A, B]) + KroneckerOperator([B, A])):
        with pytest.raises(NotImplementedError, match=r"KroneckerSum.logdet: expected two terms of two factors.*cg"):
            other.logdet()


def test_with_operators_of_scipy(rng):
    A, B = positive(rng, 3, 4)
    K, dense, x = KroneckerOperator([A, B]), np.kron(A, B), rng.standard_normal(12)
    other, merged = aslinearoperator(dense), KroneckerOperator([np.kron(A, B)])
    combined = [(K + other, 2 * dense), (other - K, 0 * dense), (1j * K, 1j * dense)]
    combined += [(K @ factor, dense @ dense) for factor in (other, merged)]
    for output, expected in combined:
        assert isinstance(output, LinearOperator)
        np.testing.assert_allclose(output @ x, expected @ x, rtol=1e-10, atol=1e-10)
    result, info = cg(K + 0.5 * KroneckerOperator([np.eye(3), np.eye(4)]), x, rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(result, K.solve(x, 0.5), rtol=1e-8, atol=1e-8)


def test_rejected(rng):
    K, wide = KroneckerOperator(positive(rng, 3, 2)), KroneckerOperator([np.ones((2, 3)), np.eye(2)])
    flat, singular = KroneckerOperator([np.eye(2), np.ones((2, 2))]), np.linalg.LinAlgError
    check_rejected([
        (lambda: K[6], IndexError, "index 6 is out of bounds for axis 0 with size 6"),
        (lambda: K[0, [1, -7]], IndexError, "index -7 is out of bounds for axis 1 with size 6"),
        (lambda: K[np.array([255], np.uint8)], IndexError, "index 255 is out of bounds for axis 0 with size 6"),
        (lambda: K[np.array([2**64 - 1], np.uint64)], IndexError, "index 18446744073709551615 is out of bounds"),
        (lambda: K[np.zeros(0)], IndexError, "expected integers, a slice"),
        (lambda: K[0.5], IndexError, "index 0 is 0.5, expected integers, a slice, or an array of 6 bools"),
        (lambda: K[:, np.ones(5, bool)], IndexError, "expected integers, a slice"),
        (lambda: K[0, 1, 2], IndexError, "3 indices, expected one or two"),
        (lambda: K[..., ...], IndexError, "expected"),
        (lambda: K[None], IndexError, "index 0 is None"),
        (lambda: K[[0, 1], [0, 1, 2]], IndexError, "mismatch"),
        (lambda: K + wide, ValueError, r"term 1 of the sum has shape \(4, 6\), expected \(6, 6\)"),
        (lambda: K @ wide, ValueError, "(?i)shape"),
        (lambda: K + 1, TypeError, "K.solve"),
        (lambda: (K + K) + 1, TypeError, "K.solve"),
        (lambda: (K + K) @ np.ones(5), ValueError, "(?i)mismatch"),
        (lambda: (K + K).matvec(np.ones(6), out=np.ones(5)), ValueError, "out has shape"),
        (lambda: (K + K).solve(np.ones(5)), ValueError, r"KroneckerSum.solve: y has shape \(5,\), expected \(6,\)"),
        (lambda: K / 0, ZeroDivisionError, "zero"),
        (wide.trace, ValueError, "trace: factors.*square"),
        (wide.inverse, ValueError, "inverse: factors.*square"),
        (wide.cholesky, ValueError, "cholesky: factors.*square"),
        (flat.inverse, singular, r"factors\[1\] is singular"),
        (flat.cholesky, singular, r"cholesky: factors\[1\] is not positive definite"),
        (KroneckerOperator([np.full((2, 2), np.nan)]).svd, ValueError, r"svd: factors\[0\] contains NaN"),
    ])  # fmt: skip
