"""Walks on stars: data, instances, bits, gradients, and what is refused."""

import pickle

import numpy as np
import pytest

from quatrefoil import wos
from wos.stars import oracle
from wos.stars.test_stars import ELL, RECTANGLE, RING, flux, points_in, wave, wave_gradient, which
from wos.walk.oracle import same, seed


def options_of_all(rng):
    """Every kind of condition and data that has numbers."""
    ring = RECTANGLE
    return {
        "dirichlet": wos.PerVertex(rng.normal(size=4)), "source": wos.Gaussians(np.ones(2), rng.uniform(0, 0.7, (2, 2)), 0.3),
        "neumann": (which(ring, 0, 1), wos.PerVertex(rng.normal(size=4))), "robin": (which(ring, 2), 1.5, wos.Fourier(rng.normal(size=5))),
    }  # fmt: skip


def test_a_constant_comes_out_exact(backend, rng):
    """u = 1 whatever reflects; with a wall that absorbs, to the accuracy of its small stars."""
    X = points_in(RING, rng, 20)
    result = wos.solve(wos.Polygon(RING), X, dirichlet=1.0, neumann=(which(RING, 0, 5, *range(25, 49)), 0.0), walks=32, rng=seed(rng))
    np.testing.assert_array_equal(result.value, 1.0)
    np.testing.assert_array_equal(result.stderr, 0.0)


def test_cuts_and_threads_give_the_same_bits(backend, rng):
    X, polygon = points_in(RECTANGLE, rng, 40), wos.Polygon(RECTANGLE)
    run = dict(rng=seed(rng), **options_of_all(rng))
    whole = wos.solve(polygon, X, walks=60, **run)
    same(whole, wos.solve(polygon, X, walks=60, num_threads=3, **run))
    same(whole, wos.solve(polygon, X, walks=23, **run).resume(37))
    same(whole, wos.solve(polygon, X, walks=17, walk_offset=43, **run).merge(wos.solve(polygon, X, walks=43, **run)))
    part = wos.solve(polygon, X[:7], walks=60, **run)
    np.testing.assert_array_equal(part.value, whole.value[:7])
    other = {**run, "robin": (run["robin"][0], 2.0, run["robin"][2])}
    with pytest.raises(ValueError, match="neumann and robin"):
        whole.merge(wos.solve(polygon, X, walks=3, walk_offset=60, **other))
    with pytest.raises(ValueError, match="robin"):
        whole.merge(wos.solve(polygon, X, walks=3, walk_offset=60, **{**run, "robin": (*run["robin"][:2], wos.Fourier(np.ones(5)))}))


def test_a_result_pickles_and_merges_with_its_like_alone(backend, rng):
    X, polygon = points_in(RECTANGLE, rng, 6), wos.Polygon(RECTANGLE)
    run = dict(rng=seed(rng), **options_of_all(rng))
    whole = wos.solve(polygon, X, walks=9, **run)
    same(whole, pickle.loads(pickle.dumps(wos.solve(polygon, X, walks=4, **run))).resume(5))
    plain = wos.solve(polygon, X, walks=3, walk_offset=9, rng=run["rng"], dirichlet=run["dirichlet"], source=run["source"])
    for one, other in ((whole, plain), (plain, whole)):
        with pytest.raises(ValueError, match="neumann"):
            one.merge(other)


def test_where_a_domain_lies_and_how_fine_epsilon_is(backend, rng):
    """Far from the origin, in another unit, in float64; a vertex given twice; points on a reflecting wall and within rounding outside."""
    h = flux(RECTANGLE, wave_gradient)
    X = np.concatenate([points_in(RECTANGLE, rng, 40, 0.05), [[0.5, 0.0], [0.4, 0.7], [1.0, 0.3], [0.6, 0.7 + 1e-7]]])
    closed = np.concatenate([RECTANGLE, RECTANGLE[:1]])
    shift, scale = np.array([1e6, -3e5]), 4.0
    with pytest.warns(RuntimeWarning, match="length 0"):
        polygon = wos.Polygon(scale * closed + shift)

    def moved(f, factor=1.0):
        return lambda Y: factor * f((Y - shift) / scale)

    for epsilon in (1e-4, 1e-7):
        result = wos.solve(
            polygon, scale * X + shift, dirichlet=moved(wave), neumann=(np.array([True, True, True, False, True]), moved(h, 1 / scale)),
            walks=512, epsilon=epsilon, max_steps=20000, rng=seed(rng),
        )  # fmt: skip
        assert oracle.gates(result.value, result.stderr, wave(X), spread=False) == []


def test_functions_and_kinds_of_flux(backend, rng):
    """h as a function, compiled or not, as a number for each instance and as the class that says the same."""
    import numba

    @numba.njit
    def compiled(Y):
        return 0.5 + Y[:, 0] * 2.0

    X, s, where = points_in(RECTANGLE, rng, 9), seed(rng), which(RECTANGLE, 0, 2)
    found = [
        wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=0.0, neumann=(where, h), walks=20, rng=s).value
        for h in (compiled, lambda Y: 0.5 + Y[:, 0] * 2.0, wos.PerVertex(0.5 + 2 * RECTANGLE[:, 0]))
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=0, atol=1e-5)
    run = dict(dirichlet=0.0, walks=20, rng=s)
    one, both = (wos.solve(wos.Polygon(RECTANGLE), X, neumann=(where, h), **run).value for h in (0.5, np.array([0.5, 1.0])))
    np.testing.assert_array_equal(both[0], one)
    none, zero = (wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wave, neumann=(where, h), walks=20, rng=s) for h in (0.0, np.array(0.0)))
    same(none, zero)


def test_instances_are_those_alone(backend, rng):
    rings = [RECTANGLE, ELL[::-1].copy(), RING * 2]
    X = np.array([[0.31, 0.42], [0.9, 0.6]])
    wheres = [which(r, 0, len(r) - 1) for r in rings]
    values = [rng.normal(size=len(r)) for r in rings]
    h = [wos.PerVertex(v) for v in values]
    s = seed(rng)
    run = dict(dirichlet=0.5, source=1.0, walks=30)
    with pytest.warns(RuntimeWarning, match="outside"):
        together = wos.solve(wos.Polygon(rings), X, neumann=(wheres, h), rng=s, **run)
    assert together.value.shape == (3, 2)
    alone = wos.solve(wos.Polygon(rings[0]), X, neumann=(wheres[0], h[0]), rng=s, **run)
    np.testing.assert_array_equal(together.value[0], alone.value)
    many = 1000  # one in twenty meets the flux from the point in the corner
    shared = wos.solve(wos.Polygon(RECTANGLE), X, neumann=(wheres[0], np.array([0.0, 2.0])), dirichlet=0.0, rng=s, walks=many)
    np.testing.assert_array_equal(shared.value[0], 0.0)
    assert (shared.value[1] > 0).all()


def test_orientation_and_holes_do_not_matter(backend, rng):
    """The same domain, its outline and hole either way round."""
    hole = np.array([[0.3, 0.2], [0.5, 0.2], [0.5, 0.4], [0.3, 0.4]])
    X = points_in(RECTANGLE, rng, 80, 0.01)
    X = X[oracle.closest(np.concatenate([hole, np.roll(hole, -1, axis=0)], axis=1), X)[0] > 0.01]
    X = X[~oracle.inside([hole], X)]
    found = []
    for outer, inner in ((RECTANGLE, hole), (RECTANGLE[::-1].copy(), hole), (RECTANGLE, hole[::-1].copy())):
        polygon = wos.Polygon(outer, holes=[inner])
        where = np.zeros(8, bool)
        middle = polygon.ends.reshape(8, 2, 2).mean(axis=1)
        where[4:] = True
        where[:4] = np.abs(middle[:4, 0] - 0.5) > 0.4  # left and right
        h = np.where(middle[:, 0] > 0.9, 1.0, 0.0)

        def flow(Y, ends=polygon.ends, h=h):
            return h[oracle.closest(ends, np.asarray(Y, float))[1]]

        found.append(wos.solve(polygon, X, dirichlet=lambda Y: Y[:, 0], neumann=(where, flow), walks=256, rng=seed(rng)))
    for one in found[1:]:
        z = (one.value - found[0].value) / np.hypot(one.stderr, found[0].stderr)
        assert abs(z.sum()) / np.sqrt(len(z)) < 6
        assert abs(z).max() < 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_linear_parameters(dtype, backend, rng):
    """value is linear in what is given on the boundary and in the domain: <grad, value(p)> - <grad, value(0)> = <gradient, p>."""
    X, s = points_in(RECTANGLE, rng, 9).astype(dtype), seed(rng)
    polygon = wos.Polygon(RECTANGLE)
    v, w, c, a = (rng.normal(size=n).astype(dtype) for n in (4, 4, 5, 3))
    centres = rng.uniform(0, 0.7, (3, 2)).astype(dtype)

    def given(scale):
        return dict(
            dirichlet=wos.PerVertex(scale * v), source=wos.Gaussians(scale * a, centres, 0.4),
            neumann=(which(RECTANGLE, 0, 1), wos.PerVertex(scale * w)), robin=(which(RECTANGLE, 2), 0.8, wos.Fourier(scale * c)),
            walks=21, rng=s,
        )  # fmt: skip

    one, zero = (wos.solve(polygon, X, **given(dtype(scale))).value for scale in (1, 0))
    grad = rng.normal(size=9).astype(dtype)
    points, *found = wos.solve_vjp(polygon, X, grad, points_gradient=False, **given(dtype(1)))
    assert points is None
    parts = (("values", v), ("amplitude", a), ("values", w), ("coefficients", c))
    total = sum((of[name].astype(float) * p).sum() for of, (name, p) in zip(found, parts))
    assert abs(total - (grad.astype(float) * (one - zero)).sum()) < 1e-4 * np.abs(grad).sum()


@pytest.mark.torch
def test_torch(backend, rng):
    torch = pytest.importorskip("torch")
    X, s, v = points_in(RECTANGLE, rng, 9), seed(rng), rng.normal(size=4)
    run = dict(source=1.0, walks=20, rng=s)
    where = which(RECTANGLE, 0, 2)
    one = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=0.5, neumann=(where, wos.PerVertex(v)), **run)
    p = torch.tensor(v, requires_grad=True)
    polygon = wos.Polygon(torch.tensor(RECTANGLE))
    two = wos.solve(polygon, torch.tensor(X), dirichlet=0.5, neumann=(torch.tensor(where), wos.PerVertex(p)), **run)
    np.testing.assert_array_equal(one.value, two.value.detach().numpy())
    two.value.sum().backward()
    grads = wos.solve_vjp(
        wos.Polygon(RECTANGLE), X, np.ones(9), dirichlet=0.5, neumann=(where, wos.PerVertex(v)), points_gradient=False, **run
    )
    np.testing.assert_allclose(p.grad.numpy(), grads[3]["values"], rtol=1e-12)


# ---------------------------------------------------------------- what is refused


SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"neumann": (np.ones(4, bool), 0.0)}, ValueError, "all of polygon 0 reflects"),
        ({"robin": (np.ones(4, bool), 0.0, 0.0)}, ValueError, "all of polygon 0 reflects"),
        ({"neumann": (which(SQUARE, 1), 0.0), "robin": (which(SQUARE, 1), 1.0, 0.0)}, ValueError, "segment 1 is in both"),
        ({"neumann": (np.ones(5, bool), 0.0)}, ValueError, r"expected \(4,\)"),
        ({"neumann": (np.ones(4), 0.0)}, TypeError, "expected bool"),
        ({"neumann": (which(SQUARE, 1),)}, TypeError, r"\(where, h\)"),
        ({"neumann": which(SQUARE, 1)}, TypeError, r"\(where, h\)"),
        ({"robin": (which(SQUARE, 1), 1.0)}, TypeError, r"\(where, mu, h\)"),
        ({"robin": (which(SQUARE, 1), -1.0, 0.0)}, ValueError, "mu"),
        ({"robin": (which(SQUARE, 1), float("nan"), 0.0)}, ValueError, "mu"),
        ({"robin": (which(SQUARE, 1), np.full(4, -1.0), 0.0)}, ValueError, "mu"),
        ({"neumann": (which(SQUARE, 1), wos.PerVertex(np.zeros(3)))}, ValueError, r"expected \(4,\)"),
    ],
)
def test_refused(given, error, text):
    with pytest.raises(error, match=text):
        wos.solve(wos.Polygon(SQUARE), np.full((1, 2), 0.5), dirichlet=0.0, walks=2, **given)


def test_a_ball_has_no_segments():
    with pytest.raises(ValueError, match="Polygon"):
        wos.solve(wos.Ball([0, 0], 1), np.zeros((1, 2)), dirichlet=0.0, neumann=(np.ones(4, bool), 0.0))


def test_values_at_vertices_where_nothing_absorbs(backend, rng):
    """They are given and never met."""
    run = dict(neumann=(np.ones(4, bool), 1.0), screening=2.0, walks=30, rng=seed(rng))
    X = points_in(RECTANGLE, rng, 5)
    plain = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=0.0, **run)
    same(plain, wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wos.PerVertex(np.full(4, 9.0)), **run))
    found = wos.solve_vjp(wos.Polygon(RECTANGLE), X, np.ones(5), dirichlet=wos.PerVertex(np.full(4, 9.0)), points_gradient=False, **run)
    np.testing.assert_array_equal(found[1]["values"], 0.0)


def test_nobody_reflects(backend, rng):
    """where that is False everywhere: the plain walk."""
    X, s = points_in(RECTANGLE, rng, 9), seed(rng)
    plain = wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wave, walks=9, rng=s)
    same(plain, wos.solve(wos.Polygon(RECTANGLE), X, dirichlet=wave, walks=9, rng=s, neumann=(np.zeros(4, bool), 1.0)))


def test_until_errors_are_small(backend, rng):
    """A point that stops has the bits of a plain solve with as many walks; progress is told; a cache is refused."""
    X, polygon, told = points_in(RECTANGLE, rng, 12), wos.Polygon(RECTANGLE), []
    run = dict(rng=seed(rng), **options_of_all(rng))
    pilot = wos.solve(polygon, X, walks=64, **run)
    atol = float(np.median(pilot.stderr))
    result = wos.solve(polygon, X, walks=16, atol=atol, max_walks=256, progress=lambda *at: told.append(at), **run)
    assert len(set(result.n_walks.tolist())) > 1
    assert told[-1][0] == result.n_walks.sum()
    for walks in set(result.n_walks.tolist()):
        stopped = result.n_walks == walks
        plain = wos.solve(polygon, X, walks=walks, **run)
        np.testing.assert_array_equal(result.value[stopped], plain.value[stopped])
        np.testing.assert_array_equal(result.stderr[stopped], plain.stderr[stopped])
    more = result.resume(16)
    assert (more.n_walks == result.n_walks + 16).all()
    with pytest.raises(ValueError, match="cache"):
        wos.solve(polygon, X, cache="harmonic", **run)
