"""Walks through media. Equation numbers refer to csrc/wos/media/README.md.

Arrays are as in ``wos.walk``.

diffusion, screening : (1 or B, numbers)
    α and σ, with the kinds of ``source``. For a grid of α, the values at its nodes are followed by those of (3).
bounds : (B, 2)
    The bound (7) and the finite difference step for functions, both in absolute units.
slopes : (B, N, d)
    grad α / (2 α) at the starts of walks, with ``gradient``.
beyond : (B, N)
    Jumps to points where |σ'| exceeds the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option
from ..walk import WALK, check_data, check_start, node_shapes, sides_of
from ..walk.traces import trace_of

_NAMES = ("dirichlet", "source", "diffusion", "screening")


def check_medium(
    label: str, start: Shape, data: Iterable[tuple[str, Shape | None, str]], bounds: Any, slopes: Any, gradient: bool, varies: bool = True
) -> None:
    """Check the shapes of a medium. ``data``: the names, shapes and kinds of diffusion and screening."""
    kinds = {name: (shape, kind) for name, shape, kind in data}
    check_data(label, start[0], kinds)
    (_, diffusion), (_, screening) = kinds.values()
    if "per_vertex" in (diffusion, screening) or diffusion == "fourier":
        raise ValueError(
            f"{label}: diffusion_kind is {diffusion!r} and screening_kind is {screening!r}, "
            "expected data that are defined inside the domain, and a diffusion that is smooth"
        )
    if bounds != ((start[0], 2) if varies else None):
        raise ValueError(f"{label}: bounds has shape {bounds}, expected {(start[0], 2) if varies else None}")
    if slopes != (tuple(start) if gradient and varies else None):
        raise ValueError(f"{label}: slopes has shape {slopes}, expected {tuple(start)} with gradient=True, otherwise None")


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first_facet, *tables, bounds, slopes = shapes
    kinds, first_walk, walks, gradient, *first, nrhs = options[:4], options[5], options[6], *options[8:]
    assert start is not None
    assert frame is not None
    check_start(label, start, frame, ends, first_facet)
    sides = sides_of(label, start, nrhs)
    check_data(label, sides[0], dict(zip(_NAMES[:2], zip(tables, kinds))))
    check_medium(label, start, zip(_NAMES[2:], tables[2:], kinds[2:]), bounds, slopes, gradient)
    return [*node_shapes(label, sides, first_walk, walks, gradient, *first), sides[:2]]


MEDIUM = (
    *(Arg(name, "R numbers", dtype="double", constant=True, optional=True) for name in _NAMES[2:]),
    *(Arg(name, dims, dtype="double", constant=True, optional=True) for name, dims in (("bounds", "B 2"), ("slopes", "B N d"))),
)
MEDIA = Op(
    __name__, "media",
    inputs=(
        *WALK.inputs[:4],
        *(Arg(name, "R numbers", dtype="double", optional=True) for name in _NAMES[:2]),
        *MEDIUM,
    ),
    outputs=(*WALK.outputs, Arg("beyond", "B N", dtype="int")),
    options=(
        *(Option(f"{name}_kind", str) for name in _NAMES), Option("seed", int), Option("first_walk", int), Option("walks", int),
        Option("max_steps", int), Option("gradient", bool), Option("first_instance", int), Option("first_point", int), Option("nrhs", int),
    ),
    extras=(Extra("grids"), *(Extra(name, function=True) for name in "gfas")),
    rule=_shapes,
    tolerance=1e-3,  # as for walk
)  # fmt: skip
MEDIA_TRACE = trace_of(MEDIA, "media_trace")
OPS = (MEDIA, MEDIA_TRACE)
