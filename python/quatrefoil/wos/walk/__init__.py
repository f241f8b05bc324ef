"""The walk itself: arrays in, arrays out. Equation numbers are those of csrc/wos/walk/README.md; ``solve`` is what users call.

B instances of N points in d dimensions, K nodes. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..._arguments import integer, number
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option
from ..._typing import Backend
from ..query import check_pieces
from .state import schedule

Array = Any
MAX_STEPS = 2**20 - 1  # what the counter of the random words holds
MAX_WALKS = 2**32
MOST_INDEX = 2**32  # of instances and points: words of the counter
KINDS = ("none", "number", "fourier", "per_vertex", "gaussians", "polynomial", "grid", "function")


def _place_shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    points, frame, ends, first = shapes
    assert points is not None
    assert frame is not None
    _check_frame(label, frame, points[-1], ends, first)
    if len(points) not in (2, 3) or (len(points) == 3 and points[0] != frame[0]):
        raise ValueError(f"{label}: points has shape {points}, expected (N, d), or (B, N, d) with B = {frame[0]} as in frame")
    return [(frame[0], *points[-2:])]


def _walk_shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first, dirichlet, source = shapes
    dirichlet_kind, source_kind, _, first_walk, walks, _, gradient, *_ = options
    assert start is not None
    assert frame is not None
    check_start(label, start, frame, ends, first)
    check_data(label, start[0], {"dirichlet": (dirichlet, dirichlet_kind), "source": (source, source_kind)})
    return node_shapes(label, start, first_walk, walks, gradient, *options[-3:-1])


def node_shapes(
    label: str, start: Shape, first_walk: int, walks: int, gradient: bool, first_instance: int, first_point: int
) -> list[Shape | None]:
    """Of mean, m2 and counts, where all instances and points have a word of the counter."""
    B, N, d = start
    for name, at, count in (("instance", first_instance, B), ("point", first_point, N)):
        if at + count > MOST_INDEX:
            raise ValueError(f"{label}: first_{name} is {at}, expected at most {MOST_INDEX - count} with {count} {name}s")
    group, channels = (2, 1 + d) if gradient else (1, 1)
    K = len(schedule(first_walk // group, walks // group)[0])
    return [(B, N, K, channels), (B, N, K, channels), (B, N, 3)]


def check_data(label: str, B: int, data: Mapping[str, tuple[Shape | None, str]]) -> None:
    """Whether the numbers' shapes fit the kinds, by what the data are called."""
    for name, (numbers, kind) in data.items():
        if kind not in KINDS or (name, kind) in (("dirichlet", "none"), ("source", "per_vertex")):
            raise ValueError(f"{label}: {name}_kind is {kind!r}, expected one of {', '.join(KINDS)}")
        if (numbers is None) != (kind in ("none", "function")):
            raise ValueError(f"{label}: {name} is {'missing' if numbers is None else 'given'} for the kind {kind!r}")
        if numbers is not None and (len(numbers) != 2 or numbers[0] not in (1, B)):
            raise ValueError(f"{label}: {name} has shape {numbers}, expected (1, numbers) or (B, numbers) with B = {B}")


def check_start(label: str, start: Shape, frame: Shape, ends: Shape | None, first: Shape | None) -> None:
    if len(start) != 3 or start[0] != frame[0]:
        raise ValueError(f"{label}: start has shape {start}, expected (B, N, d) with B = {frame[0]} as in frame")
    _check_frame(label, frame, start[-1], ends, first)


def _check_frame(label: str, frame: Shape, d: int, ends: Shape | None, first: Shape | None) -> None:
    if len(frame) != 2 or frame[1] != d + 2:
        raise ValueError(f"{label}: frame has shape {frame}, expected (B, {d + 2})")
    check_pieces(label, frame[0], d, ends, first)


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
    check_values=_check_points,
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
        Option("first_instance", int), Option("first_point", int), Option("outside", bool),
    ),
    extras=(Extra("grids"), Extra("g", function=True), Extra("f", function=True)),
    rule=_walk_shapes,
    tolerance=1e-3,  # a walk of some steps in float32: a rounding error may double at each
)  # fmt: skip


def _along(points: Any, value: Any, y: Any, slope: Any, num_threads: int, *, backend: str) -> None:
    y[...] = value


def _along_vjp(points: Any, value: Any, grad: Any, dpoints: Any, dvalue: Any, slope: Any, num_threads: int, *, backend: str) -> None:
    dvalue[...] = grad
    dpoints[...] = np.where(grad[..., None] == 0, 0.0, grad[..., None] * slope())


ALONG = Op(
    __name__, "along",
    inputs=(Arg("points", "B N d"), Arg("value", "B N", dtype="double")),
    outputs=(Arg("y", "B N", dtype="double"),),
    extras=(Extra("slope", function=True),),
    host=_along, host_adjoint=_along_vjp,
)  # fmt: skip
OPS = (PLACE, WALK, ALONG)
METHODS = {"walk": WALK}  # the ops that solve a problem; a later noun of the family adds its own


def along(
    points: Array, value: Array, *, slope: Callable[[], np.ndarray], backend: Backend | None = None, num_threads: int | None = None
) -> Array:
    """``value`` (B, N) float64 as a function of ``points`` (B, N, d) with the gradient ``slope()``, asked for when needed."""
    return call(ALONG, (points, value), (), (slope,), None, backend, num_threads)


def along_vjp(
    *inputs_and_grad: Any, slope: Callable[[], np.ndarray], backend: Backend | None = None, num_threads: int | None = None
) -> tuple[Array, ...]:
    """Gradients of ``along``: ``(points, value, grad)`` -> those of points, 0 where grad is, and value."""
    return call_vjp(ALONG, inputs_and_grad, (), (slope,), backend, num_threads)


def place(
    points: Array,
    frame: Array,
    ends: Array | None = None,
    first: Array | None = None,
    *,
    closed: bool = True,
    outside: bool = False,
    grids: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Array:
    """Where walks start: absolute points (N, d) or (B, N, d) -> (B, N, d), scaled; NaN outside, on the boundary for those within epsilon.

    ``frame``, ``ends``, ``first``, ``outside`` and ``grids`` are those of ``walk``; ``closed`` says that a mesh has no gaps. A point that
    is not finite is a ValueError.

    Cost: a sweep over the segments a point or a walk down the mesh's tree, and another one for points outside.
    """
    return call(PLACE, (points, frame, ends, first), (bool(closed), bool(outside)), (grids,), None, backend, num_threads)


def walk(
    start: Array,
    frame: Array,
    ends: Array | None = None,
    first: Array | None = None,
    dirichlet: Array | None = None,
    source: Array | None = None,
    *,
    dirichlet_kind: str = "number",
    source_kind: str = "none",
    seed: int = 0,
    first_walk: int = 0,
    walks: int = 64,
    max_steps: int = 1024,
    gradient: bool = False,
    screening: float = 0.0,
    first_instance: int = 0,
    first_point: int = 0,
    outside: bool = False,
    grids: Any = None,
    g: Any = None,
    f: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """Walks [first_walk, first_walk + walks) of every point (1), (2), as the nodes of their range (5).

    Parameters
    ----------
    start : (B, N, d)
        Where walks start, scaled; NaN where none does. float32 or float64: the precision of the walks.
    frame : (B, d + 2) float64
        Centre and extent of every instance's box; epsilon in units of the extent.
    ends, first : (M, 4) or (M, 9) float64 and (B + 1,) or (2,) int64, optional
        The scaled segments of all polygons, ax, ay, bx, by, and where each instance's begin; (2,) is one polygon for all. In space the
        corners of a mesh's triangles. Or one row and 0, 1 for a solid: half the sides of a box, or a field of signed distances (its
        divisor, nodes along every axis, the corners of its box, values, all scaled). The unit ball where they are absent.
    dirichlet, source : (1 or B, numbers) float64, optional
        What the kinds say. "number": c. "fourier": the centre, scaled, and a0, a1, b1, ... "gaussians": for each the amplitude, the centre
        and extent^2 / width^2. "polynomial": the number of powers of every axis and the scaled coefficients. "grid": the number of nodes of
        every axis, the box's corners, absolute, and the values; rows may be filled up behind. "per_vertex": the values at the corners
        of every segment or triangle, of all polygons in one row. "function": absent.
    dirichlet_kind, source_kind : str
        "none" (a source only), "number", "fourier", "per_vertex" (dirichlet only), "gaussians", "polynomial", "grid", "function".
    seed : int
        The 64 bits of the key, as a signed number.
    gradient : bool
        Walks 2k and 2k + 1 are a pair that leaves its point in opposite directions (13): a sample is their mean, of the value and of the
        gradient's d components. ``first_walk`` and ``walks`` are even.
    screening : float
        λ of -Δu + λu = f, in absolute units.
    first_instance, first_point : int
        Global numbers of the first instance and point, which random words depend on, for a part of a problem. Functions get the former's.
    outside : bool
        The domain is outside of a mesh, box or ball in space; without a source and screening.
    grids : optional
        What a Polygon or TriangleMesh keeps between calls; made where it is absent.
    g, f : optional
        The functions of the kind "function", called as f(instance, X (n, d)) -> (n,) in absolute coordinates.

    Returns
    -------
    mean, m2 : (B, N, K, C) float64
        Of every node the mean of its walks or pairs and the sum of their squared deviations; C = 1, or 1 + d with the gradient.
    counts : (B, N, 3) int64
        Steps, walks cut off at ``max_steps``, walks that left the box by rounding.

    Notes
    -----
    ``mean`` is differentiable in dirichlet and source (7), (8): the walks are replayed, none is stored. Cost: about 0.3 us a walk at
    epsilon 1e-3. Memory: 12 MB and 2 MB an instance for 64 of them, whatever the number of walks.
    On a device data are numbers: functions are a TypeError; ``grids`` is not looked at.
    """
    options = _walk_options(
        "walk",
        dirichlet_kind,
        source_kind,
        seed,
        first_walk,
        walks,
        max_steps,
        gradient,
        screening,
        first_instance,
        first_point,
        outside,
    )
    mean, m2, counts = call(WALK, (start, frame, ends, first, dirichlet, source), options, (grids, g, f), None, backend, num_threads)
    return mean, m2, counts


def walk_vjp(
    *inputs_and_grad: Any,
    dirichlet_kind: str = "number",
    source_kind: str = "none",
    seed: int = 0,
    first_walk: int = 0,
    walks: int = 64,
    max_steps: int = 1024,
    gradient: bool = False,
    screening: float = 0.0,
    first_instance: int = 0,
    first_point: int = 0,
    outside: bool = False,
    grids: Any = None,
    g: Any = None,
    f: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Array, ...]:
    """Gradients of ``walk`` (7), (8): ``(start, frame, ends, first, dirichlet, source, grad of mean)`` -> those of dirichlet and source.

    Costs the walks again. Memory: at most 64 partial sums of the numbers, whatever the number of walks.
    """
    options = _walk_options(
        "walk_vjp",
        dirichlet_kind,
        source_kind,
        seed,
        first_walk,
        walks,
        max_steps,
        gradient,
        screening,
        first_instance,
        first_point,
        outside,
    )
    return call_vjp(WALK, inputs_and_grad, options, (grids, g, f), backend, num_threads)


def _walk_options(
    name: str,
    dirichlet_kind: str,
    source_kind: str,
    seed: Any,
    first_walk: Any,
    walks: Any,
    max_steps: Any,
    gradient: bool,
    screening: Any,
    first_instance: Any,
    first_point: Any,
    outside: Any,
) -> tuple[Any, ...]:
    label = f"wos.{name}"
    key, at, count, steps, rate = which_walks(label, seed, first_walk, walks, max_steps, screening)
    numbers = which_samples(label, at, count, gradient, first_instance, first_point)
    return dirichlet_kind, source_kind, key, at, count, steps, bool(gradient), rate, *numbers, bool(outside)


def which_walks(label: str, seed: Any, first_walk: Any, walks: Any, max_steps: Any, screening: Any) -> tuple[int, int, int, int, float]:
    """seed, first_walk, walks, max_steps and screening, checked."""
    at = integer(first_walk, label, "first_walk", 0, MAX_WALKS - 1)
    count, steps = integer(walks, label, "walks", 1, MAX_WALKS - at), integer(max_steps, label, "max_steps", 1, MAX_STEPS)
    return integer(seed, label, "seed", -(2**63)), at, count, steps, number(screening, label, "screening")


def which_samples(label: str, at: int, count: int, gradient: bool, first_instance: Any, first_point: Any) -> tuple[int, int]:
    """first_instance and first_point, checked, of walks [at, at + count), which come in pairs with a gradient."""
    check_pairs(label, gradient, first_walk=at, walks=count)
    return integer(first_instance, label, "first_instance", 0, MOST_INDEX - 1), integer(
        first_point, label, "first_point", 0, MOST_INDEX - 1
    )


def check_pairs(label: str, gradient: Any, **counts: int) -> None:
    """With a gradient walks come in pairs: the error names the first of ``counts`` that is odd."""
    for name, count in counts.items():
        if gradient and count % 2:
            raise ValueError(f"{label}: {name} is {count}; with gradient=True walks come in pairs: an even number is needed")
