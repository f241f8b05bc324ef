"""Walks on stars in polygons and meshes whose sides reflect: values and gradients against closed forms."""

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from wos.query.oracle import all_distances
from wos.stars.oracle import corner_solution, prism, sector, split
from wos.test_closed_forms import pole
from wos.walk.oracle import gates, seed, slope

NATIVE = native.reason() is None
EPSILON = 1e-4
RECTANGLE = np.array([[0.0, 0], [1, 0], [1, 0.7], [0, 0.7]])
QUARTER = sector(0, 1, np.pi / 2, 300)
RING = sector(0.4, 1, 0.7 * np.pi, 24)
ELL = np.array([[0.0, 0], [0, -1], [1, -1], [1, 1], [-1, 1], [-1, 0]])  # the corner at 0 is re-entrant
CUBE = prism(np.array([[0.0, 0], [1, 0], [1, 0.8], [0, 0.8]]), 0.9)
RATES = np.array([1.2, -0.8, 0.5])


def wave(X):
    """Harmonic in the plane and in space."""
    return np.exp(X[..., 0]) * np.cos(X[..., 1]) + X[..., 0] * X[..., -1]


def bowl(X):
    """-Δu = 1."""
    x, y, last = X[..., 0], X[..., 1], X[..., -1]
    return 1 + x**2 + x * y - 2 * y**2 + 0.5 * last**2 - last


def decay(X):
    """Its Laplacian is |RATES|^2 times itself."""
    return np.exp(X @ RATES[: X.shape[-1]])


def log(X):
    return pole(X, np.zeros(X.shape[-1]))


def normals(boundary):
    """Outward, of pieces that run counter-clockwise."""
    d = boundary.dimension
    corners = boundary._ends.reshape(-1, d, d)
    e = corners[:, 1] - corners[:, 0]
    n = np.stack([e[:, 1], -e[:, 0]], axis=1) if d == 2 else np.cross(e, corners[:, 2] - corners[:, 0])
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def flux(boundary, u, mu=0.0):
    """Of u through the nearest piece, and mu u."""
    n = normals(boundary)

    def h(X):
        k = wos.closest_point(boundary, np.ascontiguousarray(X, float))[2]
        return (slope(u, X) * n[k]).sum(axis=-1) + (mu[k] if np.ndim(mu) else mu) * u(X)

    return h


def which(ring, *segments):
    found = np.zeros(len(ring), bool)
    found[list(segments)] = True
    return found


def problems():
    """Name -> boundary, keywords of solve, u. Side 3 of the cubes, x = 0, absorbs, and the bottom of some."""
    r, q, a, e = (wos.Polygon(ring) for ring in (RECTANGLE, QUARTER, RING, ELL))
    on, fine, ell = CUBE[2], split(*split(*prism(RECTANGLE, 0.9, 2))), prism(ELL, 0.7)
    cube, many, ells = (wos.TriangleMesh(*mesh[:2]) for mesh in (CUBE, fine, ell))
    inner, last, several = which(RING, *range(25, len(RING) - 1)), len(RING) - 1, np.array([0.0, 0.5, 2.0, 1.0])

    def of(boundary, u, where, **more):
        return boundary, {"dirichlet": u, "neumann": (where, flux(boundary, u)), **more}, u

    def robin(u, where, mu, **more):
        return r, {"dirichlet": u, "robin": (where, mu, flux(r, u, mu)), **more}, u

    planar, spatial = {"screening": RATES[:2] @ RATES[:2]}, {"screening": RATES @ RATES}
    screened = {"screening": 9.0, "source": lambda X: 1 + 9 * bowl(X)}
    return {
        "rectangle": of(r, wave, which(r._ends, 0, 1, 2)),
        "source": of(r, bowl, which(r._ends, 1, 3), source=1.0),
        "quarter": of(q, lambda X: X[..., 0] ** 2 - X[..., 1] ** 2, which(q._ends, len(QUARTER) - 2, len(QUARTER) - 1)),
        "ring": of(a, log, inner | which(RING, 24, last)),
        "corner": (e, {"dirichlet": corner_solution, "neumann": (which(ELL, 0, 5), 0.0)}, corner_solution),
        "screened": of(r, decay, which(r._ends, 0, 2, 3), **planar),
        "screened-endless": of(r, decay, which(r._ends, 0, 1, 2, 3), **planar),
        "screened-source": of(r, bowl, which(r._ends, 0, 2), **screened),
        "robin": robin(wave, which(r._ends, 1, 2), 1.0),
        "robin-source": robin(bowl, which(r._ends, 0), 3.0, source=1.0),
        "robin-and-neumann": robin(wave, which(r._ends, 2), 1.5, neumann=(which(r._ends, 0, 1), flux(r, wave))),
        "robin-alone": robin(wave, which(r._ends, 0, 1, 2, 3), several),
        "robin-screened": robin(decay, which(r._ends, 0, 1), 2.0, **planar),
        "cube": of(cube, wave, on != 3),
        "fine": of(many, wave, fine[2] != 3),
        "cube-source": of(cube, bowl, on > 0, source=1.0),
        "corner-in-space": (ells, {"dirichlet": corner_solution, "neumann": (np.isin(ell[2], [-2, -1, 0, 5]), 0.0)}, corner_solution),
        "cube-screened": of(cube, decay, on != 1, **spatial),
        "cube-screened-source": of(cube, bowl, on != -1, **screened),
        "cube-endless": of(cube, decay, on > -3, **spatial),
    }


PROBLEMS = problems()
EVERY_DAY = ["corner", "cube", "robin-and-neumann", "robin-source"]
MARKED = [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.slow) for name in PROBLEMS]


def points_in(boundary, rng, n, clear=1e-3):
    X = boundary._centre[0] + boundary._extent[0] * rng.uniform(-0.5, 0.5, (20 * n, boundary.dimension))
    return X[wos.signed_distance(boundary, X) < -clear][:n]


def from_absorbing(name, X):
    """Distances of the part of the boundary that absorbs; infinite where there is none."""
    boundary, options, _ = PROBLEMS[name]
    reflects = sum(options[kind][0].astype(int) for kind in ("neumann", "robin") if kind in options)
    rest = boundary._ends[reflects == 0]
    return np.sqrt(all_distances(rest, X)[0].min(axis=1)) if len(rest) else np.full(len(X), np.inf)


def sizes(name, backend, pairs):
    """(points, walks): the mean gate finds a bias of 1.9 % of a walk's standard deviation, 2.7 % in space and for pairs, 6 % if slow."""
    slow = "robin" in name or name in ("ring", "fine")
    if not NATIVE or backend == "numba":
        return (5 if slow else 20), 256
    if PROBLEMS[name][0].dimension == 3 or pairs:
        return (40, 256) if slow else (100, 512)
    return (100, 128) if slow else (100, 1024)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MARKED)
def test_closed_forms(name, pairs, best_backend, rng):
    boundary, options, u = PROBLEMS[name]
    n, walks = sizes(name, best_backend, pairs)
    X = points_in(boundary, rng, 4 * n, 1e-3 if walks > 1000 and not pairs else 0.05)
    X = X[from_absorbing(name, X) > 0.1][:n]  # closer, few walks know little of their own spread
    r = wos.solve(boundary, X, **{"epsilon": EPSILON, "max_steps": 20000, **options}, walks=walks, gradient=pairs, rng=seed(rng))
    assert gates(r.value, r.stderr, u(X), spread=False) == []
    assert r.n_truncated.sum() == r.n_escaped.sum() == 0
    for i in range(X.shape[1] if pairs else 0):
        assert gates(r.grad[:, i], r.grad_stderr[:, i], slope(u, X)[:, i], spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.parametrize("name", ["corner", "ring", "screened-source", "robin-source"])
@pytest.mark.slow
def test_close_to_the_absorbing_part(name, rng):
    """Where most walks end at once, and the few others are all that differs from the value there."""
    boundary, options, u = PROBLEMS[name]
    X = points_in(boundary, rng, 2000, 2e-3)
    X = X[from_absorbing(name, X) < 0.05][:8]
    epsilon = 1e-5
    result = wos.solve(boundary, X, walks=2**17, rng=seed(rng), epsilon=epsilon, max_steps=20000, **options)
    assert gates(result.value, np.hypot(result.stderr, epsilon), u(X), spread=False) == []


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_close_to_walls(rng):
    """At ten and at a hundred epsilon from a reflecting wall: the first ball is that small, the error that large."""
    boundary, options, u = PROBLEMS["rectangle"]
    for away in (1e-3, 1e-2):
        X = np.stack([rng.uniform(0.2, 0.8, 40), np.full(40, away)], axis=1)
        r = wos.solve(boundary, X, walks=1024, epsilon=EPSILON, gradient=True, rng=seed(rng), **options)
        for i in range(2):
            assert gates(r.grad[:, i], r.grad_stderr[:, i], slope(u, X)[:, i], spread=False) == []
        assert gates(r.value, r.stderr, u(X), spread=False) == []
        assert (r.grad_stderr > 0).all()


@pytest.mark.skipif(not NATIVE, reason="many walks")
@pytest.mark.slow
def test_on_walls(rng):
    """Points on reflecting triangles: one or several in a plane, next to convex edges too."""
    for name in ("cube", "fine"):
        mesh, options, u = PROBLEMS[name]
        walls = mesh._ends[options["neumann"][0]].reshape(-1, 3, 3)
        X = (walls[rng.integers(len(walls), size=100)] * rng.dirichlet([1, 1, 1], 100)[..., None]).sum(axis=1)
        X = X[X[:, 0] > 0.1]
        r = wos.solve(mesh, X, walks=1024, epsilon=EPSILON, max_steps=20000, gradient=True, rng=seed(rng), **options)
        assert (r.n_walks > 0).all()
        assert gates(r.value, r.stderr, u(X), spread=False) == []
        assert np.isnan(r.grad).all()


@pytest.mark.skipif(not NATIVE, reason="many walks")
def test_sides_in_many_pieces(rng):
    """Walls of one line do not hide each other: on a wall cut in pieces, turned so that no coordinate is exact."""
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
    assert (r.n_walks > 0).all()  # on the wall, or within epsilon outside
    assert gates(r.value, r.stderr, wave(X), spread=False) == []
