"""``KroneckerOperator.apply``: functions of the operator and their gradients, against dense matrix functions from other algorithms."""

import functools

import numpy as np

from checks import check_rejected
from kron.dense import close, smooth, with_eigenvalues
from quatrefoil.kron import KroneckerOperator

EPS = 2.0**-52


def kernels(*sizes, dtype=np.float64):
    return [smooth(n, 0.25, jitter=1e-3).astype(dtype) for n in sizes]


def test_known_functions(backend, rng):
    factors = kernels(6, 5)
    K, y = KroneckerOperator(factors), rng.standard_normal((30, 2))
    y.flags.writeable = False
    lam, Q = K.eigh()
    Q = Q.to_dense()
    keep = lam > np.median(lam)  # bools define a projector
    close(K.apply(lambda x: x > np.median(lam), y), Q * keep @ Q.T @ y, 1e4)
    weights = rng.standard_normal(30)  # one number per cell of the grid
    close(K.apply(lambda x: weights, y), Q * weights @ Q.T @ y, 1e4)


def test_eigenvalues_are_handed_out(backend, rng):
    K = KroneckerOperator(kernels(3, 4, dtype=np.float32))
    seen = []

    def h(lam):
        seen.append(lam.copy())
        lam[...] = 0  # a copy
        return seen[-1]

    first, second = K.apply(h, np.ones(12)), K.apply(h, np.ones(12))
    np.testing.assert_array_equal(first, second)
    assert seen[0].dtype == np.float64
    np.testing.assert_array_equal(seen[0].astype(np.float32), K.eigh()[0])


def test_precisions(backend, rng):
    narrow, y = kernels(6, 5, dtype=np.float32), rng.standard_normal(30)
    single, wide = y.astype(np.float32), [f.astype(float) for f in narrow]
    h = lambda lam: (lam / (lam + np.float32(0.1))) ** 2  # noqa: E731
    got = KroneckerOperator(narrow).apply(h, single)
    assert got.dtype == np.float32
    close(got, KroneckerOperator(wide).apply(h, single.astype(float)), 4, np.float32)  # computed in float64: only the result is rounded
    assert KroneckerOperator(narrow).apply(h, y).dtype == KroneckerOperator(wide).apply(h, single).dtype == np.float64
    K = KroneckerOperator([np.zeros((0, 0)), np.eye(3)])
    assert K.apply(np.exp, np.zeros((0, 2))).shape == (0, 2)


# ---- gradients; test_operator_torch.py compares them with dense PyTorch


def test_close_eigenvalues(rng):
    """Eigenvalues from equal to well separated. A difference quotient alone could lose all digits."""
    y, grad = rng.standard_normal(2), rng.standard_normal(2)
    for apart in (0, 2.0**-52, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-2, 1.0):
        l = np.array([1.0, 1.0 + apart])
        (d,), _, _ = KroneckerOperator([np.diag(l)]).apply_vjp(np.exp, np.exp, y, grad)
        gap = l[1] - 1
        expected = np.e * (np.expm1(gap) / gap if gap else 1.0) * (grad[0] * y[1] + grad[1] * y[0]) / 2
        # cbrt(eps)^2, where rounding equals truncation, times the size of h and its derivatives
        size = np.e * (abs(grad[0] * y[1]) + abs(grad[1] * y[0]) + np.linalg.norm(grad) * np.linalg.norm(y))
        assert abs(d[0, 1] - expected) <= EPS ** (2 / 3) * size, apart
        np.testing.assert_allclose(np.diag(d), np.exp(l) * grad * y, rtol=1e-14)


def test_rough_functions_keep_their_quotients(rng):
    """A square root near 0: slopes do not approximate the quotient, even for close eigenvalues."""
    l, y, grad = np.array([1e-12, 4e-12, 1.0]), rng.standard_normal(3), rng.standard_normal(3)
    (d,), _, _ = KroneckerOperator([np.diag(l)]).apply_vjp(np.sqrt, lambda l: 0.5 / np.sqrt(l), y, grad)
    root = np.sqrt(l)
    expected = np.outer(grad, y) / np.add.outer(root, root)
    expected = (expected + expected.T) / 2
    close(d, expected, 1e3)
    np.testing.assert_allclose(d, expected, rtol=1e-9, atol=1e-9)


def test_precisions_and_empty_gradients(rng):
    factors = [with_eigenvalues(rng, *rng.uniform(0.5, 2, n)).astype(np.float32) for n in (3, 2)]
    y, grad = (rng.standard_normal(6).astype(np.float32) for _ in range(2))
    got = KroneckerOperator(factors).apply_vjp(np.exp, np.exp, y, grad)
    wide = KroneckerOperator([f.astype(float) for f in factors]).apply_vjp(np.exp, np.exp, y.astype(float), grad.astype(float))
    for a, b in zip((*got[0], got[2]), (*wide[0], wide[2])):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2.0**-22)
    for sizes, columns in (((0, 3), 2), ((2, 3), 0)):
        y = np.ones((sizes[0] * sizes[1], columns))
        d, dvalues, dy = KroneckerOperator([np.eye(n) for n in sizes]).apply_vjp(np.exp, np.exp, y, y)
        assert [a.shape for a in d] == [(n, n) for n in sizes]
        assert all((a == 0).all() for a in (*d, dvalues))
        assert dy.shape == y.shape


def test_rejected():
    K, y = KroneckerOperator(kernels(3, 4)), np.ones(12)

    def values(h):
        return functools.partial(K.apply, h, y)

    def apply_to(factor):
        return functools.partial(KroneckerOperator([factor]).apply, np.exp, np.ones(len(factor)))

    check_rejected([
        (values(3.0), TypeError, r"^KroneckerOperator\.apply: h is float, expected a function"),
        (values(lambda lam: 1.0), TypeError, "h returned float, expected a numpy array of 12 real"),
        (values(lambda lam: lam[:5]), ValueError, r"h returned an array of shape \(5,\), expected \(12,\)"),
        (values(lambda lam: lam + 1j), TypeError, "h returned a numpy array of complex128, expected real"),
        (values(lambda lam: lam.astype(object)), TypeError, "h returned a numpy array of object, expected real"),
        (values(np.ma.masked_array), TypeError, "masked"),
        (values(lambda lam: 1 / 0), ZeroDivisionError, "division"),
        (lambda: K.apply(np.exp, y[1:]), ValueError, r"y has shape \(11,\), expected \(12,\) or \(12, c\)"),
        (lambda: K.apply(np.exp, y[:, None, None]), ValueError, "y has shape"),
        (lambda: K.apply(np.exp, y.astype(int)), TypeError, "y has dtype int64"),
        (apply_to(np.ones((2, 3))), ValueError, r"apply: factors\[0\].*square"),
        (apply_to(np.triu(np.ones((3, 3)))), ValueError, r"apply: factors\[0\].*not symmetric"),
        (apply_to(np.full((3, 3), np.nan)), ValueError, r"apply: factors\[0\].*NaN"),
        (lambda: K.apply_vjp(1, np.exp, y, y), TypeError, r"^KroneckerOperator\.apply_vjp: h is int, expected a function"),
        (lambda: K.apply_vjp(np.exp, 1, y, y), TypeError, "slope is int, expected a function"),
        (lambda: K.apply_vjp(np.exp, lambda l: l[:2], y, y), ValueError, r"slope returned an array of shape \(2,\), expected \(12,\)"),
        (lambda: K.apply_vjp(np.exp, np.exp, y, y[:3]), ValueError, r"grad has shape \(3,\), expected \(12,\), like y"),
        (lambda: K.apply_vjp(np.exp, np.exp, y, [1.0]), TypeError, "grad is list"),
    ])  # fmt: skip
