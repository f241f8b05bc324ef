"""Boxes, and balls of more than three dimensions: queries, closed forms within their error bars, the same bits, bad input."""

import numpy as np
import pytest

from quatrefoil import wos
from wos.solid import oracle
from wos.solid.oracle import points_in_box
from wos.walk.oracle import seed


def box_of(rng, d):
    lo = rng.standard_normal(d)
    return lo, lo + rng.uniform(0.7, 1.5, d)


# ---------------------------------------------------------------- queries


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 3, 4, 7])
def test_queries_of_a_box(d, dtype, backend, rng):
    lo, hi = box_of(rng, d)
    box = wos.Box(lo, hi)
    q = rng.uniform(lo - 1, hi + 1, (500, d)).astype(dtype)
    q = np.concatenate([q, points_in_box(rng, 200, lo, hi, 0.0).astype(dtype)]).reshape(7, 100, d)
    flat = q.reshape(-1, d).astype(float)
    signed, at = oracle.box_distance(lo, hi, flat)
    distance, point, face, weights = wos.closest_point(box, q)
    tolerance = 32 * np.finfo(dtype).eps  # coordinates of size 4
    assert distance.shape == face.shape == (7, 100)
    assert distance.dtype == point.dtype == dtype
    assert weights is None
    np.testing.assert_allclose(distance.reshape(-1), np.abs(signed), rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(flat - point.reshape(-1, d), axis=1), np.abs(signed), rtol=0, atol=tolerance)
    np.testing.assert_allclose(wos.signed_distance(box, q).reshape(-1), signed, rtol=0, atol=tolerance)
    sure = np.abs(signed) > tolerance
    np.testing.assert_array_equal(wos.contains(box, q).reshape(-1)[sure], signed[sure] < 0)
    k = face.reshape(-1)
    np.testing.assert_allclose(
        point.reshape(-1, d)[np.arange(700), k // 2], np.where(k % 2, hi[k // 2], lo[k // 2]), rtol=0, atol=tolerance
    )
    d2 = np.sort(np.minimum(np.abs(flat - lo), np.abs(flat - hi)), axis=1)
    clear = (signed < 0) & (d2[:, 1] - d2[:, 0] > 1e-5)
    np.testing.assert_allclose(point.reshape(-1, d)[clear], at[clear], rtol=0, atol=tolerance)


@pytest.mark.parametrize("d", [4, 7])
def test_queries_of_a_ball_of_many_dimensions(d, backend, rng):
    ball = wos.Ball(rng.standard_normal(d), 1.5)
    q = ball.center + rng.standard_normal((50, d))
    r = np.linalg.norm(q - ball.center, axis=1)
    distance, point, primitive, weights = wos.closest_point(ball, q)
    np.testing.assert_allclose(distance, np.abs(r - 1.5), atol=1e-14)
    np.testing.assert_allclose(point, ball.center + 1.5 * (q - ball.center) / r[:, None], atol=1e-14)
    np.testing.assert_array_equal(wos.contains(ball, q), r < 1.5)
    np.testing.assert_array_equal(primitive, 0)
    assert weights is None


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize("d", [4, 5, 6, 7, 12, 25])
def test_green_functions(d, rng):
    """(21), (22) against Bessel functions."""
    pytest.importorskip("numba")
    from quatrefoil.wos.walk._numba_wide import source_weight_wide

    for s in (1e-3, 0.2, 0.6, 0.95, float(rng.uniform(0.01, 1))):
        for z in (1e-3, 0.4, 2.0, float(rng.uniform(0, 2))):
            # 1 - s^(d - 2) and what it divides cancel as s tends to 1
            np.testing.assert_allclose(source_weight_wide(d, s, z * z), oracle.source_weights(d, s, z), rtol=1e-12)


def test_directions_are_uniform(backend, rng):
    """One step from the middle of a ball: the ends have the moments of a uniform unit vector."""
    d, W = 7, 20_000
    ends = []

    def g(Y):
        ends.append(Y.copy())
        return Y[:, 0]

    wos.solve(wos.Ball([0.0] * d, 1.0), np.zeros((1, d)), dirichlet=g, walks=W, epsilon=1e-6, rng=seed(rng))
    n = np.concatenate(ends)[:W]
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1, atol=1e-12)
    products = n.T @ n / W  # of mean 1 / d, variances 2 (d - 1) / (d^2 (d + 2)) and 1 / (d (d + 2))
    assert np.abs(n.mean(axis=0)).max() < 7 / np.sqrt(d * W)
    assert np.abs(products - np.eye(d) / d).max() < 7 * np.sqrt(2 * (d - 1) / (d * d * (d + 2)) / W)
    assert np.abs((n**4).mean(axis=0) - 3 / (d * (d + 2))).max() < 7 * np.sqrt(105 / (d * (d + 2) * (d + 4) * (d + 6)) / W)


# ---------------------------------------------------------------- the same bits


# ---------------------------------------------------------------- bad input and the like


@pytest.mark.parametrize("d", [2, 3, 5])
def test_points_outside_and_on_the_boundary(d, backend, rng):
    box = wos.Box([0.0] * d, [1.0] * d)
    X = np.full((4, d), 0.5)
    X[1, 0], X[2, 0], X[3, -1] = 1.5, 1.0, 1 + 1e-5
    g = lambda Y: Y.sum(axis=1)  # noqa: E731
    with pytest.warns(RuntimeWarning, match="1 points lie outside the boundary"):
        r = wos.solve(box, X, dirichlet=g, walks=20, rng=1)
    np.testing.assert_array_equal(np.isnan(r.value), [False, True, False, False])
    np.testing.assert_allclose(r.value[2:], 1 + 0.5 * (d - 1), atol=1e-6)
    np.testing.assert_array_equal(r.stderr[2:], 0)
    np.testing.assert_array_equal(r.n_walks, [20, 0, 20, 20])
    with pytest.raises(ValueError, match=r"points\[0, 1\] is nan"):
        wos.solve(box, np.where(np.arange(d) == 1, np.nan, 0.5)[None], dirichlet=1.0)
    assert wos.solve(box, np.zeros((0, d)), dirichlet=1.0).value.shape == (0,)


def test_plot_of_a_box():
    pytest.importorskip("matplotlib").use("Agg")
    square = wos.Box([0, 0], [2, 1]).plot().collections[0].get_segments()
    assert len(square) == 4
    np.testing.assert_allclose(np.sort(np.concatenate(square), axis=0), np.repeat([[0, 0], [2, 1]], 4, axis=0))
    assert wos.Box([0, 0, 0], [1, 1, 1]).outline(0).shape == (12, 2, 3)
    with pytest.raises(ValueError, match="in 4 dimensions, expected 2 or 3"):
        wos.Box([0.0] * 4, [1.0] * 4).plot()
