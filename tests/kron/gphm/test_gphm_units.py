"""``GPHM``'s results do not depend on units, and its state survives interrupts and errors. The caller's arrays are copied."""

import numpy as np
import pytest

import quatrefoil as qf
from kron.gphm.attacks import same
from kron.gphm.test_gphm import solver, states
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
def test_estimated_size_of_u(order, c):
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


def test_progress(capsys):
    """``attack_programs`` tests interrupts by a callback."""
    gp, seen = solver(N=20, components=3), []
    gp.fit(5, progress=lambda step, loss: seen.append((step, loss)))
    assert seen == list(enumerate(gp.history_["loss"], start=1))
    gp.fit(5, progress=True)
    assert "GPHM: step 6, loss" in capsys.readouterr().err
    np.testing.assert_array_equal(gp.params["U"], solver(N=20, components=3).fit(10).params["U"])


def test_failures_change_nothing():
    gp = solver(N=20, components=3, optimizer="adam").fit(2)
    before = states(gp)
    failing = [
        (lambda: gp.set_params(learning_rate=-1.0), ValueError),
        (lambda: gp.set_params(jitter=-1.0), ValueError),
        (lambda: gp.set_params(axes=[np.zeros(4)]), ValueError),
        (lambda: gp.load_state_dict(gp.state_dict() | {"history.loss": np.array(["x"])}), ValueError),
        (lambda: gp.set_params(learning_rate=1e4).fit(5), (np.linalg.LinAlgError, FloatingPointError)),
    ]
    for call, error in failing:
        with pytest.raises(error):
            call()
        assert gp.jitter is None
        same(states(gp), before, "after an error")
    assert gp.learning_rate == 1e4  # from the call before the failed one


@pytest.mark.parametrize("change", [{"components": 5}, {"jitter": 1e-3}])
def test_changes_during_a_fit_are_kept(change):
    gp, fresh = solver(N=20, components=3), solver(N=20, **{"components": 3, **change})
    with pytest.raises(RuntimeError, match=r"GPHM\.fit: progress, truth or another thread changed the solver"):
        gp.fit(3, progress=lambda step, loss: gp.set_params(**change))
    same(states(gp), states(fresh), change)


class Damped(qf.kron.Poisson):
    def __init__(self, *, rate, source, boundary):
        super().__init__(source=source, boundary=boundary)
        self.rate = rate

    def reaction(self, u):
        return -self.rate * u, -self.rate


def test_arrays_are_copied():
    """Copies of the axes and the equation survive every restart. ``attack_programs`` tests states and components."""
    inputs = [np.linspace(0, 1, 9) ** 1.1, *(np.linspace(a, a + 1, 9) for a in (1, 2, 3))]
    own = [a.copy() for a in inputs]
    pdes = [Damped(rate=rate, source=source, boundary=boundary) for _, rate, source, boundary in (inputs, own)]
    gp, fresh = (qf.kron.GPHM(pde, x[:1], components=3, jitter=1e-4).fit(2) for pde, x in zip(pdes, (inputs, own)))
    pdes[0].source, pdes[0].boundary = 0.0, 0.0
    for a in inputs:
        a[:] = np.nan
    for call in (lambda s: s.fit(2), lambda s: s.set_params(components=4).fit(2), lambda s: s.__sklearn_clone__().fit(1)):
        same(states(call(gp)), states(call(fresh)), "copies")
