"""Walks on stars in array code around the loops of loops_walls and loops_facets: every step asks every segment and triangle."""

import numpy as np

from ..._arrays import dense
from ..data.loops import add_gradient, data_values, row_of
from ..query.loops import pieces
from ..walk.loops_walked import blocks, tallied
from ..walk.nodes import of_values
from . import loops_facets, loops_walls


class _Walked:
    """Some walks of one instance: for each kind of data where it is met, with what weight, by which walk; behind it source points in the
    first balls of pairs."""

    def __init__(self, start, frame, tables, instance, point, first_point, walk, seed, max_steps, pairs, endless, screening, wanted):
        n, d = len(point), start.shape[1]
        segments, walls, corners = tables
        end, segment, place, left = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1)), np.empty(n)
        self.mark, first, extent = np.empty(n, np.int64), np.empty((n, 2 + 2 * d)), frame[d]
        loops = loops_walls if d == 2 else loops_facets
        event, of_event, flux, of_flux = loops.walks(
            segments, walls, corners, extent, bool((walls[:, d * d] > 0).any()), np.ascontiguousarray(start[point], np.float64),
            walk.astype(np.uint64), (point + first_point).astype(np.uint64), np.uint64(instance), np.uint64(seed & 0xFFFFFFFF),
            np.uint64((seed >> 32) & 0xFFFFFFFF), frame[d + 1], screening * extent**2, pairs, max_steps, wanted[1], wanted[2] or wanted[3],
            end, segment, place, left, first, self.mark,
        )  # fmt: skip
        here = np.flatnonzero(left > 0) if not endless else np.zeros(0, np.int64)
        wall, along = flux[:, 0].astype(np.int64), flux[:, 1:d]
        corner = walls[wall, : d * d].reshape(-1, d, d)
        at = corner[:, 0] + (along[:, :, None] * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
        robin, entering = walls[wall, d * d + 1] > 0, event[:, d + 1] > 0
        sources = [(event[m, :d], None, None, event[m, d], of_event[m]) for m in (~entering, entering)]
        of_walls = [(at[m], wall[m], along[m], flux[m, d], of_flux[m]) for m in (~robin, robin)]
        self.met = [(end[here], segment[here], place[here], left[here], here), sources[0], *of_walls, sources[1]]
        first[:, 2:] /= extent
        columns = np.arange(d)
        self.along = first[:, [0, *(2 + columns)]] if pairs else np.ones((n, 1))  # (walks, channels): of what is met after the first ball
        self.toward = first[:, [1, *(2 + d + columns)]] if pairs else np.zeros((n, 1))  # of the source in it


def _tables(arrays, instance):
    ends, first, walls, first_wall, corners, first_corner = arrays
    return tuple(pieces(table, begins, instance, 2) for table, begins in ((ends, first), (walls, first_wall), (corners, first_corner)))


def _all_numbers(kinds, data, instance, arrays):
    """The numbers of one instance, those of the source again behind all."""
    _, first, _, first_wall = arrays[:4]
    begins = (first, first, first_wall, first_wall)
    found = [None if rows is None else row_of(kind, rows, instance, begin) for kind, rows, begin in zip(kinds, data, begins)]
    return [*found, found[1]]


def stars(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet, source, neumann, robin, mean, m2, counts,
          dirichlet_kind, source_kind, neumann_kind, robin_kind, seed, first_walk, count, max_steps, gradient, screening, first_instance,
          first_point, endless, grids, g, f, h, k, num_threads):  # fmt: skip
    """The nodes of walks [first_walk, first_walk + count) of every point."""
    frame, ends, walls, corners = map(dense, (frame, ends, walls, corners))
    arrays, kinds = (ends, first, walls, first_wall, corners, first_corner), (dirichlet_kind, source_kind, neumann_kind, robin_kind)
    data, functions = [dense(x) for x in (dirichlet, source, neumann, robin)], (g, f, h, k, f)
    about, wanted = (seed, max_steps, gradient, endless, screening), [kind != "none" for kind in kinds]
    N, channels, group = start.shape[1], mean.shape[3], 2 if gradient else 1
    for b in range(len(start)):
        values, marks = np.full((channels, N, count), np.nan), np.zeros((N, count), np.int64)
        numbers = _all_numbers(kinds, data, b, arrays)
        for point, w in blocks(start[b], first_walk, count):
            walked = _Walked(start[b], frame[b], _tables(arrays, b), first_instance + b, point, first_point, w, *about, wanted)
            sums = []
            for kind, row, function, (X, piece, place, weight, owner) in zip((*kinds, source_kind), numbers, functions, walked.met):
                if kind == "none" or not len(X):
                    sums.append(0.0)
                    continue
                found = data_values(kind, row, function, first_instance + b, frame[b], np.ascontiguousarray(X), piece, place)
                sums.append(np.bincount(owner, weight * found, minlength=len(point))[:, None])
            *after, here = sums
            total = sum(after) * walked.along + (here * walked.toward if gradient else 0.0)
            values[:, point, w - first_walk], marks[point, w - first_walk] = total.T, walked.mark
        counts[b] = tallied(marks).sum(axis=1)
        for c in range(channels):
            samples = values[c] if group == 1 else (values[c, :, ::2] + values[c, :, 1::2]) * 0.5
            state = of_values(first_walk // group, samples, counts[b])
            mean[b, :, :, c], m2[b, :, :, c] = state.mean, state.m2


def stars_vjp(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet, source, neumann, robin, grad, _0, _1, _2, _3,
              _4, _5, _6, _7, ddirichlet, dsource, dneumann, drobin, dirichlet_kind, source_kind, neumann_kind, robin_kind, seed,
              first_walk, count, max_steps, gradient, screening, first_instance, first_point, endless, grids, g, f, h, k,
              num_threads):  # fmt: skip
    """The walks again."""
    frame, ends, walls, corners = map(dense, (frame, ends, walls, corners))
    arrays, kinds = (ends, first, walls, first_wall, corners, first_corner), (dirichlet_kind, source_kind, neumann_kind, robin_kind)
    data, to = [dense(x) for x in (dirichlet, source, neumann, robin)], (ddirichlet, dsource, dneumann, drobin)
    group = 2 if gradient else 1
    state = of_values(first_walk // group, np.zeros((0, count // group)), np.zeros((0, 3)))
    for d in to:
        if d is not None:
            d[...] = 0
    about, wanted = (seed, max_steps, gradient, endless, screening), [d is not None for d in to]
    for b in range(len(start)):
        numbers, gradients = _all_numbers(kinds, data, b, arrays), _all_numbers(kinds, to, b, arrays)
        for point, w in blocks(start[b], first_walk, count):
            node = np.searchsorted(state.starts, w // group, side="right") - 1
            share = grad[b, point, node] / (np.array(state.sizes)[node] * group)[:, None]
            walked = _Walked(start[b], frame[b], _tables(arrays, b), first_instance + b, point, first_point, w, *about, wanted)
            # a walk without a first ball has no gradient, and gives none
            along, toward = ((share * np.where(np.isnan(x), 0.0, x)).sum(axis=1) for x in (walked.along, walked.toward))
            shares = (along, along, along, along, toward)
            for kind, row, d, each, (X, piece, place, weight, owner) in zip((*kinds, source_kind), numbers, gradients, shares, walked.met):
                if d is not None and len(X):
                    add_gradient(kind, row, weight * each[owner], d, frame[b], X, piece, place)
