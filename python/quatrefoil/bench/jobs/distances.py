"""Signed distances of a million points to a mesh of 20,480 triangles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import Side

TITLE = "Signed distances of a million points to 20,480 triangles"
MEASURE = "largest error of a distance, relative to the largest distance"
QUICK = {"POINTS": 1000, "SUBDIVISIONS": 2}
POINTS, SUBDIVISIONS, CHECKED = 1_000_000, 5, 200


class Data(NamedTuple):
    V: np.ndarray  # (N, 3)
    F: np.ndarray  # (M, 3)
    X: np.ndarray  # (POINTS, 3)


def data() -> Data:
    """A sphere with bumps, and points in its bounding box."""
    from ...wos.query.bench import bumpy

    V, F = bumpy(SUBDIVISIONS)
    V = np.asarray(V, float)
    low, high = V.min(axis=0), V.max(axis=0)
    return Data(V, np.asarray(F), low + (high - low) * np.random.default_rng(0).random((POINTS, 3)))


def _distance(triangles: np.ndarray, x: np.ndarray) -> float:
    """The smallest distance to the planes and edges of triangles (M, 3, 3), negative if the solid angles add up to 4 pi."""
    a, b, c = triangles.transpose(1, 0, 2)
    square = np.full(len(a), np.inf)
    for p, q in ((a, b), (b, c), (c, a)):
        e = q - p
        s = (((x - p) * e).sum(axis=1) / (e * e).sum(axis=1)).clip(0, 1)
        square = np.minimum(square, ((p + s[:, None] * e - x) ** 2).sum(axis=1))
    normal = np.cross(b - a, c - a)
    height = ((x - a) * normal).sum(axis=1) / (normal * normal).sum(axis=1)
    foot = x - height[:, None] * normal
    inside = np.all([(np.cross(q - p, foot - p) * normal).sum(axis=1) >= 0 for p, q in ((a, b), (b, c), (c, a))], axis=0)
    square = np.where(inside, np.minimum(square, height**2 * (normal * normal).sum(axis=1)), square)
    u, v, w = (p - x for p in (a, b, c))
    lu, lv, lw = (np.linalg.norm(p, axis=1) for p in (u, v, w))
    below = lu * lv * lw + (u * v).sum(axis=1) * lw + (v * w).sum(axis=1) * lu + (w * u).sum(axis=1) * lv
    angle = 2 * np.arctan2((u * np.cross(v, w)).sum(axis=1), below).sum()
    return float(np.sqrt(square.min()) * (-1 if angle > 2 * np.pi else 1))


def errors(data: Data, answer: np.ndarray) -> dict[str, float]:
    truth = np.array([_distance(data.V[data.F], x) for x in data.X[:CHECKED][: len(answer)]])
    return {"error": np.abs(answer[:CHECKED] - truth).max() / np.abs(truth).max()}


def by_quatrefoil(data: Data) -> Any:
    from quatrefoil import wos

    return wos.signed_distance(wos.TriangleMesh(data.V, data.F), data.X)


def by_igl(data: Data) -> Any:
    import igl

    return np.asarray(igl.signed_distance(data.X, data.V, data.F)[0])


def by_open3d(data: Data) -> Any:
    import open3d.core as o3c
    from open3d.t.geometry import RaycastingScene

    scene = RaycastingScene()
    scene.add_triangles(o3c.Tensor(data.V.astype(np.float32)), o3c.Tensor(data.F.astype(np.uint32)))
    return scene.compute_signed_distance(o3c.Tensor(data.X.astype(np.float32))).numpy()


def by_fcpw(data: Data) -> Any:
    """Distances and their signs from two calls, which accept only lists of fcpw's own types."""
    import fcpw

    from ...wos.query.bench import fcpw_distances, fcpw_scene

    scene, X = fcpw_scene(data.V, data.F), data.X.astype(np.float32)
    points, inside = fcpw.float_3D_list(), fcpw.uint32_list()
    for x in X:
        points.append(x)
    scene.contains(points, inside)
    return np.where(list(inside), -1, 1) * fcpw_distances(scene, X)


def by_trimesh(data: Data, share: float) -> Any:
    import trimesh

    mesh = trimesh.Trimesh(data.V, data.F, process=False)
    return -trimesh.proximity.signed_distance(mesh, data.X[: round(len(data.X) * share)])


SIDES = {
    "quatrefoil": Side(by_quatrefoil),
    "libigl": Side(by_igl, "igl"),
    "Open3D": Side(by_open3d, "open3d"),
    "fcpw": Side(by_fcpw, "fcpw"),
    "trimesh": Side(by_trimesh, "trimesh", (0.001, 0.002)),
}
