"""Ends and source points of walks, for data that become available later. Equation numbers refer to csrc/wos/walk/README.md, Operators.

Arrays are as in ``wos.walk``, for one instance. ``trace`` returns the scaled ends ``exit`` (N, W, d) of W = ``walks`` walks per point, with
``weight`` (N, W) and ``counts`` (N, W, 3); NaN and 0 for points outside. It also returns the scaled source points ``point`` (S, d) with
their ``share`` (S,), |G| of (8), walk by walk in the order of the steps. S is ``events``, ideally the total number of steps, which a call
with ``events=0`` computes. If there are more source points, the rest are dropped; if fewer, the arrays are padded with 0. ``sourced``:
there will be a source, so walks use no half discs.

``stars_trace`` and ``media_trace`` have the arguments of ``stars`` and ``media``, except that ``events`` replaces ``nrhs``. A kind "none"
means that these points are not recorded; values are not evaluated. Results have three kinds of points: source points, and points on
walls of ``neumann`` and ``robin``. ``met`` (N, W, 3) has their numbers, and ``point`` and ``share`` have them kind by kind. A walk without
an end has the weight 0. ``beyond`` (N, W): jumps to points where |σ'| exceeds the bound of a medium.
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


def trace_of(op: Op, name: str) -> Op:
    """The op that records the walks of an op which collects the points where walks evaluate data."""
    options = (*(option for option in op.options if option.name != "nrhs"), Option("events", int))
    names = [option.name for option in options]

    def shapes_of(label: str, shapes: Sequence[Any], values: tuple[Any, ...]) -> list[Shape | None]:
        one, start = dict(zip(names, values)), shapes[0]
        assert op.rule is not None
        op.rule(label, shapes, (*values[:-1], 1))
        if start[0] != 1 or one["gradient"] or one["events"] < 0:
            got = f"{start[0]} instances, gradient={one['gradient']} and events={one['events']}"
            raise ValueError(f"{label}: got {got}, expected one instance without a gradient, and events >= 0")
        (_, N, d), W, S = start, one["walks"], one["events"]
        return [(N, W, d), (N, W), (N, W, 3), (N, W), (N, W, 3), (S, d), (S,)]

    outputs = (*TRACE.outputs[:3], Arg("beyond", "N W", dtype="int"), Arg("met", "N W 3", dtype="int"), *TRACE.outputs[3:])
    return Op(
        op.module, name, op.inputs, outputs, options, op.extras, rule=shapes_of, policy=op.policy, differentiable=False,
        tolerance=op.tolerance,
    )  # fmt: skip


OPS = (TRACE,)
