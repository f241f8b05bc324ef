"""Sources of every class of data compared with the same function compiled by the user, on the same walks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..walk.bench import EPSILON, SEGMENTS, star, star_points

POINTS, WALKS = 1024, 64


def problems() -> Iterator[Problem]:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> np.ndarray:
        x: np.ndarray = rng.standard_normal(shape).astype(np.float32)
        return x

    lo, hi = (-1.2, -1.3), (1.3, 1.2)
    series, powers, nodes = draw(9), draw(6, 6), draw(128, 128)
    yield _source("Fourier", "9 modes", wos.Fourier(series), lambda jit: _fourier(jit, series.astype(float)))
    for J in (2, 40):
        a, c = draw(J), draw(J, 2)
        bells = np.concatenate([a[:, None], c], axis=1).astype(float)
        yield _source("Gaussians", f"{J} bells", wos.Gaussians(a, c, 1.0), functools.partial(_gaussians, bells=bells))
    yield _source("Polynomial", "6 x 6", wos.Polynomial(powers), lambda jit: _polynomial(jit, powers.astype(float)))
    yield _source("GridField", "128 x 128", wos.GridField(nodes, (lo, hi)), lambda jit: _grid(jit, nodes.astype(float), lo, hi))


def _source(name: str, size: str, data: Any, by_hand: Callable[[Any], Any]) -> Problem:
    polygon, X = wos.Polygon(star(SEGMENTS)), star_points(POINTS)

    def run(source: Any, **options: Any) -> Any:
        options = {"walks": WALKS, "epsilon": EPSILON, "rng": 1, **options}
        return wos.solve(polygon, X, dirichlet=0.0, source=source, **options).value

    peers: dict[str, Callable[[], Any]] = {}
    try:
        import numba
    except ImportError:
        pass
    else:
        function = by_hand(numba.njit(fastmath=True))
        peers["njit function"] = lambda: run(function)
    return Problem(
        "wos",
        f"source {name}",
        f"{size}, {POINTS} x {WALKS} walks",
        lambda: run(data),
        peers,
        lambda: np.asarray(run(lambda Y: data(Y.astype(np.float64))), np.float64),
        1e-5,  # sums of float32, and coordinates rounded to it for the truth
    )


def _fourier(jit: Any, c: np.ndarray) -> Any:
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

    return jit(f)


def _gaussians(jit: Any, bells: np.ndarray) -> Any:
    def f(Y: Any) -> Any:
        out = np.zeros(len(Y))
        for j in range(len(bells)):
            for i in range(len(Y)):  # the inner loop, so that LLVM may vectorise it
                out[i] += bells[j, 0] * np.exp(-((Y[i, 0] - bells[j, 1]) ** 2) - (Y[i, 1] - bells[j, 2]) ** 2)
        return out

    return jit(f)


def _polynomial(jit: Any, c: np.ndarray) -> Any:
    rows, columns = c.shape

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

    return jit(f)


def _grid(jit: Any, v: np.ndarray, lo: tuple[float, float], hi: tuple[float, float]) -> Any:
    n, m = v.shape
    x0, y0, sx, sy = lo[0], lo[1], (n - 1) / (hi[0] - lo[0]), (m - 1) / (hi[1] - lo[1])

    def f(Y: Any) -> Any:
        out = np.empty(len(Y))
        for p in range(len(Y)):
            s, t = min(max((Y[p, 0] - x0) * sx, 0.0), n - 1.0), min(max((Y[p, 1] - y0) * sy, 0.0), m - 1.0)
            i, j = min(int(s), n - 2), min(int(t), m - 2)
            a = v[i, j] + (t - j) * (v[i, j + 1] - v[i, j])
            b = v[i + 1, j] + (t - j) * (v[i + 1, j + 1] - v[i + 1, j])
            out[p] = a + (s - i) * (b - a)
        return out

    return jit(f)
