"""Assimilating a landscape line by line with a Kalman filter
==========================================================

Noisy lines of a landscape are assimilated as they arrive: 403 heights per line, and one scalar update per cosine mode.

::

    python examples/ssm/spectral_update.py [NOISE] [PICTURE]

An instrument flies over a landscape and measures it line by line. Every height has an error of NOISE metres, and some lines are lost. The
state is a line, and the model advances it to the next line: every cosine mode is a first-order autoregression, fitted to a hundred lines of
an older survey. The variance of its error is doubled, because a landscape is not really an autoregression. Model, covariance and noise are
diagonal in that basis, so the Kalman update is a scalar equation per mode, ::

    x_t = a x_{t-1} + k_t (z_t - a x_{t-1}) = (1 - k_t) a x_{t-1} + k_t z_t

This is a linear recurrence with varying coefficients: the whole filter is one ``linear_scan``, and the smoother, which runs backwards from
the end (Rauch, Tung and Striebel 1965), is another one. The full filter, with matrices of 403 rows, gives the same results. In every
line, either all heights must be measured, with the same error, or none; a line with gaps couples the modes. The landscape is part of
matplotlib (pip install 'quatrefoil[demo]').
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.fft import dct, idct

from quatrefoil.ssm import linear_scan

SURVEYED, CHECKED = 100, 20  # lines for fitting the model; lines for the full filter
INFLATION = 2.0  # factor for the variance of the model error
LOST, GAP = 0.1, slice(60, 68)  # fraction of lines lost at random, and a run of lost lines


def landscape() -> np.ndarray:
    """Heights in metres, (lines, heights)."""
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError as error:
        raise ImportError("the landscape comes with matplotlib: pip install 'quatrefoil[plot]'") from error

    with get_sample_data("jacksboro_fault_dem.npz") as file:
        return file["elevation"].astype(float)


def modes(lines: np.ndarray) -> np.ndarray:
    return dct(lines, axis=1, norm="ortho")


def model(survey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficient a and the variance q of the model error, for each mode."""
    x = modes(survey)
    a = np.clip((x[1:] * x[:-1]).sum(axis=0) / (x[:-1] ** 2).sum(axis=0), 0.0, 0.999)
    return a, INFLATION * ((x[1:] - a * x[:-1]) ** 2).mean(axis=0)


def variances(a: np.ndarray, q: np.ndarray, noise: float, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance before the update, gain, variance after it, (lines, modes) each. They do not depend on the measurements."""
    before, gain, after = (np.empty((seen.size, a.size)) for _ in range(3))
    p = q / (1 - a * a)
    for t, observed in enumerate(seen):
        before[t] = a * a * p + q
        gain[t] = before[t] / (before[t] + noise**2) if observed else 0.0
        after[t] = p = (1 - gain[t]) * before[t]
    return before, gain, after


def assimilate(Y: np.ndarray, seen: np.ndarray, noise: float, a: np.ndarray, q: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(lines, variances of their modes) from the filter and from the smoother; Y is not read for lost lines."""
    before, gain, after = variances(a, q, noise, seen)
    x = linear_scan((1 - gain) * a, gain * modes(np.where(seen[:, None], Y, 0.0)), axis=0)
    back = np.zeros_like(x)
    back[:-1] = after[:-1] * a / before[1:]  # for the last line, smoother and filter agree
    smooth = linear_scan(back, (1 - back * a) * x, reverse=True, axis=0)
    ahead = np.concatenate([before[1:], np.zeros((1, a.size))])
    spread = linear_scan(back**2, after - back**2 * ahead, reverse=True, axis=0)
    return {"filter": (idct(x, axis=1, norm="ortho"), after), "smoother": (idct(smooth, axis=1, norm="ortho"), spread)}


def full(Y: np.ndarray, seen: np.ndarray, noise: float, a: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Kalman filter with matrices, on the heights themselves."""
    D = dct(np.eye(a.size), axis=0, norm="ortho")
    M, Q, P = (D.T * values @ D for values in (a, q, q / (1 - a * a)))
    x, lines = np.zeros(a.size), []
    for y, observed in zip(Y, seen):
        x, P = M @ x, M @ P @ M.T + Q
        if observed:
            K = np.linalg.solve(P + noise**2 * np.eye(a.size), P).T
            x, P = x + K @ (y - x), P - K @ P
        lines.append(x)
    return np.stack(lines)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def draw(pictures: dict[str, np.ndarray], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(pictures), figsize=(4 * len(pictures), 3.2), layout="constrained")
    for ax, (title, heights) in zip(axes, pictures.items()):
        ax.imshow(heights, cmap="terrain", vmin=-300, vmax=600)
        ax.set_title(title)
        ax.set_axis_off()
    figure.savefig(file, dpi=120)


def main(noise: float = 50.0, file: str | None = None) -> None:
    Z = landscape()
    Z -= Z[:SURVEYED].mean()
    a, q = model(Z[:SURVEYED])
    truth, rng = Z[SURVEYED:], np.random.default_rng(0)
    Y = truth + noise * rng.standard_normal(truth.shape)
    seen = rng.random(len(Y)) >= LOST
    seen[GAP] = False
    start = time.perf_counter()
    estimates = assimilate(Y, seen, noise, a, q)
    seconds = time.perf_counter() - start
    print(f"{len(Y)} lines of {a.size} heights, noise {noise:.0f} m, {(~seen).sum()} lines lost; {seconds:.3f} s")
    alone = q / (1 - a * a)
    single = idct(modes(Y) * (alone / (alone + noise**2)), axis=1, norm="ortho")
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), 0))
    lost = rms((single[last] - truth)[~seen])
    print(f"each line on its own: RMS error {rms((single - truth)[seen]):.1f} m; the preceding line in place of a lost one {lost:.1f} m")
    for name, (lines, spread) in estimates.items():
        off = lines - truth
        print(
            f"{name}: RMS error {rms(off[seen]):.1f} m, expected {np.sqrt(spread[seen].mean()):.1f} m; "
            f"of lost lines {rms(off[~seen]):.1f} m, expected {np.sqrt(spread[~seen].mean()):.1f} m"
        )
    start = time.perf_counter()
    expected = full(Y[:CHECKED], seen[:CHECKED], noise, a, q)
    seconds = time.perf_counter() - start
    off = np.abs(estimates["filter"][0][:CHECKED] - expected).max() / np.abs(expected).max()
    print(f"the filter with matrices: the same within {off:.0e}, {seconds:.2f} s for {CHECKED} lines")
    if file:
        observed = np.where(seen[:, None], Y, np.nan)
        draw({"truth": truth, "measured": observed} | {name: lines for name, (lines, _) in estimates.items()}, file)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 50.0, sys.argv[2] if len(sys.argv) > 2 else None)
