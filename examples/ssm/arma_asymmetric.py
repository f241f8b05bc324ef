"""Estimating ARMA models with skewed innovations
==============================================

Using the third and fourth moments of skewed innovations makes estimates of the coefficients more accurate.

::

    python examples/ssm/arma_asymmetric.py [SERIES] [PICTURE]

Many series of an ARMA(1, 1) process with gamma innovations are simulated. The coefficients of each series are estimated twice: by
conditional sums of squares (CSS), where the residuals e and their derivatives J satisfy J' e = 0, and by the polynomial maximisation method
of order 2 (PMM2), where they satisfy J' psi(e) = 0 with ::

    psi(e) = e - m3 / (m4 - m2^2) (e^2 - m2)

m2, m3 and m4 are the central moments of the innovations. Among quadratic functions, psi gives the estimates the smallest variance. In long
series it is 1 - g3^2 / (2 + g4) times the variance of CSS, where g3 is the skewness and g4 the excess kurtosis of the innovations
(Zabolotnii, Warsza and Tkachenko 2018, for linear regressions). All series are filtered in one call, each with its own coefficients. The
picture shows both sets of estimates.
"""

from __future__ import annotations

import sys

import numpy as np

from quatrefoil.ssm import arma_filter

PHI, THETA, SHAPE, LENGTH, BURN_IN = 0.7, 0.4, 1.0, 500, 200  # y_t = PHI y_{t-1} + e_t + THETA e_{t-1}; gamma distribution with shape SHAPE
MAX = 0.98  # limit of a coefficient, so that the model stays stationary and invertible
LONG = 12  # order of the autoregression for the first residuals


def simulate(series: int, rng: np.random.Generator) -> np.ndarray:
    """Series (series, LENGTH) with innovations of mean 0 and variance 1."""
    e = (rng.gamma(SHAPE, size=(series, LENGTH + BURN_IN)) - SHAPE) / np.sqrt(SHAPE)
    return arma_filter(np.array([1.0, THETA]), np.array([1.0, -PHI]), e)[:, BURN_IN:]


def lagged(x: np.ndarray, count: int) -> np.ndarray:
    """x_{t-1}, ..., x_{t-count} of every row: (rows, L, count), zeros before the first."""
    return np.stack([np.pad(x[:, : x.shape[1] - i], ((0, 0), (i, 0))) for i in range(1, count + 1)], axis=2)


def regress(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares for every row."""
    across = columns.swapaxes(1, 2)
    return np.linalg.solve(across @ columns, across @ y[:, :, None])[:, :, 0]


def residuals(y: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """e (rows, L), and minus its derivatives with respect to phi and theta (rows, L, 2); guess is (rows, 2)."""
    one = np.ones(len(y))
    moving = np.stack([one, guess[:, 1]], axis=1)
    e = arma_filter(np.stack([one, -guess[:, 0]], axis=1), moving, y)
    by_phi, by_theta = (arma_filter(np.array([0.0, 1.0]), moving, x) for x in (y, e))
    return e, np.stack([by_phi, by_theta], axis=2)


def start(y: np.ndarray) -> np.ndarray:
    """Hannan-Rissanen method: a regression in which residuals of a long autoregression replace the innovations."""
    long = lagged(y, LONG)
    e = y - np.einsum("rti,ri->rt", long, regress(long, y))
    return regress(np.concatenate([lagged(y, 1), lagged(e, 1)], axis=2), y)


def css(y: np.ndarray, steps: int = 30) -> np.ndarray:
    """Gauss-Newton steps, halved for series in which they overshoot."""
    guess, length = start(y), np.ones(len(y))
    e, J = residuals(y, guess)
    for _ in range(steps):
        step = regress(J, e) * length[:, None]
        tried = np.clip(guess + step, -MAX, MAX)
        e_tried, J_tried = residuals(y, tried)
        better = (e_tried**2).sum(axis=1) <= (e**2).sum(axis=1)
        guess, e = np.where(better[:, None], tried, guess), np.where(better[:, None], e_tried, e)
        J, length = np.where(better[:, None, None], J_tried, J), np.where(better, 1.0, length / 2)
    return guess


def pmm2(y: np.ndarray, guess: np.ndarray, steps: int = 12) -> np.ndarray:
    """PMM2, starting from the CSS estimates, whose residuals determine the moments."""
    e, _ = residuals(y, guess)
    m2, m3, m4 = (((e - e.mean(axis=1, keepdims=True)) ** k).mean(axis=1, keepdims=True) for k in (2, 3, 4))
    for _ in range(steps):
        e, J = residuals(y, guess)
        guess = np.clip(guess + regress(J, e - m3 / (m4 - m2**2) * (e**2 - m2)), -MAX, MAX)
    return guess


def draw(file: str, by_css: np.ndarray, by_pmm2: np.ndarray) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharex=True, sharey=True)
    for ax, name, estimates in zip(axes, ("CSS", "PMM2"), (by_css, by_pmm2)):
        ax.scatter(*estimates.T, s=6, alpha=0.5, edgecolors="none")
        ax.axvline(PHI, color="k", lw=0.6)
        ax.axhline(THETA, color="k", lw=0.6)
        ax.set(title=f"{name}: standard deviations {estimates[:, 0].std():.3f}, {estimates[:, 1].std():.3f}", xlabel="phi")
    axes[0].set_ylabel("theta")
    figure.savefig(file, dpi=150)


def main(series: int = 1000, file: str | None = None) -> None:
    y = simulate(series, np.random.default_rng(0))
    y -= y.mean(axis=1, keepdims=True)
    by_css = css(y)
    by_pmm2 = pmm2(y, by_css)
    g3, g4 = 2 / np.sqrt(SHAPE), 6 / SHAPE
    print(f"{series} series of {LENGTH} samples, gamma innovations of shape {SHAPE}: skewness {g3:.2f}, excess kurtosis {g4:.2f}")
    for i, (name, truth) in enumerate((("phi", PHI), ("theta", THETA))):
        before, after = (float(((x[:, i] - truth) ** 2).mean()) for x in (by_css, by_pmm2))
        print(f"{name:5}: mean squared error {before:.2e} by CSS, {after:.2e} by PMM2, a ratio of {after / before:.2f}")
    print(f"in long series the ratio is {1 - g3**2 / (2 + g4):.2f}")
    if file:
        draw(file, by_css, by_pmm2)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, sys.argv[2] if len(sys.argv) > 2 else None)
