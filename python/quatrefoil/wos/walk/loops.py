"""The nodes of walks and their gradients, from the paths of loops_paths; data are array code over thousands of walks at a time."""

import numpy as np

from ..._arrays import dense
from ..data.loops import add_gradient, data_values, row_of
from ..query.loops import pieces
from ..query.loops_solids import Distances, is_function
from .loops_expand import balls, expand
from .loops_paths import place_all
from .loops_walked import Walked, blocks, tallied
from .nodes import of_values

__all__ = ["balls", "expand", "place", "walk", "walk_vjp"]


def place(points, frame, ends, first, start, closed, outside, grids, num_threads):
    """Points in the frame of their boundary."""
    for b in range(len(frame)):
        X = points if points.ndim == 2 else points[b]
        scaled = (X.astype(np.float64) - frame[b, :-2]) / frame[b, -2]
        of_b = pieces(ends, first, b, X.shape[-1])
        if is_function(of_b, X.shape[-1]):
            distance, at = Distances(of_b[0], grids).project(scaled)
            scaled = np.where((distance > frame[b, -1])[:, None], np.nan, np.where((distance > 0)[:, None], at, scaled))
        else:
            place_all(of_b, closed, outside, frame[b, -1], scaled)
        start[b] = scaled


def walk(start, frame, ends, first, dirichlet, source, mean, m2, counts, dirichlet_kind, source_kind, seed, first_walk, count, max_steps,
         gradient, screening, first_instance, first_point, outside, nrhs, grids, g, f, num_threads):  # fmt: skip
    """The nodes of walks [first_walk, first_walk + count) of every point."""
    frame, ends, dirichlet, source = map(dense, (frame, ends, dirichlet, source))
    kinds, about = (dirichlet_kind, source_kind), (seed, max_steps, gradient, screening)
    N, channels, group = start.shape[1], mean.shape[3], 2 if gradient else 1
    for b in range(len(start)):
        of_b = pieces(ends, first, b, start.shape[2])
        sides = range(b * nrhs, (b + 1) * nrhs)
        values, marks = np.full((nrhs, channels, N, count), np.nan), np.zeros((N, count), np.int64)
        for point, w in blocks(start[b], first_walk, count):
            walked = Walked(
                start[b], frame[b], of_b, first_instance + b, point, first_point, w, *about, source_kind != "none", outside, grids,
                source_kind == "none",
            )  # fmt: skip
            marks[point, w - first_walk] = walked.mark
            for side, of_side in zip(sides, values):
                of_g, of_f = (None if x is None else row_of(kind, x, side, first) for kind, x in zip(kinds, (dirichlet, source)))
                at_ends = data_values(dirichlet_kind, of_g, g, first_instance + side, frame[b], walked.end, walked.piece, walked.place)
                at_sources = data_values(source_kind, of_f, f, first_instance + side, frame[b], walked.event) if len(walked.event) else None
                of_side[:, point, w - first_walk] = walked.channels(at_ends, at_sources).T
        for side, of_side in zip(sides, values):
            counts[side] = tallied(marks).sum(axis=1)
            for c in range(channels):
                samples = of_side[c] if group == 1 else (of_side[c, :, ::2] + of_side[c, :, 1::2]) * 0.5
                state = of_values(first_walk // group, samples, counts[side])
                mean[side, :, :, c], m2[side, :, :, c] = state.mean, state.m2
            m2[side, np.isnan(start[b, :, 0])] = np.nan  # of single walks too


def walk_vjp(start, frame, ends, first, dirichlet, source, grad, _0, _1, _2, _3, ddirichlet, dsource, dirichlet_kind, source_kind,
             seed, first_walk, count, max_steps, gradient, screening, first_instance, first_point, outside, nrhs, grids, g, f,
             num_threads):  # fmt: skip
    """(7), (8): the walks again."""
    frame, ends, dirichlet, source = map(dense, (frame, ends, dirichlet, source))
    kinds, about, group = (dirichlet_kind, source_kind), (seed, max_steps, gradient, screening), 2 if gradient else 1
    state = of_values(first_walk // group, np.zeros((0, count // group)), np.zeros((0, 3)))
    for d in (ddirichlet, dsource):
        if d is not None:
            d[...] = 0
    for b in range(len(start)):
        of_b = pieces(ends, first, b, start.shape[2])
        for point, w in blocks(start[b], first_walk, count):
            node = np.searchsorted(state.starts, w // group, side="right") - 1
            walked = Walked(
                start[b], frame[b], of_b, first_instance + b, point, first_point, w, *about, dsource is not None, outside, grids,
                source_kind == "none",
            )  # fmt: skip
            for side in range(b * nrhs, (b + 1) * nrhs):
                of_g, of_f, to_g, to_f = (
                    None if x is None else row_of(kind, x, side, first)
                    for kind, x in zip(2 * kinds, (dirichlet, source, ddirichlet, dsource))
                )
                share = grad[side, point, node] / (np.array(state.sizes)[node] * group)[:, None]
                along, toward = ((share * np.where(share == 0, 0.0, x)).sum(axis=1) for x in (walked.along, walked.toward))
                if to_g is not None:
                    add_gradient(dirichlet_kind, of_g, along * walked.left, to_g, frame[b], walked.end, walked.piece, walked.place)
                if to_f is not None and len(walked.event):
                    of_event = np.where(walked.entering, toward[walked.owner], along[walked.owner])
                    add_gradient(source_kind, of_f, of_event * walked.weight, to_f, frame[b], walked.event)
