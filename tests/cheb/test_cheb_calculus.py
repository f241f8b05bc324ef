"""Calculus, arithmetic, slices, extrema, roots and statistics, compared with closed forms and SciPy. attacks.py checks more values."""

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

import quatrefoil as qf
from cheb.scattered.cases import random_tensor
from cheb.tucker.oracle import full
from checks import check_rejected

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
            missed = np.sqrt(2) * rho**n  # the relative error due to one axis is rho^n; this is that due to both
            assert missed / 1.1 <= ct.error_estimate <= missed * rho ** -max(2.0, n // 8) * 1.5
        assert ChebTucker(np.zeros((1, 1)), [np.ones((4, 1))] * 2).error_estimate == 0
        assert ChebTucker(np.ones((1, 1)), [np.ones((1, 1))] * 2).error_estimate == 0
    np.testing.assert_allclose(ChebTucker(np.ones(1), [np.array([[3.0], [4.0]])]).error_estimate, 0.8)  # the last of two coefficients


BOX = [(0, 1), (-1, 2), (3, 4)]


@pytest.fixture(scope="module")
def ct():
    return ChebTucker.from_function(smooth, BOX, tol=1e-12)


def smooth(x, y, z):
    return np.exp(x * y) / z + x


def test_slices_and_permutations(ct):
    for fixed in (ct.at(y=0.5), ct.at({1: 0.5}), ct.at({-2: 0.5}), ct.at(x1=0.5)):
        assert fixed.domain == ((0, 1), (3, 4))
        np.testing.assert_allclose(fixed(0.3, 3.5), smooth(0.3, 0.5, 3.5), rtol=1e-11)
    np.testing.assert_allclose(ct.at({2: 4.0}, x=0.0, y=-1.0), smooth(0, -1, 4), rtol=1e-11)
    assert type(ct.at(x=0.1, y=0.1, z=3.0)) is float
    np.testing.assert_allclose(ct.transpose((2, 0, 1))(3.5, 0.3, 0.5), smooth(0.3, 0.5, 3.5), rtol=1e-11)
    np.testing.assert_allclose(ct.transpose()(3.5, 0.5, 0.3), smooth(0.3, 0.5, 3.5), rtol=1e-11)
    for part in (ct.restrict([(0, 1), (0.5, 1), (3, 4)]), ct.restrict({1: (0.5, 1)})):
        assert part.domain == ((0, 1), (0.5, 1), (3, 4))
        np.testing.assert_allclose(part(0.3, 0.7, 3.5), smooth(0.3, 0.7, 3.5), rtol=1e-11)


def test_antiderivatives(ct):
    for axis, at in ((0, (0.4, 1.5, 3.2)), (1, (0.4, 1.5, 3.2)), (-1, (0.9, -0.3, 3.9))):
        k = axis % 3
        expected, _ = integrate.quad(lambda t, k=k, at=at: smooth(*at[:k], t, *at[k + 1 :]), BOX[k][0], at[k])
        np.testing.assert_allclose(ct.cumsum(axis)(*at), expected, rtol=1e-10)
        difference = ct.cumsum(axis).diff(axis) - ct
        assert difference.norm() < 1e-11 * ct.norm()
    np.testing.assert_allclose(ct.cumsum(0).cumsum(1).cumsum(2)(1.0, 2.0, 4.0), ct.integrate(), rtol=1e-11)
    np.testing.assert_allclose(ct.diff(0, 4)(0.3, 0.5, 3.5), 0.5**4 * np.exp(0.15) / 3.5, rtol=1e-6)
    one = ChebTucker.from_function(lambda x: 0 * x + 3, (1, 5))
    np.testing.assert_allclose(one.cumsum(0)(4.0), 9, rtol=1e-13)


def test_quotients_powers_and_compositions(rng, ct):
    X = np.array([0, -1, 3]) + rng.random((50, 3)) * [1, 3, 1]
    y, other = smooth(*X.T), ChebTucker.from_function(lambda x, y, z: 3 + x + y * z, BOX)
    divisor = 3 + X[:, 0] + X[:, 1] * X[:, 2]
    positive = other + 2
    for result, expected in (
        (1 / ct, 1 / y), (ct / positive, y / (divisor + 2)), (ct**-2, y**-2.0), (ct**0.5, y**0.5), (ct**2.0, y**2),
        (ct.compose(np.sin), np.sin(y)), (ct.compose(np.hypot, other), np.hypot(y, divisor)),
    ):  # fmt: skip
        np.testing.assert_allclose(result(X), expected, rtol=1e-8)
    with pytest.raises(ValueError, match=r"not resolved|is .*inf"):
        1 / (other - 3.5)


def test_extrema(rng):
    def six_humps(x, y):
        return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2

    hump = ChebTucker.from_function(six_humps, [(-2, 2), (-1, 1)])
    value, point = hump.minimize()
    np.testing.assert_allclose(value, -1.0316284534898774, rtol=1e-10)
    np.testing.assert_allclose(np.abs(point), [0.08984201, 0.71265640], atol=1e-6)
    value, point = hump.maximize()
    np.testing.assert_allclose([value, *np.abs(point)], [six_humps(2, 1), 2, 1], atol=1e-9)  # a corner
    wave = lambda x, y, z: np.sin(5 * x) * np.cos(4 * y) + 0.3 * z * x - z**2  # noqa: E731
    waves = ChebTucker.from_function(wave, [(0, 3)] * 3)
    search = optimize.differential_evolution(lambda p: -wave(*p), [(0, 3)] * 3, rng=0, tol=1e-12)
    np.testing.assert_allclose(waves.maximize().value, -search.fun, rtol=1e-9)
    slope = ChebTucker.from_function(np.sin, (0, 7)).diff(0).maximize()
    np.testing.assert_allclose([slope.value, slope.point[0]], [1, 0], atol=1e-9)
    assert ChebTucker.from_function(lambda x, y: 0 * x + 2, [(0, 1)] * 2).minimize().value == pytest.approx(2)


def test_roots():
    for domain, g, expected in (
        ((0, 10), lambda x: np.sin(100 * x), np.arange(319) * np.pi / 100),
        ((-1, 1), lambda x: (x - 0.2) * (x + 0.7) * (x - 1), [-0.7, 0.2, 1]),
        ((0.5, 20), lambda x: special.j0(x), special.jn_zeros(0, 6)),
        ((-1, 1), lambda x: 2 + x**2, []),
        ((-1, 1), lambda x: 0 * x + 1, []),
    ):  # fmt: skip
        np.testing.assert_allclose(ChebTucker.from_function(g, domain).roots(), expected, atol=1e-8)
    plane = ChebTucker.from_function(lambda x, y: x**2 - y, [(0, 2), (0, 3)])
    np.testing.assert_allclose(plane.at(y=2.0).roots(), [np.sqrt(2)], atol=1e-10)


def test_statistics_of_other_distributions(rng):
    """The expected results for x^2 y + z come from the moments of the distributions in closed form."""
    samples = rng.gamma(2.0, size=500)
    ct = ChebTucker.from_function(lambda x, y, z: x**2 * y + z, [(-9, 9), (0, 1), (0, samples.max() + 1)])
    inputs = [stats.norm(0.5, 1), stats.beta(2, 3), samples]
    norm, beta = inputs[0], inputs[1]
    mean = norm.moment(2) * beta.mean() + samples.mean()
    product = norm.moment(4) * beta.moment(2) - (norm.moment(2) * beta.mean()) ** 2
    np.testing.assert_allclose(ct.mean(distributions=inputs), mean, rtol=1e-12)
    np.testing.assert_allclose(ct.var(distributions=inputs), product + samples.var(), rtol=1e-11)
    alone = np.array([beta.mean() ** 2 * (norm.moment(4) - norm.moment(2) ** 2), norm.moment(2) ** 2 * beta.var(), samples.var()])
    variance = product + samples.var()
    np.testing.assert_allclose(ct.sobol(1, distributions=inputs), alone / variance, rtol=1e-10)
    both = (product - alone[0] - alone[1]) / variance
    np.testing.assert_allclose(ct.sobol(2, distributions=inputs), [[0, both, 0], [both, 0, 0], [0, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(ct.sobol("total", distributions=inputs), alone / variance + [both, both, 0], rtol=1e-10)
    partial = ct.mean([0, 2], distributions=inputs)
    np.testing.assert_allclose(partial(0.25), norm.moment(2) * 0.25 + samples.mean(), rtol=1e-12)
    np.testing.assert_allclose(ct.var(0, distributions=inputs)(0.5, 1.0), 0.25 * (norm.moment(4) - norm.moment(2) ** 2), rtol=1e-9)
    np.testing.assert_allclose(ct.mean(distributions=[None, None, (0, 1)]), 27 * 0.5 + 0.5, rtol=1e-11)


def test_outputs_at_random_inputs(rng):
    samples = rng.gamma(2.0, size=500)
    inputs = [stats.norm(0.5, 1), stats.beta(2, 3), samples]
    ct = ChebTucker.from_function(lambda x, y, z: x**2 * y + z, [(-4, 5), (0, 1), (0, samples.max())])
    values = ct.sample_output(40_000, distributions=inputs, rng=1)
    deviation = np.sqrt(ct.var(distributions=inputs))
    np.testing.assert_allclose(values.mean(), ct.mean(distributions=inputs), atol=5 * deviation / 200)
    np.testing.assert_allclose(values.std(), deviation, rtol=0.1)
    np.testing.assert_array_equal(values, ct.sample_output(40_000, distributions=inputs, rng=np.random.default_rng(1)))
    chaos = qf.cheb.PolynomialChaos.from_function(lambda x, y: x + 2 * y, [stats.norm(), stats.norm(1)], max_evaluations=20)
    shares = [0.05, 0.5, 0.9]
    np.testing.assert_allclose(np.quantile(chaos.sample_output(40_000, rng=2), shares), stats.norm(2, 5**0.5).ppf(shares), atol=0.1)
    with pytest.raises(ValueError, match="lies outside the domain"):
        ct.sample_output(10, distributions=[stats.norm(4, 3), None, None])


def test_bad_queries(ct):
    line = ct.at(x=0.1, y=0.1)
    check_rejected([
        (lambda: ct.at(w=1), TypeError, "'w' is not an axis"),
        (lambda: ct.at(x=3.0), ValueError, "within the domain"),
        (lambda: ct.at({0: 0.5}, x=0.5), ValueError, "two coordinates"),
        (lambda: ct.at(0.5), TypeError, "expected coordinates by axis"),
        (lambda: ct.transpose((0, 0, 1)), ValueError, "permutation"),
        (lambda: ct.cumsum(3), ValueError, "axis is 3"),
        (lambda: ct.roots(), ValueError, "3 axes, expected one; fix the others"),
        (lambda: ct.restrict([(0, 1), (0, 1), (0, 1)]), ValueError, r"point 0 of axis 2 is 0\.0, expected a number within the domain"),
        (lambda: ct.restrict({3: (0, 1)}), ValueError, "expected at most 2"),
        (lambda: np.sin(ct), TypeError, "ufunc"),
        (lambda: ct.compose(np.add, line), ValueError, "on the domain"),
        (lambda: ct.sobol(3), ValueError, "order is 3"),
        (lambda: ct.mean(distributions=[stats.norm()]), ValueError, "distributions has 1 entries, expected 3"),
        (lambda: ct.mean(distributions=[stats.norm(), None, None]), ValueError, "lies outside the domain"),
        (lambda: ct.var(distributions=[stats.poisson(3), None, None]), TypeError, "is discrete"),
        (lambda: ct.var(distributions=[(1, 0), None, None]), ValueError, "expected lo < hi"),
    ])  # fmt: skip


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
