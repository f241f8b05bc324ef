"""KroneckerOperator with PyTorch factors."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.sparse.linalg import LinearOperator  # noqa: E402

import quatrefoil as qf  # noqa: E402
from checks import check_refused  # noqa: E402
from kron.dense import positive  # noqa: E402
from quatrefoil.kron import KroneckerOperator  # noqa: E402

pytestmark = pytest.mark.torch

SHAPES = [(3, 4), (5, 2), (2, 3)]  # M = 30, N = 24


def pair(rng, shapes=SHAPES, dtype=np.float64, **options):
    """The same operator of NumPy arrays and of tensors."""
    factors = [rng.standard_normal(s).astype(dtype) for s in shapes]
    return KroneckerOperator(factors, **options), KroneckerOperator([torch.from_numpy(f) for f in factors], **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_as_numpy(backend, rng, dtype):
    K, T = pair(rng, dtype=dtype)
    assert isinstance(T, LinearOperator)
    assert T.shape == (30, 24)
    assert T.dtype == dtype
    x, y, X, Y = (rng.standard_normal(s).astype(dtype) for s in (24, 30, (24, 5), (30, 5)))

    def products(K, x, y, X, Y):
        own = KroneckerOperator(K.factors, backend=backend, num_threads=2)
        of_vectors = [K @ x, K.matvec(x), K.matvec(x[:, None]), K.rmatvec(y), K.T @ y, K.T.T @ x, y @ K, own @ x]
        return [*of_vectors, K @ X, K.matmat(X), K @ X[:, :0], K.rmatmat(Y), K.H @ Y, K.dot(X), Y.T @ K, K.to_dense()]

    expected = products(K, x, y, X, Y)
    for _ in range(2):  # the second time with what the first one packed
        for got, e in zip(products(T, *map(torch.from_numpy, (x, y, X, Y))), expected):
            assert isinstance(got, torch.Tensor)
            np.testing.assert_array_equal(got.numpy(), e)
    assert T.T.T is T
    out = torch.full((30,), float("nan"), dtype=T.factors[0].dtype)
    assert T.matvec(torch.from_numpy(x), out=out) is out
    np.testing.assert_array_equal(out.numpy(), K @ x)


def test_gradients(backend, rng):
    factors = [torch.from_numpy(rng.standard_normal(s)).requires_grad_() for s in SHAPES]
    x, y, X = (torch.from_numpy(rng.standard_normal(s)).requires_grad_() for s in (24, 30, (24, 2)))
    check = torch.autograd.gradcheck
    assert check(lambda x, *F: KroneckerOperator(F) @ x, (x, *factors))
    assert check(lambda X, *F: KroneckerOperator(F) @ X, (X, *factors))
    assert check(lambda y, *F: KroneckerOperator(F).rmatvec(y), (y, *factors))
    assert check(lambda y, *F: KroneckerOperator(F).T @ y, (y, *factors))
    assert check(lambda *F: KroneckerOperator(F).to_dense(), factors)
    square = [torch.from_numpy(rng.standard_normal((n, n))).requires_grad_() for n in (2, 3)]
    assert check(lambda *F: KroneckerOperator(F).diagonal(), square)
    K = KroneckerOperator([f.detach() for f in factors])
    assert check(lambda x: K @ x, x)  # with what is packed
    first = torch.autograd.grad((K @ x).sum(), x)[0]
    assert torch.equal(first, qf.kron.matvec_vjp(K.factors, x.detach(), torch.ones(30, dtype=torch.float64))[1])
    kept = KroneckerOperator(factors)
    for _ in range(2):  # the graph of a kept operator serves more than once
        got = torch.autograd.grad((kept @ x).square().sum(), [x, *factors])
    expected = torch.autograd.grad((kept.to_dense() @ x).square().sum(), [x, *factors])
    for a, b in zip(got, expected):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, while it traces
def test_func_and_compile(rng):
    factors = [torch.from_numpy(rng.standard_normal(s)) for s in SHAPES]
    x = torch.from_numpy(rng.standard_normal(24))
    K = KroneckerOperator(factors)
    leaves = [t.clone().requires_grad_() for t in (x, *factors)]
    expected = torch.autograd.grad((KroneckerOperator(leaves[1:]) @ leaves[0]).square().sum(), leaves)
    got = torch.func.grad(lambda x, *F: (KroneckerOperator(F) @ x).square().sum(), argnums=(0, 1, 2, 3))(x, *factors)
    for a, b in zip(got, expected):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(torch.func.grad(lambda x: (K @ x).square().sum())(x), expected[0])
    torch.testing.assert_close(torch.vmap(lambda x: K @ x)(torch.stack([x, -x])), torch.stack([K @ x, -(K @ x)]))
    for multiply, whole in ((K.matvec, True), (K.dot, True), (lambda x: K.T.rmatvec(x), False), (lambda x: K @ x, False)):
        torch._dynamo.reset()
        compiled = torch.compile(lambda x, multiply=multiply: multiply(x).square().sum(), fullgraph=whole, backend="aot_eager")
        torch.testing.assert_close(torch.autograd.grad(compiled(leaves[0]), leaves[0])[0], expected[0])


@pytest.mark.parametrize("sizes", [(4,), (4, 3)])
def test_own_factors_are_out_of_reach(backend, rng, sizes):
    """Nothing freezes a tensor: factors are copies both ways, and results too, so what was packed stays true."""
    factors = [torch.from_numpy(f) for f in positive(rng, *sizes)]
    K = KroneckerOperator(factors)
    x = torch.from_numpy(rng.standard_normal(K.shape[0]))

    def results():
        return [K @ x, K.rmatvec(x), K.T @ x, K.solve(x), K.solve(x, 0.5), torch.tensor(K.logdet())]

    before, own = results(), K.factors
    for tensor in (*factors, *K.factors, *K.T.factors, K.to_dense(), K.diagonal(), K.T.to_dense()):
        tensor.numpy()[...] = 7
    for a, b in zip([*results(), *K.factors], [*before, *own]):
        assert torch.equal(a, b)


def test_precisions(backend, rng):
    K, T = pair(rng, dtype=np.float32)
    x = rng.standard_normal(24)
    got = T @ torch.from_numpy(x)
    assert got.dtype == torch.float64
    np.testing.assert_array_equal(got.numpy(), K @ x)
    wide, wide_tensors = pair(rng)
    x = x.astype(np.float32)
    np.testing.assert_array_equal((wide_tensors @ torch.from_numpy(x)).numpy(), wide @ x)
    leaves = [f.clone().requires_grad_() for f in T.factors]
    gradients = torch.autograd.grad((KroneckerOperator(leaves) @ torch.from_numpy(x).double()).sum(), leaves)
    assert {g.dtype for g in gradients} == {torch.float32}


def test_refused(rng):
    (K, T), x = pair(rng), rng.standard_normal(24)
    t, out = torch.from_numpy(x), torch.zeros(30, dtype=torch.float64)
    mixed, numpy_given = r"x is a torch array but factors\[0\] is a numpy array", r"x is a numpy array but factors\[0\] is a torch array"
    plain, y = KroneckerOperator([torch.from_numpy(f) for f in positive(rng, 3, 2)]), torch.from_numpy(rng.standard_normal(6))
    check_refused([
        (lambda: K @ t, TypeError, mixed),
        (lambda: K.matvec(t), TypeError, mixed),
        (lambda: T @ x, TypeError, numpy_given),
        (lambda: T.matvec(x), TypeError, numpy_given),
        (lambda: T.matmat(x[:, None]), TypeError, numpy_given),
        (lambda: (2 * T) @ x, TypeError, numpy_given),
        (lambda: T @ x.tolist(), TypeError, "x is list"),
        (lambda: T @ t.long(), TypeError, "int64"),
        (lambda: T @ t[1:], ValueError, r"x has shape \(23,\), expected"),
        (lambda: T.matvec(torch.stack([t, t], 1)), ValueError, r"matvec: x has shape \(24, 2\), expected \(24,\) or \(24, 1\)"),
        (lambda: T.matmat(t), ValueError, "expected a matrix"),
        (lambda: T.matvec(t.clone().requires_grad_(), out=out), RuntimeError, "out="),
        (lambda: T.matvec(t, out=out.numpy()), TypeError, "out is ndarray"),
        (lambda: KroneckerOperator([torch.eye(2), np.eye(2, dtype="f")]), TypeError, r"factors\[1\] is a numpy array but factors\[0\] is"),
        (lambda: plain.solve(np.zeros(6)), TypeError, r"y is a numpy array but factors\[0\] is a torch array"),
        (lambda: KroneckerOperator([np.eye(6)]).solve(y), TypeError, r"y is a torch array but factors\[0\] is a numpy array"),
    ])  # fmt: skip
