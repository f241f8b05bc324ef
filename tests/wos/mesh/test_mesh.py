"""Meshes as users have them: gaps, files, errors. Distances used by walks, compared with brute force."""

import sys

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import needs_native
from wos.query import oracle
from wos.query.oracle import icosphere, tetrahedron
from wos.walk.oracle import coordinate_sum, disc_points, same, seed

V, F = tetrahedron()


def test_gaps():
    """Duplicated vertices are not treated as gaps."""
    q = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    across = np.outer([0.1, 0.3, 0.36, 0.5], [1, 1, 1])  # through the centre of the missing face, at 1/3
    np.testing.assert_array_equal(wos.contains(wos.TriangleMesh(V, F[1:], watertight=False), across), [True, True, False, False])
    assert wos.TriangleMesh(V, F, watertight=None).watertight
    assert not wos.TriangleMesh(V, F[1:], watertight=None).watertight
    v, f = icosphere(2)
    for mesh in (
        wos.TriangleMesh(V[F].reshape(-1, 3), np.arange(12).reshape(4, 3)),
        wos.TriangleMesh(v, f[:-20], watertight=False),
        wos.TriangleMesh(v, f[:, ::-1].copy(), watertight=False),
    ):
        np.testing.assert_array_equal(wos.contains(mesh, q), [True, False])


def test_degenerate_triangles_are_dropped(backend):
    flat = np.array([[0, 0, 1], [2, 2, 2], [0, 2, 4], [0, 4, 2]])  # two triangles that are points, two that are segments
    v = np.concatenate([V, [(V[0] + V[2]) / 2]])
    with pytest.warns(RuntimeWarning, match="TriangleMesh: 4 triangles of zero area are ignored"):
        mesh = wos.TriangleMesh(v, np.concatenate([flat[:2], F, flat[2:]]))
    np.testing.assert_array_equal(mesh.triangles, F)
    q = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.testing.assert_array_equal(wos.signed_distance(mesh, q), wos.signed_distance(wos.TriangleMesh(V, F), q))


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "off"])
def test_files(tmp_path, suffix):
    meshio = pytest.importorskip("meshio")
    v, f = icosphere(1, 0.1)
    path = tmp_path / f"ball.{suffix}"
    meshio.write_points_cells(path, v.astype(np.float32), [("triangle", f)])
    mesh = wos.TriangleMesh.from_file(path)
    assert mesh.vertices.shape == v.shape  # an STL file has three vertices per triangle
    q = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.testing.assert_allclose(wos.signed_distance(mesh, q), wos.signed_distance(wos.TriangleMesh(v, f), q), atol=1e-6)
    if suffix != "stl":
        np.testing.assert_allclose(mesh.vertices, v, atol=1e-6)


def test_quadrilaterals_in_files(tmp_path, monkeypatch):
    pytest.importorskip("meshio")
    box = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    faces = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
    (tmp_path / "box.obj").write_text(box + faces)
    mesh = wos.TriangleMesh(str(tmp_path / "box.obj"))
    assert len(mesh.triangles) == 12
    np.testing.assert_allclose(wos.signed_distance(mesh, np.array([[0.5, 0.5, 0.25], [0.5, 0.5, 2.0]])), [-0.25, 1.0])
    (tmp_path / "open.obj").write_text(box + faces[: faces.rindex("f")])
    with pytest.raises(ValueError, match="not closed"):
        wos.TriangleMesh.from_file(tmp_path / "open.obj")
    for name in ("none.stl", "none.ply", "none.other"):
        with pytest.raises(FileNotFoundError, match=rf"TriangleMesh.from_file: no such file: .*{name}"):
            wos.TriangleMesh.from_file(tmp_path / name)
    assert len(wos.TriangleMesh.from_file(tmp_path / "open.obj", watertight=False).triangles) == 10
    monkeypatch.setitem(sys.modules, "meshio", None)
    with pytest.raises(ImportError, match=r"pip install 'quatrefoil\[mesh\]'"):
        wos.TriangleMesh.from_file("ball.ply")


@needs_native
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0, 1, 3, 5])
@pytest.mark.parametrize("name", ["ball", "needles", "tetrahedron"])
@pytest.mark.slow
def test_what_a_walk_sees(name, level, dtype, rng):
    """Bounds are positive and never too large. Near the surface, distance and triangle are exact. A second query gives the same bits."""
    from quatrefoil import _core

    shapes = {"ball": lambda: icosphere(3, 0.1), "needles": lambda: oracle.needles(rng, 9, 1e-4), "tetrahedron": tetrahedron}
    mesh = wos.TriangleMesh(*shapes[name]())
    ends = mesh._scaled_ends()
    X = rng.uniform(-0.5, 0.5, (999, 3)).astype(dtype)
    near = rng.integers(len(ends), size=500)
    X[:500] = (ends[near].reshape(-1, 3, 3) * rng.dirichlet([1, 1, 1], 500)[..., None]).sum(axis=1)
    X[:500] += rng.uniform(-1, 1, (500, 3)) * 10.0 ** rng.uniform(-6, -1, (500, 1))
    X[990:] *= 1.1  # some points outside the box
    compiled = _core.wos.Mesh(ends)
    results = [(np.empty(999, dtype), np.empty(999, np.int64)) for _ in range(2)]
    for radius, primitive in results:
        _core.wos.mesh_bounds(compiled, level, X, radius, primitive)
    radius, primitive = results[0]
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)
    d2, _ = oracle.all_distances(ends.astype(np.longdouble), X.astype(np.longdouble))
    distance, row = np.sqrt(d2.min(axis=1)), np.arange(999)
    tolerance = 8 * np.finfo(dtype).eps
    inside = (np.abs(X) < 0.5).all(axis=1)
    assert (radius <= distance + tolerance).all()
    exact = primitive >= 0
    assert exact[inside].any()
    assert np.abs(radius - distance)[exact].max() < tolerance
    assert np.abs(np.sqrt(d2[row, primitive]) - distance)[exact].max() < tolerance
    if level >= 3:
        assert (radius[inside & ~exact] > 0.5 * distance[inside & ~exact]).all()
        assert (radius[inside] > 0).all()
    assert (radius[(np.abs(X) > 0.51).any(axis=1)] == 0).all()


@needs_native
def test_cells_that_others_have_filled(rng):
    """Walks have the same bits as on a mesh whose cells were filled by one thread, by several threads, or by other walks."""
    V, F = icosphere(3, 0.1)
    X, s = disc_points(rng, 64, 0.85, 3).astype(np.float32), seed(rng)

    def run(mesh, **options):
        return wos.solve(mesh, X, dirichlet=coordinate_sum, rng=s, walks=100, **options)

    mesh, other = wos.TriangleMesh(V, F), wos.TriangleMesh(V, F)
    whole = run(mesh, num_threads=1)
    wos.solve(other, -X[::-1], dirichlet=1.0, walks=50)
    for again in (run(wos.TriangleMesh(V, F), num_threads=7), run(mesh), run(other)):
        same(whole, again)


def test_cut_off_and_escaped_walks(backend, rng):
    """Walks that are cut off or escape are counted and end at the closest point."""
    V, F = icosphere(1)
    r = wos.solve(wos.TriangleMesh(V, F), disc_points(rng, 6, 0.3, 3), dirichlet=lambda Y: (Y**2).sum(axis=1), walks=16, max_steps=1)
    assert (r.n_truncated >= 12).all()  # a single step may end within epsilon
    assert (np.abs(r.value - 0.9) < 0.101).all()
    mesh = wos.TriangleMesh(V, F[V[F].mean(axis=1)[:, 2] < 0.5], watertight=False)
    with pytest.warns(RuntimeWarning, match=r"\d\.\d% of the walks left the domain \(n_escaped\)") as caught:
        r = wos.solve(mesh, np.array([[0.0, 0, 0.2], [0.0, 0.0, -0.9]]), dirichlet=1.0, walks=200, rng=1)
    assert len(caught) == 1
    np.testing.assert_array_equal(r.value, 1)
    assert r.n_escaped[0] > 10
    assert r.n_escaped[1] < r.n_escaped[0]
