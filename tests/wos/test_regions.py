"""Problems whose diffusion jumps between polygons, solved by operators."""

import pickle

import numpy as np
import pytest

from case import first_backend_or_slow
from checks import check_refused
from quatrefoil import wos
from wos.domains import SQUARE
from wos.walk.oracle import gates, seed

OUTER, CORE = (wos.Polygon(r * (2 * SQUARE - 1)) for r in (1.0, 0.5))
FEW = wos.Polygon(0.8 * np.array([[-1, -0.9], [0.9, -1], [1, 1], [-0.8, 0.9]]))


def polygon(r, M):
    t = 2 * np.pi * np.arange(M) / M
    return wos.Polygon(r * np.stack([np.cos(t), np.sin(t)], axis=1))


def level(X):
    """A function that is 0 on the sides of the core."""
    x, y = X.T
    return (x**2 - 0.25) * (y**2 - 0.25) * (1 + x + 0.5 * y)


def laplacian(X, h=1e-3):
    return sum(level(X + e) + level(X - e) - 2 * level(X) for e in h * np.eye(2)) / h**2


def check_core(alphas, rng, n, walks, domain=OUTER):
    """u = level / α + 1: continuous, with the flux of ``level`` on both sides, and -Δ level as the source."""
    X = domain.vertices.mean(axis=0) + rng.uniform(-0.95, 0.95, (3 * n, 2))
    X = X[wos.signed_distance(domain, X) < -0.02][:n]
    outside, inside = alphas
    problem = wos.Problem(domain, dirichlet=0.0, source=0.0, diffusion=wos.Regions(outside, [(CORE, inside)]))
    of = problem.operator(X, wos.Walks(walks, epsilon=1e-5, max_steps=20_000), rng=seed(rng))
    u = 1 + level(X) / np.where(wos.contains(CORE, X), inside, outside)
    value, stderr = of.solve(lambda Y: 1 + level(Y) / outside, lambda Y: -laplacian(Y))
    assert gates(value, stderr, u) == []
    assert of.n_truncated.sum() == of.n_escaped.sum() == 0


@first_backend_or_slow
@pytest.mark.parametrize("alphas", [(1.0, 3.0), (2.0, 0.5)])
def test_a_core(alphas, backend, rng):
    check_core(alphas, rng, *((60, 128) if backend == "native" else (10, 64)))


@pytest.mark.slow
@pytest.mark.parametrize("alphas", [(1.0, 20.0), (3.0, 1.0), (10.0, 1.0)])
def test_a_core_with_many_walks(alphas, best_backend, rng):
    check_core(alphas, rng, 400, 256, FEW if alphas[0] == 3 else OUTER)


def test_a_jump_of_0_is_none(best_backend, rng):
    """Without a jump, the regions do not matter."""
    X = rng.uniform(-0.9, 0.9, (50, 2))
    of = wos.Problem(OUTER, dirichlet=0.0, source=0.0, diffusion=wos.Regions(2.0, [(CORE, 2.0)])).operator(X, 256, rng=seed(rng))
    truth = wos.solve(OUTER, X, lambda Y: Y[:, 0] * Y[:, 1], source=0.5, walks=1 << 14, rng=1)
    value, stderr = of.solve(lambda Y: Y[:, 0] * Y[:, 1], 1.0)
    z = (value - truth.value) / np.hypot(stderr, truth.stderr)
    assert abs(z.sum()) / np.sqrt(len(z)) < 6
    assert abs(z).max() < 6


@pytest.mark.slow
def test_transmission_through_a_circle(best_backend, rng):
    """u = A x in the disc of radius 1/2, x (1 + B / r^2) around it. Using the sides of a polygon causes an error of 1 / M^2."""
    a, inner, outer, M = 0.5, 4.0, 1.0, 24
    B = a**2 * (outer - inner) / (outer + inner)
    of = wos.Problem(polygon(1, 100), dirichlet=0.0, diffusion=wos.Regions(outer, [(polygon(a, M), inner)])).operator(
        X := rng.uniform(-0.65, 0.65, (60, 2)), wos.Walks(200, max_steps=20_000), rng=seed(rng)
    )
    r2 = (X**2).sum(axis=1)
    u = X[:, 0] * np.where(r2 > a**2, 1 + B / r2, 1 + B / a**2)
    value, stderr = of.solve(lambda Y: Y[:, 0] * (1 + B / (Y**2).sum(axis=1)))
    z = (value - u) / np.hypot(stderr, 0.01)
    assert abs(z).max() < 6
    assert (z**2).mean() < 2


@pytest.mark.slow
def test_two_parts_and_a_hole(best_backend, rng):
    """Constants are exact, points in the hole are outside, and matrices act on the vertices of the domain."""
    parts = [(wos.Polygon(0.1 * SQUARE + at), alpha) for at, alpha in (([0.1, 0.1], 5.0), ([-0.5, 0.2], 0.2))]
    domain = wos.Polygon(OUTER.vertices, [0.2 * SQUARE - 0.6])
    problem = wos.Problem(domain, dirichlet=0.0, source=0.0, diffusion=wos.Regions(1.0, parts))
    with pytest.warns(RuntimeWarning, match="1 point lies outside"):
        of = problem.operator([[0.15, 0.15], [-0.45, 0.25], [0.5, -0.5], [-0.5, -0.5]], 40, rng=1)
    assert of.outside.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(of.solve(2.0).value[:3], 2.0)
    assert np.isnan(of.solve(2.0).value[3])
    np.testing.assert_allclose((of.per_vertex() @ np.ones(8))[:3], 1)
    assert (of.solve(0.0, 1.0).value[:3] > 0).all()
    again = pickle.loads(pickle.dumps(problem)).operator([[0.15, 0.15], [-0.45, 0.25]], 40, rng=1)
    np.testing.assert_array_equal(again.solve(0.0, 1.0).value, of.solve(0.0, 1.0).value[:2])


def test_cut_off(best_backend):
    of = wos.Problem(OUTER, dirichlet=0.0, diffusion=wos.Regions(1.0, [(CORE, 50.0)])).operator(
        [0.0, 0.0], wos.Walks(50, max_steps=3), rng=1
    )
    assert of.n_truncated.tolist() == [50]
    np.testing.assert_allclose(wos.signed_distance(OUTER, of.boundary_points), 0, atol=1e-6)


def test_refused(rng):
    def stated(parts, boundary=OUTER, outside=1.0, **more):
        return wos.Problem(boundary, dirichlet=0.0, diffusion=wos.Regions(outside, parts), **more)

    core, small = (CORE, 2.0), (wos.Polygon(0.3 * SQUARE), 2.0)
    check_refused([
        (lambda: stated([core]).solve([0.0, 0.0]), NotImplementedError, r"supported only by operators; use operator\(points, walks\)"),
        (lambda: stated([core]).labels([[0.0, 0.0]]).epoch(), NotImplementedError, "supported only by operators"),
        (lambda: stated([core, small]), ValueError, r"parts\[1\] of diffusion touches or crosses parts\[0\]; it must be outside it"),
        (lambda: stated([small, core]), ValueError, r"parts\[0\] of diffusion touches or crosses parts\[1\]"),
        (lambda: stated([(OUTER, 2.0)]), ValueError, "touches or crosses the boundary; it must be inside it"),
        (lambda: stated([core], wos.Ball([0, 0], 1.0)), ValueError, "requires the inside of a single Polygon"),
        (lambda: stated([core], exterior=True), ValueError, "requires the inside of a single Polygon"),
        (lambda: stated([core], screening=1.0), ValueError, "cannot be combined with neumann, robin or screening yet"),
        (lambda: stated([core], neumann=(np.arange(4) == 0, 0.0)), ValueError, "cannot be combined with neumann"),
        (lambda: stated([(wos.Polygon([SQUARE]), 1.0)]), ValueError, "expected one polygon without holes"),
        (lambda: stated([(CORE, 0.0)]), ValueError, r"parts\[0\] is 0.0, expected"),
        (lambda: stated([core], outside=-1.0), ValueError, "outside is -1.0, expected"),
        (lambda: stated([CORE]), TypeError, r"parts\[0\] is Polygon\(4 segments\), expected \(Polygon, value\)"),
        (lambda: stated([]), TypeError, "expected a list of"),
    ])  # fmt: skip
    assert repr(wos.Regions(1.0, [core])) == "Regions(1.0, [(Polygon(4 segments), 2.0)])"
