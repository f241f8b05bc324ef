"""Walks on stars in array code around the loops of loops_paths: every step looks at every segment and triangle."""

import numpy as np

from ..._arrays import dense
from ..query.loops import pieces
from ..walk.loops_nodes import Met, Rows, add_gradients, put_nodes, samples, shares
from ..walk.loops_walked import blocks
from . import loops_paths


class _Walked:
    """Some walks of one instance: what they met, and the factors of it in the channels of a sample, after and in first balls of pairs."""

    def __init__(self, start, frame, tables, instance, point, first_point, walk, seed, max_steps, pairs, endless, screening, wanted):
        n, d = len(point), start.shape[1]
        segments, walls, corners = tables
        end, segment, place, left = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1)), np.empty(n)
        self.mark, first, extent = np.empty(n, np.int64), np.empty((n, 2 + 2 * d)), frame[d]
        event, of_event, flux, of_flux = loops_paths.walks(
            segments, walls, corners, extent, bool((walls[:, d * d] > 0).any()), np.ascontiguousarray(start[point], np.float64),
            walk.astype(np.uint64), (point + first_point).astype(np.uint64), np.uint64(instance), np.uint64(seed & 0xFFFFFFFF),
            np.uint64((seed >> 32) & 0xFFFFFFFF), frame[d + 1], screening * extent**2, pairs, max_steps, wanted[1], wanted[2] or wanted[3],
            end, segment, place, left, first, self.mark,
        )  # fmt: skip
        here = np.flatnonzero(left > 0) if not endless else np.zeros(0, np.int64)
        wall, along = flux[:, 0].astype(np.int64), flux[:, 1:d]
        corner = walls[wall, : d * d].reshape(-1, d, d)
        at = corner[:, 0] + (along[:, :, None] * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
        robin = walls[wall, d * d + 1] > 0
        self.met = [
            Met(end[here], segment[here], place[here], left[here], here, np.zeros(len(here), bool)),
            Met(event[:, :d], None, None, event[:, d], of_event, event[:, d + 1] > 0),
            *(Met(at[m], wall[m], along[m], flux[m, d], of_flux[m], np.zeros(m.sum(), bool)) for m in (~robin, robin)),
        ]
        first[:, 2:] /= extent
        columns = np.arange(d)
        self.along = first[:, [0, *(2 + columns)]] if pairs else np.ones((n, 1))
        self.toward = first[:, [1, *(2 + d + columns)]] if pairs else np.zeros((n, 1))


class _Problem:
    """The arguments of ``stars`` that its adjoint has too."""

    def __init__(self, inputs, options, functions):
        self.start, frame, ends, first, walls, first_wall, corners, first_corner, *tables = inputs
        *kinds, seed, self.first_walk, self.count, max_steps, pairs, screening, self.first_instance, self.first_point, endless = options
        self.frame = dense(frame)
        self.tables = (dense(ends), first), (dense(walls), first_wall), (dense(corners), first_corner)
        self.data = Rows(kinds, [dense(x) for x in tables], functions, (first, first, first_wall, first_wall))
        self.about, self.group = (seed, max_steps, pairs, endless, screening), 2 if pairs else 1

    def walked(self, b, wanted):
        """The walks of instance b: points, walks and what they met, thousands at a time."""
        tables = [pieces(table, first, b, 2) for table, first in self.tables]
        for point, walk in blocks(self.start[b], self.first_walk, self.count):
            about = self.first_instance + b, point, self.first_point, walk, *self.about, wanted
            yield point, walk, _Walked(self.start[b], self.frame[b], tables, *about)


def stars(*arguments):
    """The nodes of walks [first_walk, first_walk + walks) of every point: 12 inputs, 3 outputs, 13 options, 5 extras, threads."""
    mean, m2, counts = arguments[12:15]
    p = _Problem(arguments[:12], arguments[15:28], arguments[29:33])
    for b in range(len(p.start)):
        values, marks = np.full((mean.shape[3], mean.shape[1], p.count), np.nan), np.zeros((mean.shape[1], p.count), np.int64)
        for point, walk, walked in p.walked(b, [kind != "none" for kind in p.data.kinds]):
            values[:, point, walk - p.first_walk] = samples(walked, p.data, b, p.first_instance + b, p.frame[b]).T
            marks[point, walk - p.first_walk] = walked.mark
        put_nodes(values, marks, p.first_walk, p.group, mean[b], m2[b], counts[b])


def stars_vjp(*arguments):
    """The walks again."""
    grad, to = arguments[12], arguments[21:25]
    p = _Problem(arguments[:12], arguments[25:38], arguments[39:43])
    for gradient in to:
        if gradient is not None:
            gradient[...] = 0
    for b in range(len(p.start)):
        for point, walk, walked in p.walked(b, [gradient is not None for gradient in to]):
            share = shares(grad[b], point, walk, p.first_walk, p.count, p.group)
            # a walk without a first ball has no gradient and contributes none
            factors = ((share * np.where(np.isnan(x), 0.0, x)).sum(axis=1) for x in (walked.along, walked.toward))
            add_gradients(walked, p.data, b, p.frame[b], to, *factors)
