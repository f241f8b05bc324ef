"""The ops for walks in a domain with an absorbing boundary. Paths are in loops_paths."""

import math

import numpy as np

from ..query.loops import facets_of, inside_all, nearest_all
from ..query.loops_solids import Distances, is_function, sphere_around
from . import WALK
from .composition_balls import MAX_SCREENED, SHRUNK
from .composition_expand import harmonics
from .composition_philox import FIRST, Lanes, direction
from .expansion import EXPAND
from .loops_half_discs import half_discs_pay
from .loops_nodes import Met, Problem, counters, factors, first_balls, forward, replay, tallied
from .loops_paths import ESCAPED, end_all, see, step_all
from .traces import TRACE


class _Walked:
    """Runs all walks step by step and stores their ends and source points; see ``loops_nodes.Problem``."""

    firsts, skips_unknown, beyond = ("first", "first"), False, 0

    def __init__(self, p, b, point, walk, wanted):
        ends, frame, (n, d) = facets_of(p.ends, p.first, b, p.start.shape[2]), p.frame[b], (len(point), p.start.shape[2])
        distances = Distances(ends[0], p.grids) if is_function(ends, d) else None
        laplace = p.source_kind == "none" and p.screening == 0 and not p.outside
        half_discs = distances is None and laplace and half_discs_pay(ends, d, frame[-1])
        around = sphere_around(ends, d, p.reach / frame[-2]) if p.outside else (0.0, 0.0)
        x, radius, left, self.mark = np.ascontiguousarray(p.start[b, point], np.float64), np.zeros(n), np.ones(n), np.zeros(n, np.int64)
        facet, weights, words, first = np.zeros(n, np.int64), np.zeros((n, d - 1)), np.zeros((n, 4), np.uint64), first_balls(n, d)
        about = *counters(p, b, point, walk), frame[-1], p.screening * frame[-2] ** 2, p.gradient, p.sobol, p.max_steps, wanted[1]
        events, owners, alive, step = [np.empty((0, d + 2))], [np.empty(0, np.int64)], np.arange(n), 0
        while len(alive):
            if distances is not None:
                radius[alive] = distances.radius(x[alive], p.outside)
            alive, event, owner = step_all(
                ends, distances is None, around, half_discs, alive, x, radius, step, left, *about, words, first, facet, weights, self.mark
            )
            events.append(event)
            owners.append(owner)
            step += 1
        end = x.copy()
        if distances is None:
            end_all(ends, p.outside, x, left, facet, weights, self.mark, end)
        else:
            self.mark[distances.beyond(x) & (left > 0) & (not p.outside)] += ESCAPED
            end = distances.project(x)[1]
        self.end, self.left = end, left
        here, event, owner = np.flatnonzero(left > 0), np.concatenate(events), np.concatenate(owners)
        self.met = [
            Met(end[here], facet[here], weights[here], left[here], here, np.zeros(len(here), bool)),
            Met(event[:, :d], None, None, event[:, d] * frame[-2] ** 2, owner, event[:, d + 1] > 0),
        ]
        self.along, self.toward = factors(p, first, frame)


def place(points, frame, ends, first, start, closed, outside, grids, num_threads):
    """Write the scaled points. Those outside move onto the boundary if within epsilon of it, or are NaN."""
    for b in range(len(frame)):
        X = points if points.ndim == 2 else points[b]
        scaled = (X.astype(np.float64) - frame[b, :-2]) / frame[b, -2]
        of_b, d = facets_of(ends, first, b, X.shape[-1]), X.shape[-1]
        if is_function(of_b, d):
            distance, at = Distances(of_b[0], grids).project(scaled)
            distance = -distance if outside else distance
            beyond = np.flatnonzero(distance > 0)
        else:
            distance, at, contains = np.empty(len(scaled)), np.empty(scaled.shape), np.empty(len(scaled), np.int64)
            inside_all(of_b, scaled, closed, contains)
            beyond = np.flatnonzero((contains != 0) == outside)
            distance[beyond], at[beyond] = nearest_all(of_b, scaled[beyond], False, closed)[:2]
        scaled[beyond] = np.where((distance[beyond] <= frame[b, -1])[:, None], at[beyond], np.nan)
        start[b] = scaled


def balls(start, frame, ends, first, radius, screening, grids, num_threads):
    """Write the radii of the first balls of pairs."""
    for b in range(len(start)):
        limit = MAX_SCREENED / math.sqrt(screening) / frame[b, -2] if screening > 0 else math.inf
        of_b, weights = facets_of(ends, first, b, start.shape[2]), np.empty(start.shape[2] - 1)
        if is_function(of_b, start.shape[2]):
            radius[b] = SHRUNK * np.minimum(Distances(of_b[0], grids).radius(start[b].astype(np.float64)), limit)
            continue
        for i in range(start.shape[1]):
            radius[b, i] = SHRUNK * min(see(of_b, False, start[b, i].astype(np.float64), weights)[0], limit)


def expand(*arguments):
    """The coefficients (17), from the same pairs of walks as ``walk`` with a gradient. Divides values by the weight of the first sphere."""
    p = Problem(
        EXPAND, arguments[:6], arguments[8:], _Walked, gradient=True, first_instance=0, outside=False, source_kind="none", sobol=False
    )
    coefficients, counts = arguments[6:8]
    coefficients[...], counts[...] = 0.0, 0
    each = p.walks // p.samples
    for b in range(len(p.start)):
        for point, walk in p.blocks(b):
            walked = _Walked(p, b, point, walk, (True, False))
            u = p.values(walked, b, b)[:, 0] / walked.along[:, 0]
            lanes, sign = Lanes(walk, point + p.first_point, np.full(len(walk), b), p.seed).pairs()
            ((w0, w1, _, _),) = lanes.words(np, FIRST)
            n = sign[:, None] * direction(np, w0, w1, p.start.shape[2])
            shares = (u - p.reference[b, point])[:, None] * np.stack(harmonics(np, n, p.modes), axis=1)
            shares[:, 0] = u
            np.add.at(coefficients[b], (point, (walk - p.first_walk) // each), shares / each)
            np.add.at(counts[b], point, tallied(walked.mark))


def trace(*arguments):
    """Write the ends and source points of the walks of ``walk``."""
    p = Problem(TRACE, arguments[:4], arguments[9:], _Walked, gradient=False, first_instance=0)
    p.source_kind = "number" if p.sourced else "none"
    exit, weight, counts, point, share = arguments[4:9]
    exit[...], weight[...], counts[...], point[...], share[...] = np.nan, np.nan, 0, 0.0, 0.0
    written = 0
    for at, walk in p.blocks(0):
        walked, column = _Walked(p, 0, at, walk, (True, p.events > 0)), walk - p.first_walk
        exit[at, column], weight[at, column], counts[at, column] = walked.end, walked.left, tallied(walked.mark)
        events = walked.met[1]
        order = np.argsort(events.owner, kind="stable")[: p.events - written]  # the points of a walk are in the order of its steps
        point[written : written + len(order)], share[written : written + len(order)] = events.X[order], events.weight[order]
        written += len(order)


def walk(*arguments):
    forward(WALK, _Walked, arguments)


def walk_vjp(*arguments):
    replay(WALK, _Walked, arguments)
