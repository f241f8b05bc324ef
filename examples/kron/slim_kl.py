"""Learning a spectrum from data that three agents keep private
============================================================

A seasonal signal continued by a Gaussian process whose spectrum three agents find together, without showing each other their data.

::

    python examples/kron/slim_kl.py [picture.png]

Monthly values with a yearly cycle, its second harmonic and one of 43 months, noisy. Every agent holds a third of the months; weights of
201 spectral components, rounded to multiples of 1e-4, are all that they exchange. Few components are left, at the cycles' frequencies.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import quatrefoil as qf

SEEN, AHEAD, NOISE = 360, 48, 0.3
CYCLES = {12: 1.0, 6: 0.6, 43: 0.8}  # months: amplitude


def truth() -> np.ndarray:
    t = np.arange(SEEN + AHEAD)
    return sum(size * np.cos(2 * np.pi * t / months + months) for months, size in CYCLES.items())


def seen() -> np.ndarray:
    return truth()[:SEEN] + NOISE * np.random.default_rng(0).standard_normal(SEEN)


def run(agents: int = 3) -> tuple[qf.kron.SlimKL, float, float]:
    """The model, and the errors (root mean square) of its forecast and of the best that knows nothing."""
    t, u = np.arange(float(SEEN + AHEAD)), truth()
    with ThreadPoolExecutor(agents) as executor:
        model = qf.kron.SlimKL(
            means=np.linspace(0, 0.5, 201), noise=NOISE**2, tol=1e-4, agents=agents, quantization=1e-4, executor=executor, rng=0
        ).fit(t[:SEEN], seen())
    error = model.predict(t[SEEN:]) - u[SEEN:]
    return model, float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(u[SEEN:] ** 2)))


def draw(model: qf.kron.SlimKL, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    t = np.arange(float(SEEN + AHEAD))
    last, ahead = slice(SEEN - 2 * AHEAD, SEEN), slice(SEEN, None)
    mean, deviation = model.predict(t[ahead], return_std=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained", width_ratios=(2, 1))
    left.plot(t[last], seen()[last], ".", color="0.5", label="seen, with noise")
    left.plot(t[last.start :], truth()[last.start :], color="black", lw=3, alpha=0.3, label="without noise")
    left.plot(t[ahead], mean, color="C3", label="forecast, and two deviations")
    left.fill_between(t[ahead], mean - 2 * deviation, mean + 2 * deviation, color="C3", alpha=0.2, lw=0)
    left.set(xlabel="month", title="the forecast")
    left.legend(loc="lower left", fontsize="small")
    right.plot(model.means, model.weights_, ".-", lw=0.8)
    for months in CYCLES:
        right.axvline(1 / months, color="0.5", lw=0.8, ls="--")
        right.annotate(f" {months} months", (1 / months, 1), xycoords=("data", "axes fraction"), va="top", rotation=90, ha="right")
    right.set(xlim=(0, 0.25), xlabel="cycles a month", title="weights that the agents agreed on")
    figure.savefig(file, dpi=120)


def main(file: str | None = None) -> None:
    model, error, nothing = run()
    on = np.flatnonzero(model.weights_ > 0.05 * model.weights_.max())
    print(f"{model.n_iter_} iterations; {len(on)} of {len(model.weights_)} components matter:")
    for i in on:
        f = model.means[i]
        print(f"  weight {model.weights_[i]:.4f} at a period of {1 / f if f else np.inf:.1f} months")
    print(f"forecast of {AHEAD} months: error {error:.3f}, the noise is {NOISE}, without a forecast {nothing:.3f}")
    if file:
        draw(model, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*sys.argv[1:2])
