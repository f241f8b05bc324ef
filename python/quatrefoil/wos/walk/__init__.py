"""Random walks, ``walk``, and their starts, ``place``. Equation numbers refer to csrc/wos/walk/README.md.

B instances of N points in d dimensions; K nodes (5). Coordinates are centred on the boundary's box and divided by its extent ("scaled").

start : (B, N, d)
    The starts of walks, scaled; NaN if no walk starts there. The dtype is the precision of the walks.
frame : (B, d + 2)
    Centre and extent of every instance's box; epsilon in units of the extent.
ends, first : (M, 4) or (M, 9), and (B + 1,) or (2,)
    The scaled segments of all polygons, ax, ay, bx, by, and the index of each instance's first segment; (2,) means one polygon for all
    instances. In space, the corners of a mesh's triangles. A solid has one row: half of a box's side lengths, or a signed distance field
    (its Lipschitz constant, number of nodes on each axis, box corners, values, all scaled). Absent for the unit ball.
dirichlet, source : (1 or B, numbers)
    By kind: "number" c; "fourier" the scaled centre and a0, a1, b1, ...; "gaussians" amplitude, centre and extent^2 / width^2 of each;
    "polynomial" the number of powers on each axis and the scaled coefficients; "grid" the number of nodes on each axis, the box's corners
    in absolute coordinates, and the values; "per_vertex" the values at the corners of every segment or triangle, with all polygons in one
    row; "function" absent. Rows may be padded.
screening
    λ of -Δu + λu = f, in absolute units.
first_instance, first_point
    Global indices of the call's first instance and point, for random words. Functions are called as g(instance, X (n, d)) -> (n,).
outside, closed
    outside: the domain is outside the boundary, with kernels for two and three dimensions; a polygon's box is then 0.8 times the extent.
    closed: the mesh has no gaps.
sobol
    Replaces the random words of each walk's first steps by points of the Sobol' sequence (30).
reach
    For walks outside without screening: sources are 0 beyond this distance from the centre, in absolute units.
grids
    The memo of a Polygon or TriangleMesh; built if absent, and ignored on a device.
nrhs
    The number of right-hand sides that share the walks of a single instance. Data and results have one row for each of them.
mean, m2 : (B nrhs, N, K, C)
    The mean of every node's walks (of its pairs with ``gradient``), and the sum of their squared deviations; C = 1, or 1 + d. The mean is
    differentiable with respect to dirichlet and source (7), (8): walks are replayed, and none is stored.
counts : (B nrhs, N, 3)
    Steps, walks cut off at ``max_steps``, walks that left the box by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option, Policy
from ..query import check_facets, check_points
from .nodes import schedule

MAX_STEPS = 2**20 - 1  # limit of the step counter
MAX_WALKS = 2**32
MAX_INDEX = 2**32  # limit of the instance and point counters
KINDS = ("none", "number", "fourier", "per_vertex", "gaussians", "polynomial", "grid", "function")


def _place_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    points, frame, ends, first = shapes
    _check_frame(label, frame, points[-1], ends, first)
    check_points(label, points, frame)
    return [(frame[0], *points[-2:])]


def _walk_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first, dirichlet, source = shapes
    dirichlet_kind, source_kind, _, first_walk, walks, _, gradient, _, first_instance, first_point, _, _, nrhs, sobol = options
    check_start(label, start, frame, ends, first)
    check_sobol(label, sobol, start[2])
    sides = sides_of(label, start, nrhs)
    check_data(label, sides[0], {"dirichlet": (dirichlet, dirichlet_kind), "source": (source, source_kind)})
    return node_shapes(label, sides, first_walk, walks, gradient, first_instance, first_point)


def sides_of(label: str, start: Shape, nrhs: int) -> Shape:
    """The shape of ``start`` repeated for every right-hand side."""
    if nrhs != 1 and start[0] != 1:
        raise ValueError(f"{label}: {nrhs} right-hand sides require a single instance, but start has {start[0]}")
    return (start[0] * nrhs, *start[1:])


def node_shapes(
    label: str, start: Shape, first_walk: int, walks: int, gradient: bool, first_instance: int, first_point: int
) -> list[Shape | None]:
    """The shapes of mean, m2 and counts. Raises ValueError if instances or points exceed the counter."""
    B, N, d = start
    for name, at, count in (("instance", first_instance, B), ("point", first_point, N)):
        if at + count > MAX_INDEX:
            raise ValueError(f"{label}: first_{name} is {at}, expected at most {MAX_INDEX - count} with {count} {name}s")
    group, channels = (2, 1 + d) if gradient else (1, 1)
    K = len(schedule(first_walk // group, walks // group)[0])
    return [(B, N, K, channels), (B, N, K, channels), (B, N, 3)]


def check_data(label: str, B: int, data: Mapping[str, tuple[Shape | None, str]]) -> None:
    """Check that the parameters' shapes fit their kinds. ``data`` maps names to shapes and kinds."""
    for name, (numbers, kind) in data.items():
        if kind not in KINDS or (name, kind) in (("dirichlet", "none"), ("source", "per_vertex")):
            raise ValueError(f"{label}: {name}_kind is {kind!r}, expected one of {', '.join(KINDS)}")
        if (numbers is None) != (kind in ("none", "function")):
            raise ValueError(f"{label}: {name} is {'missing' if numbers is None else 'not None'} for the kind {kind!r}")
        if numbers is not None and (len(numbers) != 2 or numbers[0] not in (1, B)):
            raise ValueError(f"{label}: {name} has shape {numbers}, expected (1, width) or (B, width) with B = {B}")


def check_start(label: str, start: Shape, frame: Shape, ends: Shape | None, first: Shape | None) -> None:
    if len(start) != 3 or start[0] != frame[0]:
        raise ValueError(f"{label}: start has shape {start}, expected (B, N, d) with B = {frame[0]} as in frame")
    _check_frame(label, frame, start[-1], ends, first)


def check_sobol(label: str, sobol: bool, d: int) -> None:
    if sobol and d > 3:
        raise ValueError(f"{label}: sobol is not supported in {d} dimensions, expected 2 or 3")


def _check_frame(label: str, frame: Shape, d: int, ends: Shape | None, first: Shape | None) -> None:
    if len(frame) != 2 or frame[1] != d + 2:
        raise ValueError(f"{label}: frame has shape {frame}, expected (B, {d + 2})")
    check_facets(label, frame[0], d, ends, first)


def _check_points(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    points, bad = inputs[0], np.argwhere(~np.isfinite(inputs[0]))
    if len(bad):
        index = tuple(map(int, bad[0]))
        raise ValueError(f"solve: points{list(index)} is {points[index]}, expected a finite number")


_FRAME = Arg("frame", "B d", dtype="double", constant=True)
_ENDS = Arg("ends", "M corners", dtype="double", constant=True, optional=True)
_FIRST = Arg("first", "B", dtype="int", optional=True)

PLACE = Op(
    __name__, "place",
    inputs=(Arg("points", "... N d"), _FRAME, _ENDS, _FIRST),
    outputs=(Arg("start", "B N d"),),
    options=(Option("closed", bool), Option("outside", bool)),
    extras=(Extra("grids"),),
    rule=_place_shapes,
    policy=Policy(check_values=_check_points),
    differentiable=False,
)  # fmt: skip
WALK = Op(
    __name__, "walk",
    inputs=(
        Arg("start", "B N d", constant=True), _FRAME, _ENDS, _FIRST,
        Arg("dirichlet", "R numbers", dtype="double", optional=True), Arg("source", "R numbers", dtype="double", optional=True),
    ),
    outputs=(
        Arg("mean", "B N K C", dtype="double"), Arg("m2", "B N K C", dtype="double", constant=True), Arg("counts", "B N 3", dtype="int"),
    ),
    options=(
        Option("dirichlet_kind", str), Option("source_kind", str), Option("seed", int), Option("first_walk", int), Option("walks", int),
        Option("max_steps", int), Option("gradient", bool), Option("screening", float),
        Option("first_instance", int), Option("first_point", int), Option("outside", bool), Option("reach", float), Option("nrhs", int),
        Option("sobol", bool),
    ),
    extras=(Extra("grids"), Extra("g", function=True), Extra("f", function=True)),
    rule=_walk_shapes,
    tolerance=1e-3,  # a rounding error may double at each of a few float32 steps
)  # fmt: skip


def _along(points: Any, value: Any, y: Any, slope: Any, num_threads: int, *, backend: str) -> None:
    y[...] = value


def _along_vjp(points: Any, value: Any, grad: Any, dpoints: Any, dvalue: Any, slope: Any, num_threads: int, *, backend: str) -> None:
    dvalue[...] = grad
    dpoints[...] = np.where(grad[..., None] == 0, 0.0, grad[..., None] * slope())


# returns value as a function of points whose gradient is slope(), which is called only if a gradient is requested
ALONG = Op(
    __name__, "along",
    inputs=(Arg("points", "B N d"), Arg("value", "B N", dtype="double")),
    outputs=(Arg("y", "B N", dtype="double"),),
    extras=(Extra("slope", function=True),),
    policy=Policy(python_kernel=_along, python_adjoint=_along_vjp),
)  # fmt: skip


def _replayed(
    mean: Any, dirichlet: Any, source: Any, neumann: Any, robin: Any, y: Any, pull: Any, num_threads: int, *, backend: str
) -> None:
    y[...] = mean


def _replayed_vjp(
    mean: Any, dirichlet: Any, source: Any, neumann: Any, robin: Any, grad: Any, dmean: Any, ddirichlet: Any, dsource: Any,
    dneumann: Any, drobin: Any, pull: Any, num_threads: int, *, backend: str,
) -> None:  # fmt: skip
    dmean[...] = grad
    for out, gradient in zip((ddirichlet, dsource, dneumann, drobin), pull(grad)):
        if out is not None:
            out[...] = gradient


# returns the means of nodes as a function of data: pull(grad) replays the walks, and returns the gradients (7), (8)
REPLAYED = Op(
    __name__, "replayed",
    inputs=(
        Arg("mean", "P K C", dtype="double"), Arg("dirichlet", "G g", dtype="double", optional=True),
        Arg("source", "F f", dtype="double", optional=True), Arg("neumann", "H h", dtype="double", optional=True),
        Arg("robin", "E e", dtype="double", optional=True),
    ),
    outputs=(Arg("y", "P K C", dtype="double"),),
    extras=(Extra("pull", function=True),),
    policy=Policy(python_kernel=_replayed, python_adjoint=_replayed_vjp),
)  # fmt: skip
OPS = (PLACE, WALK, ALONG, REPLAYED)


def check_pairs(label: str, gradient: Any, **counts: int) -> None:
    """Raise an error that names the first odd value of ``counts`` if ``gradient``, because walks then come in pairs."""
    for name, count in counts.items():
        if gradient and count % 2:
            raise ValueError(f"{label}: {name} is {count}, expected an even number, because walks come in pairs with gradient=True")
