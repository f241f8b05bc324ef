"""An S4D-type bank of convolutions along the 262,144 pixels of a photograph, row after row, as one signal."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import ssm
from ._row import Progress, Row, median_seconds

CHANNELS, MODES = 16, 32


def s4d_lin_kernels(L: int) -> np.ndarray:
    """Impulse responses K_l = 2 Re sum_n C_n B_n z_n^l of CHANNELS diagonal systems: S4D-Lin poles -1/2 + i pi n, steps 1e-3 to 1e-1."""
    rng = np.random.default_rng(0)
    A = -0.5 + 1j * np.pi * np.arange(MODES)
    dt = np.geomspace(1e-3, 1e-1, CHANNELS)
    C = rng.standard_normal((CHANNELS, MODES)) + 1j * rng.standard_normal((CHANNELS, MODES))
    K = np.empty((CHANNELS, L))
    steps = np.arange(L)
    for h in range(CHANNELS):
        x = dt[h] * A
        weights = C[h] * np.expm1(x) / A
        K[h] = 2 * sum((w * np.exp(xn * steps)).real for w, xn in zip(weights, x))
    return K.astype(np.float32)


def run(folder: Path, progress: Progress) -> list[Row]:
    import pywt.data
    from scipy import fft

    photograph = pywt.data.camera().astype(np.float32) / 255
    signal = np.ascontiguousarray(np.broadcast_to(photograph.reshape(-1) - photograph.mean(), (CHANNELS, photograph.size)))
    L = photograph.size
    progress(f"ssm: {CHANNELS} S4D-Lin kernels of {L} taps")
    kernels = s4d_lin_kernels(L)

    def by_scipy(u: np.ndarray = signal, k: np.ndarray = kernels) -> np.ndarray:
        result: np.ndarray = fft.irfft(fft.rfft(u, 2 * L) * fft.rfft(k, 2 * L), 2 * L)[..., :L]
        return result

    progress("ssm: convolving")
    ours = median_seconds(lambda: ssm.fft_conv(signal, kernels))
    progress("ssm: the same by scipy.fft")
    theirs = median_seconds(by_scipy, 3)
    y = ssm.fft_conv(signal, kernels)
    truth = by_scipy(signal.astype(float), kernels.astype(float))
    _picture(photograph, y, folder / "ssm.png")
    size = f"{CHANNELS} x {L} pixels"
    return [
        Row(
            "ssm",
            "S4D convolution along a photograph",
            size,
            ours,
            "scipy rfft",
            theirs,
            float(np.abs(y - truth).max() / np.abs(truth).max()),
            "float64 FFT",
        )
    ]


def _picture(photograph: np.ndarray, y: np.ndarray, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(14, 3.9), layout="constrained")
    axes[0].imshow(photograph, cmap="gray")
    axes[0].set_title("the signal, row after row")
    for ax, channel in zip(axes[1:], (0, CHANNELS // 2, CHANNELS - 1)):
        image = y[channel].reshape(photograph.shape)
        limit = np.percentile(np.abs(image), 99)
        ax.imshow(image, cmap="RdBu", vmin=-limit, vmax=limit)
        ax.set_title(f"channel {channel} of {CHANNELS}")
    for ax in axes:
        ax.set_axis_off()
    figure.savefig(file, dpi=130)
    plt.close(figure)
