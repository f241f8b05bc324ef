"""Closest points and distances as users call them: shapes, array types, points near edges and vertices, backend "array"."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil.wos.query import composition
from wos.domains import SQUARE
from wos.ops import along, along_vjp
from wos.query import oracle
from wos.walk.oracle import directions


@pytest.mark.parametrize("lead", [(), (1,), (7,), (2, 3), (3, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(best_backend, lead, dtype, rng):
    solids = wos.Ball([0, 0, 0], 1), wos.Ball([0, 0], 2.0), wos.Box([-0.5, 0.0], [0.5, 1.0]), wos.Box([0.0] * 7, [1.0] * 7)
    for boundary in (wos.Polygon(SQUARE), wos.TriangleMesh(*oracle.tetrahedron()), *solids):
        d = boundary.dimension
        q = rng.uniform(-1, 1, (*lead, d)).astype(dtype)
        closest, inside, signed = wos.closest_point(boundary, q), wos.contains(boundary, q), wos.signed_distance(boundary, q)
        weights = None if boundary in solids else ((*lead, d), dtype)
        expected = [(lead, dtype), ((*lead, d), dtype), (lead, np.int64), weights, (lead, bool), (lead, dtype)]
        assert [x if x is None else (x.shape, x.dtype) for x in (*closest, inside, signed)] == expected
        np.testing.assert_array_equal(np.abs(signed), closest.distance)
        np.testing.assert_array_equal(signed < 0, inside)
        if q.size > d:
            strided = np.asfortranarray(q)[..., ::-1, :]
            np.testing.assert_array_equal(wos.closest_point(boundary, strided)[0], closest.distance[..., ::-1])


V, F = oracle.icosphere(1)
BALL = wos.TriangleMesh(V, F)
RINGS = [SQUARE, SQUARE[:3]]
CONVERTED = {  # what functions accept instead of a boundary
    "V and F": ((V, F), BALL),
    "lists": ([V.tolist(), F.tolist()], BALL),
    "corners": (V[F], BALL),
    "trimesh": (SimpleNamespace(vertices=V, faces=F), BALL),
    "pyvista": (SimpleNamespace(points=V, faces=np.insert(F, 0, 3, axis=1).reshape(-1)), BALL),
    "Open3D": (SimpleNamespace(vertices=list(V), triangles=list(F)), BALL),
    "gaps": ((V, F[1:]), wos.TriangleMesh(V, F[1:], watertight=False)),
    "outline": (SQUARE, wos.Polygon(SQUARE)),
    "outline as a list": (SQUARE.tolist(), wos.Polygon(SQUARE)),
    "one outline": (SQUARE[None], wos.Polygon(SQUARE[None])),
    "outlines": (RINGS, wos.Polygon(RINGS)),
    "outlines as lists": ([ring.tolist() for ring in RINGS], wos.Polygon(RINGS)),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_shapes_are_converted_to_boundaries(name, best_backend, rng):
    shape, boundary = CONVERTED[name]
    q = 1.5 * directions(rng, 20, boundary.dimension) * rng.random((20, 1))
    np.testing.assert_array_equal(wos.contains(shape, q), wos.contains(boundary, q))
    for mine, theirs in zip(wos.closest_point(shape, q), wos.closest_point(boundary, q)):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(wos.signed_distance(shape, q, gradient=True), wos.signed_distance(boundary, q, gradient=True)):
        np.testing.assert_array_equal(mine, theirs)


def test_a_file_is_a_boundary(best_backend, rng, tmp_path):
    meshio = pytest.importorskip("meshio")
    meshio.write(tmp_path / "ball.stl", meshio.Mesh(V, [("triangle", F)]))
    q = directions(rng, 5)
    np.testing.assert_allclose(wos.signed_distance(tmp_path / "ball.stl", q), wos.signed_distance((V, F), q), atol=1e-6)


TURNED = SQUARE[::-1] * [1, 0.5]
SHAPES = {
    "polygons": wos.Polygon([SQUARE, TURNED]),
    "mesh": wos.TriangleMesh(*oracle.icosphere(2)),
    "inside out": wos.TriangleMesh(oracle.icosphere(2)[0], oracle.icosphere(2)[1][:, ::-1]),
    "ball": wos.Ball([0.0] * 4, 0.7),
    "box": wos.Box([0.0, -0.5, 0.1], [1.0, 2.0, 0.5]),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_distances(name, dtype, best_backend, rng):
    """Gradients agree with finite differences. On the boundary they are the outward normals of facets."""
    boundary, h = SHAPES[name], 1e-2 if dtype == np.float32 else 1e-5
    q = rng.uniform(-1, 2, (200, boundary.dimension)).astype(dtype)
    distance, slope = wos.signed_distance(boundary, q, gradient=True)
    np.testing.assert_array_equal(distance, wos.signed_distance(boundary, q))
    assert slope.dtype == dtype
    np.testing.assert_allclose((slope**2).sum(axis=-1), 1, atol=1e-4 if dtype == np.float32 else 1e-11)
    for k, step in enumerate(h * np.eye(boundary.dimension, dtype=dtype)):
        difference = wos.signed_distance(boundary, q + step) - wos.signed_distance(boundary, q - step)
        kinks = np.abs(difference / (2 * h) - slope[..., k]) > 0.05
        assert kinks.mean() < 0.1  # kinks, where the closest facet changes within h
    if name in ("mesh", "inside out", "polygons"):
        corners = boundary._ends[: boundary._first[1]].reshape(-1, boundary.dimension, boundary.dimension)
        middle = corners.mean(axis=1).astype(dtype)
        normal = wos.signed_distance(boundary, middle, gradient=True)[1]
        normal = normal[0] if name == "polygons" else normal
        outward = middle - 0.5 if name == "polygons" else middle
        assert ((normal * outward).sum(axis=1) > 0).all()
        edges = corners[:, 1] - corners[:, 0]
        np.testing.assert_allclose((normal * edges).sum(axis=1), 0, atol=1e-6)


def test_gradients_of_tensors_and_their_errors(rng):
    torch = pytest.importorskip("torch")
    mesh, q = SHAPES["mesh"], torch.tensor(rng.uniform(-1, 1, (5, 2, 3)), requires_grad=True)
    distance, slope = wos.signed_distance(mesh, q, gradient=True)
    (distance**2).sum().backward()
    np.testing.assert_allclose(q.grad, 2 * (distance[..., None] * slope).detach(), rtol=1e-14)
    plain = wos.signed_distance(mesh, q.detach())
    assert torch.equal(distance.detach(), plain)
    assert not plain.requires_grad
    with pytest.raises(ValueError, match="got both out and gradient=True"):
        wos.signed_distance(mesh, q.detach(), out=plain, gradient=True)
    with pytest.raises(TypeError, match="gradient is 1, expected True or False"):
        wos.signed_distance(mesh, q.detach(), gradient=1)
    for boundary in (SHAPES["mesh"], SHAPES["inside out"], SHAPES["polygons"]):  # on the boundary
        middle = boundary._ends[: boundary._first[1]].reshape(-1, boundary.dimension, boundary.dimension).mean(axis=1)
        expected = wos.signed_distance(boundary, middle, gradient=True)[1]
        np.testing.assert_array_equal(wos.signed_distance(boundary, torch.from_numpy(middle), gradient=True)[1], expected)


def test_results_in_the_callers_memory(backend, rng):
    mesh, q = wos.TriangleMesh(*oracle.tetrahedron()), rng.uniform(-1, 1, (4, 5, 3))
    for function, dtype in ((wos.signed_distance, float), (wos.contains, bool)):
        expected, out = function(mesh, q), np.empty((4, 5), dtype)
        assert function(mesh, q, out=out) is out
        np.testing.assert_array_equal(out, expected)
        for bad, error, text in (
            (np.empty((5, 4), dtype), ValueError, r"out has shape \(5, 4\), expected \(4, 5\)"),
            (np.empty((4, 5), np.int64), TypeError, "out is a numpy array of int64"),
            (np.empty((5, 4), dtype).T, ValueError, "out must be C-contiguous"),
        ):
            with pytest.raises(error, match=text):
                function(mesh, q, out=bad)


def test_primitives_of_polygons_with_holes(backend):
    polygon = wos.Polygon(SQUARE * 4, holes=[SQUARE[::-1] + 1])
    q = np.array([[2.0, 0.1], [3.9, 3.0], [1.5, 1.2], [1.9, 1.5], [1.5, 0.9]])
    closest = wos.closest_point(polygon, q)
    distance, point, primitive, weights = closest
    assert closest._fields == ("distance", "point", "primitive", "barycentric")
    np.testing.assert_allclose(distance, [0.1, 0.1, 0.2, 0.1, 0.1], atol=1e-15)
    np.testing.assert_array_equal(wos.contains(polygon, q), [True, True, False, False, True])
    np.testing.assert_array_equal(primitive[:2], [0, 1])
    assert (primitive[2:] >= 4).all()
    vertices = np.concatenate([SQUARE * 4, SQUARE[::-1] + 1])
    ends = np.stack([vertices, np.concatenate([np.roll(vertices[:4], -1, axis=0), np.roll(vertices[4:], -1, axis=0)])], axis=1)
    np.testing.assert_allclose((weights[..., None] * ends[primitive]).sum(axis=1), point, atol=1e-15)


@pytest.mark.parametrize("thickness", [1e-1, 1e-4, 1e-7, 1e-11])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slivers(best_backend, thickness, dtype, rng):
    """Thin triangles: the distance loses no digits to their small heights."""
    V, F = oracle.needles(rng, 7, thickness)
    mesh = wos.TriangleMesh(V, F)
    k, w = rng.integers(len(F), size=200), rng.dirichlet([1, 1, 1], 200)
    near = (w[..., None] * V[F[k]]).sum(axis=1) + 10.0 ** rng.uniform(-9, -1, (200, 1)) * rng.standard_normal((200, 3))
    q = np.concatenate([near, rng.uniform(-1.5, 1.5, (200, 3))]).astype(dtype)
    # the oracle's faces lose digits if they have no height; its sides do not
    d2, _ = oracle.all_distances(V[F].reshape(-1, 9).astype(np.longdouble), q.astype(np.longdouble))
    distance = wos.closest_point(mesh, q)[0]
    assert np.abs(distance - np.sqrt(d2.min(axis=1))).max() < 16 * np.finfo(dtype).eps


def test_many_points_are_those_of_few(rng):
    """Distances do not depend on sorting, on the initial guess, or on whether there are more points than are sorted at once."""
    mesh, q = wos.TriangleMesh(*oracle.icosphere(2, 0.1)), rng.uniform(-1.2, 1.2, (70_000, 3)).astype(np.float32)
    distance, inside = wos.closest_point(mesh, q)[0], wos.contains(mesh, q)
    for part in (slice(40), slice(40, 41), slice(65_000, None)):
        np.testing.assert_allclose(wos.closest_point(mesh, q[part])[0], distance[part], atol=1e-7)
        np.testing.assert_array_equal(wos.contains(mesh, q[part]), inside[part])


@pytest.mark.parametrize("closed", [True, False])
def test_inside_near_edges_and_vertices(backend, closed, rng):
    """Points as close to vertices, edges and faces as float64 can distinguish, including in the direction of counting crossings."""
    V, F = oracle.icosphere(1)
    mesh = wos.TriangleMesh(V, F, watertight=closed)
    edges = V[F].mean(axis=1), (V[F[:, 0]] + V[F[:, 1]]) / 2, V
    for on in edges:
        for away in (1e-3, 1e-8, 1e-12):
            for factor, expected in ((1 - away, True), (1 + away, False)):
                np.testing.assert_array_equal(wos.contains(mesh, on * factor), expected)
    below = V * [1, 1, 0] * (1 - 1e-9)  # straight below and above vertices and edges of the equator
    z = np.array([0.0, 0.3, -0.2])
    q = (below[:, None] + z[:, None] * [0, 0, 1]).reshape(-1, 3)
    d2, _ = oracle.all_distances(V[F].reshape(-1, 9), q)
    clear = d2.min(axis=1) > 1e-20
    np.testing.assert_array_equal(wos.contains(mesh, q)[clear], oracle.contained(V[F].reshape(-1, 9), q)[clear])


@pytest.mark.parametrize("what", ["holes", "soup", "two shells", "sliver"])
def test_inside_by_winding_numbers(what, best_backend, rng):
    """Moments of distant clusters give the same results as the sum of all solid angles, even near gaps."""
    V, F = oracle.icosphere(3, 0.1)
    V = V + np.array([0.3, 0.0, -2.0])
    if what == "holes":
        F = F[rng.random(len(F)) < 0.8]
    elif what == "soup":
        V, F = rng.standard_normal((900, 1, 3)) + 0.3 * rng.standard_normal((900, 3, 3)), None
    elif what == "two shells":
        V, F = np.concatenate([V, 0.5 * (V - V.mean(axis=0)) + V.mean(axis=0)]), np.concatenate([F[40:], F[:, ::-1] + len(V)])
    else:
        V, F = V * np.array([1, 1e-3, 1]), F[3:]
    mesh = wos.TriangleMesh(V.reshape(-1, 3), np.arange(2700).reshape(-1, 3) if F is None else F, watertight=False)
    at = mesh._ends[rng.integers(len(mesh._ends), size=600)].reshape(-1, 3, 3)
    near = (at * rng.dirichlet([1, 1, 1], 600)[:, :, None]).sum(axis=1) + 0.02 * rng.standard_normal((600, 3))
    q = np.concatenate([near, mesh._centre + mesh._extent * rng.uniform(-0.6, 0.6, (600, 3))])
    expected = np.concatenate([oracle.contained(mesh._ends, part) for part in np.split(q, 12)])
    assert what == "sliver" or 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(wos.contains(mesh, q), expected)
    np.testing.assert_array_equal(wos.signed_distance(mesh, q) < 0, expected)


def test_inside_of_boxes_on_a_lattice(backend):
    """Every vertical line from a lattice point meets vertices, edges and face diagonals exactly."""
    mesh = wos.TriangleMesh(*oracle.cube())
    n = np.arange(-2, 11) / 8
    q = np.stack(np.meshgrid(n, n, n, indexing="ij"), axis=-1)
    on = ((q == 0) | (q == 1)).any(axis=-1)
    inside = ((q > 0) & (q < 1)).all(axis=-1)
    np.testing.assert_array_equal(wos.contains(mesh, q)[~on], inside[~on])
    np.testing.assert_array_equal(wos.contains(mesh, q)[on & ((q < 0) | (q > 1)).any(axis=-1)], False)


def test_surfaces_within_surfaces_and_far_points(backend, rng):
    V, F = oracle.icosphere(2)
    shells, x = wos.TriangleMesh(np.concatenate([V, 0.5 * V]), np.concatenate([F, F + len(V)])), directions(rng, 50)
    for r, expected in ((0.3, False), (0.7, True), (1.2, False)):
        np.testing.assert_array_equal(wos.contains(shells, r * x), expected)
    np.testing.assert_allclose(wos.signed_distance(shells, 0.01 * x), 0.49, atol=0.03)
    for far in (1e3, 1e8, 1e14, 1e20, 1e30):
        for dtype in (np.float32, np.float64):
            q = far * np.eye(3, dtype=dtype)
            np.testing.assert_allclose(wos.closest_point(shells, q)[0], far, rtol=max(2 / far, 1e-6))
            assert not wos.contains(shells, q).any()


@pytest.mark.torch
def test_tensors(backend):
    torch = pytest.importorskip("torch")
    V, F = oracle.icosphere(1)
    mesh, other = wos.TriangleMesh(torch.tensor(V), torch.tensor(F)), wos.TriangleMesh(V, F)
    q = torch.linspace(-1, 1, 30, dtype=torch.float64).reshape(10, 3)
    for a, b in zip(wos.closest_point(mesh, q), wos.closest_point(other, q.numpy())):
        assert isinstance(a, torch.Tensor)
        np.testing.assert_array_equal(a.numpy(), b)
    assert wos.contains(mesh, q).dtype == torch.bool
    np.testing.assert_array_equal(wos.contains(mesh, q.numpy()), wos.contains(other, q))
    with pytest.raises(NotImplementedError, match="no gradient with respect to q"):
        wos.closest_point(mesh, q.clone().requires_grad_())
    assert wos.contains(pickle.loads(pickle.dumps(mesh)), q).sum() == wos.contains(mesh, q).sum()
    for bad, text in (
        ((torch.tensor(V), F), "F is a numpy array but V is a torch array"), ((V, torch.tensor(F)), "F is a torch array but V"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=text):
            wos.TriangleMesh(*bad)
    with pytest.raises(NotImplementedError, match="no gradient with respect to V"):
        wos.TriangleMesh(torch.tensor(V, requires_grad=True), torch.tensor(F))


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


def test_along(rng):
    points, value, slope = rng.standard_normal((2, 3, 2)), rng.standard_normal((2, 3)), rng.standard_normal((2, 3, 2))
    grad = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]])
    slope[0, 1] = np.nan  # a walk with an unknown gradient, which is not requested
    got = along(points, value, slope=lambda: slope, backend="array")
    np.testing.assert_array_equal(got, value)
    for g, e in zip(*(along_vjp(points, value, grad, slope=lambda: slope, backend=b) for b in ("array", None))):
        np.testing.assert_array_equal(g, e)
