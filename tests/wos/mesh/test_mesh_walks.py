"""Walks on meshes: what a walk sees against brute force, closed forms within their error bars, values at vertices, gaps, the same bits."""

import pickle

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from wos.query import oracle
from wos.query.oracle import icosphere
from wos.walk.oracle import gates, same, seed

NATIVE = native.reason() is None
needs_native = pytest.mark.skipif(not NATIVE, reason="no compiled part here")


def points_in(V, rng, n, radius=0.85):
    """Uniform in a ball that the bumps do not reach."""
    v = rng.standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True) * radius * rng.random((n, 1)) ** (1 / 3)


def cubic(X):
    x, y, z = np.moveaxis(X, -1, 0)
    return 1 + x * y * z + 0.5 * (z**2 - x**2) + x - y


def pole(X):
    return 1 / np.linalg.norm(X - np.array([1.1, 0.8, -0.9]), axis=-1)


@needs_native
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0, 1, 3, 5])
@pytest.mark.parametrize("name", ["ball", "needles", "tetrahedron"])
@pytest.mark.slow
def test_what_a_walk_sees(name, level, dtype, rng):
    """Bounds are positive and never too large, near the surface distance and triangle are exact; asked again the same bits."""
    from quatrefoil import _core

    V, F = {"ball": lambda: icosphere(3, 0.1), "needles": lambda: oracle.needles(rng, 9, 1e-4), "tetrahedron": oracle.tetrahedron}[name]()
    mesh = wos.TriangleMesh(V, F)
    ends = mesh.scaled_ends()
    X = rng.uniform(-0.5, 0.5, (999, 3)).astype(dtype)
    near = rng.integers(len(ends), size=500)
    X[:500] = (ends[near].reshape(-1, 3, 3) * rng.dirichlet([1, 1, 1], 500)[..., None]).sum(axis=1)
    X[:500] += rng.uniform(-1, 1, (500, 3)) * 10.0 ** rng.uniform(-6, -1, (500, 1))
    X[990:] *= 1.1  # some beyond the box
    compiled = _core.wos.Mesh(ends)
    found = [(np.empty(999, dtype), np.empty(999, np.int64)) for _ in range(2)]
    for radius, primitive in found:
        _core.wos.mesh_bounds(compiled, level, X, radius, primitive)
    radius, primitive = found[0]
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)
    d2, _ = oracle.all_distances(ends.astype(np.longdouble), X.astype(np.longdouble))
    distance, row = np.sqrt(d2.min(axis=1)), np.arange(999)
    tolerance = 8 * np.finfo(dtype).eps
    inside = (np.abs(X) < 0.5).all(axis=1)
    assert (radius <= distance + tolerance).all()
    exact = primitive >= 0
    assert exact[inside].any()
    assert np.abs(radius - distance)[exact].max() < tolerance
    assert np.abs(np.sqrt(d2[row, primitive]) - distance)[exact].max() < tolerance
    if level >= 3:
        assert (radius[inside & ~exact] > 0.5 * distance[inside & ~exact]).all()
        assert (radius[inside] > 0).all()
    assert (radius[(np.abs(X) > 0.51).any(axis=1)] == 0).all()


@pytest.mark.parametrize("u", [cubic, pole])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@needs_native
def test_harmonic_functions(u, precision, rng):
    V, F = icosphere(3, 0.1)
    mesh, X = wos.TriangleMesh(V, F), points_in(V, rng, 300).astype(precision)
    epsilon = 1e-4 if precision == "float32" else 1e-6
    r = wos.solve(mesh, X, dirichlet=u, walks=4096, epsilon=epsilon, rng=seed(rng))
    assert gates(r.value.astype(float), r.stderr, u(X.astype(float))) == []
    assert not r.n_escaped.any()
    assert not r.n_truncated.any()


@needs_native
def test_the_gates_see_a_large_shell(rng):
    V, F = icosphere(3, 0.1)
    X = points_in(V, rng, 300, 0.6)
    r = wos.solve(wos.TriangleMesh(V, F), X, dirichlet=cubic, walks=4096, epsilon=3e-2, rng=seed(rng))
    assert gates(r.value, r.stderr, cubic(X)) != []


@needs_native
def test_sources(rng):
    """-laplace u = 6 for u = a + b.x - |x|^2, with u at the boundary."""
    V, F = icosphere(3, 0.1)
    X = points_in(V, rng, 300)

    def u(Y):
        return 1 + Y[..., 0] - (Y**2).sum(axis=-1)

    r = wos.solve(wos.TriangleMesh(V, F), X, dirichlet=u, source=6.0, walks=4096, epsilon=1e-4, rng=seed(rng))
    assert gates(r.value, r.stderr, u(X)) == []


@needs_native
@pytest.mark.parametrize("screening", [0.0, 5.0])
def test_gradients_and_screening(screening, rng):
    """By pairs, with a source: u = sin x sin y + z."""
    V, F = icosphere(3, 0.1)
    X = points_in(V, rng, 150, 0.7)

    def u(Y):
        return np.sin(Y[..., 0]) * np.sin(Y[..., 1]) + Y[..., 2]

    def f(Y):
        return 2 * np.sin(Y[..., 0]) * np.sin(Y[..., 1]) + screening * u(Y)

    run = dict(dirichlet=u, source=f, screening=screening, walks=4096, epsilon=1e-4, gradient=True, rng=seed(rng))
    r = wos.solve(wos.TriangleMesh(V, F), X, **run)
    assert gates(r.value, r.stderr, u(X)) == []
    x, y, _ = X.T
    for i, truth in enumerate((np.cos(x) * np.sin(y), np.sin(x) * np.cos(y), np.ones(len(X)))):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], truth) == []


@needs_native
def test_harmonic_caching(rng):
    V, F = icosphere(2, 0.1)
    X = points_in(V, rng, 200, 0.8)
    run = dict(dirichlet=cubic, walks=256, epsilon=1e-4, rng=seed(rng))
    errors = [wos.solve(wos.TriangleMesh(V, F), X, cache=cache, **run).value - cubic(X) for cache in (None, "harmonic")]
    plain, cached = (np.sqrt((e**2).mean()) for e in errors)
    assert cached < plain


def plane(X):
    return 0.3 + X @ np.array([1.0, 2.0, -1.0])


def test_values_at_vertices(backend, rng):
    """A linear function is what its values at vertices say: walk by walk the same."""
    V, F = icosphere(1, 0.1)
    mesh, X = wos.TriangleMesh(V, F), points_in(V, rng, 12, 0.7)
    options = {"walks": 64, "epsilon": 1e-3, "rng": seed(rng)}
    a, b = (wos.solve(mesh, X, dirichlet=g, **options) for g in (wos.PerVertex(plane(V)), plane))
    np.testing.assert_allclose(a.value, b.value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(a.mean_steps, b.mean_steps)
    z = (a.value - plane(X)) / np.hypot(a.stderr, 1e-2)
    assert np.abs(z).max() < 6


def test_gradients_of_values_at_vertices(backend, rng):
    """The value is linear in them: its gradient is that of every combination, by finite differences exact but for rounding."""
    V, F = icosphere(1, 0.1)
    mesh, X, v, s = wos.TriangleMesh(V, F), points_in(V, rng, 5, 0.7), rng.standard_normal(42), seed(rng)
    grad, direction = rng.standard_normal(5), rng.standard_normal(42)
    options = {"walks": 12, "epsilon": 1e-2, "rng": s}
    _, got, _ = wos.solve_vjp(mesh, X, grad, dirichlet=wos.PerVertex(v), source=1.0, **options)
    change = [wos.solve(mesh, X, dirichlet=wos.PerVertex(v + d), source=1.0, **options).value for d in (direction, -direction)]
    np.testing.assert_allclose(got["values"] @ direction, grad @ (change[0] - change[1]) / 2, rtol=1e-9, atol=1e-9)
    assert got["values"].shape == (42,)
    np.testing.assert_allclose(got["values"].sum(), grad.sum(), rtol=1e-6)  # constants are what they are


@pytest.mark.torch
def test_gradients_in_torch(backend, rng):
    torch = pytest.importorskip("torch")
    V, F = icosphere(1, 0.1)
    X, v, s = points_in(V, rng, 5, 0.7), rng.standard_normal(42), seed(rng)
    mesh = wos.TriangleMesh(torch.tensor(V), torch.tensor(F))
    values = torch.tensor(v, requires_grad=True)
    wos.solve(mesh, torch.tensor(X), dirichlet=wos.PerVertex(values), walks=12, rng=s).value.sum().backward()
    _, got, _ = wos.solve_vjp(wos.TriangleMesh(V, F), X, np.ones(5), dirichlet=wos.PerVertex(v), walks=12, rng=s)
    np.testing.assert_allclose(values.grad.numpy(), got["values"], rtol=1e-12, atol=1e-15)


@pytest.mark.skipif(not NATIVE, reason="compares native with numba")
def test_both_backends_find_the_same(rng):
    V, F = icosphere(1, 0.1)
    mesh, X = wos.TriangleMesh(V, F), points_in(V, rng, 40, 0.7)
    a, b = (wos.solve(mesh, X, dirichlet=cubic, source=2.0, walks=128, rng=seed(rng), backend=name) for name in ("native", "numba"))
    assert (np.abs(a.value - b.value) < 6 * np.hypot(a.stderr, b.stderr)).all()


def test_batches_of_data(backend, rng):
    V, F = icosphere(1)
    mesh, X = wos.TriangleMesh(V, F), points_in(V, rng, 4, 0.6)
    table, s = rng.standard_normal((3, 42)), seed(rng)
    r = wos.solve(mesh, X, dirichlet=wos.PerVertex(table), walks=8, rng=s)
    assert r.value.shape == (3, 4)
    np.testing.assert_array_equal(r.value[0], wos.solve(mesh, X, dirichlet=wos.PerVertex(table[0]), walks=8, rng=s).value)


@needs_native
def test_the_same_bits(rng):
    """For any number of threads, that fill the cells together; for cells that others have filled; cut, merged, pickled."""
    V, F = icosphere(3, 0.1)
    X, s = points_in(V, rng, 64).astype(np.float32), seed(rng)

    def run(mesh, **options):
        return wos.solve(mesh, X, dirichlet=cubic, rng=s, **{"walks": 100, **options})

    mesh = wos.TriangleMesh(V, F)
    whole = run(mesh, num_threads=1)
    for threads in (2, 3, 7):
        same(whole, run(wos.TriangleMesh(V, F), num_threads=threads))
    same(whole, run(mesh))
    other = wos.TriangleMesh(V, F)
    wos.solve(other, -X[::-1], dirichlet=1.0, walks=50)
    same(whole, run(other))
    same(whole, run(mesh, walks=37).merge(run(pickle.loads(pickle.dumps(mesh)), walks=63, walk_offset=37)))
    same(whole, pickle.loads(pickle.dumps(run(mesh, walks=30))).resume(70))


def test_points_outside_and_on_the_boundary(backend):
    V, F = icosphere(1)
    mesh = wos.TriangleMesh(V, F)
    middle = V[F[0]].mean(axis=0)
    X = np.stack([np.zeros(3), 2 * V[0], middle * (1 + 1e-5), middle * (1 - 1e-5), V[3]])
    with pytest.warns(RuntimeWarning, match="1 points lie outside"):
        r = wos.solve(mesh, X, dirichlet=plane, walks=16, epsilon=1e-3)
    assert np.isnan(r.value[1])
    assert (r.stderr[2:] == 0).all()
    np.testing.assert_allclose(r.value[2:], plane(np.stack([middle, middle, V[3]])), atol=1e-5)


def test_cut_off_walks_end_on_the_surface(backend, rng):
    V, F = icosphere(1)
    X = points_in(V, rng, 6, 0.3)
    r = wos.solve(wos.TriangleMesh(V, F), X, dirichlet=lambda Y: (Y**2).sum(axis=1), walks=16, max_steps=1)
    assert (r.n_truncated >= 12).all()  # a step may end within epsilon
    assert (np.abs(r.value - 0.9) < 0.101).all()


def test_walks_through_a_gap(backend):
    """Those that leave the box are counted, and end at the closest point."""
    V, F = icosphere(1)
    mesh = wos.TriangleMesh(V, F[V[F].mean(axis=1)[:, 2] < 0.5], watertight=False)
    with pytest.warns(RuntimeWarning, match=r"% of the walks left the domain \(n_escaped\)"):
        r = wos.solve(mesh, np.array([[0.0, 0, 0.2], [0.0, 0.0, -0.9]]), dirichlet=1.0, walks=200, rng=1)
    np.testing.assert_array_equal(r.value, 1)
    assert r.n_escaped[0] > 10
    assert r.n_escaped[1] < r.n_escaped[0]


def test_bad_data():
    V, F = icosphere(0)
    mesh, X = wos.TriangleMesh(V, F), np.zeros((1, 3))
    for boundary, g, text in (
        (mesh, wos.PerVertex(np.zeros(11)), r"dirichlet.values\[0\] has shape \(11,\), but the mesh has 12 vertices: expected \(12,\)"),
        (mesh, wos.Fourier(np.zeros(3)), "Fourier data, which needs two dimensions"),
        (
            wos.Ball([0, 0, 0], 1),
            wos.PerVertex(np.zeros(12)),
            "PerVertex data, which only what is given on the boundary of a polygon or mesh can be",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            wos.solve(boundary, X, dirichlet=g)
    with pytest.raises(ValueError, match="different problems: they differ in boundary"):
        wos.solve(mesh, X, dirichlet=1.0, walks=4, rng=1).merge(
            wos.solve(wos.TriangleMesh(V * 2, F), X, dirichlet=1.0, walks=4, walk_offset=4, rng=1)
        )
