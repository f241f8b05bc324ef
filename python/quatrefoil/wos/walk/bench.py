"""Walk on Spheres against a user's loop in Numba, and against the Numba backend; on a mesh against a NumPy walk with distances by fcpw,
one query for all walks per step."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem
from ..query.bench import ball_points, bumpy, fcpw_distances, fcpw_scene
from .bench_more import problems as more

POINTS, WALKS, SEGMENTS, EPSILON = 2048, 64, 1024, 1e-3
MESH_POINTS, MESH_WALKS = 1024, 32


def star(M: int) -> np.ndarray:
    t = 2 * np.pi * np.arange(M) / M
    r = 1 + 0.12 * np.cos(4 * t) - 0.08 * np.cos(8 * t)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1).astype(np.float32)


def star_points(n: int) -> np.ndarray:
    """Uniform in 98% of the star."""
    X = np.random.default_rng(7).uniform(-1.2, 1.2, (4 * n, 2))
    t = np.arctan2(X[:, 1], X[:, 0])
    X = X[np.hypot(X[:, 0], X[:, 1]) < 0.98 * (1 + 0.12 * np.cos(4 * t) - 0.08 * np.cos(8 * t))]
    points: np.ndarray = X[:n].astype(np.float32)
    return points


def problems() -> Iterator[Problem]:
    for source in (True, False):
        yield _solve(source)
    yield from more(star(SEGMENTS), star_points(POINTS))
    for subdivisions in (5, 6):
        yield _solve_mesh(subdivisions)
    for name in ("rounds", "executor"):
        yield _cut(name)


def _cut(name: str) -> Problem:
    """The cost of rounds and tasks, compared with one call, which gives the same bits."""
    polygon, X = wos.Polygon(star(SEGMENTS)), star_points(POINTS)
    data: dict[str, Any] = {"dirichlet": wos.Fourier(np.array([0.3, 0.1, -0.2], np.float32)), "rng": 1, "epsilon": EPSILON}
    whole = 16 * WALKS

    def in_one_call(**options: Any) -> Any:
        return wos.solve(polygon, X, walks=whole, **data, **options).value

    def in_rounds() -> Any:
        return wos.solve(polygon, X, walks=WALKS, atol=0.0, max_walks=whole, **data).value

    def in_tasks() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return in_one_call(executor=pool)

    ours, size = (in_rounds, f"rounds of {WALKS}") if name == "rounds" else (in_tasks, "a thread's tasks")
    return Problem(
        "wos", name, f"{POINTS} x {whole} walks, {size}", ours, {"one call": in_one_call}, lambda: in_one_call().astype(float), 0.0
    )


def _solve(poisson: bool) -> Problem:
    ring, X = star(SEGMENTS), star_points(POINTS)
    t = np.arctan2(ring[:, 1], ring[:, 0])
    values = (0.3 + 0.1 * np.cos(t) - 0.2 * np.sin(t) + 0.05 * np.cos(2 * t) + 0.15 * np.sin(2 * t)).astype(np.float32)
    bells = np.array([[0.8, 0.3, -0.2], [-0.6, -0.5, 0.6]], np.float32) if poisson else np.zeros((0, 3), np.float32)
    polygon, g = wos.Polygon(ring), wos.PerVertex(values)
    f = wos.Gaussians(bells[:, 0].copy(), bells[:, 1:].copy(), 1.0) if poisson else None

    def ours(points: np.ndarray = X, walks: int = WALKS, **options: Any) -> Any:
        return wos.solve(polygon, points, dirichlet=g, source=f, walks=walks, epsilon=EPSILON, **{"rng": 1, **options}).value

    pilot = wos.solve(polygon, X, dirichlet=g, source=f, walks=WALKS, epsilon=EPSILON, rng=2)
    walk = brute_force()
    shell = EPSILON * float(polygon._diagonal[0])
    peers: dict[str, Callable[[], Any]] = {
        "numba brute force": lambda: walk(ring, X, values, bells, WALKS, shell)[0],
        "quatrefoil numba": lambda: ours(backend="numba"),
    }
    return Problem(
        "wos",
        "Poisson" if poisson else "Laplace",
        f"{SEGMENTS} segments, {POINTS} x {WALKS} walks",
        ours,
        peers,
        lambda: ours(walks=16384, rng=3).astype(float),
        float(7 * pilot.stderr.max() / np.abs(pilot.value).max()),  # the largest of 2048 differences stays below 7 standard errors
        goals={"numba brute force": 30},
    )


def _queries(compiled: Any) -> tuple[Any, Any]:
    """The squared distance of a polygon, and the value at its closest point."""

    def _nearest(ax: Any, ay: Any, ex: Any, ey: Any, inverse: Any, x: Any, y: Any) -> Any:
        best, zero, one = np.float32(1e30), np.float32(0), np.float32(1)
        for k in range(ax.size):
            px, py = x - ax[k], y - ay[k]
            t = min(max((px * ex[k] + py * ey[k]) * inverse[k], zero), one)
            dx, dy = px - t * ex[k], py - t * ey[k]
            best = min(best, dx * dx + dy * dy)
        return best

    def _at_boundary(ax: Any, ay: Any, ex: Any, ey: Any, inverse: Any, values: Any, rise: Any, x: Any, y: Any) -> Any:
        best, g = np.float32(1e30), np.float32(0)
        for k in range(ax.size):
            px, py = x - ax[k], y - ay[k]
            t = min(max((px * ex[k] + py * ey[k]) * inverse[k], np.float32(0)), np.float32(1))
            dx, dy = px - t * ex[k], py - t * ey[k]
            d2 = dx * dx + dy * dy
            if d2 < best:
                best = d2
                g = values[k] + t * rise[k]
        return g

    return compiled(_nearest), compiled(_at_boundary)


def brute_force() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A compiled loop over every segment at every step, in float32, with fastmath so that LLVM vectorises the minimum.

    (ring (M, 2) or a list of them, points (N, 2), values at the vertices (M,), bells (J, 3): amplitude and centre, width 1, walks,
    epsilon) -> mean, stderr.
    """
    import numba

    nearest, at_boundary = _queries(numba.njit(fastmath=True))

    def _loop(
        ax: Any, ay: Any, ex: Any, ey: Any, inverse: Any, values: Any, rise: Any, points: Any, bells: Any, walks: Any, epsilon: Any
    ) -> Any:
        turn = np.float32(2 * np.pi)
        mean, stderr = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
        for i in range(len(points)):
            s, q = 0.0, 0.0
            for _ in range(walks):
                x, y = points[i, 0], points[i, 1]
                total = np.float32(0)
                for _ in range(1024):
                    d2 = nearest(ax, ay, ex, ey, inverse, x, y)
                    r = np.sqrt(d2)
                    if r <= epsilon:
                        break
                    if len(bells):
                        rho = r * np.float32(np.sqrt(np.random.random() * np.random.random()))
                        angle = turn * np.float32(np.random.random())
                        u, v = x + rho * np.cos(angle), y + rho * np.sin(angle)
                        f = np.float32(0)
                        for j in range(len(bells)):
                            f += bells[j, 0] * np.exp(-((u - bells[j, 1]) ** 2) - (v - bells[j, 2]) ** 2)
                        total += np.float32(0.25) * d2 * f
                    angle = turn * np.float32(np.random.random())
                    x += r * np.cos(angle)
                    y += r * np.sin(angle)
                value = total + at_boundary(ax, ay, ex, ey, inverse, values, rise, x, y)
                s += value
                q += value * value
            mean[i] = s / walks
            stderr[i] = np.sqrt(max(q / walks - (s / walks) ** 2, 0.0) / max(walks - 1, 1))
        return mean, stderr

    loop: Any = numba.njit(fastmath=True, nogil=True)(_loop)

    def walk(
        ring: np.ndarray | list[np.ndarray], points: np.ndarray, values: np.ndarray, bells: np.ndarray, walks: int, epsilon: float
    ) -> tuple[np.ndarray, np.ndarray]:
        rings = ring if isinstance(ring, list) else [ring]
        after = following(rings)
        a, g = np.concatenate(rings).astype(np.float32), values.astype(np.float32)
        e = a[after] - a
        parts = [np.ascontiguousarray(x) for x in (a[:, 0], a[:, 1], e[:, 0], e[:, 1], 1 / (e**2).sum(axis=1))]
        mean, stderr = loop(
            *parts,
            g,
            g[after] - g,
            points.astype(np.float32),
            bells.astype(np.float32),
            walks,
            np.float32(epsilon),
        )
        return mean, stderr

    return walk


def following(rings: list[np.ndarray]) -> np.ndarray:
    """The number of the vertex after each."""
    ends = np.cumsum([len(r) for r in rings])
    after = np.arange(1, ends[-1] + 1)
    after[ends - 1] = ends - [len(r) for r in rings]
    return after


def harmonic(X: np.ndarray) -> np.ndarray:
    value: np.ndarray = X[:, 0] * X[:, 1] + 0.5 * (X[:, 2] ** 2 - X[:, 0] ** 2)
    return value


def fcpw_walk(scene: Any, X: np.ndarray, walks: int, shell: float, rng: np.random.Generator) -> np.ndarray:
    """Means over the walks of every point; g where a walk stops, unprojected."""
    x = np.repeat(X.astype(np.float32), walks, axis=0)
    alive = np.arange(len(x))
    for _ in range(1024):
        d = fcpw_distances(scene, np.asfortranarray(x[alive])).astype(np.float32)
        alive, d = alive[d > shell], d[d > shell]
        if not len(alive):
            break
        n = rng.standard_normal((len(alive), 3), np.float32)
        x[alive] += n * (d / np.linalg.norm(n, axis=1))[:, None]
    mean: np.ndarray = harmonic(x).reshape(len(X), walks).mean(axis=1)
    return mean


def _solve_mesh(subdivisions: int) -> Problem:
    """Values are means over 32 neighbours in the order of their truth, so that few walks reveal a wrong value."""
    V, F = bumpy(subdivisions)
    mesh, X = wos.TriangleMesh(V, F), ball_points(MESH_POINTS, 0.8)
    X = X[np.argsort(harmonic(X))]

    def together(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = values.reshape(-1, 32).mean(axis=1)
        return means

    def ours() -> Any:
        return together(wos.solve(mesh, X, dirichlet=harmonic, walks=MESH_WALKS, epsilon=EPSILON, rng=1).value)

    pilot = wos.solve(mesh, X, dirichlet=harmonic, walks=1024, epsilon=EPSILON, rng=2)  # its walks fill the cells too
    peers: dict[str, Callable[[], Any]] = {}
    if importlib.util.find_spec("fcpw"):
        scene, rng = fcpw_scene(V, F), np.random.default_rng(3)
        shell = EPSILON * float(mesh._diagonal[0])
        peers["NumPy with fcpw"] = lambda: together(fcpw_walk(scene, X, MESH_WALKS, shell, rng))
    truth = together(harmonic(X.astype(float)))
    spread = float(pilot.stderr.max()) * (1024 / MESH_WALKS / 32) ** 0.5
    return Problem(
        "wos",
        "Laplace, mesh",
        f"{len(F)} triangles, {MESH_POINTS} x {MESH_WALKS} walks",
        ours,
        peers,
        lambda: truth,
        7 * spread / float(np.abs(truth).max()),
        goals={"NumPy with fcpw": 44},
    )
