"""Walk on Spheres: distances, inside or outside, domains far from the origin, half discs."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import SQUARE, needs_native, points_in
from wos.query.oracle import on_segment
from wos.test_closed_forms import BOUNDARIES
from wos.walk import oracle
from wos.walk.oracle import coordinate_sum, seed, star_points


@needs_native
@pytest.mark.filterwarnings("ignore:Polygon. the outline of polygon 0 is so long:RuntimeWarning")  # the random spikes may cause it
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_grid_against_every_segment(precision, rng):
    from quatrefoil import _core

    spiky = oracle.circle(96) * rng.uniform(0.05, 1, (96, 1))
    # tiny, large and collinear segments
    mixed = np.array([[0, 0], [1e-7, 0], [2e-7, 0], [1, 0], [1, 1e-6], [1, 1], [0.5, 1], [0.2, 1], [0, 1]])
    for ring in (oracle.star(1024), spiky, mixed, rng.normal(size=(5, 2))):
        polygon = wos.Polygon(ring)
        segs = polygon._scaled_ends()
        X = rng.uniform(-0.5, 0.5, (1000, 2)).astype(precision)
        near_edge = segs[rng.integers(len(segs), size=300), :2] + 0.01 * rng.normal(size=(300, 2))
        X = np.concatenate([X, np.clip(near_edge, -0.5, 0.5).astype(precision), segs[:, :2].astype(precision)])
        d, _, _, _ = oracle.closest(segs, X.astype(np.float64))
        within = oracle.inside([ring], X * polygon._extent[0] + polygon._centre[0])
        for level in (0, 3, 6, 9):
            radius, primitive = np.empty(len(X), precision), np.empty(len(X), np.int64)
            _core.wos.bounds(polygon._memo_of("numpy").value, 0, level, X, radius, primitive)
            exact = primitive >= 0
            eps = np.finfo(precision).eps
            assert np.abs(radius - d)[exact].max(initial=0) <= 4 * eps  # coordinates have size 1
            assert (radius - d)[~exact].max(initial=-1) <= 2 * eps  # a lower bound
            cell = 1.0157 / 2**level
            far = ~exact & within
            assert (radius[far] >= 3.5 * cell - 4 * eps).all()  # never below epsilon, see grid_level
            assert (radius[far] >= d[far] * 5 / 7 - 4 * eps).all()
            assert (radius[~exact & ~far] <= 0).all()  # outside: no walk goes there, and nothing is stored
            assert exact[d < eps / 4].all()  # points within epsilon outside start here
            chosen = segs[primitive[exact]]
            dk = np.sqrt(on_segment(X[exact].astype(np.float64), chosen[:, :2], chosen[:, 2:])[0])
            np.testing.assert_allclose(dk, d[exact], rtol=0, atol=8 * eps)  # the segment is one of the closest
        assert exact.any()


@pytest.mark.filterwarnings("ignore:solve. .* points? lies? outside")
@pytest.mark.filterwarnings("ignore:Polygon. the outline of polygon 0 is so long:RuntimeWarning")  # for the comb
def test_inside_or_outside_of_awkward_polygons(backend, rng):
    """Few long segments, teeth as tall as the box, self-intersecting rings, holes, and rows of points at the heights of vertices."""
    teeth = np.stack([np.arange(60) / 60, np.tile([0.0, 1.0], 30)], axis=1)
    comb = np.concatenate([teeth, [[1.0, -0.1], [0.0, -0.1]]])
    lattice = np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 0.5], [0.5, 0.25], [0.25, 0.25], [0.25, 0.75], [1, 0.75], [1, 1], [0, 1]])
    heights = np.stack(np.meshgrid(rng.uniform(0, 1, 60), np.arange(5) / 4), axis=-1).reshape(-1, 2)
    for rings in ([comb], [lattice], [rng.normal(size=(7, 2))], [oracle.star(600), 0.3 * oracle.star(40)], [rng.normal(size=(3, 2))]):
        polygon = wos.Polygon(rings[0], holes=rings[1:] or None)
        low, high = polygon._centre[0] - 0.6 * polygon._extent[0], polygon._centre[0] + 0.6 * polygon._extent[0]
        X = np.concatenate([rng.uniform(low, high, (500, 2)), heights])
        distance, _, _, _ = oracle.closest(oracle.segments(rings), X)
        within = oracle.inside(rings, X)
        for n in (len(X), 3):  # a few points give the same answers as many
            value = wos.solve(polygon, X[:n], dirichlet=1.0, walks=1, epsilon=1e-4, rng=1).value
            sure = distance[:n] > 2e-4 * polygon._diagonal[0]
            np.testing.assert_array_equal(np.isnan(value)[sure], ~within[:n][sure])


def test_far_from_the_origin(backend, rng):
    """A domain of size 1 at 1e6 is as accurate as at 0."""
    X, shift, run = star_points(rng, 20), np.array([1e6, -2e6]), {"source": 1.0, "walks": 50, "rng": seed(rng)}
    at_zero = wos.solve(wos.Polygon(oracle.star(100)), X, dirichlet=coordinate_sum, **run)
    moved = wos.solve(wos.Polygon(oracle.star(100) + shift), X + shift, dirichlet=lambda Y: (Y - shift).sum(axis=1), **run)
    # the shift rounds coordinates by 1e-10, which rarely changes a walk's path; the mean of 50 walks then changes by a few hundredths
    difference = np.sort(np.abs(at_zero.value - moved.value))
    assert np.median(difference) < 1e-5
    assert difference[-1] < 0.2


def test_nan_stays_where_it_was_met(backend, rng):
    """NaN from a function and from a grid affects only points whose walks reach it."""
    v = np.ones((3, 3))
    v[:, 2] = np.nan  # in the upper half
    X = np.array([[0.5, 1e-9], [0.5, 1 - 1e-9], [0.3, 0.6], [0.0, 0.2]])
    for g in (wos.GridField(v, ((0, 0), (1, 1))), lambda Y: np.where(Y[:, 1] > 0.5, np.nan, 1.0)):
        r = wos.solve(wos.Polygon(SQUARE), X, dirichlet=g, walks=50, rng=seed(rng))
        np.testing.assert_array_equal(r.value, [1, np.nan, np.nan, 1])


def test_half_discs(best_backend, rng):
    """With half discs, a smaller epsilon does not increase the number of steps, and a large one causes no bias. A source disables half
    discs, so both happen."""
    polygon, run = BOUNDARIES["corner"](), {"dirichlet": 1.0, "walks": 64, "rng": seed(rng)}
    X = points_in(polygon, rng, 200, 0.01)
    few, steps = (wos.solve(polygon, X, epsilon=e, **run).mean_steps.mean() for e in (1e-3, 1e-9))
    assert steps < few + 1
    assert wos.solve(polygon, X, epsilon=1e-9, source=0.0, **run).mean_steps.mean() > 2 * steps
    saddle = lambda X: (X[:, 0] - 0.5) ** 2 - (X[:, 1] - 0.5) ** 2  # noqa: E731
    X = rng.uniform([0.1, 0.4], [0.3, 0.6], (600, 2))
    run = {"dirichlet": saddle, "walks": 4096 if best_backend == "native" else 2048, "epsilon": 0.01, "rng": seed(rng)}
    half, plain = (wos.solve(BOUNDARIES["square"](), X, source=source, **run) for source in (None, 0.0))
    assert abs(((half.value - saddle(X)) / half.stderr).sum()) / np.sqrt(600) < 6
    assert ((plain.value - saddle(X)) / plain.stderr).sum() / np.sqrt(600) > 6
