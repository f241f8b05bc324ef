"""Gradients of ``solve``, ``logdet``, ``eigh`` and of decompositions of a ``KroneckerOperator``, against dense PyTorch."""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checks import check_refused  # noqa: E402
from kron.dense import positive  # noqa: E402
from quatrefoil.kron import KroneckerOperator  # noqa: E402

pytestmark = pytest.mark.torch

SIZES = [(5,), (3, 1, 4), (2, 3, 2, 2)]


def leaves(*arrays):
    return [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]


def symmetric(f):
    return (f + f.mT) / 2


def dense_of(factors, noise=0.0):
    K = functools.reduce(torch.kron, factors)
    return K + noise * torch.eye(len(K), dtype=K.dtype)


def same_gradients(ours, dense, given, rtol=1e-9):
    """Of a random functional of both results."""
    made, expected = ours(*given), dense(*given)
    torch.testing.assert_close(made, expected, rtol=rtol, atol=1e-11)
    weights = torch.from_numpy(np.random.default_rng(3).standard_normal(tuple(expected.shape)))
    for g, e in zip(*[torch.autograd.grad((r * weights).sum(), given) for r in (made, expected)]):
        torch.testing.assert_close(g, e, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("columns", [(), (3,), (0,)])
def test_solve(backend, rng, sizes, columns):
    N = int(np.prod(sizes))
    skewed = [rng.standard_normal((n, n)) + 3 * np.eye(n) for n in sizes]
    y, *factors = leaves(rng.standard_normal((N, *columns)), *skewed)
    same_gradients(lambda y, *F: KroneckerOperator(F).solve(y), lambda y, *F: torch.linalg.solve(dense_of(F), y), [y, *factors])
    same_gradients(lambda y, *F: KroneckerOperator(F).T.solve(y), lambda y, *F: torch.linalg.solve(dense_of(F).mT, y), [y, *factors])
    y, noise, *factors = leaves(y.detach().numpy(), 0.3, *positive(rng, *sizes))
    same_gradients(
        lambda y, noise, *F: KroneckerOperator(list(map(symmetric, F))).solve(y, noise),
        lambda y, noise, *F: torch.linalg.solve(dense_of(list(map(symmetric, F)), noise), y),
        [y, noise, *factors],
    )


@pytest.mark.parametrize("sizes", SIZES)
def test_logdet(backend, rng, sizes):
    noise, *factors = leaves(0.3, *positive(rng, *sizes))
    same_gradients(lambda *F: KroneckerOperator(F).logdet(), lambda *F: torch.logdet(dense_of(F)), factors)
    same_gradients(
        lambda noise, *F: KroneckerOperator(list(map(symmetric, F))).logdet(noise),
        lambda noise, *F: torch.logdet(dense_of(list(map(symmetric, F)), noise)),
        [noise, *factors],
    )


def test_equal_eigenvalues(rng):
    """Where torch.linalg.eigh divides by 0."""
    q = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    y, noise, *factors = leaves(rng.standard_normal(12), 0.2, (q * [1.0, 1.0, 1.0, 2.0]) @ q.T, np.eye(3))
    given = [y, noise, *factors]
    halves = lambda F: list(map(symmetric, F))  # noqa: E731
    same_gradients(
        lambda y, s, *F: KroneckerOperator(halves(F)).solve(y, s), lambda y, s, *F: torch.linalg.solve(dense_of(halves(F), s), y), given
    )
    same_gradients(
        lambda y, s, *F: y.sum() + KroneckerOperator(halves(F)).logdet(s),
        lambda y, s, *F: y.sum() + torch.logdet(dense_of(halves(F), s)),
        given,
    )
    (got,) = torch.autograd.grad(KroneckerOperator(factors).eigh()[0].log().sum(), factors[0])
    torch.testing.assert_close(got, 3 * torch.linalg.inv(factors[0].detach()))


def test_singular_with_noise(rng):
    """Of a linear kernel's null space, too, the gradient is that of the dense matrix."""
    a = rng.standard_normal((5, 2))
    noise, F, G = leaves(0.1, a @ a.T, positive(rng, 3)[0])
    halves = lambda *F: list(map(symmetric, F))  # noqa: E731
    same_gradients(
        lambda s, *F: KroneckerOperator(halves(*F)).logdet(s), lambda s, *F: torch.logdet(dense_of(halves(*F), s)), [noise, F, G]
    )


def test_gradcheck_of_decompositions(rng):
    factors = leaves(*positive(rng, 3, 2))
    check = torch.autograd.gradcheck
    of = lambda F: KroneckerOperator(list(map(symmetric, F)))  # noqa: E731
    assert check(lambda *F: of(F).eigh()[0], factors)
    assert check(lambda *F: of(F).eigh()[1].to_dense().abs(), factors)  # whatever signs the vectors have
    assert check(lambda *F: of(F).inverse().to_dense(), factors)
    assert check(lambda *F: of(F).cholesky().to_dense(), factors)
    tall = leaves(rng.standard_normal((4, 2)), rng.standard_normal((2, 3)))
    assert check(lambda *F: KroneckerOperator(F).svd()[1], tall)


def test_negative_log_likelihood(rng):
    """The use of it all: y^T C^-1 y + log det C, by factors, noise and y, with no_grad in between."""
    y, noise, *factors = leaves(rng.standard_normal(12), 0.1, *positive(rng, 4, 3))

    def nll(y, noise, *F):
        K = KroneckerOperator(list(map(symmetric, F)))
        with torch.no_grad():
            plain = K.solve(y, noise), K.logdet(noise)
        x, determinant = K.solve(y, noise), K.logdet(noise)
        assert torch.equal(x, plain[0])
        assert not plain[0].requires_grad
        assert determinant.item() == plain[1]
        return (y @ x + determinant)[None]

    def dense(y, noise, *F):
        C = dense_of(list(map(symmetric, F)), noise)
        return (y @ torch.linalg.solve(C, y) + torch.logdet(C))[None]

    same_gradients(nll, dense, [y, noise, *factors])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of PyTorch's own reading
def test_func_and_compile(rng):
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    twice = (q * [2.0, 2.0, 3.0]) @ q.T  # equal eigenvalues
    y, noise, *factors = [torch.from_numpy(np.array(a)) for a in (rng.standard_normal(6), 0.4, twice, *positive(rng, 2))]

    def result(y, noise, A, B):
        K = KroneckerOperator([symmetric(A), symmetric(B)])
        values = [K.eigh()[0].log(), K.svd()[1], K.inverse()[0], K.cholesky()[1], (K - 2 * K @ K) @ y, K.trace()]
        return K.solve(y, noise).square().sum() + K.logdet(noise) + K.solve(y)[0] + K.logdet() + sum(v.sum() for v in values)

    given = [y, noise, *factors]
    graded = [a.clone().requires_grad_() for a in given]
    expected = torch.autograd.grad(result(*graded), graded)
    for g, e in zip(torch.func.grad(result, argnums=(0, 1, 2, 3))(*given), expected):
        torch.testing.assert_close(g, e)
    many = torch.stack([factors[0], 2 * factors[0]])
    each = torch.vmap(torch.func.grad(lambda A: result(y, noise, A, factors[1])))(many)
    for A, g in zip(many, each):
        torch.testing.assert_close(g, torch.func.grad(lambda A: result(y, noise, A, factors[1]))(A))

    def compiled(A):
        K = KroneckerOperator([symmetric(A), factors[1]])
        return K.logdet(0.4) + K.svd()[1].sum()

    (expected,) = torch.autograd.grad(compiled(graded[2]), graded[2])
    (got,) = torch.autograd.grad(torch.compile(compiled, backend="aot_eager")(graded[2]), graded[2])
    torch.testing.assert_close(got, expected)


def test_second_derivatives(rng):
    """By y and noise they are there; by a factor they raise."""
    y, noise, A, B = leaves(rng.standard_normal(6), 0.4, *positive(rng, 3, 2))
    K = KroneckerOperator([A.detach(), B.detach()])
    assert torch.autograd.gradgradcheck(lambda y, s: K.solve(y, s), (y, noise))
    graded = KroneckerOperator([A, B])
    for value in (graded.solve(y).sum(), graded.solve(y, noise).sum(), graded.logdet(), graded.logdet(noise)):
        (g,) = torch.autograd.grad(value, A, create_graph=True)
        with pytest.raises(NotImplementedError, match="derivative"):
            g.sum().backward()


def test_precisions(rng):
    numbers = [f.astype(np.float32) for f in positive(rng, 4, 3)]
    for precision in (torch.float32, torch.float64):
        y = torch.from_numpy(rng.standard_normal(12)).to(precision).requires_grad_()
        noise = torch.tensor(0.5, requires_grad=True)
        factors = leaves(*numbers)
        K = KroneckerOperator(factors)
        x = K.solve(y, noise)
        assert x.dtype == precision
        assert K.logdet(noise).dtype == torch.float64
        given = [y, noise, *factors]
        for g, a in zip(torch.autograd.grad(x.sum() + K.logdet(noise) + K.logdet() + K.solve(y).sum(), given), given):
            assert g.dtype == a.dtype
            assert g.shape == a.shape
        assert {f.dtype for f in (*K.inverse().factors, *K.cholesky().factors, *K.eigh()[1].factors, K.eigh()[0])} == {torch.float32}
    assert torch.autograd.grad(KroneckerOperator(leaves(np.zeros((0, 0)), np.eye(3))).logdet(0.5), [noise], allow_unused=True) == (None,)


def test_refused(rng):
    skew, negative, flat = np.triu(np.ones((3, 3))), np.diag([1.0, -1.0]), np.ones((2, 2))
    K = lambda *arrays: KroneckerOperator(leaves(*arrays))  # noqa: E731
    y = torch.ones(6, dtype=torch.float64)
    tensor = lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True)  # noqa: E731
    singular, lost = np.linalg.LinAlgError, "singular"
    check_refused([
        (lambda: K(skew, flat).solve(y, 0.1), ValueError, r"factors\[0\] is not symmetric"),
        (lambda: K(skew, np.eye(2)).logdet(0.1), ValueError, r"factors\[0\] is not symmetric"),
        (K(skew, np.eye(2)).eigh, ValueError, r"eigh: factors\[0\] is not symmetric"),
        (K(skew, np.eye(2)).cholesky, ValueError, r"cholesky: factors\[0\] is not symmetric"),
        (K(np.eye(3), negative).cholesky, singular, r"cholesky: factors\[1\] is not positive definite"),
        (lambda: K(np.eye(3), negative).solve(y, 0.1), singular, r"factors\[1\] is not positive semidefinite"),
        (K(np.eye(3), negative).logdet, singular, "negative"),
        *[(call, singular, lost) for call in (lambda: K(np.eye(3), flat).solve(y), K(np.eye(3), flat).logdet, K(np.eye(3), flat).inverse)],
        *[(lambda s=s: K(np.eye(3), flat).solve(y, tensor(s)), ValueError, "noise") for s in (-0.1, np.nan, np.inf)],
        (lambda: K(np.eye(3), flat).solve(y, tensor(0.0)), singular, lost),
        (lambda: K(np.eye(3), flat).solve(y, tensor([0.1])), TypeError, r"solve: noise has shape \(1,\), expected a number"),
        (lambda: KroneckerOperator([np.eye(2)]).solve(np.ones(2), tensor(0.1)), NotImplementedError, "no gradient in noise"),
        (K(np.ones((2, 3))).logdet, ValueError, "square"),
    ])  # fmt: skip
