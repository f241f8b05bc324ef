"""Walks through media: loops for the steps, array code for the data of thousands of walks at a time.

Uses the counters of csrc/wos/media/walker.hpp. Equation numbers refer to csrc/wos/media/README.md.
"""

import math

import numpy as np

from ..._backends.numba import jit
from ..data.loops import row_of
from ..query.loops import facets_of
from ..query.loops_solids import Distances, is_function
from ..walk.composition_balls import LIGHT, MAX_SCREENED, SHRUNK
from ..walk.composition_philox import FIRST, ROULETTE, SOURCE, TRIAL
from ..walk.loops_nodes import Met, counters, factors, first_balls, forward, record, replay
from ..walk.loops_paths import CUT_OFF, ESCAPED, end_all, see
from ..walk.loops_philox import bessel_series, direction, philox, roulette, source_radius, source_weight, uniform
from . import MEDIA, MEDIA_TRACE
from .composition import BEYOND
from .derivatives import derived, rates, slopes_of_grid


@jit
def enter(d, walk, point, instance, k0, k1, radius, bound, n, m, first):
    """(8) Draw the first step of a walk of a pair.

    Writes the directions of the step and of the point inside to n and m, and the factors of contributions to ``first``. Returns the radius
    of the point inside, and whether the walk jumps there.
    """
    number, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
    w0, w1, w2, w3 = philox(np.uint64(FIRST), number, point, instance, k0, k1)
    u0, u1, u2, _ = philox(np.uint64(SOURCE), number, point, instance, k0, k1)
    v0, v1, _, _ = philox(np.uint64(SOURCE + TRIAL), number, point, instance, k0, k1)
    direction(w0, w1, n)
    direction(v0, v1, m)
    n *= sign
    m *= sign
    choice = uniform(w3)
    s = 2.0 * choice if choice < 0.5 else source_radius(d, uniform(u0), uniform(u1), uniform(u2))
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
def _advance(ends, sees, some, x, radius, weight, step, walk, point, instance, k0, k1, epsilon, bound, pairs, max_steps, first, y, area,
             jumped, done, facet, weights, mark):  # fmt: skip
    """(5), (6) Take one step of the walks ``some``: move ``x`` and write the point inside to ``y``, or set ``done`` if a walk has ended.

    Distances are computed if ``sees``, otherwise read from ``radius``.
    """
    d = x.shape[1]
    n, m = np.empty(d), np.empty(d)
    for i in some:
        if sees:
            radius[i], facet[i] = see(ends, False, x[i], weights[i])
        if radius[i] <= epsilon or step[i] >= max_steps or weight[i] == 0.0:
            done[i] = True
            mark[i] = step[i] + (CUT_OFF if weight[i] != 0.0 and radius[i] > epsilon else 0)
            continue
        R = min(radius[i], MAX_SCREENED / math.sqrt(bound)) if bound > 0.0 else radius[i]
        if pairs and step[i] == 0:
            R *= SHRUNK
            s, jumped[i] = enter(d, walk[i], point[i], instance, k0, k1, R, bound, n, m, first[i])
            area[i] = R * R / (2.0 * d)
        else:
            w0, w1, w2, w3 = philox(np.uint64(step[i]), walk[i], point[i], instance, k0, k1)
            direction(w0, w1, n)
            m[:] = n
            if d == 2:
                s, decides = source_radius(d, uniform(w1), uniform(w2), 0.0), w3
            else:
                v0, v1, v2, decides = philox(np.uint64(TRIAL + step[i]), walk[i], point[i], instance, k0, k1)
                s = source_radius(d, uniform(v0), uniform(v1), uniform(v2))
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
    """Russian roulette, walk (14), for light walks among ``some``."""
    for i in some:
        if 0.0 < abs(weight[i]) < LIGHT:
            weight[i] = roulette(weight[i], philox(np.uint64(ROULETTE + step[i] - 1), walk[i], point[i], instance, k0, k1)[0])


class Medium:
    """α and σ of one instance."""

    def __init__(self, p, b):
        kinds, tables, functions = (every[-2:] for every in (p.kinds, p.tables, p.functions))
        self.about, self.at = (kinds, tables, functions), (p.first_instance, b, p.frame[b], p.bounds[b, 1])
        self.bound = p.bounds[b, 0] * p.frame[b, -2] ** 2

    def roots(self, X):
        (kind, _), (numbers, _), (function, _) = self.about
        first_instance, b, frame, _ = self.at
        if kind == "function":
            return np.sqrt(function(first_instance + b, np.ascontiguousarray(frame[:-2] + frame[-2] * X)))
        return np.sqrt(derived(kind, numbers, function, *self.at, X)[0])

    def share(self, X):
        """σ' relative to its bound."""
        return rates(*self.about, *self.at, X)[2] * self.at[2][-2] ** 2 / self.bound

    def slopes(self, X):
        """grad α / (2 α) in scaled coordinates."""
        (kind, _), (numbers, _), (function, _) = self.about
        _, b, frame, _ = self.at
        if kind == "grid":
            return slopes_of_grid(row_of(kind, numbers, b, None), frame, X) * frame[-2]
        alpha, slope, _ = derived(kind, numbers, function, *self.at, X)
        return slope / (2 * alpha[:, None]) * frame[-2]


class _Walked:
    """Runs walks and stores the points at which they evaluate data; see ``loops_nodes.Problem``."""

    firsts, skips_unknown = ("first", "first"), False

    def __init__(self, p, b, point, walk, wanted):
        if p.start.shape[2] > 3:
            raise ValueError("wos.media: media are supported only in two and three dimensions by these loops")
        ends, frame, (n, d) = facets_of(p.ends, p.first, b, p.start.shape[2]), p.frame[b], (len(point), p.start.shape[2])
        medium, distances = Medium(p, b), Distances(ends[0], p.grids) if is_function(ends, d) else None
        x, radius, weight, step = np.ascontiguousarray(p.start[b, point], np.float64), np.zeros(n), np.ones(n), np.zeros(n, np.int64)
        root, first, y, area = medium.roots(x), first_balls(n, d), np.zeros((n, d)), np.zeros(n)
        jumped, done = np.zeros(n, bool), np.zeros(n, bool)
        facet, weights, self.mark, self.beyond = np.zeros(n, np.int64), np.zeros((n, d - 1)), np.zeros(n, np.int64), np.zeros(n, np.int64)
        ids, events, some = counters(p, b, point, walk), [], np.arange(n)
        while len(some):
            if distances is not None:
                radius[some] = distances.radius(x[some])
            _advance(ends, distances is None, some, x, radius, weight, step, *ids, frame[-1], medium.bound, p.gradient, p.max_steps, first,
                     y, area, jumped, done, facet, weights, self.mark)  # fmt: skip
            some = some[~done[some]]
            if wanted[1] and len(some):
                counted = weight[some] * area[some] * frame[-2] ** 2 / (medium.roots(y[some]) * root[some])
                events.append((y[some], counted, some, p.gradient & (step[some] == 1)))
            jumps = some[jumped[some]]
            if len(jumps):
                share = medium.share(x[jumps])
                self.beyond[jumps] += abs(share) > BEYOND
                weight[jumps] *= 1 - share
                _survive(jumps, weight, step, *ids)
        end, moved, here = x.copy(), (step > 0) & (weight != 0), np.flatnonzero(weight)
        if distances is None:
            end_all(ends, False, x, weight, facet, weights, self.mark, end)
        else:
            self.mark[distances.beyond(x) & (weight != 0)] += ESCAPED
            end = distances.project(x)[1]
        weight[moved] *= medium.roots(end[moved]) / root[moved]
        none = (np.zeros((0, d)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))
        event, counts, owner, entering = (np.concatenate(parts) for parts in zip(none, *events))
        self.met = [
            Met(end[here], facet[here], weights[here], weight[here], here, np.zeros(len(here), bool)),
            Met(event, None, None, counts, owner, entering),
        ]
        self.along, self.toward = factors(p, first, frame)
        if p.gradient:
            for x in (self.along, self.toward):
                x[:, 1:] -= x[:, :1] * p.slopes[b, point]


def media(*arguments):
    forward(MEDIA, _Walked, arguments)


def media_trace(*arguments):
    record(MEDIA_TRACE, _Walked, arguments)


def media_vjp(*arguments):
    replay(MEDIA, _Walked, arguments)
