"""Steady temperature inside the silhouette of the cameraman test image, holes included: hot at the head, cold at the feet.

Every point has the same standard error.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import get_num_threads, wos
from ..wos.walk.bench import brute_force, following
from ._row import Progress, Row, median_seconds, seconds

ROUND, EPSILON = 256, 1e-4
MAX_WALKS = 4096  # per point
FEW = 32  # points for the alternative, which takes the same time for each point
DARK = 60  # grey level out of 255: the cameraman's coat is darker, grass and sky are lighter
VERTICES = 800
MIN_HOLE = 300  # pixels; smaller holes are spots on the coat


@dataclass(frozen=True)
class Sizes:
    points: int
    error: float  # standard error of every point
    error_everywhere: float  # standard error of a solve at all grid points
    h: float  # step of the finite differences, in pixels
    runs: int


FULL, QUICK = Sizes(4000, 0.01, 0.02, 0.5, 3), Sizes(1000, 0.02, 0.05, 1.0, 1)


def outline() -> list[np.ndarray]:
    """Closed polygons (M, 2) in pixels, y up: the slightly smoothed outline of the largest dark region at level 1/2, then its holes."""
    import contourpy
    import pywt.data
    from scipy import ndimage

    dark = ndimage.binary_opening(pywt.data.camera() < DARK, iterations=2)
    labels, _ = ndimage.label(dark)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    spots, _ = ndimage.label(ndimage.binary_fill_holes(largest) & ~largest)
    small = np.isin(spots, 1 + np.flatnonzero(np.bincount(spots.ravel())[1:] < MIN_HOLE))
    smooth = ndimage.gaussian_filter(np.pad((largest | small).astype(float), 2), 1.5)[::-1]
    lines: list[Any] = sorted(contourpy.contour_generator(z=smooth).lines(0.5), key=len, reverse=True)
    share = min(1.0, VERTICES / sum(len(line) - 1 for line in lines))
    keep = [np.linspace(0, len(line) - 1, int(share * (len(line) - 1)), endpoint=False).astype(int) for line in lines]
    return [np.ascontiguousarray(line[k], np.float32) for line, k in zip(lines, keep)]


def temperatures(ring: np.ndarray) -> np.ndarray:
    """1 in the upper fifth of the figure, 0 in the lower half, linear between."""
    y = ring[:, 1]
    height = (y - y.min()) / (y.max() - y.min())
    hot: np.ndarray = np.clip((height - 0.5) / 0.3, 0, 1).astype(np.float32)
    return hot


class Grid:
    """Solves -Δu = 0 by finite differences at the inner grid points, with exact distances to the boundary along the axes (Shortley,
    Weller)."""

    def __init__(self, rings: list[np.ndarray], values: np.ndarray, h: float) -> None:
        from scipy import sparse
        from scipy.sparse import linalg

        self.h = h
        self.low = np.floor(rings[0].min(axis=0)).astype(float) - 0.7321 * h  # keeps grid lines off the vertices, which are on pixel lines
        shape = np.ceil((rings[0].max(axis=0) - self.low) / h).astype(int) + 2
        # the boundary's crossings with the rows; transposing gives those with the columns
        a, after = np.concatenate(rings).astype(float), following(rings)
        rows = _crossings(a, after, values.astype(float), self.low, h, shape)
        columns = _crossings(a[:, ::-1], after, values.astype(float), self.low[::-1], h, shape[::-1])
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
                neighbour = number[ix + side * (axis == 0), iy + side * (axis == 1)]
                free = ~wall[k]
                entries.append((-weight[free], np.arange(n)[free], neighbour[free]))
        data, i, j = (np.concatenate(part) for part in zip(*entries))
        matrix = sparse.csc_array((np.r_[data, diagonal], (np.r_[i, np.arange(n)], np.r_[j, np.arange(n)])), shape=(n, n))
        self.u = np.full(shape, np.nan)
        self.u[self.inside] = linalg.spsolve(matrix, right)

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n inner grid points and the solution there."""
        ix, iy = np.nonzero(self.inside)
        chosen = np.random.default_rng(0).choice(len(ix), n, replace=len(ix) < n)
        X = self.low + self.h * np.stack([ix[chosen], iy[chosen]], axis=1)
        return X.astype(np.float32), self.u[ix[chosen], iy[chosen]]


def _crossings(
    vertices: np.ndarray, following: np.ndarray, values: np.ndarray, low: np.ndarray, h: float, shape: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each grid line y = const, the polygon's crossings in ascending order, in grid units, and the boundary values there."""
    a = (vertices - low) / h
    b, after = a[following], values[following]
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
    """For each grid point, the distance to its neighbour on one side in units of h, whether that is a wall, and the wall's value."""
    reach, wall, value = np.ones(len(along)), np.zeros(len(along), bool), np.zeros(len(along))
    for j in np.unique(across):
        x, v = lines[j]
        points = np.flatnonzero(across == j)
        k = np.searchsorted(x, along[points], side="left") - (side < 0)
        known = (k >= 0) & (k < len(x))
        k = np.clip(k, 0, max(len(x) - 1, 0))
        distance = np.where(known, side * (x[k] - along[points]), np.inf) if len(x) else np.full(len(points), np.inf)
        hit = distance <= 1
        reach[points[hit]] = np.maximum(distance[hit], 1e-6)
        wall[points] = hit
        value[points[hit]] = v[k[hit]]
    return reach, wall, value


def run(folder: Path, progress: Progress, quick: bool = False) -> list[Row]:
    sizes = QUICK if quick else FULL
    progress("wos: the outline of the cameraman, and finite differences inside")
    rings = outline()
    values = temperatures(np.concatenate(rings))
    grid_time, grid = seconds(lambda: Grid(rings, values, sizes.h))
    X, truth = grid.points(sizes.points)
    progress(f"wos: walks at {len(X)} points until every standard error is {sizes.error}")

    def ours(values: np.ndarray = values, X: np.ndarray = X, error: float = sizes.error) -> wos.Result[np.ndarray]:
        polygon, g = wos.Polygon(rings[0], holes=rings[1:]), wos.PerVertex(values)
        walks = min(ROUND, 2 * round(0.1 / error**2))
        with warnings.catch_warnings():  # near the cold feet hardly any walk reaches a nonzero value
            warnings.filterwarnings("ignore", "solve: the stderr of")
            return wos.solve(polygon, X, dirichlet=g, walks=walks, atol=error, max_walks=MAX_WALKS, epsilon=EPSILON, rng=0)

    result = ours()
    time = median_seconds(ours, sizes.runs)
    walks = round(float(result.n_walks.mean()))
    constant = np.full(len(values), 0.7, np.float32)
    rounding = float(np.abs(ours(constant, X[:FEW]).value / constant[0] - 1).max())
    progress("wos: the same number of walks with a Numba loop over all segments")
    no_bells = np.zeros((0, 3), np.float32)
    shell = EPSILON * float(np.linalg.norm(np.ptp(rings[0], axis=0)))
    brute_force(rings, X[:1], values, no_bells, 1, shell)  # compile
    shares = np.array_split(X[:FEW], get_num_threads())
    with ThreadPoolExecutor(len(shares)) as threads:
        theirs, _ = seconds(lambda: list(threads.map(lambda share: brute_force(rings, share, values, no_bells, walks, shell), shares)))
    progress(f"wos: walks at all {grid.inside.sum()} points of the finite differences")
    everywhere, exact = grid.points(int(grid.inside.sum()))
    all_time, all_points = seconds(lambda: ours(X=everywhere, error=sizes.error_everywhere))
    _picture(rings, values, X, result.value, truth, grid, folder / "wos.png")
    row = Row(
        "wos",
        "heat in a silhouette",
        f"{len(values)} segments, {len(rings) - 1} holes; {len(X)} points, {walks} walks per point on average",
        time,
        "Numba loop",
        theirs * len(X) / min(FEW, len(X)),
        rounding,
        "walks with a constant boundary temperature, compared with that constant",
        float(np.sqrt(np.mean((result.value - truth) ** 2))),
        f"RMS difference from finite differences; RMS of the standard errors: {float(np.sqrt(np.mean(result.stderr**2))):.1e}",
        f"The peer tests all segments at each step. It was timed at {FEW} points.",
        estimated=True,
    )
    everywhere_row = Row(
        "wos",
        "heat, every pixel",
        f"{len(everywhere)} points, standard error {sizes.error_everywhere}",
        all_time,
        "SciPy LU",
        grid_time,
        rounding,
        "as above",
        float(np.sqrt(np.mean((all_points.value - exact) ** 2))),
        "RMS difference from the peer's finite differences, which are far more accurate here",
        "For a smooth solution in a whole plane domain, random walks are not the right method.",
    )
    return [row, everywhere_row]


def _picture(
    rings: list[np.ndarray], values: np.ndarray, X: np.ndarray, value: np.ndarray, truth: np.ndarray, grid: Grid, file: Path
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right, errors = figure.subplots(1, 3, sharex=True, sharey=True)
    dots = left.scatter(X[:, 0], X[:, 1], c=value, s=3, cmap="inferno", vmin=0, vmax=1)
    left.set_title(f"Walk on Spheres, {len(X)} points")
    corner = grid.low + grid.h * np.array(grid.u.shape)
    extent = (grid.low[0], corner[0], grid.low[1], corner[1])
    right.imshow(grid.u.T, origin="lower", extent=extent, cmap="inferno", vmin=0, vmax=1)
    right.set_title("finite differences")
    off = errors.scatter(X[:, 0], X[:, 1], c=np.abs(value - truth), s=3, cmap="viridis", vmin=0)
    errors.set_title("error per point")
    vertices = np.concatenate(rings)
    edges: Any = np.stack([vertices, vertices[following(rings)]], axis=1)
    for axes in (left, right, errors):
        lines = LineCollection(edges, cmap="inferno", array=values, linewidths=1.5)
        axes.add_collection(lines)
        axes.set_aspect("equal")
        axes.set_axis_off()
    figure.colorbar(dots, ax=[left, right], label="temperature", shrink=0.7)
    figure.colorbar(off, ax=errors, label="|walks - finite differences|", shrink=0.7)
    figure.savefig(file, dpi=130)
