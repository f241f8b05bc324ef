"""Recorded walks: their ends and source points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._call import call
from ..walk.traces import TRACE
from .jumping import How, blocks
from .run import Run


class Recorded(NamedTuple):
    """W walks from each of n points inside, and their source points, walk by walk in the order of the steps, in absolute coordinates."""

    outside: np.ndarray  # (N,) bool: points without walks
    boundary_points: np.ndarray  # (n W, d)
    weight: np.ndarray  # (n W,)
    n_truncated: np.ndarray  # (N,) walks cut off
    n_escaped: np.ndarray  # (N,)
    source_points: np.ndarray | None  # (S, d); None without a source
    share: np.ndarray | None  # (S,)
    steps: np.ndarray | None  # (n W,) source points of each walk


def recorded(run: Run, walks: range) -> Recorded:
    """Record the walks of a problem without reflecting walls and without a medium."""
    p, settings, statement = run.prepared, run.settings, run.statement
    inputs, memo = p.host_inputs(4)
    sourced, domain = statement.source is not None, (statement._rate, 0, statement.exterior, statement._reach)

    def trace(events: int) -> Any:
        options = (settings.signed_seed, walks.start, len(walks), settings.max_steps, *domain, sourced, events, settings.sobol)
        return call(TRACE, inputs, options, (memo,), None, settings.backend, settings.num_threads)

    end, weight, counts, point, share = trace(0)
    if sourced:
        end, weight, counts, point, share = trace(int(counts[..., 0].sum()))
    d, inside = end.shape[-1], ~np.isnan(inputs[0][0, :, 0])
    centre, extent = inputs[1][0, :d], inputs[1][0, d]
    met = (centre + extent * point, share, counts[inside][..., 0].reshape(-1)) if sourced else (None, None, None)
    ends = (centre + extent * end[inside]).reshape(-1, d), weight[inside].reshape(-1)
    return Recorded(~inside, *ends, counts[..., 1].sum(axis=1), counts[..., 2].sum(axis=1), *met)


def recorded_jumping(run: Run, walks: range) -> Recorded:
    """Record the walks of a problem whose diffusion jumps."""
    p, settings, sourced = run.prepared, run.settings, run.statement.source is not None
    frame, start, W = np.asarray(p.frame)[0], np.asarray(p.start)[0].astype(np.float64), len(walks)
    (N, d), interfaces = start.shape, run.statement._interfaces
    assert interfaces is not None
    limits = float(frame[d] * frame[d + 1]), run.statement._rate, settings.max_steps
    how = How(settings.seed, *limits, sourced, False, settings.backend, settings.num_threads)
    end, left, counts = np.empty((N, W, d)), np.empty((N, W)), np.empty((N, W, 3), np.int64)
    parts = []
    for part in blocks(interfaces, how, frame[:d] + frame[d] * start, walks):
        w = len(part.walks)
        points = slice(part.first_point, part.first_point + len(part.end) // w)
        some = slice(part.walks.start - walks.start, part.walks.stop - walks.start)
        end[points, some], counts[points, some] = part.end.reshape(-1, w, d), part.counts.reshape(-1, w, 3)
        left[points, some] = part.left.reshape(-1, w)
        point, walk = np.divmod(part.owner, w)
        parts.append(((part.first_point + point) * W + some.start + walk, part.point, part.share))
    inside = ~np.isnan(start[:, 0])
    met: Any = (None, None, None)
    if sourced:
        owner, point, share = (np.concatenate(x) for x in zip((np.zeros(0, np.int64), np.zeros((0, d)), np.zeros(0)), *parts))
        order, steps = np.argsort(owner, kind="stable"), np.bincount(owner, minlength=N * W).reshape(N, W)
        met = point[order], share[order], steps[inside].reshape(-1)
    ends = end[inside].reshape(-1, d), left[inside].reshape(-1)
    return Recorded(~inside, *ends, counts[..., 1].sum(axis=1), counts[..., 2].sum(axis=1), *met)
