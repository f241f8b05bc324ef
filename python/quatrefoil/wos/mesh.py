"""Triangle meshes as boundaries. Equation numbers refer to csrc/wos/mesh/README.md."""

from __future__ import annotations

import errno
import os
from typing import Any, TypeAlias

import numpy as np

from .. import _arrays
from .._arguments import finite, host_array, keywords, ndim, reject_masked
from .._backends import native
from .._typing import ArrayLike
from .._warnings import warn
from .polygon import Polygon, Solid, check_extent
from .region import Region

_FLAT = 4 * 2.0**-52  # height of a triangle relative to its longest side, below which its corners are collinear up to rounding
_MAX = 2**27 - 1  # maximum number of triangles

_HINTS = {
    **dict.fromkeys(("vertices", "verts", "points"), "use V"),
    **dict.fromkeys(("faces", "triangles", "cells"), "use F"),
    **dict.fromkeys(("file", "path", "filename"), "pass the path as the first argument, or use TriangleMesh.from_file(path)"),
}


class TriangleMesh(Region):
    """The solid inside a closed surface of triangles.

    Parameters
    ----------
    V : (P, 3), or a mesh
        Vertices, an array or lists of numbers. Without F: a file name, as for ``from_file``; a mesh of trimesh, pyvista, Open3D or meshio;
        or the corners (M, 3, 3) of triangles.
    F : (M, 3)
        Integers, three vertices per triangle. All triangles have the same orientation seen from outside.
    watertight : bool or None
        False accepts a surface with gaps. A point is then inside if its absolute winding number is at least 1/2. None means False for a
        surface with gaps, and True otherwise.

    Attributes
    ----------
    vertices, triangles : (P, 3) float64 and (M', 3) int64
        NumPy copies, without degenerate triangles. ``closest_point`` and ``PerVertex`` use their indices.

    Notes
    -----
    A point is inside if the number of triangles above it is odd, so surfaces within surfaces are holes. Triangles with collinear corners
    are ignored with one RuntimeWarning. Self-intersections are not checked. Device arrays are copied to the host once. Can be pickled.

    Cost: 0.4 us per triangle, and 0.25 us per triangle for the tree at the first query (csrc/wos/mesh/README.md, The tree).

    Raises
    ------
    ValueError
        For NaN or infinite vertices, no triangles, an index out of range, wrong shapes, an edge without an opposite edge, an extent below
        1e-70 or above 1e70.
    TypeError
        For unsupported dtypes, and for an object without vertices and faces.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> corners, faces = np.eye(4, 3), [[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]]
    >>> mesh = qf.wos.TriangleMesh(corners, faces)
    >>> mesh
    TriangleMesh(4 triangles)
    >>> heat = qf.wos.PerVertex([1.0, 1.0, 1.0, 1.0])
    >>> qf.wos.solve(mesh, [[0.1, 0.2, 0.3]], dirichlet=heat, rng=0).value.tolist()
    [1.0]
    """

    dimension = 3
    _batch: int | None = None
    _count = 1

    @keywords("TriangleMesh", **_HINTS)
    def __init__(self, V: ArrayLike | Any, F: ArrayLike | None = None, *, watertight: bool | None = True) -> None:
        label = "TriangleMesh"
        V, F = _of_mesh(V, label) if F is None else (V, F)
        v = host_array(V, label, "V", device="copy", convert=True)
        f = _indices(F, label, _arrays.kind(V))
        if v.ndim != 2 or v.shape[1] != 3:
            raise ValueError(f"{label}: V has shape {v.shape}, expected (P, 3)")
        if f.ndim != 2 or f.shape[1] != 3:
            raise ValueError(f"{label}: F has shape {f.shape}, expected (M, 3)")
        if not len(f):
            raise ValueError(f"{label}: F has no triangles")
        finite(v, label, "V")
        outside = (f < 0) | (f >= len(v))
        if outside.any():
            at = np.unravel_index(int(outside.argmax()), f.shape)
            raise ValueError(f"{label}: F[{at[0]}, {at[1]}] is {f[at]}, expected a row of V, 0 to {len(v) - 1}")
        self.vertices = np.array(v, np.float64)
        gap = None if watertight is False else _gap(self.vertices, f)
        if watertight and gap:
            raise ValueError(f"{label}: the surface is not closed: {gap}")
        self.watertight = gap is None and watertight is not False
        self._pack(f, label)
        super().__init__()

    def _pack(self, f: np.ndarray, label: str) -> None:
        corners = self.vertices[f]
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        with np.errstate(over="ignore"):
            extent = (high - low).max()
        check_extent(extent, f"{label}: the mesh")
        keep = _has_area(corners, extent)
        if not keep.any():
            raise ValueError(f"{label}: all triangles have zero area")
        if not keep.all():
            dropped = int((~keep).sum())
            warn(f"{label}: {dropped} triangles of zero area are ignored")
            f, corners = f[keep], corners[keep]
        if len(f) > _MAX:
            raise ValueError(f"{label}: F has {len(f)} triangles, expected at most {_MAX}")
        self.triangles = np.array(f, np.int64)  # copy, because the caller may modify the original
        self._pairs = self.triangles  # used by data with values at vertices
        self._ends = corners.reshape(-1, 9)
        self._first, self._first_vertex = np.array([0, len(f)], np.int64), np.array([0, len(self.vertices)], np.int64)
        self._centre, self._extent = (0.5 * (low + high))[None], np.array([extent])
        self._diagonal = np.array([float(np.sqrt((((high - low) / extent) ** 2).sum()) * extent)])
        self._half_width = np.array([0.5 * (high - low).min()])  # no ball inside is larger

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        return self._scaled_ends(), self._first

    def _scaled_ends(self) -> np.ndarray:
        """The corners (M, 9), centred and scaled."""
        return np.ascontiguousarray((self._ends - np.tile(self._centre[0], 3)) / self._extent[0])

    def _compiled(self, ends: np.ndarray, first: np.ndarray) -> Any:
        return native.core().wos.Mesh(ends)

    def _outline(self, instance: int) -> np.ndarray:
        """The edges (3 M, 2, 3) of all triangles."""
        corners = self._ends.reshape(-1, 3, 3)
        return np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(-1, 2, 3)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, watertight: bool = True) -> TriangleMesh:
        """Read the triangles of a PLY, OBJ, STL or OFF file, or of another format that meshio reads.

        Quadrilaterals are split into two triangles. Vertices at the same position are merged, which STL files need. Raises
        FileNotFoundError for a missing file, and ImportError without meshio: ``pip install 'quatrefoil[mesh]'``.
        """
        return cls(*_read(path), watertight=watertight)

    def __repr__(self) -> str:
        return f"TriangleMesh({len(self._ends)} triangles)"


def _read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a file."""
    try:
        import meshio
    except ImportError:
        raise ImportError("TriangleMesh.from_file needs meshio: pip install 'quatrefoil[mesh]'") from None
    if not os.path.exists(path):  # meshio would exit the program
        raise FileNotFoundError(errno.ENOENT, "TriangleMesh.from_file: no such file", os.fspath(path))
    with np.errstate(over="ignore"):  # overflow in the count that meshio reads at the start of a text STL file
        read = meshio.read(path)
    what = f"TriangleMesh.from_file: {os.fspath(path)}"
    V, F = np.asarray(read.points, np.float64), _triangles(read.cells, what)
    if V.shape[1:] != (3,):
        raise ValueError(f"{what} has points of shape {V.shape}, expected (P, 3)")
    V, at = merged(V)
    return V, np.ascontiguousarray(at[F])


def _of_mesh(mesh: Any, label: str) -> tuple[Any, Any]:
    """Vertices and triangles of a file, of corners (M, 3, 3), or of a mesh of another library."""
    if isinstance(mesh, (str, os.PathLike)):
        return _read(mesh)
    if ndim(mesh) == 3:
        corners = host_array(mesh, label, "V", device="copy", convert=True)
        finite(corners, label, "V")
        if corners.shape[1:] == (3, 3):
            V, at = merged(corners.reshape(-1, 3))
            return V, at.reshape(-1, 3)
    points = getattr(mesh, "vertices", getattr(mesh, "points", None))
    for name in ("faces", "triangles", "cells"):
        if points is not None and (faces := getattr(mesh, name, None)) is not None:
            break
    else:
        expected = "expected V and F, a mesh with vertices and faces, corners (M, 3, 3), or a file"
        raise TypeError(f"{label}: V is {_arrays.describe(mesh)} and F is missing, {expected}")
    if name == "cells":  # a meshio mesh
        return np.asarray(points), _triangles(faces, label)
    faces = np.asarray(faces)
    if faces.ndim == 1:  # a pyvista mesh: each face is preceded by its number of corners
        if len(faces) % 4 or (faces[::4] != 3).any():
            raise ValueError(f"{label}: the mesh has faces that are not triangles; pass mesh.triangulate()")
        faces = faces.reshape(-1, 4)[:, 1:]
    return np.asarray(points), faces


def _triangles(cells: Any, what: str) -> np.ndarray:
    """Convert meshio's blocks of cells to (M, 3). Quadrilaterals are split into two triangles."""
    parts = [block.data for block in cells if block.type == "triangle"]
    parts += [block.data[:, corners] for block in cells if block.type == "quad" for corners in ([0, 1, 2], [0, 2, 3])]
    other = sorted({block.type for block in cells} - {"triangle", "quad", "line", "vertex"})
    if other:
        raise ValueError(f"{what} has {', '.join(other)} cells, expected triangles")
    if not parts:
        raise ValueError(f"{what} has no triangles")
    return np.concatenate(parts).astype(np.int64)


def _indices(F: Any, label: str, kind: str | None) -> np.ndarray:
    """The indices as int64. If F and V are both arrays, they must be of the same array type."""
    reject_masked(F, label, "F")
    own = _arrays.kind(F)
    if None not in (own, kind) and own != kind:
        raise TypeError(f"{label}: F is a {own} array but V is a {kind} array; all arrays of a call must be from one library")
    f = np.asarray(F) if own is None else _arrays.to_host(F)
    if f.dtype.kind not in "iu" and f.size:
        fix = "; convert it: F.astype(int)" if f.dtype.kind == "f" else ""
        raise TypeError(f"{label}: F has dtype {f.dtype}, expected integers{fix}")
    return f.astype(np.int64)


def _has_area(corners: np.ndarray, extent: float) -> np.ndarray:
    sides = (np.roll(corners, -1, axis=1) - corners) / (extent or 1.0)
    longest2 = (sides**2).sum(axis=2).max(axis=1)
    return np.asarray(np.sqrt((np.cross(sides[:, 0], sides[:, 1]) ** 2).sum(axis=1)) > _FLAT * longest2)


def _gap(v: np.ndarray, f: np.ndarray) -> str | None:
    """Describe the first edge from a to b without an edge from b to a, with a suggestion. Coincident vertices are treated as one."""
    if _unpaired(f, len(v)) is None:
        return None
    _, at = merged(v)
    bad = _unpaired(at[f], len(v))
    if bad is None:
        return None
    edges, count = bad
    triangle, k = divmod(edges, 3)
    return (
        f"the edge from vertex {f[triangle, k]} to {f[triangle, (k + 1) % 3]} of triangle {triangle} has no opposite edge "
        f"(the first of {count}); orient all triangles consistently and fill holes, or pass watertight=False"
    )


def _unpaired(f: np.ndarray, P: int) -> tuple[int, int] | None:
    """The first edge without an opposite, and the number of such edges, or None."""
    a, b = f.reshape(-1), np.roll(f, -1, axis=1).reshape(-1)
    forward, backward = a * P + b, b * P + a
    if np.array_equal(np.sort(forward), np.sort(backward)):
        return None
    keys, at = np.unique(np.concatenate([forward, backward]), return_inverse=True)
    balance = np.bincount(at[: len(a)], minlength=len(keys)) - np.bincount(at[len(a) :], minlength=len(keys))
    open_edges = np.flatnonzero(balance[at[: len(a)]] > 0)
    return int(open_edges[0]), len(open_edges)


def merged(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct vertices in their original order, and the index of each vertex among them."""
    _, first, at = np.unique(v + 0.0, axis=0, return_index=True, return_inverse=True)  # -0 becomes 0
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return v[np.sort(first)], rank[at.reshape(-1)]


Boundary: TypeAlias = Polygon | Solid | TriangleMesh
