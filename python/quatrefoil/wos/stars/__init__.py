"""Walks with a partly reflecting boundary. Equation numbers refer to csrc/wos/stars/README.md.

Arrays are as in ``wos.walk``, except that ends and first describe the absorbing part. If nothing absorbs (``endless``), they have one
distant segment or triangle per instance.

walls, first_wall : (P, 6) or (P, 11), and like first
    The corners of reflecting segments in ring order, with the domain to their left, or of triangles, counter-clockwise seen from outside,
    in an order that keeps neighbours together. Then μ in absolute units, and 0 for walls of ``neumann`` or 1 for ``robin``.
corners, first_corner : (C, 6) or (C, 12), and like first
    The re-entrant corners between walls, or the ends of edges, and the inward normals of the two walls.
neumann, robin : (1 or B, numbers)
    The flux h, with the kinds of ``dirichlet``. Values at vertices have one pair (in space a triple) per wall.
diffusion, screening, bounds, slopes, beyond
    As in ``wos.media``, if ``varies``, except that a grid of α also stores grad α / (2 α), after media (3). Otherwise the screening is the
    number ``rate``.
exchange : (P, 2)
    For each wall, a bound on |ν_0| (12) and the constant part of ν_0, in absolute units, if ``varies``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option, Policy
from ..media import MEDIUM, check_medium
from ..walk import WALK, check_data, node_shapes, sides_of
from ..walk.traces import trace_of

_LINEAR, _MEDIUM = ("dirichlet", "source", "neumann", "robin"), ("diffusion", "screening")


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, *tables = shapes[:8]
    kinds, (first_walk, walks, _, gradient), (varies, nrhs) = options[:6], options[7:11], options[-2:]
    assert start is not None
    assert frame is not None
    B = frame[0]
    if len(start) != 3 or start[0] != B or start[2] not in (2, 3):
        raise ValueError(f"{label}: start has shape {start}, expected (B, N, 2) or (B, N, 3) with B = {B} as in frame")
    d = start[2]
    if frame[1] != d + 2:
        raise ValueError(f"{label}: frame has shape {frame}, expected (B, {d + 2})")
    for table, name, width in zip(tables[::2], ("ends", "walls", "corners"), (d * d, d * d + 2, d * (d + 1))):
        if table is None or len(table) != 2 or table[1] != width:
            raise ValueError(f"{label}: {name} has shape {table}, expected (rows, {width})")
    counts = [first[0] for first in tables[1::2] if first is not None and len(first) == 1]  # torch's symbolic sizes have no hash
    if not counts or any(count != counts[0] for count in counts) or counts[0] - 1 not in (1, B):
        raise ValueError(f"{label}: first, first_wall, first_corner have shapes {tables[1::2]}, expected (2,) or (B + 1,) with B = {B}")
    sides = sides_of(label, start, nrhs)
    check_data(label, sides[0], dict(zip(_LINEAR, zip(shapes[8:12], kinds))))
    check_medium(label, start, zip(_MEDIUM, shapes[12:14], kinds[4:]), shapes[14], shapes[15], gradient, varies)
    if shapes[16] != ((tables[2][0], 2) if varies and tables[2] is not None else None):
        raise ValueError(f"{label}: exchange has shape {shapes[16]}, expected two numbers per wall with varies=True, otherwise None")
    return [*node_shapes(label, sides, first_walk, walks, gradient, *options[12:14]), sides[:2] if varies else None]


def _check_values(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    for table, first, name in zip(inputs[2:8:2], inputs[3:8:2], ("ends", "walls", "corners")):
        if first[0] != 0 or first[-1] != len(table):
            raise ValueError(f"{label}: the row offsets of {name} range from {first[0]} to {first[-1]}, expected 0 to {len(table)}")


STARS = Op(
    __name__, "stars",
    inputs=(
        *WALK.inputs[:2],
        Arg("ends", "M corners", dtype="double", constant=True), Arg("first", "B", dtype="int"),
        Arg("walls", "P W", dtype="double", constant=True), Arg("first_wall", "B", dtype="int"),
        Arg("corners", "E T", dtype="double", constant=True), Arg("first_corner", "B", dtype="int"),
        *(Arg(name, "R numbers", dtype="double", optional=True) for name in _LINEAR), *MEDIUM,
        Arg("exchange", "P 2", dtype="double", constant=True, optional=True),
    ),
    outputs=(*WALK.outputs, Arg("beyond", "B N", dtype="int", only_if="varies")),
    options=(
        *(Option(f"{name}_kind", str) for name in _LINEAR + _MEDIUM), Option("seed", int), Option("first_walk", int), Option("walks", int),
        Option("max_steps", int), Option("gradient", bool), Option("rate", float),
        Option("first_instance", int), Option("first_point", int), Option("endless", bool), Option("varies", bool), Option("nrhs", int),
    ),
    extras=(Extra("grids"), *(Extra(name, function=True) for name in "gfhkas")),
    rule=_shapes,
    policy=Policy(check_values=_check_values),
    tolerance=3e-3,  # as for walk; a ray that grazes a wall amplifies rounding more than a step does
)  # fmt: skip
STARS_TRACE = trace_of(STARS, "stars_trace")
OPS = (STARS, STARS_TRACE)
