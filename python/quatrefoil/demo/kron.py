"""A photograph that lost 30 % of its pixels, restored by a Gaussian process whose kernel is fitted to a part of it, and compared with the
same solve in SciPy."""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import kron
from ._row import Progress, Row, seconds
from ._table import time_of

LOST = 0.3
PART = 48  # pixels along each side of the part that is fitted
SCALE = 6.0  # pixels: the initial length scale
STOP, EXACT = 1e-6, 1e-11  # residuals of the solve and of the reference, relative to the norm of the observations


@dataclass(frozen=True)
class Sizes:
    every: int  # stride through the photograph's pixels, along both axes
    runs: int


FULL, QUICK = Sizes(1, 3), Sizes(2, 1)


def by_scipy(factors: list[np.ndarray], y: np.ndarray, noise: float, seen: np.ndarray) -> tuple[np.ndarray, int]:
    """Compute C_oo^-1 y by conjugate gradients, where C_oo is the covariance of the observed pixels with noise; return it and the number
    of iterations."""
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


def residual(factors: list[np.ndarray], alpha: np.ndarray, y: np.ndarray, noise: float, seen: np.ndarray) -> float:
    """The residual of C_oo alpha = y, computed by NumPy, relative to the norm of y."""
    product = (factors[0] @ alpha.reshape(len(factors[0]), -1) @ factors[1]).reshape(-1) + noise * alpha
    return float(np.linalg.norm(np.where(seen, product - y, 0.0)) / np.linalg.norm(y))


def run(folder: Path, progress: Progress, quick: bool = False) -> list[Row]:
    import pywt.data

    sizes = QUICK if quick else FULL
    truth = pywt.data.camera()[:: sizes.every, :: sizes.every].astype(np.float64) / 255
    n = len(truth)
    seen = np.random.default_rng(0).random((n, n)) >= LOST
    mean = truth[seen].mean()
    y = np.where(seen, truth - mean, 0.0).reshape(-1)
    pixels, flat = np.arange(float(n)), seen.reshape(-1)

    def image_of(factors: list[np.ndarray], alpha: np.ndarray) -> Any:
        return kron.matvec(factors, alpha).reshape(n, n) + mean

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image - truth)[~seen] ** 2)))

    size = min(PART, n)
    progress(f"kron: fitting the kernel of a Gaussian process to {size} x {size} pixels")
    part = (slice(n // 2 - size // 2, n // 2 - size // 2 + size),) * 2
    gp = kron.GridGP(functools.partial(kron.matern52, scale=SCALE))
    fit, _ = seconds(lambda: gp.fit([pixels[:size]] * 2, truth[part], mask=seen[part]))
    noise = float(gp.noise_)

    def covariances() -> list[np.ndarray]:
        first, second = (k(pixels) for k in gp.kernels_)
        return [first * gp.variance_, second]

    def restored(tol: float = STOP) -> Any:
        factors = covariances()
        return image_of(factors, kron.gp_solve(factors, y, noise, mask=flat, tol=tol))

    progress(f"kron: the missing pixels of {n} x {n}")
    restored()
    ours = statistics.median(seconds(restored)[0] for _ in range(sizes.runs))
    image, factors = restored(), covariances()
    progress("kron: the same with SciPy's conjugate gradients")
    theirs, (alpha, count) = seconds(lambda: by_scipy(factors, y, noise, flat))
    errors = error(image), error(image_of(factors, alpha))
    if abs(errors[0] - errors[1]) > 1e-4:
        raise AssertionError(f"the two sides restore differently: RMS {errors[0]} and {errors[1]}")
    exact = kron.gp_solve(factors, y, noise, mask=flat, tol=EXACT)
    if residual(factors, exact, y, noise, flat) > 10 * EXACT:
        raise AssertionError(f"the reference has a residual of {residual(factors, exact, y, noise, flat):.1e}, expected {EXACT:.0e}")
    _picture(truth, seen, image, folder / "kron.png")
    row = Row(
        "kron",
        f"photograph, {LOST:.0%} lost",
        f"a Gaussian process on {n} x {n} pixels, solved to a residual of {STOP:.0e}",
        ours,
        "SciPy cg",
        theirs,
        float(np.abs(image - image_of(factors, exact)).max()),
        f"the largest difference from a solution with a residual of {EXACT:.0e}; white = 1",
        error(image),
        "RMS of the lost pixels; white = 1",
        f"The peer takes {count} iterations. Both use the same kernel; its fit took {time_of(fit)} and is not included.",
    )
    return [row]


def _picture(truth: np.ndarray, seen: np.ndarray, restored: np.ndarray, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.3), layout="constrained")
    axes = figure.subplots(1, 3)
    lossy = np.where(seen, truth, 0.0)
    for ax, image, title in zip(axes, (lossy, restored, truth), (f"observed: {1 - LOST:.0%} of the pixels", "restored", "truth")):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title)
        ax.set_axis_off()
    figure.savefig(file, dpi=130)
