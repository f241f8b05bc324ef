"""Balls, boxes and fields of signed distances: queries, what a field is between its nodes, many dimensions, and walks outside."""

from itertools import product

import numpy as np
import pytest

from quatrefoil import wos
from wos.query.oracle import icosphere
from wos.solid.oracle import source_weights
from wos.test_closed_forms import CENTER, field, of_ball, points
from wos.walk import oracle
from wos.walk.oracle import gates, seed

RADIUS = 1.1


# ---------------------------------------------------------------- queries


@pytest.mark.parametrize(("name", "d"), [*product(["ball", "field", "function"], [2, 3]), ("ball", 4), ("ball", 7)])
def test_queries_of_a_ball(name, d, backend, rng):
    """A field's slopes are those of its cells; the projection of a true distance is the closest point, far from the boundary too."""
    n, center = (401 if d == 2 else 121), np.resize(CENTER, d)
    h = 2.9 / (n - 1) if name == "field" else 0.0
    boundary = (
        wos.Ball(center, RADIUS) if name == "ball" else wos.SDF(*field(d, n)) if name == "field" else wos.SDF(of_ball, field(d, 9)[1])
    )
    q = rng.uniform(-1.2, 1.2, (500, d))
    r = np.linalg.norm(q - center, axis=1)
    q, r = q[r > 0.1], r[r > 0.1]  # at the centre the field has a kink
    near = h * h / 0.1 + 1e-14  # of the interpolation, of second derivatives up to 10
    distance, point, primitive, weights = wos.closest_point(boundary, q)
    np.testing.assert_allclose(wos.signed_distance(boundary, q), r - RADIUS, rtol=0, atol=near)
    np.testing.assert_allclose(distance, np.abs(r - RADIUS), rtol=0, atol=near)
    clear = np.abs(r - RADIUS) < 0.5 if h else slice(None)
    off = np.abs(point - (center + RADIUS * (q - center) / r[:, None]))[clear].max()
    assert off < (0.5 * h / 0.6 + near if h else 1e-6 if name == "function" else 1e-14)
    np.testing.assert_allclose(np.linalg.norm(point - center, axis=1), RADIUS, rtol=0, atol=max(near, 1e-6))
    sure = np.abs(r - RADIUS) > near
    np.testing.assert_array_equal(wos.contains(boundary, q)[sure], r[sure] < RADIUS)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


def test_the_field_is_linear_between_nodes(backend, rng):
    values = np.pad(rng.uniform(-1, -0.5, (3, 4)), 1, constant_values=1.0)
    box = (np.array([1.0, -2.0]), np.array([3.0, 1.0]))
    q = rng.uniform(*box, (300, 2))
    np.testing.assert_allclose(wos.signed_distance(wos.SDF(values, box), q), oracle.grid(q, values, *box), rtol=0, atol=1e-13)


def test_plots():
    pytest.importorskip("matplotlib").use("Agg")
    lines = np.concatenate(wos.SDF(*field(2, 81)).plot().collections[0].get_segments())
    np.testing.assert_allclose(np.linalg.norm(lines - CENTER[:2], axis=1), RADIUS, atol=2e-3)
    square = wos.Box([0, 0], [2, 1]).plot().collections[0].get_segments()
    assert len(square) == 4
    np.testing.assert_allclose(np.sort(np.concatenate(square), axis=0), np.repeat([[0, 0], [2, 1]], 4, axis=0))
    assert wos.Box([0, 0, 0], [1, 1, 1])._outline(0).shape == (12, 2, 3)
    for boundary, text in ((wos.SDF(*field(3, 9)), "an SDF in space has no lines to draw"), (wos.Box([0.0] * 4, [1.0] * 4), "in 4 dim")):
        with pytest.raises(ValueError, match=text):
            boundary.plot()


# ---------------------------------------------------------------- walks


def test_faces_on_nodes(best_backend, rng):
    """A rectangle whose sides are lines of nodes is that rectangle; its field has kinks along the diagonals."""
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2, indexing="ij"), axis=-1)
    outside = np.abs(x) - [0.8, 0.5]
    phi = np.where((outside > 0).any(-1), np.linalg.norm(np.maximum(outside, 0), axis=-1), outside.max(-1))
    X, u = rng.uniform([-0.78, -0.48], [0.78, 0.48], (200, 2)), (lambda Y: 1 + Y[:, 0] * Y[:, 1])
    options = {"walks": 2048 if best_backend == "native" else 256, "epsilon": 1e-5, "rng": seed(rng)}
    r = wos.solve(wos.SDF(phi, ([-1, -1], [1, 1])), X, dirichlet=u, **options)
    assert gates(r.value, r.stderr, u(X), spread=best_backend == "native") == []


def test_lipschitz(best_backend, rng):
    """A field three times as steep with lipschitz=3 walks as the field itself; without it, balls reach out of the domain."""
    values, box = field(2, 401)
    exact, right, wrong = wos.SDF(values, box), wos.SDF(3 * values, box, lipschitz=3.0), wos.SDF(3 * values, box)
    n, walks = (200, 2048) if best_backend == "native" else (30, 512)
    X = points(exact, rng, n)
    run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": walks, "epsilon": 1e-5, "rng": seed(rng)}
    a, b = wos.solve(exact, X, **run), wos.solve(right, X, **run)
    assert np.isclose(a.value, b.value, rtol=0, atol=1e-3).mean() > 0.9
    truth = X[:, 0] + (RADIUS**2 - ((X - CENTER[:2]) ** 2).sum(axis=1)) / 4
    assert gates(b.value, b.stderr, truth) == []
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        wrong = wos.solve(wrong, X, **run)
    assert gates(wrong.value, wrong.stderr, truth) != []


def test_functions_that_raise(backend):
    box, sphere = ([-1.5] * 2, [1.5] * 2), (lambda X: np.hypot(*X.T) - 1)

    def sometimes(X):
        if len(X) < 1000:
            raise KeyError("mine")
        return sphere(X)

    with pytest.raises(KeyError, match="mine"):
        wos.solve(wos.SDF(sometimes, box), np.zeros((1, 2)), dirichlet=1.0)
    assert repr(wos.SDF(sphere, box)) == "SDF(of a function)"


def test_compiled_functions_walk_as_others(backend, rng):
    numba = pytest.importorskip("numba")
    pointer = numba.types.CPointer(numba.types.float64)

    @numba.cfunc(numba.types.void(numba.types.int64, pointer, pointer))
    def of_pointers(n, x, out):
        for i in range(n):
            out[i] = ((x[2 * i] - 0.1) ** 2 + (x[2 * i + 1] + 0.2) ** 2) ** 0.5 - 1.1

    of_points = numba.njit(lambda X: np.sqrt((X[:, 0] - 0.1) ** 2 + (X[:, 1] + 0.2) ** 2) - 1.1)
    box, X = field(2, 9)[1], points(wos.Ball(CENTER[:2], RADIUS), rng, 20)
    run = {"dirichlet": lambda Y: Y[:, 0] ** 2, "walks": 60, "epsilon": 1e-6, "rng": seed(rng)}
    plain = wos.solve(wos.SDF(of_ball, box), X, **run)
    for f in (of_points, of_pointers):
        assert np.isclose(wos.solve(wos.SDF(f, box), X, **run).value, plain.value, rtol=0, atol=1e-9).mean() > 0.8  # a step may be added


@pytest.mark.parametrize("d", [4, 5, 6, 7, 12, 25])
def test_green_functions(d, rng):
    """(21), (22) against Bessel functions."""
    pytest.importorskip("numba")
    from quatrefoil.wos.walk.loops_wide import source_weight_wide

    for s in (1e-3, 0.2, 0.6, 0.95, float(rng.uniform(0.01, 1))):
        for z in (1e-3, 0.4, 2.0, float(rng.uniform(0, 2))):
            # 1 - s^(d - 2) and what it divides cancel as s tends to 1
            np.testing.assert_allclose(source_weight_wide(d, s, z * z), source_weights(d, s, z), rtol=1e-12)


def cube(side=1.0):
    """Twelve triangles of the cube from 0."""
    V = side * np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return wos.TriangleMesh(V, np.array([t for q in quads for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])]))


SHAPES = {
    "ball": lambda d: wos.Ball([0.5] * d, 0.5),
    "box": lambda d: wos.Box([0.0] * d, [1.0] * d),
    "cube": lambda d: cube(),
}


@pytest.mark.parametrize(
    ("name", "d", "exterior"), [("box", 2, 0), ("box", 3, 0), ("box", 5, 0), ("ball", 3, 1), ("box", 3, 1), ("cube", 3, 1), ("cube", 3, 0)]
)
def test_points_outside_and_on_the_boundary(name, d, exterior, backend):
    X = np.full((4, d), 0.5)
    X[:, 0] = 0.5, 1.5, 1.0, 1 + (-1e-5 if exterior else 1e-5)
    with pytest.warns(RuntimeWarning, match=f"1 point lies {'inside' if exterior else 'outside'} the boundary: values are NaN there"):
        r = wos.solve(SHAPES[name](d), X, dirichlet=lambda Y: Y.sum(axis=1), exterior=bool(exterior), walks=20, rng=1)
    beyond = np.arange(4) == (0 if exterior else 1)
    np.testing.assert_array_equal(np.isnan(r.value), beyond)
    np.testing.assert_array_equal(r.n_walks, np.where(beyond, 0, 20))
    np.testing.assert_allclose(r.value[2:], 1 + 0.5 * (d - 1), atol=1e-6)
    np.testing.assert_array_equal(r.stderr[2:], 0)


# ---------------------------------------------------------------- outside


def on_sphere(rng, n, radius, d=3):
    v = rng.standard_normal((n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True) * np.reshape(radius, (-1, 1))


def test_the_potential_of_a_sphere(best_backend, rng):
    """1 / r, from beside the sphere to 30 radii: how often a walk comes back."""
    r = 1 + 10 ** rng.uniform(-3, 1.5, 400)
    W = 16384 if best_backend == "native" else 2048
    options = {"dirichlet": 1.0, "exterior": True, "walks": W, "epsilon": 1e-6, "rng": seed(rng)}
    found = wos.solve(wos.Ball([0, 0, 0], 1.0), on_sphere(rng, 400, r), **options)
    all_back = found.stderr == 0  # very close to the sphere
    assert (np.abs(found.value - 1 / r)[all_back] < 40 / W).all()
    known = (W / r > 100) & (W * (1 - 1 / r) > 100)
    assert known.sum() > 30
    assert gates(found.value[known], np.sqrt((1 / r) * (1 - 1 / r) / W)[known], 1 / r[known]) == []


def test_far_away(backend, rng):
    """1e6 diagonals from a cube: few walks come back, none escapes, nothing overflows."""
    for name, shape in SHAPES.items():
        r = wos.solve(shape(3), on_sphere(rng, 20, 1e6), dirichlet=1.0, exterior=True, walks=100, rng=seed(rng), gradient=True)
        assert (r.value <= 0.02).all(), name
        assert r.n_escaped.sum() == r.n_truncated.sum() == 0
        assert np.isfinite(r.grad).all()


def test_a_large_epsilon(backend):
    """Walks end near the mesh, not near the cube around it: the capacity of a ball is its radius."""
    mesh, X = wos.TriangleMesh(*icosphere(2)), np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    g, walks = wos.PerVertex(np.ones(len(mesh.vertices))), 20_000 if backend == "native" else 300
    r = wos.solve(mesh, X, dirichlet=g, exterior=True, epsilon=0.05, walks=walks, rng=0)  # of the diagonal, 0.17 of the radius
    assert (np.abs(r.value - 1.08 / np.array([2.0, 1.5])) < 6 * r.stderr + 0.03).all()
