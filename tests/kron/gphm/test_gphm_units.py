"""``GPHM``'s results do not depend on the units of length and of u. Reported parameters agree with their definition."""

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil.kron.models.gphm.units import _power
from quatrefoil.kron.pde import PDE


class Equation(PDE):
    """sum_k rate_k d^order u / dx_k^order = source."""

    def __init__(self, *, order, rates, source):
        super().__init__(source=source, boundary=0.0)
        self.order, self._rates = order, rates

    @property
    def coefficients(self):
        return self._rates


def u_of(x):
    return np.sin(7 * x + 1) + 0.3 * np.cos(23 * x)


def poisson(length, size):
    """A problem in units smaller by ``length`` and ``size``."""
    x = np.linspace(0, 1, 30)
    second = -49 * np.sin(7 * x + 1) - 0.3 * 529 * np.cos(23 * x)
    pde = qf.kron.Poisson(source=second * (size / length / length), boundary=u_of(x) * size)
    return qf.kron.GPHM(pde, [x * length], components=8)


@pytest.mark.parametrize("c", [(2.0, 1.0), (-2.0, 1.0), (2.0, -3.0), (0.0, 1.0)])
@pytest.mark.parametrize("order", [1, 2])
def test_the_size_of_u(order, c):
    """The tolerance is the error of finite differences on 60 points."""
    axes = [np.cumsum(np.random.default_rng(1).uniform(0.5, 1.5, 60)), np.linspace(3.0, 1.0, 50)]
    depths = [(x - x.min() if rate >= 0 else x.max() - x) / np.ptp(x) for x, rate in zip(axes, c)]  # where characteristics enter
    p, q = (d**2 if order == 1 else np.sin(np.pi * d) for d in depths)
    slopes = [(2 * d if order == 1 else -(np.pi**2) * np.sin(np.pi * d)) / np.ptp(x) ** order for d, x in zip(depths, axes)]
    source = abs(c[0]) * np.outer(slopes[0], q) + abs(c[1]) * np.outer(p, slopes[1])
    pde = Equation(order=order, rates=c, source=1e5 * source)
    size = qf.kron.GPHM(pde, axes, components=2)._state.units.size
    assert size == pytest.approx(1e5 * np.sqrt(np.mean(np.outer(p, q) ** 2)), rel=0.1)


def test_squares_are_rounded_alike_in_all_units(rng):
    """libm's pow is not suitable: the last bit of 1 result in 2000 depends on the exponent of the base."""
    for length in map(float, rng.uniform(1, 2, 20_000)):
        assert _power(length * 2.0**41, 2) == _power(length, 2) * 2.0**82


def test_powers_of_two_on_a_device(cupy, rng):
    x, source = [np.linspace(0, 1, n) for n in (12, 9)], rng.standard_normal((12, 9))
    solvers = []
    for length, size in [(1.0, 1.0), (2.0**-9, 2.0**7)]:
        pde = qf.kron.Poisson(source=cupy(source * (size / length / length)), boundary=0.0)
        solvers.append(qf.kron.GPHM(pde, [cupy(a * length) for a in x], components=8).fit(2))
    np.testing.assert_array_equal(cupy.back(solvers[1].params["U"]) / 2.0**7, cupy.back(solvers[0].params["U"]))


def test_reports():
    units, result = [(1.0, 1.0), (2.0**9, 2.0**-30)], []
    for length, size in units:
        result.append(poisson(length, size).fit(5, truth=size * u_of(np.linspace(0, 1, 30))).report())
    assert result[1]["residual"] * units[1][0] ** 2 / units[1][1] == result[0]["residual"]
    assert result[1]["error"] == pytest.approx(result[0]["error"], rel=1e-6)


@pytest.mark.parametrize("size", [1e-160, 1e160])
def test_the_range_of_float64(size):
    gp = poisson(1.0, size).fit(15, truth=size * u_of(np.linspace(0, 1, 30)))
    assert gp.report()["error"] < 2e-3
