"""Closest points and inside tests at individual points. Equation numbers refer to csrc/wos/query/README.md.

B instances of N points (N, d) or (B, N, d), in absolute coordinates. ``frame`` (B, d + 1) has the centre and extent of every instance's
box; ``ends`` and ``first`` are as in ``wos.walk``. If several primitives are equally close, the first one is chosen. The options of
``nearest`` say whether to return the closest point and its segment, triangle or face (``where``), whether to return the weights of its
corners (``weights``), whether distances are negative inside (``sign``), and whether the triangles have no gaps (``closed``). A point that
is not finite gives NaN and -1, and is not inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast, overload

import numpy as np

from ... import _arrays
from ..._arguments import finite, host_array, ndim, points_like, reject_tracing
from ..._call import call
from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option
from ..._typing import Array, Backend, Points, T
from ..mesh import Boundary, TriangleMesh
from ..polygon import Polygon
from ..region import ClosestPoint, Region, check_boundary
from .slope import slope


def check_facets(label: str, B: int, d: int, ends: Shape | None, first: Shape | None) -> None:
    """Check the shapes of ``ends`` and ``first``."""
    if (ends is None) != (first is None):
        raise ValueError(f"{label}: pass both ends and first, or neither")
    if ends is not None and (len(ends) != 2 or (ends[1] != d * d and not is_solid(ends, d))):
        raise ValueError(f"{label}: ends has shape {ends}, expected (M, {d * d}), or (1, {d}) or (1, width) for a solid")
    if first is not None and (len(first) != 1 or first[0] - 1 not in (1, B)):
        raise ValueError(f"{label}: first has shape {first}, expected (2,) or (B + 1,) with B = {B}")


def check_points(label: str, points: Shape, frame: Shape) -> None:
    if len(points) not in (2, 3) or (len(points) == 3 and points[0] != frame[0]):
        raise ValueError(f"{label}: points has shape {points}, expected (N, d), or (B, N, d) with B = {frame[0]} as in frame")


def is_solid(ends: Shape, d: int) -> bool:
    """Whether a table of this shape has half of a box's side lengths, or describes a signed distance field: csrc/wos/solid/README.md."""
    return ends[0] == 1 and (ends[1] == d or (d in (2, 3) and ends[1] > d * d))


def _shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    points, frame, ends, first = shapes
    if len(frame) != 2 or frame[1] != points[-1] + 1:
        raise ValueError(f"{label}: frame has shape {frame}, expected (B, {points[-1] + 1})")
    check_facets(label, frame[0], points[-1], ends, first)
    if ends is not None and points[-1] == 3 and frame[0] != 1 and not is_solid(ends, 3):
        raise ValueError(f"{label}: frame has shape {frame}, expected (1, 4), because a mesh has a single instance")
    check_points(label, points, frame)
    return [(frame[0], points[-2])]


def _nearest_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    _, where, weights, _ = options
    ((B, N),), d = _shapes(label, shapes, options), shapes[0][-1]  # type: ignore[misc]
    if weights and (shapes[2] is None or is_solid(shapes[2], d)):
        raise ValueError(f"{label}: weights=True requires polygons or a mesh")
    return [(B, N), (B, N, d) if where else None, (B, N) if where else None, (B, N, d) if weights else None]


_INPUTS = (
    Arg("points", "... N d"), Arg("frame", "B d", dtype="double", constant=True),
    Arg("ends", "M corners", dtype="double", constant=True, optional=True), Arg("first", "B", dtype="int", optional=True),
)  # fmt: skip
NEAREST = Op(
    __name__, "nearest",
    inputs=_INPUTS,
    outputs=(
        Arg("distance", "B N"), Arg("point", "B N d", only_if="where"), Arg("primitive", "B N", dtype="int", only_if="where"),
        Arg("barycentric", "B N d", only_if="weights"),
    ),
    options=(Option("sign", bool), Option("where", bool), Option("weights", bool), Option("closed", bool)),
    extras=(Extra("boundary"),),
    rule=_nearest_shapes,
    differentiable=False,
    tolerance=2e-6,  # distances have rounding errors relative to the extent; barycentric weights are relative to a triangle's size
)  # fmt: skip
INSIDE = Op(
    __name__, "inside",
    inputs=_INPUTS,
    outputs=(Arg("contains", "B N", dtype="int"),),
    options=(Option("closed", bool),),
    extras=(Extra("boundary"),),
    rule=_shapes,
    differentiable=False,
)  # fmt: skip
OPS = (NEAREST, INSIDE)


class _Query(NamedTuple):
    inputs: tuple[Any, ...]
    extras: tuple[Any, ...]
    lead: tuple[int, ...]  # leading axes of the results
    closed: bool


def as_boundary(shape: Any, label: str, q: Any) -> Boundary:
    """Convert common representations of a shape to a boundary. Raises TypeError for anything else."""
    if isinstance(shape, Region):
        return cast("Boundary", shape)
    if isinstance(q, Region):
        check_boundary(shape, label, q)
    if isinstance(shape, (list, tuple)) and len(shape) == 2 and [_axes_of_vectors(part, 3) for part in shape] == [2, 2]:
        has_indices = np.asarray(shape[1] if _arrays.kind(shape[1]) is None else _arrays.to_host(shape[1])).dtype.kind in "iu"
        return TriangleMesh(*shape, watertight=None) if has_indices else TriangleMesh(np.asarray(shape), watertight=None)
    if _axes_of_vectors(shape, 2) in (2, 3):
        return Polygon(shape)
    if _axes_of_vectors(shape, 3) == 3 or isinstance(shape, (str, os.PathLike)) or _is_mesh(shape):
        return TriangleMesh(shape, watertight=None)
    check_boundary(shape, label, q)
    raise AssertionError("unreachable")


def _axes_of_vectors(shape: Any, d: int) -> int:
    """The number of axes of an array or nested list of vectors (..., d), judged by the first vector. 0 for anything else."""
    if _arrays.kind(shape) is None and not isinstance(shape, (list, tuple)):
        return 0
    count, vector = ndim(shape), shape
    for _ in range(count - 1):
        vector = vector[0] if len(vector) else ()
    return count if count > 1 and len(vector) == d else 0


def _is_mesh(shape: Any) -> bool:
    """Whether ``shape`` is a mesh of another library."""
    points = hasattr(shape, "vertices") or hasattr(shape, "points")
    return points and any(hasattr(shape, name) for name in ("faces", "triangles", "cells"))


def _query(label: str, boundary: Boundary, q: Any) -> _Query:
    reject_tracing(label)
    q = points_like(q, label, "q")
    host_array(q, label, "q", device="keep")
    d, batch, shape = boundary.dimension, boundary._batch, tuple(q.shape)
    if not shape or shape[-1] != d:
        raise ValueError(f"{label}: q has shape {shape}, expected (..., {d})")
    if _arrays.on_host(q):
        finite(host_array(q, label, "q"), label, "q")
    if batch is not None and len(shape) > 2 and 1 not in (batch, shape[0]) and shape[0] != batch:
        raise ValueError(f"{label}: q has shape {shape}, expected (N, {d}) or (B, ..., {d}) with B = {batch} as in boundary")
    outer = shape[:-1] if batch is None or len(shape) <= 2 else shape[1:-1]
    shared = batch in (None, 1) or len(shape) <= 2 or shape[0] == 1
    lead = outer if batch is None else (max(batch, shape[0]) if batch == 1 and len(shape) > 2 else batch, *outer)
    outer = lead if batch == 1 else outer
    N = int(np.prod(outer, dtype=np.int64))
    points = q.reshape((N, d) if shared else (batch, N, d))
    rows = np.concatenate([boundary._centre, boundary._extent[:, None]], axis=1)
    location = _arrays.location(q)
    closed = getattr(boundary, "watertight", True)
    return _Query((points, _arrays.of_kind(location, rows), *boundary._arrays_of(location)), (boundary._memo_of(location),), lead, closed)


def _into(out: Any, result: Any, label: str) -> Any:
    """Write the result to the caller's array, if there is one, and return it."""
    if out is None:
        return result
    if _arrays.kind(out) != _arrays.kind(result) or out.dtype != result.dtype:
        raise TypeError(f"{label}: out is {_arrays.describe(out)}, expected {_arrays.describe(result)}")
    if out.shape != result.shape:
        raise ValueError(f"{label}: out has shape {tuple(out.shape)}, expected {tuple(result.shape)}")
    if isinstance(out, np.ndarray) and not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{label}: out must be C-contiguous and writeable")
    out[...] = result
    return out


def closest_point(
    boundary: Boundary, q: Array[T] | Points, *, backend: Backend | None = None, num_threads: int | None = None
) -> ClosestPoint[T]:
    """The closest point of a boundary, for points inside or outside.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF
        Also anything that ``TriangleMesh`` accepts, a pair (V, F), or the corners (M, 2) of a polygon. These are converted in every call; a
        mesh with gaps is treated as ``watertight=False``.
    q : (..., d)
        Arrays or lists. With B polygons (B, ..., d), or (N, d) and (d,) for all polygons. B may be 1 for either the polygons or the points.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    A named tuple of

    distance : (...)
        Nonnegative; (B, N) for B polygons and (N, d) points.
    point : (..., d)
    primitive : (...) int64
        The segment from vertex k to k + 1 of its ring (not counting segments of length 0), or the row of ``mesh.triangles``. For a box, 2 k
        for the face at lo[k] and 2 k + 1 for the face at hi[k]. 0 for a ball and an SDF. If several are equally close, one of them.
    barycentric : (..., d), or None without segments or triangles
        Weights of the primitive's vertices in order, nonnegative with sum 1.

    Raises
    ------
    ValueError
        For a NaN or infinite point, a wrong last axis, or a wrong number of instances.
    TypeError
        For unsupported dtypes.

    Notes
    -----
    Not differentiable. Triangles are compared in the dtype of q: with float32 the distance may have an error of 1e-7 of the extent. Results
    for the closest triangle are computed in float64. Cost per point: about 1 us for a mesh of 20 000 triangles, with a tree that is cached
    in the mesh (csrc/wos/mesh/README.md, The tree); 1 ns per segment of a polygon. Memory: 2 MB. The backend "array" tests all segments or
    triangles, of all B polygons. On a device a point that is not finite gives NaN and -1, and is not inside.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> square = qf.wos.Polygon(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    >>> distance, point, primitive, weights = qf.wos.closest_point(square, np.array([[0.5, 0.25], [3.0, 0.75]]))
    >>> distance.tolist(), point.tolist()
    ([0.25, 2.0], [[0.5, 0.0], [1.0, 0.75]])
    >>> primitive.tolist(), weights.tolist()
    ([0, 1], [[0.5, 0.5], [0.25, 0.75]])
    """
    boundary = as_boundary(boundary, "closest_point", q)
    query = _query("closest_point", boundary, q)
    solid = not hasattr(boundary, "_ends")
    options = (False, True, not solid, query.closed)
    distance, point, primitive, weights = call(NEAREST, query.inputs, options, query.extras, None, backend, num_threads)
    lead, d = query.lead, boundary.dimension
    barycentric = None if solid else weights.reshape((*lead, d))
    return ClosestPoint(distance.reshape(lead), point.reshape((*lead, d)), primitive.reshape(lead), barycentric)


@overload
def signed_distance(
    boundary: Boundary, q: Array[T] | Points, *, gradient: Literal[False] = False, out: Any = None, backend: Backend | None = None,
    num_threads: int | None = None,
) -> T: ...  # fmt: skip
@overload
def signed_distance(
    boundary: Boundary, q: Array[T] | Points, *, gradient: Literal[True], backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...  # fmt: skip
def signed_distance(
    boundary: Boundary, q: Any, *, gradient: bool = False, out: Any = None, backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:  # fmt: skip
    """The distance to a boundary, negative inside: (..., d) -> (...).

    Parameters, errors and cost are as for ``closest_point`` and ``contains``, which defines inside.

    gradient : bool
        Return (distance, gradient) with (..., d) unit vectors in the direction of increasing distance. On the boundary they are the outward
        normals; NaN on the boundary of an SDF.
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` receives the distance only.

    Notes
    -----
    For a tensor that requires grad, the distance is differentiable with this gradient (first derivatives only).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> ball, q = qf.wos.Ball([0.0, 0.0, 0.0], 2.0), np.array([[0.0, 0.0, 0.5], [3.0, 0.0, 0.0]])
    >>> qf.wos.signed_distance(ball, q).tolist()
    [-1.5, 1.0]
    >>> distance, direction = qf.wos.signed_distance(ball, q, gradient=True)
    >>> np.linalg.norm(q - distance[:, None] * direction, axis=1).tolist()  # the closest points
    [2.0, 2.0]
    """
    if not isinstance(gradient, bool):
        raise TypeError(f"signed_distance: gradient is {gradient!r}, expected True or False")
    if gradient and out is not None:
        raise ValueError("signed_distance: got both out and gradient=True, expected one of them")
    graph = q if getattr(q, "requires_grad", False) else None
    q = q if graph is None else q.detach()
    boundary = as_boundary(boundary, "signed_distance", q)
    query = _query("signed_distance", boundary, q)
    slopes = gradient or graph is not None
    options = (True, slopes, False, query.closed)
    distance, *nearest = call(NEAREST, query.inputs, options, query.extras, None, backend, num_threads)[:3]
    distance = distance.reshape(query.lead)
    if slopes:
        q = points_like(q, "signed_distance", "q")
        direction = slope(boundary, q, distance, nearest[0].reshape((*query.lead, q.shape[-1])), nearest[1].reshape(query.lead))
    if graph is not None:
        distance = distance + ((graph - q) * direction).sum(-1)
    return (distance, direction) if gradient else _into(out, distance, "signed_distance")


def contains(
    boundary: Boundary,
    q: Array[T] | Points,
    *,
    out: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:
    """Which points are inside: (..., d) -> bool (...).

    Points on the boundary may be treated as inside or outside.

    Parameters
    ----------
    boundary : Polygon, TriangleMesh, Ball, Box or SDF, or as for ``closest_point``
        For a polygon or a closed mesh, a point is inside if the number of crossings is odd. For a mesh with gaps, ``watertight=False``, it
        is inside if the absolute winding number is at least 1/2 (2).
    q : (..., d)
        As for ``closest_point``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Notes
    -----
    Exact for a closed mesh, except within a rounding error of the surface: both triangles of an edge place the point on the same side of
    it, so no triangle is counted twice or missed (csrc/wos/mesh/README.md (4)). Cost per point: 0.3 us for a mesh of 20 000 triangles; 2 us
    for a mesh with gaps; 0.5 ns per segment of a polygon. Errors are as for ``closest_point``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> tetrahedron = qf.wos.TriangleMesh(np.eye(4, 3), np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]))
    >>> qf.wos.contains(tetrahedron, np.array([[0.2, 0.2, 0.2], [0.5, 0.5, 0.5]])).tolist()
    [True, False]
    """
    query = _query("contains", as_boundary(boundary, "contains", q), q)
    flags: Any = call(INSIDE, query.inputs, (query.closed,), query.extras, None, backend, num_threads)
    return _into(out, (flags != 0).reshape(query.lead), "contains")


Region._queries.update(contains=contains, signed_distance=signed_distance, closest_point=closest_point)
