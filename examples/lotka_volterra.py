"""Predators and prey, forecast from their delays
==============================================

Predators and prey forecast from their delays: the window matrix is a Hankel operator, never built.

::

    python examples/lotka_volterra.py

The logarithm of the prey population of a Lotka-Volterra system, noisy, is seen for some cycles. A forecast is a weighted sum of the last d
samples, y_t = sum_j w_j s_{t+j}; over all times that is Hankel(s) w. The weights are a ridge fit by conjugate gradients, two products of
the operator a step at O(T log T) each; stepping the forecast continues the series.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import LinearOperator, cg

import quatrefoil as qf

STEP, SEEN, AHEAD = 0.1, 4000, 400  # a cycle takes about 6.6, 66 samples
DELAYS, RIDGE, NOISE = 256, 1e-3, 0.01


def simulate() -> np.ndarray:
    """log prey at SEEN + AHEAD times: x' = x (1 - y), y' = y (x - 1) from (2, 1), in logarithms."""
    t = STEP * np.arange(SEEN + AHEAD)
    path = solve_ivp(lambda _, z: [1 - np.exp(z[1]), np.exp(z[0]) - 1], (0, t[-1]), [np.log(2), 0], t_eval=t, rtol=1e-9, atol=1e-9)
    return path.y[0]


def fit(s: np.ndarray, d: int, ridge: float) -> tuple[np.ndarray, int]:
    """Weights w minimising ||H w - y||^2 + ridge ||w||^2 over all windows of s, y the sample after each; and the number of steps."""
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


def main() -> None:
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


if __name__ == "__main__":
    main()
