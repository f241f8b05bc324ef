"""A user's program with Walk on Spheres, in strict mode: a room with a hole, a mesh, batches, labels, queries."""

# pyright: strict

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import quatrefoil as qf
from quatrefoil import wos

Real = NDArray[np.float64]

OUTLINE, PILLAR = [[0, 0], [3, 0], [3, 3], [0, 3]], [[1, 1], [2, 1], [2, 2], [1, 2]]


def heating(X: Real) -> Real:
    values: Real = np.exp(-((X - 0.5) ** 2).sum(axis=1))
    return values


def along_x(X: Real) -> Real:
    return X[:, 0]


def polygon() -> None:
    plan = wos.Polygon(OUTLINE, holes=[PILLAR])
    points = np.random.default_rng(0).uniform(0, 3, (50, 2))
    inside: Real = points[wos.contains(plan, points)]
    result = wos.solve(plan, inside, dirichlet_per_ring=[0, 1], source=heating, walks=16, rng=0)
    assert_type(result, wos.Result[Real])
    assert_type(result.value, Real)
    better = result.resume(16)
    assert_type(better, wos.Result[Real])
    other = wos.solve(plan, inside, dirichlet_per_ring=[0, 1], source=heating, walks=16, rng=result.seed, walk_offset=16)
    assert_type(result.merge(other).stderr, Real)
    worst: float = float(better.stderr.max())
    where = np.array([True, False, False, False, False, False, False, False])
    wos.solve(plan, inside, dirichlet=wos.PerVertex(np.ones(8)), neumann=(where, 0.0), walks=8, rng=0)
    heat = wos.Problem(plan, dirichlet=heating, neumann=(where, 0.0), screening=1.0)
    assert_type(heat.solve(inside, walks=8, rng=0), wos.Result[Real])
    assert_type(heat.labels(inside, walks=8, rng=0).epoch(), wos.Result[Real])
    fine = wos.Walks(8, epsilon=1e-4, gradient=True)
    assert_type(heat.solve(inside, fine, rng=0), wos.Result[Real])
    several: tuple[Any, ...] = heat.vjp(inside, np.ones(len(inside)), walks=8, rng=0)
    assert len(several) == 5
    print(worst, len(inside), plan.vertices.shape, len(plan.holes))


def one_point() -> None:
    at = wos.solve(wos.Ball([0, 0], 1), [0.5, 0], dirichlet=wos.Fourier([0, 1, 0]), gradient=True, walks=100, rng=0)
    assert_type(at, wos.Result[Real])
    print(float(at.value), at.grad)
    core = wos.Regions(1.0, [(wos.Polygon([[0.5, 0.5], [0.9, 0.5], [0.9, 0.9]]), 10.0)])
    assert_type(wos.solve(wos.Polygon(OUTLINE), [0.3, 0.3], dirichlet=along_x, diffusion=core, walks=8, rng=0), wos.Result[Real])
    distance, nearest, segment, weights = wos.closest_point(wos.Polygon(OUTLINE), [0.5, 0.25])
    assert_type(distance, Real)
    print(distance, nearest, segment, weights)


def mesh() -> None:
    body = wos.TriangleMesh(np.eye(4, 3), [[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]])
    points: Real = np.full((4, 3), 0.2)
    assert_type(wos.signed_distance(body, points), Real)
    u = wos.solve(body, points, dirichlet=along_x, walks=8, rng=0)
    outside = wos.solve(body, points + 1, dirichlet=1.0, exterior=True, walks=8, rng=0, backend="numba")
    print(u.value, outside.n_truncated)


def batches() -> None:
    stars, g = wos.Star([0.1, -0.1], 0.05), wos.Fourier(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    labels = wos.NeuralOperatorLabels(stars, g, points=np.zeros((3, 2)), walks=8, rng=0)
    for _ in range(2):
        assert_type(labels.epoch(), wos.Result[Real])
    pulled: tuple[Any, ...] = wos.solve_vjp(stars, np.zeros((3, 2)), np.ones((2, 3)), dirichlet=g, walks=8, rng=labels.seed)
    with qf.use_backend("numba"):
        cached = wos.solve(wos.Box([0, 0], [1, 1]), np.full((5, 2), 0.5), dirichlet=1.0, cache="harmonic", walks=8, rng=0)
    print(pulled[1]["coefficients"].shape, cached.value)


TYPICAL = (polygon, one_point, mesh, batches)
