"""Smoothing a landscape by self-distillation
==========================================

A model that is fitted to its own predictions, over and over: a hundred fits of a landscape for the price of one.

::

    python examples/kron/self_distillation.py [ROUNDS] [PICTURE]

The landscape, 344 x 403 heights around a fault in Tennessee, is the one that matplotlib ships; noise of 30 m is added. A kernel ridge
regression with too small a ridge c fits the noise. Its student is the same regression, fitted to its predictions, and so on; after t rounds
the predictions are ::

    (K (K + c)^-1)^t y = Q (λ / (λ + c))^t Qᵀ y

so each round damps every eigenvector of K once more (Mobahi, Farajtabar and Bartlett, NeurIPS 2020). All rounds are functions of the same
eigenvalues: K is a Kronecker product, and its 138 632 eigenvalues come from two matrices, of 344 and 403 rows. When to stop is said by
Stein's estimate of the error, which needs the noise's size but not the truth. The last line is the measure of it all: one fit with a good
ridge. Needs matplotlib (pip install 'quatrefoil[demo]').
"""

from __future__ import annotations

import sys
import time

import numpy as np

import quatrefoil as qf

NOISE, RIDGE, SCALE = 30.0, 0.02, 3.0  # metres; of the prior variance; cells of 75 m by 90 m


def landscape() -> np.ndarray:
    """Heights in metres."""
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError as error:
        raise ImportError("the landscape is matplotlib's: pip install 'quatrefoil[plot]'") from error

    with get_sample_data("jacksboro_fault_dem.npz") as file:
        return file["elevation"].astype(float)


def teacher(shape: tuple[int, ...]) -> qf.kron.KroneckerOperator:
    return qf.kron.KroneckerOperator([qf.kron.matern52(np.arange(float(n)), scale=SCALE) for n in shape])


def distil(K: qf.kron.KroneckerOperator, y: np.ndarray, rounds: int, ridge: float = RIDGE) -> np.ndarray:
    """Predictions of the last of so many rounds."""
    return K.apply(lambda lam: (lam / (lam + ridge)) ** rounds, y)


class Errors:
    """Of h(K) y for any h, from y and the truth among the eigenvectors: N operations each."""

    def __init__(self, K: qf.kron.KroneckerOperator, y: np.ndarray, truth: np.ndarray) -> None:
        self.lam, Q = K.eigh()
        self.y, self.truth = (Q.T @ np.stack([y, truth], axis=1)).T

    def filter(self, rounds: int, ridge: float) -> np.ndarray:
        return (self.lam / (self.lam + ridge)) ** rounds

    def true(self, rounds: int, ridge: float = RIDGE) -> float:
        return float(np.sqrt(np.mean((self.filter(rounds, ridge) * self.y - self.truth) ** 2)))

    def stein(self, rounds: int, ridge: float = RIDGE) -> float:
        """Without the truth: residuals, and what the noise has to do with the predictions."""
        h = self.filter(rounds, ridge)
        return float(np.sqrt(max(np.mean(((1 - h) * self.y) ** 2) + NOISE**2 * (2 * h.mean() - 1), 0.0)))


def draw(pictures: dict[str, np.ndarray], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(pictures), figsize=(4 * len(pictures), 3.8), layout="constrained")
    for ax, (title, heights) in zip(axes, pictures.items()):
        down, across = np.gradient(heights)
        ax.imshow(across - down, cmap="gray", vmin=-60, vmax=60)  # lit from the north-west
        ax.set_title(title)
        ax.set_axis_off()
    figure.savefig(file, dpi=120)


def main(rounds: int = 100, file: str | None = None) -> None:
    Z = landscape()
    Y = Z + NOISE * np.random.default_rng(0).standard_normal(Z.shape)
    mean = Y.mean()
    y, truth = (Y - mean).ravel(), (Z - mean).ravel()
    start = time.perf_counter()
    K = teacher(Z.shape)
    errors = Errors(K, y, truth)
    by_stein = [errors.stein(t) for t in range(1, rounds + 1)]
    best = 1 + int(np.argmin(by_stein))
    seconds = time.perf_counter() - start
    print(f"{Z.shape[0]} x {Z.shape[1]} heights, noise {NOISE:.0f} m, ridge {RIDGE}: {rounds} rounds in {seconds:.2f} s")
    for t in sorted({t for t in (1, 3, 10, 30, 100, 300) if t <= rounds} | {best}):
        chosen = ", where Stein's estimate is least" if t == best else ""
        print(f"after {t:3d} rounds: RMS error {errors.true(t):6.2f} m, by Stein {by_stein[t - 1]:6.2f} m{chosen}")
    ridges = RIDGE * np.geomspace(1, 1000, 61)
    ridge = float(ridges[np.argmin([errors.stein(1, c) for c in ridges])])
    print(f"one fit with the ridge {ridge:.2g}, by Stein too: RMS error {errors.true(1, ridge):.2f} m")
    again = y
    for _ in range(3):
        again = K @ K.solve(again, RIDGE)
    off = np.abs(distil(K, y, 3) - again).max() / np.abs(again).max()
    print(f"three fits, one after the other, give what the formula says within {off:.0e}")
    if file:
        images = {"truth": truth, "with noise": y, "teacher": distil(K, y, 1), f"{best} rounds": distil(K, y, best)}
        draw({name: image.reshape(Z.shape) for name, image in images.items()}, file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, sys.argv[2] if len(sys.argv) > 2 else None)
