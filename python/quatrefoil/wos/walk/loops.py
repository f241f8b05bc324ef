"""The ops of walks in a domain whose boundary absorbs, by the paths of loops_paths."""

import numpy as np

from ..query.loops import inside_all, nearest_all, pieces
from ..query.loops_solids import Distances, is_function
from . import WALK
from .loops_expand import balls, expand
from .loops_nodes import forward, replay
from .loops_walked import Walked

__all__ = ["balls", "expand", "place", "walk", "walk_vjp"]


def place(points, frame, ends, first, start, closed, outside, grids, num_threads):
    """Points in the frame of their boundary."""
    for b in range(len(frame)):
        X = points if points.ndim == 2 else points[b]
        scaled = (X.astype(np.float64) - frame[b, :-2]) / frame[b, -2]
        of_b, d = pieces(ends, first, b, X.shape[-1]), X.shape[-1]
        if is_function(of_b, d):
            distance, at = Distances(of_b[0], grids).project(scaled)
            beyond = np.flatnonzero(distance > 0)
        else:
            distance, at, contains = np.empty(len(scaled)), np.empty(scaled.shape), np.empty(len(scaled), np.int64)
            inside_all(of_b, scaled, closed, contains)
            beyond = np.flatnonzero((contains != 0) == outside)
            distance[beyond], at[beyond] = nearest_all(of_b, scaled[beyond], False, closed)[:2]
        scaled[beyond] = np.where((distance[beyond] <= frame[b, -1])[:, None], at[beyond], np.nan)
        start[b] = scaled


def walk(*arguments):
    forward(WALK, Walked, arguments)


def walk_vjp(*arguments):
    replay(WALK, Walked, arguments)
