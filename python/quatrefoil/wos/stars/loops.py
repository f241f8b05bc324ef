"""Walks on stars in array code around the loops of loops_paths. Every step tests every segment and triangle."""

import numpy as np

from ..media.composition import BEYOND
from ..media.loops import Medium
from ..query.loops import facets_of
from ..region import inward_normals
from ..walk.loops_nodes import Met, counters, factors, first_balls, forward, record, replay
from . import STARS, STARS_TRACE, loops_facets, loops_paths


class _Walked:
    """Runs walks and stores the points at which they evaluate data; see ``loops_nodes.Problem``."""

    firsts, skips_unknown = ("first", "first", "first_wall", "first_wall"), True

    def __init__(self, p, b, point, walk, wanted):
        (n, d), frame = (len(point), p.start.shape[2]), p.frame[b]
        tables = (p.ends, p.first), (p.walls, p.first_wall), (p.corners, p.first_corner)
        segments, walls, corners = (facets_of(table, first, b, 2) for table, first in tables)
        end, facet, corner_weights = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1))
        self.mark, self.beyond, first, extent = np.empty(n, np.int64), np.zeros(n, np.int64), first_balls(n, d), frame[d]
        frames, x = loops_facets.frames_of(walls) if d == 3 else walls, np.ascontiguousarray(p.start[b, point], np.float64)
        step, weight, own, stops = np.zeros(n, np.int64), np.ones(n), np.empty(n, np.int64), np.empty(n, np.int64)
        ids, medium, exchange = counters(p, b, point, walk), None, np.zeros((0, 2))
        if p.varies:
            medium, root = Medium(p, b), Medium(p, b).roots(x)
            exchange = extent * p.exchange[slice(*p.first_wall[b : b + 2]) if len(p.first_wall) > 2 else slice(None)]
        loops_paths.begin(walls, x, own)
        some, events, fluxes = np.arange(n), [], []
        while len(some):
            event, of_event, flux, of_flux = loops_paths.walks(
                segments, walls, frames, corners, extent, bool((walls[:, d * d] > 0).any()), exchange, p.varies, some, x, step, weight, own,
                *ids, frame[d + 1], medium.bound if medium else p.rate * extent**2, p.gradient, p.max_steps, wanted[1],
                wanted[2] or wanted[3], end, facet, corner_weights, first, stops, self.mark,
            )  # fmt: skip
            events.append((event, of_event))
            fluxes.append((flux, of_flux))
            some = some[stops[some] != loops_paths.ENDS]
            if len(some):
                self._jump(medium, walls, exchange, stops[some], some, x, own, weight)
                loops_paths.settle(some, weight, step, *ids)
        (event, of_event), (flux, of_flux) = (tuple(map(np.concatenate, zip(*parts))) for parts in (events, fluxes))
        here = np.flatnonzero(weight) if not p.endless else np.zeros(0, np.int64)
        wall, along = flux[:, 0].astype(np.int64), flux[:, 1:d]
        corner = walls[wall, : d * d].reshape(-1, d, d)
        at = corner[:, 0] + (along[:, :, None] * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
        if medium:  # media (1)
            event[:, d] /= medium.roots(event[:, :d]) * root[of_event]
            flux[:, d] *= medium.roots(at) / root[of_flux]
            moved = here[step[here] > 0]
            weight[moved] *= medium.roots(end[moved]) / root[moved]
        robin = walls[wall, d * d + 1] > 0
        self.met = [
            Met(end[here], facet[here], corner_weights[here], weight[here], here, np.zeros(len(here), bool)),
            Met(event[:, :d], None, None, event[:, d], of_event, event[:, d + 1] > 0),
            *(Met(at[m], wall[m], along[m], flux[m, d], of_flux[m], np.zeros(m.sum(), bool)) for m in (~robin, robin)),
        ]
        self.along, self.toward = factors(p, first, frame)
        if medium and p.gradient:  # media (8)
            for x in (self.along, self.toward):
                x[:, 1:] -= x[:, :1] * p.slopes[b, point]

    def _jump(self, medium, walls, exchange, stops, some, x, own, weight):
        """(12) Multiply the weights of walks that have jumped."""
        d, ratio, on_wall = x.shape[1], np.empty(len(some)), stops == loops_paths.TO_WALL
        inside, at = some[~on_wall], some[on_wall]
        ratio[~on_wall] = medium.share(x[inside]) if len(inside) else 0.0
        if len(at):
            inward = inward_normals(walls[own[at], : d * d].reshape(-1, d, d))
            nu = (inward * medium.slopes(x[at])).sum(axis=1) + exchange[own[at], 1]
            ratio[on_wall] = nu / exchange[own[at], 0]
        self.beyond[some] += abs(ratio) > BEYOND
        weight[some] *= np.where(on_wall, -ratio, 1 - ratio)


def stars(*arguments):
    forward(STARS, _Walked, arguments)


def stars_trace(*arguments):
    record(STARS_TRACE, _Walked, arguments)


def stars_vjp(*arguments):
    replay(STARS, _Walked, arguments)
