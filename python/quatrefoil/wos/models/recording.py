"""Recorded walks: their ends, their source points and their points on reflecting walls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._call import call
from ..media import MEDIA_TRACE
from ..stars import STARS_TRACE
from ..walk.traces import TRACE
from .composed import for_dimension
from .doubts import warn_of_jumps
from .run import Run
from .units import alpha_unit

TRACES = {"stars": STARS_TRACE, "media": MEDIA_TRACE}
KINDS = ("dirichlet", "source", "neumann", "robin")


class Met(NamedTuple):
    """S points where n walks evaluate data of one kind, walk by walk in the order of the steps; absolute coordinates."""

    points: np.ndarray  # (S, d)
    weight: np.ndarray  # (S,)
    each: np.ndarray  # (n,) number of points of each walk


class Recorded(NamedTuple):
    """Walks from N points, W from each point inside."""

    outside: np.ndarray  # (N,) bool: points without walks
    n_truncated: np.ndarray  # (N,) walks cut off
    n_escaped: np.ndarray  # (N,)
    met: dict[str, Met]  # by kind of data; the ends, one per walk, are those of "dirichlet"


def recorded(run: Run, walks: range) -> Recorded:
    """Record the walks of a problem."""
    if run.statement._interfaces is not None:
        return _jumping(run, walks)
    return _plain(run, walks) if run.statement._method == "walk" else _in_lists(run, walks)


def _plain(run: Run, walks: range) -> Recorded:
    """Record walks without reflecting walls and without a medium."""
    p, settings, statement = run.prepared, run.settings, run.statement
    inputs, memo = p.host_inputs(4)
    op = for_dimension(TRACE, p.boundary.dimension, statement.exterior)
    sourced, domain = statement.source is not None, (statement._rate, 0, statement.exterior, statement._reach)

    def trace(events: int) -> Any:
        options = (settings.signed_seed, walks.start, len(walks), settings.max_steps, *domain, sourced, events, settings.sobol)
        return call(op, inputs, options, (memo,), None, settings.backend, settings.num_threads)

    end, weight, counts, point, share = trace(0)
    if sourced:
        end, weight, counts, point, share = trace(int(counts[..., 0].sum()))
    inside = ~np.isnan(inputs[0][0, :, 0])
    met = {"source": (point, share, counts[inside][..., 0].reshape(-1))} if sourced else {}
    return _scaled(inputs[1][0], inside, end, weight, counts, met)


def _in_lists(run: Run, walks: range) -> Recorded:
    """Record walks on stars or through media."""
    p, settings = run.prepared, run.settings
    op, chunk = for_dimension(TRACES[run.statement._method], p.boundary.dimension), p.as_chunk()
    inputs, memo = p.host_inputs(len(op.inputs))

    def trace(events: int) -> Any:
        options = {**chunk.options, "first_walk": walks.start, "walks": len(walks), "events": events}
        values = tuple([options[option.name] for option in op.options])
        return call(op, inputs, values, (memo, *chunk.extras[1:]), None, settings.backend, settings.num_threads)

    end, weight, counts, beyond, numbers, point, share = trace(0)
    if numbers.any():
        *_, point, share = trace(int(numbers.sum()))
    warn_of_jumps("Problem.operator", int(beyond.sum()))
    inside, stops = ~np.isnan(inputs[0][0, :, 0]), np.cumsum(numbers.sum(axis=(0, 1)))[:-1]
    kinds = zip(KINDS[1:], np.split(point, stops), np.split(share, stops), np.moveaxis(numbers[inside], 2, 0))
    met = {k: (x, w, each.reshape(-1)) for k, x, w, each in kinds if chunk.options.get(f"{k}_kind", "none") != "none"}
    if p.bound is not None and "source" in met:  # the source has the unit of α
        x, w, each = met["source"]
        met["source"] = x, np.ldexp(w, -int(alpha_unit(p.bound.largest, p.data[-2])[0])), each
    return _scaled(inputs[1][0], inside, end, weight, counts, met)


def _scaled(
    frame: np.ndarray, inside: np.ndarray, end: np.ndarray, weight: np.ndarray, counts: np.ndarray, met: dict[str, tuple[Any, ...]]
) -> Recorded:
    """The recorded walks in absolute coordinates. ``met``: scaled points along the walks, their weights and numbers."""
    d = end.shape[-1]
    ends = end[inside].reshape(-1, d), weight[inside].reshape(-1), np.ones(weight[inside].size, np.int64)
    of_kinds = {kind: Met(frame[:d] + frame[d] * x, *rest) for kind, (x, *rest) in {"dirichlet": ends, **met}.items()}
    return Recorded(~inside, counts[..., 1].sum(axis=1), counts[..., 2].sum(axis=1), of_kinds)


def _jumping(run: Run, walks: range) -> Recorded:
    """Record the walks of a problem whose diffusion jumps."""
    p, sourced = run.prepared, run.statement.source is not None
    start, W = np.asarray(p.start)[0], len(walks)
    (N, d), interfaces = start.shape, run.statement._interfaces
    assert interfaces is not None
    end, left, counts = np.empty((N, W, d)), np.empty((N, W)), np.empty((N, W, 3), np.int64)
    parts: dict[str, list[Any]] = {}
    for _, _, part in p.as_chunk().jumps(interfaces, walks.start, W):
        w = len(part.walks)
        points = slice(part.first_point, part.first_point + len(part.end) // w)
        some = slice(part.walks.start - walks.start, part.walks.stop - walks.start)
        end[points, some], counts[points, some] = part.end.reshape(-1, w, d), part.counts.reshape(-1, w, 3)
        left[points, some] = part.left.reshape(-1, w)
        met_by = {"source": (part.owner, part.point, part.share)} if sourced else {}
        met_by |= {KINDS[1 + k]: (wall.owner, wall.point, wall.share) for k, wall in part.walls.items()}
        for kind, (owner, x, share) in met_by.items():
            point, walk = np.divmod(owner, w)
            parts.setdefault(kind, []).append(((part.first_point + point) * W + some.start + walk, x, share))
    inside = ~np.isnan(start[:, 0])
    met = {"dirichlet": Met(end[inside].reshape(-1, d), left[inside].reshape(-1), np.ones(left[inside].size, np.int64))}
    for kind in p.statement._names[1 : len(p.linear)]:
        if p.data[KINDS.index(kind)].kind == "none":
            continue
        none = np.zeros(0, np.int64), np.zeros((0, d)), np.zeros(0)
        owner, point, share = (np.concatenate(x) for x in zip(none, *parts.get(kind, [])))
        order, steps = np.argsort(owner, kind="stable"), np.bincount(owner, minlength=N * W).reshape(N, W)
        met[kind] = Met(point[order], share[order], steps[inside].reshape(-1))
    return Recorded(~inside, counts[..., 1].sum(axis=1), counts[..., 2].sum(axis=1), met)
