"""Some walks of one instance, one step of all at a time, and what they met: array code around the loops of loops_paths."""

import numpy as np

from ..query.loops import pieces
from ..query.loops_solids import Distances, is_function
from .loops_half_discs import half_discs_pay
from .loops_nodes import Met
from .loops_paths import ESCAPED, end_all, step_all


class Walked:
    """Ends and source points of walks, see ``loops_nodes.Problem``."""

    firsts, skips_unknown, beyond = ("first", "first"), False, 0

    def __init__(self, p, b, point, walk, wanted):
        ends, frame, (n, d) = pieces(p.ends, p.first, b, p.start.shape[2]), p.frame[b], (len(point), p.start.shape[2])
        distances = Distances(ends[0], p.grids) if is_function(ends, d) else None
        half_discs = distances is None and p.source_kind == "none" and p.screening == 0 and half_discs_pay(ends, d, frame[-1])
        x, radius, left, self.mark = np.ascontiguousarray(p.start[b, point], np.float64), np.zeros(n), np.ones(n), np.zeros(n, np.int64)
        facet, place, words, first = np.zeros(n, np.int64), np.zeros((n, d - 1)), np.zeros((n, 4), np.uint64), first_balls(n, d)
        about = *counters(p, b, point, walk), frame[-1], p.screening * frame[-2] ** 2, p.gradient, p.max_steps, wanted[1]
        events, owners, alive, step = [np.empty((0, d + 2))], [np.empty(0, np.int64)], np.arange(n), 0
        while len(alive):
            if distances is not None:
                radius[alive] = distances.radius(x[alive])
            alive, event, owner = step_all(
                ends, distances is None, p.outside, half_discs, alive, x, radius, step, left, *about, words, first, facet, place, self.mark
            )
            events.append(event)
            owners.append(owner)
            step += 1
        end = x.copy()
        if distances is None:
            end_all(ends, p.outside, x, left, facet, place, self.mark, end)
        else:
            self.mark[distances.beyond(x) & (left > 0)] += ESCAPED
            end = distances.project(x)[1]
        here, event, owner = np.flatnonzero(left > 0), np.concatenate(events), np.concatenate(owners)
        self.met = [
            Met(end[here], facet[here], place[here], left[here], here, np.zeros(len(here), bool)),
            Met(event[:, :d], None, None, event[:, d] * frame[-2] ** 2, owner, event[:, d + 1] > 0),
        ]
        self.along, self.toward = factors(p, first, frame)


def first_balls(n, d):
    """(n, 2 + 2 d): see ``enter``. For walks of pairs without a step the value is that of the boundary, the gradient unknown."""
    first = np.full((n, 2 + 2 * d), np.nan)
    first[:, 0], first[:, 1] = 1.0, 0.0
    return first


def counters(p, b, point, walk):
    """Walks, points, instance and key of random words."""
    key = np.uint64(p.seed & 0xFFFFFFFF), np.uint64((p.seed >> 32) & 0xFFFFFFFF)
    return walk.astype(np.uint64), (point + p.first_point).astype(np.uint64), np.uint64(p.first_instance + b), *key


def factors(p, first, frame):
    """(n, channels) of what walks met after first balls of pairs, and of sources in them."""
    if not p.gradient:
        return np.ones((len(first), 1)), np.zeros((len(first), 1))
    d = first.shape[1] // 2 - 1
    first[:, 2:] /= frame[d]
    return first[:, [0, *range(2, 2 + d)]], first[:, [1, *range(2 + d, 2 + 2 * d)]]
