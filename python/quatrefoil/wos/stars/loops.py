"""Walks on stars in array code around the loops of loops_paths. Every step tests every segment and triangle."""

import numpy as np

from ..query.loops import pieces
from ..walk.loops_nodes import Met, counters, factors, forward, replay
from . import STARS, loops_facets, loops_paths


class _Walked:
    """Points where walks evaluate data, see ``loops_nodes.Problem``."""

    firsts, skips_unknown, beyond = ("first", "first", "first_wall", "first_wall"), True, 0

    def __init__(self, p, b, point, walk, wanted):
        (n, d), frame = (len(point), p.start.shape[2]), p.frame[b]
        tables = (p.ends, p.first), (p.walls, p.first_wall), (p.corners, p.first_corner)
        segments, walls, corners = (pieces(table, first, b, 2) for table, first in tables)
        end, segment, place, left = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1)), np.empty(n)
        self.mark, first, extent = np.empty(n, np.int64), np.empty((n, 2 + 2 * d)), frame[d]
        frames, x = loops_facets.frames_of(walls) if d == 3 else walls, np.ascontiguousarray(p.start[b, point], np.float64)
        event, of_event, flux, of_flux = loops_paths.walks(
            segments, walls, frames, corners, extent, bool((walls[:, d * d] > 0).any()), x,
            *counters(p, b, point, walk), frame[d + 1], p.screening * extent**2, p.gradient, p.max_steps, wanted[1],
            wanted[2] or wanted[3], end, segment, place, left, first, self.mark,
        )  # fmt: skip
        here = np.flatnonzero(left > 0) if not p.endless else np.zeros(0, np.int64)
        wall, along = flux[:, 0].astype(np.int64), flux[:, 1:d]
        corner = walls[wall, : d * d].reshape(-1, d, d)
        at = corner[:, 0] + (along[:, :, None] * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
        robin = walls[wall, d * d + 1] > 0
        self.met = [
            Met(end[here], segment[here], place[here], left[here], here, np.zeros(len(here), bool)),
            Met(event[:, :d], None, None, event[:, d], of_event, event[:, d + 1] > 0),
            *(Met(at[m], wall[m], along[m], flux[m, d], of_flux[m], np.zeros(m.sum(), bool)) for m in (~robin, robin)),
        ]
        self.along, self.toward = factors(p, first, frame)


def stars(*arguments):
    forward(STARS, _Walked, arguments)


def stars_vjp(*arguments):
    replay(STARS, _Walked, arguments)
