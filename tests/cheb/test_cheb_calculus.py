"""Derivatives, integrals, norms, sums and products against NumPy's Chebyshev series and functions whose integrals are known."""

import itertools
import math

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import quatrefoil as qf
from cheb.scattered.cases import random_tensor
from cheb.tucker.oracle import full
from checks import check_refused

ChebTucker = qf.cheb.ChebTucker
DOMAIN = ((-2.0, 1.0), (0.0, 5.0), (3.0, 4.0))


def tensor(rng, n=(6, 3, 8), r=(4, 2, 5), domain=DOMAIN, dtype=np.float64):
    core, factors = random_tensor(rng, n, r, dtype)
    return ChebTucker(core, factors, domain=domain)


def points(rng, count=200, dtype=np.float64):
    lo, hi = np.array(DOMAIN).T
    return (lo + (hi - lo) * rng.uniform(0.01, 0.99, (count, 3))).astype(dtype)


def of(ct):
    return full(ct.core, ct.factors)


def test_derivatives(rng):
    for m, axis in itertools.product([0, 1, 2, 3], [0, 1, 2, -1]):
        print(axis, m)
        for n in ((6, 3, 8), (1, 2, 1), (2, 1, 7)):
            ct = tensor(rng, n, tuple(min(2, k) for k in n))
            lo, hi = DOMAIN[axis]
            expected = np.moveaxis(of(ct), axis, 0)
            if m:
                expected = chebyshev.chebder(expected, m, scl=2 / (hi - lo)) if m < len(expected) else expected[:1] * 0
            found = ct.diff(axis, m)
            assert found.n[axis] == max(1, n[axis] - m)
            assert found.domain == ct.domain
            np.testing.assert_allclose(of(found), np.moveaxis(expected, 0, axis), rtol=1e-13, atol=1e-13 * (1 + np.abs(expected).max()))


def test_derivatives_of_a_function(rng):
    ct = ChebTucker.from_function(lambda x, y, z: np.exp(x) * np.sin(y) * np.cos(z), DOMAIN, tol=1e-12)
    x, y, z = (X := points(rng)).T
    np.testing.assert_allclose(ct.diff(1)(X), np.exp(x) * np.cos(y) * np.cos(z), atol=1e-9)
    np.testing.assert_allclose(ct.diff(2, 2)(X), -np.exp(x) * np.sin(y) * np.cos(z), atol=1e-7)
    np.testing.assert_allclose(ct.diff(0).diff(1)(X), ct.diff(1).diff(0)(X), atol=1e-12)


def test_integrals(rng):
    gauss = ChebTucker.from_function(lambda x, y, z: np.exp(-(x**2) - y**2 - z**2), DOMAIN, tol=1e-12)
    parts = [math.sqrt(math.pi) / 2 * (math.erf(hi) - math.erf(lo)) for lo, hi in DOMAIN]
    found = gauss.integrate()
    assert isinstance(found, float)
    np.testing.assert_allclose(found, math.prod(parts), rtol=1e-8)  # erf(4) - erf(3) is 2e-5 of the domain's largest value
    line = gauss.integrate((0, -1))
    assert line.domain == DOMAIN[1:2]
    y = np.array([[0.5], [1.5]])
    np.testing.assert_allclose(line(y), parts[0] * parts[2] * np.exp(-(y[:, 0] ** 2)), atol=1e-11)
    for n in ((6, 3, 8), (1, 1, 2), (7, 1, 1)):
        ct = tensor(rng, n, tuple(min(2, k) for k in n))
        for axis, (lo, hi) in enumerate(DOMAIN):
            F = chebyshev.chebint(np.moveaxis(of(ct), axis, 0), scl=(hi - lo) / 2)
            expected = chebyshev.chebval(1, F) - chebyshev.chebval(-1, F)
            np.testing.assert_allclose(of(ct.integrate(axis)), expected, atol=1e-13 * (1 + np.abs(F).max()))
        for axis in (np.array([0, 2]), np.array([0, 2], np.uint8), [np.int32(0), -1], range(0, 3, 2), (np.array(0), np.array(-1))):
            np.testing.assert_array_equal(of(ct.integrate(axis)), of(ct.integrate((0, 2))))
        for axis in (np.array(1), np.int8(1), np.array([1]), np.array([-2])):
            np.testing.assert_array_equal(of(ct.integrate(axis)), of(ct.integrate(1)))
        np.testing.assert_array_equal(of(ct.integrate(np.zeros(0, int))), of(ct.integrate(())))
        np.testing.assert_array_equal(of(ct.diff(np.array(1), np.array(1))), of(ct.diff(1)))
        steps = ct.integrate(2).integrate(0).integrate(0)
        np.testing.assert_allclose(ct.integrate(), steps, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(ct.integrate([1, 0]).integrate(0), steps, rtol=1e-12, atol=1e-13)


def test_norms(rng):
    for n in ((6, 3, 8), (1, 1, 2), (7, 1, 1)):
        ct = tensor(rng, n, tuple(min(3, k) for k in n))
        nodes = [chebyshev.chebval(np.polynomial.legendre.leggauss(9)[0], np.eye(m)).T for m in n]
        weights = np.polynomial.legendre.leggauss(9)[1]
        values = full(of(ct), nodes) ** 2
        expected = np.einsum("abc,a,b,c", values, weights, weights, weights) * math.prod((hi - lo) / 2 for lo, hi in DOMAIN)
        assert isinstance(ct.norm(), float)
        np.testing.assert_allclose(ct.norm(), np.sqrt(expected), rtol=1e-13)
    tiny = tensor(rng)
    for scale in (1e-200, 1e200):
        scaled = ChebTucker(tiny.core * scale, tiny.factors, domain=DOMAIN)
        np.testing.assert_allclose(scaled.norm(), tiny.norm() * scale, rtol=1e-13)
        np.testing.assert_allclose(scaled.error_estimate, tiny.error_estimate, rtol=1e-13)
        assert scaled.round(0.1).rank == tiny.round(0.1).rank
    sine = ChebTucker.from_function(lambda x: np.sin(x), (0, np.pi), tol=1e-14)
    np.testing.assert_allclose(sine.norm(), np.sqrt(np.pi / 2), rtol=1e-13)


def test_a_small_difference_has_a_small_norm(rng):
    a, b = tensor(rng), tensor(rng)
    nearly = ChebTucker(*random_tensor(rng, (6, 3, 8), (1, 1, 1)), domain=DOMAIN)
    for size in (1e-5, 1e-10):
        difference = (a + b + size * nearly) - a - b
        np.testing.assert_allclose(difference.norm(), size * nearly.norm(), rtol=1e-2)
    assert (a + a - 2 * a).norm() <= 1e-12 * a.norm()


def test_sums(rng):
    X, a = points(rng), tensor(rng)
    for n, r in (((6, 3, 8), (4, 2, 5)), ((2, 5, 9), (2, 2, 2)), ((1, 1, 1), (1, 1, 1))):
        b = tensor(rng, n, r)
        scale = np.abs(a(X)).max() + np.abs(b(X)).max()
        for found, expected in ((a + b, a(X) + b(X)), (a - b, a(X) - b(X)), (b - a, b(X) - a(X))):
            np.testing.assert_allclose(found(X), expected, atol=1e-12 * scale)
            assert found.n == tuple(map(max, a.n, b.n))
    assert (a + a).rank == tuple(map(min, a.n, a.rank))
    scale = 1 + np.abs(a(X)).max()
    for found, expected in ((a + 2, a(X) + 2), (2.5 - a, 2.5 - a(X)), (a - 1, a(X) - 1), (np.float64(3) + a, 3 + a(X)), (-a, -a(X))):
        assert isinstance(found, ChebTucker)
        np.testing.assert_allclose(found(X), expected, atol=1e-12 * scale)
    np.testing.assert_array_equal((+a)(X), a(X))
    total = sum([a, a, a])
    np.testing.assert_allclose(total(X), 3 * a(X), atol=1e-12 * scale)


def test_products(rng):
    """By all values, and by ranks."""
    for n, r in [((5, 4, 6), (5, 4, 6)), ((40, 30, 35), (2, 3, 2)), ((1, 1, 1), (1, 1, 1))]:
        print(n, r)
        X, a, b = points(rng), tensor(rng, n, r), tensor(rng, (4, 2, 3), (2, 2, 2))
        scale = np.abs(a(X)).max() * np.abs(b(X)).max()
        found = a * b
        assert found.n == tuple(p + q - 1 for p, q in zip(a.n, b.n))
        np.testing.assert_allclose(found(X), a(X) * b(X), atol=1e-11 * scale)
        np.testing.assert_allclose((b * a)(X), found(X), atol=1e-11 * scale)
        np.testing.assert_allclose((a * a)(X), a(X) ** 2, atol=1e-11 * np.abs(a(X)).max() ** 2)
        for found, expected in ((3 * a, 3 * a(X)), (a * np.float32(0.5), a(X) / 2), (a / 4, a(X) / 4), (np.float64(2) * a, 2 * a(X))):
            assert isinstance(found, ChebTucker)
            np.testing.assert_allclose(found(X), expected, rtol=1e-14, atol=1e-14 * np.abs(expected).max())


def test_rounding(rng):
    a = tensor(rng, (20, 21, 22), (6, 6, 6))
    b = a + 1e-5 * tensor(rng, (20, 21, 22), (3, 3, 3))
    for tol in (1e-2, 1e-7):
        found = b.round(tol)
        assert np.linalg.norm(of(found) - of(b)) <= tol * np.linalg.norm(of(b))
        for U in found.factors:
            np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), atol=1e-13)
    assert max(b.round(1e-2).rank) <= 6
    wide = ChebTucker(rng.standard_normal((5, 4)), [rng.standard_normal((3, 5)), rng.standard_normal((9, 4))])  # more ranks than rows
    assert wide.round(1e-13).rank[0] <= 3
    np.testing.assert_allclose(of(wide.round(1e-13)), of(wide), atol=1e-11)
    zero = ChebTucker(np.zeros((2, 2)), [rng.standard_normal((3, 2))] * 2)
    assert zero.round(1e-3).rank == (1, 1)
    assert zero.norm() == 0


def test_estimates_follow_the_error():
    """sum rho^k T_k is known: of n coefficients the rest has norm rho^n / sqrt(1 - rho^2)."""
    for rho in [0.3, 0.6, 0.8]:
        print(rho)
        for n in (n for n in (9, 17, 33) if rho**n > 1e-13):
            f = rho ** np.arange(n)
            ct = ChebTucker.from_coeffs(np.multiply.outer(f, f), tol=1e-13)
            missed = np.sqrt(2) * rho**n  # of one axis, of the norm, and of both
            assert missed / 1.1 <= ct.error_estimate <= missed * rho ** -max(2.0, n // 8) * 1.5
        assert ChebTucker(np.zeros((1, 1)), [np.ones((4, 1))] * 2).error_estimate == 0
        assert ChebTucker(np.ones((1, 1)), [np.ones((1, 1))] * 2).error_estimate == 0
    np.testing.assert_allclose(ChebTucker(np.ones(1), [np.array([[3.0], [4.0]])]).error_estimate, 0.8)  # of two coefficients the last


def test_in_float32(rng):
    X, a, b = points(rng, dtype=np.float32), tensor(rng, dtype=np.float32), tensor(rng, (4, 4, 4), (2, 2, 2), dtype=np.float32)
    scale = 1 + np.abs(a(X)).max() * (1 + np.abs(b(X)).max())
    for found, expected in ((a + b, a(X) + b(X)), (a * b, a(X) * b(X)), (2 - a, 2 - a(X)), (a.round(1e-6), a(X))):
        assert {found.core.dtype, *(U.dtype for U in found.factors)} == {np.dtype(np.float32)}
        np.testing.assert_allclose(found(X), expected, atol=2e-5 * scale)
    assert a.diff(0).core.dtype == a.integrate(0).core.dtype == np.float32
    wide = ChebTucker(a.core.astype(float), [U.astype(float) for U in a.factors], domain=DOMAIN)
    np.testing.assert_allclose(a.norm(), wide.norm(), rtol=1e-6)
    np.testing.assert_allclose(a.integrate(), wide.integrate(), atol=1e-5 * wide.norm())


A = ChebTucker(np.ones((1, 1)), [np.ones((3, 1))] * 2)


BAD = [
    (lambda: A.diff(2), ValueError, "diff: axis is 2, expected one of 2 axes"),
    (lambda: A.diff(-3), ValueError, "diff: axis is -3"),
    (lambda: A.diff(0.5), TypeError, "axis is 0.5, expected an integer"),
    (lambda: A.diff(0, -1), ValueError, "m is -1, expected at least 0"),
    (lambda: A.diff(0, 1.0), TypeError, "m is 1.0, expected an integer"),
    (lambda: A.integrate(5), ValueError, "integrate: axis is 5"),
    (lambda: A.integrate((0, -2)), ValueError, "expected distinct axes"),
    (lambda: A.integrate("0"), TypeError, "expected an integer"),
    (lambda: A.integrate(np.array([0.0])), TypeError, r"axis\[0\] is np.float64\(0.0\), expected an integer"),
    (lambda: A.integrate(np.array([[0, 1]])), TypeError, r"axis\[0\] is array\(\[0, 1\]\), expected an integer"),
    (lambda: A.integrate(np.array([True])), TypeError, "expected an integer"),
    (lambda: A.integrate(np.ma.masked_array([0])), TypeError, "masked"),
    (lambda: A.diff(np.array([0])), TypeError, r"axis is array\(\[0\]\), expected an integer"),
    (lambda: A.round(-1), ValueError, "tol is -1.0"),
    (lambda: A.round(np.nan), ValueError, "tol is nan"),
    (lambda: A + ChebTucker(A.core, A.factors, domain=(0, 1)), ValueError, "the domains are .* expected the same"),
    (lambda: A * ChebTucker(np.ones(1), [np.ones((3, 1))]), ValueError, "the domains are"),
    (lambda: A + ChebTucker(A.core.astype(np.float32), [U.astype(np.float32) for U in A.factors]), TypeError, "one dtype"),
    (lambda: A + "1", TypeError, "unsupported operand"),
    (lambda: A * 1j, TypeError, "unsupported operand"),
    (lambda: A * np.ones(3), TypeError, "does not support ufuncs"),
    (lambda: np.ones(3) * A, TypeError, "does not support ufuncs"),
    (lambda: A + True, TypeError, "unsupported operand"),
    (lambda: A * np.nan, ValueError, "nan, expected a finite number"),
    (lambda: A + np.inf, ValueError, "inf, expected a finite number"),
    (lambda: A / 0, ZeroDivisionError, "division by zero"),
    (lambda: 1 / A, TypeError, "unsupported operand"),
]


def test_bad_input():
    check_refused(BAD)


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

        def check(f):
            assert torch.autograd.gradcheck(lambda c, *U: f(ChebTucker(c, U, domain=domain)), leaves)

        check(lambda ct: ct.diff(0)(X))
        check(lambda ct: ct.diff(1, 2)(X))
        check(lambda ct: ct.integrate())
        check(lambda ct: ct.integrate(1)(X[:, :1]))
        check(lambda ct: ct.norm())
        check(lambda ct: (ct + other)(X))
        check(lambda ct: (2 - other - ct)(X))
        check(lambda ct: (ct * other)(X))
        check(lambda ct: (other * ct * 3)(X))
        check(lambda ct: (ct * ct).integrate())

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

    def test_same_numbers_as_numpy(self, torch, rng):
        arrays = [random_tensor(rng, (5, 4, 3), (3, 2, 2)) for _ in range(2)]
        a, b = (ChebTucker(*parts) for parts in arrays)
        s, t = (ChebTucker(torch.tensor(core), list(map(torch.tensor, factors))) for core, factors in arrays)
        for ours, theirs in (
            (a + b, s + t),
            (a * b, s * t),
            (a.diff(1), s.diff(1)),
            (a.integrate(0), s.integrate(0)),
            (a.round(0.1), s.round(0.1)),
        ):
            for x, y in zip((ours.core, *ours.factors), (theirs.core, *theirs.factors)):
                assert isinstance(y, torch.Tensor)
                np.testing.assert_allclose(y.numpy(), x, atol=1e-14)
        assert s.norm() == a.norm()
        assert isinstance(s.integrate(), torch.Tensor)
        assert s.error_estimate == a.error_estimate
        with pytest.raises(TypeError, match="expected one kind and one dtype"):
            a + t

    def test_truncation_has_no_gradient(self, torch, leaves):
        ct = ChebTucker(leaves[0], leaves[1:])
        with pytest.raises(NotImplementedError, match=r"ChebTucker.round has no gradient in core"):
            ct.round(1e-3)
        assert (ct + ct).rank == (6, 4)  # kept, with the graph
        assert np.isfinite(ct.error_estimate)

    def test_to(self, torch, rng, leaves):
        ct = ChebTucker(leaves[0], leaves[1:], domain=(0, 1))
        single = ct.to(torch.float32)
        assert {a.dtype for a in (single.core, *single.factors)} == {torch.float32}
        assert single.domain == ct.domain
        (gradient,) = torch.autograd.grad(single.integrate(), leaves[0])
        assert gradient.dtype == torch.float64
        from_numpy = tensor(rng).to("cpu", dtype=torch.float64)
        assert isinstance(from_numpy.core, torch.Tensor)
        with pytest.raises(TypeError, match="core has dtype float16"):
            ct.to(torch.float16)
        assert ct.to(device="meta").core.device.type == "meta"
