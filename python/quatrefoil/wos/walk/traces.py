"""Ends and source points of walks, for data that become available later. Equation numbers refer to csrc/wos/walk/README.md, Operators.

Arrays are as in ``wos.walk``, for one instance. ``trace`` returns the scaled ends ``exit`` (N, W, d) of W = ``walks`` walks per point, with
``weight`` (N, W) and ``counts`` (N, W, 3); NaN and 0 for points outside. It also returns the scaled source points ``point`` (S, d) with
their ``share`` (S,), |G| of (8), walk by walk in the order of the steps. S is ``events``, ideally the total number of steps, which a call
with ``events=0`` computes. If there are more source points, the rest are dropped; if fewer, the arrays are padded with 0. ``sourced``:
there will be a source, so walks use no half discs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option
from . import WALK, check_sobol, check_start, node_shapes


def _trace_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first = shapes
    _, first_walk, walks, _, _, first_point, _, _, sourced, events, sobol = options
    check_start(label, start, frame, ends, first)
    check_sobol(label, sobol, start[2])
    node_shapes(label, start, first_walk, walks, False, 0, first_point)
    if start[0] != 1:
        raise ValueError(f"{label}: start has {start[0]} instances, expected 1")
    if events < 0 or (events and not sourced):
        raise ValueError(f"{label}: {events} source points are requested with sourced={sourced}")
    _, N, d = start
    return [(N, walks, d), (N, walks), (N, walks, 3), (events, d), (events,)]


TRACE = Op(
    __name__, "trace",
    inputs=WALK.inputs[:4],
    outputs=(
        Arg("exit", "N W d", dtype="double"), Arg("weight", "N W", dtype="double"), Arg("counts", "N W 3", dtype="int"),
        Arg("point", "S d", dtype="double"), Arg("share", "S", dtype="double"),
    ),
    options=(
        Option("seed", int), Option("first_walk", int), Option("walks", int), Option("max_steps", int), Option("screening", float),
        Option("first_point", int), Option("outside", bool), Option("reach", float), Option("sourced", bool), Option("events", int),
        Option("sobol", bool),
    ),
    extras=(Extra("grids"),),
    rule=_trace_shapes, differentiable=False, tolerance=1e-3,
)  # fmt: skip
OPS = (TRACE,)
