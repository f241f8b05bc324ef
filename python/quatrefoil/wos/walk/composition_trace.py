"""Ends of walks and the points along them, with array API functions in float64: csrc/wos/walk/README.md, Operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..._array_tools import zeros
from ..data.composition import Points
from .composition_balls import First
from .composition_batches import WalkBatch, Walks, named
from .composition_paths import Callback, Walked, walk_paths
from .traces import TRACE

Run = Callable[[WalkBatch, list[Callback | None]], tuple[Walked, Any]]  # with one callback per kind of points; also the jumps of walks


def trace(xp: Any, *arguments: Any, **_: Any) -> tuple[Any, ...]:
    args = named(TRACE, arguments[:4], arguments[4:15], gradient=False, first_instance=0, source_kind="none")
    args.source_kind = "number" if args.sourced else "none"

    def run(batch: WalkBatch, on_points: list[Callback | None]) -> tuple[Walked, Any]:
        return walk_paths(batch, args.max_steps, args.screening, on_points[0]), None

    exit, weight, counts, _, _, point, share = record(xp, Walks(xp, TRACE.label, args), args.events, [args.sourced], run)
    return exit, weight, counts, point, share


def record(xp: Any, walks: Walks, S: int, wanted: Sequence[bool], run: Run) -> tuple[Any, ...]:
    """Ends, counts, jumps, numbers of points, and S points of the ``wanted`` kinds with their weights, as ``wos.walk.traces`` describes."""
    (_, N, d), W, like = walks.shape, walks.count, walks.frame
    by_rows = []
    for rows, ranges in walks.batches():
        parts = [_recorded(WalkBatch(walks, rows, *some), wanted, run) for some in ranges]
        by_rows.append([xp.concat(_alike(xp, same), axis=1) for same in zip(*parts)])
    none = zeros(xp, (S, d), like), zeros(xp, (S,), like)
    if not by_rows:
        ends = zeros(xp, (N, W, d), like), zeros(xp, (N, W), like)
        return *ends, *(zeros(xp, (N, W, *k), like, xp.int64) for k in ((3,), (), (3,))), *none
    exit, weight, counts, beyond, *met = (xp.concat(_alike(xp, parts), axis=0) for parts in zip(*by_rows))
    kinds = [met[i : i + 3] for i in range(0, len(met), 3)]
    numbers = [xp.sum(xp.astype(active, xp.int64), axis=2) for _, _, active in kinds]
    numbers = xp.stack([*numbers, *[xp.zeros_like(beyond)] * (3 - len(numbers))], axis=2)
    flat = [[xp.reshape(x, (N * W * active.shape[2], *x.shape[3:])) for x in (x, share, active)] for x, share, active in kinds]
    points, shares, active = (xp.concat(parts, axis=0) for parts in zip(*flat))
    if S == 0 or active.shape[0] == 0:
        return exit, weight, counts, beyond, numbers, *none
    stop = xp.cumulative_sum(xp.astype(active, xp.int64))
    event = xp.arange(S, dtype=xp.int64, device=stop.device)
    valid = event < stop[-1]
    at = xp.searchsorted(stop, event, side="right")
    at = xp.where(valid, at, xp.zeros_like(at))
    point, share = xp.take(points, at, axis=0), xp.take(shares, at, axis=0)
    point, share = xp.where(valid[:, None], point, xp.zeros_like(point)), xp.where(valid, share, xp.zeros_like(share))
    return exit, weight, counts, beyond, numbers, point, share


def from_start(batch: WalkBatch, walked: Walked) -> Walked:
    """The same walks, except that those without an end stay at their start."""
    x = batch.xp.where((walked.left != 0)[:, None], walked.end.x, batch.at.x)
    return walked._replace(end=walked.end._replace(x=x))


def _recorded(batch: WalkBatch, wanted: Sequence[bool], run: Run) -> list[Any]:
    """Ends, weights, counts and jumps of walks; for each kind of points, positions and weights in all steps, and masks."""
    xp, shape = batch.xp, (batch.height, batch.count)
    met: list[tuple[list[Any], list[Any], list[Any]]] = [([], [], []) for _ in wanted]

    def callback(kind: int) -> Callback:
        def add(at: Points, weight: Any, active: Any, first: First, entering: bool) -> None:
            for values, x in zip(met[kind], (at.x, weight, active)):
                values.append(at.spread(xp, x))

        return add

    walked, beyond = run(batch, [callback(kind) if want else None for kind, want in enumerate(wanted)])
    nan = xp.full_like(walked.left, xp.nan)
    marks = walked.marks(batch)
    marks = xp.where(batch.valid[:, None], marks, xp.zeros_like(marks))
    beyond = marks[:, 0] * 0 if beyond is None else xp.where(batch.valid, beyond, xp.zeros_like(beyond))
    results = [xp.where(batch.valid[:, None], walked.end.x, nan[:, None]), xp.where(batch.valid, walked.left, nan), marks, beyond]
    empty = walked.end.x[:, None, :][:, :0, :], nan[:, None][:, :0], batch.valid[:, None][:, :0]
    for of_kind in met:
        results += [xp.stack(x, axis=1) if x else none for x, none in zip(of_kind, empty)]
    return [xp.reshape(x, (*shape, *x.shape[1:])) for x in results]


def _alike(xp: Any, parts: tuple[Any, ...]) -> list[Any]:
    """Pad arrays (points, walks, steps, ...) to the same number of steps."""
    if parts[0].ndim < 3:
        return list(parts)
    longest = max(x.shape[2] for x in parts)
    return [xp.concat([x, zeros(xp, (*x.shape[:2], longest - x.shape[2], *x.shape[3:]), x)], axis=2) for x in parts]
