"""The ops of walks in a domain whose boundary absorbs, by the paths of loops_paths."""

import numpy as np

from ..query.loops import pieces
from ..query.loops_solids import Distances, is_function
from . import WALK
from .loops_expand import balls, expand
from .loops_nodes import forward, replay
from .loops_paths import place_all
from .loops_walked import Walked

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


def walk(*arguments):
    forward(WALK, Walked, arguments)


def walk_vjp(*arguments):
    replay(WALK, Walked, arguments)
