"""Ends and source points of walks, with array API functions in float64: csrc/wos/walk/README.md, Operators."""

from __future__ import annotations

from typing import Any

from ..._array_tools import zeros
from ..data.composition import Points
from .composition_balls import First
from .composition_batches import WalkBatch, Walks, named
from .composition_paths import walk_paths
from .traces import TRACE


def trace(xp: Any, *arguments: Any, **_: Any) -> tuple[Any, ...]:
    args = named(TRACE, arguments[:4], arguments[4:15], gradient=False, first_instance=0, source_kind="none")
    args.source_kind = "number" if args.sourced else "none"
    walks, (_, N, d), W = Walks(xp, TRACE.label, args), args.start.shape, args.walks
    by_rows = []
    for rows, ranges in walks.batches():
        parts = [_traced(WalkBatch(walks, rows, *some), args) for some in ranges]
        by_rows.append([xp.concat(_alike(xp, same), axis=1) for same in zip(*parts)])
    S, like = args.events, args.frame
    none = zeros(xp, (S, d), like), zeros(xp, (S,), like)
    if not by_rows:
        return zeros(xp, (N, W, d), like), zeros(xp, (N, W), like), zeros(xp, (N, W, 3), like, xp.int64), *none
    exit, weight, counts, *steps = (xp.concat(_alike(xp, parts), axis=0) for parts in zip(*by_rows))
    if S == 0 or steps[1].shape[2] == 0:
        return exit, weight, counts, *none
    points, weights = steps
    K, length = weights.shape[2], xp.reshape(counts[:, :, 0], (N * W,))
    stop = xp.cumulative_sum(length)
    event = xp.arange(S, dtype=xp.int64, device=stop.device)
    owner = xp.searchsorted(stop, event, side="right")
    valid = owner < N * W
    owner = xp.where(valid, owner, xp.zeros_like(owner))
    at = xp.where(valid, owner * K + event - xp.take(stop - length, owner), xp.zeros_like(owner))
    point, share = xp.take(xp.reshape(points, (N * W * K, d)), at, axis=0), xp.take(xp.reshape(weights, (N * W * K,)), at)
    return exit, weight, counts, xp.where(valid[:, None], point, xp.zeros_like(point)), xp.where(valid, share, xp.zeros_like(share))


def _traced(batch: WalkBatch, args: Any) -> list[Any]:
    """Exit, weight, counts and, with events, source points and weights of all steps, (points, walks, ...)."""
    xp, shape = batch.xp, (batch.height, batch.count)
    points: list[Any] = []
    weights: list[Any] = []

    def on_source(at: Points, weight: Any, active: Any, first: First, entering: bool) -> None:
        points.append(at.x)
        weights.append(weight)

    walked = walk_paths(batch, args.max_steps, args.screening, on_source if args.sourced else None)
    nan = xp.full_like(walked.left, xp.nan)
    exit = xp.where(batch.valid[:, None], walked.end.x, nan[:, None])
    marks = walked.marks(batch)
    results = [exit, xp.where(batch.valid, walked.left, nan), xp.where(batch.valid[:, None], marks, xp.zeros_like(marks))]
    if args.events:
        empty = [exit[:, None, :][:, :0, :], nan[:, None][:, :0]]
        results += [xp.stack(x, axis=1) if x else none for x, none in zip((points, weights), empty)]
    return [xp.reshape(x, (*shape, *x.shape[1:])) for x in results]


def _alike(xp: Any, parts: tuple[Any, ...]) -> list[Any]:
    """Pad arrays (points, walks, steps, ...) to the same number of steps."""
    if parts[0].ndim < 3:
        return list(parts)
    longest = max(x.shape[2] for x in parts)
    return [xp.concat([x, zeros(xp, (*x.shape[:2], longest - x.shape[2], *x.shape[3:]), x)], axis=2) for x in parts]
