"""Walks on stars in polygons and meshes with reflecting sides: closed forms, with and without diffusion or varying screening, positions of
domains, data, silhouette edges, points on walls."""

import pickle
import re
import warnings

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.stars.reflecting_3d import reflecting_mesh
from wos import domains
from wos.domains import needs_native, points_in, quarter_or_slow
from wos.media import test_media as media
from wos.query.oracle import all_distances
from wos.stars.shapes import corner_solution, prism, sector, split
from wos.test_closed_forms import pole
from wos.walk.oracle import check, gates, same, seed, slope

EPSILON = 1e-4
RECTANGLE = np.array([[0.0, 0], [1, 0], [1, 0.7], [0, 0.7]])
QUARTER = sector(0, 1, np.pi / 2, 300)
RING = sector(0.4, 1, 0.7 * np.pi, 24)
ELL = np.array([[0.0, 0], [0, -1], [1, -1], [1, 1], [-1, 1], [-1, 0]])  # the corner at 0 is re-entrant
CUBE = prism(np.array([[0.0, 0], [1, 0], [1, 0.8], [0, 0.8]]), 0.9)
RATES = np.array([1.2, -0.8, 0.5])
HILL = wos.Polynomial(np.array([[1.6, 0.3, 0.2], [1.0, 0.1, 0.0], [0.3, 0.0, 0.1]]))
SIGMA_IN_SPACE = wos.Polynomial(np.array([[[3.0, 0.5], [0.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]]))


def wave(X):
    """Harmonic in the plane and in space."""
    return np.exp(X[..., 0]) * np.cos(X[..., 1]) + X[..., 0] * X[..., -1]


def bowl(X):
    """Solution of -Δu = 1."""
    x, y, last = X[..., 0], X[..., 1], X[..., -1]
    return 1 + x**2 + x * y - 2 * y**2 + 0.5 * last**2 - last


def decay(X):
    """A function whose Laplacian is |RATES|^2 times the function."""
    return np.exp(X @ RATES[: X.shape[-1]])


def flux(boundary, u, mu=0.0):
    return domains.flux(boundary, lambda X: slope(u, X), mu, u)


def which(ring, *segments):
    return np.isin(np.arange(len(ring)), segments)


def problems():
    """Name -> boundary, keywords of solve, u. Side 3 of the cubes, x = 0, absorbs; in some of them also the bottom."""
    r, q, a, e = (wos.Polygon(ring) for ring in (RECTANGLE, QUARTER, RING, ELL))
    on, fine, ell = CUBE[2], split(*split(*prism(RECTANGLE, 0.9, 2))), prism(ELL, 0.7)
    cube, many, ells = (wos.TriangleMesh(*mesh[:2]) for mesh in (CUBE, fine, ell))
    inner, last, several = which(RING, *range(25, len(RING) - 1)), len(RING) - 1, np.array([0.0, 0.5, 2.0, 1.0])

    def neumann(boundary, u, where, **more):
        return boundary, {"dirichlet": u, "neumann": (where, flux(boundary, u)), **more}, u

    def robin(u, where, mu, boundary=r, **more):
        return boundary, {"dirichlet": u, "robin": (where, mu, flux(boundary, u, mu)), **more}, u

    planar, spatial = {"screening": RATES[:2] @ RATES[:2]}, {"screening": RATES @ RATES}
    screened = {"screening": 9.0, "source": lambda X: 1 + 9 * bowl(X)}
    return {
        "rectangle": neumann(r, wave, which(r._ends, 0, 1, 2)),
        "source": neumann(r, bowl, which(r._ends, 1, 3), source=1.0),
        "quarter": neumann(q, lambda X: X[..., 0] ** 2 - X[..., 1] ** 2, which(q._ends, len(QUARTER) - 2, len(QUARTER) - 1)),
        "ring": neumann(a, lambda X: pole(X, 0.0), inner | which(RING, 24, last)),
        "corner": (e, {"dirichlet": corner_solution, "neumann": (which(ELL, 0, 5), 0.0)}, corner_solution),
        "screened": neumann(r, decay, which(r._ends, 0, 2, 3), **planar),
        "screened-endless": neumann(r, decay, which(r._ends, 0, 1, 2, 3), **planar),
        "screened-source": neumann(r, bowl, which(r._ends, 0, 2), **screened),
        "robin": robin(wave, which(r._ends, 1, 2), 1.0),
        "robin-source": robin(bowl, which(r._ends, 0), 3.0, source=1.0),
        "robin-and-neumann": robin(wave, which(r._ends, 2), 1.5, neumann=(which(r._ends, 0, 1), flux(r, wave))),
        "robin-alone": robin(wave, which(r._ends, 0, 1, 2, 3), several),
        "robin-screened": robin(decay, which(r._ends, 0, 1), 2.0, **planar),
        "cube": neumann(cube, wave, on != 3),
        "fine": neumann(many, wave, fine[2] != 3),
        "cube-source": neumann(cube, bowl, on > 0, source=1.0),
        "corner-in-space": (ells, {"dirichlet": corner_solution, "neumann": (np.isin(ell[2], [-2, -1, 0, 5]), 0.0)}, corner_solution),
        "cube-screened": neumann(cube, decay, on != 1, **spatial),
        "cube-screened-source": neumann(cube, bowl, on != -1, **screened),
        "cube-robin": robin(wave, on == 1, 2.0, cube),
        "cube-robin-source": robin(bowl, (on == 0) | (on == -1), np.where(on == 0, 3.0, 0.5), cube, source=1.0),
        "cube-robin-and-neumann": robin(wave, fine[2] == 1, 1.5, many, neumann=(fine[2] == 0, flux(many, wave))),
        "cube-robin-screened": robin(decay, on != 3, 1.0, cube, **spatial),
        "cube-robin-alone": robin(wave, on > -3, 1.0, cube),
        "cube-endless": neumann(cube, decay, on > -3, **spatial),
    }


def problems_in_media():
    """The same for walls together with a diffusion or a varying screening."""
    r, e, cube, on = wos.Polygon(RECTANGLE), wos.Polygon(ELL), wos.TriangleMesh(*CUBE[:2]), CUBE[2]
    inner = wos.Polygon(RECTANGLE, holes=[[[0.4, 0.3], [0.6, 0.3], [0.5, 0.5]]])

    def rising(X):
        return np.exp(0.5 * X[..., 0])

    def of(boundary, u, *medium, neumann=None, robin=None, mu=0.0):
        options = media.stated(u, *medium)
        if neumann is not None:
            options["neumann"] = (neumann, flux(boundary, u))
        if robin is not None:
            options["robin"] = (robin, mu, flux(boundary, u, mu))
        return boundary, options, u

    nu, bells, sigma = np.array([0.5, 0.0, 2.0, 1.0]), media.BELLS_IN_SPACE, media.SIGMA
    return {
        "medium-exponential": of(r, decay, rising, neumann=which(RECTANGLE, 0, 1, 2)),
        "medium-polynomial": of(r, media.wave, HILL, neumann=which(RECTANGLE, 1, 3)),
        "medium-gaussians": of(r, media.wave, media.BELLS, sigma, neumann=which(RECTANGLE, 0, 2, 3)),
        "medium-grid": of(r, media.wave, HILL, None, media.nodes(HILL, 65), neumann=which(RECTANGLE, 0, 1, 2)),
        "medium-screening": of(r, media.wave, None, sigma, neumann=which(RECTANGLE, 0, 1, 2)),
        "medium-corner": of(e, media.wave, media.BELLS, neumann=which(ELL, 0, 5, 1)),
        "medium-hole": of(inner, media.wave, HILL, neumann=np.isin(np.arange(7), [4, 5, 6])),
        "medium-endless": of(r, media.wave, HILL, sigma, neumann=which(RECTANGLE, 0, 1, 2, 3)),
        "medium-robin": of(r, media.wave, HILL, robin=which(RECTANGLE, 1, 2), mu=1.0),
        "medium-robin-and-neumann": of(r, decay, rising, sigma, neumann=which(RECTANGLE, 0), robin=which(RECTANGLE, 1, 2), mu=nu),
        "medium-cube": of(cube, media.wave, bells, neumann=on != 3),
        "medium-cube-rippled": of(cube, media.wave, media.rippled, neumann=on == 1),
        "medium-cube-robin": of(cube, media.wave, bells, SIGMA_IN_SPACE, neumann=on == 0, robin=(on == 1) | (on == -1), mu=1.5),
    }


PROBLEMS = problems() | problems_in_media()
EVERY_DAY = ["corner", "cube", "robin-and-neumann", "robin-source"]
EVERY_DAY += [f"medium-{name}" for name in ("polynomial", "gaussians", "corner", "robin-and-neumann", "cube-rippled")]
MARKED = [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.slow) for name in PROBLEMS]


def from_absorbing(name, X):
    """Distances from the absorbing part of the boundary; infinite if nothing absorbs."""
    boundary, options, _ = PROBLEMS[name]
    reflects = sum(options[kind][0].astype(int) for kind in ("neumann", "robin") if kind in options)
    rest = boundary._ends[reflects == 0]
    return np.sqrt(all_distances(rest, X)[0].min(axis=1)) if len(rest) else np.full(len(X), np.inf)


def points(name, rng, n, clear, away):
    """Points clear of the boundary and farther from its absorbing part, near which error bars from few walks are unreliable."""
    X = points_in(PROBLEMS[name][0], rng, 4 * n, clear)
    return X[from_absorbing(name, X) > away][:n]


def sizes(name, backend, pairs):
    """(points, walks) of the slow test, which detects a bias of 1.9 % of a walk's standard deviation, 2.7 % in space and for pairs."""
    slow = "robin" in name or name in ("ring", "fine", "medium-cube-rippled")
    if backend == "numba":
        return (5 if slow else 20), 256
    if name.startswith("medium"):
        return (60, 256) if slow else (100, 1024)
    if PROBLEMS[name][0].dimension == 3 or pairs:
        return (40, 256) if slow else (100, 512)
    return (100, 128) if slow else (100, 1024)


@quarter_or_slow
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MARKED)
def test_closed_forms(name, pairs, share, best_backend, rng):
    boundary, options, u = PROBLEMS[name]
    n, walks = sizes(name, best_backend, pairs)
    n = max(n // share, 5)
    near_walls = walks > 1000 and not pairs and not name.startswith("medium")
    X = points(name, rng, n, 1e-3 if near_walls else 0.05, 0.1)
    r = wos.solve(boundary, X, **{"epsilon": EPSILON, "max_steps": 20000, **options}, walks=walks, gradient=pairs, rng=seed(rng))
    check(r, X, u)
    assert r.state.counts[:, 3:].sum() == 0  # jumps beyond the bounds of a medium


@needs_native
def test_where_as_a_function():
    """A function ``where`` gives the same bits as a mask, for one polygon, for polygons of different sizes, and for a mesh."""
    square, other = domains.SQUARE, np.concatenate([domains.SQUARE, [[0.0, 0.5]]])
    box = wos.TriangleMesh(*CUBE[:2])
    for boundary, mask in (
        (wos.Polygon(square), np.arange(4) == 1),
        (wos.Polygon([square, other]), [np.arange(4) == 1, np.arange(5) == 1]),
        (box, (box._ends.reshape(-1, 3, 3)[:, :, 0] == 1).all(axis=1)),
    ):
        X, run = np.full((2, boundary.dimension), 0.4), {"dirichlet": 1.0, "walks": 16, "rng": 0}
        for name, rest in (("neumann", [2.0]), ("robin", [1.5, 2.0]))[: 4 - boundary.dimension]:
            a, b = (wos.solve(boundary, X, **{name: (where, *rest)}, **run) for where in (mask, lambda Y: Y[:, 0] == 1))
            np.testing.assert_array_equal(a.value, b.value)
            assert pickle.loads(pickle.dumps(b)).value.shape == b.value.shape


@pytest.mark.parametrize("name", ["corner", "ring", "screened-source", "robin-source"])
@pytest.mark.slow
def test_close_to_the_absorbing_part(name, rng):
    """Most walks end at once; only the few others cause the difference from the boundary value."""
    boundary, options, u = PROBLEMS[name]
    X = points_in(boundary, rng, 2000, 2e-3)
    X = X[from_absorbing(name, X) < 0.05][:8]
    result = wos.solve(boundary, X, walks=2**17, rng=seed(rng), epsilon=1e-5, max_steps=20000, **options)
    check(result, X, u, error=1e-5)


@needs_native
def test_close_to_walls(rng):
    """Points at ten and a hundred epsilon from a reflecting wall, where the first ball is small and the error of the gradient large."""
    boundary, options, u = PROBLEMS["rectangle"]
    for away in (1e-3, 1e-2):
        X = np.stack([rng.uniform(0.2, 0.8, 40), np.full(40, away)], axis=1)
        r = wos.solve(boundary, X, walks=1024, epsilon=EPSILON, gradient=True, rng=seed(rng), **options)
        check(r, X, u)
        assert (r.grad_stderr > 0).all()


@needs_native
@pytest.mark.slow
def test_on_walls(rng):
    """Points on reflecting triangles, including coplanar ones and points near convex edges."""
    for name in ("cube", "fine"):
        mesh, options, u = PROBLEMS[name]
        walls = mesh._ends[options["neumann"][0]].reshape(-1, 3, 3)
        X = (walls[rng.integers(len(walls), size=100)] * rng.dirichlet([1, 1, 1], 100)[..., None]).sum(axis=1)
        X = X[X[:, 0] > 0.1]
        r = wos.solve(mesh, X, walks=1024, epsilon=EPSILON, max_steps=20000, gradient=True, rng=seed(rng), **options)
        assert (r.n_walks > 0).all()
        assert gates(r.value, r.stderr, u(X), spread=False) == []
        assert np.isnan(r.grad).all()


@needs_native
def test_sides_in_many_pieces(rng):
    """Collinear walls do not hide each other. The walls are split into parts and rotated, so that no coordinate is exact."""
    t, angle, ends = np.arange(9)[:, None] / 9, rng.uniform(0, 7), PROBLEMS["rectangle"][0]._ends
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    ring = (ends[:, None, :2] + t * (ends[:, None, 2:] - ends[:, None, :2])).reshape(-1, 2) @ turn.T
    X = np.where(np.arange(200)[:, None] < 100, [[0, 0.7]], [[1.0, 0]])
    X[:100, 0], X[100:, 1] = rng.uniform(0.3, 1, 100), rng.uniform(0.1, 0.6, 100)
    h = PROBLEMS["rectangle"][1]["neumann"][1]
    r = wos.solve(
        wos.Polygon(ring), X @ turn.T, dirichlet=lambda Y: wave(Y @ turn), neumann=(np.arange(36) < 27, lambda Y: h(Y @ turn)), walks=512,
        epsilon=EPSILON, max_steps=20000, rng=seed(rng),
    )  # fmt: skip
    assert (r.n_walks > 0).all()  # on the wall, or outside within epsilon
    check(r, X, wave)


POLYGON = PROBLEMS["rectangle"][0]


@pytest.mark.parametrize("name", ["rectangle", "cube"])
def test_where_a_domain_lies_and_how_fine_epsilon_is(name, best_backend, rng):
    """Domains far from the origin, in a different unit, and reversed; float32 and float64; a repeated vertex; points on and near walls."""
    boundary, options, u = PROBLEMS[name]
    where, h = options["neumann"]
    X = points(name, rng, 40, 0.05, 0.12)
    shift, scale = np.array([1e5, -3e4, 2e4])[: boundary.dimension], 4.0
    if name == "rectangle":
        X = np.concatenate([X, [[0.5, 0.0], [0.4, 0.7], [1.0, 0.3], [0.6, 0.7 + 1e-7]]])
        with pytest.warns(RuntimeWarning, match="length 0"):
            moved = [wos.Polygon(scale * np.concatenate([RECTANGLE, RECTANGLE[:1]]) + shift)] * 2
        where = np.append(where, True)
    else:
        moved = [wos.TriangleMesh(scale * CUBE[0] + shift, F) for F in (CUBE[1], CUBE[1][:, ::-1].copy())]
    for epsilon, domain in zip((1e-4, 1e-6), moved):
        result = wos.solve(
            domain, scale * X + shift, dirichlet=lambda Y: u((Y - shift) / scale), walks=512, epsilon=epsilon, max_steps=20000,
            neumann=(where, lambda Y: h((Y - shift) / scale) / scale), rng=seed(rng),
        )  # fmt: skip
        check(result, X, u)


def test_kinds_of_flux(backend, rng):
    """h as a function (compiled or not) and as an equivalent class; no flux; no reflecting facets."""
    f = lambda Y: 0.5 + Y[:, 0] * 2.0  # noqa: E731
    X, s, where = points_in(POLYGON, rng, 9), seed(rng), which(RECTANGLE, 0, 2)

    def solve(h, dirichlet=0.0, where=where):
        return wos.solve(POLYGON, X, dirichlet=dirichlet, neumann=(where, h), walks=20, rng=s)

    results = [solve(h).value for h in (pytest.importorskip("numba").njit(f), f, wos.PerVertex(0.5 + 2 * RECTANGLE[:, 0]))]
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(results[2], results[0], rtol=0, atol=1e-5)
    same(solve(0.0, wave), solve(np.array(0.0), wave))
    same(solve(1.0, wave, where & False), wos.solve(POLYGON, X, dirichlet=wave, walks=20, rng=s))


@pytest.mark.parametrize("d", [2, 3])
def test_a_hole_that_reflects(d, best_backend, rng):
    """u = x + 1 around a reflecting hole with the flux of u. Outline and hole have either orientation."""
    (V, F, _), square = CUBE, np.array([[0.0, 0], [1, 0], [1, 0.8], [0, 0.8]])
    u, n = (lambda Y: Y[:, 0] + 1), 40 if best_backend == "native" else 10
    middle = (V if d == 3 else square).mean(axis=0)
    for turn, inner in ((1, 1), (-1, 1), (1, -1)):
        if d == 2:
            boundary = wos.Polygon(square[::turn], holes=[(0.3 * (square - middle) + middle)[::-inner]])
        else:
            both = np.concatenate([V, 0.3 * (V - middle) + middle])
            boundary = wos.TriangleMesh(both, np.concatenate([F[:, ::turn], F[:, ::-inner] + len(V)]))
        where, X = np.arange(len(boundary._ends)) >= len(boundary._ends) // 2, points_in(boundary, rng, n, 0.1)
        r = wos.solve(boundary, X, dirichlet=u, neumann=(where, flux(boundary, u)), walks=512, epsilon=1e-4, rng=seed(rng))
        check(r, X, u, error=1e-6)


def test_on_walls_there_is_a_value_and_no_gradient(backend, rng):
    """Points within epsilon of a wall, or outside it by rounding, have values but no gradient. Near the absorbing part u is still g."""
    polygon, options, u = PROBLEMS["rectangle"]
    shell, s = 1e-3 * np.hypot(1, 0.7), seed(rng)
    on = np.array([[0.5, 0.0], [1.0, 0.3], [0.4, 0.7], [0.6, 0.9 * shell], [0.3, -1e-9], [1 - 0.5 * shell, 0.5]])
    X = np.concatenate([on, [[0.6, 1.1 * shell], [0.5, 0.35], [0.5 * shell, 0.3]]])
    r = wos.solve(polygon, X, walks=256, gradient=True, rng=s, **options)
    np.testing.assert_array_equal(np.isnan(r.grad).all(axis=1), [*[True] * 6, False, False, True])
    np.testing.assert_array_equal(np.isfinite(r.grad_stderr[:8]).all(axis=1), [*[False] * 6, True, True])
    assert r.stderr[8] == 0
    assert gates(r.value[:8], np.hypot(r.stderr[:8], 1e-3), u(X[:8]), spread=False) == []
    plain = wos.solve(polygon, on, walks=256, rng=s, **options)  # walks without a first ball equal those without a gradient
    np.testing.assert_allclose(r.value[:6], plain.value, rtol=1e-12)
    wall = wos.solve_vjp(polygon, on[:2], np.array([1.0, 0.0]), walks=4, rng=s, **options)[0]
    np.testing.assert_array_equal(wall, [[np.nan, np.nan], [0.0, 0.0]])


def test_constants(backend, rng):
    """A constant has no gradient. If nothing absorbs, values at vertices are never used."""
    where, ring = which(RING, 0, 5, *range(25, 49)), wos.Polygon(RING)
    X, run = points_in(ring, rng, 20, 0.02), dict(walks=64, gradient=True, rng=seed(rng))
    np.testing.assert_allclose(wos.solve(ring, X, dirichlet=1.0, neumann=(where, 0.0), **run).grad, 0.0, atol=1e-12)
    low, high = (wos.solve(ring, X, dirichlet=lambda Y, c=c: Y[:, 0] + c, neumann=(where, 1.0), **run) for c in (0.0, 100.0))
    np.testing.assert_allclose(high.grad, low.grad, rtol=0, atol=1e-2)
    np.testing.assert_allclose(high.grad_stderr, low.grad_stderr, rtol=1e-2, atol=1e-3)
    run, nine = dict(neumann=(where | True, 1.0), screening=2.0, walks=30, rng=seed(rng)), wos.PerVertex(np.full(len(RING), 9.0))
    same(wos.solve(ring, X, dirichlet=0.0, **run), wos.solve(ring, X, dirichlet=nine, **run))
    gradients = wos.solve_vjp(ring, X, np.ones(len(X)), dirichlet=nine, points_gradient=False, **run)
    np.testing.assert_array_equal(gradients[1]["values"], 0.0)


@pytest.mark.parametrize("space", [False, True])
def test_infinite_variance(space, best_backend):
    """A warning, once per problem, if α rises by more than a factor of three towards a wall that does not exchange heat."""
    boundary, walls = (wos.TriangleMesh(*CUBE[:2]), CUBE[2] == 1) if space else (wos.Polygon(RECTANGLE), which(RECTANGLE, 1))

    def problem(rate, **walls):
        return wos.Problem(boundary, dirichlet=1.0, diffusion=lambda X: np.exp(rate * X[:, 0]), **walls)

    X = boundary._centre
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rate, conditions in ((2.0, {"neumann": (walls, 0.0)}), (0.8, {"neumann": (walls, 0.0)}), (2.0, {"robin": (walls, 1.5, 0.0)})):
            stated = problem(rate, **conditions)
            for _ in range(2):
                stated.solve(X, 8, rng=1, backend=best_backend)
        problem(-2.0, neumann=(walls, 0.0)).solve(X, 8, rng=1, backend=best_backend)
    assert len(caught) == 1
    assert re.search(r"increases by a factor of [67]\.\d+ towards a reflecting wall; beyond about 3 the", str(caught[0].message))


def test_rays_from_points_behind_a_wall_by_rounding():
    """A ray along a wall meets its line far behind a point that rounding has put behind the wall; the hit is at the point instead."""
    pytest.importorskip("numba")
    from quatrefoil.wos.stars import loops_facets, loops_walls

    wall = np.array([[0.0, 0, 1, 0, 0, 0]])  # the domain is above
    for x, met in ((0.5, 0), (1.5, -1)):
        assert loops_walls.hit(wall, x, -5e-14, 1.0, -1e-4, 2.0, -1, 1e30) == (met, 0.0 if met == 0 else 2.0)
    triangle = np.array([[0.0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]])  # its corners are in clockwise order seen from below
    for x, met in ((0.2, 0), (1.5, -1)):
        at, d = np.array([x, 0.3, -5e-14]), np.array([1.0, 0, -1e-4])
        assert loops_facets.hit(loops_facets.frames_of(triangle), at, d, 2.0, -1, 1e30)[0] == met


def test_silhouette_edges():
    """One edge of an L-shaped prism, and no edge of a cube."""

    def edges(V, F, where):
        return reflecting_mesh(wos.TriangleMesh(V, F), where.astype(int), np.zeros(len(F)), 1.0, "solve").tables.rows[4]

    V, F, on = prism(ELL, 0.7)
    silhouettes = edges(V, F, on > -3)
    assert len(silhouettes) == 1
    np.testing.assert_allclose(silhouettes[0, :2], silhouettes[0, 3:5])
    assert len(edges(V, F, on != 0)) == 0
    for V, F, on in (split(*split(*prism(RECTANGLE, 0.9, 2))), CUBE):
        assert len(edges(V, F, on > -3)) == 0
