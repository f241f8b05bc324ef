"""Arguments and results of derivatives, integrals, norms, sums and products. The random programs of attacks.py check the values."""

import numpy as np
import pytest

import quatrefoil as qf
from cheb.scattered.cases import random_tensor
from cheb.tucker.oracle import full

ChebTucker = qf.cheb.ChebTucker
DOMAIN = ((-2.0, 1.0), (0.0, 5.0), (3.0, 4.0))


def tensor(rng, n=(6, 3, 8), r=(4, 2, 5), domain=DOMAIN, dtype=np.float64):
    core, factors = random_tensor(rng, n, r, dtype)
    return ChebTucker(core, factors, domain=domain)


def points(rng, count=200, dtype=np.float64):
    lo, hi = np.array(DOMAIN).T
    return (lo + (hi - lo) * rng.uniform(0.01, 0.99, (count, 3))).astype(dtype)


def dense_of(ct):
    return full(ct.core, ct.factors)


def test_means_and_variances():
    f, domain = (lambda x, y, z: 1e3 + np.exp(x * y) + z**3 * y), ((0, 1), (-1, 2), (3, 5))
    ct = ChebTucker.from_function(f, domain, tol=1e-13)
    t, w = np.polynomial.legendre.leggauss(30)
    values = f(*np.ix_(*(lo + (hi - lo) * (t + 1) / 2 for lo, hi in domain)))
    weights = np.einsum("i,j,k->ijk", w, w, w) / 8
    mean = (weights * values).sum()
    np.testing.assert_allclose(ct.mean(), mean, rtol=1e-12)
    np.testing.assert_allclose(ct.var(), (weights * (values - mean) ** 2).sum(), rtol=1e-9)
    first, total = ct.sobol()
    for k, others in enumerate(([1, 2], [0, 2], [0, 1])):
        shares = ct.mean(others).var() / ct.var(), 1 - ct.mean(k).var() / ct.var()
        np.testing.assert_allclose([first[k], total[k]], shares, rtol=1e-12, atol=1e-13)
    line = ChebTucker.from_function(np.sin, (0, 1))
    np.testing.assert_allclose(line.sobol(), [[1], [1]])
    assert np.isnan((line * 0).sobol()).all()
    assert type(ct.mean()) is type(ct.var()) is float
    for axis in (1, -2, [1], [0, 2], np.array([0, 1])):
        axes = [k % 3 for k in np.ravel(axis)]
        shares = np.prod(np.broadcast_arrays(*(np.expand_dims(w / 2, [m for m in range(3) if m != k]) for k in axes)), axis=0)
        means = (shares * values).sum(axis=tuple(axes), keepdims=True)
        variances = (shares * (values - means) ** 2).sum(axis=tuple(axes))
        points = [lo + (hi - lo) * (t + 1) / 2 for k, (lo, hi) in enumerate(domain) if k not in axes]
        np.testing.assert_allclose(ct.mean(axis).grid(*points), means.squeeze(tuple(axes)), rtol=1e-12)
        np.testing.assert_allclose(ct.var(axis).grid(*points), variances, rtol=1e-8, atol=1e-9 * variances.max())


def test_arithmetic(rng):
    """Operations that the random programs of attacks.py leave out: powers, signs, quotients, ``sum``, NumPy scalars."""
    X, a = points(rng), tensor(rng)
    y = a(X)
    for result, expected in (
        (2.5 - a, 2.5 - y), (np.float64(3) + a, 3 + y), (-a, -y), (+a, y), (sum([a, a, a]), 3 * y), (a**0, y**0), (a**1, y), (a**3, y**3),
        (a * np.float32(0.5), y / 2), (a / 4, y / 4),
    ):  # fmt: skip
        assert isinstance(result, ChebTucker)
        np.testing.assert_allclose(result(X), expected, atol=1e-12 * (1 + np.abs(y).max() ** 2))


def test_ranks_of_sums_and_of_what_is_rounded(rng):
    a = tensor(rng, (20, 21, 22), (6, 6, 6))
    b = a + 1e-5 * tensor(rng, (20, 21, 22), (3, 3, 3))
    assert (a + a).rank == a.rank
    assert b.rank == (9, 9, 9)
    assert max(b.round(1e-2).rank) <= 6
    for tol in (1e-2, 1e-7):
        assert np.linalg.norm(dense_of(b.round(tol)) - dense_of(b)) <= tol * np.linalg.norm(dense_of(b))
    wide = ChebTucker(rng.standard_normal((5, 4)), [rng.standard_normal((3, 5)), rng.standard_normal((9, 4))])  # more ranks than rows
    assert wide.round(1e-13).rank[0] <= 3
    np.testing.assert_allclose(dense_of(wide.round(1e-13)), dense_of(wide), atol=1e-11)
    zero = ChebTucker(np.zeros((2, 2)), [rng.standard_normal((3, 2))] * 2)
    assert zero.round(1e-3).rank == (1, 1)
    assert zero.norm() == 0


def test_a_small_difference_has_a_small_norm(rng):
    a, b = tensor(rng), tensor(rng)
    nearly = ChebTucker(*random_tensor(rng, (6, 3, 8), (1, 1, 1)), domain=DOMAIN)
    for size in (1e-5, 1e-10):
        difference = (a + b + size * nearly) - a - b
        np.testing.assert_allclose(difference.norm(), size * nearly.norm(), rtol=1e-2)
    assert (a + a - 2 * a).norm() <= 1e-12 * a.norm()


def test_estimates_follow_the_error():
    """For sum rho^k T_k, the terms after the first n coefficients have norm rho^n / sqrt(1 - rho^2)."""
    for rho in [0.3, 0.6, 0.8]:
        print(rho)
        for n in (n for n in (9, 17, 33) if rho**n > 1e-13):
            f = rho ** np.arange(n)
            ct = ChebTucker.from_coeffs(np.multiply.outer(f, f), tol=1e-13)
            missed = np.sqrt(2) * rho**n  # for one axis the error relative to the norm is rho^n; this is for both
            assert missed / 1.1 <= ct.error_estimate <= missed * rho ** -max(2.0, n // 8) * 1.5
        assert ChebTucker(np.zeros((1, 1)), [np.ones((4, 1))] * 2).error_estimate == 0
        assert ChebTucker(np.ones((1, 1)), [np.ones((1, 1))] * 2).error_estimate == 0
    np.testing.assert_allclose(ChebTucker(np.ones(1), [np.array([[3.0], [4.0]])]).error_estimate, 0.8)  # the last of two coefficients


A = ChebTucker(np.ones((1, 1)), [np.ones((3, 1))] * 2)


BAD = [
    (lambda: A.diff(2), ValueError, "diff: axis is 2, out of range for 2 axes"),
    (lambda: A.diff(0.5), TypeError, "axis is 0.5, expected an integer"),
    (lambda: A.diff(0, -1), ValueError, "m is -1, expected at least 0"),
    (lambda: A.integrate(5), ValueError, "integrate: axis is 5"),
    (lambda: A.integrate((0, -2)), ValueError, "expected distinct axes"),
    (lambda: A.integrate("0"), TypeError, "expected an integer"),
    (lambda: A.integrate(np.array([True])), TypeError, "expected an integer"),
    (lambda: A + ChebTucker(A.core, A.factors, domain=(0, 1)), ValueError, "the domains are .* expected equal domains"),
    (lambda: A * ChebTucker(np.ones(1), [np.ones((3, 1))]), ValueError, "the domains are"),
    (lambda: A + ChebTucker(A.core.astype(np.float32), [U.astype(np.float32) for U in A.factors]), TypeError, "same library and dtype"),
    (lambda: A + "1", TypeError, "unsupported operand"),
    (lambda: A * 1j, TypeError, "unsupported operand"),
    (lambda: A * np.ones(3), TypeError, "does not support ufuncs"),
    (lambda: np.ones(3) * A, TypeError, "does not support ufuncs"),
    (lambda: A + True, TypeError, "unsupported operand"),
    (lambda: A * np.nan, ValueError, "nan, expected a finite number"),
    (lambda: A + np.inf, ValueError, "inf, expected a finite number"),
    (lambda: A / 0, ZeroDivisionError, "division by zero"),
    (lambda: 1 / A, ValueError, "expected a finite number"),
]


@pytest.mark.torch
class TestTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.fixture
    def leaves(self, torch, rng):
        core, factors = random_tensor(rng, (5, 4), (3, 2))
        return [torch.tensor(a, requires_grad=True) for a in (core, *factors)]

    def test_gradients(self, torch, rng, leaves):
        domain, X = ((-1, 2), (0, 3)), torch.tensor(rng.uniform(0.1, 0.9, (5, 2)))
        core, factors = random_tensor(rng, (3, 6), (2, 2))
        other = ChebTucker(torch.tensor(core), list(map(torch.tensor, factors)), domain=domain)

        for f in (
            lambda ct: ct.diff(0)(X), lambda ct: ct.diff(1, 2)(X), lambda ct: ct.integrate(), lambda ct: ct.integrate(1)(X[:, :1]),
            lambda ct: ct.var() + ct.var(1)(X[:, :1]).sum() + ct.mean(), lambda ct: ct.norm(), lambda ct: (ct + other)(X),
            lambda ct: (2 - other - ct)(X), lambda ct: (ct * other)(X), lambda ct: (other * ct * 3)(X), lambda ct: (ct * ct).integrate(),
        ):  # fmt: skip
            assert torch.autograd.gradcheck(lambda c, *U: f(ChebTucker(c, U, domain=domain)), leaves)  # noqa: B023

    def test_func_and_compile(self, torch, rng, leaves):
        X = torch.tensor(rng.uniform(0.1, 0.9, (5, 1)))

        def f(core):
            ct = ChebTucker(core, [U.detach() for U in leaves[1:]])
            return ct.diff(0).integrate(1)(X).sum() + ct.norm()

        (expected,) = torch.autograd.grad(f(leaves[0]), leaves[0])
        torch.testing.assert_close(torch.func.grad(f)(leaves[0].detach()), expected)
        torch._dynamo.reset()
        compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(torch.autograd.grad(compiled(leaves[0]), leaves[0])[0], expected)

    def test_to(self, torch, rng, leaves):
        ct = ChebTucker(leaves[0], leaves[1:], domain=(0, 1))
        assert (ct + ct).rank == (6, 4)  # ranks are not truncated, because of the graph
        single = ct.to(torch.float32)
        assert {a.dtype for a in (single.core, *single.factors)} == {torch.float32}
        (gradient,) = torch.autograd.grad(single.integrate(), leaves[0])
        assert gradient.dtype == torch.float64
        from_numpy = tensor(rng).to("cpu", dtype=torch.float64)
        assert isinstance(from_numpy.core, torch.Tensor)
        assert ct.to(device="meta").core.device.type == "meta"
        with pytest.raises(TypeError, match="expected the same library and dtype"):
            tensor(rng) + from_numpy
