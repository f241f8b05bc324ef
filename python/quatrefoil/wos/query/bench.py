"""Closest points on a mesh compared with fcpw, one thread each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem, installed

POINTS = 20_000


def bumpy(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """An icosphere of 20 4^k triangles with radius 1 + .1 sin 4x cos 3y + .06 sin 7z."""
    p = (1 + 5**0.5) / 2
    V = np.array([(0, s, t * p) for s in (-1, 1) for t in (-1, 1)])
    V = np.concatenate([np.roll(V, k, axis=1) for k in range(3)])
    near = np.linalg.norm(V[:, None] - V, axis=2) < 2.1
    F = np.array([(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] and near[b, c] and near[c, a]])
    reversed_rows = np.linalg.det(V[F]) < 0
    F[reversed_rows] = F[reversed_rows, ::-1]
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    for _ in range(subdivisions):
        sides = np.sort(F[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        ends, at = np.unique(sides, axis=0, return_inverse=True)
        x, y, z = at.reshape(-1, 3).T + len(V)
        middle = V[ends].mean(axis=1)
        V = np.concatenate([V, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        a, b, c = F.T
        F = np.concatenate([np.stack(t, axis=1) for t in ([a, x, z], [b, y, x], [c, z, y], [x, y, z])])
    x, y, z = V.T
    return V * (1 + 0.1 * np.sin(4 * x) * np.cos(3 * y) + 0.06 * np.sin(7 * z))[:, None], F


def ball_points(n: int, radius: float = 1.0) -> Any:
    rng = np.random.default_rng(7)
    v = rng.standard_normal((n, 3))
    return (v / np.linalg.norm(v, axis=1, keepdims=True) * radius * rng.random((n, 1)) ** (1 / 3)).astype(np.float32)


def fcpw_scene(V: np.ndarray, F: np.ndarray) -> Any:
    """fcpw's vectorised tree of a mesh, built as fcpw's README recommends."""
    import fcpw

    scene = fcpw.scene_3D()
    scene.set_object_count(1)
    scene.set_object_vertices(np.ascontiguousarray(V, np.float32), 0)
    scene.set_object_triangles(np.ascontiguousarray(F, np.int32), 0)
    scene.build(fcpw.aggregate_type.bvh_surface_area, True)
    return scene


def fcpw_distances(scene: Any, q: np.ndarray) -> np.ndarray:
    """The distances of all points, from a single call."""
    import fcpw

    interactions = fcpw.interaction_3D_list()
    scene.find_closest_points(q, np.full(len(q), 1e30, np.float32), interactions)
    return np.array([each.d for each in interactions])


def problems() -> Iterator[Problem]:
    for subdivisions in (5, 6):
        yield _closest(subdivisions)


def _closest(subdivisions: int) -> Problem:
    V, F = bumpy(subdivisions)
    q, mesh = ball_points(POINTS), wos.TriangleMesh(V, F)
    peers = {"fcpw": partial(fcpw_distances, fcpw_scene(V, F), q)} if installed("fcpw") else {}

    def ours(points: np.ndarray = q) -> Any:
        return wos.closest_point(mesh, points)[0]

    truth = partial(ours, q.astype(float))
    return Problem("wos", "closest point", f"{len(F)} triangles, {POINTS} points", ours, peers, truth, 1e-6, {"fcpw": 3})
