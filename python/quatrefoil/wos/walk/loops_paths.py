"""Walks on spheres in plain loops and float64: every step visits every segment. The same counters as csrc/wos/walk/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.loops import closest, is_inside, point_on
from ..query.loops_solids import beyond_field, is_solid, nearest_on_solid, radius_in_solid, return_to_sphere, sphere_around
from .loops_half_discs import leave_half_disc
from .loops_philox import SOURCE, TRIAL, bessel_series, harmonic_series, philox, uniform
from .loops_wide import SOURCE_DIRECTION, source_radius, source_weight_wide, unit_vector

_ROULETTE, FIRST = 3 << 28, 4 << 28
HALF_SIDE = 0.5 * (1 + 2.0**-6)  # of the box and a margin
SHRUNK, MAX_SCREENED, LIGHT = 0.99, 2.0, 0.125  # as in walker.hpp
CUT_OFF, ESCAPED = 1 << 31, 1 << 30


@jit
def direction(word, height, n):
    """A uniform unit vector, in n."""
    angle = float(word) * (2.0 * math.pi * 2.0**-32)
    if n.size == 2:
        n[0], n[1] = math.cos(angle), math.sin(angle)
    else:
        z = uniform(height) * 2.0 - 1.0
        rho = math.sqrt(max(1.0 - z * z, 0.0))
        n[0], n[1], n[2] = rho * math.cos(angle), rho * math.sin(angle), z


@jit
def place_all(ends, closed, outside, epsilon, scaled):
    """Moves points beyond the boundary but within epsilon onto it, others beyond it to NaN."""
    d = scaled.shape[1]
    at, weights = np.empty(d), np.empty(d - 1)
    for x in scaled:
        if is_solid(ends, d):
            distance, _ = nearest_on_solid(ends, x, at)
            away = -distance if outside else distance
            if not away > 0.0:
                continue
        else:
            if is_inside(ends, x, closed) != outside:
                continue
            d2, k = closest(ends, x, weights)
            away = math.sqrt(d2)
            point_on(ends[k], weights, at)
        if away <= epsilon:
            x[:] = at
        else:
            x[:] = math.nan


@jit
def source_weight(d, s, logarithm, z2):
    """(11), (12), (15): the weight of a source point at radius s, relative to the Laplace equation, and in the gradient."""
    q = 0.25 * z2
    at = q * s * s
    if d > 3:
        return source_weight_wide(d, s, z2)
    if d == 2:
        i0, i1, i1_end = bessel_series(0, at), bessel_series(2, at), bessel_series(2, q)
        a = harmonic_series(0, at) / i0 - harmonic_series(0, q) / bessel_series(0, q)
        b = harmonic_series(1, at) / i1 - harmonic_series(1, q) / i1_end
        slope = 1.0 / s - s * i1 / i1_end - z2 * s * 0.5 * i1 * (logarithm + b)
        return i0 * (1.0 + a / logarithm), slope / logarithm
    odd = bessel_series(-1, at) - z2 * s * s * bessel_series(1, at)
    odd_end = bessel_series(-1, q) - z2 * bessel_series(1, q)
    slope = odd / (s * s) - s * odd_end * bessel_series(3, at) / bessel_series(3, q)
    return bessel_series(1, q * (1.0 - s) ** 2) / bessel_series(1, q), slope * s / (1.0 - s)


@jit
def source_point(step, walk, point, instance, k0, k1, n):
    """(4a) in the plane, (4b) in space, (4c): the radius in the unit ball and minus its logarithm; the direction in n."""
    if n.size > 3:
        unit_vector(SOURCE_DIRECTION + step, walk, point, instance, k0, k1, n)
        return source_radius(n.size, step, walk, point, instance, k0, k1), 0.0
    w0, w1, w2, _ = philox(np.uint64(SOURCE + step), walk, point, instance, k0, k1)
    if n.size == 2:
        r = math.sqrt(uniform(w0) * uniform(w1))
        direction(w2, w2, n)
        return r, -math.log(r)
    a, b, c = uniform(w0), uniform(w1), uniform(w2)
    v0, v1, _, _ = philox(np.uint64(SOURCE + TRIAL + step), walk, point, instance, k0, k1)
    direction(v0, v1, n)
    return max(min(a, b), min(max(a, b), c)), 0.0


@jit
def see(ends, outside, x, weights):
    """The distance of the boundary, 0 beyond the box, and the closest segment or triangle; its corners' weights after the first."""
    if is_solid(ends, x.size):
        return radius_in_solid(ends, x, outside), 0
    d2, at = closest(ends, x, weights)
    return (0.0 if _beyond(x) and not outside else math.sqrt(d2)), at


@jit
def _beyond(x):
    """README, Limits."""
    beyond = False
    for j in range(x.size):
        beyond = beyond or abs(x[j]) >= HALF_SIDE
    return beyond


@jit
def _project(ends, x, at, weights, end):
    if is_solid(ends, x.size):
        nearest_on_solid(ends, x, end)
    else:
        point_on(ends[at], weights, end)


@jit
def enter(d, n, m, radius, z2, of_value, of_gradient, first):
    """The first ball of a walk of a pair: First in formula.hpp."""
    first[0], first[1] = 1.0 / bessel_series(d - 2, 0.25 * z2), of_value
    for j in range(d):
        first[2 + j] = d / (radius * bessel_series(d, 0.25 * z2)) * n[j]
        first[2 + d + j] = of_gradient / radius * m[j]


@jit
def _survive(weight, d, z2, step, walk, point, instance, k0, k1):
    """(9), (14) The weight of a walk after a ball; 0 ends it."""
    left = weight / bessel_series(d - 2, 0.25 * z2)
    if left >= LIGHT:
        return left
    word, _, _, _ = philox(np.uint64(_ROULETTE + step), walk, point, instance, k0, k1)
    return LIGHT if uniform(word) * LIGHT < left else 0.0


@jit
def _come_back(ends, step, walk, point, instance, k0, k1, x, moved):
    """A walk beyond the sphere (4) returns to it, at ``moved``, or ends: its weight, 1 or 0, and whether it was beyond."""
    sphere, far = sphere_around(ends)
    r = math.sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])
    if not r > far:
        return 1.0, False
    w0, w1, w2, _ = philox(np.uint64(_ROULETTE + step), walk, point, instance, k0, k1)
    return_to_sphere(sphere, x, uniform(w1), float(w2) * (2.0 * math.pi * 2.0**-32), moved)
    return (1.0 if uniform(w0) * r < sphere else 0.0), True


@jit
def make_step(
    ends, outside, x, radius, step, weight, walk, point, instance, k0, k1, screening, pairs, sources, words, n, m, first, events
):  # fmt: skip
    """Moves x from its ball, and adds a source point to ``events``; returns the weight. ``words``, ``n``, ``m`` are scratch."""
    d = x.size
    sharing = 4 if d == 2 else 2 if d == 3 else 1
    if screening > 0.0:
        radius = min(radius, MAX_SCREENED / math.sqrt(screening))
    if d > 3:
        unit_vector(step, walk, point, instance, k0, k1, n)
    else:
        if step % sharing == 0:
            words[0], words[1], words[2], words[3] = philox(np.uint64(step // sharing), walk, point, instance, k0, k1)
        column = (d - 1) * (step % sharing)
        direction(words[column], words[column + d - 2], n)
    enters, number, sign = pairs and step == 0, walk, 1.0
    if enters:
        number, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
        if d > 3:
            unit_vector(FIRST, number, point, instance, k0, k1, n)
        else:
            w0, w1, _, _ = philox(np.uint64(FIRST), number, point, instance, k0, k1)
            direction(w0, w1, n)
        n *= sign
        radius *= SHRUNK
    z2 = radius * radius * screening
    of_value, of_gradient = 1.0, 0.0
    if sources:
        s, logarithm = source_point(step, number, point, instance, k0, k1, m)
        m *= sign
        if enters or screening > 0.0:
            of_value, of_gradient = source_weight(d, s, logarithm, z2)
        event = np.empty(d + 2)
        event[:d] = x + radius * s * m
        event[d] = radius * radius / (2.0 * d) * (1.0 if enters else weight * of_value)
        event[d + 1] = 1.0 if enters else 0.0
        events.append(event)
    if enters:
        enter(d, n, m, radius, z2, of_value, of_gradient, first)
    elif outside:
        weight, returns = _come_back(ends, step, walk, point, instance, k0, k1, x, m)
        if returns:
            x[:] = m
            return weight
    x += radius * n
    if screening > 0.0 and not enters:
        weight = _survive(weight, d, z2, step, walk, point, instance, k0, k1)
    return weight


@jit
def begin_first(first):
    """For a walk of a pair without a step: the value is that of the boundary, the gradient unknown."""
    first[:] = math.nan
    first[0], first[1] = 1.0, 0.0


@jit
def _one_walk(
    ends, outside, x, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, first, weights, events, half_discs
):  # fmt: skip
    """Moves x to the end of the walk, and adds its source points to ``events``. Returns steps, weight, distance and the closest
    segment or triangle, with its corners' weights in ``weights``."""
    n, m, words = np.empty(x.size), np.zeros(x.size), np.zeros(4, np.uint64)
    step, weight = 0, 1.0
    begin_first(first)
    while True:
        radius, at = see(ends, outside, x, weights)
        if half_discs and step < max_steps and (step > 0 or (radius > epsilon and not pairs)):
            words[0], words[1], words[2], words[3] = philox(np.uint64(step // 4), walk, point, instance, k0, k1)
            direction(words[step % 4], words[step % 4], n)
            moved, landed = leave_half_disc(ends, at, weights, x, n, epsilon)
            if landed:
                return step + 1, weight, 0.0, at
            if moved:
                step += 1
                continue
        if radius <= epsilon or step >= max_steps or weight == 0.0:
            return step, weight, radius, at
        weight = make_step(
            ends, outside, x, radius, step, weight, walk, point, instance, k0, k1, screening, pairs, sources, words, n, m, first, events
        )
        step += 1


@jit
def walks(
    ends, outside, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, end, piece, place, left, first,
    marks, half_discs,
):  # fmt: skip
    """One walk per row of ``start``; ends without rows are the unit ball. Returns source points with their weights and whether they lie
    in the first ball of a pair, and the walk of each.

    ``left``: the weight of each walk at its end; ``first`` (walks, 2 + 2 d): see ``enter``.
    """
    d = start.shape[1]
    events = [np.empty(d + 2) for _ in range(0)]
    owner = [0 for _ in range(0)]
    weights = np.zeros(d - 1)
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], radius, at = _one_walk(
            ends, outside, x, walk[i], point[i], instance, k0, k1, epsilon, screening, pairs, max_steps, sources, first[i], weights, events,
            half_discs,
        )  # fmt: skip
        for _ in range(len(events) - len(owner)):
            owner.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if radius > epsilon else 0
            marks[i] += ESCAPED if not outside and (beyond_field(ends, x) if is_solid(ends, d) else _beyond(x)) else 0
            piece[i], place[i] = at, weights
            _project(ends, x, at, weights, end[i])
        else:
            piece[i], place[i], end[i] = 0, 0.0, x
    rows = np.empty((len(events), d + 2))
    for i in range(len(events)):
        rows[i] = events[i]
    return rows, np.array(owner, dtype=np.int64)
