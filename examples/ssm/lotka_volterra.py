"""Forecasting a population from its past
======================================

A prey population is forecast from its past samples. The window matrix is a Hankel operator that is never formed.

::

    python examples/ssm/lotka_volterra.py [picture.png]

The logarithm of the prey population in a Lotka-Volterra system is observed with noise for several cycles. A forecast is a weighted sum of
the last d samples, y_t = sum_j w_j s_{t+j}; for all times together that is Hankel(s) w. The weights are a ridge fit by conjugate gradients,
with two operator products per step that cost O(T log T) each. Repeating the forecast step by step continues the series.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import LinearOperator, cg

import quatrefoil as qf

STEP, SEEN, AHEAD = 0.1, 4000, 400  # a cycle takes a time of about 6.6, or 66 samples
DELAYS, RIDGE, NOISE = 256, 1e-3, 0.01


def simulate() -> np.ndarray:
    """log prey at SEEN + AHEAD times: x' = x (1 - y), y' = y (x - 1) from (2, 1), in logarithms."""
    t = STEP * np.arange(SEEN + AHEAD)
    path = solve_ivp(lambda _, z: [1 - np.exp(z[1]), np.exp(z[0]) - 1], (0, t[-1]), [np.log(2), 0], t_eval=t, rtol=1e-9, atol=1e-9)
    return path.y[0]


def fit(s: np.ndarray, d: int, ridge: float) -> tuple[np.ndarray, int]:
    """Weights w minimising ||H w - y||^2 + ridge ||w||^2, where y contains the sample after each window of s; and the number of steps."""
    y = s[d:]
    steps = 0

    def windows(w: np.ndarray) -> np.ndarray:  # H_ij = s_{i+j}: first column, last row
        return qf.ssm.hankel_matmul(s[: y.size], s[y.size - 1 : -1], w)

    def adjoint(g: np.ndarray) -> np.ndarray:
        return qf.ssm.hankel_matmul(s[:d], s[d - 1 : -1], g)

    def normal(w: np.ndarray) -> np.ndarray:
        nonlocal steps
        steps += 1
        return adjoint(windows(w.reshape(d))) + ridge * w.reshape(d)

    operator = LinearOperator((d, d), normal, dtype=s.dtype)
    w, failed = cg(operator, adjoint(y), rtol=1e-5, maxiter=1000)
    if failed:
        raise RuntimeError(f"conjugate gradients stopped after {failed} steps")
    return w, steps


def forecast(s: np.ndarray, w: np.ndarray, ahead: int) -> np.ndarray:
    path = list(s[-w.size :])
    for _ in range(ahead):
        path.append(float(w @ path[-w.size :]))
    return np.array(path[w.size :])


def draw(noisy: np.ndarray, truth: np.ndarray, predicted: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    t = STEP * np.arange(SEEN + AHEAD)
    last, ahead = slice(SEEN - AHEAD // 2, SEEN), slice(SEEN, None)
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), layout="constrained", sharex=True, height_ratios=(2, 1))
    above.plot(t[last], noisy[last], ".", ms=3, color="0.5", label="end of the observations")
    above.plot(t[ahead], truth[ahead], color="black", lw=3, alpha=0.3, label="truth")
    above.plot(t[ahead], predicted, color="C3", lw=1, label="forecast")
    above.set_ylabel("logarithm of the prey")
    above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    below.semilogy(t[ahead], np.abs(predicted - truth[ahead]), color="C3", lw=1)
    below.axhline(NOISE, color="0.5", lw=0.8, ls="--")
    below.annotate("standard deviation of the noise", (t[last][0], 0.8 * NOISE), va="top", color="0.3")
    below.set(xlabel="time", ylabel="error of the forecast")
    figure.savefig(file, dpi=120)


def main(file: str | None = None) -> None:
    truth = simulate()
    noisy = truth[:SEEN] + NOISE * np.random.default_rng(0).standard_normal(SEEN)
    mean = noisy.mean()
    w, steps = fit(noisy - mean, DELAYS, RIDGE * SEEN)
    predicted = forecast(noisy - mean, w, AHEAD) + mean
    future = truth[SEEN:]

    def error(guess: np.ndarray | float) -> float:
        return float(np.sqrt(np.mean((guess - future) ** 2)) / future.std())

    print(f"{SEEN} samples with noise {NOISE}, {DELAYS} delays, ridge fit in {steps} steps")
    print(f"error over {AHEAD} steps ahead, in standard deviations: {error(predicted):.4f} (forecasting the mean: {error(mean):.4f})")
    if file:
        draw(noisy, truth, predicted, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*sys.argv[1:2])
