"""Walk on Spheres compared with a user's Numba loop and with the Numba backend.

On a mesh, compared with a NumPy walk that queries fcpw for distances: all walks advance together, with one query per step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem, Run, installed
from ..query.bench import ball_points, bumpy, fcpw_distances, fcpw_scene
from .bench_loops import closest, compiled, nearest, segments

POINTS, WALKS, SEGMENTS, EPSILON = 2048, 64, 1024, 1e-3
MESH_POINTS, MESH_WALKS = 1024, 32
TRUE_WALKS = 8192


def star(M: int) -> Any:
    t = 2 * np.pi * np.arange(M) / M
    r = 1 + 0.12 * np.cos(4 * t) - 0.08 * np.cos(8 * t)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1).astype(np.float32)


def star_points(n: int) -> Any:
    """Uniform random points in the star shrunk to 98%."""
    X = np.random.default_rng(7).uniform(-1.2, 1.2, (4 * n, 2))
    t = np.arctan2(X[:, 1], X[:, 0])
    X = X[np.hypot(X[:, 0], X[:, 1]) < 0.98 * (1 + 0.12 * np.cos(4 * t) - 0.08 * np.cos(8 * t))]
    return X[:n].astype(np.float32)


def problems() -> Iterator[Problem]:
    for poisson in (True, False):
        yield _solve(poisson)
    space = np.random.default_rng(3).standard_normal((POINTS, 3))
    space *= 0.9 * np.random.default_rng(4).random((POINTS, 1)) ** (1 / 3) / np.linalg.norm(space, axis=1, keepdims=True)
    yield _gradient("in the plane", wos.Polygon(star(SEGMENTS)), star_points(POINTS), 2)
    yield _gradient("in a ball", wos.Ball([0.0, 0.0, 0.0], 1.0), space.astype(np.float32), 3)
    yield _cached(wos.Polygon(star(SEGMENTS)), star_points(POINTS))
    yield _sobol(wos.Polygon(star(SEGMENTS)), star_points(POINTS))
    corners = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    quads = ([0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3])
    yield _box(2, wos.Polygon(corners[[0, 2, 6, 4], :2]))
    yield _box(3, wos.TriangleMesh(corners, np.array([t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])])))
    for subdivisions in (5, 6):
        yield _solve_mesh(subdivisions)
    for name in ("rounds", "executor"):
        yield _in_parts(name)


def _in_parts(name: str) -> Problem:
    """Measures the overhead of rounds and tasks. A single call gives the same bits."""
    whole, dirichlet = 16 * WALKS, wos.Fourier(np.array([0.3, 0.1, -0.2], np.float32))
    solve = partial(wos.solve, wos.Polygon(star(SEGMENTS)), star_points(POINTS), dirichlet=dirichlet, rng=1, epsilon=EPSILON)

    def in_rounds() -> Any:
        return solve(walks=WALKS, atol=0.0, max_walks=whole).value

    def in_tasks() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return solve(walks=whole, executor=pool).value

    ours, what = (in_rounds, f"rounds of {WALKS}") if name == "rounds" else (in_tasks, "a thread's tasks")
    in_one_call = partial(_value, solve, walks=whole)
    return Problem("wos", name, f"{POINTS} x {whole} walks, {what}", ours, {"one call": in_one_call}, in_one_call, 0.0)


def monte_carlo(name: str, size: str, solve: partial[Any], peers: Mapping[str, Run], goals: Mapping[str, float], pilot: int = 1) -> Problem:
    """A problem whose truth is ``solve`` with TRUE_WALKS walks.

    The tolerance is 7 standard errors, more than the largest of thousands of differences. The standard errors are estimated from a run
    with ``pilot`` times as many walks as ``solve``.
    """
    result = solve(rng=2, walks=pilot * solve.keywords["walks"])
    tolerance = float(7 * pilot**0.5 * result.stderr.max() / np.abs(result.value).max())
    truth = partial(_value, solve, walks=TRUE_WALKS, rng=3)
    return Problem("wos", name, size, partial(_value, solve), peers, truth, tolerance, goals)


def _value(solve: Callable[..., Any], **options: Any) -> Any:
    return solve(**options).value


def _gradient(where: str, boundary: Any, X: np.ndarray, d: int) -> Problem:
    source = wos.Gaussians(np.ones(2, np.float32), np.array([[0.3] * d, [-0.3] * d], np.float32), 1.0)
    solve = partial(wos.solve, boundary, X, dirichlet=0.0, source=source, walks=WALKS, rng=1)
    peers, goals = {"the value alone": partial(_value, solve)}, {"the value alone": 1 / 1.6}
    return monte_carlo(f"value and gradient {where}", f"{POINTS} x {WALKS} walks", partial(solve, gradient=True), peers, goals)


def _box(d: int, other: Any) -> Problem:
    """Compares with the same boundary as segments or triangles.

    Standard errors are at most about 0.05, so the largest of 2048 errors stays below 0.4.
    """
    X = np.random.default_rng(5).uniform(0.05, 0.95, (POINTS, d)).astype(np.float32)

    def solve(boundary: Any) -> Any:
        return wos.solve(boundary, X, dirichlet=lambda Y: Y[:, 0], walks=WALKS, rng=1).value

    ours, peers, truth = partial(solve, wos.Box([0.0] * d, [1.0] * d)), {repr(other): partial(solve, other)}, X[:, 0].astype(float)
    return Problem("wos", f"a box in {d} dimensions", f"{POINTS} x {WALKS} walks", ours, peers, lambda: truth, 0.4)


def _cached(polygon: Any, X: np.ndarray) -> Problem:
    """Compares with 16 times as many walks per point without a cache.

    The root mean square error without a cache is still larger: 0.017 compared with 0.011. The tolerance covers the largest of 2048 errors.
    """

    def u(Y: np.ndarray) -> Any:
        return np.exp(Y[:, 0]) * np.cos(Y[:, 1])

    def solve(**options: Any) -> Any:
        return wos.solve(polygon, X, dirichlet=u, epsilon=1e-4, rng=1, **options).value

    size, name = f"{POINTS} points x {WALKS} walks, shared balls", f"{16 * WALKS} walks each"
    ours, peers = partial(solve, walks=WALKS, cache="harmonic"), {name: partial(solve, walks=16 * WALKS)}
    return Problem("wos", "harmonic caching", size, ours, peers, lambda: u(X.astype(float)), 0.1, {name: 8})


def _sobol(polygon: Any, X: np.ndarray) -> Problem:
    """Compares with twice as many random walks, whose variance is the same."""
    g = wos.Fourier(np.array([0.3, 0.1, -0.2, 0.05, 0.15], np.float32))
    solve, name = partial(wos.solve, polygon, X, dirichlet=g, epsilon=EPSILON, rng=1), f"{2 * WALKS} random walks"
    peers = {name: partial(_value, solve, walks=2 * WALKS)}
    return monte_carlo("Sobol points", f"{POINTS} x {WALKS} walks", partial(solve, walks=WALKS, sampling="sobol"), peers, {name: 1.7})


def _solve(poisson: bool) -> Problem:
    ring, X = star(SEGMENTS), star_points(POINTS)
    t = np.arctan2(ring[:, 1], ring[:, 0])
    values = (0.3 + 0.1 * np.cos(t) - 0.2 * np.sin(t) + 0.05 * np.cos(2 * t) + 0.15 * np.sin(2 * t)).astype(np.float32)
    bells = np.array([[0.8, 0.3, -0.2], [-0.6, -0.5, 0.6]], np.float32) if poisson else np.zeros((0, 3), np.float32)
    polygon, source = wos.Polygon(ring), wos.Gaussians(bells[:, 0].copy(), bells[:, 1:].copy(), 1.0) if poisson else None
    solve = partial(wos.solve, polygon, X, dirichlet=wos.PerVertex(values), source=source, walks=WALKS, epsilon=EPSILON, rng=1)
    shell = EPSILON * float(polygon._diagonal[0])
    peers: dict[str, Run] = {
        "numba brute force": lambda: brute_force(ring, X, values, bells, WALKS, shell)[0],
        "quatrefoil numba": partial(_value, solve, backend="numba"),
    }
    name, size = "Poisson" if poisson else "Laplace", f"{SEGMENTS} segments, {POINTS} x {WALKS} walks"
    return monte_carlo(name, size, solve, peers, {"numba brute force": 30})


@compiled
def _walk_all(s: Any, values: Any, rise: Any, points: Any, bells: Any, walks: Any, epsilon: Any) -> Any:
    two_pi = np.float32(2 * np.pi)
    mean, stderr = np.empty(len(points), np.float32), np.empty(len(points), np.float32)
    for i in range(len(points)):
        total, squares = 0.0, 0.0
        for _ in range(walks):
            x, y = points[i, 0], points[i, 1]
            value = np.float32(0)
            for _ in range(1024):
                d2 = nearest(s, x, y)
                r = np.sqrt(d2)
                if r <= epsilon:
                    break
                if len(bells):
                    rho = r * np.float32(np.sqrt(np.random.random() * np.random.random()))
                    angle = two_pi * np.float32(np.random.random())
                    u, v = x + rho * np.cos(angle), y + rho * np.sin(angle)
                    f = np.float32(0)
                    for j in range(len(bells)):
                        f += bells[j, 0] * np.exp(-((u - bells[j, 1]) ** 2) - (v - bells[j, 2]) ** 2)
                    value += np.float32(0.25) * d2 * f
                angle = two_pi * np.float32(np.random.random())
                x += r * np.cos(angle)
                y += r * np.sin(angle)
            k, t = closest(s, x, y)
            value += values[k] + t * rise[k]
            total += value
            squares += value * value
        mean[i] = total / walks
        stderr[i] = np.sqrt(max(squares / walks - (total / walks) ** 2, 0.0) / max(walks - 1, 1))
    return mean, stderr


def brute_force(
    ring: np.ndarray | list[np.ndarray], points: np.ndarray, values: np.ndarray, bells: np.ndarray, walks: int, epsilon: float
) -> Any:
    """Mean and standard error at points (N, 2), from a loop that tests every segment at every step.

    ``ring``: vertices (M, 2), or a list of such arrays, with boundary ``values`` (M,). ``bells`` (J, 3): amplitudes and centres of Gaussian
    sources of width 1.
    """
    rings = ring if isinstance(ring, list) else [ring]
    after, a = following(rings), np.concatenate(rings)
    g, X, b = (x.astype(np.float32) for x in (values, points, bells))
    return _walk_all(segments(a, a[after]), g, g[after] - g, X, b, walks, np.float32(epsilon))


def following(rings: list[np.ndarray]) -> np.ndarray:
    """The index of the next vertex, for each vertex."""
    ends = np.cumsum([len(r) for r in rings])
    after = np.arange(1, ends[-1] + 1)
    after[ends - 1] = ends - [len(r) for r in rings]
    return after


def harmonic(X: np.ndarray) -> Any:
    return X[:, 0] * X[:, 1] + 0.5 * (X[:, 2] ** 2 - X[:, 0] ** 2)


def fcpw_walk(scene: Any, X: np.ndarray, walks: int, shell: float, rng: np.random.Generator) -> Any:
    """The mean over the walks of each point. Evaluates g at a walk's end without projection."""
    x = np.repeat(X.astype(np.float32), walks, axis=0)
    alive = np.arange(len(x))
    for _ in range(1024):
        d = fcpw_distances(scene, np.asfortranarray(x[alive])).astype(np.float32)
        alive, d = alive[d > shell], d[d > shell]
        if not len(alive):
            break
        n = rng.standard_normal((len(alive), 3), np.float32)
        x[alive] += n * (d / np.linalg.norm(n, axis=1))[:, None]
    return harmonic(x).reshape(len(X), walks).mean(axis=1)


def _solve_mesh(subdivisions: int) -> Problem:
    """Compares means over groups of 32 points with similar true values, so that a few walks suffice to reveal a wrong value."""
    V, F = bumpy(subdivisions)
    mesh, X = wos.TriangleMesh(V, F), ball_points(MESH_POINTS, 0.8)
    X = X[np.argsort(harmonic(X))]
    solve = partial(wos.solve, mesh, X, dirichlet=harmonic, epsilon=EPSILON)

    def together(values: np.ndarray) -> Any:
        return values.reshape(-1, 32).mean(axis=1)

    pilot = solve(walks=1024, rng=2)  # this run also fills the cells of the mesh's grid
    peers: dict[str, Run] = {}
    if installed("fcpw"):
        scene, shell, rng = fcpw_scene(V, F), EPSILON * float(mesh._diagonal[0]), np.random.default_rng(3)
        peers["NumPy with fcpw"] = lambda: together(fcpw_walk(scene, X, MESH_WALKS, shell, rng))
    truth = together(harmonic(X.astype(float)))
    spread = float(pilot.stderr.max()) * (1024 / MESH_WALKS / 32) ** 0.5

    def ours() -> Any:
        return together(solve(walks=MESH_WALKS, rng=1).value)

    size, tolerance = f"{len(F)} triangles, {MESH_POINTS} x {MESH_WALKS} walks", 7 * spread / float(np.abs(truth).max())
    return Problem("wos", "Laplace, mesh", size, ours, peers, lambda: truth, tolerance, {"NumPy with fcpw": 44})
