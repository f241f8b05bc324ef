"""Restoring a photograph with missing pixels
==========================================

A photograph with missing pixels, restored by a Gaussian process with fitted hyperparameters, and the standard deviation of every pixel.

::

    python examples/kron/restore_photograph.py [SIZE] [picture.png]

30 % of the pixels are lost. The kernel, a Matern function per axis, is fitted to a part of the picture. One solve on the missing pixels
then restores the whole picture. The standard deviation comes from samples of the posterior, with one solve each. The photograph is from
PyWavelets. Matplotlib is needed only for the picture.
"""

from __future__ import annotations

import sys
import time

import numpy as np

try:
    import pywt.data
except ImportError as error:
    raise ImportError("this needs PyWavelets: pip install 'quatrefoil[demo]'") from error

import quatrefoil as qf

LOST, PART, SAMPLES = 0.3, 48, 24


def restore(truth: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, qf.kron.GridGP]:
    """(restored picture, standard deviation, fitted model), for a picture whose pixels ``seen`` are known."""
    n, m = truth.shape
    pixels = [np.arange(float(n)), np.arange(float(m))]
    part = tuple(slice(k // 2 - PART // 2, k // 2 + PART // 2) for k in (n, m))
    fitted = qf.kron.GridGP().fit([p[:PART] for p in pixels], truth[part], mask=seen[part])
    learnt = {"noise": fitted.noise_, "variance": fitted.variance_}
    whole = qf.kron.GridGP(fitted.kernels_, **learnt, optimizer=None, tol=1e-6)
    whole.fit(pixels, truth, mask=seen)
    image, deviation = whole.predict(pixels, return_std="samples", samples=SAMPLES, rng=0)
    return image, deviation, fitted


def draw(truth: np.ndarray, seen: np.ndarray, image: np.ndarray, deviation: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(16, 4.3), layout="constrained")
    pictures = [(np.where(seen, truth, 0), "observed"), (image, "restored"), (deviation, "standard deviation"), (truth, "truth")]
    for ax, (picture, title) in zip(axes, pictures):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=None if title.startswith("standard") else 1)
        ax.set_title(title)
        ax.set_axis_off()
    figure.savefig(file, dpi=120)


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    begin = (512 - size) // 2
    truth = pywt.data.camera()[begin : begin + size, begin : begin + size] / 255.0
    seen = np.random.default_rng(0).random(truth.shape) >= LOST
    start = time.perf_counter()
    image, deviation, gp = restore(truth, seen)
    took = time.perf_counter() - start
    lost = (image - truth)[~seen]
    scales = ", ".join(f"{float(k.keywords['scale']):.2f}" for k in gp.kernels_)
    print(f"{size} x {size} pixels, {LOST:.0%} lost, in {took:.1f} s: scales {scales} pixels, noise {gp.noise_**0.5:.3f}")
    print(f"error at the lost pixels: RMS {np.sqrt(np.mean(lost**2)):.4f}, expected {np.sqrt(np.mean(deviation[~seen] ** 2)):.4f}")
    if len(sys.argv) > 2:
        draw(truth, seen, image, deviation, sys.argv[2])
        print("picture:", sys.argv[2])


if __name__ == "__main__":
    main()
