"""The reflecting part of a mesh: on which side of each triangle the domain lies, and the edges that hide walls.

Equation numbers refer to csrc/wos/stars/README.md.
"""

from __future__ import annotations

import numpy as np

from ..mesh import TriangleMesh, merged
from ..query import contains
from ..region import inward_normals
from ..rings import FLAT
from .tables import Reflecting, Tables

_OFF = 1e-6  # distance from a triangle, relative to the box, at which its side is tested
_BITS = 16  # bits per coordinate on the curve that orders triangles and edges
FAR = np.array([[1.9, 2.0, 2.0, 2.0, 1.9, 2.0, 2.0, 2.0, 1.9]])  # scaled triangle far from all walks, used if nothing absorbs


def reflecting_mesh(mesh: TriangleMesh, code: np.ndarray, mu: np.ndarray, screening: float, label: str) -> Reflecting:
    """The tables of the walk for a mesh with these conditions."""
    if not mesh.watertight:
        raise ValueError(f"{label}: neumann and robin need a closed mesh, but this one was created with watertight=False")
    endless = not (code == 0).any()
    if endless and screening == 0 and not (mu > 0).any():
        raise ValueError(
            f"{label}: all of the mesh reflects, so u is unique only up to a constant; add a Dirichlet part, a positive mu or a screening"
        )
    scaled = mesh._scaled_ends()
    edges = _Edges(mesh)
    flipped = _flipped(mesh, edges)
    outward = np.where(flipped[:, None], scaled[:, [0, 1, 2, 6, 7, 8, 3, 4, 5]], scaled)
    reflecting = np.flatnonzero(code > 0)
    reflecting = reflecting[_along_curve(scaled.reshape(-1, 3, 3).mean(axis=1)[reflecting])]
    absorbing = np.flatnonzero(code == 0) if not endless else np.zeros(1, np.int64)
    corners = _silhouettes(scaled, outward, edges, code > 0)
    walls = np.column_stack([outward, mu, code == 2])[reflecting]
    ends = FAR if endless else np.ascontiguousarray(scaled[absorbing])
    rows = [x for table in (ends, walls, corners) for x in (table, np.array([0, len(table)], np.int64))]
    return Reflecting(Tables(*rows), absorbing, reflecting, flipped[reflecting], endless)


class _Edges:
    """Sides of triangles that join the same two points. Side i is side i % 3 of triangle i // 3, from corner i % 3 to the next.

    ``pairs`` (E, 2): sides of edges shared by two triangles, one in each direction. ``rest``: other sides. ``links``: sides that share an
    edge.
    """

    def __init__(self, mesh: TriangleMesh) -> None:
        _, at = merged(mesh.vertices)
        start = at[mesh.triangles]
        end = np.roll(start, -1, axis=1)
        key = np.minimum(start, end) * len(mesh.vertices) + np.maximum(start, end)
        _, edge, count = np.unique(key.reshape(-1), return_inverse=True, return_counts=True)
        order = np.argsort(edge, kind="stable")
        here, there = order[:-1], order[1:]
        joined = edge.reshape(-1)[here] == edge.reshape(-1)[there]
        self.links = np.stack([here[joined], there[joined]], axis=1)
        upward = (start < end).reshape(-1)
        two = self.links[count[edge.reshape(-1)[self.links[:, 0]]] == 2]
        self.pairs = two[upward[two[:, 0]] != upward[two[:, 1]]]
        alone = np.ones(start.size, bool)
        alone[self.pairs.reshape(-1)] = False
        self.rest = np.flatnonzero(alone)


def _flipped(mesh: TriangleMesh, edges: _Edges) -> np.ndarray:
    """Whether the corners of each triangle are clockwise seen from outside. Tests the largest triangle of every connected surface."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    M = len(mesh.triangles)
    links = edges.links // 3
    count, surface = connected_components(coo_array((np.ones(len(links)), links.T), (M, M)), directed=False)
    a, b, c = np.moveaxis(mesh._ends.reshape(-1, 3, 3), 1, 0)
    normal = np.cross(b - a, c - a)
    size = np.sqrt((normal**2).sum(axis=1))
    order = np.lexsort((size, surface))
    largest = order[np.searchsorted(surface[order], np.arange(count), side="right") - 1]
    off = np.minimum(_OFF * mesh._extent[0], 1e-3 * np.sqrt(size[largest]))
    above = (a + b + c)[largest] / 3 + (off / size[largest])[:, None] * normal[largest]
    flipped: np.ndarray = np.asarray(contains(mesh, above), bool)[surface]
    return flipped


def _silhouettes(scaled: np.ndarray, outward: np.ndarray, edges: _Edges, reflects: np.ndarray) -> np.ndarray:
    """(2) The re-entrant edges between reflecting triangles, and edges that do not join two triangles, which may hide any triangle."""
    corner = outward.reshape(-1, 3, 3)
    inner = inward_normals(corner)
    pairs = edges.pairs[reflects[edges.pairs // 3].all(axis=1)]
    one, two = pairs.T // 3
    a, b = _side(scaled, pairs[:, 0])
    along = (b - a) / np.sqrt(((b - a) ** 2).sum(axis=1, keepdims=True))
    across = corner.mean(axis=1)[two] - a
    across -= (across * along).sum(axis=1, keepdims=True) * along  # points from the edge into the second triangle
    sine = (across * inner[one]).sum(axis=1) / np.sqrt((across**2).sum(axis=1))
    back = (inner[one] * inner[two]).sum(axis=1) < -1 + 1e-12  # a slit
    reentrant = np.concatenate([a, b, inner[one], inner[two]], axis=1)[(sine < -FLAT) | back]
    rest = edges.rest[reflects[edges.rest // 3]]
    alone = np.concatenate([*_side(scaled, rest), inner[rest // 3], -inner[rest // 3]], axis=1)
    both = np.concatenate([reentrant, alone])
    return np.ascontiguousarray(both[_along_curve(0.5 * (both[:, :3] + both[:, 3:6]))])


def _side(scaled: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corner = scaled.reshape(-1, 3, 3)
    return corner[side // 3, side % 3], corner[side // 3, (side + 1) % 3]


def _along_curve(points: np.ndarray) -> np.ndarray:
    """The order of scaled points along a Morton curve, which keeps neighbours together."""
    cell = np.clip((points + 0.5) * 2**_BITS, 0, 2**_BITS - 1).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(_BITS):
        for axis in range(3):
            code |= (cell[:, axis] >> bit & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")
