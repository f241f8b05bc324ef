"""A photograph with three tenths of its pixels lost, restored by a Gaussian process whose kernel is fitted to a part of it; against the
same solve as one writes it with SciPy."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import kron
from ._row import Progress, Row

LOST = 0.3
PART = 48  # pixels square, on which the kernel is fitted
SCALE, NOISE = 6.0, 0.01  # where the fit begins: pixels, and a variance, of the signal's
STOP = 1e-6  # residual, of the observations' norm
RUNS = 3


def by_scipy(factors: list[np.ndarray], y: np.ndarray, noise: float, seen: np.ndarray) -> tuple[np.ndarray, int]:
    """C_oo^-1 y on the pixels seen by conjugate gradients on C_oo, and the iterations it took."""
    from scipy.sparse.linalg import LinearOperator, cg

    left, right = factors
    count = 0

    def covariance(v: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        v = np.where(seen, v, 0.0)
        product = left @ (v.reshape(len(left), len(right)) @ right)
        return np.where(seen, product.reshape(-1) + noise * v, v)

    alpha, _ = cg(LinearOperator((y.size, y.size), matvec=covariance, dtype=np.float64), y, rtol=STOP)
    return alpha, count


def timed(f: Callable[[], Any], runs: int = RUNS) -> tuple[float, Any]:
    times: list[float] = []
    while True:
        start = time.perf_counter()
        result = f()
        times.append(time.perf_counter() - start)
        if len(times) == runs:
            return statistics.median(times), result


def run(folder: Path, progress: Progress) -> list[Row]:
    import pywt.data

    truth = pywt.data.camera().astype(np.float64) / 255
    n = len(truth)
    seen = np.random.default_rng(0).random((n, n)) >= LOST
    mean, spread = truth[seen].mean(), truth[seen].std()
    y = np.where(seen, (truth - mean) / spread, 0.0).reshape(-1)
    pixels, flat = np.arange(float(n)), seen.reshape(-1)

    def restored(factors: list[np.ndarray], alpha: np.ndarray) -> tuple[np.ndarray, float]:
        image = kron.matvec(factors, alpha).reshape(n, n) * spread + mean
        return image, float(np.sqrt(np.mean((image - truth)[~seen] ** 2)))

    progress(f"kron: fitting the kernel to {PART} x {PART} pixels")
    part = (slice(n // 2 - PART // 2, n // 2 + PART // 2),) * 2
    gp = kron.GridGP([functools.partial(kron.matern52, scale=SCALE)] * 2, noise=NOISE, normalize_y=True)
    gp.fit([pixels[:PART]] * 2, truth[part], mask=seen[part])
    noise = float(gp.noise_)
    factors = [k(pixels) for k in gp.kernels_]
    factors[0] *= gp.variance_

    progress("kron: the missing pixels")
    ours, alpha = timed(lambda: kron.gp_solve(factors, y, noise, mask=flat, tol=STOP))
    progress("kron: the same by SciPy's conjugate gradients")
    theirs, (other, count) = timed(lambda: by_scipy(factors, y, noise, flat), runs=1)
    image, error = restored(factors, alpha)
    _, their_error = restored(factors, other)
    if abs(error - their_error) > 1e-4:
        raise AssertionError(f"the two sides restore differently: RMS {error} and {their_error}")
    fixed = [kron.matern52(pixels, scale=SCALE)] * 2
    _, fixed_error = restored(fixed, kron.gp_solve(fixed, y, NOISE, mask=flat, tol=STOP))
    progress(f"kron: {count} iterations of theirs; error {error:.4f}, with the kernel that was not fitted {fixed_error:.4f}")
    _picture(truth, seen, image, folder / "kron.png")
    problem, size = f"Gaussian process, {LOST:.0%} of a photograph lost", f"{n} x {n} pixels"
    return [Row("kron", problem, size, ours, "scipy cg, np.matmul", theirs, error, "the lost pixels (RMS)")]


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
