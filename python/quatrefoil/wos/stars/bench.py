"""Walks on stars against the same algorithm in compiled loops that look at every segment and wall: a user's, in float32, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..walk.bench import EPSILON, SEGMENTS, star, star_points
from .bench_mesh import BRUTE_FORCE, solve_mesh, solved

POINTS, WALKS = 512, 64


def problems() -> Iterator[Problem]:
    """Half of the 1024 segments reflect, in eight stretches; without a flux, as the user's loop has none, and with one. And a mesh."""
    for flux in (False, True):
        yield _solve(flux)
    yield solve_mesh()


def _solve(flux: bool) -> Problem:
    ring, X = star(SEGMENTS), star_points(POINTS)
    where = np.arange(SEGMENTS) // (SEGMENTS // 16) % 2 == 1
    g = wos.Fourier(np.array([0.3, 0.1, -0.2, 0.05, 0.15], np.float32))
    h = wos.Fourier(np.array([0.2, 0.5, 0.1], np.float32)) if flux else 0.0
    polygon = wos.Polygon(ring)
    peers: dict[str, Callable[[], Any]] = {}
    if not flux:
        walk, shell, numbers = brute_force(), EPSILON * float(polygon._diagonal[0]), np.asarray(g.coefficients, np.float32)
        peers[BRUTE_FORCE] = lambda: walk(ring, where, X, numbers, WALKS, shell)
    name, size = "half Neumann, flux" if flux else "half Neumann", f"{SEGMENTS} segments, {POINTS} x {WALKS} walks"
    return solved(name, size, polygon, X, WALKS, {"dirichlet": g, "neumann": (where, h)}, peers)


def segment_table(ring: np.ndarray) -> np.ndarray:
    """(5, M): beginnings, sides and 1 / length^2 of the segments of a ring."""
    e = np.roll(ring, -1, axis=0) - ring
    return np.ascontiguousarray(np.stack([*ring.T, *e.T, 1 / (e**2).sum(axis=1)]).astype(np.float32))


def segment_distance(compiled: Any) -> Any:
    """The squared distance from a table of segments: a minimum for LLVM to vectorise."""

    def _nearest(s: Any, x: Any, y: Any) -> Any:
        best = np.float32(1e30)
        for k in range(s.shape[1]):
            px, py = x - s[0, k], y - s[1, k]
            t = min(max((px * s[2, k] + py * s[3, k]) * s[4, k], np.float32(0)), np.float32(1))
            dx, dy = px - t * s[2, k], py - t * s[3, k]
            best = min(best, dx * dx + dy * dy)
        return best

    return compiled(_nearest)


def fourier_series(compiled: Any) -> Any:
    """The boundary value of coefficients c in the direction of (x, y)."""

    def _value(c: Any, x: Any, y: Any) -> Any:
        theta, value = np.arctan2(y, x), c[0]
        for m in range(1, (len(c) + 1) // 2):
            value += c[2 * m - 1] * np.cos(m * theta) + c[2 * m] * np.sin(m * theta)
        return value

    return compiled(_value)


def _loops(compiled: Any) -> tuple[Any, ...]:
    """Squared distances of silhouettes, where a ray meets a wall: minima for LLVM to vectorise; the closest wall."""

    def _hidden(c: Any, x: Any, y: Any) -> Any:
        best, slack = np.float32(1e30), np.float32(1e-6)
        for k in range(c.shape[1]):
            dx, dy = x - c[0, k], y - c[1, k]
            one, two = dx * c[2, k] + dy * c[3, k], dx * c[4, k] + dy * c[5, k]
            d2 = dx * dx + dy * dy
            seen = ((one > slack) & (two > slack)) | ((one < -slack) & (two < -slack))
            best = min(best, np.float32(1e30) if seen else d2)
        return best

    def _meets(w: Any, x: Any, y: Any, dx: Any, dy: Any) -> Any:
        best, slack = np.float32(1e30), np.float32(1e-6)
        for k in range(w.shape[1]):
            det = dx * w[3, k] - dy * w[2, k]
            inverse = np.float32(1) / (det if det > np.float32(0) else np.float32(1))
            px, py = w[0, k] - x, w[1, k] - y
            t, s = (px * w[3, k] - py * w[2, k]) * inverse, (px * dy - py * dx) * inverse
            hits = (det > np.float32(0)) & (t > np.float32(1e-5)) & (s >= -slack) & (s <= np.float32(1) + slack)
            best = min(best, t if hits else np.float32(1e30))
        return best

    def _on(s: Any, x: Any, y: Any) -> Any:
        best, closest = np.float32(1e30), 0
        for k in range(s.shape[1]):
            px, py = x - s[0, k], y - s[1, k]
            t = min(max((px * s[2, k] + py * s[3, k]) * s[4, k], np.float32(0)), np.float32(1))
            dx, dy = px - t * s[2, k], py - t * s[3, k]
            d2 = dx * dx + dy * dy
            if d2 < best:
                best, closest = d2, k
        return closest

    return compiled(_hidden), compiled(_meets), compiled(_on)


def brute_force() -> Callable[..., np.ndarray]:
    """A walk on stars in float32 with no flux: (ring (M, 2) counter-clockwise, where, points, Fourier numbers, walks, epsilon) -> mean."""
    import numba

    compiled = numba.njit(fastmath=True)
    nearest, fourier, (hidden, meets, on) = segment_distance(compiled), fourier_series(compiled), _loops(compiled)

    def _loop(absorbing: Any, walls: Any, corners: Any, points: Any, c: Any, walks: Any, epsilon: Any) -> Any:
        mean, turn = np.empty(len(points), np.float32), np.float32(2 * np.pi)
        for i in range(len(points)):
            total = 0.0
            for _ in range(walks):
                x, y = points[i, 0], points[i, 1]
                nx, ny, on_wall = np.float32(0), np.float32(0), False
                for _ in range(1024):
                    r = np.sqrt(nearest(absorbing, x, y))
                    if r <= epsilon:
                        break
                    r = max(epsilon, min(r, np.sqrt(hidden(corners, x, y))))
                    angle = turn * np.float32(np.random.random())
                    dx, dy = np.cos(angle), np.sin(angle)
                    if on_wall and dx * nx + dy * ny < 0:
                        dx, dy = -dx, -dy
                    t = meets(walls, x, y, dx, dy)
                    on_wall = t <= r
                    r = min(t, r)
                    x += r * dx
                    y += r * dy
                    if on_wall:
                        k = on(walls, x, y)
                        length = np.sqrt(walls[2, k] ** 2 + walls[3, k] ** 2)
                        nx, ny = -walls[3, k] / length, walls[2, k] / length
                        x, y = x + np.float32(1e-6) * nx, y + np.float32(1e-6) * ny
                total += fourier(c, x, y)
            mean[i] = total / walks
        return mean

    loop: Any = compiled(_loop)

    def walk(ring: np.ndarray, where: np.ndarray, points: np.ndarray, numbers: np.ndarray, walks: int, epsilon: float) -> np.ndarray:
        e = np.roll(ring, -1, axis=0) - ring
        segments = segment_table(ring)
        unit = e / np.hypot(*e.T)[:, None]
        inner, after = np.stack([-unit[:, 1], unit[:, 0]]), np.roll(unit, -1, axis=0)
        sharp = (unit[:, 0] * after[:, 1] - unit[:, 1] * after[:, 0] < -1e-9) & where & np.roll(where, -1)
        corners = np.concatenate([np.roll(ring, -1, axis=0).T, inner, np.roll(inner, -1, axis=1)])[:, sharp].astype(np.float32)
        parts = [np.ascontiguousarray(part) for part in (segments[:, ~where], segments[:, where], corners)]
        mean: np.ndarray = loop(*parts, points.astype(np.float32), numbers, walks, np.float32(epsilon))
        return mean

    return walk
