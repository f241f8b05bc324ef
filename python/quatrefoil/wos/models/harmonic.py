"""Harmonic caching: values at many points of one domain, from walks that start at the centres of a few balls that cover the points.

In each ball, u is a sum of harmonics, or in more than three dimensions an integral over the sphere. Equation numbers refer to
csrc/wos/walk/README.md, Harmonic caching. A group of walks from every ball gives one sample of every point, so means, errors, ``resume``
and ``merge`` work on samples as usual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._call import call
from ..._spec import Op
from ..walk.expansion import BALLS, EXPAND, GATHER, columns
from .composed import for_dimension
from .prepared import Prepared
from .state import State, of_samples

TRUNCATION = 1e-5  # of a ball's sum: reach^(modes + 1)
_PILOT_PAIRS, _PILOT_WALK = 8, 2**31  # walks from 2^31 on give the references, earlier walks the samples
_MAX_COEFFICIENTS = 1 << 24  # coefficients in memory at once


def reach_of(d: int) -> float:
    """The largest distance of a point from the centre of its ball, in units of the radius. The kernel's variance (18) is about 3 there."""
    return {2: 0.7, 3: 0.55}.get(d) or math.sqrt(1 - 0.5 ** (1 / (d - 1)))


def modes_of(d: int, screening: float) -> int:
    """The largest degree of a ball's harmonics. In more than three dimensions, they are the difference from the kernel (31)."""
    if d < 4:
        return {2: 32, 3: 18}[d]
    return math.ceil(math.log(TRUNCATION) / math.log(reach_of(d))) - 1 if screening > 0 else 0


@dataclass
class Group:
    """Balls with the same number of pairs of walks per sample. They are consecutive among all balls."""

    first: int
    centres: np.ndarray  # (K,) indices of the centres among the points
    pairs: int

    @property
    def balls(self) -> slice:
        return slice(self.first, self.first + len(self.centres))


@dataclass
class Cover:
    """The balls that contain each point, and the point's position in them."""

    groups: list[Group]
    z2: np.ndarray  # (K,) squared radius times the screening
    reference: np.ndarray  # (K,) estimates of u on the spheres
    begin: np.ndarray  # (N + 1,)
    ball: np.ndarray  # (P,)
    offset: np.ndarray  # (P, d)
    weight: np.ndarray  # (P,), with sum 1 for each point


def draw(p: Prepared, cover: Cover, first: int, samples: int) -> State:
    """Samples [first, first + samples) of every point."""
    max_pairs = max((g.pairs for g in cover.groups), default=0)
    if 2 * max_pairs * (first + samples) > _PILOT_WALK:
        limit = _PILOT_WALK // (2 * max_pairs)
        raise ValueError(f"solve: {first + samples} walks per point were requested, expected at most {limit} with a cache")
    d, modes = p.boundary.dimension, modes_of(p.boundary.dimension, p.statement._rate)
    values = np.full((p.sizes.N, samples), np.nan)
    counts = np.zeros((p.sizes.N, 3), np.int64)
    some = max(1, _MAX_COEFFICIENTS // max(1, sum(len(g.centres) * columns(d, modes, 2 * g.pairs) for g in cover.groups)))
    for at in range(0, samples, some):
        now, coefficients = min(some, samples - at), []
        for g in cover.groups:
            of_group, more = _expand(p, g, 2 * g.pairs * (first + at), 2 * g.pairs * now, now, cover.reference[g.balls], modes)
            coefficients.append(of_group)
            counts[g.centres] += more
        values[:, at : at + now] = _gather(p, cover, coefficients, now, modes)
    values[np.diff(cover.begin) == 0] = np.nan
    return of_samples(first, values[..., None], counts)


def _gather(p: Prepared, cover: Cover, coefficients: list[np.ndarray], samples: int, modes: int) -> Any:
    """Values at all points. In more than three dimensions group by group, because the number of coefficients depends on that of walks."""
    if p.boundary.dimension < 4:
        none = np.zeros((0, samples, columns(p.boundary.dimension, modes, 0)))
        of_points = np.concatenate([none, *coefficients]), cover.z2, cover.begin, cover.ball, cover.offset, cover.weight
        return _call(p, GATHER, of_points, (modes,), ())
    total: Any = 0.0
    for g, of_group in zip(cover.groups, coefficients):
        own = (cover.ball >= g.first) & (cover.ball < g.balls.stop)
        begin = np.concatenate([[0], np.cumsum(own)])[cover.begin]
        of_points = of_group, cover.z2[g.balls], begin, cover.ball[own] - g.first, cover.offset[own], cover.weight[own]
        total = total + _call(p, GATHER, of_points, (modes,), ())
    return total


def _expand(
    p: Prepared, g: Group, first_walk: int, walks: int, samples: int, reference: np.ndarray, modes: int
) -> tuple[np.ndarray, np.ndarray]:
    (start, *rest), memo = p.host_inputs(5)
    options = (p.data[0].kind, p.settings.signed_seed, g.first, first_walk, walks, samples, p.settings.max_steps, modes, p.statement._rate)
    inputs = np.ascontiguousarray(start[:, g.centres]), *rest, reference[None]
    coefficients, counts = _call(p, EXPAND, inputs, options, (memo, p.data[0].function))
    return coefficients[0], counts[0]


def _call(p: Prepared, op: Op, inputs: tuple[Any, ...], options: tuple[Any, ...], extras: tuple[Any, ...]) -> Any:
    return call(for_dimension(op, p.boundary.dimension), inputs, options, extras, None, p.settings.backend, p.settings.num_threads)


def cover_of(p: Prepared) -> Cover:
    """Choose balls around points, largest first, until every point is in one. Balls with more points get more walks."""
    (start, frame, *geometry), memo = p.host_inputs(4)
    live = np.flatnonzero(~np.isnan(start[0, :, 0]))
    x = start[0, live].astype(np.float64)
    inputs = np.ascontiguousarray(start[:, live]), frame, *geometry
    radius = _call(p, BALLS, inputs, (p.statement._rate,), (memo,))[0]
    members, centres = _greedy(x, radius, reach_of(x.shape[1]))
    pairs = _pairs(np.array([len(m) for m in members]), len(live))
    order = np.argsort(-pairs, kind="stable")
    members, centres, pairs = [members[k] for k in order], centres[order], pairs[order]
    groups = [
        Group(int(np.argmax(pairs == count)), live[centres[pairs == count]], int(count))
        for count in sorted({*pairs.tolist()}, reverse=True)
    ]
    reference = np.zeros(len(centres))
    for g in groups:
        pilot, _ = _expand(p, g, _PILOT_WALK, 2 * _PILOT_PAIRS, 1, np.zeros(len(g.centres)), 0)
        reference[g.balls] = np.where(np.isfinite(pilot[:, 0, 0]), pilot[:, 0, 0], 0.0)
    z2 = radius[centres] ** 2 * (p.statement._rate * float(frame[0, -2]) ** 2)
    return Cover(groups, z2, reference, *_memberships(members, centres, pairs, x, radius, live, p.sizes.N))


def _greedy(x: np.ndarray, radius: np.ndarray, reach: float) -> tuple[list[np.ndarray], np.ndarray]:
    from scipy.spatial import cKDTree

    tree, covered = cKDTree(x), np.zeros(len(x), bool)
    members, centres = [], []
    for i in np.argsort(-radius, kind="stable"):
        if not covered[i]:
            inside = np.sort(np.asarray(tree.query_ball_point(x[i], max(reach * radius[i], 0.0)), np.int64))
            inside = inside if i in inside else np.array([i])
            covered[inside] = True
            members.append(inside)
            centres.append(int(i))
    return members, np.array(centres, np.int64)


def _pairs(sizes: np.ndarray, points: int) -> np.ndarray:
    """Pairs per ball: powers of two, roughly proportional to the square root of its number of points.

    A sample costs about one walk per point, and at least two walks per ball.
    """
    share = np.sqrt(sizes) * (0.5 * points / max(np.sqrt(sizes).sum(), 1.0))
    return np.asarray(2 ** np.maximum(np.rint(np.log2(np.maximum(share, 1.0))), 0).astype(np.int64))


def _memberships(
    members: list[np.ndarray], centres: np.ndarray, pairs: np.ndarray, x: np.ndarray, radius: np.ndarray, live: np.ndarray, N: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(18) begin, ball, offset and weight of a Cover. Weights depend on the ball's walks and the variance of its kernel at the point."""
    d = x.shape[1]
    ball = np.repeat(np.arange(len(members)), [len(m) for m in members])
    point = np.concatenate([np.zeros(0, np.int64), *members])
    order = np.lexsort((ball, point))
    ball, point = ball[order], point[order]
    at = centres[ball]
    size = radius[at]
    offset = (x[point] - x[at]) / np.where(size > 0, size, 1.0)[:, None]
    rho2 = (offset**2).sum(axis=1)
    weight = pairs[ball] * (1 - rho2) ** (d - 1) / (1 + rho2) / np.maximum(size, 1e-300) ** 2
    weight /= np.bincount(point, weight, minlength=len(x))[point]
    begin = np.zeros(N + 1, np.int64)
    begin[1:] = np.cumsum(np.bincount(live[point], minlength=N))
    return begin, ball, np.ascontiguousarray(offset), weight
