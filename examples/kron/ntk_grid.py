"""Filling every second pixel with a neural tangent kernel
=======================================================

What infinitely wide networks make of a photograph of which they see every second pixel, without a network and without training.

::

    python examples/kron/ntk_grid.py [SIZE] [PICTURE]

Trained to the end by gradient flow, an infinitely wide network is regression with its neural tangent kernel (Jacot, Gabriel and Hongler,
NeurIPS 2018). The kernel of a network of both coordinates is no Kronecker product. That of a network that multiplies two networks of one
coordinate each and adds up many of these products is a sum of two, by the product rule, ::

    Θ = Θ₁ ⊗ Σ₂ + Σ₁ ⊗ Θ₂

with the tangent kernels Θ of the networks of an axis and the covariances Σ of their outputs at the start. So the whole solve is one
``sum_solve``: two generalised eigendecompositions, of as many rows as the grid has lines, where the matrix has the square of it. The
coordinates enter plainly or as Fourier features of random frequencies (Tancik et al., NeurIPS 2020), whose covariance, of infinitely many
of them, is ``rbf``. Features make training fast; at its end, which this is, plain coordinates do as well, and frequencies beyond what the
pixels can tell do harm. Judged at the pixels that nobody has seen, beside splines: do not expect much more than those. Needs PyWavelets
and, for the picture, matplotlib (pip install 'quatrefoil[demo]').
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.interpolate import RectBivariateSpline

try:
    import pywt.data
except ImportError as error:
    raise ImportError("this needs PyWavelets: pip install 'quatrefoil[demo]'") from error

import quatrefoil as qf

Covariance = Callable[[np.ndarray, np.ndarray], np.ndarray]
DEPTH = 2  # hidden layers of ReLU
DEVIATIONS = (4.0, 8.0, 16.0, 32.0)  # of the frequencies, in periods a picture


def layers(start: np.ndarray, depth: int = DEPTH) -> tuple[np.ndarray, np.ndarray]:
    """(Θ, Σ) of a ReLU network from the covariance of its inputs, whose variances are 1 and stay 1: arc-cosine kernels of order 1 and 0."""
    cov, tangent = start, start
    for _ in range(depth):
        c = np.clip(cov, -1.0, 1.0)
        angle = np.arccos(c)
        cov, slope = (np.sqrt(1 - c * c) + (np.pi - angle) * c) / np.pi, (np.pi - angle) / np.pi
        tangent = cov + tangent * slope
    return tangent, cov


def plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Inputs (cos, sin) of a coordinate in [0, 1], which go round half a circle."""
    return np.cos(np.pi * (x[:, None] - y))


def fourier(deviation: float) -> Covariance:
    """Features of frequencies with that deviation."""
    return lambda x, y: qf.kron.rbf(x, y, scale=1 / (2 * np.pi * deviation))


def regress(inputs: Covariance, axes: list[np.ndarray], seen: np.ndarray, wanted: list[np.ndarray]) -> np.ndarray:
    """What the trained network says on the grid ``wanted``: its values on ``axes`` are ``seen``."""
    (T1, S1), (T2, S2) = (layers(inputs(x, x)) for x in axes)
    weights = qf.kron.sum_solve(T1, S2, S1, T2, seen - seen.mean())
    (t1, s1), (t2, s2) = (layers(inputs(z, x)) for z, x in zip(wanted, axes))
    said = qf.kron.matvec([t1, s2], weights.ravel()) + qf.kron.matvec([s1, t2], weights.ravel())
    return seen.mean() + said.reshape(len(wanted[0]), len(wanted[1]))


def draw(pictures: dict[str, np.ndarray], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(pictures), figsize=(4 * len(pictures), 4.3), layout="constrained")
    for ax, (title, image) in zip(axes, pictures.items()):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title)
        ax.set_axis_off()
    figure.savefig(file, dpi=120)


def main(size: int = 256, file: str | None = None) -> None:
    begin = (512 - size) // 2
    truth = pywt.data.camera()[begin : begin + size - 1, begin : begin + size - 1] / 255.0  # from a seen line to a seen line
    x = np.arange(size - 1) / size
    seen = truth[::2, ::2]
    unseen = np.ones(truth.shape, bool)
    unseen[::2, ::2] = False

    def psnr(image: np.ndarray) -> float:
        return float(-10 * np.log10(np.mean((image - truth)[unseen] ** 2)))

    print(f"{seen.shape[0]} x {seen.shape[1]} of {truth.shape[0]} x {truth.shape[1]} pixels are seen; peak signal-to-noise at the others:")
    images = {"truth": truth}
    for name, degree in (("linear splines", 1), ("cubic splines", 3)):
        images[name] = RectBivariateSpline(x[::2], x[::2], seen, kx=degree, ky=degree)(x, x)
        print(f"{name:30}: {psnr(images[name]):.2f} dB")
    kinds = {"plain coordinates": plain} | {f"frequencies of up to about {d:.0f}": fourier(d) for d in DEVIATIONS}
    for name, inputs in kinds.items():
        start = time.perf_counter()
        images[name] = regress(inputs, [x[::2]] * 2, seen, [x, x])
        print(f"{name:30}: {psnr(images[name]):.2f} dB in {time.perf_counter() - start:.2f} s")
    if file:
        best = max(list(kinds)[1:], key=lambda name: psnr(images[name]))
        draw({name: images[name] for name in ("truth", "cubic splines", "plain coordinates", best)}, file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 256, sys.argv[2] if len(sys.argv) > 2 else None)
