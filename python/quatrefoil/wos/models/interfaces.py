"""The regions of a diffusion with jumps, and the distances of points on their interfaces from other facets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..mesh import Boundary, TriangleMesh
from ..polygon import Polygon
from ..query import closest_point, signed_distance
from ..query.composition import columns, shapes_of
from ..region import inward_normals
from ..regions import Regions, anchors_of, faceted, signed_size
from ..solid import SDF, Box

_NEIGHBOURS = 2.0  # facets less than this many anchor spacings away from a facet are tested for every point on it
_FLAT = 1e-9  # height, in units of the extent, below which two facets are in one line or plane
_CLOSEST = 64  # facets whose distances from a facet's anchors are exact; for others, lower bounds are used
_TOGETHER = 1 << 16  # pairs of a point and a facet whose distances are computed together


class Part(NamedTuple):
    """A region: its boundary, its diffusion, and the index of its first facet among the facets of the region around all parts."""

    shape: Polygon | TriangleMesh
    alpha: float
    first: int


class Interfaces:
    """The facets of a domain and its parts, with the part of each facet and the normal into that part.

    ``parts[0]`` is the region around all parts. ``part_of`` (M,) is 0 for facets of the domain's boundary. ``touching``: whether parts
    touch each other or the boundary. ``code``, ``mu`` (M,): 0, or 1 for ``neumann`` and 2 for ``robin`` with its μ. ``open``: whether the
    boundary has no facets; those of a box around it take their place.
    """

    def __init__(self, domain: Boundary, regions: Regions, code: np.ndarray | None = None, mu: np.ndarray | None = None) -> None:
        self.domain, shapes = faceted(domain), [shape for shape, _ in regions.parts]
        self.open = not isinstance(self.domain, (Polygon, TriangleMesh))
        outline = self.domain if isinstance(self.domain, (Polygon, TriangleMesh)) else _fence(domain)
        around = _around(outline, shapes)
        first = np.cumsum([len(outline._ends), *(len(shape._ends) for shape in shapes)])[:-1]
        self.parts = [Part(around, regions.outside, 0), *(Part(q, a, int(k)) for (q, a), k in zip(regions.parts, first))]
        self.alphas = np.array([part.alpha for part in self.parts])
        self.part_of = np.searchsorted(first, np.arange(len(around._ends)), side="right")
        self.inward = inward_normals(around._ends.reshape(-1, around.dimension, around.dimension))
        for part, following in zip(self.parts[1:], [*first[1:], len(around._ends)]):
            self.inward[part.first : following] *= np.sign(signed_size(part.shape))
        self.touching = regions._touching(self.domain)
        self.code, self.mu = np.zeros(len(around._ends), np.int64), np.zeros(len(around._ends))
        self.walls = code is not None and bool((code > 0).any())
        if code is not None and mu is not None:
            self.code[: len(code)], self.mu[: len(code)] = code, mu
        if self.walls:
            middle = outline._ends.reshape(len(outline._ends), -1, around.dimension).mean(axis=1)
            self.inward[: len(middle)] = -signed_distance(outline, middle, gradient=True)[1]
        self.absorbing = np.flatnonzero((self.part_of == 0) & (self.code == 0))
        self._find_neighbours(around)

    def _find_neighbours(self, around: Polygon | TriangleMesh) -> None:
        """Find the facets close to each facet of a part, and the distances of its anchors from all others, except those in its plane."""
        d = around.dimension
        corners, self.anchors, self.shapes = around._ends.reshape(-1, d, d), anchors_of(around), shapes_of(np, around._ends)
        M, centre = len(corners), corners.mean(axis=1)
        radius = np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1)
        self.apart, close = np.full(self.anchors.shape[:2], np.inf), [np.zeros(0, np.int64)] * M
        for k in np.flatnonzero((self.part_of > 0) | (self.code > 0)):
            height = np.abs((corners - corners[k, 0]) @ self.inward[k]).max(axis=1)
            differ = (self.part_of == 0) & ((self.code != self.code[k]) | (self.mu != self.mu[k])) & (self.code[k] > 0)
            others = np.flatnonzero((height > _FLAT * around._extent[0]) | differ)
            order = others[np.argsort(np.linalg.norm(centre[others] - centre[k], axis=1) - radius[others])]
            closest, rest = order[:_CLOSEST], order[_CLOSEST:]
            distance = self._distances(self.anchors[k], closest)
            bounds = np.linalg.norm(self.anchors[k][:, None] - centre[rest], axis=2) - radius[rest]
            near = distance.min(axis=0) < _NEIGHBOURS * 2 * radius[k] / (self.anchors.shape[1] ** (1 / (d - 1)) - 1)
            close[k] = closest[near]
            self.apart[k] = np.minimum(distance[:, ~near].min(axis=1, initial=np.inf), bounds.min(axis=1, initial=np.inf))
        self.close = np.full((M, max(map(len, close))), -1)
        for row, own in zip(self.close, close):
            row[: len(own)] = own

    def depth(self, x: np.ndarray, num_threads: int | None) -> np.ndarray:
        """Lower bounds on the distances of points x of the domain from its boundary."""
        if not self.open:
            return np.asarray(closest_point(self.domain, x, num_threads=num_threads).distance)
        slope = self.domain.lipschitz if isinstance(self.domain, SDF) else 1.0
        return np.asarray(-signed_distance(self.domain, x, num_threads=num_threads) / slope)

    def to_absorbing(self, x: np.ndarray) -> np.ndarray:
        """Distances from points x to the boundary's absorbing facets, infinite if it has none."""
        each = max(1, _TOGETHER // max(1, len(self.absorbing)))
        parts = [self._distances(x[at : at + each], self.absorbing).min(axis=1, initial=np.inf) for at in range(0, len(x), each)]
        return np.concatenate([np.zeros(0), *parts])

    def clear(self, x: np.ndarray, facet: np.ndarray, num_threads: int | None) -> np.ndarray:
        """Lower bounds on the distances of points x on facets ``facet`` from all facets that are not in the same line or plane."""
        radius = (self.apart[facet] - np.linalg.norm(x[:, None] - self.anchors[facet], axis=2)).max(axis=1)
        each = max(1, _TOGETHER // max(1, self.close.shape[1]))
        for at in range(0, len(x), each):
            some = slice(at, at + each)
            close = self.close[facet[some]]
            away = np.where(close >= 0, self._distances(x[some], close), np.inf)
            radius[some] = np.minimum(radius[some], away.min(axis=1, initial=np.inf))
        return np.minimum(radius, self.depth(x, num_threads)) if self.open else np.asarray(radius)

    def _distances(self, x: np.ndarray, facets: np.ndarray) -> np.ndarray:
        """Distances (n, m) of points (n, d) from ``facets``, (m,), or (n, m) with m facets for each point."""
        shapes = type(self.shapes)(*(part[facets] for part in self.shapes))
        return np.asarray(np.sqrt(shapes.foot(np, columns(x[:, None]))[0]))


def _fence(domain: Boundary) -> Polygon | TriangleMesh:
    """A box of twice the size of the domain's, whose sides are farther from every point of the domain than its boundary."""
    reach = 2 * float(domain._extent[0])
    fence: Polygon | TriangleMesh = faceted(Box(domain._centre[0] - reach, domain._centre[0] + reach))  # type: ignore[assignment]
    return fence


def _around(domain: Polygon | TriangleMesh, shapes: list[Polygon | TriangleMesh]) -> Polygon | TriangleMesh:
    if isinstance(domain, Polygon):
        return Polygon(domain.vertices, [*domain.holes, *(shape.vertices for shape in shapes)])
    meshes = [domain, *shapes]
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    triangles = np.concatenate([mesh.triangles + k for mesh, k in zip(meshes, first)])  # type: ignore[union-attr]
    return TriangleMesh(np.concatenate([mesh.vertices for mesh in meshes]), triangles)
