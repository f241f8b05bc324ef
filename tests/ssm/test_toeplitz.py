"""Toeplitz and Hankel products against scipy.linalg's dense matrices, their gradients against dense ones and gradcheck."""

import itertools

import numpy as np
import pytest
from scipy.linalg import hankel, toeplitz

import quatrefoil as qf

PRODUCTS = {
    "toeplitz": (qf.ssm.toeplitz_matmul, qf.ssm.toeplitz_matmul_vjp, toeplitz),
    "hankel": (qf.ssm.hankel_matmul, qf.ssm.hankel_matmul_vjp, hankel),
}
SIZES = [(1, 1), (1, 5), (5, 1), (2, 3), (7, 7), (64, 65), (200, 30), (30, 200), (257, 257), (1000, 1), (3, 997)]
both = pytest.mark.parametrize("name", PRODUCTS)


def dense(name, c, r):
    """In extended precision, by definition."""
    m, n = len(c), len(r)
    i, j = np.indices((m, n))
    entries = np.concatenate([c[::-1], r[1:]] if name == "toeplitz" else [c, r[1:]]).astype(np.longdouble)
    return entries[m - 1 + j - i] if name == "toeplitz" else entries[i + j]


@both
def test_same_as_scipy(rng, name):
    for (m, n), dtype in itertools.product(SIZES, [np.float32, np.float64]):
        print(m, n, dtype)
        product, _, matrix = PRODUCTS[name]
        c, r = rng.standard_normal(m).astype(dtype), rng.standard_normal(n).astype(dtype)
        if name == "toeplitz" or n == 1:
            r[0] = np.nan  # ignored
        else:
            r[0] = c[-1]  # SciPy warns where they differ
        A = dense(name, c, r)
        if np.isfinite(r[0]):
            np.testing.assert_array_equal(matrix(c, r), A.astype(dtype))
        for shape in ((n,), (n, 1), (n, 4), (2, 3, n, 2)):
            x = rng.standard_normal(shape).astype(dtype)
            y = product(c, r, x)
            expected = A @ x.astype(np.longdouble)
            assert y.dtype == dtype
            assert y.shape == expected.shape
            size = float((np.abs(A) @ np.abs(x)).max())  # of what is summed: the sum itself may cancel
            np.testing.assert_allclose(y, expected.astype(float), atol=1e-6 * size if dtype == np.float32 else 1e-11)


@both
def test_hankels_corner_and_ignored_entries(name):
    product = PRODUCTS[name][0]
    c, r = np.array([1.0, 2, 3]), np.array([np.nan, 5, 6, 7])
    expected = toeplitz(c, [1, 5, 6, 7]) if name == "toeplitz" else hankel(c, [3, 5, 6, 7])
    np.testing.assert_allclose(product(c, r, np.eye(4)), expected, atol=1e-14)


@both
def test_empty(name):
    for m, n in [(0, 0), (0, 1), (0, 4), (1, 0), (4, 0)]:
        print(m, n)
        product, vjp, _ = PRODUCTS[name]
        c, r = np.ones(m), np.ones(n)
        for shape in ((n,), (n, 3), (2, n, 0)):
            y = product(c, r, np.ones(shape))
            assert y.shape == ((m,) if len(shape) == 1 else (*shape[:-2], m, shape[-1]))
            assert not y.any()
            for got, given in zip(vjp(c, r, np.ones(shape), y), (c, r, np.ones(shape))):
                assert got.shape == given.shape
                assert not got.any()


@both
def test_gradients(rng, name):
    """Against the dense matrix: dx = A^T g, and every entry's gradient is the sum over where it stands."""
    for (m, n), axes in itertools.product(SIZES[:-2], [(), (2,), (3, 2)]):
        print(m, n, axes)
        _, vjp, _ = PRODUCTS[name]
        c, r = rng.standard_normal(m), rng.standard_normal(n)
        x, g = (rng.standard_normal((*axes[:-1], k, *axes[-1:])) for k in (n, m))
        dc, dr, dx = vjp(c, r, x, g)
        np.testing.assert_allclose(dx, dense(name, c, r).T.astype(float) @ g, atol=1e-10)
        X, G = (a.reshape(-1, k, axes[-1] if axes else 1) for a, k in ((x, n), (g, m)))
        dA = np.einsum("bik,bjk->ij", G, X)
        expected_c, expected_r = np.zeros(m), np.zeros(n)
        i, j = np.indices((m, n))
        in_c, at_c, at_r = (i >= j, i - j, j - i) if name == "toeplitz" else (i + j < m, i + j, i + j - m + 1)
        np.add.at(expected_c, at_c[in_c], dA[in_c])
        np.add.at(expected_r, at_r[~in_c], dA[~in_c])
        np.testing.assert_allclose(dc, expected_c, atol=1e-10)
        np.testing.assert_allclose(dr, expected_r, atol=1e-10)
        assert dr[0] == 0


@pytest.mark.torch
@both
@pytest.mark.parametrize(("m", "n"), [(4, 4), (3, 6), (6, 3), (1, 1)])
@pytest.mark.parametrize("axes", [(), (2,), (2, 3)])
def test_torch(name, m, n, axes):
    torch = pytest.importorskip("torch")
    product, vjp, _ = PRODUCTS[name]
    c, r, x = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (m, n, (*axes[:-1], n, *axes[-1:])))
    assert torch.autograd.gradcheck(product, (c, r, x))
    y = product(c, r, x)
    plain = [t.detach().numpy() for t in (c, r, x)]
    np.testing.assert_allclose(y.detach().numpy(), product(*plain), atol=1e-14)
    g = torch.randn_like(y)
    for got, expected in zip(torch.autograd.grad(y, (c, r, x), g), vjp(*plain, g.numpy())):
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-13)
    for got, expected in zip(vjp(c.detach(), r.detach(), x.detach(), g), vjp(*plain, g.numpy())):
        assert isinstance(got, torch.Tensor)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-14)


@pytest.mark.torch
@both
def test_compile_and_func_grad(name):
    torch = pytest.importorskip("torch")
    product = PRODUCTS[name][0]
    c, r, x = (torch.randn(s, dtype=torch.float64) for s in (4, 6, (6, 2)))
    np.testing.assert_allclose(torch.compile(product, backend="eager")(c, r, x), product(c, r, x), atol=1e-14)
    leaf = x.clone().requires_grad_()
    product(c, r, leaf).square().sum().backward()
    got = torch.func.grad(lambda x: product(c, r, x).square().sum())(x)
    np.testing.assert_allclose(got, leaf.grad, atol=1e-13)
    with pytest.raises(RuntimeError, match="out= does not work"):
        product(c, r, leaf, out=torch.zeros(4, 2, dtype=torch.float64))
    out = torch.zeros(4, 2, dtype=torch.float64)
    assert product(c, r, x, out=out) is out
    np.testing.assert_array_equal(out, product(c, r, x))
    with pytest.raises(ValueError, match="out has shape"):
        product(c, r, x, out=torch.zeros(4, dtype=torch.float64))
    with pytest.raises(TypeError, match="out has dtype"):
        product(c, r, x, out=torch.zeros(4, 2))


@both
def test_layouts_out_and_nan(rng, name):
    product = PRODUCTS[name][0]
    c, r, x = rng.standard_normal(40), rng.standard_normal(30), rng.standard_normal((2, 30, 5))
    y = product(c, r, x)
    strided = np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[:, ::-1].copy()[:, ::-1]
    for other in strided:
        np.testing.assert_array_equal(product(c[::-1].copy()[::-1], r, other), y)
    given = [a.copy() for a in (c, r, x)]
    out = np.full(y.shape, np.nan)
    assert product(c, r, x, out=out) is out
    np.testing.assert_array_equal(out, y)
    for a, b in zip((c, r, x), given):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(product(c, r, x, num_threads=2), product(c, r, x, num_threads=1))
    x[1, 3, 2] = np.nan
    dirty = product(c, r, x)
    assert np.isnan(dirty[1, :, 2]).any()
    dirty[1, :, 2] = y[1, :, 2]
    np.testing.assert_array_equal(dirty, y)


C, R, X = np.ones(3), np.ones(4), np.ones(4)


BAD = [
    ((C, R, C), ValueError, r"x has shape \(3,\), expected \(n,\) or \(\.\.\., n, K\) with n = 4 as in r"),
    ((C, R, np.ones((3, 4))), ValueError, "x has shape"),
    ((C, R, np.ones(())), ValueError, "x has shape"),
    ((C[None], R, X), ValueError, r"c has shape \(1, 3\), expected \(m,\)"),
    ((C, R[None], X), ValueError, "r has shape"),
    ((C, R, X.astype(np.float32)), TypeError, "x has dtype float32 but c has float64"),
    ((C, R, X.astype(complex)), TypeError, "x has dtype complex128"),
    ((C.astype(int), R, X), TypeError, "c has dtype int64"),
    ((C.tolist(), R, X), TypeError, "c is list"),
    ((C, None, X), TypeError, "r is None"),
    ((C, R, np.ma.masked_array(X)), TypeError, "masked"),
]


@both
def test_bad_input(name):
    for arguments, error, text in BAD:
        print(text)
        with pytest.raises(error, match=rf"ssm\.{name}_matmul: {text}" if not text.startswith("masked") else text):
            PRODUCTS[name][0](*arguments)


@both
def test_bad_gradient_and_out(name):
    product, vjp, _ = PRODUCTS[name]
    with pytest.raises(ValueError, match="grad has shape"):
        vjp(C, R, X, X)
    with pytest.raises(TypeError, match="grad has dtype"):
        vjp(C, R, X, C.astype(np.float32))
    with pytest.raises(ValueError, match="out has shape"):
        product(C, R, X, out=np.ones(4))
    with pytest.raises(ValueError, match="overlaps"):
        product(C, R[:3], X[:3], out=C)
    with pytest.raises(ValueError, match="at least 1"):
        product(C, R, X, num_threads=0)
