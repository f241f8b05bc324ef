"""Harmonics on balls by walks: csrc/wos/walk/expand.hpp in array code."""

import math

import numpy as np

from ..._arrays import dense
from ..._backends.numba import jit
from ..data.loops import data_values, row_of
from ..query.loops import pieces
from ..query.loops_solids import Distances, is_function
from .composition_expand import harmonics
from .loops_paths import FIRST, MAX_SCREENED, SHRUNK, direction, see
from .loops_philox import philox
from .loops_walked import Walked, blocks, tallied


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


def expand(start, frame, ends, first, dirichlet, reference, coefficients, counts, kind, seed, first_point, first_walk, count, samples,
           max_steps, modes, screening, grids, g, num_threads):  # fmt: skip
    """(17) by the walks of ``walk`` with a gradient, whose values are u times the weight of the sphere."""
    frame, ends, dirichlet = map(dense, (frame, ends, dirichlet))
    coefficients[...], counts[...] = 0.0, 0
    each = count // samples
    for b in range(len(start)):
        of_b = pieces(ends, first, b, start.shape[2])
        of_g = None if dirichlet is None else row_of(kind, dirichlet, b, first)
        for point, w in blocks(start[b], first_walk, count):
            walked = Walked(
                start[b], frame[b], of_b, b, point, first_point, w, seed, max_steps, True, screening, False, memo=grids, laplace=True
            )
            values = walked.channels(data_values(kind, of_g, g, b, frame[b], walked.end, walked.piece, walked.place), None)[:, 0]
            u = values / walked.along[:, 0]
            n = np.empty((len(w), start.shape[2]))
            keys = np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF)
            _first_directions(w.astype(np.uint64), (point + first_point).astype(np.uint64), np.uint64(b), *keys, n)
            shares = (u - reference[b, point])[:, None] * np.stack(harmonics(np, n, modes), axis=1)
            shares[:, 0] = u
            np.add.at(coefficients[b], (point, (w - first_walk) // each), shares / each)
            np.add.at(counts[b], point, tallied(walked.mark))
