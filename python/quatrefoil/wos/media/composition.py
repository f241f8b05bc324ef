"""Walks through media with array API functions in float64, step by step, with the counters of csrc/wos/media/walker.hpp.

Equation numbers refer to csrc/wos/media/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._spec import Op
from ..walk.composition_balls import LIGHT, MAX_SCREENED, SHRUNK, First, bessel_series, roulette, source_weight
from ..walk.composition_batches import WalkBatch
from ..walk.composition_paths import Callback, Ended, Walked, go_on, landing
from ..walk.composition_philox import (
    FIRST,
    ROULETTE,
    SOURCE,
    SOURCE_DIRECTION,
    TRIAL,
    Lanes,
    direction,
    source_radius,
    uniform,
    unit_vector,
)
from ..walk.composition_trace import from_start, record
from ..walk.composition_walk import Problem, Run
from . import MEDIA, MEDIA_TRACE
from .composition_medium import Medium

BEYOND = 1 + 1e-5  # as in medium.hpp

__all__ = ["media", "media_trace", "media_vjp"]


class _Drawn(NamedTuple):
    """A step of each walk."""

    n: Any  # direction (P, d)
    m: Any  # direction of the point inside
    s: Any  # its radius in the unit ball
    weight: Any  # its source weight
    jumped: Any  # whether the walk jumps there


def _step(xp: Any, lanes: Lanes, d: int, step: int, R: Any, bound: Any) -> _Drawn:
    """(5), (6) Draw one step."""
    if d == 2:
        ((w0, u, v, decides),) = lanes.words(xp, step)
        n, s = direction(xp, w0, u, d), source_radius(xp, d, (u, v))
    elif d == 3:
        (w0, w1, _, _), (u, v, w, decides) = lanes.words(xp, step, TRIAL + step)
        n, s = direction(xp, w0, w1, d), source_radius(xp, d, (u, v, w))
    else:
        ((u, v, _, decides),) = lanes.words(xp, SOURCE + step)
        n, s = unit_vector(xp, lanes, step, d), source_radius(xp, d, (u, v))
    w = source_weight(d, s, -xp.log(s), R * R * bound)[0]
    return _Drawn(n, n, s, w, uniform(xp, decides) < R * R * bound / (2.0 * d) * w)


def enter(xp: Any, walks: Lanes, d: int, R: Any, bound: Any) -> tuple[_Drawn, First]:
    """(8) Draw the first step of pairs."""
    lanes, sign = walks.pairs()
    sign, words = xp.astype(sign, xp.float64)[:, None], lanes.words(xp, SOURCE)[0]
    if d > 3:
        n, m, (_, _, w2, w3) = unit_vector(xp, lanes, FIRST, d), unit_vector(xp, lanes, SOURCE_DIRECTION, d), words
    else:
        (w0, w1, w2, w3), (v0, v1, _, _) = lanes.words(xp, FIRST, SOURCE + TRIAL)
        n, m = direction(xp, w0, w1, d), direction(xp, v0, v1, d)
    n, m, choice = sign * n, sign * m, uniform(xp, w3)
    s = xp.where(choice < 0.5, 2.0 * choice, source_radius(xp, d, words))
    density = -4.0 * s * xp.log(s) if d == 2 else 2.0 * d / (d - 2.0) * s * (1.0 - s ** (d - 2.0))
    likely = density / (0.5 * density + 0.5)
    z2 = R * R * bound
    value, slope = source_weight(d, s, -xp.log(s), z2)
    value, slope = value * likely, slope * likely / R
    left = 1.0 / bessel_series(d - 2, 0.25 * z2)
    q = 1.0 - left
    inside = uniform(xp, w2) < q
    per_jump = z2 / (2.0 * d) / xp.where(inside, q, xp.ones_like(q))
    outward = xp.where(inside, per_jump * slope, d / (R * left * bessel_series(d, 0.25 * z2)))
    along = xp.where(inside, per_jump * value, xp.ones_like(value))
    first = First(along, outward[:, None] * xp.where(inside[:, None], m, n), value, slope[:, None] * m)
    return _Drawn(n, m, s, xp.ones_like(s), inside), first


def of_root(first: First, slopes: Any, extent: Any) -> First:
    """(8) Convert factors for ∇U to factors for √α ∇u. ``slopes`` is grad α / (2 α)."""
    at = slopes * extent[:, None]
    return First(first.along, first.outward - first.along[:, None] * at, first.source, first.toward - first.source[:, None] * at)


def _shares(batch: WalkBatch, medium: Medium, x: Any, jumps: Any) -> Any:
    """σ' over its bound (P,) where walks have jumped to x, 0 elsewhere. NumPy evaluates it only there."""
    xp, share = batch.xp, batch.xp.zeros_like(x[:, 0])
    if xp.__name__ != "numpy":
        return xp.where(jumps, medium.share(batch.at._replace(x=x)), share)
    (some,) = xp.nonzero(jumps)
    if len(some):
        share[some] = medium.only(some).share(batch.at.only(xp, some)._replace(x=x[some]))
    return share


def _through(batch: WalkBatch, medium: Medium, slopes: Any, max_steps: int, on_source: Callback | None) -> tuple[Walked, Any]:
    """Like ``walk_paths``. Also returns how often each walk jumped to a point with |σ'| above the bound."""
    xp, x, active, bound, whole, ended = batch.xp, batch.at.x, batch.valid, medium.bound, batch, Ended()
    d = x.shape[1]
    weight, first = xp.ones_like(x[:, 0]), First.none(xp, x)
    steps, root = xp.zeros(x.shape[:1], dtype=xp.int64, device=x.device), medium.roots(batch.at)
    beyond, max_radius = xp.zeros_like(steps), MAX_SCREENED / xp.sqrt(xp.where(bound > 0, bound, xp.ones_like(bound)))
    max_radius = xp.where(bound > 0, max_radius, xp.full_like(max_radius, math.inf))
    for step in range(max_steps):
        if step > 0:
            state = [x, weight, steps, beyond, root, *first, active, max_radius, medium.bound, medium.step]
            batch, state = ended.drop(batch, active & (weight != 0), state)
            x, weight, steps, beyond, root, *of_first, active, max_radius, medium.bound, medium.step = state
            first = First(*of_first)
        radius, _, _ = batch.domain.see(x)
        active = active & (radius > batch.epsilon) & (weight != 0)
        if not go_on(xp, step, active):
            break
        R = xp.minimum(radius, max_radius)
        enters = step == 0 and batch.pairs
        if enters:
            R = SHRUNK * R
            drawn, entered = enter(xp, batch.lanes, d, R, medium.bound)
            first = of_root(entered, slopes, batch.extent).where(xp, active, First.none(xp, x))
        else:
            drawn = _step(xp, batch.lanes, d, step, R, medium.bound)
        y = x + (R * drawn.s)[:, None] * drawn.m
        if on_source:
            at = batch.at._replace(x=xp.where(active[:, None], y, x))
            area = (R * batch.extent) ** 2 / (2.0 * d) * drawn.weight
            on_source(at, weight * area / (medium.roots(at) * root), active, first, enters)
        moved = xp.where(drawn.jumped[:, None], y, x + R[:, None] * drawn.n)
        x, steps = xp.where(active[:, None], moved, x), steps + xp.astype(active, xp.int64)
        jumps = active & drawn.jumped
        share = _shares(batch, medium, x, jumps)
        beyond = beyond + xp.astype(xp.abs(share) > BEYOND, xp.int64)
        weight = weight * (1 - share)
        left = roulette(xp, weight, uniform(xp, batch.lanes.words(xp, ROULETTE + step)[0][0]))
        weight = xp.where(jumps & (xp.abs(weight) < LIGHT), left, weight)
    x, weight, steps, beyond, root, *of_first = ended.restore(batch, [x, weight, steps, beyond, root, *first])
    walked = landing(whole, x, weight, First(*of_first), steps)
    left = xp.where((weight != 0) & (steps > 0), weight * medium.roots(walked.end) / root, weight)
    return walked._replace(left=left), beyond


def _problem(
    xp: Any, inputs: Sequence[Any], options: Sequence[Any], functions: dict[str, Any], adjoint: bool = False, op: Op = MEDIA
) -> tuple[Problem, Run]:
    problem, slopes = Problem(xp, op, inputs, options, functions, adjoint=adjoint), inputs[-1]
    (diffusion,), (screening,) = problem.data[2:]
    slopes = None if slopes is None else xp.reshape(slopes, (slopes.shape[0] * slopes.shape[1], slopes.shape[2]))

    def run(batch: WalkBatch, on_source: Callback | None) -> tuple[Walked, Any]:
        medium = Medium(xp, diffusion, screening, batch.at, xp.take(problem.args.bounds, batch.at.row, axis=0))
        of_batch = None if slopes is None else xp.take(slopes, batch.of_row, axis=0)
        return _through(batch, medium, of_batch, problem.args.max_steps, on_source)

    return problem, run


def media(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    """The nodes of the walks of every point."""
    problem, run = _problem(xp, arguments[:10], arguments[10:], functions)
    mean, m2, counts = problem.nodes(run, 4)
    return mean, m2, counts[:, :, :3], counts[:, :, 3]


def media_trace(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    """The ends and source points of walks."""
    problem, run = _problem(xp, arguments[:10], arguments[10:], functions, op=MEDIA_TRACE)

    def traced(batch: WalkBatch, on_points: list[Callback | None]) -> tuple[Walked, Any]:
        walked, beyond = run(batch, on_points[0])
        return from_start(batch, walked), beyond

    return record(xp, problem.walks, problem.args.events, [any(problem.data[1])], traced)


def media_vjp(xp: Any, *arguments: Any, **functions: Any) -> tuple[Any, ...]:
    """Gradients, by replaying the walks."""
    problem, run = _problem(xp, arguments[:10], arguments[11:], functions, True)
    return None, None, None, None, *problem.gradients(run, arguments[10]), None, None, None, None
