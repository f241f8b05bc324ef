"""Batches of Kronecker matrices, compared with one product per item."""

import itertools
import operator

import numpy as np
import pytest

from checks import check_rejected
from kron.dense import close, of_items, positive
from quatrefoil import kron
from quatrefoil.kron.product import batches

LEADS = [  # of two factors and x
    [(3,), (3,), (3,)], [(3,), (), ()], [(3,), (1,), (4, 3)], [(2, 1), (3,), (2, 3)], [(2, 3), (2, 3), (5, 2, 3)], [(3,), (3,), (1,)],
    [(2, 1), (), (2, 3)], [(0,), (), ()], [(2,), (2,), (0, 2)],
]  # fmt: skip
SHAPES = [[(4, 3), (2, 5)], [(3, 4), (5, 5)], [(1, 3), (2, 2)], [(0, 3), (2, 2)], [(2, 0), (2, 2)]]


def product(A, B, x, transpose=False):
    K = np.einsum("...ij,...kl->...ikjl", A, B)
    K = K.reshape(*K.shape[:-4], A.shape[-2] * B.shape[-2], A.shape[-1] * B.shape[-1])
    return ((np.swapaxes(K, -1, -2) if transpose else K) @ x[..., None])[..., 0]


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("small", [0, batches.SMALL])
def test_products(rng, monkeypatch, leads, small):
    monkeypatch.setattr(batches, "SMALL", small)
    for shapes, transpose in itertools.product(SHAPES, (False, True)):
        factors = [rng.standard_normal((*lead, *shape)) for lead, shape in zip(leads, shapes)]
        x = rng.standard_normal((*leads[2], int(np.prod([m if transpose else n for m, n in shapes]))))
        for dtype in (np.float64, np.float32):
            inputs = [a.astype(dtype) for a in (*factors, x)]
            got = kron.matvec(inputs[:2], inputs[2], transpose=transpose)
            assert got.dtype == dtype
            close(got, product(*(a.astype(float) for a in inputs), transpose), 64, dtype)


def test_strides_and_backends(rng):
    A, B, x = rng.standard_normal((5, 4, 3)).transpose(1, 2, 0), rng.standard_normal((8, 3, 2))[::2], rng.standard_normal((4, 20))[:, ::2]
    for backend in (None, "array", "numba"):
        close(kron.matvec([A, B], x, backend=backend), product(A, B, x))


@pytest.mark.torch
@pytest.mark.parametrize("small", [0, batches.SMALL])
def test_tensors(rng, monkeypatch, small):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(batches, "SMALL", small)
    for leads in LEADS:
        inputs = [torch.from_numpy(rng.standard_normal(s)).requires_grad_() for s in ((*leads[0], 2, 3), (*leads[1], 2, 2), (*leads[2], 6))]
        got = kron.matvec(inputs[:2], inputs[2])
        close(got.detach().numpy(), product(*(a.detach().numpy() for a in inputs)))
        if got.numel():
            assert torch.autograd.gradcheck(lambda A, B, x: kron.matvec([A, B], x), inputs, fast_mode=True)


def test_in_jax(rng):
    jax = pytest.importorskip("jax")
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 2), (3, 3), (3, 6))]
    got = jax.jit(lambda A, B, x: kron.matvec([A, B], x))(*map(jax.numpy.asarray, arrays))
    close(np.asarray(got), product(*arrays), 64, np.float32)


def per_item_operators(K, factors, function, *arrays):
    return of_items(K.batch_shape, lambda F, *inputs: function(kron.KroneckerOperator(F), *inputs), factors, *arrays)


@pytest.mark.parametrize("small", [0, batches.SMALL])
@pytest.mark.parametrize("leads", [((3,), (3,)), ((2, 1), (3,)), ((1,), (1,)), ((2,), ())])
def test_methods(rng, monkeypatch, leads, small):
    monkeypatch.setattr(batches, "SMALL", small)
    factors = [np.stack(positive(rng, *[n] * int(np.prod(lead)))).reshape(*lead, n, n) for lead, n in zip(leads, (3, 2))]
    K = kron.KroneckerOperator.batch(factors)
    B = K.batch_shape
    assert K.shape == (*B, 6, 6)
    noise = rng.uniform(0.1, 0.5, B)
    for shape in ((6,), (6, 4), (3, 2)):  # a vector, columns, a table
        y = rng.standard_normal((*B, *shape))
        close(K.solve(y, 0.2), per_item_operators(K, factors, lambda K, y: K.solve(y, 0.2), y))
        close(K.solve(y, noise), per_item_operators(K, factors, lambda K, *inputs: K.solve(*inputs), y, noise))
        close(K.apply(np.sqrt, y), per_item_operators(K, factors, lambda K, y: K.apply(np.sqrt, y), y))
        if shape != (3, 2):
            close(K @ y, per_item_operators(K, factors, lambda K, y: K @ y, y))
            close(K.T.matvec(y), K.rmatvec(y))
            close(K.rmatvec(y), per_item_operators(K, factors, lambda K, y: K.T @ y, y))
    close(K.logdet(noise), per_item_operators(K, factors, lambda K, noise: K.logdet(noise), noise))
    close(K.logdet(), per_item_operators(K, factors, lambda K: K.logdet()))
    close(K.solve(y), per_item_operators(K, factors, lambda K, y: K.solve(y), y), 256)
    skewed = [f + np.triu(rng.standard_normal(f.shape), 1) for f in factors]
    close(kron.KroneckerOperator.batch(skewed).solve(y), per_item_operators(K, skewed, lambda K, y: K.solve(y), y), 4096)
    for name in ("trace", "diagonal", "to_dense"):
        close(getattr(K, name)(), per_item_operators(K, factors, operator.methodcaller(name)))
    lam, Q = K.eigh()
    close(Q.to_dense() * lam[..., None, :] @ np.swapaxes(Q.to_dense(), -1, -2), K.to_dense(), 256)
    U, s, Vt = K.svd()
    close(U.to_dense() * s[..., None, :] @ Vt.to_dense(), K.to_dense(), 256)
    close(K.inverse().to_dense(), np.linalg.inv(K.to_dense()), 256)
    close(K.cholesky().to_dense(), np.linalg.cholesky(K.to_dense()), 256)
    first = K[(0,) * len(B)]
    assert isinstance(first, kron.KroneckerOperator)
    np.testing.assert_array_equal(K[:1].to_dense(), K.to_dense()[:1])


@pytest.mark.parametrize("kind", ["numpy", pytest.param("torch", marks=pytest.mark.torch)])
def test_algebra(rng, kind):
    if kind == "torch":
        torch = pytest.importorskip("torch")
    to = torch.from_numpy if kind == "torch" else np.asarray
    K, L = (kron.KroneckerOperator.batch([to(np.stack(positive(rng, *[n] * 3))) for n in (3, 2)]) for _ in range(2))
    (A, B), c, y = (np.asarray(M.to_dense()) for M in (K, L)), rng.uniform(1, 2, 3), rng.standard_normal((3, 6))
    output = {
        "multiple": (2.5 * K, 2.5 * A),
        "NumPy scalar": (np.float64(2.5) * K, 2.5 * A),
        "per item": (K * to(c), A * c[:, None, None]),
        "quotient": (K / 2.0, A / 2),
        "sum": (K + L, A + B),
        "sum of three": (K + L - 2.0 * (K + L) / 4.0, (A + B) / 2),
        "difference": (K - L, A - B),
        "product": (K @ L, A @ B),
        "transpose": ((K + L).T, A + B),
    }
    for got, expected in output.values():
        assert got.shape == (3, 6, 6)
        close(got.to_dense(), expected)
        close(got.trace(), np.trace(expected, axis1=1, axis2=2))
        close(got @ to(y), (expected @ y[..., None])[..., 0])
        close(got.rmatvec(to(y)), (np.swapaxes(expected, 1, 2) @ y[..., None])[..., 0])
        close(got[1].to_dense(), expected[1])
        close(got[:2].diagonal(), np.diagonal(expected, axis1=1, axis2=2)[:2])
    close((K + L).solve(to(y)), np.linalg.solve(A + B, y[..., None])[..., 0], 256)
    close((K + L).logdet(), np.linalg.slogdet(A + B)[1], 256)
    with pytest.raises(ValueError, match="term 1 of the sum has shape"):
        K + kron.KroneckerOperator.batch([to(np.ones((3, 2, 2)))])
    with pytest.raises(TypeError):
        K + 1.0


def test_precisions_and_errors_of_a_batch(rng):
    factors = [np.stack(positive(rng, 3, 3)), positive(rng, 2)[0]]
    narrow, y = kron.KroneckerOperator.batch([f.astype(np.float32) for f in factors]), rng.standard_normal((2, 6))
    wide = kron.KroneckerOperator.batch(factors)
    assert narrow.solve(y, 0.1).dtype == narrow.logdet().dtype == np.float64
    assert narrow.solve(y.astype(np.float32), 0.1).dtype == (narrow @ y.astype(np.float32)).dtype == np.float32
    close(narrow.solve(y.astype(np.float32), 0.1), wide.solve(y, 0.1), 64, np.float32)
    y[1, 3] = np.nan
    got = wide.solve(y, 0.1)
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).any()
    for bad, error, text in ((np.ones((3, 3)), np.linalg.LinAlgError, "singular"), (np.triu(np.ones((3, 3))), ValueError, "not symmetric")):
        K = kron.KroneckerOperator.batch([np.stack([factors[0][0], bad]), factors[1]])
        noise = 0.1 if error is ValueError else 0.0
        for call in (lambda K=K, noise=noise: K.solve(y, noise), lambda K=K, noise=noise: K.logdet(noise)):
            with pytest.raises(error, match=text):
                call()


def test_rejected(rng):
    A, B, x = rng.standard_normal((3, 2, 2)), rng.standard_normal((2, 2)), rng.standard_normal((3, 4))
    K = kron.KroneckerOperator.batch([np.stack(positive(rng, 2, 2)), np.eye(2)])
    batch, y = kron.KroneckerOperator.batch, np.ones((2, 4))
    check_rejected([
        (lambda: kron.matvec([A, B], x[:2]), ValueError, r"x has shape \(2, 4\); its leading axes do not broadcast with .*, \(3,\)"),
        (lambda: kron.matvec([A, A[:2]], x), ValueError, "broadcast"),
        (lambda: kron.matvec([A, B.astype("f")], x), TypeError, "float32"),
        (lambda: kron.matvec([A, B[0]], x), ValueError, r"factors\[1\] has shape \(2,\)"),
        (lambda: kron.matvec([A, B], x, out=x), ValueError, "out= requires factors without batch axes"),
        (lambda: batch([np.ones(3)]), ValueError, r"batch: factors\[0\] has shape \(3,\), expected \(\.\.\., m_1, n_1\)"),
        (lambda: batch([np.ones((2, 2, 2)), np.ones((3, 2, 2))]), ValueError, "broadcast"),
        (lambda: batch([np.ones((0, 2, 2))]), ValueError, "expected no axis of length 0"),
        (lambda: batch([np.ones((2, 2, 2)), np.ones((2, 2), "f")]), TypeError, "float32"),
        (lambda: kron.KroneckerOperator([np.ones((2, 2, 2))]), ValueError, r"\(2, 2, 2\)"),
        (lambda: K.solve(y[0]), ValueError, r"KroneckerBatch.solve: y has shape \(4,\), expected the leading batch axes \(2,\)"),
        (lambda: K @ np.ones(2), ValueError, "x has shape"),
        (lambda: K @ y[:, :3], ValueError, "x has shape"),
        (lambda: K.solve(y, np.ones(3)), ValueError, r"solve: noise has shape \(3,\), expected a number or \(2,\)"),
        (lambda: K.solve(y, -1.0), ValueError, "noise is -1.0"),
        (lambda: K.solve(y, np.array([0.1, -1.0])), ValueError, "noise is -1.0"),
        (lambda: K.solve(y, np.array([1, 2])), TypeError, "noise has dtype int64"),
    ])  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("small", [0, batches.SMALL])
def test_tensors_of_a_batch(rng, monkeypatch, small):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(batches, "SMALL", small)
    arrays = np.stack(positive(rng, 3, 3)), positive(rng, 2)[0], np.array([0.1, 0.3]), rng.standard_normal((2, 6))
    A, B, noise, y = map(torch.from_numpy, arrays)
    K = kron.KroneckerOperator.batch([A, B])
    assert K.logdet().dtype == K.solve(y).dtype == torch.float64
    inputs = [a.clone().requires_grad_() for a in (A, B, noise, y)]

    def results(A, B, noise, y):
        K = kron.KroneckerOperator.batch([(A + A.mT) / 2, (B + B.mT) / 2])
        more = torch.stack([y, 2 * y], -1)
        solutions = K.solve(y, noise), K.solve(y), K.solve(more, noise[0])
        return *solutions, K.logdet(noise), K.logdet(noise[0]), K.logdet(), K @ y, K.eigh()[0], K.inverse().to_dense(), K.trace()

    assert torch.autograd.gradcheck(results, inputs, fast_mode=True)
    dense = K.to_dense()
    for zero_noise in (torch.zeros((), dtype=torch.float64), torch.tensor([0.0, 0.3], dtype=torch.float64)):
        C = dense + zero_noise.requires_grad_().reshape(-1, 1, 1) * torch.eye(6)
        expected = torch.autograd.grad(C.logdet().sum() + torch.linalg.solve(C, y[..., None]).sum(), zero_noise)
        torch.testing.assert_close(torch.autograd.grad(K.logdet(zero_noise).sum() + K.solve(y, zero_noise).sum(), zero_noise), expected)
    value = lambda A: kron.KroneckerOperator.batch([A, B]).logdet(noise).sum()  # noqa: E731
    (expected,) = torch.autograd.grad(value(leaf := A.clone().requires_grad_()), leaf)
    torch.testing.assert_close(torch.func.grad(value)(A), expected)
    torch.testing.assert_close(torch.vmap(torch.func.grad(value))(torch.stack([A, A]))[1], expected)
