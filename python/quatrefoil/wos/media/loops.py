"""The nodes of walks through media and their gradients: loops for the steps, array code for the data of some thousand walks at a time.

The same counters as csrc/wos/media/walker.hpp; equation numbers are those of its README.
"""

import math

import numpy as np

from ..._arrays import dense
from ..._backends.numba import jit
from ..data.loops import add_gradient, data_values, row_of
from ..query.loops import pieces
from ..query.loops_solids import is_solid
from ..walk.loops_paths import (
    _ROULETTE,
    CUT_OFF,
    ESCAPED,
    FIRST,
    HALF_SIDE,
    LIGHT,
    MOST_SCREENED,
    SHRUNK,
    _project,
    direction,
    see,
    source_weight,
)
from ..walk.loops_philox import SOURCE, TRIAL, bessel_series, philox, uniform
from ..walk.loops_walked import blocks, tallied
from ..walk.nodes import of_values
from .derivatives import derived, rates

_BEYOND = 1 + 1e-5  # as in walker.hpp


@jit
def _radius_of(d, u, v, w):
    """(4a), (4b) of walk."""
    return math.sqrt(u * v) if d == 2 else max(min(u, v), min(max(u, v), w))


@jit
def _enter(d, walk, point, instance, k0, k1, radius, bound, n, m, first):
    """(8) The first step of a walk of a pair: its directions in n and m, what is made of what it finds in ``first``; the radius of the
    point inside, and whether it goes there."""
    number, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
    w0, w1, w2, w3 = philox(np.uint64(FIRST), number, point, instance, k0, k1)
    u0, u1, u2, _ = philox(np.uint64(SOURCE), number, point, instance, k0, k1)
    v0, v1, _, _ = philox(np.uint64(SOURCE + TRIAL), number, point, instance, k0, k1)
    direction(w0, w1, n)
    direction(v0, v1, m)
    n *= sign
    m *= sign
    choice = uniform(w3)
    s = 2.0 * choice if choice < 0.5 else _radius_of(d, uniform(u0), uniform(u1), uniform(u2))
    density = 4.0 * s * -math.log(s) if d == 2 else 6.0 * s * (1.0 - s)
    likely = density / (0.5 * density + 0.5)
    z2 = radius * radius * bound
    value, slope = source_weight(d, s, -math.log(s), z2)
    value, slope = value * likely, slope * likely / radius
    left = 1.0 / bessel_series(d - 2, 0.25 * z2)
    q = 1.0 - left
    inside = uniform(w2) < q
    per_jump = z2 / (2.0 * d) / q if inside else 1.0
    outward = per_jump * slope if inside else d / (radius * left * bessel_series(d, 0.25 * z2))
    first[0], first[1] = per_jump * value if inside else 1.0, value
    for j in range(d):
        first[2 + j] = outward * (m[j] if inside else n[j])
        first[2 + d + j] = slope * m[j]
    return s, inside


@jit
def _ended(ends, x, weight, step, radius, at, corners, epsilon, end, place):
    """Where a walk ends, in ``end`` and ``place``; its mark."""
    mark = step
    if weight == 0.0:
        end[:] = x
        place[:] = 0.0
        return mark
    mark += CUT_OFF if radius > epsilon else 0
    if not is_solid(ends, x.size):
        for j in range(x.size):
            if abs(x[j]) >= HALF_SIDE:
                mark |= ESCAPED
    place[:] = corners
    _project(ends, x, at, corners, end)
    return mark


@jit
def _advance(ends, some, x, weight, step, walk, point, instance, k0, k1, epsilon, bound, pairs, max_steps, first, y, area, jumped, done,
             end, piece, place, mark):  # fmt: skip
    """A step of walks ``some`` (5), (6): ``x`` moves, the point inside is ``y``; or they have ended."""
    d = x.shape[1]
    n, m, corners = np.empty(d), np.empty(d), np.zeros(d - 1)
    for i in some:
        radius, at = see(ends, False, x[i], corners)
        if radius <= epsilon or step[i] >= max_steps or weight[i] == 0.0:
            done[i] = True
            piece[i] = at if weight[i] != 0.0 else 0
            mark[i] = _ended(ends, x[i], weight[i], step[i], radius, at, corners, epsilon, end[i], place[i])
            continue
        R = min(radius, MOST_SCREENED / math.sqrt(bound)) if bound > 0.0 else radius
        if pairs and step[i] == 0:
            R *= SHRUNK
            s, jumped[i] = _enter(d, walk[i], point[i], instance, k0, k1, R, bound, n, m, first[i])
            area[i] = R * R / (2.0 * d)
        else:
            w0, w1, w2, w3 = philox(np.uint64(step[i]), walk[i], point[i], instance, k0, k1)
            direction(w0, w1, n)
            m[:] = n
            if d == 2:
                s, decides = _radius_of(d, uniform(w1), uniform(w2), 0.0), w3
            else:
                v0, v1, v2, decides = philox(np.uint64(TRIAL + step[i]), walk[i], point[i], instance, k0, k1)
                s = _radius_of(d, uniform(v0), uniform(v1), uniform(v2))
            w = source_weight(d, s, -math.log(s), R * R * bound)[0] if bound > 0.0 else 1.0
            jumped[i] = uniform(decides) < R * R * bound / (2.0 * d) * w
            area[i] = R * R / (2.0 * d) * w
        y[i] = x[i] + R * s * m
        if jumped[i]:
            x[i] = y[i]
        else:
            x[i] += R * n
        step[i] += 1


@jit
def _survive(some, weight, step, walk, point, instance, k0, k1):
    """(14) of walk."""
    for i in some:
        size = abs(weight[i])
        if 0.0 < size < LIGHT:
            word, _, _, _ = philox(np.uint64(_ROULETTE + step[i] - 1), walk[i], point[i], instance, k0, k1)
            weight[i] = math.copysign(LIGHT, weight[i]) if uniform(word) * LIGHT < size else 0.0


class _Medium:
    """α and σ of one instance."""

    def __init__(self, kinds, numbers, functions, instance, b, frame, bounds):
        self.about, self.at = (kinds, numbers, functions), (instance - b, b, frame, bounds[1])
        self.bound = bounds[0] * frame[-2] ** 2

    def roots(self, X):
        (kind, _), (numbers, _), (function, _) = self.about
        first_instance, b, frame, _ = self.at
        if kind == "function":
            return np.sqrt(function(first_instance + b, np.ascontiguousarray(frame[:-2] + frame[-2] * X)))
        return np.sqrt(derived(kind, numbers, function, *self.at, X)[0])

    def share(self, X):
        """σ' over its bound."""
        return rates(*self.about, *self.at, X)[2] * self.at[2][-2] ** 2 / self.bound


class _Through:
    """Some walks of one instance: their ends and source points with what these count in the channels of a sample."""

    def __init__(self, start, frame, ends, medium, slopes, instance, point, first_point, walk, seed, max_steps, pairs, sources):
        n, d = len(point), start.shape[1]
        x, weight, step = np.ascontiguousarray(start[point], np.float64), np.ones(n), np.zeros(n, np.int64)
        root = medium.roots(x)
        first, y, area = np.full((n, 2 + 2 * d), np.nan), np.zeros((n, d)), np.zeros(n)
        first[:, 0], first[:, 1] = 1.0, 0.0
        jumped, done = np.zeros(n, bool), np.zeros(n, bool)
        self.end, self.piece, self.place = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1))
        self.mark, self.beyond = np.empty(n, np.int64), np.zeros(n, np.int64)
        ids = walk.astype(np.uint64), (point + first_point).astype(np.uint64), np.uint64(instance)
        keys = np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF)
        events, some = [], np.arange(n)
        while len(some):
            _advance(ends, some, x, weight, step, *ids, *keys, frame[-1], medium.bound, pairs, max_steps, first, y, area, jumped, done,
                     self.end, self.piece, self.place, self.mark)  # fmt: skip
            some = some[~done[some]]
            if sources and len(some):
                counted = weight[some] * area[some] * frame[-2] ** 2 / (medium.roots(y[some]) * root[some])
                events.append((y[some], counted, some, pairs & (step[some] == 1)))
            jumps = some[jumped[some]]
            if len(jumps):
                share = medium.share(x[jumps])
                self.beyond[jumps] += abs(share) > _BEYOND
                weight[jumps] *= 1 - share
                _survive(jumps, weight, step, *ids, *keys)
        self.left = weight
        moved = (step > 0) & (weight != 0)
        self.left[moved] *= medium.roots(self.end[moved]) / root[moved]
        none = (np.zeros((0, d)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))
        self.event, self.weight, self.owner, self.entering = (np.concatenate(parts) for parts in zip(none, *events))
        self.along, self.toward = np.ones((n, 1)), np.ones((n, 1))
        if pairs:
            first[:, 2:] /= frame[-2]
            at = slopes[point]
            self.along = np.concatenate([first[:, :1], first[:, 2 : 2 + d] - first[:, :1] * at], axis=1)
            self.toward = np.concatenate([first[:, 1:2], first[:, 2 + d :] - first[:, 1:2] * at], axis=1)

    def channels(self, found, at_sources):
        """(walks, channels) of what the data are at the ends and at the source points."""
        found = np.where(self.left != 0, self.left * np.where(self.left != 0, found, 0.0), 0.0)
        if at_sources is None:
            return found[:, None] * self.along
        held, later, n = self.weight * at_sources, ~self.entering, len(found)
        found = found + np.bincount(self.owner[later], held[later], minlength=n)
        here = np.bincount(self.owner[self.entering], held[self.entering], minlength=n)
        channels = found[:, None] * self.along
        return channels + here[:, None] * self.toward if self.entering.any() else channels


def media(start, frame, ends, first, dirichlet, source, diffusion, screening, bounds, slopes, mean, m2, counts, beyond, dirichlet_kind,
          source_kind, diffusion_kind, screening_kind, seed, first_walk, count, max_steps, gradient, first_instance, first_point, grids, g,
          f, a, s, num_threads):  # fmt: skip
    """The nodes of walks [first_walk, first_walk + count) of every point."""
    frame, ends, *data, bounds, slopes = map(dense, (frame, ends, dirichlet, source, diffusion, screening, bounds, slopes))
    N, channels, group = start.shape[1], mean.shape[3], 2 if gradient else 1
    for b in range(len(start)):
        of_b, instance = pieces(ends, first, b, start.shape[2]), first_instance + b
        medium = _Medium((diffusion_kind, screening_kind), data[2:], (a, s), instance, b, frame[b], bounds[b])
        values, marks, over = np.full((channels, N, count), np.nan), np.zeros((N, count), np.int64), np.zeros((N, count), np.int64)
        of_g, of_f = (None if x is None else row_of(kind, x, b, first) for kind, x in zip((dirichlet_kind, source_kind), data))
        for point, w in blocks(start[b], first_walk, count):
            walked = _Through(start[b], frame[b], of_b, medium, slopes if slopes is None else slopes[b], instance, point, first_point, w,
                              seed, max_steps, gradient, source_kind != "none")  # fmt: skip
            found = data_values(dirichlet_kind, of_g, g, instance, frame[b], walked.end, walked.piece, walked.place)
            at_sources = data_values(source_kind, of_f, f, instance, frame[b], walked.event) if len(walked.event) else None
            values[:, point, w - first_walk] = walked.channels(found, at_sources).T
            marks[point, w - first_walk], over[point, w - first_walk] = walked.mark, walked.beyond
        counts[b], beyond[b] = tallied(marks).sum(axis=1), over.sum(axis=1)
        for c in range(channels):
            samples = values[c] if group == 1 else (values[c, :, ::2] + values[c, :, 1::2]) * 0.5
            state = of_values(first_walk // group, samples, counts[b])
            mean[b, :, :, c], m2[b, :, :, c] = state.mean, state.m2


def media_vjp(start, frame, ends, first, dirichlet, source, diffusion, screening, bounds, slopes, grad, _0, _1, _2, _3, ddirichlet, dsource,
              _4, _5, _6, _7, dirichlet_kind, source_kind, diffusion_kind, screening_kind, seed, first_walk, count, max_steps, gradient,
              first_instance, first_point, grids, g, f, a, s, num_threads):  # fmt: skip
    """The walks again."""
    frame, ends, *data, bounds, slopes = map(dense, (frame, ends, dirichlet, source, diffusion, screening, bounds, slopes))
    group = 2 if gradient else 1
    state = of_values(first_walk // group, np.zeros((0, count // group)), np.zeros((0, 3)))
    for d in (ddirichlet, dsource):
        if d is not None:
            d[...] = 0
    for b in range(len(start)):
        of_b, instance = pieces(ends, first, b, start.shape[2]), first_instance + b
        medium = _Medium((diffusion_kind, screening_kind), data[2:], (a, s), instance, b, frame[b], bounds[b])
        of_g, of_f, to_g, to_f = (
            None if x is None else row_of(kind, x, b, first)
            for kind, x in zip(2 * (dirichlet_kind, source_kind), (*data[:2], ddirichlet, dsource))
        )
        for point, w in blocks(start[b], first_walk, count):
            node = np.searchsorted(state.starts, w // group, side="right") - 1
            share = grad[b, point, node] / (np.array(state.sizes)[node] * group)[:, None]
            walked = _Through(start[b], frame[b], of_b, medium, slopes if slopes is None else slopes[b], instance, point, first_point, w,
                              seed, max_steps, gradient, to_f is not None)  # fmt: skip
            along, toward = ((share * np.where(share == 0, 0.0, x)).sum(axis=1) for x in (walked.along, walked.toward))
            if to_g is not None:
                add_gradient(dirichlet_kind, of_g, along * walked.left, to_g, frame[b], walked.end, walked.piece, walked.place)
            if to_f is not None and len(walked.event):
                of_event = np.where(walked.entering, toward[walked.owner], along[walked.owner])
                add_gradient(source_kind, of_f, of_event * walked.weight, to_f, frame[b], walked.event)
