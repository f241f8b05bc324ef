"""Fields of signed distances: queries, closed forms within their error bars, a wrong lipschitz shows, the same bits, bad input."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.solid.oracle import harmonic_quadratic, quadratic
from wos.walk import oracle
from wos.walk.oracle import disc_points, gates, seed

CENTER, RADIUS = np.array([0.1, -0.2, 0.15]), 1.1


def nodes(lo, hi, sizes):
    return np.stack(np.meshgrid(*(np.linspace(a, b, n) for a, b, n in zip(lo, hi, sizes)), indexing="ij"), axis=-1)


def ball_field(d, n=None, factor=1.0, dtype=np.float64):
    """Of a ball, in a box whose sides and numbers of nodes are all different."""
    lo, hi = np.array([-1.4, -1.5, -1.3])[:d], np.array([1.5, 1.3, 1.6])[:d]
    sizes = np.array([n or (401 if d == 2 else 121)] * d) + np.arange(d)
    phi = np.linalg.norm(nodes(lo, hi, sizes) - CENTER[:d], axis=-1) - RADIUS
    return (factor * phi).astype(dtype), (lo, hi)


def sizes(backend):
    return (200, 2048) if backend == "native" else (30, 1024)


@pytest.mark.parametrize("d", [2, 3])
def test_queries(d, backend, rng):
    values, box = ball_field(d)
    sdf, q = wos.SDF(values, box), rng.uniform(*box, (500, d))
    q = q[np.linalg.norm(q - CENTER[:d], axis=1) > 0.1]  # at the centre the field has a kink
    r = np.linalg.norm(q - CENTER[:d], axis=1)
    h = 2.9 / (400 if d == 2 else 120)
    near = h * h / 0.1  # of the interpolation, of second derivatives up to 10
    distance, point, primitive, weights = wos.closest_point(sdf, q)
    np.testing.assert_allclose(wos.signed_distance(sdf, q), r - RADIUS, rtol=0, atol=near)
    np.testing.assert_allclose(distance, np.abs(r - RADIUS), rtol=0, atol=near)
    np.testing.assert_allclose(np.linalg.norm(point - CENTER[:d], axis=1), RADIUS, rtol=0, atol=near)
    clear = np.abs(r - RADIUS) < 0.5  # there slopes, which are those of cells, are off by h / 0.6 at most
    assert np.abs(point - (CENTER[:d] + RADIUS * (q - CENTER[:d]) / r[:, None]))[clear].max() < 0.5 * h / 0.6 + near
    sure = np.abs(r - RADIUS) > near
    np.testing.assert_array_equal(wos.contains(sdf, q)[sure], r[sure] < RADIUS)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


def test_the_field_is_linear_between_nodes(backend, rng):
    values = np.pad(rng.uniform(-1, -0.5, (3, 4)), 1, constant_values=1.0)
    box = (np.array([1.0, -2.0]), np.array([3.0, 1.0]))
    q = rng.uniform(*box, (300, 2))
    np.testing.assert_allclose(wos.signed_distance(wos.SDF(values, box), q), oracle.grid(q, values, *box), rtol=0, atol=1e-13)


def test_faces_on_nodes(backend, rng):
    """A rectangle whose sides are lines of nodes is that rectangle; its field has kinks along the diagonals."""
    n, W = sizes(backend)
    x = nodes([-1, -1], [1, 1], [41, 41])
    outside = np.abs(x) - [0.8, 0.5]
    phi = np.where((outside > 0).any(-1), np.linalg.norm(np.maximum(outside, 0), axis=-1), outside.max(-1))
    X = rng.uniform([-0.78, -0.48], [0.78, 0.48], (n, 2))
    A, b, c = harmonic_quadratic(rng, 2)
    r = wos.solve(wos.SDF(phi, ([-1, -1], [1, 1])), X, dirichlet=wos.Polynomial(c), walks=W, epsilon=1e-5, rng=seed(rng))
    assert gates(r.value, r.stderr, quadratic(A, b, X)) == []


def test_lipschitz(backend, rng):
    """A field three times as steep with lipschitz=3 walks as the field itself; without it, balls reach out of the domain."""
    n, W = sizes(backend)
    X = CENTER[:2] + disc_points(rng, n, 0.9 * RADIUS)
    run = {"dirichlet": lambda Y: Y[:, 0], "source": 1.0, "walks": W, "epsilon": 1e-5, "rng": seed(rng)}
    (values, box), (steep, _) = ball_field(2), ball_field(2, factor=3.0)
    a, b = wos.solve(wos.SDF(values, box), X, **run), wos.solve(wos.SDF(steep, box, lipschitz=3.0), X, **run)
    close = np.isclose(a.value, b.value, rtol=0, atol=1e-3)
    assert close.mean() > 0.9
    truth = X[:, 0] + oracle.torsion_ball(X - CENTER[:2], RADIUS)
    assert gates(b.value, b.stderr, truth) == []
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        wrong = wos.solve(wos.SDF(steep, box), X, **run)
    assert gates(wrong.value, wrong.stderr, truth) != []


# ---------------------------------------------------------------- functions


def ball_function(d):
    return lambda X: np.sqrt(((X - CENTER[:d]) ** 2).sum(axis=1)) - RADIUS


@pytest.mark.parametrize("d", [2, 3])
def test_queries_of_a_function(d, backend, rng):
    """Far from the boundary too: the projection of a true distance is the closest point."""
    sdf, q = wos.SDF(ball_function(d), ball_field(d, 9)[1]), rng.uniform(-1.2, 1.2, (4, 50, d))
    q = q[np.linalg.norm(q - CENTER[:d], axis=-1) > 0.01]
    r = np.linalg.norm(q - CENTER[:d], axis=1)
    distance, point, primitive, weights = wos.closest_point(sdf, q)
    np.testing.assert_allclose(distance, np.abs(r - RADIUS), rtol=0, atol=1e-14)
    np.testing.assert_allclose(point, CENTER[:d] + RADIUS * (q - CENTER[:d]) / r[:, None], rtol=0, atol=1e-6)
    np.testing.assert_allclose(wos.signed_distance(sdf, q), r - RADIUS, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(wos.contains(sdf, q), r < RADIUS)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


def sphere(X):
    return np.sqrt((X**2).sum(axis=1)) - 1


def test_bad_functions(backend):
    box = ([-1.5] * 2, [1.5] * 2)

    def sometimes(X):
        if len(X) < 1000:
            raise KeyError("mine")
        return sphere(X)

    with pytest.raises(KeyError, match="mine"):
        wos.solve(wos.SDF(sometimes, box), np.zeros((1, 2)), dirichlet=1.0)
    X = np.array([[0.5, 0.0]])  # a field that is too steep: walks leave its box, end there and are counted
    with pytest.warns(RuntimeWarning, match="n_escaped"):
        r = wos.solve(wos.SDF(lambda X: np.minimum(100 * sphere(X), 1.0), box), X, dirichlet=1.0, walks=100, rng=1)
    assert r.value[0] == 1
    assert r.n_escaped[0] > 0


@pytest.mark.torch
def test_tensors(backend, rng):
    torch = pytest.importorskip("torch")
    values, box = ball_field(2, 33)
    sdf = wos.SDF(torch.tensor(values), box)
    X = CENTER[:2] + disc_points(rng, 5, 0.9)
    a = wos.solve(sdf, torch.tensor(X), dirichlet=lambda Y: Y[:, 0], walks=8, rng=1)
    b = wos.solve(wos.SDF(values, box), X, dirichlet=lambda Y: Y[:, 0], walks=8, rng=1)
    np.testing.assert_array_equal(a.value.numpy(), b.value)
    with pytest.raises(NotImplementedError, match="no gradient in values"):
        wos.SDF(torch.tensor(values, requires_grad=True), box)


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    lines = np.concatenate(wos.SDF(*ball_field(2, 81)).plot().collections[0].get_segments())
    np.testing.assert_allclose(np.linalg.norm(lines - CENTER[:2], axis=1), RADIUS, atol=2e-3)
    with pytest.raises(ValueError, match="plot: an SDF in space has no lines to draw"):
        wos.SDF(*ball_field(3, 9)).plot()
