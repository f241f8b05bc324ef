"""Walks through media: arrays in, arrays out. Equation numbers are those of csrc/wos/media/README.md.

B instances of N points in d dimensions, K nodes. ``solve`` is what users call; notation, coordinates and data as in ``wos.walk.walk``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option
from ..._typing import Backend
from ..walk import METHODS, WALK, check_data, check_start, node_shapes, which_samples, which_walks

Array = Any
_NAMES = ("dirichlet", "source", "diffusion", "screening")


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    start, frame, ends, first, *tables, bounds, slopes = shapes
    kinds, first_walk, walks, gradient = options[:4], options[5], options[6], options[8]
    assert start is not None
    assert frame is not None
    check_start(label, start, frame, ends, first)
    B, N, d = start
    if d > 3:
        raise ValueError(f"{label}: start has {d} coordinates, expected two or three")
    check_data(label, B, dict(zip(_NAMES, zip(tables, kinds))))
    if "per_vertex" in kinds[2:] or kinds[2] == "fourier":
        raise ValueError(
            f"{label}: diffusion_kind is {kinds[2]!r} and screening_kind {kinds[3]!r}, which are not known inside or not smooth"
        )
    if bounds != (B, 2):
        raise ValueError(f"{label}: bounds has shape {bounds}, expected ({B}, 2)")
    if slopes != (start if gradient else None):
        raise ValueError(f"{label}: slopes has shape {slopes}, expected {tuple(start)} with gradient=True and None without")
    return [*node_shapes(label, start, first_walk, walks, gradient, *options[-2:]), (B, N)]


MEDIA = Op(
    __name__, "media",
    inputs=(
        *WALK.inputs[:4],
        *(Arg(name, "R numbers", dtype="double", optional=True) for name in _NAMES[:2]),
        *(Arg(name, "R numbers", dtype="double", constant=True, optional=True) for name in _NAMES[2:]),
        Arg("bounds", "B 2", dtype="double", constant=True), Arg("slopes", "B N d", dtype="double", constant=True, optional=True),
    ),
    outputs=(
        Arg("mean", "B N K C", dtype="double"), Arg("m2", "B N K C", dtype="double", constant=True), Arg("counts", "B N 3", dtype="int"),
        Arg("beyond", "B N", dtype="int"),
    ),
    options=(
        *(Option(f"{name}_kind", str) for name in _NAMES), Option("seed", int), Option("first_walk", int), Option("walks", int),
        Option("max_steps", int), Option("gradient", bool), Option("first_instance", int), Option("first_point", int),
    ),
    extras=(Extra("grids"), *(Extra(name, function=True) for name in "gfas")),
    rule=_shapes,
    tolerance=1e-3,  # as of walk
)  # fmt: skip
OPS = (MEDIA,)
METHODS["media"] = MEDIA


def media(
    start: Array,
    frame: Array,
    ends: Array | None = None,
    first: Array | None = None,
    dirichlet: Array | None = None,
    source: Array | None = None,
    diffusion: Array | None = None,
    screening: Array | None = None,
    bounds: Array | None = None,
    slopes: Array | None = None,
    *,
    dirichlet_kind: str = "number",
    source_kind: str = "none",
    diffusion_kind: str = "none",
    screening_kind: str = "none",
    seed: int = 0,
    first_walk: int = 0,
    walks: int = 64,
    max_steps: int = 1024,
    gradient: bool = False,
    first_instance: int = 0,
    first_point: int = 0,
    grids: Any = None,
    g: Any = None,
    f: Any = None,
    a: Any = None,
    s: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Walks [first_walk, first_walk + walks) of every point through a medium (5) to (8), as the nodes of their range.

    Parameters
    ----------
    start, frame, ends, first, dirichlet, source, and the keywords of these names
        As in ``wos.walk.walk``.
    diffusion, screening : (1 or B, numbers) float64, optional
        α and σ by their kinds, as source; absolute. "none" is 1 and 0. A "grid" of the diffusion has two tables: α, and (3) in absolute
        units. A "function" of the diffusion is called at neighbours too (4).
    bounds : (B, 2) float64
        What σ' (2) should not leave, up or down, at least 0; and the step of a function's differences. Absolute.
    slopes : (B, N, d) float64
        grad α / (2 α) where walks start, with ``gradient``; else None.

    Returns
    -------
    mean, m2, counts
        As in ``wos.walk.walk``.
    beyond : (B, N) int64
        Jumps to points where |σ'| was larger than its bound.

    Notes
    -----
    ``mean`` is differentiable in dirichlet and source: the walks are replayed. Cost: about 0.2 us a walk at epsilon 1e-3 where the bound is
    small, and a function's calls.
    """
    options = _options(
        "media", (dirichlet_kind, source_kind, diffusion_kind, screening_kind), seed, first_walk, walks, max_steps, gradient,
        first_instance, first_point,
    )  # fmt: skip
    arrays = (start, frame, ends, first, dirichlet, source, diffusion, screening, bounds, slopes)
    mean, m2, counts, beyond = call(MEDIA, arrays, options, (grids, g, f, a, s), None, backend, num_threads)
    return mean, m2, counts, beyond


def media_vjp(
    *inputs_and_grad: Any,
    dirichlet_kind: str = "number",
    source_kind: str = "none",
    diffusion_kind: str = "none",
    screening_kind: str = "none",
    seed: int = 0,
    first_walk: int = 0,
    walks: int = 64,
    max_steps: int = 1024,
    gradient: bool = False,
    first_instance: int = 0,
    first_point: int = 0,
    grids: Any = None,
    g: Any = None,
    f: Any = None,
    a: Any = None,
    s: Any = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[Array, ...]:
    """Gradients of ``media``: its inputs and the gradient of mean -> those of dirichlet and source.

    Costs the walks again. Memory: at most 64 partial sums of the numbers, whatever the number of walks.
    """
    options = _options(
        "media_vjp", (dirichlet_kind, source_kind, diffusion_kind, screening_kind), seed, first_walk, walks, max_steps, gradient,
        first_instance, first_point,
    )  # fmt: skip
    return call_vjp(MEDIA, inputs_and_grad, options, (grids, g, f, a, s), backend, num_threads)


def _options(
    name: str,
    kinds: tuple[str, ...],
    seed: Any,
    first_walk: Any,
    walks: Any,
    max_steps: Any,
    gradient: bool,
    first_instance: Any,
    first_point: Any,
) -> tuple[Any, ...]:
    label = f"wos.{name}"
    key, at, count, steps, _ = which_walks(label, seed, first_walk, walks, max_steps, 0.0)
    return *kinds, key, at, count, steps, bool(gradient), *which_samples(label, at, count, gradient, first_instance, first_point)
