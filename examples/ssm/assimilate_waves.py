"""Assimilating chaotic waves with an ensemble
============================================

An ensemble of Kuramoto-Sivashinsky solutions, whose stiff part is integrated exactly, tracks sixteen noisy gauges.

::

    python examples/ssm/assimilate_waves.py [NOISE] [PICTURE]

Waves u' = -u_xx - u_xxxx - u u_x on a ring are chaotic: a difference of one percent between two states grows to the size of the waves
within a few periods. In Fourier modes the linear part is diagonal, with rates q^2 - q^4 down to -7000. ``exponential_integrator``
integrates it exactly, and advances all members of an ensemble together. Every EVERY steps, gauges report u with an error of NOISE, and an
ensemble Kalman filter with perturbed observations (Burgers, van Leeuwen and Evensen 1998) updates the members. An ensemble without gauges
is run for comparison.
"""

from __future__ import annotations

import sys

import numpy as np

import quatrefoil as qf

LENGTH, POINTS, STEP = 22.0, 64, 0.05
MEMBERS, GAUGES, EVERY, CYCLES = 32, 16, 20, 150
INFLATION = 1.05  # inflates the spread before each update, because an ensemble of this size underestimates it
WAVES = 2 * np.pi / LENGTH * np.arange(POINTS // 2 + 1)
RATES = (WAVES**2 - WAVES**4).astype(complex)
RESOLVED = np.arange(WAVES.size) < WAVES.size * 2 / 3


def advection(modes: np.ndarray) -> np.ndarray:
    """Fourier modes of -u u_x; the upper third is set to 0 to avoid aliasing."""
    product = np.fft.rfft(np.fft.irfft(modes, POINTS, axis=-1) ** 2, axis=-1)
    return np.where(RESOLVED, -0.5j * WAVES * product, 0)


def run(u: np.ndarray, steps: int) -> np.ndarray:
    """Advance u (..., POINTS) by a number of steps."""
    modes = np.fft.rfft(u, axis=-1)
    return np.fft.irfft(qf.ssm.exponential_integrator(RATES, advection, modes, STEP, steps, window=4, rtol=1e-6)[-1], POINTS, axis=-1)


def update(members: np.ndarray, measured: np.ndarray, at: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Update the ensemble (MEMBERS, POINTS) with the gauges at the indices ``at``; the covariances come from the ensemble."""
    mean = members.mean(axis=0)
    members = mean + INFLATION * (members - mean)
    spread = (members - mean) / np.sqrt(len(members) - 1)
    spread_at_gauges = spread[:, at]
    innovation = measured + noise * rng.standard_normal((len(members), at.size)) - members[:, at]
    weights = np.linalg.solve(spread_at_gauges.T @ spread_at_gauges + noise**2 * np.eye(at.size), innovation.T)
    return members + (spread.T @ (spread_at_gauges @ weights)).T


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def main(noise: float = 0.3, file: str | None = None) -> None:
    rng = np.random.default_rng(0)
    truth = run(0.1 * rng.standard_normal(POINTS), 4000)
    members = truth + rng.standard_normal((MEMBERS, POINTS))
    free, at = members, np.arange(0, POINTS, POINTS // GAUGES)
    history = []
    for _ in range(CYCLES):
        truth, members, free = np.split(run(np.concatenate([truth[None], members, free]), EVERY), [1, 1 + MEMBERS])
        truth = truth[0]
        members = update(members, truth[at] + noise * rng.standard_normal(GAUGES), at, noise, rng)
        history.append((truth, members.mean(axis=0), free.mean(axis=0), members.std(axis=0, ddof=1)))
    waves, analysis, forecast, spread = (np.stack(x)[CYCLES // 3 :] for x in zip(*history))
    print(f"{CYCLES} cycles of {EVERY} steps, {MEMBERS} members, {GAUGES} gauges with errors of {noise}; RMS of the waves {rms(waves):.2f}")
    errors = rms(analysis - waves), rms(spread), rms(forecast - waves)
    print("RMS error of the ensemble mean {:.3f} (ensemble spread {:.3f}); without gauges {:.3f}".format(*errors))
    if file:
        draw({"truth": waves, "mean of the ensemble": analysis, "mean of an ensemble without gauges": forecast}, file)
        print("picture:", file)


def draw(pictures: dict[str, np.ndarray], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(pictures), 1, figsize=(9, 5), layout="constrained", sharex=True)
    for ax, (title, u) in zip(axes, pictures.items()):
        ax.imshow(u.T, cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto", extent=(0, len(u) * EVERY * STEP, 0, LENGTH))
        ax.set(title=title, ylabel="position")
    axes[-1].set_xlabel("time")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.3, sys.argv[2] if len(sys.argv) > 2 else None)
