"""KroneckerOperator of tensors: the same bits as NumPy, gradients against dense PyTorch, and errors."""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.sparse.linalg import LinearOperator  # noqa: E402

import quatrefoil as qf  # noqa: E402
from checks import check_rejected  # noqa: E402
from kron.dense import close, normal, positive, with_eigenvalues  # noqa: E402
from quatrefoil.kron import KroneckerOperator  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # from PyTorch's own tracing
]
SHAPES = [(3, 4), (5, 2), (2, 3)]  # M = 30, N = 24
SIZES = [(5,), (3, 1, 4), (2, 3, 2, 2)]


def tensors(*arrays):
    return [torch.from_numpy(np.array(a)) for a in arrays]


def leaves(*arrays):
    return [t.requires_grad_() for t in tensors(*arrays)]


def symmetric(f):
    return (f + f.mT) / 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_same_bits_as_numpy(backend, rng, dtype, precision):
    rectangular, square = [f.astype(dtype) for f in normal(rng, *SHAPES)], [f.astype(dtype) for f in positive(rng, 5, 3, 2)]
    x, y, X, Y = (a.astype(precision) for a in normal(rng, 24, 30, (24, 5), (30, 5)))

    def results(convert):
        K, S = (KroneckerOperator([convert(f) for f in F]) for F in (rectangular, square))
        return lambda x, y, X, Y: [
            K @ x, K.matvec(x), K.matvec(x[:, None]), K.rmatvec(y), K.T @ y, K.T.T @ x, y @ K, K @ X, K.matmat(X), K @ X[:, :0],
            KroneckerOperator(K.factors, backend=backend, num_threads=2) @ x, K.rmatmat(Y), K.H @ Y, K.dot(X), Y.T @ K, K.to_dense(),
            K[1], K[convert(np.array([1, -1])), 0], *(S.apply(lambda lam: lam / (lam + 0.1), a) for a in (y, Y, Y[:, :0])),
        ]  # fmt: skip

    expected, of_tensors = results(np.asarray)(x, y, X, Y), results(torch.from_numpy)
    for _ in range(2):  # the second call uses the factors packed by the first
        for got, e in zip(of_tensors(*tensors(x, y, X, Y)), expected, strict=True):
            assert isinstance(got, torch.Tensor)
            assert got.numpy().dtype == e.dtype
            np.testing.assert_array_equal(got.numpy(), e)
    T = KroneckerOperator(tensors(*rectangular))
    assert isinstance(T, LinearOperator)
    assert (T.shape, T.dtype) == ((30, 24), dtype)
    assert T.T.T is T
    if dtype == precision:
        out = torch.full((30,), float("nan"), dtype=T.factors[0].dtype)
        assert T.matvec(torch.from_numpy(x), out=out) is out
        np.testing.assert_array_equal(out.numpy(), expected[0])


def test_dtypes_of_gradients(rng):
    factors, noise = leaves(*(f.astype(np.float32) for f in positive(rng, 4, 3))), torch.tensor(0.5, requires_grad=True)
    K = KroneckerOperator(factors)
    for precision in (torch.float32, torch.float64):
        y = torch.from_numpy(rng.standard_normal(12)).to(precision).requires_grad_()
        solved, determinant = K.solve(y, noise), K.logdet(noise)
        assert (solved.dtype, determinant.dtype) == (precision, torch.float64)
        value, inputs = solved.sum() + K.apply(torch.sqrt, y).sum() + (K @ y).sum() + determinant + K.logdet(), [y, noise, *factors]
        for g, a in zip(torch.autograd.grad(value + K.solve(y).sum(), inputs), inputs):
            assert (g.dtype, g.shape) == (a.dtype, a.shape)
    assert {f.dtype for f in (*K.inverse().factors, *K.cholesky().factors, *K.eigh()[1].factors, K.eigh()[0])} == {torch.float32}
    assert torch.autograd.grad(KroneckerOperator(leaves(np.zeros((0, 0)), np.eye(3))).logdet(0.5), [noise], allow_unused=True) == (None,)


@pytest.mark.parametrize("sizes", [(4,), (4, 3)])
def test_own_factors_are_out_of_reach(backend, rng, sizes):
    """Tensors cannot be frozen, so the operator copies factors in and out. Packed factors remain valid."""
    factors = tensors(*positive(rng, *sizes))
    K = KroneckerOperator(factors)
    x = torch.from_numpy(rng.standard_normal(K.shape[0]))

    def results():
        return [K @ x, K.rmatvec(x), K.T @ x, K.solve(x), K.solve(x, 0.5), torch.tensor(K.logdet())]

    before, own = results(), K.factors
    for tensor in (*factors, *K.factors, *K.T.factors, K.to_dense(), K.diagonal(), K.T.to_dense()):
        tensor.numpy()[...] = 7
    for a, b in zip([*results(), *K.factors], [*before, *own]):
        assert torch.equal(a, b)


def dense_of(factors):
    return functools.reduce(torch.kron, factors)


def noisy(D, s):
    return D + s * torch.eye(len(D), dtype=D.dtype)


def by_eigenvectors(K):
    lam, Q = K.eigh()
    return Q.to_dense() * lam**3 @ Q.to_dense().T


# arguments: an operator or a matrix, y and a number
RECTANGULAR = {
    "product": (lambda K, y, s: K @ y[:24], lambda D, y, s: D @ y[:24]),
    "columns": (lambda K, y, s: K @ y[:24, None].expand(24, 2), lambda D, y, s: D @ y[:24, None].expand(24, 2)),
    "transposed": (lambda K, y, s: K.rmatvec(y), lambda D, y, s: D.mT @ y),
    "T": (lambda K, y, s: K.T @ y, lambda D, y, s: D.mT @ y),
    "dense": (lambda K, y, s: K.to_dense(), lambda D, y, s: D),
    "multiple": (lambda K, y, s: (s * K - K / s) @ y[:24], lambda D, y, s: (s - 1 / s) * D @ y[:24]),
    "square": (lambda K, y, s: (K @ K.T).to_dense(), lambda D, y, s: D @ D.mT),
    "entries": (lambda K, y, s: (K + s * K)[1:9:2, [0, 2]], lambda D, y, s: (1 + s) * D[1:9:2, [0, 2]]),
    "singular values": (lambda K, y, s: K.svd()[1].sort().values, lambda D, y, s: torch.linalg.svdvals(D)[: 3 * 2 * 2].flip(0)),
}
SQUARE = {
    "solve": (lambda K, y, s: K.solve(y), lambda D, y, s: torch.linalg.solve(D, y)),
    "solve transposed": (lambda K, y, s: K.T.solve(y), lambda D, y, s: torch.linalg.solve(D.mT, y)),
    "inverse": (lambda K, y, s: K.inverse().to_dense(), lambda D, y, s: torch.linalg.inv(D)),
    "diagonal": (lambda K, y, s: K.diagonal(), lambda D, y, s: D.diagonal()),
    "diagonal of a sum": (lambda K, y, s: (K @ K + K).diagonal(), lambda D, y, s: (D @ D + D).diagonal()),
    "trace": (lambda K, y, s: K.trace(), lambda D, y, s: D.trace()),
    "determinant": (lambda K, y, s: K.logdet(), lambda D, y, s: torch.logdet(D)),
}
SINGULAR = {  # for symmetric matrices, which may be singular
    "solve with noise": (lambda K, y, s: K.solve(y, s), lambda D, y, s: torch.linalg.solve(noisy(D, s), y)),
    "determinant with noise": (lambda K, y, s: K.logdet(s), lambda D, y, s: torch.logdet(noisy(D, s))),
    "exponential": (lambda K, y, s: K.apply(lambda l: torch.exp(-s * l), y), lambda D, y, s: torch.linalg.matrix_exp(-s * D) @ y),
}
REPEATED = SINGULAR | {
    "eigenvalues": (lambda K, y, s: K.eigh()[0].log().sum(), lambda D, y, s: torch.logdet(D)),  # torch.linalg.eigh's gradient divides by 0
    "Cholesky": (lambda K, y, s: K.cholesky().to_dense(), lambda D, y, s: torch.linalg.cholesky(D)),
}
DISTINCT = REPEATED | {
    "each eigenvalue": (lambda K, y, s: K.eigh()[0].sort().values, lambda D, y, s: torch.linalg.eigvalsh(D)),
    "eigenvectors": (lambda K, y, s: by_eigenvectors(K), lambda D, y, s: D @ D @ D),
}


def general(rng, *sizes):
    """Random matrices with positive determinants."""
    return [f * np.sign(np.linalg.det(f)) ** (len(f) % 2) for f in (rng.standard_normal((n, n)) + 4 * np.eye(n) for n in sizes)]


PROBLEMS = {
    "rectangular": (RECTANGULAR, lambda rng: normal(rng, *SHAPES)),
    **{f"general {n}": (SQUARE, lambda rng, n=n: general(rng, *n)) for n in SIZES},
    **{f"symmetric {n}": (DISTINCT, lambda rng, n=n: positive(rng, *n)) for n in SIZES},
    "repeated": (REPEATED, lambda rng: [with_eigenvalues(rng, 1.0, 1.0, 1.0, 2.0), np.eye(3)]),
    "identity": (REPEATED, lambda rng: [np.eye(3), np.eye(2)]),
    "singular": (SINGULAR, lambda rng: [with_eigenvalues(rng, 0.0, 0.0, 0.0, 1.0, 2.0), *positive(rng, 3)]),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("columns", [(), (3,), (0,)])
def test_gradients(backend, rng, problem, columns):
    rows, make = PROBLEMS[problem]
    if columns and rows is RECTANGULAR:
        return
    take = (lambda F: list(map(symmetric, F))) if "solve with noise" in rows else list
    factors = make(rng)
    for name, (ours, dense) in rows.items():
        if columns and "solve" not in name and name != "exponential":
            continue
        print(name)
        y, s, *F = leaves(rng.standard_normal((np.prod([len(f) for f in factors]), *columns)), 0.3, *factors)
        output, expected = ours(KroneckerOperator(take(F)), y, s), dense(dense_of(take(F)), y, s)
        torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-11)
        weights = torch.from_numpy(rng.standard_normal(tuple(expected.shape)))
        for g, e in zip(*[torch.autograd.grad((r * weights).sum(), [y, s, *F], materialize_grads=True) for r in (output, expected)]):
            torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("make", [lambda rng: positive(rng, 4, 3), lambda rng: [with_eigenvalues(rng, 1.0, 1.0, 2.0, 2.0), np.eye(3)]])
def test_gradients_of_functions_of_arrays(backend, rng, make):
    """``apply_vjp`` of NumPy arrays agrees with autograd. ``apply`` is linear in the function's values, so ``dvalues`` gives its change."""
    factors, (y, grad), step = make(rng), rng.standard_normal((2, 12, 2)), 1e-3 * rng.standard_normal(12)
    K, h = KroneckerOperator(factors), lambda l: l / (l + 0.3)
    dfactors, dvalues, dy = K.apply_vjp(h, lambda l: 0.3 / (l + 0.3) ** 2, y, grad)
    inputs = leaves(*factors, y)
    expected = torch.autograd.grad(KroneckerOperator(inputs[:2]).apply(h, inputs[2]), inputs, torch.from_numpy(grad))
    for g, e in zip((*dfactors, dy), expected, strict=True):
        close(g, e.numpy(), 1e3)
    moved = np.sum(grad * (K.apply(lambda l: h(l) + step, y) - K.apply(h, y)))
    assert moved == pytest.approx(dvalues @ step, rel=1e-8, abs=1e-9 * np.abs(grad).max())


def test_an_operator_serves_more_than_one_gradient(backend, rng):
    """Values without gradients, then two gradients of the same operator, and gradients with respect to x alone."""
    x, noise, *factors = leaves(rng.standard_normal(12), 0.3, *positive(rng, 4, 3))
    K, plain = KroneckerOperator(factors), KroneckerOperator([f.detach() for f in factors])
    with torch.no_grad():
        values = K.solve(x, noise), K.logdet(noise)
    assert not values[0].requires_grad
    assert torch.equal(K.solve(x, noise), values[0])
    assert K.logdet(noise).item() == values[1]
    for _ in range(2):
        got = torch.autograd.grad((K @ x).square().sum(), [x, *factors])
        of_x = torch.autograd.grad((plain @ x).sum(), x)[0]
        assert torch.equal(of_x, qf.kron.matvec_vjp(plain.factors, x.detach(), torch.ones(12, dtype=torch.float64))[1])
    torch.testing.assert_close(got, torch.autograd.grad((K.to_dense() @ x).square().sum(), [x, *factors]))


def test_func_and_compile(rng):
    y, noise, A, B = tensors(rng.standard_normal(6), 0.4, with_eigenvalues(rng, 2.0, 2.0, 3.0), *positive(rng, 2))

    def result(y, noise, A, B):
        K = KroneckerOperator([symmetric(A), symmetric(B)])
        values = [K.eigh()[0].log(), K.svd()[1], K.inverse()[0], K.cholesky()[1], (K - 2 * K @ K) @ y, K.trace(), (K @ y).square()]
        values += [K.apply(lambda l: l / (l + noise), y).square(), K.solve(y, noise).square(), K.logdet(noise), K.solve(y)[0], K.logdet()]
        return sum(v.sum() for v in values)

    inputs = [y, noise, A, B]
    graded = [a.clone().requires_grad_() for a in inputs]
    expected = torch.autograd.grad(result(*graded), graded)
    torch.testing.assert_close(torch.func.grad(result, argnums=(0, 1, 2, 3))(*inputs), expected)
    many, of_factor = torch.stack([A, 2 * A]), torch.func.grad(lambda A: result(y, noise, A, B))
    for A_i, g in zip(many, torch.vmap(of_factor)(many)):
        torch.testing.assert_close(g, of_factor(A_i))

    def compiled(A):
        K = KroneckerOperator([symmetric(A), B])
        return K.logdet(0.4) + K.apply(lambda l: l / (l + noise), y).square().sum()

    K = KroneckerOperator([A, B])
    torch.testing.assert_close(torch.vmap(lambda x: K @ x)(torch.stack([y, -y])), torch.stack([K @ y, -(K @ y)]))
    for function, x, whole in (
        (compiled, graded[2], False),
        (lambda x: (K.matvec(x) * K.dot(x)).sum(), graded[0], True),
        (lambda x: (K.T.rmatvec(x) * (K @ x)).sum(), graded[0], False),
    ):
        torch._dynamo.reset()
        program = torch.compile(function, fullgraph=whole, backend="aot_eager")
        torch.testing.assert_close(torch.autograd.grad(program(x), x), torch.autograd.grad(function(x), x))


def test_second_derivatives(rng):
    """Second derivatives with respect to y and noise exist. Those with respect to a factor raise an error."""
    y, noise, A, B = leaves(rng.standard_normal(6), 0.4, *positive(rng, 3, 2))
    K = KroneckerOperator([A.detach(), B.detach()])
    assert torch.autograd.gradgradcheck(lambda y, s: K.solve(y, s), (y, noise))
    graded = KroneckerOperator([A, B])
    applied = graded.apply(torch.exp, y).sum()
    for value in (graded.solve(y).sum(), graded.solve(y, noise).sum(), graded.logdet(), graded.logdet(noise), applied):
        (g,) = torch.autograd.grad(value, A, create_graph=True)
        with pytest.raises(NotImplementedError, match="derivative"):
            g.sum().backward()


def test_functions_without_a_slope(rng):
    """Step functions: only changes of eigenvectors have an effect. Eigenvalues are well separated for accurate finite differences."""
    matrix, y = with_eigenvalues(rng, 0.5, 0.9, 1.4, 2.0), torch.from_numpy(rng.standard_normal(4))
    (K,), E = leaves(matrix), symmetric(torch.from_numpy(rng.standard_normal((4, 4))))
    middle = torch.linalg.eigvalsh(K.detach())[1:3].mean()
    for h in (lambda l: l > middle, lambda l: (l > middle).double()):
        (got,) = torch.autograd.grad(KroneckerOperator([K]).apply(h, y).square().sum(), K)
        ends = [KroneckerOperator([K.detach() + t * E]).apply(h, y).square().sum().item() for t in (1e-5, -1e-5)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx((got * E).sum().item(), rel=1e-5, abs=1e-7)


def test_rejected(rng):
    K, T = (KroneckerOperator([convert(f) for f in normal(rng, *SHAPES)]) for convert in (np.asarray, torch.from_numpy))
    x, out, host = rng.standard_normal(24), torch.zeros(30, dtype=torch.float64), KroneckerOperator([np.eye(6)])
    t, y, plain = torch.from_numpy(x), torch.ones(6, dtype=torch.float64), KroneckerOperator(tensors(*positive(rng, 3, 2)))
    mixed, numpy_given = r"x is a torch array but factors\[0\] is a numpy array", r"x is a numpy array but factors\[0\] is a torch array"
    y_is_numpy, y_is_torch = (text.replace("x is", "y is") for text in (numpy_given, mixed))
    check_rejected([
        (lambda: K @ t, TypeError, mixed),
        (lambda: T @ x, TypeError, numpy_given),
        (lambda: T.matmat(x[:, None]), TypeError, numpy_given),
        (lambda: (T + T) @ x, TypeError, numpy_given),
        (lambda: T @ x.tolist(), TypeError, "x is list"),
        (lambda: T @ t.long(), TypeError, "int64"),
        (lambda: T @ t[1:], ValueError, r"x has shape \(23,\), expected"),
        (lambda: T.matvec(torch.stack([t, t], 1)), ValueError, r"matvec: x has shape \(24, 2\), expected \(24,\) or \(24, 1\)"),
        (lambda: T.matmat(t), ValueError, "expected a matrix"),
        (lambda: T.matvec(t.clone().requires_grad_(), out=out), RuntimeError, "out="),
        (lambda: T.matvec(t, out=out.numpy()), TypeError, "out is ndarray"),
        (lambda: KroneckerOperator([torch.eye(2), np.eye(2, dtype="f")]), TypeError, r"factors\[1\] is a numpy array but factors\[0\] is"),
        (lambda: plain.solve(np.zeros(6)), TypeError, y_is_numpy),
        (lambda: host.solve(y), TypeError, y_is_torch),
        (lambda: host.apply(np.exp, y), TypeError, y_is_torch),
        (lambda: plain.apply(torch.exp, np.zeros(6)), TypeError, y_is_numpy),
        (lambda: plain.apply(lambda l: np.ones(6), y), TypeError, "h returned a numpy array of float64, expected a torch array"),
        (lambda: plain.apply(torch.sum, y), ValueError, r"h returned an array of shape \(\), expected \(6,\)"),
        (lambda: plain.apply_vjp(np.exp, np.exp, y, y), TypeError, "factors are torch arrays, expected NumPy"),
    ])  # fmt: skip


def test_rejected_with_a_gradient(rng):
    skew, negative, flat = np.triu(np.ones((3, 3))), np.diag([1.0, -1.0]), np.ones((2, 2))
    K = lambda *arrays: KroneckerOperator(leaves(*arrays))  # noqa: E731
    y = torch.ones(6, dtype=torch.float64)
    tensor = lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True)  # noqa: E731
    asymmetric, coupled = r"factors\[0\] is not symmetric", r"\.apply: a value of h depends on several eigenvalues"
    error, singular = np.linalg.LinAlgError, "singular"
    check_rejected([
        (lambda: K(skew, flat).solve(y, 0.1), ValueError, asymmetric),
        (lambda: K(skew, np.eye(2)).logdet(0.1), ValueError, asymmetric),
        (lambda: K(skew, np.eye(2)).apply(torch.exp, y), ValueError, f"apply: {asymmetric}"),
        (lambda: K(np.eye(3), np.eye(2)).apply(lambda l: l / l.max(), y), ValueError, coupled),
        (K(skew, np.eye(2)).eigh, ValueError, f"eigh: {asymmetric}"),
        (K(skew, np.eye(2)).cholesky, ValueError, f"cholesky: {asymmetric}"),
        (K(np.eye(3), negative).cholesky, error, r"cholesky: factors\[1\] is not positive definite"),
        (lambda: K(np.eye(3), negative).solve(y, 0.1), error, r"factors\[1\] is not positive semidefinite"),
        (K(np.eye(3), negative).logdet, error, "negative"),
        *[(call, error, singular) for call in (lambda: K(np.eye(3), flat).solve(y), K(np.eye(3), flat).logdet, K(np.eye(3), flat).inverse)],
        *[(lambda s=s: K(np.eye(3), flat).solve(y, tensor(s)), ValueError, "noise") for s in (-0.1, np.nan, np.inf)],
        (lambda: K(np.eye(3), flat).solve(y, tensor(0.0)), error, singular),
        (lambda: K(np.eye(3), flat).solve(y, tensor([0.1])), TypeError, r"solve: noise has shape \(1,\), expected a number"),
        (lambda: KroneckerOperator([np.eye(2)]).solve(np.ones(2), tensor(0.1)), NotImplementedError, "no gradient with respect to noise"),
        (K(np.ones((2, 3))).logdet, ValueError, "square"),
    ])  # fmt: skip
