"""Meshes as they are made: copies, pickles, files, and what is refused."""

import pickle
import sys

import numpy as np
import pytest

from quatrefoil import wos
from wos.query.oracle import icosphere, tetrahedron


def test_a_mesh_is_a_copy_and_pickles(backend):
    V, F = icosphere(1)
    mesh = wos.TriangleMesh(V.astype(np.float32), F.astype(np.int32))
    q = np.array([[0.1, 0.2, 0.3], [2.0, 0, 0]])
    before = wos.closest_point(mesh, q)
    again = pickle.loads(pickle.dumps(mesh))
    V[:], F[:] = 0, 0
    for a, b, c in zip(before, wos.closest_point(mesh, q), wos.closest_point(again, q)):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert repr(mesh) == "TriangleMesh(80 triangles)"
    assert mesh.vertices.shape == (42, 3)


V, F = tetrahedron()


def changed(array, index, value):
    again = array.copy()
    again[index] = value
    return again


@pytest.mark.parametrize(
    ("v", "f", "error", "text"),
    [
        (changed(V, (1, 2), np.nan), F, ValueError, r"TriangleMesh: V\[1, 2\] is nan"),
        (changed(V, (3, 0), -np.inf), F, ValueError, r"V\[3, 0\] is -inf"),
        (V[:, :2], F, ValueError, r"V has shape \(4, 2\), expected \(P, 3\)"),
        (V, F[:, :2], ValueError, r"F has shape \(4, 2\), expected \(M, 3\)"),
        (V, F[:0], ValueError, "F has no triangles"),
        (V, changed(F, (2, 1), 4), ValueError, r"F\[2, 1\] is 4, expected 0 to 3"),
        (V, changed(F, (0, 0), -1), ValueError, r"F\[0, 0\] is -1, expected 0 to 3"),
        (V, F[:3], ValueError, r"not closed: the edge from vertex \d to \d of triangle \d has no opposite, one of 3"),
        (V, changed(F, 3, F[3, ::-1]), ValueError, "not closed"),
        (np.zeros_like(V), F, ValueError, "no triangle has an area"),
        (np.outer(np.arange(4.0), [1, 2, 3]), F, ValueError, "no triangle has an area"),
        (V * 1e80, F, ValueError, r"the mesh has an extent of 1e\+80, expected 1e-70 to 1e\+70"),
        (V * 1e-80, F, ValueError, "extent of 1e-80"),
        (V.astype(np.float16), F, TypeError, "V has dtype float16"),
        (V.astype(int), F, TypeError, "V has dtype int64"),
        (V.tolist(), F, TypeError, "V is list"),
        (V, F.tolist(), TypeError, "F is list, expected an array of int32 or int64"),
        (V, F.astype(float), TypeError, "F is a numpy array of float64, expected an array of int32 or int64"),
        (V, F.astype(np.uint8), TypeError, "F is a numpy array of uint8"),
        (V, np.ma.masked_array(F), TypeError, "F is a masked array"),
    ],
)
def test_bad_input(v, f, error, text):
    with pytest.raises(error, match=text):
        wos.TriangleMesh(v, f)


def test_doubled_vertices_close_a_mesh_too():
    soup = V[F].reshape(-1, 3)
    assert wos.contains(wos.TriangleMesh(soup, np.arange(12).reshape(4, 3)), np.array([0.1, 0.1, 0.1]))


def test_gaps():
    q = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    across = np.outer([0.1, 0.3, 0.36, 0.5], [1, 1, 1])  # through the middle of the face that is missing, at 1/3
    np.testing.assert_array_equal(wos.contains(wos.TriangleMesh(V, F[1:], watertight=False), across), [True, True, False, False])
    v, f = icosphere(2)
    np.testing.assert_array_equal(wos.contains(wos.TriangleMesh(v, f[:-20], watertight=False), q), [True, False])
    np.testing.assert_array_equal(wos.contains(wos.TriangleMesh(v, f[:, ::-1].copy(), watertight=False), q), [True, False])


def test_degenerate_triangles_are_dropped(backend):
    flat = np.array([[0, 0, 1], [2, 2, 2], [0, 2, 4], [0, 4, 2]])  # a point, a point, and two on one line
    v = np.concatenate([V, [(V[0] + V[2]) / 2]])
    with pytest.warns(RuntimeWarning, match="TriangleMesh: 4 triangles without area are ignored"):
        mesh = wos.TriangleMesh(v, np.concatenate([flat[:2], F, flat[2:]]))
    np.testing.assert_array_equal(mesh.triangles, F)
    q = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.testing.assert_array_equal(wos.signed_distance(mesh, q), wos.signed_distance(wos.TriangleMesh(V, F), q))


@pytest.mark.torch
def test_tensors():
    torch = pytest.importorskip("torch")
    for bad, text in (
        ((torch.tensor(V), F), "F is a numpy array but V is a torch array"),
        ((V, torch.tensor(F)), "F is a torch array but V"),
    ):
        with pytest.raises(TypeError, match=text):
            wos.TriangleMesh(*bad)
    with pytest.raises(NotImplementedError, match="no gradient in V"):
        wos.TriangleMesh(torch.tensor(V, requires_grad=True), torch.tensor(F))


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "off"])
def test_files(tmp_path, suffix):
    meshio = pytest.importorskip("meshio")
    v, f = icosphere(1, 0.1)
    path = tmp_path / f"ball.{suffix}"
    meshio.write_points_cells(path, v.astype(np.float32), [("triangle", f)])
    mesh = wos.TriangleMesh.from_file(path)
    assert mesh.vertices.shape == v.shape  # an STL file has three a triangle
    q = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.testing.assert_allclose(wos.signed_distance(mesh, q), wos.signed_distance(wos.TriangleMesh(v, f), q), atol=1e-6)
    if suffix != "stl":
        np.testing.assert_allclose(mesh.vertices, v, atol=1e-6)


def test_quadrilaterals_in_files(tmp_path):
    pytest.importorskip("meshio")
    box = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    faces = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
    (tmp_path / "box.obj").write_text(box + faces)
    mesh = wos.TriangleMesh.from_file(str(tmp_path / "box.obj"))
    assert len(mesh.triangles) == 12
    np.testing.assert_allclose(wos.signed_distance(mesh, np.array([[0.5, 0.5, 0.25], [0.5, 0.5, 2.0]])), [-0.25, 1.0])
    (tmp_path / "open.obj").write_text(box + faces[: faces.rindex("f")])
    with pytest.raises(ValueError, match="not closed"):
        wos.TriangleMesh.from_file(tmp_path / "open.obj")
    for name in ("none.stl", "none.ply", "none.other"):
        with pytest.raises(FileNotFoundError, match=rf"TriangleMesh.from_file: no such file: .*{name}"):
            wos.TriangleMesh.from_file(tmp_path / name)
    assert len(wos.TriangleMesh.from_file(tmp_path / "open.obj", watertight=False).triangles) == 10


def test_files_need_meshio(monkeypatch):
    monkeypatch.setitem(sys.modules, "meshio", None)
    with pytest.raises(ImportError, match=r"pip install 'quatrefoil\[mesh\]'"):
        wos.TriangleMesh.from_file("ball.ply")
