"""Filling the gaps that clouds leave in daily maps, with xarray
==============================================================

Clouds hide a third of six daily maps of sea surface temperature. The input is an xarray ``DataArray`` with dates and NaN. The result is
a ``Dataset`` of mean and standard deviation, on the same grid or on other coordinates.

::

    python examples/kron/clouds.py [picture.png]

The usual alternative interpolates along time. A Gaussian process uses neighbours in space and time, weighted by correlation lengths that it
learns from the maps. The temperatures are synthetic, so that the errors under the clouds can be measured.
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

import quatrefoil as qf

NOISE, CLOUDS = 0.2, 0.35
COORDS = {
    "day": np.datetime64("2026-06-01") + np.arange(6) * np.timedelta64(1, "D"),
    "lat": np.linspace(40.0, 44.0, 18),
    "lon": np.linspace(4.0, 9.0, 22),
}


def temperature() -> xr.DataArray:
    """A gradient to the north, and eddies that drift east."""
    day, lat, lon = np.meshgrid(np.arange(6.0), COORDS["lat"], COORDS["lon"], indexing="ij")
    centres = (41, 5, 2), (42.6, 6.2, -2.5), (41.3, 7, 1.5)
    eddies = sum(s * np.exp(-((lat - a) ** 2 + (lon - b - 0.25 * day) ** 2) / 0.6) for a, b, s in centres)
    return xr.DataArray(20 - 0.8 * (lat - 42) + 0.1 * day + eddies, coords=COORDS, name="temperature")


def measured(rng: np.random.Generator) -> xr.DataArray:
    """Maps with noise, and NaN under clouds that last a day or two."""
    axes = [(x - x[0]) / np.timedelta64(1, "D") if name == "day" else x for name, x in COORDS.items()]
    covers = [qf.kron.matern52(x, scale=s) for x, s in zip(axes, (1.0, 0.9, 0.9))]
    cover = qf.kron.gp_sample(covers, rng=rng)[0].reshape(6, 18, 22)
    noisy = temperature() + NOISE * rng.standard_normal(cover.shape)
    return noisy.where(cover < np.quantile(cover, 1 - CLOUDS))


def along_time(maps: xr.DataArray) -> xr.DataArray:
    """Linear interpolation in time; the nearest day at the ends, and the average if no day is clear."""
    return maps.interpolate_na("day").interpolate_na("day", method="nearest", fill_value="extrapolate").fillna(maps.mean())


def draw(maps: xr.DataArray, filled: xr.Dataset, finer: xr.Dataset, day: int, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truth = temperature()[day]
    colours = {"vmin": float(truth.min()), "vmax": float(truth.max()), "cmap": "RdYlBu_r", "add_labels": False}
    figure, axes = plt.subplots(1, 4, figsize=(17, 3.6), layout="constrained", sharey=True)
    maps[day].plot(ax=axes[0], **colours)
    finer["mean"].plot(ax=axes[1], **colours)
    truth.plot(ax=axes[2], **colours)
    filled["std"][day].plot(ax=axes[3], cmap="magma", vmin=0, add_labels=False)
    for ax, title in zip(axes, ("measured", "filled, on a finer grid", "truth", "standard deviation")):
        ax.set(title=f"{title}, degrees", xlabel="longitude")
    axes[0].set(ylabel="latitude")
    figure.savefig(file, dpi=120)


def main(file: str | None = None) -> None:
    maps, truth, day = measured(np.random.default_rng(1)), temperature(), 3
    gp = qf.kron.GridGP().fit(maps)
    filled = gp.predict(coords={}, return_std=True)  # a Dataset on the coordinates of the maps
    fine = {name: np.linspace(x[0], x[-1], 4 * len(x)) for name, x in COORDS.items() if name != "day"}
    finer = gp.predict(coords={"day": COORDS["day"][day], **fine}).squeeze("day")
    hidden = maps.isnull()

    def error(field: xr.DataArray) -> float:
        return float(((field - truth) ** 2).where(hidden).mean() ** 0.5)

    within = float((abs(filled["mean"] - truth) < 2 * filled["std"]).where(hidden).mean())
    days, *degrees = (float(k.keywords["scale"]) for k in gp.kernels_)
    print(f"length scales {days:.1f} days, {degrees[0]:.2f} and {degrees[1]:.2f} degrees; noise {gp.noise_**0.5:.2f}, true {NOISE:.2f}")
    print(f"RMS error under clouds: {error(filled['mean']):.3f} degrees, {error(along_time(maps)):.3f} by interpolation along time")
    print(f"within two standard deviations: {within:.0%}")
    if file:
        draw(maps, filled, finer, day, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*sys.argv[1:2])
