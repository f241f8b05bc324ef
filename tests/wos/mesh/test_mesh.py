"""Meshes as they are made: gaps, files, and what is refused."""

import sys

import numpy as np
import pytest

from quatrefoil import wos
from wos.query.oracle import icosphere, tetrahedron

V, F = tetrahedron()


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


def test_files_need_meshio(monkeypatch):
    monkeypatch.setitem(sys.modules, "meshio", None)
    with pytest.raises(ImportError, match=r"pip install 'quatrefoil\[mesh\]'"):
        wos.TriangleMesh.from_file("ball.ply")
