"""A bank of S4D systems applied to the pixels of a photograph, row after row, as one signal; compared with NumPy and SciPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import ssm
from ._row import Progress, Row, median_seconds, seconds

MODES = 32


@dataclass(frozen=True)
class Sizes:
    channels: int
    every: int  # stride through the photograph's pixels, along both axes


FULL, QUICK = Sizes(8, 1), Sizes(4, 2)


def systems(channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dt, A, C of diagonal systems: S4D-Lin poles -1/2 + i pi n, steps from 1e-3 to 1e-1, in single precision."""
    rng = np.random.default_rng(0)
    A = np.broadcast_to(-0.5 + 1j * np.pi * np.arange(MODES), (channels, MODES))
    C = rng.standard_normal((channels, MODES)) + 1j * rng.standard_normal((channels, MODES))
    return np.geomspace(1e-3, 1e-1, channels).astype(np.float32), A.astype(np.complex64), C.astype(np.complex64)


def kernels(dt: np.ndarray, A: np.ndarray, C: np.ndarray, L: int) -> Any:
    """Impulse responses K_l = 2 Re sum_n C_n (z_n - 1) / A_n z_n^l with z_n = exp(dt A_n), in double precision. With l = a + R b they are a
    matrix product of powers, which needs 2 sqrt(L) exponentials per mode instead of L."""
    R = math.isqrt(max(L - 1, 0)) + 1
    x, A, C = dt[:, None].astype(float) * A.astype(complex), A.astype(complex), C.astype(complex)
    weights = C * np.expm1(x) / A
    low, high = np.exp(x[..., None] * np.arange(R)), np.exp(x[..., None] * (R * np.arange(R)))
    return (2 * ((weights[..., None] * high).mT @ low).real).reshape(len(dt), -1)[:, :L]


def by_scipy(u: np.ndarray, k: np.ndarray) -> Any:
    """A causal convolution in the precision of u and k."""
    from scipy import fft

    L = u.shape[-1]
    return fft.irfft(fft.rfft(u, 2 * L) * fft.rfft(k, 2 * L), 2 * L)[..., :L]


def run(folder: Path, progress: Progress, quick: bool = False) -> list[Row]:
    import pywt.data

    sizes = QUICK if quick else FULL
    photograph = pywt.data.camera()[:: sizes.every, :: sizes.every].astype(np.float32) / 255
    H, L = sizes.channels, photograph.size
    signal = np.ascontiguousarray(np.broadcast_to(photograph.reshape(-1) - photograph.mean(), (H, L)))
    dt, A, C = systems(H)
    progress(f"ssm: {H} S4D systems of {MODES} modes along {L} pixels")
    ours = median_seconds(lambda: ssm.s4d_conv(signal, dt, A, C))
    y = ssm.s4d_conv(signal, dt, A, C)
    progress("ssm: the same with NumPy and SciPy")
    kernel_time, K = seconds(lambda: kernels(dt, A, C, L))
    single = K.astype(np.float32)
    theirs = kernel_time + median_seconds(lambda: by_scipy(signal, single), 1)
    truth = by_scipy(signal.astype(float), K)
    _picture(photograph, y, folder / "ssm.png")
    row = Row(
        "ssm",
        "S4D, a long signal",
        f"{H} channels x {L} pixels, {MODES} modes each, from the parameters",
        ours,
        "NumPy, SciPy",
        theirs,
        float(np.abs(y - truth).max() / np.abs(truth).max()),
        "the largest difference from double precision, relative to the largest value",
        None,
        "none, because the method is exact",
        f"The peer spends {kernel_time / theirs:.0%} of its time on the kernels, a product of matrices of powers.",
    )
    return [row]


def _picture(photograph: np.ndarray, y: np.ndarray, file: Path) -> None:
    from matplotlib.figure import Figure

    H = len(y)
    figure = Figure(figsize=(14, 3.9), layout="constrained")
    axes = figure.subplots(1, 4)
    axes[0].imshow(photograph, cmap="gray")
    axes[0].set_title("the signal, row after row")
    for ax, channel in zip(axes[1:], (0, H // 2, H - 1)):
        image = y[channel].reshape(photograph.shape)
        limit = np.percentile(np.abs(image), 99)
        ax.imshow(image, cmap="RdBu", vmin=-limit, vmax=limit)
        ax.set_title(f"channel {channel + 1} of {H}")
    for ax in axes:
        ax.set_axis_off()
    figure.savefig(file, dpi=130)
