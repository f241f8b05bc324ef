"""Backend "array" against the host's: fields of distances, the outside of a boundary, points that are not finite, many pieces."""

from itertools import product

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.query import composition, composition_solids
from wos.ops import along, along_vjp, balls, place
from wos.query import oracle


def field(rng, d):
    """Values between which interpolation is no distance, negative inside, in a box."""
    values = np.pad(rng.uniform(-1, -0.5, rng.integers(2, 5, d)), 1, constant_values=1.0)
    lo = rng.standard_normal(d)
    return wos.SDF(values, (lo, lo + rng.uniform(1, 2, d))), lo


def ball_field(d):
    """Of a ball around 0, whose closest points are found in a few steps."""
    x = np.stack(np.meshgrid(*[np.linspace(-1.3, 1.4, 30 + k) for k in range(d)], indexing="ij"), axis=-1)
    return wos.SDF(np.linalg.norm(x, axis=-1) - 1, ([-1.3] * d, [1.4] * d))


def near(got, expected, limit=1e-12):
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("d", [2, 3])
def test_fields(d, rng):
    sdf, lo = field(rng, d)
    q = lo + rng.uniform(-0.2, 2.2, (200, d))  # beyond the box too
    near(wos.signed_distance(sdf, q, backend="array"), wos.signed_distance(sdf, q))
    inside = wos.contains(sdf, q)
    assert inside.any()
    np.testing.assert_array_equal(wos.contains(sdf, q, backend="array"), inside)


@pytest.mark.parametrize("d", [2, 3])
def test_closest_points_of_a_field(d, rng):
    sdf, q = ball_field(d), rng.uniform(-1.6, 1.6, (300, d))
    q = q[np.linalg.norm(q, axis=1) > 0.5]  # at the centre slopes turn round
    got, expected = (wos.closest_point(sdf, q, backend=b) for b in ("array", None))
    for g, e in zip(got[:3], expected[:3]):
        near(g, e, 1e-9)


def test_functions_are_refused(rng):
    row = np.zeros((1, 2 + 4 * 3))
    with pytest.raises(NotImplementedError, match=r"wos.inside: backend .array. calls no compiled function of distances"):
        composition.inside(np, rng.standard_normal((4, 3)), np.ones((1, 4)), row, np.array([0, 1]), True)
    assert composition_solids.is_solid(row, 3)


@pytest.mark.parametrize(("shape", "outside"), [*product(["ball", "box", "mesh"], [False, True]), ("field", False), ("polygon", False)])
def test_where_walks_start(shape, outside, rng):
    """Beyond the boundary and within epsilon of it, from either side."""
    d = 2 if shape == "polygon" else 3
    boundary = {
        "ball": lambda: wos.Ball([0.0] * 3, 1.0),
        "box": lambda: wos.Box([-1.0] * 3, [1.0, 2.0, 3.0]),
        "field": lambda: ball_field(3),
        "mesh": lambda: wos.TriangleMesh(*oracle.icosphere(1)),
        "polygon": lambda: wos.Polygon(np.array([[0.0, 0.0], [2.0, 0.1], [0.5, 1.0]])),
    }[shape]()
    frame = np.concatenate([boundary._centre, boundary._extent[:, None], [[0.1]]], axis=1)
    points = frame[0, :d] + frame[0, d] * rng.uniform(-0.8, 0.8, (400, d))
    arrays = (points, frame, *boundary._arrays_of("numpy"))
    got, expected = (place(*arrays, outside=outside, grids=boundary._memo_of("numpy"), backend=b) for b in ("array", None))
    assert np.isnan(expected).any()
    assert np.isfinite(expected).any()
    moved = (np.abs(expected - (points - frame[0, :d]) / frame[0, d]) > 1e-9).any()
    assert moved or shape == "box"
    near(got, expected, 1e-9)
    start = expected[np.isfinite(expected[..., 0])][None]
    if not outside and shape in ("field", "ball", "box"):
        near(balls(start, frame, *arrays[2:], screening=3.0, backend="array"), balls(start, frame, *arrays[2:], screening=3.0))


def test_what_is_not_finite(rng):
    mesh = wos.TriangleMesh(*oracle.icosphere(1))
    frame = np.concatenate([mesh._centre, mesh._extent[:, None]], axis=1)
    points = rng.uniform(-1, 1, (5, 3))
    points[1, 2], points[3, 0] = np.nan, np.inf
    bad = np.isin(np.arange(5), (1, 3))[None]
    distance, at, k, weights = composition.nearest(np, points, frame, *mesh._arrays_of("numpy"), True, True, True, True)
    for a in (distance, at[..., 0], weights[..., 0]):
        np.testing.assert_array_equal(np.isnan(a), bad)
    np.testing.assert_array_equal(k == -1, bad)
    contains = composition.inside(np, points, frame, *mesh._arrays_of("numpy"), True)
    assert not contains[bad].any()


def test_pieces_do_not_show(rng, monkeypatch):
    mesh, q = wos.TriangleMesh(*oracle.icosphere(2, 0.1)), rng.uniform(-1, 1, (50, 3))
    whole = wos.closest_point(mesh, q, backend="array"), wos.contains(mesh, q, backend="array")
    monkeypatch.setattr(composition, "LIVE", 2**24 // 320 // 7)  # seven points of 320 triangles at a time
    cut = wos.closest_point(mesh, q, backend="array"), wos.contains(mesh, q, backend="array")
    for a, b in zip((*whole[0], whole[1]), (*cut[0], cut[1])):
        np.testing.assert_array_equal(a, b)


def test_along(rng):
    points, value, slope = rng.standard_normal((2, 3, 2)), rng.standard_normal((2, 3)), rng.standard_normal((2, 3, 2))
    grad = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]])
    slope[0, 1] = np.nan  # of a walk whose gradient is not known, and not asked for
    got = along(points, value, slope=lambda: slope, backend="array")
    np.testing.assert_array_equal(got, value)
    for g, e in zip(*(along_vjp(points, value, grad, slope=lambda: slope, backend=b) for b in ("array", None))):
        np.testing.assert_array_equal(g, e)
