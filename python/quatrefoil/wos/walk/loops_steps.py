"""Walks in domains whose distance is a function: one call for all walks per step, and the step of loops_paths."""

import numpy as np

from ..._backends.numba import jit
from .loops_paths import CUT_OFF, ESCAPED, begin_first, make_step


@jit
def _step_all(alive, x, radius, step, weight, walk, point, instance, k0, k1, screening, pairs, sources, words, first, nothing):
    """A step of the walks ``alive``; their source points, and the walk of each."""
    d = x.shape[1]
    n, m = np.empty(d), np.zeros(d)
    events, owner = [np.empty(d + 2) for _ in range(0)], [0 for _ in range(0)]
    for i in alive:
        weight[i] = make_step(
            nothing, False, x[i], radius[i], step, weight[i], walk[i], point[i], instance, k0, k1, screening, pairs, sources, words[i],
            n, m, first[i], events,
        )  # fmt: skip
        for _ in range(len(events) - len(owner)):
            owner.append(i)
    rows = np.empty((len(events), d + 2))
    for i in range(len(events)):
        rows[i] = events[i]
    return rows, np.array(owner, dtype=np.int64)


def walks_by_steps(
    distances, outside, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, end, piece, place, left, first,
    marks,
):  # fmt: skip
    """As ``walks``, inside the boundary of ``distances``."""
    N, d = start.shape
    x, radius, words = start.copy(), np.zeros(N), np.zeros((N, 4), np.uint64)
    nothing, all_events, owners = np.empty((0, d * d)), [np.empty((0, d + 2))], [np.empty(0, np.int64)]
    left[:], piece[:], place[:] = 1.0, 0, 0.0
    for i in range(N):
        begin_first(first[i])
    alive, step = np.arange(N), 0
    while len(alive):
        radius[alive] = distances.radius(x[alive])
        ends = (radius[alive] <= epsilon) | (step >= max_steps) | (left[alive] == 0)
        marks[alive[ends]] = step + np.where((left > 0) & (radius > epsilon), CUT_OFF, 0)[alive[ends]]
        alive = alive[~ends]
        keys = instance, k0, k1, screening, pairs, sources
        events, owner = _step_all(alive, x, radius, step, left, walk, point, *keys, words, first, nothing)
        all_events.append(events)
        owners.append(owner)
        step += 1
    beyond = distances.beyond(x) & (left > 0)
    marks[beyond] += ESCAPED
    end[...] = np.where((left > 0)[:, None], distances.project(x)[1], x)
    return np.concatenate(all_events), np.concatenate(owners)
