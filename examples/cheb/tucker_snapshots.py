"""Compressing snapshots of an aquifer
===================================

Two years of an aquifer that is pumped from one of several wells, stored as a Tucker tensor: its size as a function of the error.

::

    python examples/cheb/tucker_snapshots.py [WELLS] [PICTURE]

The aquifer is under the landscape that matplotlib includes, 86 x 101 cells of 330 m. Its conductivity increases tenfold where the landscape
is 300 m lower. The drawdown h solves S h_t = ∇·(T ∇h) + q, by finite volumes and backward Euler steps. All snapshots form one tensor
(wells, times, rows, columns), which ``tucker`` truncates to the tolerance. It is compared, at the same error, with a truncated SVD of every
snapshot and with one SVD of all (snapshots by cells, the proper orthogonal decomposition), which is optimal among methods with whole maps
as modes. The tensor is smaller as long as the fields are also smooth along rows and columns: down to an error of a thousandth. At a tenth
of that error, the tensor and the single SVD are about the same size. For waves along a ragged coast, the tensor would be larger. Local
bases: snapshots are grouped by the angles between them (spherical k-means), and every group has its own Tucker tensor or SVD. A snapshot
then needs about half the modes, which makes a reduced model fast, and all groups together need half the memory. Needs matplotlib (pip
install 'quatrefoil[demo]').
"""

from __future__ import annotations

import sys
import time

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

import quatrefoil as qf

CELL, EVERY = 330.0, 4  # metres; every EVERY-th cell of the map
STORAGE, TRANSMISSIVITY, TENFOLD, PUMPED = 5e-3, 1e-3, 300.0, 0.01  # dimensionless, m²/s at the mean height, metres of height, m³/s
DAYS, SNAPSHOTS = 15, 50  # days per step, and number of steps
TOLERANCES = (0.1, 0.01, 1e-3, 1e-4)
GROUPS = 4  # groups of snapshots with their own basis


def transmissivity() -> np.ndarray:
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError as error:
        raise ImportError("the landscape comes with matplotlib: pip install 'quatrefoil[plot]'") from error

    with get_sample_data("jacksboro_fault_dem.npz") as file:
        heights = file["elevation"][::EVERY, ::EVERY].astype(float)
    return TRANSMISSIVITY * 10 ** ((heights.mean() - heights) / TENFOLD)


def flow(T: np.ndarray) -> sparse.csc_matrix:
    """-∇·(T ∇) times the area of a cell: harmonic means at the faces, h = 0 outside the edges."""
    n, m = T.shape
    index = np.arange(n * m).reshape(n, m)
    parts, diagonal = [], np.zeros((n, m))
    for a, b in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        face = 2 * T[a] * T[b] / (T[a] + T[b])
        diagonal[a] += face
        diagonal[b] += face
        parts.append(sparse.coo_matrix((-face.ravel(), (index[a].ravel(), index[b].ravel())), shape=(n * m, n * m)))
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        diagonal[edge] += T[edge]
    neighbours = parts[0] + parts[1]
    return (neighbours + neighbours.T + sparse.diags(diagonal.ravel())).tocsc()


def drawdown(T: np.ndarray, wells: int) -> np.ndarray:
    """Drawdown (wells, SNAPSHOTS, rows, columns) in metres, after each step; the wells are on a line across the map."""
    n, m = T.shape
    storage = STORAGE * CELL**2 / (DAYS * 86400.0)
    step = splu(sparse.diags(np.full(n * m, storage)).tocsc() + flow(T), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    rows, columns = (np.linspace(0.2, 0.8, wells) * (size - 1) for size in T.shape)
    pumped = np.zeros((n * m, wells))
    pumped[rows.astype(int) * m + columns.astype(int), np.arange(wells)] = PUMPED
    h, steps = np.zeros_like(pumped), []
    for _ in range(SNAPSHOTS):
        h = step.solve(storage * h + pumped)
        steps.append(h)
    return np.ascontiguousarray(np.stack(steps).transpose(2, 0, 1)).reshape(wells, SNAPSHOTS, n, m)


def rank_within(values: np.ndarray, allowed: float) -> int:
    """The number of singular values to keep so that the squares of the others sum to at most ``allowed``."""
    return int(np.sum(np.cumsum(np.sort(values, axis=None) ** 2) > allowed))


def sizes(snapshots: np.ndarray, tol: float, single: np.ndarray, whole: np.ndarray) -> dict[str, int]:
    """The number of values to store for a relative error of ``tol``, given the singular values of every snapshot and of their matrix."""
    *_, n, m = snapshots.shape
    allowed = tol**2 * float((single**2).sum())
    core, factors = qf.cheb.tucker(snapshots, tol=tol)
    return {
        "Tucker": core.size + sum(f.size for f in factors),
        "one SVD per snapshot": rank_within(single, allowed) * (n + m),
        "one SVD of all": rank_within(whole, allowed) * (n * m + snapshots.size // (n * m)),
    }


def groups(flat: np.ndarray, count: int) -> np.ndarray:
    """The group (P,) of each of P snapshots: k-means by the angle to a group's leading direction, starting from distant directions."""
    values, vectors = np.linalg.eigh(flat @ flat.T)
    points = vectors * np.sqrt(np.maximum(values, 0))  # with the same angles, but only as many coordinates as snapshots
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    directions = points[-1:]
    while len(directions) < count:
        directions = np.concatenate([directions, points[[np.abs(points @ directions.T).max(axis=1).argmin()]]])
    group = np.zeros(len(points), int)
    for _ in range(100):
        before, group = group, np.abs(points @ directions.T).argmax(axis=1)
        if np.array_equal(before, group):
            break
        for k in np.unique(group):
            directions[k] = np.linalg.svd(points[group == k], full_matrices=False)[2][0]
    return group


def local(snapshots: np.ndarray, tol: float, count: int) -> tuple[int, float, float]:
    """The total size of one Tucker tensor per group of snapshots, and the largest numbers of modes in a group's tensor and in its SVD."""
    *_, n, m = snapshots.shape
    flat = snapshots.reshape(-1, n * m)
    group, size, modes, ranks = groups(flat, count), 0, 0, 0
    for k in np.unique(group):
        part = flat[group == k]
        core, factors = qf.cheb.tucker(part.reshape(-1, n, m), tol=tol)
        size += core.size + sum(f.size for f in factors)
        singular = np.linalg.svd(part, compute_uv=False)
        modes, ranks = max(modes, core.shape[0]), max(ranks, rank_within(singular, tol**2 * float((singular**2).sum())))
    return size, modes, ranks


def spectra(snapshots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of every snapshot, and of the matrix of all snapshots."""
    flat = snapshots.reshape(-1, snapshots.shape[-2] * snapshots.shape[-1])
    return np.linalg.svd(snapshots, compute_uv=False), np.sqrt(np.maximum(np.linalg.eigvalsh(flat @ flat.T), 0.0))


def draw(snapshots: np.ndarray, T: np.ndarray, table: dict[float, dict[str, float]], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    core, (wells, times, rows, columns) = qf.cheb.tucker(snapshots, tol=0.01)
    again = np.einsum("abcd,a,b,ic,jd->ij", core, wells[0], times[-1], rows, columns)
    axes[0].imshow(np.log10(T), cmap="viridis")
    axes[0].set_title("transmissivity, logarithm")
    axes[1].contour(snapshots[0, -1], levels=12, colors="k", linewidths=0.6)
    axes[1].imshow(again, cmap="Blues")
    axes[1].set_title("final drawdown of a well (lines),\nand from the tensor with error 1% (colours)")
    for ax in axes[:2]:
        ax.set_axis_off()
    for name in next(iter(table.values())):
        axes[2].loglog(list(table), [row[name] for row in table.values()], "o-", label=name)
    axes[2].set(xlabel="relative error", ylabel="compression")
    axes[2].legend()
    figure.savefig(file, dpi=120)


def main(wells: int = 6, file: str | None = None) -> None:
    T = transmissivity()
    begin = time.perf_counter()
    snapshots = drawdown(T, wells)
    between = time.perf_counter()
    single, whole = spectra(snapshots)
    end = time.perf_counter()
    print(f"{wells} wells, {SNAPSHOTS} snapshots each, {snapshots.size} numbers in {between - begin:.1f} s; SVDs {end - between:.1f} s")
    table = {}
    for tol in TOLERANCES:
        begin = time.perf_counter()
        table[tol] = {name: snapshots.size / size for name, size in sizes(snapshots, tol, single, whole).items()}
        seconds = time.perf_counter() - begin
        print(f"error {tol:.2%}: compressed by {', '.join(f'{name} {f:.1f}' for name, f in table[tol].items())}; {seconds:.2f} s")
        (_, all_modes, all_ranks), (size, modes, ranks) = local(snapshots, tol, 1), local(snapshots, tol, GROUPS)
        reduced = f"{modes} instead of {all_modes} modes of a tensor, {ranks} instead of {all_ranks} modes of an SVD"
        print(f"    {GROUPS} groups: compressed by {snapshots.size / size:.1f}, {reduced}")
    if file:
        draw(snapshots, T, table, file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6, sys.argv[2] if len(sys.argv) > 2 else None)
