"""Slices, antiderivatives, quotients, extrema, roots and statistics of Chebyshev-Tucker tensors, compared with closed forms and SciPy."""

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

import quatrefoil as qf
from checks import check_rejected

ChebTucker = qf.cheb.ChebTucker
BOX = [(0, 1), (-1, 2), (3, 4)]


@pytest.fixture(scope="module")
def ct():
    return ChebTucker.from_function(lambda x, y, z: np.exp(x * y) / z + x, BOX, tol=1e-12)


def f(x, y, z):
    return np.exp(x * y) / z + x


def test_slices_and_permutations(ct):
    for fixed in (ct.at(y=0.5), ct.at({1: 0.5}), ct.at({-2: 0.5}), ct.at(x1=0.5)):
        assert fixed.domain == ((0, 1), (3, 4))
        np.testing.assert_allclose(fixed(0.3, 3.5), f(0.3, 0.5, 3.5), rtol=1e-11)
    np.testing.assert_allclose(ct.at({2: 4.0}, x=0.0, y=-1.0), f(0, -1, 4), rtol=1e-11)
    assert type(ct.at(x=0.1, y=0.1, z=3.0)) is float
    np.testing.assert_allclose(ct.transpose((2, 0, 1))(3.5, 0.3, 0.5), f(0.3, 0.5, 3.5), rtol=1e-11)
    np.testing.assert_allclose(ct.transpose()(3.5, 0.5, 0.3), f(0.3, 0.5, 3.5), rtol=1e-11)
    for part in (ct.restrict([(0, 1), (0.5, 1), (3, 4)]), ct.restrict({1: (0.5, 1)})):
        assert part.domain == ((0, 1), (0.5, 1), (3, 4))
        np.testing.assert_allclose(part(0.3, 0.7, 3.5), f(0.3, 0.7, 3.5), rtol=1e-11)


def test_antiderivatives(ct):
    for axis, at in ((0, (0.4, 1.5, 3.2)), (1, (0.4, 1.5, 3.2)), (-1, (0.9, -0.3, 3.9))):
        k = axis % 3
        expected, _ = integrate.quad(lambda t, k=k, at=at: f(*at[:k], t, *at[k + 1 :]), BOX[k][0], at[k])
        np.testing.assert_allclose(ct.cumsum(axis)(*at), expected, rtol=1e-10)
        difference = ct.cumsum(axis).diff(axis) - ct
        assert difference.norm() < 1e-11 * ct.norm()
    np.testing.assert_allclose(ct.cumsum(0).cumsum(1).cumsum(2)(1.0, 2.0, 4.0), ct.integrate(), rtol=1e-11)
    np.testing.assert_allclose(ct.diff(0, 4)(0.3, 0.5, 3.5), 0.5**4 * np.exp(0.15) / 3.5, rtol=1e-6)
    one = ChebTucker.from_function(lambda x: 0 * x + 3, (1, 5))
    np.testing.assert_allclose(one.cumsum(0)(4.0), 9, rtol=1e-13)


def test_quotients_powers_and_compositions(rng, ct):
    X = np.array([0, -1, 3]) + rng.random((50, 3)) * [1, 3, 1]
    y, other = f(*X.T), ChebTucker.from_function(lambda x, y, z: 3 + x + y * z, BOX)
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
    """For x^2 y + z, from the moments of the distributions in closed form."""
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


def test_bad_input(ct):
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
