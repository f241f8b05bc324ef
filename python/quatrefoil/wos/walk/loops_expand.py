"""Harmonics on balls by walks: csrc/wos/walk/expand.hpp in array code."""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.loops import pieces
from ..query.loops_solids import Distances, is_function
from .composition_expand import harmonics
from .expansion import EXPAND
from .loops_nodes import Problem, tallied
from .loops_paths import FIRST, MAX_SCREENED, SHRUNK, direction, see
from .loops_philox import philox
from .loops_walked import Walked, counters


def balls(start, frame, ends, first, radius, screening, grids, num_threads):
    """The radii of the first balls of pairs."""
    for b in range(len(start)):
        limit = MAX_SCREENED / math.sqrt(screening) / frame[b, -2] if screening > 0 else math.inf
        of_b, weights = pieces(ends, first, b, start.shape[2]), np.empty(start.shape[2] - 1)
        if is_function(of_b, start.shape[2]):
            radius[b] = SHRUNK * np.minimum(Distances(of_b[0], grids).radius(start[b].astype(np.float64)), limit)
            continue
        for i in range(start.shape[1]):
            radius[b, i] = SHRUNK * min(see(of_b, False, start[b, i].astype(np.float64), weights)[0], limit)


@jit
def _first_directions(walk, point, instance, k0, k1, n):
    for i in range(len(walk)):
        w0, w1, _, _ = philox(np.uint64(FIRST), walk[i] // np.uint64(2), point[i], instance, k0, k1)
        direction(w0, w1, n[i])
        if walk[i] % np.uint64(2):
            n[i] *= -1.0


def expand(*arguments):
    """(17) by the walks of ``walk`` with a gradient, whose values are u times the weight of the sphere."""
    p = Problem(EXPAND, arguments[:6], arguments[8:], Walked, gradient=True, first_instance=0, outside=False, source_kind="none")
    coefficients, counts = arguments[6:8]
    coefficients[...], counts[...] = 0.0, 0
    each = p.walks // p.samples
    for b in range(len(p.start)):
        for point, walk in p.blocks(b):
            walked = Walked(p, b, point, walk, (True, False))
            u = p.values(walked, b, b)[:, 0] / walked.along[:, 0]
            n = np.empty((len(walk), p.start.shape[2]))
            _first_directions(*counters(p, b, point, walk), n)
            shares = (u - p.reference[b, point])[:, None] * np.stack(harmonics(np, n, p.modes), axis=1)
            shares[:, 0] = u
            np.add.at(coefficients[b], (point, (walk - p.first_walk) // each), shares / each)
            np.add.at(counts[b], point, tallied(walked.mark))
