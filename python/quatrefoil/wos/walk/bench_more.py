"""The cost of the gradient, boxes against polygons and meshes, and the savings of harmonic caching."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from ... import wos
from ...bench._problem import Problem

POINTS, WALKS = 2048, 64


def problems(ring: np.ndarray, plane: np.ndarray) -> Iterator[Problem]:
    """``ring``: the vertices of a polygon, ``plane``: points inside."""
    space = np.random.default_rng(3).standard_normal((POINTS, 3))
    space *= 0.9 * np.random.default_rng(4).random((POINTS, 1)) ** (1 / 3) / np.linalg.norm(space, axis=1, keepdims=True)
    yield _gradient("in the plane", wos.Polygon(ring), plane, 2)
    yield _gradient("in a ball", wos.Ball([0.0, 0.0, 0.0], 1.0), space.astype(np.float32), 3)
    yield _cached(wos.Polygon(ring), plane)
    corners = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    quads = ([0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3])
    triangles = np.array([t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])])
    yield _box(2, wos.Polygon(corners[[0, 2, 6, 4], :2]))
    yield _box(3, wos.TriangleMesh(corners, triangles))


def _gradient(where: str, boundary: Any, X: np.ndarray, d: int) -> Problem:
    f = wos.Gaussians(np.ones(2, np.float32), np.array([[0.3] * d, [-0.3] * d], np.float32), 1.0)

    def solve(walks: int = WALKS, rng: int = 1, **options: Any) -> Any:
        return wos.solve(boundary, X, dirichlet=0.0, source=f, walks=walks, rng=rng, **options)

    pilot = solve(rng=2, gradient=True)
    return Problem(
        "wos",
        f"value and gradient {where}",
        f"{POINTS} x {WALKS} walks",
        lambda: solve(gradient=True).value,
        {"the value alone": lambda: solve().value},
        lambda: solve(8192, rng=3).value.astype(float),
        float(8 * pilot.stderr.max() / np.abs(pilot.value).max()),
        goals={"the value alone": 1 / 1.6},
    )


def _box(d: int, pieces: Any) -> Problem:
    """Compared with the same boundary as segments or triangles."""
    X = np.random.default_rng(5).uniform(0.05, 0.95, (POINTS, d)).astype(np.float32)

    def solve(boundary: Any) -> Any:
        return wos.solve(boundary, X, dirichlet=lambda Y: Y[:, 0], walks=WALKS, rng=1).value

    return Problem(
        "wos",
        f"a box in {d} dimensions",
        f"{POINTS} x {WALKS} walks",
        lambda: solve(wos.Box([0.0] * d, [1.0] * d)),
        {repr(pieces): lambda: solve(pieces)},
        lambda: X[:, 0].astype(float),
        0.4,  # the largest of 2048 errors of 0.05 or less
    )


def _cached(polygon: Any, X: np.ndarray) -> Problem:
    """Compared with 16 times as many walks per point without a cache, whose error is still larger."""

    def u(Y: np.ndarray) -> np.ndarray:
        value: np.ndarray = np.exp(Y[:, 0]) * np.cos(Y[:, 1])
        return value

    def ours(walks: int = WALKS, cache: Literal["harmonic"] | None = "harmonic") -> Any:
        return wos.solve(polygon, X, dirichlet=u, walks=walks, epsilon=1e-4, cache=cache, rng=1).value

    return Problem(
        "wos",
        "harmonic caching",
        f"{POINTS} points, {WALKS} walks of each by shared balls",
        ours,
        {f"{16 * WALKS} walks of each": lambda: ours(16 * WALKS, None)},
        lambda: u(X.astype(float)),
        0.1,  # of the largest value; the largest of 2048 errors that are 0.011 and 0.017 as root mean squares
        goals={f"{16 * WALKS} walks of each": 8},
    )
