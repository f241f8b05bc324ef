"""Walks on stars: where domains lie, data, instances, which edges count, and points on walls."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from quatrefoil.wos.stars.reflecting_3d import reflecting_mesh
from wos.query.oracle import icosphere
from wos.stars.oracle import prism, split
from wos.stars.test_stars import CUBE, ELL, PROBLEMS, RECTANGLE, RING, flux, from_absorbing, points_in, wave, which
from wos.walk.oracle import gates, same, seed

NATIVE = native.reason() is None
POLYGON = PROBLEMS["rectangle"][0]


@pytest.mark.parametrize("name", ["rectangle", "cube"])
def test_where_a_domain_lies_and_how_fine_epsilon_is(name, best_backend, rng):
    """Far from the origin, in another unit, in float32 and float64; turned; a vertex given twice; points on walls and beside them."""
    boundary, options, u = PROBLEMS[name]
    where, h = options["neumann"]
    X = points_in(boundary, rng, 300, 0.05)
    X = X[from_absorbing(name, X) > 0.12][:40]
    shift, scale = np.array([1e5, -3e4, 2e4])[: boundary.dimension], 4.0
    if name == "rectangle":
        X = np.concatenate([X, [[0.5, 0.0], [0.4, 0.7], [1.0, 0.3], [0.6, 0.7 + 1e-7]]])
        with pytest.warns(RuntimeWarning, match="length 0"):
            moved = [wos.Polygon(scale * np.concatenate([RECTANGLE, RECTANGLE[:1]]) + shift)] * 2
        where = np.append(where, True)
    else:
        moved = [wos.TriangleMesh(scale * CUBE[0] + shift, F) for F in (CUBE[1], CUBE[1][:, ::-1].copy())]
    for epsilon, there in zip((1e-4, 1e-6), moved):
        result = wos.solve(
            there, scale * X + shift, dirichlet=lambda Y: u((Y - shift) / scale), walks=512, epsilon=epsilon, max_steps=20000,
            neumann=(where, lambda Y: h((Y - shift) / scale) / scale), rng=seed(rng),
        )  # fmt: skip
        assert gates(result.value, result.stderr, u(X), spread=False) == []


def test_functions_and_kinds_of_flux(backend, rng):
    """h as a function, compiled or not, as a number for each instance and as the class that says the same."""
    compiled = pytest.importorskip("numba").njit(lambda Y: 0.5 + Y[:, 0] * 2.0)
    X, s, where = points_in(POLYGON, rng, 9), seed(rng), which(RECTANGLE, 0, 2)

    def solve(h, dirichlet=0.0):
        return wos.solve(POLYGON, X, dirichlet=dirichlet, neumann=(where, h), walks=20, rng=s)

    found = [solve(h).value for h in (compiled, lambda Y: 0.5 + Y[:, 0] * 2.0, wos.PerVertex(0.5 + 2 * RECTANGLE[:, 0]))]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(solve(np.array([0.5, 1.0])).value[0], solve(0.5).value)
    same(solve(0.0, wave), solve(np.array(0.0), wave))
    plain = wos.solve(POLYGON, X, dirichlet=wave, walks=9, rng=s)  # nobody reflects
    same(plain, wos.solve(POLYGON, X, dirichlet=wave, walks=9, rng=s, neumann=(where & False, 1.0)))


@pytest.mark.parametrize("d", [2, 3])
def test_a_hole_that_reflects(d, best_backend, rng):
    """u = x + 1 around a hole, outline and hole either way round, with the flux of u."""
    (V, F, _), square = CUBE, np.array([[0.0, 0], [1, 0], [1, 0.8], [0, 0.8]])
    u, n = (lambda Y: Y[:, 0] + 1), 40 if NATIVE and best_backend != "numba" else 10
    middle = (V if d == 3 else square).mean(axis=0)
    for turn, inner in ((1, 1), (-1, 1), (1, -1)):
        if d == 2:
            plain = wos.Polygon(square, holes=[(0.3 * (square - middle) + middle)[::-1]])
            boundary = wos.Polygon(square[::turn], holes=[(0.3 * (square - middle) + middle)[::-inner]])
        else:
            both = np.concatenate([V, 0.3 * (V - middle) + middle])
            plain = wos.TriangleMesh(both, np.concatenate([F, F[:, ::-1] + len(V)]))
            boundary = wos.TriangleMesh(both, np.concatenate([F[:, ::turn], F[:, ::-inner] + len(V)]))
        where = np.arange(len(boundary._ends)) >= len(boundary._ends) // 2
        X = points_in(plain, rng, 4 * n, 0.1)[:n]
        r = wos.solve(boundary, X, dirichlet=u, neumann=(where, flux(plain, u)), walks=512, epsilon=1e-4, rng=seed(rng))
        assert gates(r.value, np.hypot(r.stderr, 1e-6), u(X), spread=False) == []


def test_values_at_vertices_where_nothing_absorbs(backend, rng):
    """They are given and never met."""
    run = dict(neumann=(np.ones(4, bool), 1.0), screening=2.0, walks=30, rng=seed(rng))
    X, nine = points_in(POLYGON, rng, 5), wos.PerVertex(np.full(4, 9.0))
    same(wos.solve(POLYGON, X, dirichlet=0.0, **run), wos.solve(POLYGON, X, dirichlet=nine, **run))
    found = wos.solve_vjp(POLYGON, X, np.ones(5), dirichlet=nine, points_gradient=False, **run)
    np.testing.assert_array_equal(found[1]["values"], 0.0)


def test_on_walls_there_is_a_value_and_no_gradient(backend, rng):
    """Within epsilon of a wall, and outside of it by rounding; within epsilon of the absorbing part g, as ever."""
    polygon, options, u = PROBLEMS["rectangle"]
    shell, s = 1e-3 * np.hypot(1, 0.7), seed(rng)
    on = np.array([[0.5, 0.0], [1.0, 0.3], [0.4, 0.7], [0.6, 0.9 * shell], [0.3, -1e-9], [1 - 0.5 * shell, 0.5]])
    X = np.concatenate([on, [[0.6, 1.1 * shell], [0.5, 0.35], [0.5 * shell, 0.3]]])
    r = wos.solve(polygon, X, walks=256, gradient=True, rng=s, **options)
    np.testing.assert_array_equal(np.isnan(r.grad).all(axis=1), [*[True] * 6, False, False, True])
    np.testing.assert_array_equal(np.isfinite(r.grad_stderr[:8]).all(axis=1), [*[False] * 6, True, True])
    assert r.stderr[8] == 0
    assert gates(r.value[:8], np.hypot(r.stderr[:8], 1e-3), u(X[:8]), spread=False) == []
    plain = wos.solve(polygon, on, walks=256, rng=s, **options)  # walks that have no first ball are those of the value alone
    np.testing.assert_allclose(r.value[:6], plain.value, rtol=1e-12)
    wall = wos.solve_vjp(polygon, on[:2], np.array([1.0, 0.0]), walks=4, rng=s, **options)[0]
    np.testing.assert_array_equal(wall, [[np.nan, np.nan], [0.0, 0.0]])


def test_a_constant_has_no_gradient(backend, rng):
    where, ring = which(RING, 0, 5, *range(25, 49)), wos.Polygon(RING)
    X, run = points_in(ring, rng, 20, 0.02), dict(walks=64, gradient=True, rng=seed(rng))
    np.testing.assert_allclose(wos.solve(ring, X, dirichlet=1.0, neumann=(where, 0.0), **run).grad, 0.0, atol=1e-12)
    low, high = (wos.solve(ring, X, dirichlet=lambda Y, c=c: Y[:, 0] + c, neumann=(where, 1.0), **run) for c in (0.0, 100.0))
    np.testing.assert_allclose(high.grad, low.grad, rtol=0, atol=1e-2)
    np.testing.assert_allclose(high.grad_stderr, low.grad_stderr, rtol=1e-2, atol=1e-3)


def test_a_walk_beyond_a_wall_by_rounding_goes_back():
    """A ray along a wall meets its line far behind a point that lies beyond it by rounding: the wall counts as met where the point is."""
    pytest.importorskip("numba")
    from quatrefoil.wos.stars import loops_facets, loops_walls

    wall = np.array([[0.0, 0, 1, 0, 0, 0]])  # the domain is above
    for place, met in ((0.5, 0), (1.5, -1)):
        assert loops_walls.hit(wall, place, -5e-14, 1.0, -1e-4, 2.0, -1, 1e30) == (met, 0.0 if met == 0 else 2.0)
    triangle = np.array([[0.0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]])  # its corners go to the left seen from below
    for place, met in ((0.2, 0), (1.5, -1)):
        at, d = np.array([place, 0.3, -5e-14]), np.array([1.0, 0, -1e-4])
        assert loops_facets.hit(loops_facets.frames_of(triangle), at, d, 2.0, -1, 1e30)[0] == met


def test_which_edges_may_hide_something():
    """The one of an L's prism, none of a cube, all of a ball that is a wall seen from outside; slits and edges of many triangles."""

    def edges(V, F, where):
        return reflecting_mesh(wos.TriangleMesh(V, F), where.astype(int), 1.0, "solve").tables.rows[4]

    V, F, on = prism(ELL, 0.7)
    found = edges(V, F, on > -3)
    assert len(found) == 1
    np.testing.assert_allclose(found[0, :2], found[0, 3:5])
    assert len(edges(V, F, on != 0)) == 0
    for V, F, on in (split(*split(*prism(RECTANGLE, 0.9, 2))), CUBE):
        assert len(edges(V, F, on > -3)) == 0
    S, T = icosphere(1)
    inner = np.concatenate([np.zeros(len(F), bool), np.ones(len(T), bool)])
    for turned in (T, T[:, ::-1]):  # a hole, either way round
        found = edges(np.concatenate([V, 0.1 * S + [0.5, 0.4, 0.4]]), np.concatenate([F, turned + len(V)]), inner)
        assert len(found) == 3 * len(T) // 2
        centre = found[:, :3] - (np.array([0.5, 0.4, 0.4]) - [0.5, 0.4, 0.45])
        assert ((centre * found[:, 6:9]).sum(axis=1) > 0).all()  # into the domain
