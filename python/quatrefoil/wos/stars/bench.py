"""Walks on stars compared with plain compiled loops that test every segment and wall: a user's, in float32, and ours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem, Run
from ..walk.bench import EPSILON, SEGMENTS, monte_carlo, star, star_points
from ..walk.bench_loops import closest, compiled, nearest, segments, series
from .bench_mesh import solve_mesh

POINTS, WALKS = 512, 64


def problems() -> Iterator[Problem]:
    """Half of 1024 segments reflect, in eight stretches, without and with a flux, which the user's loop does not support. Also a mesh."""
    yield _solve("half Neumann")
    yield _solve("half Neumann, flux", flux=True)
    yield solve_mesh()


def _solve(name: str, flux: bool = False) -> Problem:
    ring, X = star(SEGMENTS), star_points(POINTS)
    reflecting = np.arange(SEGMENTS) // (SEGMENTS // 16) % 2 == 1
    g = wos.Fourier(np.array([0.3, 0.1, -0.2, 0.05, 0.15], np.float32))
    h = wos.Fourier(np.array([0.2, 0.5, 0.1], np.float32)) if flux else 0.0
    polygon = wos.Polygon(ring)
    solve = partial(wos.solve, polygon, X, dirichlet=g, neumann=(reflecting, h), epsilon=EPSILON, walks=WALKS, rng=1)
    peers: dict[str, Run] = {"quatrefoil numba": lambda: solve(backend="numba").value}
    if not flux:
        shell, numbers = EPSILON * float(polygon._diagonal[0]), np.asarray(g.coefficients, np.float32)
        peers["numba brute force"] = lambda: brute_force(ring, reflecting, X, numbers, WALKS, shell)
    return monte_carlo(name, f"{SEGMENTS} segments, {POINTS} x {WALKS} walks", solve, peers, {"numba brute force": 5})


@compiled
def silhouette(c: Any, x: Any, y: Any) -> Any:
    """The squared distance to the nearest corner that is a silhouette."""
    best, slack = np.float32(1e30), np.float32(1e-6)
    for k in range(c.shape[1]):
        dx, dy = x - c[0, k], y - c[1, k]
        one, two = dx * c[2, k] + dy * c[3, k], dx * c[4, k] + dy * c[5, k]
        d2 = dx * dx + dy * dy
        visible = ((one > slack) & (two > slack)) | ((one < -slack) & (two < -slack))
        best = min(best, np.float32(1e30) if visible else d2)
    return best


@compiled
def hit(w: Any, x: Any, y: Any, dx: Any, dy: Any) -> Any:
    """The distance along a ray to the first wall."""
    best, slack = np.float32(1e30), np.float32(1e-6)
    for k in range(w.shape[1]):
        det = dx * w[3, k] - dy * w[2, k]
        inverse = np.float32(1) / (det if det > np.float32(0) else np.float32(1))
        px, py = w[0, k] - x, w[1, k] - y
        t, s = (px * w[3, k] - py * w[2, k]) * inverse, (px * dy - py * dx) * inverse
        valid = (det > np.float32(0)) & (t > np.float32(1e-5)) & (s >= -slack) & (s <= np.float32(1) + slack)
        best = min(best, t if valid else np.float32(1e30))
    return best


@compiled
def _walk_all(absorbing: Any, walls: Any, corners: Any, points: Any, c: Any, walks: Any, epsilon: Any) -> Any:
    mean, turn = np.empty(len(points), np.float32), np.float32(2 * np.pi)
    for i in range(len(points)):
        total = 0.0
        for _ in range(walks):
            x, y = points[i, 0], points[i, 1]
            nx, ny, at_wall = np.float32(0), np.float32(0), False
            for _ in range(1024):
                r = np.sqrt(nearest(absorbing, x, y))
                if r <= epsilon:
                    break
                r = max(epsilon, min(r, np.sqrt(silhouette(corners, x, y))))
                angle = turn * np.float32(np.random.random())
                dx, dy = np.cos(angle), np.sin(angle)
                if at_wall and dx * nx + dy * ny < 0:
                    dx, dy = -dx, -dy
                t = hit(walls, x, y, dx, dy)
                at_wall = t <= r
                r = min(t, r)
                x += r * dx
                y += r * dy
                if at_wall:
                    k, _ = closest(walls, x, y)
                    length = np.sqrt(walls[2, k] ** 2 + walls[3, k] ** 2)
                    nx, ny = -walls[3, k] / length, walls[2, k] / length
                    x, y = x + np.float32(1e-6) * nx, y + np.float32(1e-6) * ny
            total += series(c, x, y)
        mean[i] = total / walks
    return mean


def brute_force(ring: np.ndarray, reflecting: np.ndarray, points: np.ndarray, numbers: np.ndarray, walks: int, epsilon: float) -> Any:
    """Means of walks on stars without a flux, for a counter-clockwise ring."""
    end = np.roll(ring, -1, axis=0)
    unit = (end - ring) / np.hypot(*(end - ring).T)[:, None]
    inner, after = np.stack([-unit[:, 1], unit[:, 0]]), np.roll(unit, -1, axis=0)
    sharp = (unit[:, 0] * after[:, 1] - unit[:, 1] * after[:, 0] < -1e-9) & reflecting & np.roll(reflecting, -1)
    corners = np.ascontiguousarray(np.concatenate([end.T, inner, np.roll(inner, -1, axis=1)])[:, sharp], np.float32)
    absorbing, walls = (segments(ring[part], end[part]) for part in (~reflecting, reflecting))
    return _walk_all(absorbing, walls, corners, points.astype(np.float32), numbers, walks, np.float32(epsilon))
