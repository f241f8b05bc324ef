"""Walks on stars in meshes whose sides reflect: closed forms, data, bits, gradients; what a wrong walk would fail."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

from quatrefoil import wos
from quatrefoil._backends import native
from quatrefoil.wos.walk import facets
from wos.query.oracle import all_distances, contained, icosphere, on_triangle
from wos.stars import oracle
from wos.stars.oracle_space import normal, prism, split
from wos.stars.test_stars import ELL
from wos.stars.test_stars_gradient import of_linear
from wos.walk.oracle import gates, same, seed

NATIVE = native.reason() is None
EPSILON = 1e-4
SQUARE = np.array([[0.0, 0], [1, 0], [1, 0.8], [0, 0.8]])


def columns(*parts):
    return np.stack(parts, axis=-1)


def wave(X):
    x, y, z = np.moveaxis(X, -1, 0)
    return np.exp(x) * np.cos(y) + x * z


def wave_gradient(X):
    x, y, z = np.moveaxis(X, -1, 0)
    return columns(np.exp(x) * np.cos(y) + z, -np.exp(x) * np.sin(y), x)


def bowl(X):
    x, y, z = np.moveaxis(X, -1, 0)
    return 1 + x**2 + x * y - 2 * y**2 + 0.5 * z**2 - z


def bowl_gradient(X):
    x, y, z = np.moveaxis(X, -1, 0)
    return columns(2 * x + y, x - 4 * y, z - 1)


def decay(X):
    return np.exp(X @ [1.2, -0.8, 0.5])  # its Laplacian is 2.33 times itself


def decay_gradient(X):
    return decay(X)[..., None] * [1.2, -0.8, 0.5]


def pole(X):
    return 1 / np.sqrt((X**2).sum(axis=-1))


def pole_gradient(X):
    return -X * pole(X)[..., None] ** 3


def corner(X):
    return oracle.corner_solution(X[..., :2])


def flux(V, F, gradient):
    """Through the plane that is nearest; where there are many, through the nearest of the triangles whose middles are: they are alike."""
    triangles = V[F].reshape(-1, 9)
    normals = np.array([normal(t)[0] for t in triangles])
    planes = np.unique(np.column_stack([normals, (normals * triangles[:, :3]).sum(axis=1)]).round(12), axis=0)
    middles = cKDTree(V[F].mean(axis=1))

    def h(X):
        X = np.asarray(X, float)
        if len(planes) < 9:
            n = planes[np.abs(X @ planes[:, :3].T - planes[:, 3]).argmin(axis=1), :3]
        else:
            near = middles.query(X, k=6)[1]
            d2, _ = on_triangle(X[:, None], *np.moveaxis(V[F[near]], 2, 0))
            n = normals[near[np.arange(len(X)), d2.argmin(axis=1)]]
        return (gradient(X) * n).sum(axis=-1)

    return h


def shell(n):
    """An octant of a shell between the radii 0.4 and 1: V, F, on: 0 the inside, 1 the outside, 2 the rest."""
    k = [(i, j) for i in range(n + 1) for j in range(n + 1 - i)]
    at = {ij: m for m, ij in enumerate(k)}
    u = np.array([[i, j, n - i - j] for i, j in k], float)
    u /= np.sqrt((u**2).sum(axis=1, keepdims=True))
    up = [[at[i, j], at[i + 1, j], at[i, j + 1]] for i, j in k if i + j < n]
    down = [[at[i + 1, j], at[i + 1, j + 1], at[i, j + 1]] for i, j in k if i + j < n - 1]
    out = np.array(up + down)
    M = len(k)
    rims = [[at[i, 0] for i in range(n + 1)], [at[n - j, j] for j in range(n + 1)], [at[0, n - j] for j in range(n + 1)]]
    side = []
    for rim in rims:
        for a, b in pairwise(rim):
            side += [[b, a, a + M], [b, a + M, b + M]]
    F = np.concatenate([out[:, ::-1] + M, out, side])  # M on are the inside
    V = np.concatenate([u, 0.4 * u])
    F = F if (np.linalg.det(V[F]).sum() > 0) else F[:, ::-1]
    return V, F, np.repeat([0, 1, 2], [len(out), len(out), len(side)])


CUBE, FINE, ELLS = prism(SQUARE, 0.9), split(*split(*prism(SQUARE, 0.9, 2))), prism(ELL, 0.7)
SHELL = shell(6)


def problems():
    """Name -> (V, F), keywords of solve, u, its gradient. Side 3 of the cubes, x = 0, absorbs, and the bottom of some."""
    (V, F, on), (P, G, fine), (L, H, ell), (S, K, round_) = CUBE, FINE, ELLS, SHELL
    inside = flux(S, K[round_ == 0], pole_gradient)

    def through_shell(X):
        return np.where(np.abs(X).min(axis=1) < 1e-5, 0.0, inside(X))  # nothing through the planes

    return {
        "cube": ((V, F), {"dirichlet": wave, "neumann": (on != 3, flux(V, F, wave_gradient))}, wave, wave_gradient),
        "fine": ((P, G), {"dirichlet": wave, "neumann": (fine != 3, flux(P, G, wave_gradient))}, wave, wave_gradient),
        "source": ((V, F), {"dirichlet": bowl, "source": 1.0, "neumann": (on > 0, flux(V, F, bowl_gradient))}, bowl, bowl_gradient),
        "shell": ((S, K), {"dirichlet": pole, "neumann": (round_ != 1, through_shell)}, pole, pole_gradient),
        "corner": ((L, H), {"dirichlet": corner, "neumann": (np.isin(ell, [-2, -1, 0, 5]), 0.0)}, corner, None),
        "screened": (
            (V, F), {"dirichlet": decay, "screening": 2.33, "neumann": (on != 1, flux(V, F, decay_gradient))}, decay, decay_gradient,
        ),
        "screened-source": (
            (V, F),
            {"dirichlet": bowl, "screening": 4.0, "source": lambda X: 1 + 4 * bowl(X), "neumann": (on != -1, flux(V, F, bowl_gradient))},
            bowl,
            bowl_gradient,
        ),
        "endless": (
            (V, F), {"dirichlet": 0.0, "screening": 2.33, "neumann": (on > -3, flux(V, F, decay_gradient))}, decay, decay_gradient,
        ),
    }  # fmt: skip


PROBLEMS = problems()


def points_in(V, F, rng, n, clear=1e-3, within=None):
    """In the mesh and in a box, its own if none is given."""
    triangles = V[F].reshape(-1, 9)
    X = rng.uniform(*(within or (V.min(axis=0), V.max(axis=0))), (20 * n, 3))
    X = X[contained(triangles, X)][: 4 * n]
    return X[np.sqrt(all_distances(triangles, X)[0].min(axis=1)) > clear][:n]


def from_absorbing(name, X):
    (V, F), options, *_ = PROBLEMS[name]
    rest = V[F][~options["neumann"][0]].reshape(-1, 9)
    return np.sqrt(all_distances(rest, X)[0].min(axis=1)) if len(rest) else np.full(len(X), np.inf)


def solved(name, rng, n, walks, clear=1e-3, away=0.05, within=None, **changed):
    (V, F), options, u, _ = PROBLEMS[name]
    X = points_in(V, F, rng, 2 * n, clear, within)
    X = X[from_absorbing(name, X) > away][:n]  # closer, few walks know little of their own spread
    options = {"epsilon": EPSILON, "max_steps": 20000, **options, **changed}
    return wos.solve(wos.TriangleMesh(V, F), X, walks=walks, rng=seed(rng), **options), X, u(X)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.slow
def test_closed_forms(name, best_backend, rng):
    fast = NATIVE and best_backend != "numba"
    n, walks = (60, 1024) if fast else (2 if name == "fine" else 5 if name == "shell" else 20, 512)
    result, _, truth = solved(name, rng, n, walks, *((1e-3, 0.05) if fast else (0.05, 0.12)))
    assert gates(result.value, result.stderr, truth, spread=False) == []
    assert (result.n_truncated == 0).all()
    assert (result.n_escaped == 0).all()


@pytest.mark.parametrize("name", ["cube", "source", "shell", "screened-source"])
@pytest.mark.slow
def test_gradients(name, best_backend, rng):
    if not (NATIVE and best_backend != "numba") and name == "shell":
        pytest.skip("many triangles")
    fast = NATIVE and best_backend != "numba"
    result, X, truth = solved(name, rng, 100 if fast else 20, 1024 if fast else 256, 0.05, 0.12, gradient=True)
    assert gates(result.value, result.stderr, truth, spread=False) == []
    for i in range(3):
        assert gates(result.grad[:, i], result.grad_stderr[:, i], PROBLEMS[name][3](X)[:, i], spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.slow
def test_on_walls(rng):
    """Points on reflecting triangles: one or several in a plane, next to convex edges too."""
    for name in ("cube", "fine"):
        (V, F), options, u, _ = PROBLEMS[name]
        mesh = wos.TriangleMesh(V, F)
        walls = V[F][options["neumann"][0]]
        X = (walls[rng.integers(len(walls), size=100)] * rng.dirichlet([1, 1, 1], 100)[..., None]).sum(axis=1)
        X = X[X[:, 0] > 0.1]
        r = wos.solve(mesh, X, walks=1024, epsilon=EPSILON, max_steps=20000, gradient=True, rng=seed(rng), **options)
        known = r.n_walks > 0
        assert known.all()
        assert gates(r.value, r.stderr, u(X), spread=False) == []
        assert np.isnan(r.grad).all()


# ---------------------------------------------------------------- power: what must not pass


def fails(name, rng, walks, **changed):
    result, _, truth = solved(name, rng, 200, walks, **changed)
    known = result.stderr > 0
    return bool(gates(result.value[known], result.stderr[known], truth[known], spread=False))


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.slow
def test_wrong_problems_fail(rng):
    """A flux of the wrong sign, 20% too large, a source that is not there, a thick shell, gradients 10% off."""
    where, h = PROBLEMS["cube"][1]["neumann"]
    assert fails("cube", rng, 256, neumann=(where, lambda X: -h(X)))
    assert fails("cube", rng, 2048, neumann=(where, lambda X: 1.2 * h(X)))
    assert fails("source", rng, 512, source=None)
    assert fails("corner", rng, 1024, epsilon=0.05)
    X = rng.uniform(0.1, [0.9, 0.7, 0.8], (200, 3))
    V, F, on = CUBE
    grad, bar = of_linear(wos.TriangleMesh(V, F), X, (on != 1) & (on != 3), 4096, seed(rng))
    for factor in (0.9, 1.1):
        assert gates(factor * grad[:, 0], factor * bar[:, 0], np.ones(200), spread=False) != []
    assert gates(grad[:, 0], bar[:, 0], np.ones(200), spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.slow
def test_silhouettes_count(rng, monkeypatch):
    """Without re-entrant edges, and with a test for them that is strict: on a wall one of the two signs is that of 0."""
    honest = facets._silhouettes

    def none(*given):
        return honest(*given)[:0]

    def strict(*given):
        edges = honest(*given).copy()
        inside = 2e-5 * (edges[:, 6:9] + edges[:, 9:])  # both signs are negative on both walls
        edges[:, :3] += inside
        edges[:, 3:6] += inside
        return edges

    near = [-0.25, -0.25, 0.1], [0.25, 0.25, 0.6]  # the edge at x = y = 0
    assert not fails("corner", rng, 1024, within=near)
    monkeypatch.setattr(facets, "_silhouettes", none)
    assert fails("corner", rng, 512, within=near)
    monkeypatch.setattr(facets, "_silhouettes", strict)
    assert fails("corner", rng, 1024, within=near)


# ---------------------------------------------------------------- geometry


def test_which_edges_may_hide_something():
    """The one of an L's prism, none of a cube, all of a ball that is a wall seen from outside; slits and edges of many triangles."""

    def edges(V, F, where):
        mesh = wos.TriangleMesh(V, F)
        return facets.mixed_mesh(mesh, where.astype(int), 1.0, "solve").tables.rows[4]

    V, F, on = ELLS
    found = edges(V, F, on > -3)
    assert len(found) == 1
    np.testing.assert_allclose(found[0, :2], found[0, 3:5])
    assert len(edges(V, F, on != 0)) == 0
    V, F, on = CUBE
    assert len(edges(V, F, on > -3)) == 0
    V, F, on = FINE
    assert len(edges(V, F, on > -3)) == 0
    S, T = icosphere(1)
    inner = np.concatenate([np.zeros(len(F), bool), np.ones(len(T), bool)])
    for turned in (T, T[:, ::-1]):  # a hole, either way round
        found = edges(np.concatenate([V, 0.1 * S + [0.5, 0.4, 0.4]]), np.concatenate([F, turned + len(V)]), inner)
        assert len(found) == 3 * len(T) // 2
        centre = found[:, :3] - (np.array([0.5, 0.4, 0.4]) - [0.5, 0.4, 0.45])
        assert ((centre * found[:, 6:9]).sum(axis=1) > 0).all()  # into the domain


def test_a_hole_that_reflects(best_backend, rng):
    """u = x + 1 in a cube with a small cube in it, either way round, whose sides reflect with the flux of u."""
    V, F, on = CUBE
    W = 0.3 * (V - V.mean(axis=0)) + V.mean(axis=0)
    fast = NATIVE and best_backend != "numba"
    for inner in (F, F[:, ::-1]):
        both, triangles = np.concatenate([V, W]), np.concatenate([F, inner + len(V)])
        side = np.concatenate([on, on])
        where = np.arange(len(side)) >= len(on)
        outward = np.select([side == 1, side == 3], [1.0, -1.0]) * np.where(where, -1, 1)  # of x: out of the domain
        all_of = both[triangles].reshape(-1, 9)

        def h(X, outward=outward, all_of=all_of):
            return outward[all_distances(all_of, np.asarray(X, float))[0].argmin(axis=1)]

        X = points_in(both, triangles, rng, 60, 0.1)  # by solid angles, which in the hole are those of two cubes
        middle = (W.min(axis=0) + W.max(axis=0)) / 2
        X = X[(np.abs(X - middle) > np.ptp(W, axis=0) / 2).any(axis=1)][: 40 if fast else 15]
        result = wos.solve(
            wos.TriangleMesh(both, triangles), X, dirichlet=lambda Y: Y[:, 0] + 1, neumann=(where, h), walks=1024 if fast else 512,
            epsilon=EPSILON, rng=seed(rng),
        )  # fmt: skip
        assert gates(result.value, np.hypot(result.stderr, 1e-6), X[:, 0] + 1, spread=False) == []


def test_where_a_mesh_lies_and_which_way_round(best_backend, rng):
    """Far from the origin, in another unit, in float64, with all triangles turned."""
    (V, F), options, u, _ = PROBLEMS["cube"]
    where, h = options["neumann"]
    n, walks = (40, 1024) if NATIVE and best_backend != "numba" else (15, 512)
    X = points_in(V, F, rng, 8 * n, 0.05)
    X = X[from_absorbing("cube", X) > 0.12][:n]
    shift, scale = np.array([1e5, -3e4, 2e4]), 4.0
    for epsilon, triangles in ((1e-4, F), (1e-6, F[:, ::-1].copy())):
        result = wos.solve(
            wos.TriangleMesh(scale * V + shift, triangles), scale * X + shift, dirichlet=lambda Y: u((Y - shift) / scale),
            neumann=(where, lambda Y: h((Y - shift) / scale) / scale), walks=walks, epsilon=epsilon, max_steps=20000, rng=seed(rng),
        )  # fmt: skip
        assert gates(result.value, result.stderr, u(X), spread=False) == []


# ---------------------------------------------------------------- data, bits


def test_values_at_vertices(backend, rng):
    """Linear values at vertices are a Polynomial, on both parts, whichever way the triangles go."""
    (V, F), s = CUBE[:2], seed(rng)
    c = np.zeros((2, 2, 2))
    c[0, 0, 0], c[1, 0, 0], c[0, 1, 0], c[0, 0, 1] = rng.normal(size=4)
    linear = c[0, 0, 0] + V @ [c[1, 0, 0], c[0, 1, 0], c[0, 0, 1]]
    X = points_in(V, F, rng, 9, 0.05)
    for triangles in (F, F[:, ::-1].copy()):
        run = dict(walks=20, rng=s)
        mesh, where = wos.TriangleMesh(V, triangles), CUBE[2] != 3
        one = wos.solve(mesh, X, dirichlet=wos.PerVertex(linear), neumann=(where, wos.PerVertex(linear)), **run)
        two = wos.solve(mesh, X, dirichlet=wos.Polynomial(c), neumann=(where, wos.Polynomial(c)), **run)
        np.testing.assert_allclose(one.value, two.value, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(one.mean_steps, two.mean_steps)


def test_bits(backend, rng):
    """Cuts, threads, prefixes, pickles, pairs or not; a constant comes out exact."""
    V, F, on = CUBE
    mesh, X = wos.TriangleMesh(V, F), np.concatenate([points_in(V, F, rng, 20), [[0.5, 0.4, 0.0]]])
    data = dict(dirichlet=wos.PerVertex(rng.normal(size=len(V))), source=wos.Gaussians(np.ones(2), rng.uniform(0, 0.7, (2, 3)), 0.3))
    run = dict(rng=seed(rng), neumann=(on != 3, wos.PerVertex(rng.normal(size=len(V)))), **data)
    for options in ({}, {"gradient": True}, {"screening": 3.0}):
        whole = wos.solve(mesh, X, walks=30, **options, **run)
        same(whole, wos.solve(mesh, X, walks=30, num_threads=3, **options, **run))
        same(whole, pickle.loads(pickle.dumps(wos.solve(mesh, X, walks=14, **options, **run))).resume(16))
        part = wos.solve(mesh, X[:7], walks=30, **options, **run)
        np.testing.assert_array_equal(part.value, whole.value[:7])
    one = wos.solve(mesh, X, dirichlet=1.0, neumann=(on != 3, 0.0), walks=8, rng=1)
    np.testing.assert_array_equal(one.value, 1.0)


def test_gradients_of_linear_parameters(backend, rng):
    V, F, on = CUBE
    mesh, X, s = wos.TriangleMesh(V, F), points_in(V, F, rng, 7, 0.02), seed(rng)
    v, w, a, grad = rng.normal(size=len(V)), rng.normal(size=len(V)), rng.normal(size=3), rng.normal(size=7)
    centres = rng.uniform(0, 0.7, (3, 3))

    def given(scale):
        data = dict(dirichlet=wos.PerVertex(scale * v), source=wos.Gaussians(scale * a, centres, 0.4))
        return dict(neumann=(on != 3, wos.PerVertex(scale * w)), walks=20, rng=s, gradient=True, **data)

    one, zero = (wos.solve(mesh, X, **given(scale)) for scale in (1.0, 0.0))
    points, *found = wos.solve_vjp(mesh, X, grad, **given(1.0))
    np.testing.assert_allclose(points, grad[:, None] * one.grad, rtol=1e-12)
    total = sum((of[name] * p).sum() for of, (name, p) in zip(found, (("values", v), ("amplitude", a), ("values", w))))
    assert abs(total - (grad * (one.value - zero.value)).sum()) < 1e-4 * np.abs(grad).sum()


@pytest.mark.torch
def test_torch(backend, rng):
    torch = pytest.importorskip("torch")
    V, F, on = CUBE
    X, w, s = points_in(V, F, rng, 7, 0.02), rng.normal(size=len(V)), seed(rng)
    run = dict(dirichlet=0.5, walks=20, rng=s)
    one = wos.solve(wos.TriangleMesh(V, F), X, neumann=(on != 3, wos.PerVertex(w)), gradient=True, **run)
    p, x = torch.tensor(w, requires_grad=True), torch.tensor(X, requires_grad=True)
    mesh = wos.TriangleMesh(torch.tensor(V), torch.tensor(F))
    value = wos.solve(mesh, x, neumann=(torch.tensor(on != 3), wos.PerVertex(p)), **run).value
    value.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), one.grad, rtol=1e-12)
    assert np.isfinite(p.grad.numpy()).all()
    assert np.abs(p.grad.numpy()).max() > 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"robin": (np.ones(12, bool), 1.0, 0.0)}, "robin needs a Polygon; boundary is a TriangleMesh"),
        ({"neumann": (np.ones(12, bool), 0.0)}, "all of the mesh reflects"),
        ({"neumann": (np.ones(13, bool), 0.0)}, r"expected \(12,\): one entry a triangle"),
        ({"neumann": (CUBE[2] != 3, wos.PerVertex(np.zeros(9)))}, r"expected \(8,\)"),
    ],
)
def test_refused(given, text):
    with pytest.raises(ValueError, match=text):
        wos.solve(wos.TriangleMesh(*CUBE[:2]), np.full((1, 3), 0.5), dirichlet=0.0, walks=2, **given)


def test_gaps_are_refused():
    with pytest.raises(ValueError, match="watertight=False"):
        wos.solve(wos.TriangleMesh(*CUBE[:2], watertight=False), np.full((1, 3), 0.5), dirichlet=0.0, neumann=(CUBE[2] != 3, 0.0))
