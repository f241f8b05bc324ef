"""Labels for neural operators, compared with a user's Numba loop and, if scikit-fem is installed, with finite elements.

Also products with recorded walks, compared with shared walks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import Problem, Run, installed
from ..walk.bench import EPSILON, POINTS, SEGMENTS, brute_force

WALKS, INSTANCES, SIDES = 10, 4, 64  # walks per epoch; geometries with one instance each; right-hand sides for one geometry
WALLED = 256  # points of the problem with reflecting walls
GRID = 65  # nodes per axis of a source on a grid
COARSE, FINE = 1, 6  # refinements of the disc: the coarsest with a smaller error than ten walks, and one with a negligible error


class FiniteElements:
    """Solves -Δu = f on the star with quadratic elements on a mapped mesh of the disc. Factorises once for all right-hand sides."""

    def __init__(self, c1: float, c2: float, refine: int = FINE) -> None:
        import skfem
        from scipy.sparse import linalg
        from skfem.models.poisson import laplace, mass

        disc = skfem.MeshTri.init_circle(refine)
        rho, theta = np.hypot(*disc.p), np.arctan2(disc.p[1], disc.p[0])
        stretch = 1 + rho**2 * (c1 * np.cos(4 * theta) + c2 * np.cos(8 * theta))  # smooth at the centre
        self.basis = skfem.Basis(skfem.MeshTri(disc.p * stretch, disc.t), skfem.ElementTriP2())
        self.nodes = self.basis.doflocs.T
        self.stiffness, self.mass = laplace.assemble(self.basis).tocsr(), mass.assemble(self.basis).tocsr()
        self.edge = self.basis.get_dofs().flatten()
        self.free = self.basis.complement_dofs(self.edge)
        self.solve_free = linalg.splu(self.stiffness[self.free][:, self.free].tocsc()).solve

    def at(self, points: np.ndarray) -> Any:
        """The sparse matrix from a solution to its values at points (N, 2). Points beyond an edge of a coarse mesh move to the edge."""
        x = np.asarray(points, float)
        corners = self.basis.mesh.p[:, self.basis.mesh.boundary_nodes()].T
        turn = np.arctan2(corners[:, 1], corners[:, 0])
        corners, turn = corners[order := np.argsort(turn)], turn[order]
        k = np.searchsorted(turn, np.arctan2(x[:, 1], x[:, 0])) % len(turn)
        a, e = corners[k - 1], corners[k] - corners[k - 1]
        beyond = (x[:, 0] * e[:, 1] - x[:, 1] * e[:, 0]) / (
            a[:, 0] * e[:, 1] - a[:, 1] * e[:, 0]
        )  # relative to the distance from 0 to the edge
        return self.basis.probes((x / np.maximum(beyond / 0.9999, 1)[:, None]).T).tocsr()

    def solve(self, g: Callable[[np.ndarray], np.ndarray], f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The solution at all nodes."""
        u = np.zeros(len(self.nodes))
        u[self.edge] = g(self.nodes[self.edge])
        right = self.mass @ f(self.nodes) - self.stiffness @ u
        u[self.free] = self.solve_free(right[self.free])
        return u


class Instances:
    """Stars with Fourier boundary values and two Gaussians as a source, drawn as in the published work, and points inside."""

    def __init__(self, count: int, points: int = POINTS, *, seed: int = 0, geometries: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.c = rng.uniform(-0.2, 0.2, (2, count if geometries is None else geometries)).astype(np.float32)
        b = rng.uniform(-1, 1, (count, 5))
        b[:, 1:] /= 4
        self.g = wos.Fourier(b.astype(np.float32))
        normal = rng.standard_normal((count, 2, 3)).astype(np.float32)
        self.f = wos.Gaussians(normal[..., 0].copy(), normal[..., 1:].copy(), 1.0)
        theta = rng.uniform(0, 2 * np.pi, (self.c.shape[1], points))
        r = 0.98 * np.sqrt(rng.uniform(0, 1, theta.shape))
        r *= 1 + self.c[0, :, None] * np.cos(4 * theta) + self.c[1, :, None] * np.cos(8 * theta)
        self.points = np.stack([r * np.cos(theta), r * np.sin(theta)], axis=-1).astype(np.float32)
        self.count = count

    def star(self) -> Any:
        return wos.Star(*(self.c if self.c.shape[1] == self.count else self.c[:, 0].tolist()), segments=SEGMENTS)

    def labels(self, walks: int = WALKS, *, gradient: bool = True, rng: int = 1, **options: Any) -> Any:
        """The labels of one epoch, including the construction of the boundary."""
        how = wos.Walks(walks, epsilon=EPSILON, gradient=gradient, **options)
        X = self.points if len(self.points) == self.count else self.points[0]
        return wos.NeuralOperatorLabels(self.star(), self.g, self.f, points=X, walks=how, rng=rng).epoch()

    def data(self, i: int) -> tuple[Any, Any]:
        f = self.f
        return wos.Fourier(self.g.coefficients[i]), wos.Gaussians(f.amplitude[i], f.center[i], f.width)

    def elements(self, refine: int) -> np.ndarray:
        """The finite element solution. Meshes, factorises and locates the points once per geometry."""
        values = []
        for k in range(len(self.points)):
            fem = FiniteElements(self.c[0, k], self.c[1, k], refine)
            at = fem.at(self.points[k])
            own = range(self.count) if len(self.points) == 1 else (k,)
            values += [at @ fem.solve(*self.data(i)) for i in own]
        return np.stack(values)


def _brute(instances: Instances) -> Run:
    """The same values, without gradients, from a compiled loop over all segments."""
    star = instances.star()
    rings = star.vertices.reshape(-1, SEGMENTS, 2)
    values = np.stack([instances.data(i)[0](rings[i % len(rings)]) for i in range(instances.count)])
    bells = np.concatenate([instances.f.amplitude[..., None], instances.f.center], axis=-1)

    def instance(i: int) -> Any:
        k = i % len(rings)
        return brute_force(rings[k], instances.points[k], values[i], bells[i], WALKS, EPSILON * star._diagonal[k])[0]

    return lambda: np.stack([instance(i) for i in range(instances.count)])


def problems() -> Iterator[Problem]:
    stars, sides = Instances(INSTANCES), Instances(SIDES, geometries=1)
    yield _problem("labels", stars, {"numba brute force": _brute(stars)}, {"numba brute force": 36})
    own: dict[str, Run] = {"separate walks": lambda: sides.labels(gradient=False).value}
    yield _problem("right-hand sides", sides, own, {"separate walks": 10}, gradient=False, shared_walks=True)
    yield _with_walls()
    yield _by_matrices(sides)


def _with_walls() -> Problem:
    """Right-hand sides on one star, half of whose boundary has a flux."""
    sides, how = Instances(SIDES, WALLED, geometries=1), {"walks": WALKS, "epsilon": EPSILON}
    star, X, walls = sides.star(), sides.points[0], (np.arange(SEGMENTS) % (SEGMENTS // 8) < SEGMENTS // 16, sides.g)

    def solve(**options: Any) -> Any:
        return wos.solve(star, X, sides.g, source=sides.f, neumann=walls, **{**how, "rng": 1, **options})

    truth = solve(walks=256, rng=3, shared_walks=True)
    peers: dict[str, Run] = {"separate walks": lambda: solve().value}
    tolerance = 10 * _rms(truth.stderr) * (256 / WALKS) ** 0.5 / float(np.abs(truth.value).max())
    size = f"{SIDES} right-hand sides on one star, half of it with a flux, {WALLED} x {WALKS} walks"
    run = partial(solve, shared_walks=True)
    return Problem("wos", "right-hand sides with walls", size, lambda: run().value, peers, lambda: truth.value, tolerance)


def _by_matrices(sides: Instances) -> Problem:
    """Solutions for values at the vertices and sources on a grid, by the matrices of recorded walks."""
    X, star, how, box = sides.points[0], sides.star(), wos.Walks(WALKS, epsilon=EPSILON), ([-1.5, -1.5], [1.5, 1.5])
    nodes = np.stack(np.meshgrid(*2 * [np.linspace(-1.5, 1.5, GRID)], indexing="ij"), axis=-1).reshape(-1, 2)
    g, f = sides.g(star._outline(0)[:, 0]), sides.f(nodes)
    tables = wos.PerVertex(g.astype(np.float32)), wos.GridField(f.reshape(-1, GRID, GRID).astype(np.float32), box)

    def matrices() -> tuple[Any, Any]:
        operator = wos.Problem(star, dirichlet=0.0, source=0.0).operator(X, how, rng=1)
        return operator.per_vertex(), operator.on_grid((GRID, GRID), box)

    def values(A: Any, B: Any) -> np.ndarray:
        return np.asarray((A @ g.T + B @ f.T).T)

    def shared() -> np.ndarray:
        u = wos.solve(star, X, tables[0], source=tables[1], walks=WALKS, epsilon=EPSILON, shared_walks=True, rng=1)
        return np.asarray(u.value)

    recorded, truth = matrices(), wos.solve(star, X, tables[0], source=tables[1], walks=256, shared_walks=True, rng=3)
    size = f"{sides.count} right-hand sides on one star, {POINTS} x {WALKS} walks"
    peers: dict[str, Run] = {"shared walks": shared, "recording, then products": lambda: values(*matrices())}
    tolerance = 10 * _rms(truth.stderr) * (256 / WALKS) ** 0.5 / float(np.abs(truth.value).max())
    return Problem("wos", "products with recorded walks", size, lambda: values(*recorded), peers, lambda: truth.value, tolerance)


def _problem(name: str, instances: Instances, peers: dict[str, Run], goals: dict[str, float], **options: Any) -> Problem:
    """A benchmark with or without the gradient. The finite elements compute no gradient, so a comparison with them can omit it."""
    pilot, errors = instances.labels(**options), ""
    if installed("skfem"):
        truth = instances.elements(FINE)
        peers["finite elements"] = partial(instances.elements, COARSE)
        errors = f", finite elements {_rms(instances.elements(COARSE) - truth):.2g}"
    else:
        truth = instances.labels(4096, rng=3, gradient=False).value.astype(float)
    errors = f"RMS error {_rms(pilot.value - truth):.2g}{errors}"
    count = instances.count
    geometry = f"{count} stars" if instances.c.shape[1] == count else f"{count} right-hand sides on one star"
    size = f"{geometry}, {SEGMENTS} segments, {POINTS} x {WALKS} walks; {errors}"
    tolerance = 10 * _rms(pilot.stderr) / float(np.abs(truth).max())
    return Problem("wos", name, size, lambda: instances.labels(**options).value, peers, lambda: truth, tolerance, goals)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=float))))
