"""``GPHM``'s results do not depend on the units of length and of u: one problem in many, and its parameters against their definition."""

import numpy as np
import pytest

import quatrefoil as qf
from kron.gphm.test_gphm import KINDS, SETUPS
from quatrefoil.kron.gphm.pde import PDE

POWERS = [(2.0**-20, 1.0), (2.0**10, 2.0**-10), (1.0, 2.0**20), (2.0**-40, 2.0**-40)]  # of length, of u


class Equation(PDE):
    """rate_k d^order u / dx_k^order + decay u ((u/scale)^2 - 1) = source."""

    def __init__(self, *, order, rates, decay, scale, source, boundary):
        super().__init__(source=source, boundary=boundary)
        self.order, self._rates, self.decay, self.scale = order, rates, decay, scale

    @property
    def coefficients(self):
        return self._rates

    def reaction(self, u):
        v = u / self.scale
        return (self.decay * self.scale * (v * (v * v - 1)), self.decay * (3 * v * v - 1)) if self.decay else None


def u_of(*x):
    return np.prod([np.sin(7 * a + 1) + 0.3 * np.cos(23 * a) for a in x], axis=0)


def laplacian(*x):
    found = 0.0
    for k, a in enumerate(x):
        rest = u_of(*(b for i, b in enumerate(x) if i != k)) if len(x) > 1 else 1.0
        found = found + rest * (-49 * np.sin(7 * a + 1) - 0.3 * 529 * np.cos(23 * a))
    return found


def made(name, dims, length, size, times=None, there=lambda a: a, n=30, **options):
    """A problem on [0, 1], in units of which one is ``length`` of lengths and ``size`` of u; ``times``: of the second axis alone."""
    lengths = [length, length if times is None else times][:dims]
    grid = [np.linspace(0, 1, n), np.linspace(0, 1, n - 3)][:dims]
    mesh = np.meshgrid(*grid, indexing="ij")
    u = u_of(*mesh)
    axes, boundary = [there(x * L) for x, L in zip(grid, lengths)], there(u * size)
    if name == "advection":
        source = there(np.cos(5 * mesh[0]) * (size / lengths[1]))
        pde = qf.kron.Advection(speed=2.0 * lengths[0] / lengths[1], source=source, boundary=boundary)
    elif name == "poisson" and length == lengths[-1]:
        pde = qf.kron.Poisson(source=there(laplacian(*mesh) * (size / length / length)), boundary=boundary)
    else:
        decay = 1.0 if name == "allencahn" else 0.0
        f = laplacian(*mesh) + decay * u * (u * u - 1)
        rates = tuple(L / lengths[0] * (L / lengths[0]) for L in lengths)  # so that the numbers are those of a square
        source = there(f * (size / lengths[0] / lengths[0]))
        pde = Equation(order=2, rates=rates, decay=decay / lengths[0] / lengths[0], scale=size, source=source, boundary=boundary)
    return qf.kron.GPHM(pde, axes, components=8, **options)


@pytest.mark.parametrize("optimizer", ["projection", "adam"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "dims"), SETUPS)
def test_powers_of_two_change_no_bit(backend, name, dims, kind, optimizer):
    options = {"kind": kind, "optimizer": optimizer, "backend": backend}
    new = [np.linspace(0.1, 0.9, 7)] * dims
    one = made(name, dims, 1.0, 1.0, **options).fit(4)
    for length, size in POWERS:
        other = made(name, dims, length, size, **options).fit(4)
        np.testing.assert_array_equal(other.predict([x * length for x in new]) / size, one.predict(new))
        np.testing.assert_array_equal(other.params["freqs_0"] * length, one.params["freqs_0"])
        np.testing.assert_array_equal(other.params["U"] / size, one.params["U"])
    if name != "poisson":
        other = made(name, dims, 1.0, 1.0, times=2.0**30, **options).fit(4)
        np.testing.assert_array_equal(other.params["U"], one.params["U"])


@pytest.mark.parametrize("c", [(2.0, 1.0), (-2.0, 1.0), (2.0, -3.0), (0.0, 1.0)])
@pytest.mark.parametrize("order", [1, 2])
def test_the_size_of_u(order, c):
    """To the error of differences on 60 points."""
    axes = [np.cumsum(np.random.default_rng(1).uniform(0.5, 1.5, 60)), np.linspace(3.0, 1.0, 50)]
    depths = [(x - x.min() if rate >= 0 else x.max() - x) / np.ptp(x) for x, rate in zip(axes, c)]  # from where characteristics come in
    p, q = (d**2 if order == 1 else np.sin(np.pi * d) for d in depths)
    slopes = [(2 * d if order == 1 else -(np.pi**2) * np.sin(np.pi * d)) / np.ptp(x) ** order for d, x in zip(depths, axes)]
    source = abs(c[0]) * np.outer(slopes[0], q) + abs(c[1]) * np.outer(p, slopes[1])
    pde = Equation(order=order, rates=c, decay=0.0, scale=1.0, source=1e5 * source, boundary=0.0)
    size = qf.kron.GPHM(pde, axes, components=2)._state.units.size
    assert size == pytest.approx(1e5 * np.sqrt(np.mean(np.outer(p, q) ** 2)), rel=0.1)


def test_powers_of_two_on_a_device(cupy):
    one, other = (made("allencahn", 2, *units, there=cupy, n=12).fit(2) for units in [(1.0, 1.0), (2.0**-9, 2.0**7)])
    np.testing.assert_array_equal(cupy.back(other.params["U"]) / 2.0**7, cupy.back(one.params["U"]))


def test_reports():
    """The residual is in the source's units, the error in none."""
    units, found = [(1.0, 1.0), (2.0**9, 2.0**-30)], []
    for length, size in units:
        found.append(made("poisson", 1, length, size).fit(5, truth=size * u_of(np.linspace(0, 1, 30))).report())
    assert found[1]["residual"] * units[1][0] ** 2 / units[1][1] == found[0]["residual"]
    assert found[1]["error"] == pytest.approx(found[0]["error"], rel=1e-6)


@pytest.mark.parametrize("size", [1e-160, 1e160])
def test_the_range_of_float64(size):
    gp = made("poisson", 1, 1.0, size).fit(15, truth=size * u_of(np.linspace(0, 1, 30)))
    assert gp.report()["error"] < 2e-3
