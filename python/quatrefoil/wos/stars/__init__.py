"""Walks where part of the boundary reflects: arrays in, arrays out. Equation numbers are those of csrc/wos/stars/README.md.

B instances of N points in d dimensions, K nodes; the absorbing part has M segments or triangles, the reflecting one P walls and C corners
or edges. ``solve`` is what users call; notation, coordinates and data as in ``wos.walk.walk``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option
from ..._typing import Backend
from ..walk import METHODS, MOST_INDEX, check_data, which_samples, which_walks
from ..walk.state import schedule

Array = Any
_NAMES = ("dirichlet", "source", "neumann", "robin")


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, *tables, dirichlet, source, neumann, robin = shapes
    kinds, (first_walk, walks, _, gradient) = options[:4], options[5:9]
    assert start is not None
    assert frame is not None
    B = frame[0]
    if len(start) != 3 or start[0] != B or start[2] not in (2, 3):
        raise ValueError(f"{label}: start has shape {start}, expected (B, N, 2) or (B, N, 3) with B = {B} as in frame")
    N, d = start[1:]
    if frame[1] != d + 2:
        raise ValueError(f"{label}: frame has shape {frame}, expected (B, {d + 2})")
    for table, name, width in zip(tables[::2], ("ends", "walls", "corners"), (d * d, d * d + 2, d * (d + 1))):
        if table is None or len(table) != 2 or table[1] != width:
            raise ValueError(f"{label}: {name} has shape {table}, expected (rows, {width})")
    counts = [first[0] for first in tables[1::2] if first is not None and len(first) == 1]  # torch's symbolic sizes have no hash
    if not counts or any(count != counts[0] for count in counts) or counts[0] - 1 not in (1, B):
        raise ValueError(f"{label}: first, first_wall, first_corner have shapes {tables[1::2]}, expected (2,) or (B + 1,) with B = {B}")
    check_data(label, B, dict(zip(_NAMES, zip((dirichlet, source, neumann, robin), kinds))))
    for name, at, count in (("instance", options[10], B), ("point", options[11], N)):
        if at + count > MOST_INDEX:
            raise ValueError(f"{label}: first_{name} is {at}, expected at most {MOST_INDEX - count} with {count} {name}s")
    group, channels = (2, 1 + d) if gradient else (1, 1)
    K = len(schedule(first_walk // group, walks // group)[0])
    return [(B, N, K, channels), (B, N, K, channels), (B, N, 3)]


def _check_values(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    for table, first, name in zip(inputs[2:8:2], inputs[3:8:2], ("ends", "walls", "corners")):
        if first[0] != 0 or first[-1] != len(table):
            raise ValueError(f"{label}: the first rows of {name} are {first[0]} to {first[-1]}, but there are {len(table)}")


STARS = Op(
    __name__, "stars",
    inputs=(
        Arg("start", "B N d", constant=True), Arg("frame", "B d", dtype="double", constant=True),
        Arg("ends", "M corners", dtype="double", constant=True), Arg("first", "B", dtype="int"),
        Arg("walls", "P W", dtype="double", constant=True), Arg("first_wall", "B", dtype="int"),
        Arg("corners", "E T", dtype="double", constant=True), Arg("first_corner", "B", dtype="int"),
        *(Arg(name, "R numbers", dtype="double", optional=True) for name in _NAMES),
    ),
    outputs=(
        Arg("mean", "B N K C", dtype="double"), Arg("m2", "B N K C", dtype="double", constant=True), Arg("counts", "B N 3", dtype="int"),
    ),
    options=(
        *(Option(f"{name}_kind", str) for name in _NAMES), Option("seed", int), Option("first_walk", int), Option("walks", int),
        Option("max_steps", int), Option("gradient", bool), Option("screening", float),
        Option("first_instance", int), Option("first_point", int), Option("endless", bool),
    ),
    extras=(Extra("grids"), *(Extra(name, function=True) for name in "gfhk")),
    rule=_shapes,
    check_values=_check_values,
    tolerance=3e-3,  # as of walk; a ray that grazes a wall makes more of a rounding error than a step does
)  # fmt: skip
OPS = (STARS,)
METHODS["stars"] = STARS


def stars(
    start: Array,
    frame: Array,
    ends: Array,
    first: Array,
    walls: Array,
    first_wall: Array,
    corners: Array,
    first_corner: Array,
    dirichlet: Array | None = None,
    source: Array | None = None,
    neumann: Array | None = None,
    robin: Array | None = None,
    *,
    dirichlet_kind: str = "number",
    source_kind: str = "none",
    neumann_kind: str = "none",
    robin_kind: str = "none",
    seed: int = 0,
    first_walk: int = 0,
    walks: int = 64,
    max_steps: int = 1024,
    gradient: bool = False,
    screening: float = 0.0,
    first_instance: int = 0,
    first_point: int = 0,
    endless: bool = False,
    grids: Any = None,
    g: Any = None,
    f: Any = None,
    h: Any = None,
    k: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """Walks on stars [first_walk, first_walk + walks) of every point (1) to (9), as the nodes of their range.

    Parameters
    ----------
    start, frame, dirichlet, source, and the keywords of these names
        As in ``wos.walk.walk``.
    ends, first : (M, 4) or (M, 9) float64 and (B + 1,) or (2,) int64
        The scaled segments or triangles of the absorbing part; values at vertices are a pair or a triple for each of them.
    walls, first_wall : (P, 6) or (P, 11) float64 and as first
        The corners of reflecting segments in the order of their rings, the domain to their left, or of triangles, to the left seen from
        outside, in an order that keeps neighbours together; μ in absolute units, 0 for triangles; and whose flux the wall has: 0 for
        ``neumann``, 1 for ``robin``.
    corners, first_corner : (C, 6) or (C, 12) float64 and as first
        The re-entrant corners between walls, or the ends of edges, and the inner normals of the two.
    neumann, robin : (1 or B, numbers) float64, optional
        The flux h, by its kind as for dirichlet; values at vertices have a pair for every wall of either.
    gradient : bool
        As in ``wos.walk.walk``; the gradient is NaN where walks start within epsilon of any part of the boundary.
    endless : bool
        There is no absorbing part; ``ends`` has a segment or triangle an instance that lies far away.

    Returns
    -------
    mean, m2, counts
        As in ``wos.walk.walk``.

    Notes
    -----
    ``mean`` is differentiable in dirichlet, source, neumann and robin: the walks are replayed. Cost: about 2 us a walk at epsilon 1e-3, and
    log P for every question to the walls.
    """
    options = _options(
        "stars", (dirichlet_kind, source_kind, neumann_kind, robin_kind), seed, first_walk, walks, max_steps, gradient, screening,
        first_instance, first_point, endless,
    )  # fmt: skip
    arrays = (start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet, source, neumann, robin)
    mean, m2, counts = call(STARS, arrays, options, (grids, g, f, h, k), None, backend, num_threads)
    return mean, m2, counts


def stars_vjp(
    *inputs_and_grad: Any,
    dirichlet_kind: str = "number",
    source_kind: str = "none",
    neumann_kind: str = "none",
    robin_kind: str = "none",
    seed: int = 0,
    first_walk: int = 0,
    walks: int = 64,
    max_steps: int = 1024,
    gradient: bool = False,
    screening: float = 0.0,
    first_instance: int = 0,
    first_point: int = 0,
    endless: bool = False,
    grids: Any = None,
    g: Any = None,
    f: Any = None,
    h: Any = None,
    k: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Array, ...]:
    """Gradients of ``stars``: its inputs and the gradient of mean -> those of dirichlet, source, neumann and robin.

    Costs the walks again. Memory: at most 64 partial sums of the numbers, whatever the number of walks.
    """
    options = _options(
        "stars_vjp", (dirichlet_kind, source_kind, neumann_kind, robin_kind), seed, first_walk, walks, max_steps, gradient, screening,
        first_instance, first_point, endless,
    )  # fmt: skip
    return call_vjp(STARS, inputs_and_grad, options, (grids, g, f, h, k), backend, num_threads)


def _options(
    name: str,
    kinds: tuple[str, ...],
    seed: Any,
    first_walk: Any,
    walks: Any,
    max_steps: Any,
    gradient: bool,
    screening: Any,
    first_instance: Any,
    first_point: Any,
    endless: Any,
) -> tuple[Any, ...]:
    label = f"wos.{name}"
    key, at, count, steps, rate = which_walks(label, seed, first_walk, walks, max_steps, screening)
    numbers = which_samples(label, at, count, gradient, first_instance, first_point)
    return *kinds, key, at, count, steps, bool(gradient), rate, *numbers, bool(endless)
