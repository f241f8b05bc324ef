"""Walks through media compared with the same algorithm in a plain compiled loop that tests every segment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numba
import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..walk.bench import EPSILON, SEGMENTS, monte_carlo, star, star_points
from ..walk.bench_loops import compiled, nearest, segments, series
from ..walk.loops_philox import bessel_series, harmonic_series

POINTS, WALKS = 512, 64
HEIGHT, WIDTH = 1.5, 0.8  # alpha = 1 + a Gaussian at 0


def problems() -> Iterator[Problem]:
    """1024 segments. The diffusion is a sum of Gaussians or a compiled function."""
    yield _solve("bells", wos.Gaussians(np.array([HEIGHT, 1.0]), np.zeros((2, 2)), np.array([WIDTH, 1e5])))
    yield _solve("njit function", numba.njit(lambda X: 1.0 + HEIGHT * np.exp(-(X[:, 0] ** 2 + X[:, 1] ** 2) / WIDTH**2)))


def _solve(kind: str, diffusion: Any) -> Problem:
    ring, X = star(SEGMENTS), star_points(POINTS).astype(float)
    polygon, g = wos.Polygon(ring.astype(float)), wos.Fourier(np.array([0.3, 0.1, -0.2, 0.05, 0.15]))
    solve = partial(wos.solve, polygon, X, dirichlet=g, diffusion=diffusion, epsilon=EPSILON, walks=WALKS, rng=1)
    rate = solve(walks=1).run.prepared.bound
    assert rate is not None
    bound, numbers = float(rate.rows[0, 0]), np.asarray(g.coefficients, np.float32)
    shell = EPSILON * float(polygon._diagonal[0])
    peers = {
        "numba brute force": lambda: brute_force(ring, X, numbers, bound, WALKS, shell),
        "quatrefoil numba": lambda: solve(backend="numba").value,
    }
    size = f"{SEGMENTS} segments, {POINTS} x {WALKS} walks"
    return monte_carlo(f"diffusion, {kind}", size, solve, peers, {"numba brute force": 5})


H2, f32 = np.float32(1 / WIDTH**2), np.float32


@compiled
def _alpha(x: Any, y: Any) -> Any:
    return f32(1) + f32(HEIGHT) * np.exp(-(x * x + y * y) * H2)


@compiled
def _rate(x: Any, y: Any) -> Any:
    """σ' at a point."""
    r2 = x * x + y * y
    bell = f32(HEIGHT) * np.exp(-r2 * H2)
    alpha, slope2 = f32(1) + bell, f32(4) * H2 * H2 * bell * bell * r2
    return f32(4) * H2 * bell * (r2 * H2 - f32(1)) / (f32(2) * alpha) - slope2 / (f32(4) * alpha * alpha)


@compiled
def _weight(s: Any, z2: Any) -> Any:
    """The weight of a source point."""
    q = f32(0.25) * z2
    at = q * s * s
    i0 = bessel_series(0, at)
    a = harmonic_series(0, at) / i0 - harmonic_series(0, q) / bessel_series(0, q)
    return f32(i0 * (1.0 - a / np.log(s)))


@compiled
def _walk_all(s: Any, points: Any, c: Any, bound: Any, walks: Any, shell: Any) -> Any:
    """The walk of csrc/wos/media/README.md, one walk at a time."""
    mean = np.zeros(len(points))
    for i in range(len(points)):
        for _ in range(walks):
            x, y, w = f32(points[i, 0]), f32(points[i, 1]), f32(1)
            while w != f32(0):
                d2 = nearest(s, x, y)
                if d2 <= shell * shell:
                    break
                R = min(np.sqrt(d2), f32(2) / np.sqrt(bound))
                angle, v = f32(2 * np.pi) * f32(np.random.random()), f32(np.random.random())
                r = np.sqrt(f32(np.random.random()) * f32(np.random.random()))
                z2 = R * R * bound
                if v < f32(0.25) * z2 and v < f32(0.25) * z2 * _weight(r, z2):
                    x, y = x + R * r * np.cos(angle), y + R * r * np.sin(angle)
                    w *= f32(1) - _rate(x, y) / bound
                    if w < f32(0.125):
                        w = f32(0.125) if f32(np.random.random()) * f32(0.125) < w else f32(0)
                else:
                    x, y = x + R * np.cos(angle), y + R * np.sin(angle)
            if w != f32(0):
                mean[i] += w * series(c, x, y) * np.sqrt(_alpha(x, y))
        mean[i] /= walks * np.sqrt(_alpha(f32(points[i, 0]), f32(points[i, 1])))
    return mean


def brute_force(ring: np.ndarray, points: np.ndarray, numbers: np.ndarray, bound: float, walks: int, shell: float) -> Any:
    table = segments(ring, np.roll(ring, -1, axis=0))
    return _walk_all(table, points.astype(np.float32), numbers, np.float32(bound), walks, np.float32(shell))
