"""Toeplitz and Hankel products compared with the dense matrices of scipy.linalg; gradients by linearity."""

import itertools

import numpy as np
import pytest
from scipy.linalg import hankel, toeplitz

import quatrefoil as qf
from checks import check_rejected

PRODUCTS = {
    "toeplitz": (qf.ssm.toeplitz_matmul, qf.ssm.toeplitz_matmul_vjp, toeplitz),
    "hankel": (qf.ssm.hankel_matmul, qf.ssm.hankel_matmul_vjp, hankel),
}
SIZES = [(1, 1), (1, 5), (5, 1), (2, 3), (7, 7), (64, 65), (200, 30), (30, 200), (257, 257), (1000, 1), (3, 997)]
both = pytest.mark.parametrize("name", PRODUCTS)


@both
def test_same_as_scipy(rng, name):
    for (m, n), dtype in itertools.product(SIZES, [np.float32, np.float64]):
        print(m, n, dtype)
        product, _, matrix = PRODUCTS[name]
        c, r = rng.standard_normal(m).astype(dtype), rng.standard_normal(n).astype(dtype)
        r[0] = c[0 if name == "toeplitz" else -1]  # SciPy warns if they differ
        A = matrix(c, r).astype(np.longdouble)
        r[0] = np.nan  # ignored
        for shape in ((n,), (n, 1), (n, 4), (2, 3, n, 2)):
            x = rng.standard_normal(shape).astype(dtype)
            y, expected = product(c, r, x), A @ x.astype(np.longdouble)
            assert y.dtype == dtype
            assert y.shape == expected.shape
            size = float((np.abs(A) @ np.abs(x)).max())  # size of the terms: the sum itself may cancel
            np.testing.assert_allclose(y, expected.astype(float), atol=1e-6 * size if dtype == np.float32 else 1e-11)


# Batch axes of c and of r, and the shape of x without its axis n. x is a vector or a matrix; c and r are shared, per channel or per item.
BATCHES = [
    ((2,), (2,), ()),
    ((3,), (), (4, 3, 2)),
    ((), (3,), (2,)),
    ((4, 1), (3,), (4, 3, 2)),
    ((2, 3), (2, 3), ()),
    ((3,), (3,), (5, 1, 2)),
]


@both
def test_batches_of_matrices(rng, name):
    """Results equal numpy.matmul with dense matrices; gradients are tested by linearity, and summed over broadcast axes."""
    product, vjp, matrix = PRODUCTS[name]
    one_matrix = [((), (), of_x) for of_x in ((), (2,), (3, 2))]
    for (m, n), (of_c, of_r, of_x) in [*itertools.product([(5, 7), (7, 5), (1, 4)], BATCHES), *itertools.product(SIZES[:-2], one_matrix)]:
        print(m, n, of_c, of_r, of_x)
        shapes = (*of_c, m), (*of_r, n), (*of_x[:-1], n, *of_x[-1:])
        (c, r, x), (vc, vr, vx) = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
        both = np.broadcast_shapes(of_c, of_r)
        columns, rows = np.broadcast_to(c, (*both, m)).copy(), np.broadcast_to(r, (*both, n)).copy()
        rows[..., 0] = columns[..., 0 if name == "toeplitz" else -1]
        dense = np.array([matrix(*pair) for pair in zip(columns.reshape(-1, m), rows.reshape(-1, n))]).reshape(*both, m, n)
        y = product(c, r, x)
        np.testing.assert_allclose(y, dense @ x, atol=1e-12)
        g = rng.standard_normal(y.shape)
        dc, dr, dx = vjp(c, r, x, g)
        assert (dc.shape, dr.shape, dx.shape) == (c.shape, r.shape, x.shape)
        np.testing.assert_allclose((dc * vc).sum() + (dr * vr).sum(), (g * product(vc, vr, x)).sum(), atol=1e-11)
        np.testing.assert_allclose((dx * vx).sum(), (g * product(c, r, vx)).sum(), atol=1e-11)
        assert not dr[..., 0].any()


@both
def test_without_a_row(rng, name):
    product, vjp, matrix = PRODUCTS[name]
    c, x = rng.standard_normal((2, 7))
    np.testing.assert_allclose(product(c, None, x), matrix(c) @ x, atol=1e-12)
    dc, dx = vjp(c, None, x, x)
    for i in range(7):
        np.testing.assert_allclose(dc[i], x @ matrix(np.eye(7)[i]) @ x, atol=1e-12)
    np.testing.assert_allclose(dx, matrix(c).T @ x, atol=1e-12)


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
            for got, inputs in zip(vjp(c, r, np.ones(shape), y), (c, r, np.ones(shape))):
                assert got.shape == inputs.shape
                assert not got.any()


@pytest.mark.torch
@both
def test_torch(name):
    torch = pytest.importorskip("torch")
    product, _, _ = PRODUCTS[name]
    from ssm.modes_of_torch import check_every_mode

    for c, r, x in [(3, 6, (2, 6, 3)), (6, 3, (3, 2)), (4, 4, 4), ((2, 3), 4, (3, 1, 4, 2))]:
        inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (c, r, x)]
        check_every_mode(lambda *arrays: (product(*arrays),), inputs)
    inputs = [torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    plain, out = [t.detach() for t in inputs], torch.zeros(4, dtype=torch.float64)
    assert product(*plain, out=out) is out
    torch.testing.assert_close(out, product(*plain))
    for arrays, result, error, text in (
        (inputs, out, RuntimeError, "out= does not work"),
        (plain, out[:1], ValueError, "out has shape"),
        (plain, out.float(), TypeError, "out has dtype"),
    ):
        with pytest.raises(error, match=text):
            product(*arrays, out=result)


@pytest.mark.torch
@pytest.mark.parametrize(("n", "m"), [(6, 4), (3, 7), (1, 1)])
def test_a_layer_with_a_hankel_matrix(n, m):
    """The layer equals torch.nn.Linear with that matrix; the gradient of a weight is the sum along its antidiagonal."""
    torch = pytest.importorskip("torch")
    from quatrefoil.torch import nn

    layer, x = nn.HankelLayer(n, m).double(), torch.randn(2, 5, n, dtype=torch.float64, requires_grad=True)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"weight": (n + m - 1,), "bias": (m,)}
    indices = torch.arange(m)[:, None] + torch.arange(n)
    matrix = layer.weight.detach()[indices].requires_grad_()
    y, expected = layer(x), torch.nn.functional.linear(x, matrix, layer.bias)
    torch.testing.assert_close(y, expected)
    g = torch.randn_like(y)
    dx, dw = torch.autograd.grad(y, (x, layer.weight), g)
    expected_dx, dm = torch.autograd.grad(expected, (x, matrix), g)
    torch.testing.assert_close(dx, expected_dx)
    torch.testing.assert_close(dw, torch.zeros_like(dw).index_add(0, indices.flatten(), dm.flatten()))
    with pytest.raises(ValueError, match=rf"HankelLayer: input has shape \(2, {n + 1}\), expected \(\.\.\., {n}\)"):
        layer(torch.ones(2, n + 1).double())


@both
def test_out_and_nan(rng, name):
    product = PRODUCTS[name][0]
    c, r, x = rng.standard_normal(40), rng.standard_normal(30), rng.standard_normal((2, 30, 5))
    y = product(c, r, x)
    out = np.full(y.shape, np.nan)
    assert product(c, r, x, out=out) is out
    np.testing.assert_array_equal(out, y)
    x[1, 3, 2] = np.nan
    dirty = product(c, r, x)
    assert np.isnan(dirty[1, :, 2]).any()
    dirty[1, :, 2] = y[1, :, 2]
    np.testing.assert_array_equal(dirty, y)


C, R, X, TWO = np.ones(3), np.ones(4), np.ones(4), np.ones((2, 3))
BAD = [
    ((C, R, C), {}, ValueError, r"x has shape \(3,\), expected \(n,\) or \(\.\.\., n, K\) with n = 4 as in r"),
    ((C, R, np.ones((3, 4))), {}, ValueError, "x has shape"),
    ((C, R, np.ones(())), {}, ValueError, "x has shape"),
    ((np.ones(()), R, X), {}, ValueError, r"c has shape \(\), expected \(m,\)"),
    ((TWO, np.ones((3, 4)), X), {}, ValueError, r"c has shape \(2, 3\), r has \(3, 4\) and x has \(4,\), expected .* broadcast"),
    ((TWO, R, np.ones((3, 4, 1))), {}, ValueError, r".* r has \(4,\) and x has \(3, 4, 1\), expected \(..., m\), \(..., n\) and"),
    ((C, R, X.astype(np.float32)), {}, TypeError, "x has dtype float32 but c has float64"),
    ((C, R, X.astype(complex)), {}, TypeError, "x has dtype complex128"),
    ((C.astype(int), R, X), {}, TypeError, "c has dtype int64"),
    ((C.tolist(), R, X), {}, TypeError, "c is list"),
    ((C, None, X), {}, ValueError, r"x has shape \(4,\), expected \(n,\) .* n = 3 as in r"),
    ((None, R, X), {}, TypeError, "c is None"),
    ((C, R, X), {"out": np.ones(4)}, ValueError, "out has shape"),
    ((C, R[:3], X[:3]), {"out": C}, ValueError, "out shares memory"),
]


@both
def test_bad_input(name):
    product, vjp, _ = PRODUCTS[name]
    check_rejected((lambda a=a, k=k: product(*a, **k), error, rf"ssm\.{name}_matmul: {text}") for a, k, error, text in BAD)
    check_rejected(
        [
            (lambda: product(C, R, X, num_threads=0), ValueError, "at least 1"),
            (lambda: vjp(C, R, X, X), ValueError, "grad has shape"),
            (lambda: vjp(C, R, X, C.astype(np.float32)), TypeError, "grad has dtype"),
        ]
    )
