"""The electrostatic potential of a rock-salt crystallite at scattered points: near pairs summed, all else a Chebyshev-Tucker tensor."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from .. import cheb
from ..cheb.scattered._bench import by_numpy
from ._row import Progress, Row, median_seconds

SPACING = 5.64 / 2  # Angstrom: half the lattice constant of NaCl
IONS = 24  # per axis
COULOMB = 14.399645  # e / (4 pi epsilon_0) in volt Angstrom
N, TOL = 49, 1e-6
POINTS, DIRECT_POINTS = 200_000, 2000
BLOCK = 256  # points at a time in the direct sum: 28 MB for each array of distances
HALF = IONS * SPACING / 2  # of the box


def ions() -> tuple[np.ndarray, np.ndarray]:
    """Positions and charges of a cube of alternating ions about the origin."""
    indices = np.indices((IONS,) * 3).reshape(3, -1).T
    return (indices - (IONS - 1) / 2) * SPACING, np.where(indices.sum(axis=1) % 2, -1.0, 1.0)


def direct_sum(X: np.ndarray) -> np.ndarray:
    """sum_i q_i / r_i in volts."""
    centers, charges = ions()
    total = np.empty(len(X))
    for s in range(0, len(X), BLOCK):
        squares = np.zeros((len(X[s : s + BLOCK]), len(centers)))
        for k in range(3):
            squares += (X[s : s + BLOCK, k, None] - centers[:, k]) ** 2
        total[s : s + BLOCK] = (1 / np.sqrt(squares)) @ charges
    return COULOMB * total


def potential(points: np.ndarray) -> tuple[cheb.Potential, np.ndarray]:
    """The tensor of the long part, and the potential at points: all that there is to do, from the charges on."""
    X, q = ions()
    V = cheb.potential(X, q, n=N, domain=(-HALF, HALF), tol=TOL)
    return V, COULOMB * (V(points) + cheb.short_range(X, q, points, sog=V.sog))


def run(folder: Path, progress: Progress) -> list[Row]:
    rng = np.random.default_rng(0)
    points = rng.uniform(-HALF, HALF, (POINTS, 3))
    progress(f"cheb: potential of {IONS**3} ions at {POINTS} points")
    V, values = potential(points)
    whole = median_seconds(lambda: potential(points))
    progress(f"cheb: the direct sum at {DIRECT_POINTS} of them")
    start = time.perf_counter()
    truth = direct_sum(points[:DIRECT_POINTS])
    direct = (time.perf_counter() - start) * POINTS / DIRECT_POINTS
    error = float(np.linalg.norm(values[:DIRECT_POINTS] - truth) / np.linalg.norm(truth))
    progress(f"cheb: ranks {V.rank}, the tensor alone by NumPy's BLAS")
    ours = median_seconds(lambda: V(points))
    mapped = points / HALF  # the peer is given its points on [-1, 1]
    by_blas = by_numpy(V.core, list(V.factors), mapped)
    theirs = median_seconds(lambda: by_numpy(V.core, list(V.factors), mapped))
    difference = float(np.abs(V(points) - by_blas).max() / np.abs(by_blas).max())
    _picture(folder / "cheb.png")
    tensor = f"n {N}, ranks {'x'.join(map(str, V.rank))}"
    return [
        Row(
            "cheb",
            "potential of rock salt, from the charges on",
            f"{IONS**3} ions, {POINTS} points",
            whole,
            f"direct sum ({DIRECT_POINTS} points, scaled)",
            direct,
            error,
            f"direct sum, {DIRECT_POINTS} points",
        ),
        Row("cheb", "its long part, the tensor made", f"{POINTS} points, {tensor}", ours, "NumPy BLAS", theirs, difference, "NumPy"),
    ]


def _picture(file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x = np.linspace(-HALF, HALF, 241)
    height = SPACING / 4  # over a layer of ions: half way to the next the potential is 0
    points = np.stack(np.broadcast_arrays(x[:, None], x, height), axis=-1).reshape(-1, 3)
    values = potential(points)[1].reshape(241, 241).T
    some = np.arange(0, 241, 4)
    few = points.reshape(241, 241, 3)[np.ix_(some, some)].reshape(-1, 3)
    off = np.abs(values[np.ix_(some, some)].T.reshape(-1) - direct_sum(few))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    limit = np.abs(values).max()
    first = axes[0].imshow(values, cmap="RdBu_r", origin="lower", extent=(-HALF, HALF, -HALF, HALF), vmin=-limit, vmax=limit)
    figure.colorbar(first, ax=axes[0], label="potential / V")
    axes[0].set_title(f"{IONS**3} ions, near a layer of the crystallite")
    second = axes[1].scatter(few[:, 0], few[:, 1], c=np.log10(off + 1e-16 * limit), s=4, cmap="viridis")
    figure.colorbar(second, ax=axes[1], label="log10 |error| / V")
    axes[1].set_title("against the direct sum")
    axes[1].set_aspect("equal")
    for ax in axes:
        ax.set_xlabel("x / Angstrom")
        ax.set_ylabel("y / Angstrom")
    figure.savefig(file, dpi=130)
    plt.close(figure)
