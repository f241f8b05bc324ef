"""Filling gaps in a climate series
================================

Sea-surface temperatures of the tropical Pacific with gaps, filled by a Gaussian process on the grid of years and seasons.

::

    python examples/kron/sea_temperature.py [picture.png]

The quarterly series from 1950 to 2015 (PyWavelets' ``nino``) has no gaps. Some quarters and three whole years are removed, and predictions
are compared with the removed values. Matplotlib is needed only for the picture.
"""

from __future__ import annotations

import functools
import sys

import numpy as np

try:
    import pywt.data
except ImportError as error:
    raise ImportError("this needs PyWavelets: pip install 'quatrefoil[demo]'") from error

import quatrefoil as qf


def series() -> tuple[np.ndarray, np.ndarray]:
    """(years, standardised temperatures (years, 4))."""
    time, temperature = pywt.data.nino()
    years = len(time) // 4
    return np.floor(time[: 4 * years : 4]), np.asarray(temperature[: 4 * years], float).reshape(years, 4)


def gaps(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """True where a quarter is observed. One quarter in six is removed, as well as three consecutive years."""
    seen = rng.random(shape) > 1 / 6
    seen[30:33] = False
    return seen


def fill(Y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, qf.kron.GridGP]:
    """(mean, standard deviation of an observation, the model) for every quarter."""
    axes = [np.arange(float(Y.shape[0])), np.arange(float(Y.shape[1]))]
    start = {"log_weights": np.log([0.5, 0.5]), "log_scales": np.log([1.0, 0.5]), "freqs": np.array([0.05, 0.25])}
    mixture = functools.partial(qf.kron.spectral_mixture, kind="gaussian", **start)
    gp = qf.kron.GridGP([mixture, functools.partial(qf.kron.matern52, scale=2.0)], variance=1.0)
    gp.fit(axes, Y, mask=seen)
    mean, deviation = gp.predict(axes, return_std=True)
    return mean, np.sqrt(deviation**2 + gp.noise_), gp


def draw(years: np.ndarray, Y: np.ndarray, seen: np.ndarray, mean: np.ndarray, deviation: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    t = (years[:, None] + np.arange(4) / 4).reshape(-1)
    y, m, s, observed = (a.reshape(-1) for a in (Y, mean, deviation, seen))
    figure, ax = plt.subplots(figsize=(13, 4), layout="constrained")
    ax.fill_between(t, m - 2 * s, m + 2 * s, color="tab:blue", alpha=0.2, lw=0, label="two standard deviations")
    ax.plot(t, m, color="tab:blue", lw=1, label="mean")
    ax.plot(t[observed], y[observed], "k.", ms=3, label="observed")
    ax.plot(t[~observed], y[~observed], "o", color="tab:red", ms=3, label="removed")
    ax.set_xlabel("year")
    ax.set_ylabel("standardised temperature")
    ax.legend(ncols=4, loc="lower left")
    figure.savefig(file, dpi=120)


def main() -> None:
    years, Y = series()
    seen = gaps(Y.shape, np.random.default_rng(0))
    mean, deviation, gp = fill(Y, seen)
    off = ((mean - Y) / deviation)[~seen]
    error, plain = np.sqrt(np.mean((mean - Y)[~seen] ** 2)), np.sqrt(np.mean((Y[seen].mean() - Y)[~seen] ** 2))
    print(f"{(~seen).sum()} of {Y.size} quarters removed; log-likelihood {gp.log_marginal_likelihood_value_:.1f}")
    print(f"RMS error {error:.3f} (of the mean of the others: {plain:.3f}); within two standard deviations: {np.mean(np.abs(off) < 2):.0%}")
    if len(sys.argv) > 1:
        draw(years, Y, seen, mean, deviation, sys.argv[1])
        print("picture:", sys.argv[1])


if __name__ == "__main__":
    main()
