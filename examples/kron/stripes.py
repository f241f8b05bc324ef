"""Removing the stripes of a scanner
==================================

A scanner observes the sea with 36 detectors, each of which drifts. The drift causes stripes along the track that are as strong as the
eddies; a Gaussian process with structured noise separates them.

::

    python examples/kron/stripes.py [picture.png]

Noise is usually assumed to be independent, but the errors of a detector are similar from line to line. With that assumption they count as
signal: the smoothed image has stripes, and its error bars are too narrow. ``noise_kernels`` gives the noise its own covariance, correlated
along the track and independent between detectors, whose size and length are learnt, too. The data come from a known temperature, so the
errors can be measured.
"""

from __future__ import annotations

import sys

import numpy as np

import quatrefoil as qf

LINES, DETECTORS = 2.5 * np.arange(60), 2.5 * np.arange(36)  # km along and across the track
DRIFT, CLOUDS = 0.6, 0.25  # degrees; share of the cells
AXES = [LINES, DETECTORS]


def temperature() -> np.ndarray:
    """A front across the track and eddies along it."""
    x, y = LINES[:, None], DETECTORS
    front = np.tanh((y - 45 - 12 * np.sin(x / 30)) / 10)
    eddies = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 150) * s for a, b, s in ((30, 20, 1), (80, 70, -1), (125, 30, 1.2)))
    return 15 + 1.5 * front + eddies


def measured(rng: np.random.Generator) -> np.ndarray:
    """The image (lines, detectors) with the drift of the detectors; clouds hide a quarter."""
    drift = qf.kron.gp_sample([qf.kron.matern12(LINES, scale=60.0), np.eye(len(DETECTORS))], rng=rng)[0]
    covers = [qf.kron.matern52(x, scale=15.0) for x in AXES]
    clouds = qf.kron.gp_sample(covers, rng=rng)[0].reshape(len(LINES), -1)
    image = temperature() + DRIFT * drift.reshape(clouds.shape)
    return np.where(clouds > np.quantile(clouds, 1 - CLOUDS), np.nan, image)


def smoothed(image: np.ndarray, **options: object) -> tuple[np.ndarray, np.ndarray, qf.kron.GridGP]:
    """(mean, standard deviation, the model)."""
    gp = qf.kron.GridGP("matern52", **options).fit(AXES, image)
    return *gp.predict(return_std=True), gp


def draw(image: np.ndarray, plain: np.ndarray, clean: np.ndarray, deviation: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truth = temperature()
    pictures = [(image, "measured"), (plain, "independent noise"), (clean, "structured noise"), (truth, "truth")]
    figure, axes = plt.subplots(1, 5, figsize=(16, 5), layout="constrained", sharey=True)
    for ax, (picture, title) in zip(axes, pictures):
        shown = ax.pcolormesh(DETECTORS, LINES, picture, vmin=truth.min() - 0.5, vmax=truth.max() + 0.5)
        ax.set(title=title, xlabel="across, km")
    figure.colorbar(shown, ax=axes[:4], label="degrees")
    figure.colorbar(axes[4].pcolormesh(DETECTORS, LINES, deviation, cmap="magma"), ax=axes[4], label="degrees")
    axes[4].set(title="standard deviation", xlabel="across, km")
    axes[0].set(ylabel="along the track, km")
    figure.savefig(file, dpi=120)


def main(file: str | None = None) -> None:
    image, truth = measured(np.random.default_rng(0)), temperature()
    plain, narrow, _ = smoothed(image)
    clean, deviation, gp = smoothed(image, noise_kernels=["matern12", "white"])
    for name, mean, std in (("independent", plain, narrow), ("structured", clean, deviation)):
        error = mean - truth
        within = np.mean(np.abs(error) < 2 * std)
        print(f"{name} noise: RMS error {np.sqrt(np.mean(error**2)):.3f} degrees, within two standard deviations: {within:.0%}")
    scale = float(gp.noise_kernels_[0].keywords["scale"])
    print(f"learnt drift: {gp.noise_**0.5:.2f} degrees over {scale:.0f} km; true: {DRIFT:.2f} over 60 km")
    if file:
        draw(image, plain, clean, deviation, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*sys.argv[1:2])
