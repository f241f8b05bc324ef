"""The steady temperature inside the silhouette of the photographer in a well-known picture: hot at the head, cold at the feet."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import wos
from ..wos.walk._bench import brute_force
from ._row import Progress, Row

POINTS, WALKS, RUNS, EPSILON = 4000, 256, 3, 1e-4
DARK = 60  # of 255: the photographer's coat; grass and sky are lighter
VERTICES = 800


def outline() -> np.ndarray:
    """(M, 2) closed polygon in pixels, y up: the largest dark region, slightly smoothed, traced at level 1/2."""
    import contourpy
    import pywt.data
    from scipy import ndimage

    dark = ndimage.binary_opening(pywt.data.camera() < DARK, iterations=2)
    labels, _ = ndimage.label(dark)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    filled = ndimage.binary_fill_holes(largest)
    smooth = ndimage.gaussian_filter(np.pad(filled.astype(float), 2), 1.5)[::-1]
    lines: list[Any] = list(contourpy.contour_generator(z=smooth).lines(0.5))
    line = max(lines, key=len)[:-1]
    keep = np.linspace(0, len(line), min(VERTICES, len(line)), endpoint=False).astype(int)
    return np.ascontiguousarray(line[keep], np.float32)


def temperatures(ring: np.ndarray) -> np.ndarray:
    """1 in the upper fifth of the figure, 0 in the lower half, linear between."""
    y = ring[:, 1]
    height = (y - y.min()) / (y.max() - y.min())
    hot: np.ndarray = np.clip((height - 0.5) / 0.3, 0, 1).astype(np.float32)
    return hot


class Grid:
    """-Δu = 0 by finite differences on the grid points inside, with exact distances to the boundary along the axes (Shortley, Weller)."""

    def __init__(self, ring: np.ndarray, values: np.ndarray, h: float) -> None:
        from scipy import sparse
        from scipy.sparse import linalg

        self.h, self.low = (
            h,
            np.floor(ring.min(axis=0)).astype(float) - 0.7321 * h,
        )  # vertices lie on pixel lines, grid lines must not
        shape = np.ceil((ring.max(axis=0) - self.low) / h).astype(int) + 2
        # the grid along x sees the boundary where it crosses rows; along y it is the transposed problem
        rows = _crossings(ring.astype(float), values.astype(float), self.low, h, shape)
        columns = _crossings(ring[:, ::-1].astype(float), values.astype(float), self.low[::-1], h, shape[::-1])
        self.inside = _inside(rows, shape)
        number = np.full(shape, -1)
        number[self.inside] = np.arange(self.inside.sum())
        n = int(self.inside.sum())
        ix, iy = np.nonzero(self.inside)
        entries: list[tuple[Any, Any, Any]] = []
        right, diagonal = np.zeros(n), np.zeros(n)
        for lines, along, across, axis in ((rows, ix, iy, 0), (columns, iy, ix, 1)):
            reach, wall, value = zip(*(_neighbour(lines, along, across, side) for side in (-1, 1)))
            for k, side in enumerate((-1, 1)):
                weight = 2 / (reach[k] * (reach[0] + reach[1]) * h * h)
                diagonal += weight
                right[wall[k]] += (weight * value[k])[wall[k]]
                there = number[ix + side * (axis == 0), iy + side * (axis == 1)]
                free = ~wall[k]
                entries.append((-weight[free], np.arange(n)[free], there[free]))
        data, i, j = (np.concatenate(part) for part in zip(*entries))
        matrix = sparse.csc_array((np.r_[data, diagonal], (np.r_[i, np.arange(n)], np.r_[j, np.arange(n)])), shape=(n, n))
        self.u = np.full(shape, np.nan)
        self.u[self.inside] = linalg.spsolve(matrix, right)

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n grid points inside and the solution there."""
        ix, iy = np.nonzero(self.inside)
        chosen = np.random.default_rng(0).choice(len(ix), n, replace=len(ix) < n)
        X = self.low + self.h * np.stack([ix[chosen], iy[chosen]], axis=1)
        return X.astype(np.float32), self.u[ix[chosen], iy[chosen]]


def _crossings(ring: np.ndarray, values: np.ndarray, low: np.ndarray, h: float, shape: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every grid line y = const: where the polygon crosses it, in grid units and ascending, and the boundary value there."""
    a = (ring - low) / h
    b = np.roll(a, -1, axis=0)
    after = np.roll(values, -1)
    lines = []
    for j in range(shape[1]):
        cut = np.flatnonzero((a[:, 1] <= j) != (b[:, 1] <= j))
        t = (j - a[cut, 1]) / (b[cut, 1] - a[cut, 1])
        x = a[cut, 0] + t * (b[cut, 0] - a[cut, 0])
        order = np.argsort(x)
        lines.append((x[order], (values[cut] + t * (after[cut] - values[cut]))[order]))
    return lines


def _inside(rows: list[tuple[np.ndarray, np.ndarray]], shape: np.ndarray) -> np.ndarray:
    inside = np.zeros(shape, bool)
    for j, (x, _) in enumerate(rows):
        inside[:, j] = np.searchsorted(x, np.arange(shape[0]), side="left") % 2 == 1
    return inside


def _neighbour(
    lines: list[tuple[np.ndarray, np.ndarray]], along: np.ndarray, across: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every grid point: the reach to one side in units of h, whether a wall ends it, and the wall's value."""
    reach, wall, value = np.ones(len(along)), np.zeros(len(along), bool), np.zeros(len(along))
    for j in np.unique(across):
        x, v = lines[j]
        here = np.flatnonzero(across == j)
        k = np.searchsorted(x, along[here], side="left") - (side < 0)
        known = (k >= 0) & (k < len(x))
        k = np.clip(k, 0, max(len(x) - 1, 0))
        distance = np.where(known, side * (x[k] - along[here]), np.inf) if len(x) else np.full(len(here), np.inf)
        hit = distance <= 1
        reach[here[hit]] = np.maximum(distance[hit], 1e-6)
        wall[here] = hit
        value[here[hit]] = v[k[hit]]
    return reach, wall, value


def run(folder: Path, progress: Progress) -> list[Row]:
    progress("wos: tracing the photographer")
    ring = outline()
    values = temperatures(ring)
    polygon, g = wos.Polygon(ring), wos.PerVertex(values)
    progress("wos: finite differences for comparison")
    grid = Grid(ring, values, 0.5)
    X, truth = grid.points(POINTS)
    progress(f"wos: {POINTS} points, {WALKS} walks each")

    def ours() -> wos.Result[np.ndarray]:
        return wos.solve(polygon, X, dirichlet=g, walks=WALKS, epsilon=EPSILON, rng=0)

    result = ours()
    seconds = statistics.median(_seconds(ours) for _ in range(RUNS))
    progress("wos: the same by a Numba loop over all segments")
    walk = brute_force()
    shell = EPSILON * float(polygon.diagonal[0])
    none = np.zeros((0, 3), np.float32)
    walk(ring, X[:1], values, none, 1, shell)
    few = max(1, POINTS // 40)
    theirs = _seconds(lambda: walk(ring, X[:few], values, none, WALKS, shell)) * POINTS / few  # points are alike: a part, scaled
    _picture(ring, values, X, result.value, truth, grid, folder / "wos.png")
    return [
        Row(
            "wos",
            "temperature inside a silhouette",
            f"{len(ring)} segments, {POINTS} x {WALKS} walks",
            seconds,
            f"numba brute force ({few} points, scaled)",
            theirs,
            float(np.sqrt(np.mean((result.value - truth) ** 2))),
            f"finite differences, rms; standard error {float(np.sqrt(np.mean(result.stderr**2))):.1e}",
        )
    ]


def _seconds(f: Any) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def _picture(ring: np.ndarray, values: np.ndarray, X: np.ndarray, value: np.ndarray, truth: np.ndarray, grid: Grid, file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right, errors = figure.subplots(1, 3, sharex=True, sharey=True)
    dots = left.scatter(X[:, 0], X[:, 1], c=value, s=3, cmap="inferno", vmin=0, vmax=1)
    left.set_title(f"Walk on Spheres, {len(X)} points")
    corner = grid.low + grid.h * np.array(grid.u.shape)
    right.imshow(
        grid.u.T,
        origin="lower",
        extent=(grid.low[0], corner[0], grid.low[1], corner[1]),
        cmap="inferno",
        vmin=0,
        vmax=1,
    )
    right.set_title("finite differences")
    off = errors.scatter(X[:, 0], X[:, 1], c=np.abs(value - truth), s=3, cmap="viridis", vmin=0)
    errors.set_title("error of a point")
    closed = np.concatenate([ring, ring[:1]])
    edges: Any = np.stack([closed[:-1], closed[1:]], axis=1)
    for axes in (left, right, errors):
        lines = LineCollection(edges, cmap="inferno", array=values, linewidths=1.5)
        axes.add_collection(lines)
        axes.set_aspect("equal")
        axes.set_axis_off()
    figure.colorbar(dots, ax=[left, right], label="temperature", shrink=0.7)
    figure.colorbar(off, ax=errors, label="|walks - finite differences|", shrink=0.7)
    figure.savefig(file, dpi=130)
