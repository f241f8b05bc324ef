"""A photograph of which seven pixels in ten are lost, restored by a Gaussian process on its 512 x 512 grid."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import kron
from ._row import Progress, Row

LOST = 0.7
SCALE = 6.0  # of the kernel, in pixels
NOISE = 0.01  # variance, of the signal's
STOP = 1e-6  # of the residual's norm
RUNS, ENOUGH = 3, 6.0  # runs, or seconds after which no further one is begun

Product = Callable[[np.ndarray], np.ndarray]


def matern52(n: int, scale: float) -> np.ndarray:
    """k(i, j) = (1 + s + s^2 / 3) e^-s, s = sqrt(5) |i - j| / scale."""
    i = np.arange(n)
    s = np.sqrt(5) * np.abs(i[:, None] - i) / scale
    return np.asarray((1 + s + s * s / 3) * np.exp(-s))


def weights(y: np.ndarray, seen: np.ndarray, spectrum: np.ndarray, Q: Product, Q_transposed: Product) -> tuple[np.ndarray, int]:
    """C_oo^-1 y on the pixels seen, 0 elsewhere, and the iterations it took; C = Q diag(spectrum) Q^T on the grid.

    By conjugate gradients on the pixels lost: with P = C^-1, w = P y and P_uu b = w_u, the weights are w - P b.
    For a smooth kernel P is nearly a multiple of the identity: a tenth of the iterations that C_oo itself would take.
    """

    def P(v: np.ndarray) -> np.ndarray:
        return Q(Q_transposed(v) / spectrum)

    w = P(y)
    r = np.where(seen, 0.0, w)
    b, p, rr = np.zeros_like(r), r.copy(), _dot(r, r)
    stop, count = STOP**2 * rr, 0
    while rr > stop:
        q = np.where(seen, 0.0, P(p))
        step = rr / _dot(p, q)
        b += step * p
        r -= step * q
        previous, rr = rr, _dot(r, r)
        p *= rr / previous
        p += r
        count += 1
    return w - P(b), count


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Not by BLAS: its threads would go on spinning, for either side, on the cores that the next product needs."""
    return float(np.einsum("i,i->", a, b))


def timed(f: Callable[[], tuple[np.ndarray, int]]) -> tuple[float, tuple[np.ndarray, int]]:
    times: list[float] = []
    while True:
        start = time.perf_counter()
        result = f()
        times.append(time.perf_counter() - start)
        if len(times) == RUNS or sum(times) > ENOUGH:
            return statistics.median(times), result


def run(folder: Path, progress: Progress) -> list[Row]:
    import pywt.data

    truth = pywt.data.camera().astype(np.float64) / 255
    n = len(truth)
    seen = np.random.default_rng(0).random(truth.size) >= LOST
    mean, spread = truth.reshape(-1)[seen].mean(), truth.reshape(-1)[seen].std()
    y = np.where(seen, (truth.reshape(-1) - mean) / spread, 0.0)

    progress("kron: the kernel's eigenvectors")
    K = kron.KroneckerOperator([matern52(n, SCALE)] * 2)
    lam, Q = K.eigh()
    spectrum = np.maximum(lam, 0.0) + NOISE
    left, right = Q.factors

    def packed() -> tuple[np.ndarray, int]:
        operator = kron.KroneckerOperator(Q.factors)
        return weights(y, seen, spectrum, operator.matvec, operator.T.matvec)

    def by_numpy() -> tuple[np.ndarray, int]:
        return weights(
            y, seen, spectrum,
            lambda v: (left @ (v.reshape(n, n) @ right.T)).reshape(-1),
            lambda v: (left.T @ (v.reshape(n, n) @ right)).reshape(-1),
        )  # fmt: skip

    progress("kron: conjugate gradients on the lost pixels")
    ours, (alpha, count) = timed(packed)
    progress(f"kron: {count} iterations; the same by np.matmul")
    theirs, _ = timed(by_numpy)
    restored = (K @ alpha) * spread + mean
    lost = truth.reshape(-1)[~seen]
    error = float(np.linalg.norm(restored[~seen] - lost) / np.linalg.norm(lost))
    _picture(truth, seen.reshape(n, n), restored.reshape(n, n), folder / "kron.png")
    problem, size = f"Gaussian process, {LOST:.0%} of a photograph lost", f"{n} x {n} pixels"
    return [Row("kron", problem, size, ours, "np.matmul", theirs, error, "the lost pixels (RMS)")]


def _picture(truth: np.ndarray, seen: np.ndarray, restored: np.ndarray, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    given = np.where(seen, truth, 0.0)
    for ax, image, title in zip(axes, (given, restored, truth), (f"given: {1 - LOST:.0%} of the pixels", "restored", "truth")):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title)
        ax.set_axis_off()
    figure.savefig(file, dpi=130)
    plt.close(figure)
