"""``KroneckerOperator.apply``: functions of the operator."""

import functools

import numpy as np
import pytest

from quatrefoil.kron import KroneckerOperator

EPS = 2.0**-52


def kernels(*sizes, dtype=np.float64):
    """Smooth kernels, a little jitter on the diagonal: symmetric, positive, of a wide spectrum."""
    grids = [np.linspace(0, 1, n) for n in sizes]
    return [(np.exp(-8 * (x[:, None] - x) ** 2) + 1e-3 * np.eye(len(x))).astype(dtype) for x in grids]


def dense_of(factors):
    return functools.reduce(np.kron, [f.astype(np.float64) for f in factors])


def close(got, expected, k, eps=EPS):
    """To k roundings of the largest value."""
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0) <= k * eps * np.abs(expected).max(initial=1e-300)


def distilled(K, y, c, steps):
    """k-step self-distillation of kernel ridge regression: the fit to the fit to ... the data, a dense solve a step."""
    for _ in range(steps):
        y = K @ np.linalg.solve(K + c * np.eye(len(K)), y)
    return y


@pytest.mark.parametrize("sizes", [(7,), (5, 4), (3, 1, 6), (2, 3, 2, 5)])
@pytest.mark.parametrize("columns", [None, 0, 1, 3])
def test_self_distillation(backend, rng, sizes, columns):
    factors, c = kernels(*sizes), rng.uniform(0.05, 0.5)
    K, dense = KroneckerOperator(factors), dense_of(factors)
    y = rng.standard_normal((len(dense), *([] if columns is None else [columns])))
    before = y.copy()
    for steps in (1, 2, 5):
        got = K.apply(lambda lam, steps=steps: (lam / (lam + c)) ** steps, y)
        # each of the steps and both eigenbases round n times; the peer's solves lose the condition number, below 1e3
        close(got, distilled(dense, y, c, steps), 1e3 * len(dense) * steps)
    np.testing.assert_array_equal(y, before)


def test_known_functions(backend, rng):
    factors = kernels(6, 5)
    K, dense, y = KroneckerOperator(factors), dense_of(factors), rng.standard_normal((30, 2))
    lam, Q = K.eigh()
    close(K.apply(np.sqrt, K.apply(np.sqrt, y)), dense @ y, 1e4)
    close(K.apply(lambda x: x, y), dense @ y, 1e3)
    close(K.apply(np.ones_like, y), y, 1e3)
    close(K.apply(lambda x: 1 / (x + 0.1), y), K.solve(y, 0.1), 1e4)
    close(K.apply(np.exp, y), Q.to_dense() * np.exp(lam) @ Q.to_dense().T @ y, 1e4)
    keep = lam > np.median(lam)  # a projector, given as bools
    once = K.apply(lambda x: x > np.median(lam), y)
    close(once, Q.to_dense() * keep @ Q.to_dense().T @ y, 1e4)
    close(K.apply(lambda x: x > np.median(lam), once), once, 1e4)
    weights = rng.standard_normal(30)  # a number a cell of the grid
    close(K.apply(lambda x: weights, y), Q.to_dense() * weights @ Q.to_dense().T @ y, 1e4)


def test_eigenvalues_are_handed_out(backend, rng):
    K = KroneckerOperator(kernels(3, 4, dtype=np.float32))
    seen = []

    def h(lam):
        seen.append(lam.copy())
        lam[...] = 0  # its own copy
        return seen[-1]

    first, second = K.apply(h, np.ones(12)), K.apply(h, np.ones(12))
    np.testing.assert_array_equal(first, second)
    assert seen[0].dtype == np.float64
    np.testing.assert_array_equal(seen[0].astype(np.float32), K.eigh()[0])


def test_precisions(backend, rng):
    narrow, y = kernels(6, 5, dtype=np.float32), rng.standard_normal(30)
    expected = distilled(dense_of(narrow), y.astype(np.float32).astype(float), 0.1, 2)
    h = lambda lam: (lam / (lam + np.float32(0.1))) ** 2  # noqa: E731
    got = KroneckerOperator(narrow).apply(h, y.astype(np.float32))
    assert got.dtype == np.float32
    close(got, expected, 4, 2.0**-23)  # computed in float64: a rounding of the result, and of 0.1
    assert KroneckerOperator(narrow).apply(h, y).dtype == np.float64
    assert KroneckerOperator(kernels(6, 5)).apply(h, y.astype(np.float32)).dtype == np.float64
    K = KroneckerOperator([np.zeros((0, 0)), np.eye(3)])
    assert K.apply(np.exp, np.zeros((0, 2))).shape == (0, 2)


def test_refuses(rng):
    K, y = KroneckerOperator(kernels(3, 4)), np.ones(12)
    for h, error, text in (
        (3.0, TypeError, "h is float, expected a function"),
        (lambda lam: 1.0, TypeError, "h gave float, expected a numpy array of 12 real"),
        (lambda lam: lam[:5], ValueError, r"h gave an array of shape \(5,\), expected \(12,\)"),
        (lambda lam: lam + 1j, TypeError, "h gave a numpy array of complex128, expected real"),
        (lambda lam: lam.astype(object), TypeError, "h gave a numpy array of object, expected real"),
        (lambda lam: np.ma.masked_array(lam), TypeError, "masked"),
    ):
        with pytest.raises(error, match=rf"KroneckerOperator\.apply: {text}|masked"):
            K.apply(h, y)
    for bad, error, text in (
        (np.ones(11), ValueError, r"y has shape \(11,\), expected \(12,\) or \(12, c\)"),
        (np.ones((12, 1, 1)), ValueError, "y has shape"),
        (np.ones(12, int), TypeError, "y has dtype int64"),
        ([1.0] * 12, TypeError, "y is list"),
        (np.ma.masked_array(y), TypeError, "masked"),
    ):
        with pytest.raises(error, match=text):
            K.apply(np.exp, bad)
    for factor, text in ((np.ones((2, 3)), "square"), (np.triu(np.ones((3, 3))), "not symmetric"), (np.full((3, 3), np.nan), "NaN")):
        with pytest.raises(ValueError, match=rf"apply: factors\[0\].*{text}"):
            KroneckerOperator([factor]).apply(np.exp, np.ones(len(factor)))
    with pytest.raises(ZeroDivisionError):  # what h raises is the caller's
        K.apply(lambda lam: 1 / 0, y)


@pytest.mark.torch
class TestTensors:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def pair(self, torch, *sizes, **keywords):
        factors = kernels(*sizes, **keywords)
        return KroneckerOperator(factors), KroneckerOperator([torch.from_numpy(f) for f in factors])

    def test_same_as_numpy(self, torch, backend, rng):
        for dtype in (np.float32, np.float64):
            K, T = self.pair(torch, 5, 3, dtype=dtype)
            for shape in (15, (15, 2), (15, 0)):
                for precision in (np.float32, np.float64):
                    y = rng.standard_normal(shape).astype(precision)
                    expected = K.apply(lambda lam: lam / (lam + 0.1), y)
                    for _ in range(2):
                        got = T.apply(lambda lam: lam / (lam + 0.1), torch.from_numpy(y))
                        assert got.dtype == torch.from_numpy(expected).dtype
                        np.testing.assert_array_equal(got.numpy(), expected)

    def test_gradient_of_distillation(self, torch, backend, rng):
        """In the ridge and the step count of the closed form, against differences of the loop of solves."""
        K, T = self.pair(torch, 5, 4)
        dense, y, target = K.to_dense(), rng.standard_normal(20), rng.standard_normal(20)

        def error(c, steps=3):
            return float(np.sum((distilled(dense, y, c, steps) - target) ** 2))

        c = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        loss = (T.apply(lambda lam: (lam / (lam + c)) ** 3, torch.from_numpy(y)) - torch.from_numpy(target)).square().sum()
        (got,) = torch.autograd.grad(loss, c)
        h = 1e-4
        near = (error(0.2 + h) - error(0.2 - h)) / (2 * h)
        far = (error(0.2 + 2 * h) - error(0.2 - 2 * h)) / (4 * h)
        assert loss.item() == pytest.approx(error(0.2), rel=1e-12)
        assert got.item() == pytest.approx(near + (near - far) / 3, rel=1e-8)  # rounding over the step
        k = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda c, k: T.apply(lambda lam: (lam / (lam + c)) ** k, torch.from_numpy(y)), (c, k))

    def test_gradcheck(self, torch, backend, rng):
        _, T = self.pair(torch, 3, 4)
        c = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        weights = torch.from_numpy(rng.standard_normal(12)).requires_grad_()
        for shape in (12, (12, 2)):
            y = torch.from_numpy(rng.standard_normal(shape)).requires_grad_()
            assert torch.autograd.gradcheck(lambda y, c: T.apply(lambda lam: lam / (lam + c), y), (y, c))
            assert torch.autograd.gradcheck(lambda y, w: T.apply(lambda lam: w * lam, y), (y, weights))

    def test_func(self, torch, rng):
        _, T = self.pair(torch, 3, 4)
        y, c = torch.from_numpy(rng.standard_normal(12)), torch.tensor(0.3, dtype=torch.float64)

        def energy(c, y):
            return T.apply(lambda lam: lam / (lam + c), y).square().sum()

        leaves = [c.clone().requires_grad_(), y.clone().requires_grad_()]
        for g, e in zip(torch.func.grad(energy, argnums=(0, 1))(c, y), torch.autograd.grad(energy(*leaves), leaves)):
            torch.testing.assert_close(g, e)
        _, T = self.pair(torch, 3, 4)  # whose first call is within a transform
        torch.testing.assert_close(torch.func.grad(energy)(c, y), torch.autograd.grad(energy(*leaves), leaves)[0])
        many = torch.stack([c, 2 * c])
        got = torch.vmap(lambda c: T.apply(lambda lam: lam / (lam + c), y))(many)
        torch.testing.assert_close(got, torch.stack([T.apply(lambda lam, c=c: lam / (lam + c), y) for c in many]))

    def test_what_is_refused(self, torch, rng):
        K, T = self.pair(torch, 3, 2)
        y = torch.from_numpy(rng.standard_normal(6))
        with pytest.raises(TypeError, match="y is a torch array but factors"):
            K.apply(np.exp, y)
        with pytest.raises(TypeError, match="y is a numpy array but factors"):
            T.apply(torch.exp, y.numpy())
        with pytest.raises(TypeError, match="h gave a numpy array of float64, expected a torch array"):
            T.apply(lambda lam: lam.numpy(), y)
