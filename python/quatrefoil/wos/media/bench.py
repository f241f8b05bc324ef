"""Walks through media against the same algorithm in a compiled loop that looks at every segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..stars.bench import fourier_series, segment_distance, segment_table
from ..stars.bench_mesh import BRUTE_FORCE, solved
from ..walk.bench import EPSILON, SEGMENTS, star, star_points

POINTS, WALKS = 512, 64
HEIGHT, WIDTH = 1.5, 0.8  # alpha = 1 + a bell at 0


def problems() -> Iterator[Problem]:
    """1024 segments; the diffusion as bells, and as a compiled function."""
    yield _solve("bells", wos.Gaussians(np.array([HEIGHT, 1.0]), np.zeros((2, 2)), np.array([WIDTH, 1e5])))
    yield _solve("njit function", _bell())


def _bell() -> Any:
    import numba

    def alpha(X: Any) -> Any:
        return 1.0 + HEIGHT * np.exp(-(X[:, 0] ** 2 + X[:, 1] ** 2) / WIDTH**2)

    return numba.njit(alpha)


def _solve(kind: str, diffusion: Any) -> Problem:
    ring, X = star(SEGMENTS), star_points(POINTS).astype(float)
    polygon = wos.Polygon(ring.astype(float))
    g = wos.Fourier(np.array([0.3, 0.1, -0.2, 0.05, 0.15]))

    data = {"dirichlet": g, "diffusion": diffusion}
    rate = wos.solve(polygon, X[:1], **data, walks=1, epsilon=EPSILON, rng=2).run.prepared.bound
    assert rate is not None
    walk, shell, bound = brute_force(), EPSILON * float(polygon._diagonal[0]), float(rate.rows[0, 0])
    numbers = np.asarray(g.coefficients, np.float32)
    peers: dict[str, Callable[[], Any]] = {BRUTE_FORCE: lambda: walk(ring, X, numbers, bound, WALKS, shell)}
    return solved(f"diffusion, {kind}", f"{SEGMENTS} segments, {POINTS} x {WALKS} walks", polygon, X, WALKS, data, peers)


def _parts(compiled: Any) -> tuple[Any, ...]:
    """α; σ'; the weight of a source point."""
    from ..walk.loops_philox import bessel_series, harmonic_series

    h2, f = np.float32(1 / WIDTH**2), np.float32

    def _alpha(x: Any, y: Any) -> Any:
        return f(1) + f(HEIGHT) * np.exp(-(x * x + y * y) * h2)

    def _rate(x: Any, y: Any) -> Any:
        r2 = x * x + y * y
        bell = f(HEIGHT) * np.exp(-r2 * h2)
        alpha, slope2 = f(1) + bell, f(4) * h2 * h2 * bell * bell * r2
        return f(4) * h2 * bell * (r2 * h2 - f(1)) / (f(2) * alpha) - slope2 / (f(4) * alpha * alpha)

    def _weight(s: Any, z2: Any) -> Any:
        q = f(0.25) * z2
        at = q * s * s
        i0 = bessel_series(0, at)
        a = harmonic_series(0, at) / i0 - harmonic_series(0, q) / bessel_series(0, q)
        return f(i0 * (1.0 - a / np.log(s)))

    return tuple(compiled(function) for function in (_alpha, _rate, _weight))


def brute_force() -> Callable[..., Any]:
    """The walk of csrc/wos/media/README.md in float32, one walk after the other, looking at every segment at every step."""
    import numba

    f, compiled = np.float32, numba.njit(fastmath=True)
    nearest, fourier, (alpha_at, rate, weigh) = segment_distance(compiled), fourier_series(compiled), _parts(compiled)

    def _walk(s: Any, points: Any, c: Any, bound: Any, walks: Any, shell: Any) -> Any:
        mean = np.zeros(len(points))
        for i in range(len(points)):
            for _ in range(walks):
                x, y, w = f(points[i, 0]), f(points[i, 1]), f(1)
                while w != f(0):
                    d2 = nearest(s, x, y)
                    if d2 <= shell * shell:
                        break
                    R = min(np.sqrt(d2), f(2) / np.sqrt(bound))
                    angle, v = f(2 * np.pi) * f(np.random.random()), f(np.random.random())
                    r = np.sqrt(f(np.random.random()) * f(np.random.random()))
                    z2 = R * R * bound
                    if v < f(0.25) * z2 and v < f(0.25) * z2 * weigh(r, z2):
                        x, y = x + R * r * np.cos(angle), y + R * r * np.sin(angle)
                        w *= f(1) - rate(x, y) / bound
                        if w < f(0.125):
                            w = f(0.125) if f(np.random.random()) * f(0.125) < w else f(0)
                    else:
                        x, y = x + R * np.cos(angle), y + R * np.sin(angle)
                if w != f(0):
                    mean[i] += w * fourier(c, x, y) * np.sqrt(alpha_at(x, y))
            mean[i] /= walks * np.sqrt(alpha_at(f(points[i, 0]), f(points[i, 1])))
        return mean

    walk_all: Any = compiled(_walk)

    def run(ring: np.ndarray, points: np.ndarray, numbers: np.ndarray, bound: float, walks: int, shell: float) -> Any:
        return walk_all(segment_table(ring), points.astype(np.float32), numbers, np.float32(bound), walks, np.float32(shell))

    return run
