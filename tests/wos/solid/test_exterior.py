"""Outside of balls, boxes and meshes: closed forms within their error bars, capacities, the same bits, bad input."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quatrefoil import _backends, wos
from wos.query.oracle import icosphere
from wos.solid.oracle import pole, slope_of_pole
from wos.walk.oracle import gates, same, seed

NATIVE = _backends.reason("native") is None
CUBE = 0.660678154  # capacity of the unit cube over 4 pi eps0, in units of its side: Helsing and Perfekt 2013
POLE = np.array([0.2, -0.1, 0.15])


def cube(side=1.0):
    """Twelve triangles of the cube from 0."""
    V = side * np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return wos.TriangleMesh(V, np.array([t for q in quads for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])]))


def on_sphere(rng, n, radius, d=3):
    v = rng.standard_normal((n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True) * np.reshape(radius, (-1, 1))


def boundaries():
    return {
        "ball": wos.Ball([0.1, 0.0, 0.0], 0.8),
        "box": wos.Box([-0.5, -0.7, -0.4], [0.6, 0.5, 0.8]),
        "mesh": wos.TriangleMesh(*icosphere(2, 0.1)),
        "cube": cube(),
    }


def sizes(backend, name):
    """(points, walks): a mesh's triangles are all asked by the numba backend."""
    if backend == "native":
        return 300, 4096
    return (30, 1024) if name in ("ball", "box") else (16, 128)


def points_outside(boundary, rng, n):
    """From beside the boundary to far away."""
    X = boundary.centre[0] + on_sphere(rng, 4 * n, boundary.diagonal[0] * (0.3 + 10 ** rng.uniform(-1, 0.7, 4 * n)))
    near = wos.closest_point(boundary, X)[0]
    return X[~wos.contains(boundary, X) & (near > 0.02 * boundary.diagonal[0])][:n]


@pytest.mark.parametrize("name", ["ball", "box", "mesh"])
def test_a_pole_inside(name, best_backend, rng):
    n, W = sizes(best_backend, name)
    boundary = boundaries()[name]
    X = points_outside(boundary, rng, n)
    run = {"dirichlet": lambda Y: pole(Y, POLE), "exterior": True, "walks": W, "epsilon": 1e-6, "rng": seed(rng)}
    r = wos.solve(boundary, X, **run)
    assert gates(r.value, r.stderr, pole(X, POLE), spread=best_backend == "native") == []
    assert r.n_escaped.sum() == r.n_truncated.sum() == 0
    if name == "ball":
        np.testing.assert_array_equal(r.mean_steps, 1)
    r = wos.solve(boundary, X, **run, gradient=True)
    assert gates(r.value, r.stderr, pole(X, POLE), spread=best_backend == "native") == []
    truth = slope_of_pole(X, POLE)
    for i in range(3):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], truth[:, i], spread=best_backend == "native") == []


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_planted_errors_show(rng):
    """Values and slopes that are off by 4% and 12%: more than twice what these gates need to see."""
    boundary = boundaries()["box"]
    X = points_outside(boundary, rng, 300)
    run = {"exterior": True, "walks": 4096, "epsilon": 1e-6, "rng": seed(rng), "gradient": True}
    r = wos.solve(boundary, X, dirichlet=lambda Y: pole(Y, POLE), **run)
    assert gates(1.04 * r.value, 1.04 * r.stderr, pole(X, POLE)) != []
    truth, scale = slope_of_pole(X, POLE), 1.12
    assert any(gates(scale * r.grad[:, i], scale * r.grad_stderr[:, i], truth[:, i]) for i in range(3))
    coarse = wos.solve(boundary, X, dirichlet=lambda Y: pole(Y, POLE), **(run | {"epsilon": 0.05}))
    some = coarse.stderr > 0  # not in the shell
    assert gates(coarse.value[some], coarse.stderr[some], pole(X, POLE)[some]) != []


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["ball", "box", "mesh"])
def test_bits(name, dtype, backend, rng):
    """Threads, cuts, prefixes, an executor; float32 as float64."""
    boundary = boundaries()[name]
    X = points_outside(boundary, rng, 19).astype(dtype)
    for gradient in (False, True):
        run = {"dirichlet": lambda Y: Y[:, 0] + 2, "exterior": True, "walks": 60, "rng": seed(rng), "gradient": gradient}
        whole = wos.solve(boundary, X, **run)
        assert whole.value.dtype == dtype
        for n in (2, 3):
            same(whole, wos.solve(boundary, X, **run, num_threads=n))
        cut = 2 * int(rng.integers(1, 29))
        first = wos.solve(boundary, X, **(run | {"walks": cut}))
        same(whole, first.resume(60 - cut))
        same(whole, first.merge(wos.solve(boundary, X, **(run | {"walks": 60 - cut, "walk_offset": cut}))))
        np.testing.assert_array_equal(wos.solve(boundary, X[:4], **run).value, whole.value[:4])
        with ThreadPoolExecutor(2) as pool:
            same(whole, wos.solve(boundary, X, **run, executor=pool))
    again = wos.solve(boundary, X, dirichlet=1.0, exterior=True, walks=4, rng=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        other = wos.solve(boundary, X, dirichlet=1.0, walks=4, walk_offset=4, rng=1)
    with pytest.raises(ValueError, match="exterior"):
        again.merge(other)


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


def test_values_at_vertices(backend, rng):
    """PerVertex outside of a mesh: linear data on a tetrahedron's faces are that function."""
    mesh = wos.TriangleMesh(np.eye(4, 3), np.array([[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]]))
    X, run = on_sphere(rng, 20, 2.0), {"exterior": True, "walks": 50, "rng": seed(rng)}
    a = wos.solve(mesh, X, dirichlet=wos.PerVertex(np.eye(4, 3) @ [1.0, 2.0, 3.0] + 1), **run)
    b = wos.solve(mesh, X, dirichlet=lambda Y: Y @ [1.0, 2.0, 3.0] + 1, **run)
    np.testing.assert_allclose(a.value, b.value, rtol=0, atol=1e-5)


def test_gradients(backend, rng):
    """Of parameters, by differences of what is linear."""
    box, grad = boundaries()["box"], rng.standard_normal(8)
    X, c = points_outside(box, rng, 8), rng.standard_normal((2, 2, 2))
    run = {"exterior": True, "walks": 20, "rng": seed(rng)}
    _, of_g, _ = wos.solve_vjp(box, X, grad, dirichlet=wos.Polynomial(c), **run)
    dc = rng.standard_normal(c.shape)
    change = wos.solve(box, X, dirichlet=wos.Polynomial(c + dc), **run).value - wos.solve(box, X, dirichlet=wos.Polynomial(c), **run).value
    np.testing.assert_allclose((of_g["coefficients"] * dc).sum(), (grad * change).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not NATIVE, reason="compares native with numba")
@pytest.mark.parametrize("name", ["ball", "box", "cube"])
def test_backends_walk_alike(name, rng):
    boundary = boundaries()[name]
    X = points_outside(boundary, rng, 12)
    run = {"dirichlet": lambda Y: Y[:, 0], "exterior": True, "walks": 10, "epsilon": 1e-6, "rng": 9, "gradient": True}
    a, b = (wos.solve(boundary, X, **run, backend=backend) for backend in ("native", "numba"))
    close = np.isclose(a.value, b.value, rtol=1e-6, atol=1e-6)
    assert close.mean() > (0.9 if name == "ball" else 0.4)  # a mesh's bounds, and steps that end within rounding of epsilon, differ
    assert abs(np.nanmean(a.value) - np.nanmean(b.value)) < 0.1


def test_bad_input():
    ball, X = wos.Ball([0, 0, 0], 1.0), np.full((1, 3), 2.0)
    grid = wos.SDF(np.pad(np.full((1, 1, 1), -0.5), 1, constant_values=0.5), ([0.0] * 3, [1.0] * 3))
    for boundary, points, options, error, text in (
        (wos.Ball([0, 0], 1.0), X[:, :2], {}, ValueError, "it needs a Ball, a Box or a TriangleMesh in three dimensions"),
        (wos.Polygon(np.array([[0, 0], [1, 0], [0, 1.0]])), X[:, :2], {}, ValueError, "in three dimensions"),
        (grid, X, {}, ValueError, "exterior=True with SDF"),
        (ball, X, {"source": 1.0}, ValueError, "without a source and a screening"),
        (ball, X, {"screening": 1.0}, ValueError, "without a source and a screening"),
        (ball, X, {"cache": "harmonic"}, ValueError, "a cache is for domains inside"),
        (ball, X, {"exterior": 1}, TypeError, "exterior is 1, expected True or False"),
    ):
        with pytest.raises(error, match=text):
            wos.solve(boundary, points, **({"dirichlet": 1.0, "exterior": True} | options))


def test_a_large_epsilon(backend):
    """Walks end near the mesh, not near the cube around it: the capacity of a ball is its radius."""
    mesh, X = wos.TriangleMesh(*icosphere(2)), np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    g, walks = wos.PerVertex(np.ones(len(mesh.vertices))), 20_000 if backend == "native" else 300
    r = wos.solve(mesh, X, dirichlet=g, exterior=True, epsilon=0.05, walks=walks, rng=0)  # of the diagonal, 0.17 of the radius
    assert (np.abs(r.value - 1.08 / np.array([2.0, 1.5])) < 6 * r.stderr + 0.03).all()
