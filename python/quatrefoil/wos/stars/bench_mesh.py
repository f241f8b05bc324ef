"""Walks on stars in a mesh, compared with a plain compiled float32 loop that tests every triangle and edge."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..query.bench import ball_points, bumpy
from ..query.composition import shapes_of
from ..walk.bench import EPSILON, monte_carlo
from ..walk.bench_loops import compiled

POINTS, WALKS, SUBDIVISIONS = 64, 16, 3


def solve_mesh() -> Problem:
    """The upper half of a bumpy ball of 1280 triangles reflects. There is no flux, because the loop does not support one."""
    V, F = bumpy(SUBDIVISIONS)
    reflecting, X = V[F].mean(axis=1)[:, 2] > 0, ball_points(POINTS, 0.8).astype(np.float32)
    mesh = wos.TriangleMesh(V, F)
    slope = np.zeros((2, 2, 2))
    slope[0, 0, 0], slope[1, 0, 0], slope[0, 0, 1] = 1.0, 0.5, 0.3
    g = wos.Polynomial(slope.astype(np.float32))
    solve = partial(wos.solve, mesh, X, dirichlet=g, neumann=(reflecting, 0.0), epsilon=EPSILON, walks=WALKS, rng=1)
    shell = EPSILON * float(mesh._diagonal[0])
    peers = {
        "quatrefoil numba": lambda: solve(backend="numba").value,
        "numba brute force": lambda: brute_force(V, F, reflecting, X, WALKS, shell),
    }
    size = f"{len(F)} triangles, {POINTS} x {WALKS} walks"
    return monte_carlo("half Neumann, mesh", size, solve, peers, {"numba brute force": 5}, pilot=4)


@compiled
def frame(s: Any, k: Any, x: Any, y: Any, z: Any) -> Any:
    """Coordinates (u, v, w) in the frame of a triangle: along its longest side, in its plane, along its normal."""
    px, py, pz = x - s[0, k], y - s[1, k], z - s[2, k]
    u, v = px * s[3, k] + py * s[4, k] + pz * s[5, k], px * s[6, k] + py * s[7, k] + pz * s[8, k]
    return u, v, px * s[9, k] + py * s[10, k] + pz * s[11, k]


@compiled
def nearest(s: Any, x: Any, y: Any, z: Any) -> Any:
    """The squared distance to the nearest triangle."""
    best, zero, one = np.float32(1e30), np.float32(0), np.float32(1)
    for k in range(s.shape[1]):
        u, v, w = frame(s, k, x, y, z)
        L, cx, cy = s[12, k], s[13, k], s[14, k]
        ex, bu = cx - L, u - L
        inside = (v >= zero) & (ex * v - cy * bu >= zero) & (cy * u - cx * v >= zero)
        a = min(max(u, zero), L)
        t, r = min(max((ex * bu + cy * v) * s[15, k], zero), one), min(max((cx * u + cy * v) * s[16, k], zero), one)
        ab, bc = (u - a) ** 2 + v * v, (bu - t * ex) ** 2 + (v - t * cy) ** 2
        ca = (u - r * cx) ** 2 + (v - r * cy) ** 2
        best = min(best, (zero if inside else min(ab, min(bc, ca))) + w * w)
    return best


@compiled
def silhouette(c: Any, x: Any, y: Any, z: Any) -> Any:
    """The squared distance to the nearest edge that is a silhouette."""
    best, slack = np.float32(1e30), np.float32(1e-6)
    for k in range(c.shape[1]):
        px, py, pz = x - c[0, k], y - c[1, k], z - c[2, k]
        one, two = px * c[7, k] + py * c[8, k] + pz * c[9, k], px * c[10, k] + py * c[11, k] + pz * c[12, k]
        t = min(max((px * c[3, k] + py * c[4, k] + pz * c[5, k]) * c[6, k], np.float32(0)), np.float32(1))
        d2 = (px - t * c[3, k]) ** 2 + (py - t * c[4, k]) ** 2 + (pz - t * c[5, k]) ** 2
        visible = ((one > slack) & (two > slack)) | ((one < -slack) & (two < -slack))
        best = min(best, np.float32(1e30) if visible else d2)
    return best


@compiled
def hit(s: Any, x: Any, y: Any, z: Any, dx: Any, dy: Any, dz: Any) -> Any:
    """The distance along a ray to the first wall."""
    best, slack, zero = np.float32(1e30), np.float32(1e-6), np.float32(0)
    for k in range(s.shape[1]):
        u, v, w = frame(s, k, x, y, z)
        du, dv = dx * s[3, k] + dy * s[4, k] + dz * s[5, k], dx * s[6, k] + dy * s[7, k] + dz * s[8, k]
        dw = dx * s[9, k] + dy * s[10, k] + dz * s[11, k]
        t = -w / (dw if dw > zero else np.float32(1))
        u, v = u + t * du, v + t * dv
        ex, cx, cy = s[13, k] - s[12, k], s[13, k], s[14, k]
        inside = (v >= -slack) & (ex * v - cy * (u - s[12, k]) >= -slack) & (cy * u - cx * v >= -slack)
        best = min(best, t if inside & (dw > zero) & (t > np.float32(1e-5)) else np.float32(1e30))
    return best


@compiled
def closest(s: Any, x: Any, y: Any, z: Any) -> Any:
    """The index of the nearest triangle."""
    best, index = np.float32(1e30), 0
    for k in range(s.shape[1]):
        u, v, w = frame(s, k, x, y, z)
        ex, cx, cy = s[13, k] - s[12, k], s[13, k], s[14, k]
        out = max(-v, max(cy * (u - s[12, k]) - ex * v, cx * v - cy * u))
        d = abs(w) + max(out, np.float32(0))
        if d < best:
            best, index = d, k
    return index


@compiled
def _walk_all(absorbing: Any, walls: Any, edges: Any, points: Any, walks: Any, epsilon: Any) -> Any:
    mean, turn = np.empty(len(points), np.float32), np.float32(2 * np.pi)
    for i in range(len(points)):
        total = 0.0
        for _ in range(walks):
            x, y, z, at_wall, k = points[i, 0], points[i, 1], points[i, 2], False, 0
            for _ in range(1024):
                r = np.sqrt(nearest(absorbing, x, y, z))
                if r <= epsilon:
                    break
                r = max(epsilon, min(r, np.sqrt(silhouette(edges, x, y, z))))
                angle, dz = turn * np.float32(np.random.random()), np.float32(2 * np.random.random() - 1)
                rho = np.sqrt(max(np.float32(1) - dz * dz, np.float32(0)))
                dx, dy = rho * np.cos(angle), rho * np.sin(angle)
                if at_wall and dx * walls[9, k] + dy * walls[10, k] + dz * walls[11, k] > 0:
                    dx, dy, dz = -dx, -dy, -dz
                t = hit(walls, x, y, z, dx, dy, dz)
                at_wall = t <= r
                r = min(t, r)
                x, y, z = x + r * dx, y + r * dy, z + r * dz
                if at_wall:
                    k, off = closest(walls, x, y, z), np.float32(1e-6)
                    x, y, z = x - off * walls[9, k], y - off * walls[10, k], z - off * walls[11, k]
            total += 1 + 0.5 * x + 0.3 * z
        mean[i] = total / walks
    return mean


def brute_force(V: np.ndarray, F: np.ndarray, reflecting: np.ndarray, points: np.ndarray, walks: int, epsilon: float) -> Any:
    """Means of walks on stars without a flux. The value at a walk's end is 1 + x / 2 + 3 z / 10."""
    from .reflecting_3d import reflecting_mesh

    geometry = reflecting_mesh(wos.TriangleMesh(V, F), reflecting.astype(int), np.zeros(len(F)), 0.0, "brute_force")
    corners, edges = V[F], mixed_edges(V, geometry.tables.rows[4])
    tables = [np.ascontiguousarray(t, np.float32) for t in (planes(corners[~reflecting]), planes(corners[reflecting]), edges)]
    return _walk_all(*tables, points, walks, np.float32(epsilon))


def mixed_edges(V: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Edges (13, edges): begin, along, 1 / length^2, and the two normals, in absolute coordinates."""
    centre, extent = 0.5 * (V.min(axis=0) + V.max(axis=0)), (V.max(axis=0) - V.min(axis=0)).max()
    a, b = (centre + extent * scaled[:, i : i + 3] for i in (0, 3))
    return np.concatenate([a, b - a, 1 / ((b - a) ** 2).sum(axis=1, keepdims=True), scaled[:, 6:]], axis=1).T


def planes(corner: np.ndarray) -> np.ndarray:
    """The fields (17, triangles) of csrc/wos/mesh/README.md (1)."""
    r: Any = shapes_of(np, corner.reshape(-1, 9))
    inverse = [1 / ((r.cx - r.length) ** 2 + r.cy**2), 1 / (r.cx**2 + r.cy**2)]
    return np.column_stack([r.a, r.e, r.f, r.n, r.length, r.cx, r.cy, *inverse]).T
