"""The electrostatic potential of a rock-salt crystallite, 216 ions with Gaussian charges, as a Chebyshev-Tucker tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import cheb
from ..cheb.scattered._bench import by_numpy
from ._row import Progress, Row, median_seconds

SPACING = 5.64 / 2  # Angstrom: half the lattice constant of NaCl
IONS = 6  # per axis
WIDTH = 0.7  # Angstrom: standard deviation of an ion's charge
COULOMB = 14.399645  # e / (4 pi epsilon_0) in volt Angstrom
N, TOL = 81, 1e-8  # 2 t l sqrt(ln 1e8) + 5 = 78 points resolve the narrowest Gaussian t = 1 / (sqrt 2 WIDTH) in the half-width l
POINTS, DIRECT_POINTS, FRESH_POINTS = 200_000, 20_000, 2000
BLOCK = 8192  # points at a time in the direct sum: 14 MB for each array of distances
HALF = IONS * SPACING / 2  # of the box


def ions() -> tuple[np.ndarray, np.ndarray]:
    """Positions (216, 3) and charges of a cube of alternating ions about the origin."""
    indices = np.indices((IONS,) * 3).reshape(3, -1).T
    return (indices - (IONS - 1) / 2) * SPACING, np.where(indices.sum(axis=1) % 2, -1.0, 1.0)


def direct_sum(X: np.ndarray) -> np.ndarray:
    """sum_i q_i erf(r_i / (sqrt 2 WIDTH)) / r_i in volts: the exact potential of the Gaussian charges."""
    from scipy.special import erf

    centers, charges = ions()
    total = np.empty(len(X))
    for s in range(0, len(X), BLOCK):
        squares = np.zeros((len(X[s : s + BLOCK]), len(centers)))
        for k in range(3):
            squares += (X[s : s + BLOCK, k, None] - centers[:, k]) ** 2
        r = np.sqrt(np.maximum(squares, 1e-24))  # at an ion the quotient has its limit there
        total[s : s + BLOCK] = (erf(r / (2**0.5 * WIDTH)) / r) @ charges
    return COULOMB * total


def potential() -> cheb.ChebTucker:
    """Values on the Chebyshev grid of the box, compressed."""
    x = cheb.chebpts(N, (-HALF, HALF))
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    return cheb.ChebTucker.from_values(direct_sum(grid).reshape(N, N, N), domain=(-HALF, HALF), tol=TOL)


def run(folder: Path, progress: Progress) -> list[Row]:
    progress(f"cheb: potential of {IONS**3} ions on {N}^3 Chebyshev points")
    ct = potential()
    rng = np.random.default_rng(0)
    X = rng.uniform(-HALF, HALF, (POINTS, 3))
    progress(f"cheb: ranks {ct.rank}, evaluating at {POINTS} points")
    ours = median_seconds(lambda: ct(X))
    mapped = X / HALF  # the peer is given its points on [-1, 1]
    theirs = median_seconds(lambda: by_numpy(ct.core, list(ct.factors), mapped))
    progress(f"cheb: the direct sum at {DIRECT_POINTS} points")
    few = X[:DIRECT_POINTS]
    ours_few = median_seconds(lambda: ct(few))
    direct = median_seconds(lambda: direct_sum(few), 1)
    fresh = rng.uniform(-HALF, HALF, (FRESH_POINTS, 3))
    truth = direct_sum(fresh)
    error = float(np.abs(ct(fresh) - truth).max() / np.abs(truth).max())
    _picture(ct, folder / "cheb.png")
    tensor = f"n {N}, ranks {'x'.join(map(str, ct.rank))}"
    against = f"direct sum, {FRESH_POINTS} fresh points"
    return [
        Row("cheb", "potential of rock salt", f"{POINTS} points, {tensor}", ours, "NumPy BLAS", theirs, error, against),
        Row("cheb", "potential of rock salt", f"{DIRECT_POINTS} points, {IONS**3} ions", ours_few, "direct sum", direct, error, against),
    ]


def _picture(ct: cheb.ChebTucker, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x = np.linspace(-HALF, HALF, 181)
    plane = np.array([SPACING / 2])  # through a layer of ions
    V = ct.grid(x, x, plane)[..., 0].T
    points = np.stack([*(g.ravel() for g in np.meshgrid(x, x)), np.full(x.size**2, plane[0])], axis=1)
    difference = np.abs(V - direct_sum(points).reshape(V.shape))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    extent = (-HALF, HALF, -HALF, HALF)
    limit = np.abs(V).max()
    first = axes[0].imshow(V, cmap="RdBu_r", origin="lower", extent=extent, vmin=-limit, vmax=limit)
    figure.colorbar(first, ax=axes[0], label="potential / V")
    axes[0].set_title(f"{IONS**3} ions, a layer of the crystallite")
    second = axes[1].imshow(np.log10(difference + 1e-16 * limit), cmap="viridis", origin="lower", extent=extent)
    figure.colorbar(second, ax=axes[1], label="log10 |error| / V")
    axes[1].set_title(f"against the direct sum; {ct.core.size + sum(U.size for U in ct.factors)} numbers stored")
    for ax in axes:
        ax.set_xlabel("x / Angstrom")
        ax.set_ylabel("y / Angstrom")
    figure.savefig(file, dpi=130)
    plt.close(figure)
