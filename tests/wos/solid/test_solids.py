"""Balls, boxes and signed distance fields: queries, interpolation between nodes, many dimensions, and walks outside."""

from itertools import product

import numpy as np
import pytest

from quatrefoil import wos
from wos import domains
from wos.domains import SQUARE, cfunc, every_backend, points_in
from wos.query.oracle import cube, icosphere
from wos.test_closed_forms import CENTER, field, of_ball
from wos.walk import oracle
from wos.walk.oracle import check, directions, gates, seed

RADIUS = 1.1


@every_backend
@pytest.mark.parametrize(("name", "d"), [*product(["field", "function"], [2, 3])])
def test_queries_of_a_ball_as_a_field(name, d, backend, rng):
    """Closest points of a field have an error of order h. Those of a function are exact, even far from the boundary."""
    if (name, backend) == ("function", "array"):
        pytest.skip("the array backend cannot call distance functions")
    n, center = (401 if d == 2 else 121), CENTER[:d]
    h = 2.9 / (n - 1) if name == "field" else 0.0
    boundary = wos.SDF(*field(d, n)) if h else wos.SDF(of_ball, field(d, 9)[1])
    q = rng.uniform(-1.2, 1.2, (500, d))
    r = np.linalg.norm(q - center, axis=1)
    q, r = q[r > 0.1], r[r > 0.1]  # the field has a kink at the centre
    near = h * h / 0.1 + 1e-14  # interpolation error for second derivatives up to 10
    distance, point, primitive, weights = wos.closest_point(boundary, q)
    np.testing.assert_allclose(wos.signed_distance(boundary, q), r - RADIUS, rtol=0, atol=near)
    np.testing.assert_allclose(distance, np.abs(r - RADIUS), rtol=0, atol=near)
    close = np.abs(r - RADIUS) < 0.5 if h else slice(None)
    error = np.abs(point - (center + RADIUS * (q - center) / r[:, None]))[close].max()
    assert error < (0.5 * h / 0.6 + near if h else 1e-6)
    np.testing.assert_allclose(np.linalg.norm(point - center, axis=1), RADIUS, rtol=0, atol=max(near, 1e-6))
    sure = np.abs(r - RADIUS) > near
    np.testing.assert_array_equal(wos.contains(boundary, q)[sure], r[sure] < RADIUS)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


@every_backend
@pytest.mark.parametrize("d", [2, 3])
def test_a_field_is_linear_between_nodes(d, backend, rng):
    """The values at the nodes are random, not distances. Outside its box, a field has the value at the closest point of the box."""
    lo = rng.standard_normal(d)
    values, box = np.pad(rng.uniform(-1, -0.5, rng.integers(2, 5, d)), 1, constant_values=1.0), (lo, lo + rng.uniform(1, 2, d))
    q = lo + rng.uniform(-0.2, 2.2, (300, d))
    expected = oracle.grid(q, values, *box)
    assert (expected < 0).any()
    np.testing.assert_allclose(wos.signed_distance(wos.SDF(values, box), q), expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(wos.contains(wos.SDF(values, box), q), expected < 0)


def test_faces_on_nodes(best_backend, rng):
    """A rectangle whose sides are lines of nodes is exact. Its field has kinks along the diagonals."""
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2, indexing="ij"), axis=-1)
    outside = np.abs(x) - [0.8, 0.5]
    phi = np.where((outside > 0).any(-1), np.linalg.norm(np.maximum(outside, 0), axis=-1), outside.max(-1))
    X, u = rng.uniform([-0.78, -0.48], [0.78, 0.48], (200, 2)), (lambda Y: 1 + Y[:, 0] * Y[:, 1])
    options = {"walks": 2048 if best_backend == "native" else 256, "epsilon": 1e-5, "rng": seed(rng)}
    r = wos.solve(wos.SDF(phi, ([-1, -1], [1, 1])), X, dirichlet=u, **options)
    assert gates(r.value, r.stderr, u(X), spread=best_backend == "native") == []


def test_lipschitz(best_backend, rng):
    """A field three times as steep with lipschitz=3 gives the same walks as the field itself. Without it, balls extend beyond the
    domain."""
    values, box = field(2, 401)
    exact, right, wrong = wos.SDF(values, box), wos.SDF(3 * values, box, lipschitz=3.0), wos.SDF(3 * values, box)
    n, walks = (200, 2048) if best_backend == "native" else (30, 512)
    X, u = points_in(exact, rng, n, 0.04), lambda Y: Y[:, 0] + (RADIUS**2 - ((Y - CENTER[:2]) ** 2).sum(axis=1)) / 4
    run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": walks, "epsilon": 1e-5, "rng": seed(rng)}
    a, b = wos.solve(exact, X, **run), wos.solve(right, X, **run)
    assert np.isclose(a.value, b.value, rtol=0, atol=1e-3).mean() > 0.9
    check(b, X, u, spread=True)
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        escaped = [wos.solve(wrong, X, **run | {"walks": 8, "backend": b}).n_escaped for b in (best_backend, "array")]
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        wrong = wos.solve(wrong, X, **run)
    np.testing.assert_array_equal(*escaped)
    assert gates(wrong.value, wrong.stderr, u(X)) != []


def test_functions_that_raise(backend):
    def sometimes(X):
        if len(X) < 1000:
            raise KeyError("mine")
        return np.hypot(*X.T) - 1

    with pytest.raises(KeyError, match="mine"):
        wos.solve(wos.SDF(sometimes, ([-1.5] * 2, [1.5] * 2)), np.zeros((1, 2)), dirichlet=1.0)


def test_compiled_functions_walk_as_others(backend, rng):
    numba, f = pytest.importorskip("numba"), lambda X: np.sqrt((X[:, 0] - 0.1) ** 2 + (X[:, 1] + 0.2) ** 2) - 1.1
    box, X = field(2, 9)[1], points_in(wos.Ball(CENTER[:2], RADIUS), rng, 20, 0.04)
    run = {"dirichlet": lambda Y: Y[:, 0] ** 2, "walks": 60, "epsilon": 1e-6, "rng": seed(rng)}
    plain = wos.solve(wos.SDF(of_ball, box), X, **run)
    for g in (numba.njit(f), cfunc(f)):
        # a walk may take an additional step
        assert np.isclose(wos.solve(wos.SDF(g, box), X, **run).value, plain.value, rtol=0, atol=1e-9).mean() > 0.8


SHAPES = {
    "ball": lambda d: wos.Ball([0.5] * d, 0.5),
    "box": lambda d: wos.Box([0.0] * d, [1.0] * d),
    "cube": lambda d: wos.TriangleMesh(*cube()),
    "square": lambda d: wos.Polygon(SQUARE),
    "field": lambda d: domains.field(d, 41, 0.5, 0.5),
}


INSIDE = ["square 2", "box 5", "cube 3", "ball 2", "field 2", "field 3"]
OUTSIDE = ["ball 3", "box 3", "cube 3", "field 3", "ball 2", "box 2", "square 2"]


@every_backend
@pytest.mark.parametrize("name", [*INSIDE, *(f"{name} outside" for name in OUTSIDE)])
def test_points_outside_and_on_the_boundary(name, backend):
    """Points in the domain, beyond the boundary, on it, and within epsilon beyond it. Only those in the domain have a gradient."""
    shape, dimension, *exterior = name.split()
    d = int(dimension)
    more = {"exterior": True} if exterior else {"diffusion": wos.Polynomial([[2.0, 0.5]])} if shape == "ball" else {}
    X = np.full((4, d), 0.5)
    X[:, 0] = 0.5, 1.5, 1.0, 1 + (-1e-5 if exterior else 1e-5)
    with pytest.warns(RuntimeWarning, match=f"1 point lies {'inside' if exterior else 'outside'} the boundary; values there are NaN"):
        r = wos.solve(SHAPES[shape](d), X, dirichlet=lambda Y: Y.sum(axis=1), walks=20, gradient=True, rng=1, **more)
    beyond = np.arange(4) == (0 if exterior else 1)
    np.testing.assert_array_equal(np.isnan(r.value), beyond)
    np.testing.assert_array_equal(np.isfinite(r.grad).all(axis=1), np.arange(4) == (1 if exterior else 0))
    np.testing.assert_array_equal(r.n_walks, np.where(beyond, 0, 20))
    np.testing.assert_allclose(r.value[2:], 1 + 0.5 * (d - 1), atol=1e-6)
    np.testing.assert_array_equal(r.stderr[2:], 0)


def test_points_outside_of_a_function(backend):
    disc, X = wos.SDF(lambda X: np.hypot(*(X - 3.0).T) - 0.6, ([2.0, 2.3], [4.0, 4.0])), np.array([[3.0, 4.5], [3.0, 3.6], [3.0, 3.0]])
    with pytest.warns(RuntimeWarning, match="1 point lies inside the boundary; values there are NaN"):
        r = wos.solve(disc, X, dirichlet=1.0, exterior=True, walks=4, rng=1, backend=backend)
    np.testing.assert_array_equal(r.value, [1.0, 1.0, np.nan])


def test_far_away(backend, rng):
    """At 1e6 from a ball, a box and a cube of size 1, few walks return, none escapes, nothing overflows."""
    for name in ("ball", "box", "cube"):
        r = wos.solve(SHAPES[name](3), 1e6 * directions(rng, 20), dirichlet=1.0, exterior=True, walks=100, rng=seed(rng), gradient=True)
        assert (r.value <= 0.02).all(), name
        assert r.n_escaped.sum() == r.n_truncated.sum() == 0
        assert np.isfinite(r.grad).all()


def test_a_large_epsilon(backend):
    """Walks end near the mesh, not near the cube around it: u is the ball's radius, plus about half of epsilon, over r."""
    mesh, X = wos.TriangleMesh(*icosphere(2)), np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    g, walks = wos.PerVertex(np.ones(len(mesh.vertices))), 20_000 if backend == "native" else 300
    r = wos.solve(mesh, X, dirichlet=g, exterior=True, epsilon=0.05, walks=walks, rng=0)  # relative to the diagonal; 0.17 of the radius
    assert (np.abs(r.value - 1.08 / np.array([2.0, 1.5])) < 6 * r.stderr + 0.03).all()
