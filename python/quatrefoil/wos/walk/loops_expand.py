"""Harmonics on balls by walks: csrc/wos/walk/expand.hpp and harmonics.hpp in array code."""

import math

import numpy as np

from ..._arrays import dense
from ..._backends.numba import jit
from ..data.loops import data_values, row_of
from ..query.loops import pieces
from ..query.loops_solids import Distances, is_function
from .loops_paths import FIRST, MOST_SCREENED, SHRUNK, direction, see
from .loops_walked import Walked, blocks, tallied
from .loops_words import philox


def balls(start, frame, ends, first, radius, screening, grids, num_threads):
    """As the first step of a pair sees them."""
    for b in range(len(start)):
        limit = MOST_SCREENED / math.sqrt(screening) / frame[b, -2] if screening > 0 else math.inf
        of_b, weights = pieces(ends, first, b, start.shape[2]), np.empty(start.shape[2] - 1)
        if is_function(of_b, start.shape[2]):
            radius[b] = SHRUNK * np.minimum(Distances(of_b[0], grids).radius(start[b].astype(np.float64)), limit)
            continue
        for i in range(start.shape[1]):
            radius[b, i] = SHRUNK * min(see(of_b, False, start[b, i].astype(np.float64), weights)[0], limit)


def harmonics(n, modes):
    """(17) at unit vectors (..., d): (..., harmonics)."""
    d = n.shape[-1]
    y = np.empty((*n.shape[:-1], 2 * modes + 1 if d == 2 else (modes + 1) ** 2))
    waves = math.sqrt(2.0) * np.cumprod(np.broadcast_to((n[..., 0] + 1j * n[..., 1])[..., None], (*n.shape[:-1], modes)), axis=-1)
    y[..., 0] = 1.0
    if d == 2:
        y[..., 1::2], y[..., 2::2] = waves.real, waves.imag
        return y
    sectoral = 1.0
    for m in range(modes + 1):
        sectoral *= math.sqrt((2 * m + 1) / (2 * m)) if m else 1.0
        before, here = np.zeros(n.shape[:-1]), np.full(n.shape[:-1], sectoral)
        for degree in range(m, modes + 1):
            if degree > m:
                a = math.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
                b = math.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1)) if degree > m + 1 else 0.0
                before, here = here, a * (n[..., 2] * here - b * before)
            at = degree * degree
            if m == 0:
                y[..., at] = here
            else:
                y[..., at + 2 * m - 1], y[..., at + 2 * m] = here * waves[..., m - 1].real, here * waves[..., m - 1].imag
    return y


@jit
def _first_directions(walk, point, instance, k0, k1, n):
    for i in range(len(walk)):
        w0, w1, _, _ = philox(np.uint64(FIRST), walk[i] // np.uint64(2), point[i], instance, k0, k1)
        direction(w0, w1, n[i])
        if walk[i] % np.uint64(2):
            n[i] *= -1.0


def expand(start, frame, ends, first, dirichlet, reference, coefficients, counts, kind, seed, first_point, first_walk, count, samples,
           max_steps, modes, screening, grids, g, num_threads):  # fmt: skip
    """(17) by the walks of ``walk`` with a gradient, which hold u times the weight of the sphere."""
    frame, ends, dirichlet = map(dense, (frame, ends, dirichlet))
    coefficients[...], counts[...] = 0.0, 0
    each = count // samples
    for b in range(len(start)):
        of_b = pieces(ends, first, b, start.shape[2])
        of_g = None if dirichlet is None else row_of(kind, dirichlet, b, first)
        for point, w in blocks(start[b], first_walk, count):
            walked = Walked(
                start[b], frame[b], of_b, b, point, first_point, w, seed, max_steps, True, screening, False, kept=grids, laplace=True
            )
            found = walked.channels(data_values(kind, of_g, g, b, frame[b], walked.end, walked.piece, walked.place), None)[:, 0]
            u = found / walked.along[:, 0]
            n = np.empty((len(w), start.shape[2]))
            keys = np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF)
            _first_directions(w.astype(np.uint64), (point + first_point).astype(np.uint64), np.uint64(b), *keys, n)
            shares = (u - reference[b, point])[:, None] * harmonics(n, modes)
            shares[:, 0] = u
            np.add.at(coefficients[b], (point, (w - first_walk) // each), shares / each)
            np.add.at(counts[b], point, tallied(walked.mark))
