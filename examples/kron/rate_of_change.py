"""A rate of change, with error bars, from noisy profiles
======================================================

Rate of change and gradient over depth of temperatures, measured with noise and gaps, as derivatives of a Gaussian process.

::

    python examples/kron/rate_of_change.py [picture.png]

Differences of noisy numbers are mostly noise. The posterior of a Gaussian process has a derivative with a standard deviation, in closed
form. The data come from a known temperature, a warm layer that deepens during a season, so the derivatives can be checked.
"""

from __future__ import annotations

import sys

import numpy as np

import quatrefoil as qf

DAYS, DEPTHS = np.arange(0.0, 120.0, 2.0), np.linspace(0.0, 60.0, 31)
NOISE = 0.2


def temperature(day: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """A layer of 20 degrees, whose lower edge moves from 10 m to 40 m, above water of 8 degrees."""
    edge = 10 + 30 * day / 120
    return 8 + 12 / (1 + np.exp((depth - edge) / 5))


def measured(rng: np.random.Generator) -> np.ndarray:
    """Noisy temperatures (days, depths). A third of them and two whole weeks are missing."""
    table = temperature(DAYS[:, None], DEPTHS) + NOISE * rng.standard_normal((len(DAYS), len(DEPTHS)))
    table[rng.random(table.shape) < 1 / 3] = np.nan
    table[25:32] = np.nan
    return table


def derivatives(table: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(mean, standard deviation) of the rate of change in degrees per day, and of the gradient in degrees per metre."""
    gp = qf.kron.GridGP("matern52").fit([DAYS, DEPTHS], table)
    return [gp.predict([DAYS, DEPTHS], return_std=True, derivative=axis) for axis in (0, 1)]


def exact(axis: int) -> np.ndarray:
    h = 1e-4
    day, depth = DAYS[:, None], DEPTHS
    if axis == 0:
        return (temperature(day + h, depth) - temperature(day - h, depth)) / (2 * h)
    return (temperature(day, depth + h) - temperature(day, depth - h)) / (2 * h)


def draw(table: np.ndarray, estimates: list[tuple[np.ndarray, np.ndarray]], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (rate, spread), middle = estimates[0], len(DEPTHS) // 2
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    image = left.pcolormesh(DAYS, DEPTHS, table.T, shading="nearest")
    left.invert_yaxis()
    left.set(title="measured, with gaps", xlabel="day", ylabel="depth (m)")
    figure.colorbar(image, ax=left, label="degrees C")
    right.fill_between(
        DAYS, (rate - 2 * spread)[:, middle], (rate + 2 * spread)[:, middle], alpha=0.2, lw=0, label="two standard deviations"
    )
    right.plot(DAYS, rate[:, middle], label="rate of change, estimated")
    right.plot(DAYS, exact(0)[:, middle], "k--", lw=1, label="exact")
    right.plot(DAYS[1:-1], ((table[2:] - table[:-2]) / 4)[:, middle], ".", color="tab:red", ms=4, label="finite differences of the data")
    right.set(title=f"at {DEPTHS[middle]:.0f} m", xlabel="day", ylabel="degrees C per day", ylim=(-0.3, 0.6))
    right.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    table = measured(np.random.default_rng(0))
    estimates = derivatives(table)
    for axis, (name, unit) in enumerate((("rate of change", "degrees per day"), ("gradient over depth", "degrees per metre"))):
        (mean, spread), truth = estimates[axis], exact(axis)
        error, within = np.sqrt(np.mean((mean - truth) ** 2)), np.mean(np.abs(mean - truth) < 2 * spread)
        print(f"{name}: largest {np.abs(truth).max():.3f} {unit}, RMS error {error:.4f}, within two standard deviations: {within:.0%}")
    if len(sys.argv) > 1:
        draw(table, estimates, sys.argv[1])
        print("picture:", sys.argv[1])


if __name__ == "__main__":
    main()
