"""A spectrum that three agents find together
==========================================

A seasonal signal continued by a Gaussian process whose spectrum three agents find together, without showing each other their data.

::

    python examples/slim_kl.py

Monthly values with a yearly cycle, its second harmonic and one of 43 months, noisy. Every agent holds a third of the months; weights of
201 spectral components, rounded to multiples of 1e-4, are all that they exchange. Few components are left, at the cycles' frequencies.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import quatrefoil as qf

SEEN, AHEAD, NOISE = 360, 48, 0.3
CYCLES = {12: 1.0, 6: 0.6, 43: 0.8}  # months: amplitude


def truth() -> np.ndarray:
    t = np.arange(SEEN + AHEAD)
    return sum(size * np.cos(2 * np.pi * t / months + months) for months, size in CYCLES.items())


def run(agents: int = 3) -> tuple[qf.kron.SlimKL, float, float]:
    """The model, and the errors (root mean square) of its forecast and of the best that knows nothing."""
    t, u = np.arange(float(SEEN + AHEAD)), truth()
    y = u[:SEEN] + NOISE * np.random.default_rng(0).standard_normal(SEEN)
    with ThreadPoolExecutor(agents) as executor:
        model = qf.kron.SlimKL(
            means=np.linspace(0, 0.5, 201), noise=NOISE**2, tol=1e-4, agents=agents, quantization=1e-4, executor=executor, rng=0
        ).fit(t[:SEEN], y)
    error = model.predict(t[SEEN:]) - u[SEEN:]
    return model, float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(u[SEEN:] ** 2)))


def main() -> None:
    model, error, nothing = run()
    on = np.flatnonzero(model.weights_ > 0.05 * model.weights_.max())
    print(f"{model.n_iter_} iterations; {len(on)} of {len(model.weights_)} components matter:")
    for i in on:
        f = model.means[i]
        print(f"  weight {model.weights_[i]:.4f} at a period of {1 / f if f else np.inf:.1f} months")
    print(f"forecast of {AHEAD} months: error {error:.3f}, the noise is {NOISE}, without a forecast {nothing:.3f}")


if __name__ == "__main__":
    main()
