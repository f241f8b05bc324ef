"""Sources of every data class compared with the same source as a user's compiled function, on the same walks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..walk.bench import EPSILON, SEGMENTS, star, star_points
from ..walk.bench_loops import compiled

POINTS, WALKS = 1024, 64
LOW, HIGH = (-1.2, -1.3), (1.3, 1.2)  # the box of GridField


def problems() -> Iterator[Problem]:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    series, powers, nodes = draw(9), draw(6, 6), draw(128, 128)
    yield _source("Fourier", "9 modes", wos.Fourier(series), _fourier(series.astype(float)))
    for J in (2, 40):
        a, c = draw(J), draw(J, 2)
        bells = np.concatenate([a[:, None], c], axis=1).astype(float)
        yield _source("Gaussians", f"{J} bells", wos.Gaussians(a, c, 1.0), _gaussians(bells))
    yield _source("Polynomial", "6 x 6", wos.Polynomial(powers), _polynomial(powers.astype(float)))
    yield _source("GridField", "128 x 128", wos.GridField(nodes, (LOW, HIGH)), _grid(nodes.astype(float)))


def _source(name: str, size: str, data: Any, function: Callable[[Any], Any]) -> Problem:
    polygon, X = wos.Polygon(star(SEGMENTS)), star_points(POINTS)

    def run(source: Any) -> Any:
        return wos.solve(polygon, X, dirichlet=0.0, source=source, walks=WALKS, epsilon=EPSILON, rng=1).value

    def truth() -> np.ndarray:
        return np.asarray(run(lambda Y: data(Y.astype(np.float64))), np.float64)

    # the tolerance covers float32 sums and the rounding of the truth's coordinates to float32
    size, peers = f"{size}, {POINTS} x {WALKS} walks", {"njit function": lambda: run(function)}
    return Problem("wos", f"source {name}", size, lambda: run(data), peers, truth, 1e-5)


def _fourier(c: np.ndarray) -> Any:
    @compiled
    def f(Y: Any) -> Any:
        out = np.empty(len(Y))
        for i in range(len(Y)):
            r = np.sqrt(Y[i, 0] ** 2 + Y[i, 1] ** 2)
            c1, s1 = Y[i, 0] / r, Y[i, 1] / r
            cosine, sine, total = c1, s1, c[0]
            for m in range(1, len(c), 2):
                total += c[m] * cosine + c[m + 1] * sine
                cosine, sine = cosine * c1 - sine * s1, sine * c1 + cosine * s1
            out[i] = total
        return out

    return f


def _gaussians(bells: np.ndarray) -> Any:
    @compiled
    def f(Y: Any) -> Any:
        out = np.zeros(len(Y))
        for j in range(len(bells)):
            for i in range(len(Y)):  # inner loop that LLVM can vectorise
                out[i] += bells[j, 0] * np.exp(-((Y[i, 0] - bells[j, 1]) ** 2) - (Y[i, 1] - bells[j, 2]) ** 2)
        return out

    return f


def _polynomial(c: np.ndarray) -> Any:
    rows, columns = c.shape

    @compiled
    def f(Y: Any) -> Any:
        out = np.empty(len(Y))
        for p in range(len(Y)):
            total = 0.0
            for i in range(rows - 1, -1, -1):
                inner = 0.0
                for j in range(columns - 1, -1, -1):
                    inner = inner * Y[p, 1] + c[i, j]
                total = total * Y[p, 0] + inner
            out[p] = total
        return out

    return f


def _grid(v: np.ndarray) -> Any:
    n, m = v.shape
    x0, y0, sx, sy = *LOW, (n - 1) / (HIGH[0] - LOW[0]), (m - 1) / (HIGH[1] - LOW[1])

    @compiled
    def f(Y: Any) -> Any:
        out = np.empty(len(Y))
        for p in range(len(Y)):
            s, t = min(max((Y[p, 0] - x0) * sx, 0.0), n - 1.0), min(max((Y[p, 1] - y0) * sy, 0.0), m - 1.0)
            i, j = min(int(s), n - 2), min(int(t), m - 2)
            a = v[i, j] + (t - j) * (v[i, j + 1] - v[i, j])
            b = v[i + 1, j] + (t - j) * (v[i + 1, j + 1] - v[i + 1, j])
            out[p] = a + (s - i) * (b - a)
        return out

    return f
