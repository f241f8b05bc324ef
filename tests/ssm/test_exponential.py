"""exponential_integrator compared with closed forms and SciPy's solver; its order."""

import numpy as np
import pytest
from scipy.fft import dct, idct
from scipy.integrate import solve_ivp

import quatrefoil as qf
from checks import check_rejected

etd = qf.ssm.exponential_integrator


def test_what_is_exact(rng):
    """A linear part, even if stiff, with a constant f: u = e^{at} u_0 + (e^{at} - 1)/a f, or u_0 + t f if a = 0."""
    a, f = np.array([-1e6, -3.0, -1e-9, 0.0, 0.4]), rng.standard_normal(5)
    start, t = rng.standard_normal((3, 5)), 0.1 * np.arange(1, 41)[:, None, None]
    with np.errstate(invalid="ignore"):
        grown = np.where(a == 0, t, np.expm1(a * t) / a)
    got = etd(a, lambda u: np.broadcast_to(f, u.shape), start, 0.1, 40)
    np.testing.assert_allclose(got, np.exp(a * t) * start + grown * f, rtol=1e-12)


@pytest.mark.parametrize("window", [1, 7, 64])
def test_second_order(window):
    """u' = i w u - |u|^2 u has a closed form: |u|^2 = 1/(1/|u_0|^2 + 2 t), and the phase of the linear part."""
    w, start = np.array([3.0, 40.0]), np.array([1.0 + 1j, 0.3 - 0.2j])
    exact = start * np.exp(1j * w) / np.sqrt(1 + 2 * np.abs(start) ** 2)
    errors = [abs(etd(1j * w, lambda u: -(abs(u) ** 2) * u, start, 1 / n, n, window=window)[-1] - exact).max() for n in (50, 100, 200)]
    assert errors[2] < 2e-4
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_a_stiff_reaction_and_diffusion():
    """Allen-Cahn in cosine modes, with rates down to -390, compared with an implicit solver."""
    P = 64
    rates = -0.01 * (np.pi * np.arange(P)) ** 2 + 1
    start = dct(0.1 * np.cos(3 * np.pi * (np.arange(P) + 0.5) / P) + 0.02, norm="ortho")

    def cubic(u):
        return -dct(idct(u, norm="ortho") ** 3, norm="ortho")

    expected = solve_ivp(lambda _, u: rates * u + cubic(u), (0, 4), start, method="Radau", rtol=1e-9, atol=1e-11).y[:, -1]
    np.testing.assert_allclose(etd(rates, cubic, start, 0.01, 400)[-1], expected, atol=2e-4)


def test_nan_stays_in_its_item(rng):
    start = rng.standard_normal((3, 4))
    clean = etd(-np.ones(4), np.sin, start, 0.1, 20)
    start[1, 2] = np.nan
    dirty = etd(-np.ones(4), np.sin, start, 0.1, 20)
    assert np.isnan(dirty[:, 1, 2]).all()
    dirty[:, 1, 2] = clean[:, 1, 2]
    np.testing.assert_allclose(dirty, clean, rtol=1e-8)


@pytest.mark.torch
def test_gradients():
    torch = pytest.importorskip("torch")
    rates, start = torch.tensor([-2.0, -0.01], dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    inputs = (rates.requires_grad_(), start.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, u: etd(a, torch.sin, u, 0.1, 5, window=3, rtol=1e-14)[-1], inputs)


def test_bad_input():
    a = np.array([-1.0, -2.0])
    check_rejected([
        (lambda: etd(a, np.sin, np.ones(3), 0.1, 2), ValueError, r"exponential_integrator: start has shape \(3,\), expected \(\.\.\., P\)"),
        (lambda: etd(a, np.sin, np.ones(2) + 0j, 0.1, 2), TypeError, "start has dtype complex128"),
        (lambda: etd(a, lambda u: u[0], np.ones(2), 0.1, 2), ValueError, r"nonlinearity returned shape \(2,\) for states \(1, 2\)"),
        (lambda: etd(a, lambda u: 0.0, np.ones(2), 0.1, 2), ValueError, "nonlinearity returned float"),
        (lambda: etd(a, np.sin, np.ones(2), 0.1, -1), ValueError, "steps is -1"),
        (lambda: etd(a, lambda u: 30 * np.cos(9 * u), np.ones(2), 1.0, 16), RuntimeError, "no convergence in 100 iterations from step 0"),
    ])  # fmt: skip
    assert etd(a, np.sin, np.ones(2), 0.1, 0).shape == (0, 2)
