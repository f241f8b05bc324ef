"""Outside of balls, boxes and meshes: closed forms within their error bars, capacities, the same bits, bad input."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.query.oracle import icosphere
from wos.walk.oracle import seed

CUBE = 0.660678154  # capacity of the unit cube over 4 pi eps0, in units of its side: Helsing and Perfekt 2013


def cube(side=1.0):
    """Twelve triangles of the cube from 0."""
    V = side * np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return wos.TriangleMesh(V, np.array([t for q in quads for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])]))


def on_sphere(rng, n, radius, d=3):
    v = rng.standard_normal((n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True) * np.reshape(radius, (-1, 1))


@pytest.mark.parametrize("name", ["box", "mesh"])
def test_the_capacity_of_a_cube(name, best_backend, rng):
    """u = 1 on the cube: its mean over a sphere of radius r around the cube is the capacity over r, in the unit of 4 pi eps0."""
    if best_backend != "native" and name == "mesh":
        n, W = 200, 16
    else:
        n, W = (2000, 256) if best_backend == "native" else (500, 32)
    boundary = wos.Box([0, 0, 0], [1, 1, 1]) if name == "box" else cube()
    X = 0.5 + on_sphere(rng, n, 0.9)
    r = wos.solve(boundary, X, dirichlet=1.0, exterior=True, walks=W, epsilon=1e-5, rng=seed(rng))
    capacity, error = 0.9 * r.value.mean(), 0.9 * r.value.std() / np.sqrt(n)
    assert abs(capacity - CUBE) < 6 * error + 3e-5
    if best_backend == "native":
        assert error < 0.02 * CUBE / 12  # 2% off would show


def test_the_potential_of_a_sphere(best_backend, rng):
    """1 / r, from beside the sphere to 30 radii: how often a walk comes back."""
    r = 1 + 10 ** rng.uniform(-3, 1.5, 400)
    X = on_sphere(rng, 400, r)
    W = 16384 if best_backend == "native" else 2048
    found = wos.solve(wos.Ball([0, 0, 0], 1.0), X, dirichlet=1.0, exterior=True, walks=W, epsilon=1e-6, rng=seed(rng))
    known = found.stderr > 0  # very close to the sphere all walks may have come back
    near = (found.value - 1 / r)[~known]
    assert (np.abs(near) < 40 / W).all()
    z = ((found.value - 1 / r) / np.sqrt((1 / r) * (1 - 1 / r) / W))[(W / r > 100) & (W * (1 - 1 / r) > 100)]
    assert len(z) > 30
    assert np.abs(z).max() < 7
    assert abs(z.sum()) / np.sqrt(len(z)) < 6
    assert abs((z**2).mean() - 1) < 7 * np.sqrt(2 / len(z))


@pytest.mark.parametrize("name", ["ball", "box", "cube"])
def test_inside_and_on_the_boundary(name, backend):
    boundary = {"ball": wos.Ball([0.5, 0.5, 0.5], 0.5), "box": wos.Box([0, 0, 0], [1, 1, 1]), "cube": cube()}[name]
    X = np.array([[0.5, 0.5, 0.5], [1.5, 0.5, 0.5], [1.0, 0.5, 0.5], [1 - 1e-5, 0.5, 0.5]])
    with pytest.warns(RuntimeWarning, match="1 points lie inside the boundary: their values are NaN"):
        r = wos.solve(boundary, X, dirichlet=lambda Y: 3 * Y[:, 0], exterior=True, walks=20, rng=1)
    np.testing.assert_array_equal(np.isnan(r.value), [True, False, False, False])
    np.testing.assert_array_equal(r.n_walks, [0, 20, 20, 20])
    np.testing.assert_allclose(r.value[2:], 3, atol=1e-6)
    np.testing.assert_array_equal(r.stderr[2:], 0)


def test_far_away(backend, rng):
    """1e6 diagonals from a cube: few walks come back, none escapes, nothing overflows."""
    for boundary in (wos.Box([0, 0, 0], [1, 1, 1]), wos.Ball([0, 0, 0], 1.0), cube()):
        r = wos.solve(boundary, on_sphere(rng, 20, 1e6), dirichlet=1.0, exterior=True, walks=100, rng=seed(rng), gradient=True)
        assert (r.value <= 0.02).all()
        assert r.n_escaped.sum() == r.n_truncated.sum() == 0
        assert np.isfinite(r.grad).all()


def test_a_large_epsilon(backend):
    """Walks end near the mesh, not near the cube around it: the capacity of a ball is its radius."""
    mesh, X = wos.TriangleMesh(*icosphere(2)), np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    g, walks = wos.PerVertex(np.ones(len(mesh.vertices))), 20_000 if backend == "native" else 300
    r = wos.solve(mesh, X, dirichlet=g, exterior=True, epsilon=0.05, walks=walks, rng=0)  # of the diagonal, 0.17 of the radius
    assert (np.abs(r.value - 1.08 / np.array([2.0, 1.5])) < 6 * r.stderr + 0.03).all()
