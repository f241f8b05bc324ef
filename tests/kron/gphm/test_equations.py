"""``GPHM`` solves equations of ``qf.kron.pde``, estimates its error, and warns of frequencies that are too low."""

import pickle

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from quatrefoil.kron import pde

X, Y = np.linspace(0, 1, 50), np.linspace(1, 0, 40)


def wave(x, y=0.0):
    return np.sin(30 * x) * np.cos(20 * y)


def slopes(x, y=0.0):
    return 30 * np.cos(30 * x) * np.cos(20 * y), -20 * np.sin(30 * x) * np.sin(20 * y)


def cubic(u):
    return 4 * u**3 + u


EQUATIONS = {
    "poisson": lambda: pde.Poisson(lambda x, y: -1300 * wave(x, y), wave),
    "helmholtz": lambda: pde.Helmholtz(25.0, source=lambda x, y: (625 - 1300) * wave(x, y), boundary=wave),
    "screened": lambda: pde.Helmholtz(coefficient_of_u=-400.0, source=lambda x, y: (-400 - 1300) * wave(x, y), boundary=wave),
    "heat": lambda: pde.Heat(0.01, source=lambda x, t: slopes(x, t)[1] + 9 * wave(x, t), boundary=wave),
    "semilinear": lambda: pde.Semilinear(
        cubic, lambda u: 12 * u**2 + 1, source=lambda x, y: cubic(wave(x, y)) - 1300 * wave(x, y), boundary=wave
    ),
    "convection": lambda: pde.ConvectionDiffusion(
        [2.0, -3.0], 0.1, source=lambda x, y: 130 * wave(x, y) + 2 * slopes(x, y)[0] - 3 * slopes(x, y)[1], boundary=wave
    ),
    "advection": lambda: pde.Advection(3.0, source=lambda x, y: 3 * slopes(x, y)[0] + slopes(x, y)[1], boundary=wave),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_errors_are_estimated(name):
    x, y = np.linspace(0, 1, 83), np.linspace(0, 1, 71)
    truth, errors = wave(x[:, None], y), []
    for steps in (10, 50):
        gp = qf.kron.GPHM(EQUATIONS[name](), [X, Y], freq_scale=8.0).fit(steps)
        error, estimate = np.abs(gp.predict([x, y]) - truth), gp.error_estimate([x, y])
        assert estimate.shape == error.shape
        factor = 5 if name == "advection" else 3
        assert error.max() / factor < estimate.max() < factor * error.max()
        assert np.sqrt(np.mean(error**2)) / 5 < np.sqrt(np.mean(estimate**2)) < 5 * np.sqrt(np.mean(error**2))
        errors.append(error.max())
    assert errors[1] < min(errors[0] / 5, 1e-3)
    assert gp.error_estimate().shape == (50, 40)
    assert gp.error_estimate([0.25, y]).shape == (71,)
    copy = pickle.loads(pickle.dumps(gp)) if name != "semilinear" else gp  # local functions cannot be pickled
    assert copy.error_estimate().max() == pytest.approx(gp.error_estimate().max(), rel=2)  # the copy has values on the grid, not functions


@pytest.mark.parametrize("kind", ["helmholtz", "convection"])
def test_one_axis(kind):
    x, z = np.linspace(-0.5, 0.5, 60) ** 3 + np.linspace(-1, 1, 60), np.linspace(-1, 1, 301)
    if kind == "helmholtz":
        equation = pde.Helmholtz(25.0, source=lambda x: (625 - 900) * wave(x), boundary=wave)
    else:
        equation = pde.ConvectionDiffusion(2.0, 0.1, source=lambda x: 90 * wave(x) + 2 * slopes(x)[0], boundary=wave(x[[0, -1]]))
    gp = qf.kron.GPHM(equation, x, freq_scale=8.0).fit(60)
    error = np.abs(gp.predict(z) - wave(z))
    assert error.max() < 1e-3
    assert error.max() / 3 < gp.error_estimate(z).max() < 3 * error.max()
    assert gp.error_estimate(0.3).shape == ()


def test_estimates_of_adam_and_of_two_components():
    x, z = np.linspace(0, 1, 60), np.linspace(0, 1, 101)
    gp = qf.kron.GPHM(pde.Poisson(lambda x: -900 * np.sin(30 * x), lambda x: np.sin(30 * x) + 5 * x), x, optimizer="adam").fit(300)
    for _ in range(2):
        error = np.abs(gp.predict(z) - np.sin(30 * z) - 5 * z).max()
        assert error / 5 < gp.error_estimate(z).max() < 5 * error
        if gp.held_params is None:
            gp.add_smooth_component().fit(300)


@pytest.mark.slow
def test_warning_about_too_low_frequencies():
    x = np.linspace(0, 1, 120)
    equation = pde.Poisson(lambda x: -10_000 * np.sin(100 * x), lambda x: np.sin(100 * x))
    with pytest.warns(RuntimeWarning, match=r"GPHM.fit: axes\[0\] probably needs higher frequencies: .* pass a freq_scale above 8"):
        qf.kron.GPHM(equation, x, freq_scale=8.0).fit()
    qf.kron.GPHM(equation, x, freq_scale=8.0).fit(60)  # no warning after a requested small number of steps
    qf.kron.GPHM(equation, x, freq_scale=25.0).fit()
    qf.kron.GPHM(pde.Poisson(lambda x: -4 * np.sin(2 * x), lambda x: np.sin(2 * x)), x).fit()


def test_rejected():
    gp = qf.kron.GPHM(pde.Poisson(0.0, 1.0), X)
    check_rejected([
        (lambda: gp.predict(X), ValueError, "GPHM.predict: the solver has not taken a step; call fit first"),
        (lambda: gp.error_estimate(X), ValueError, "GPHM.error_estimate: the solver has not taken a step; call fit first"),
        (lambda: pde.Semilinear(1.0, cubic, boundary=0.0), TypeError, "function is float, expected a function of u"),
        (lambda: pde.Heat(-1.0, boundary=0.0), ValueError, "diffusivity"),
        (lambda: pde.Heat(alpha=1.0, boundary=0.0), TypeError, "use diffusivity"),
        (lambda: pde.ConvectionDiffusion([1.0, 2.0], 0.0, boundary=0.0), ValueError, "diffusion"),
        (lambda: pde.Helmholtz(k=3.0, boundary=0.0), TypeError, "use wavenumber"),
        (lambda: pde.Helmholtz(k2=-9.0, boundary=0.0), TypeError, "use coefficient_of_u; for u_xx - c u pass -c"),
        (lambda: pde.Helmholtz(20j, boundary=0.0), TypeError, "expected a real number; for u_xx - 400 u pass coefficient_of_u=-400"),
        (lambda: pde.Helmholtz(boundary=0.0), TypeError, "expected either wavenumber or coefficient_of_u; for u_xx - 400 u"),
        (lambda: pde.Helmholtz(2.0, coefficient_of_u=4.0, boundary=0.0), TypeError, "expected either wavenumber or coefficient_of_u"),
        (lambda: pde.Helmholtz(coefficient_of_u=np.nan, boundary=0.0), ValueError, "coefficient_of_u is nan"),
        (lambda: pde.Poisson(screening=20.0, source=0.0, boundary=0.0), TypeError, "'screening'; use Helmholtz or Semilinear"),
        (lambda: qf.kron.GPHM(), TypeError, r"pde, axes are missing; pass an equation of kron.pde and its axes, e.g. GPHM\(pde.Poisson"),
        (lambda: qf.kron.GPHM(pde.ConvectionDiffusion([1.0, 2.0], 0.1, boundary=0.0), X), ValueError, "1 axes, expected 2"),
    ])  # fmt: skip
    shown = "ConvectionDiffusion(velocity=(1.0, 2.0), diffusion=0.1, source=..., boundary=...)"
    assert repr(pde.ConvectionDiffusion([1, 2], 0.1, boundary=0.0)) == shown
