"""The electrostatic potential of a rock-salt crystallite at scattered points, as a sum over near pairs plus a Chebyshev-Tucker tensor."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import cheb, get_num_threads
from ._row import Progress, Row, median_seconds, seconds

SPACING = 5.64 / 2  # Angstrom: half the lattice constant of NaCl
COULOMB = 14.399645  # e / (4 pi epsilon_0) in volt Angstrom
N, TOL = 49, 1e-6
BLOCK = 256  # points per task of the direct sum
CHECKED = 100  # points for the rounding error


@dataclass(frozen=True)
class Sizes:
    ions: int  # per axis
    points: int
    grid: int  # points per axis of the picture


FULL, QUICK = Sizes(24, 200_000, 241), Sizes(16, 40_000, 121)


def _potentials(X: Any, q: Any, points: Any, total: Any) -> None:
    for p in range(len(points)):
        s = 0.0
        for i in range(len(X)):
            s += q[i] / np.sqrt((points[p, 0] - X[i, 0]) ** 2 + (points[p, 1] - X[i, 1]) ** 2 + (points[p, 2] - X[i, 2]) ** 2)
        total[p] = s


@functools.cache
def compiled() -> Any:
    """The loop of the direct sum, vectorised by LLVM."""
    import numba

    return numba.njit("(f8[:,:], f8[:], f8[:,:], f8[:])", nogil=True, fastmath=True)(_potentials)


class Crystallite:
    """A cube of alternating ions around the origin, and its potential in volts, computed in two ways."""

    def __init__(self, ions: int) -> None:
        self.half = ions * SPACING / 2  # half of the box's side
        indices = np.indices((ions,) * 3).reshape(3, -1).T
        self.X = (indices - (ions - 1) / 2) * SPACING
        self.q = np.where(indices.sum(axis=1) % 2, -1.0, 1.0)

    def direct_sum(self, points: np.ndarray) -> np.ndarray:
        """sum_i q_i / r_i, on all threads."""
        total, loop = np.empty(len(points)), compiled()
        with ThreadPoolExecutor(get_num_threads()) as threads:
            blocks = [slice(s, s + BLOCK) for s in range(0, len(points), BLOCK)]
            list(threads.map(lambda block: loop(self.X, self.q, points[block], total[block]), blocks))
        return COULOMB * total

    def potential(self, points: np.ndarray) -> tuple[cheb.Potential, np.ndarray]:
        """The tensor of the long-range part, and the potential at points, both computed from the charges."""
        V = cheb.potential(self.X, self.q, n=N, domain=(-self.half, self.half), tol=TOL)
        return V, COULOMB * (V(points) + cheb.short_range(self.X, self.q, points, sog=V.sog))


def evaluated_in_longdouble(V: cheb.ChebTucker, mapped: np.ndarray) -> Any:
    """The tensor at points of [-1, 1]^3 in NumPy's longdouble, which has more digits than float64 on most machines."""
    values = V.core.astype(np.longdouble)[None]
    for k, factor in enumerate(V.factors):
        rows = np.polynomial.chebyshev.chebvander(mapped[:, k].astype(np.longdouble), len(factor) - 1) @ factor.astype(np.longdouble)
        values = (rows[(..., *(None,) * (values.ndim - 2))] * values).sum(axis=1)
    return values


def run(folder: Path, progress: Progress, quick: bool = False) -> list[Row]:
    sizes = QUICK if quick else FULL
    crystal = Crystallite(sizes.ions)
    points = np.random.default_rng(0).uniform(-crystal.half, crystal.half, (sizes.points, 3))
    progress(f"cheb: the potential of {len(crystal.X)} ions at {sizes.points} points")
    ours = median_seconds(lambda: crystal.potential(points), 3)
    V, values = crystal.potential(points)
    progress("cheb: the direct sum")
    compiled()
    theirs, truth = seconds(lambda: crystal.direct_sum(points))
    few = points[:CHECKED]
    exact = evaluated_in_longdouble(V, few / crystal.half)
    _picture(crystal, sizes.grid, folder / "cheb.png")
    row = Row(
        "cheb",
        "rock-salt potential",
        f"{len(crystal.X)} ions at {sizes.points} points, from the charges; n {N}, ranks {'x'.join(map(str, V.rank))}",
        ours,
        "Numba pairs",
        theirs,
        float(np.abs(V(few) - exact).max() / np.abs(exact).max()),
        "the tensor's largest difference from its values in longdouble, relative to the largest value",
        float(np.sqrt(np.mean((values - truth) ** 2)) / np.abs(truth).max()),
        f"RMS difference from the direct sum; requested: {TOL:.0e}",
    )
    return [row]


def _picture(crystal: Crystallite, n: int, file: Path) -> None:
    from matplotlib.figure import Figure

    x = np.linspace(-crystal.half, crystal.half, n)
    height = SPACING / 4  # above a layer of ions; half-way to the next layer the potential is 0
    points = np.stack(np.broadcast_arrays(x[:, None], x, height), axis=-1).reshape(-1, 3)
    values = crystal.potential(points)[1].reshape(n, n).T
    every = np.arange(0, n, 4)
    few = points.reshape(n, n, 3)[np.ix_(every, every)].reshape(-1, 3)
    off = np.abs(values[np.ix_(every, every)].T.reshape(-1) - crystal.direct_sum(few))
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(1, 2)
    limit = np.abs(values).max()
    box = (-crystal.half, crystal.half) * 2
    first = axes[0].imshow(values, cmap="RdBu_r", origin="lower", extent=box, vmin=-limit, vmax=limit)
    figure.colorbar(first, ax=axes[0], label="potential / V")
    axes[0].set_title(f"{len(crystal.X)} ions, near a layer of the crystallite")
    second = axes[1].scatter(few[:, 0], few[:, 1], c=np.log10(off + 1e-16 * limit), s=4, cmap="viridis")
    figure.colorbar(second, ax=axes[1], label="log10 |error| / V")
    axes[1].set_title("difference from the direct sum")
    axes[1].set_aspect("equal")
    for ax in axes:
        ax.set_xlabel("x / Angstrom")
        ax.set_ylabel("y / Angstrom")
    figure.savefig(file, dpi=130)
