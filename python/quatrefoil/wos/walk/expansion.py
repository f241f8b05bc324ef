"""Balls in which u is a sum of harmonics with coefficients from walks. Equation numbers refer to csrc/wos/walk/README.md (17), (18).

Arrays are as in ``wos.walk``. ``balls``: the scaled radius (B, N) of the first ball of the pairs from every point.

``expand`` (17): coefficients (B, N, S, harmonics) of u on the sphere of every point's ball, from ``walks`` walks in pairs. They are divided
into S ``samples`` of walks / S walks, a power of two. There are 2 modes + 1 harmonics in the plane and (modes + 1)^2 in space. In more
dimensions, where only compositions exist, a sample has the mean of u, u minus the reference for each walk, and the direction of each walk.
``reference`` (B, N), an estimate of u on the sphere, is subtracted from u for harmonics with mean 0, which does not change the expectation.

``gather`` (18): values (N, S) at points inside K balls, with ``coefficients`` (K, S, harmonics) and ``z2`` (K,), the squared radius times
the screening. The balls of point i are ``ball``[``begin``[i]:``begin``[i + 1]]. ``offset`` (P, d) is the point's offset from the centre in
units of the radius, and ``weight`` (P,) the ball's weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option, Policy
from . import WALK, check_data, check_start


def harmonics(d: int, modes: int) -> int:
    """The number of harmonics of degrees 0 to ``modes`` on the unit sphere."""
    return 2 * modes + 1 if d == 2 else (modes + 1) ** 2


def columns(d: int, modes: int, each: int) -> int:
    """The number of coefficients of a ball in a sample of ``each`` walks."""
    return harmonics(d, modes) if d < 4 else 1 + each * (1 + d)


def _balls_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first = shapes
    check_start(label, start, frame, ends, first)
    return [start[:2]]


def _expand_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first, dirichlet, reference = shapes
    kind, _, _, _, walks, samples, _, modes, _ = options
    check_start(label, start, frame, ends, first)
    check_data(label, start[0], {"dirichlet": (dirichlet, kind)})
    if dirichlet is not None and not dirichlet[1]:
        raise ValueError(f"{label}: dirichlet has shape {dirichlet}, expected at least one column")
    if reference != start[:2]:
        raise ValueError(f"{label}: reference has shape {reference}, expected {start[:2]}")
    each = walks // max(samples, 1)
    if samples < 1 or each * samples != walks or each < 2 or each & (each - 1):
        raise ValueError(f"{label}: walks is {walks}, expected 2, 4, 8, ... for each of {samples} samples")
    return [(*start[:2], samples, columns(start[2], modes, each)), (*start[:2], 3)]


def _gather_shapes(label: str, shapes: Sequence[Any], options: tuple[Any, ...]) -> list[Shape | None]:
    coefficients, z2, begin, ball, offset, weight = shapes
    all_shapes = (coefficients, z2, begin, ball, offset, weight)
    if [len(s) for s in all_shapes] != [3, 1, 1, 1, 2, 1] or z2 != coefficients[:1] or not ball == weight == offset[:1]:
        raise ValueError(f"{label}: the arrays have shapes {all_shapes}, expected (K, S, C), (K,), (N + 1,), (P,), (P, d) and (P,)")
    if ball[0] and not coefficients[0]:
        raise ValueError(f"{label}: ball has shape {ball} but there are no balls")
    d, C = offset[-1], coefficients[2]
    if begin[0] < 1 or d < 2 or columns(d, options[0], (C - 1) // (1 + d)) != C:
        raise ValueError(
            f"{label}: coefficients {coefficients}, begin {begin} and offset {offset} do not match {options[0]} modes; "
            "expected (balls, samples, harmonics), (N + 1,) and (P, d)"
        )
    return [(begin[0] - 1, coefficients[1])]


def _check_gather(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    coefficients, _, begin, ball = inputs[:4]
    if begin[0] != 0 or begin[-1] != len(ball):
        raise ValueError(f"{label}: begin must start with 0 and end with the length of ball")
    if (begin[1:] < begin[:-1]).any():
        raise ValueError(f"{label}: begin must never decrease")
    if ((ball < 0) | (ball >= len(coefficients))).any():
        raise ValueError(f"{label}: ball is out of range")


BALLS = Op(
    __name__, "balls",
    inputs=WALK.inputs[:4],
    outputs=(Arg("radius", "B N", dtype="double"),),
    options=(Option("screening", float),),
    extras=(Extra("grids"),),
    rule=_balls_shapes, differentiable=False, tolerance=1e-3,  # scaled coordinates are differences of nearby values
)  # fmt: skip
EXPAND = Op(
    __name__, "expand",
    inputs=(*WALK.inputs[:5], Arg("reference", "B N", dtype="double")),
    outputs=(Arg("coefficients", "B N S C", dtype="double"), Arg("counts", "B N 3", dtype="int")),
    options=(
        Option("dirichlet_kind", str), Option("seed", int), Option("first_point", int), Option("first_walk", int), Option("walks", int),
        Option("samples", int), Option("max_steps", int), Option("modes", int), Option("screening", float),
    ),
    extras=(Extra("grids"), Extra("g", function=True)),
    rule=_expand_shapes, differentiable=False, tolerance=1e-3,
)  # fmt: skip
GATHER = Op(
    __name__, "gather",
    inputs=(
        Arg("coefficients", "K S C", dtype="double"), Arg("z2", "K", dtype="double"), Arg("begin", "F", dtype="int"),
        Arg("ball", "P", dtype="int"), Arg("offset", "P d", dtype="double"), Arg("weight", "P", dtype="double"),
    ),
    outputs=(Arg("values", "N S", dtype="double"),),
    options=(Option("modes", int),),
    rule=_gather_shapes, policy=Policy(check_values=_check_gather), differentiable=False, tolerance=4e-6,  # recurrence over the degrees
)  # fmt: skip
OPS = (BALLS, EXPAND, GATHER)
