"""Walks on spheres in plain loops and float64: every step asks every segment. The same counters as csrc/wos/walk/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import jit
from ..query._numba import closest, is_inside, point_on

_MASK = np.uint64(0xFFFFFFFF)
_SOURCE, _ROULETTE, FIRST, _TRIAL = 1 << 28, 3 << 28, 4 << 28, 1 << 20
HALF_SIDE = 0.5 * (1 + 2.0**-6)  # of the box and a margin
SHRUNK, MOST_SCREENED, LIGHT = 0.99, 2.0, 0.125  # as in walker.hpp
CUT_OFF, ESCAPED = 1 << 31, 1 << 30


@jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 on numbers below 2^32 held in uint64."""
    for _ in range(10):
        p0 = c0 * np.uint64(0xD2511F53)
        p1 = c2 * np.uint64(0xCD9E8D57)
        c0 = (p1 >> np.uint64(32)) ^ c1 ^ k0
        c2 = (p0 >> np.uint64(32)) ^ c3 ^ k1
        c1 = p1 & _MASK
        c3 = p0 & _MASK
        k0 = (k0 + np.uint64(0x9E3779B9)) & _MASK
        k1 = (k1 + np.uint64(0xBB67AE85)) & _MASK
    return c0, c1, c2, c3


@jit
def uniform(word):
    return (float(word) + 0.5) * 2.0**-32


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
def _place(ends, closed, epsilon, x):
    """Moves a point outside but within epsilon to the boundary, the others outside to NaN."""
    if len(ends):
        if is_inside(ends, x, closed):
            return
        weights = np.empty(x.size - 1)
        d2, k = closest(ends, x, weights)
        if math.sqrt(d2) <= epsilon:
            point_on(ends[k], weights, x)
        else:
            x[:] = math.nan
    else:
        r = 0.0
        for j in range(x.size):
            r += x[j] * x[j]
        r = math.sqrt(r)
        for j in range(x.size):
            x[j] = x[j] if r <= 1.0 else x[j] / r if r <= 1.0 + epsilon else math.nan


@jit
def place_all(ends, closed, epsilon, scaled):
    for i in range(len(scaled)):
        _place(ends, closed, epsilon, scaled[i])


@jit
def bessel_series(half, q):
    """(9) sum_k q^k / (k! (nu + 1) ... (nu + k)), nu = half / 2."""
    total = 1.0
    for k in range(14, 0, -1):
        total = total * q / (k * (0.5 * half + k)) + 1.0
    return total


@jit
def harmonic_series(shift, q):
    """(11), (15) sum_k (H_k + H_(k + shift)) q^k / (k! (k + shift)!) / 2."""
    total, harmonic, term = 0.5 * shift, 0.0, 1.0
    for k in range(1, 15):
        harmonic += 1.0 / k
        term *= q / (k * (k + shift))
        total += term * (harmonic + shift * 0.5 / (k + 1))
    return total


@jit
def source_weight(d, s, logarithm, z2):
    """(11), (12), (15): how a source point at radius s weighs against that of the Laplace equation, and its weight in the gradient."""
    q = 0.25 * z2
    at = q * s * s
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
def _source_point(step, walk, point, instance, k0, k1, n):
    """(4a) in the plane, (4b) in space: the radius in the unit ball and minus its logarithm; the direction in n."""
    w0, w1, w2, _ = philox(np.uint64(_SOURCE + step), walk, point, instance, k0, k1)
    if n.size == 2:
        r = math.sqrt(uniform(w0) * uniform(w1))
        direction(w2, w2, n)
        return r, -math.log(r)
    a, b, c = uniform(w0), uniform(w1), uniform(w2)
    v0, v1, _, _ = philox(np.uint64(_SOURCE + _TRIAL + step), walk, point, instance, k0, k1)
    direction(v0, v1, n)
    return max(min(a, b), min(max(a, b), c)), 0.0


@jit
def see(ends, x, weights):
    """The distance of the boundary, 0 beyond the box; its closest piece, and the weights of that's corners behind the first."""
    if len(ends):
        d2, at = closest(ends, x, weights)
        return (0.0 if _beyond(x) else math.sqrt(d2)), at
    r2 = 0.0
    for j in range(x.size):
        r2 += x[j] * x[j]
    return 1.0 - math.sqrt(r2), 0


@jit
def _beyond(x):
    """README, Limits."""
    beyond = False
    for j in range(x.size):
        beyond = beyond or abs(x[j]) >= HALF_SIDE
    return beyond


@jit
def _project(ends, x, radius, at, weights, end):
    if len(ends):
        point_on(ends[at], weights, end)
    else:
        r = 1.0 - radius
        for j in range(x.size):
            end[j] = x[j] / r if r > 0 else (1.0 if j == 0 else 0.0)


@jit
def _enter(d, n, m, radius, z2, of_value, of_gradient, first):
    """What the first ball of a walk of a pair makes of what the walk finds: walker.hpp's First."""
    first[0], first[1] = 1.0 / bessel_series(d - 2, 0.25 * z2), of_value
    for j in range(d):
        first[2 + j] = d / (radius * bessel_series(d, 0.25 * z2)) * n[j]
        first[2 + d + j] = of_gradient / radius * m[j]


@jit
def _survive(weight, d, z2, step, walk, point, instance, k0, k1):
    """(9), (14) What is left of the weight of a walk after a ball, or 0."""
    left = weight / bessel_series(d - 2, 0.25 * z2)
    if left >= LIGHT:
        return left
    word, _, _, _ = philox(np.uint64(_ROULETTE + step), walk, point, instance, k0, k1)
    return LIGHT if uniform(word) * LIGHT < left else 0.0


@jit
def _one_walk(ends, x, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, first, weights, events):
    """Moves x to where the walk ends, and adds its source points to ``events``. Returns steps, weight, distance and piece;
    the weights of its corners are in ``weights``."""
    d = x.size
    sharing = 4 if d == 2 else 2
    n, m, words = np.empty(d), np.zeros(d), np.zeros(4, np.uint64)
    step, weight = 0, 1.0
    first[:] = math.nan
    first[0], first[1] = 1.0, 0.0
    while True:
        radius, at = see(ends, x, weights)
        if radius <= epsilon or step >= max_steps or weight == 0.0:
            return step, weight, radius, at
        if screening > 0.0:
            radius = min(radius, MOST_SCREENED / math.sqrt(screening))
        if step % sharing == 0:
            words[0], words[1], words[2], words[3] = philox(np.uint64(step // sharing), walk, point, instance, k0, k1)
        column = (d - 1) * (step % sharing)
        direction(words[column], words[column + d - 2], n)
        enters, number, sign = pairs and step == 0, walk, 1.0
        if enters:
            number, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
            w0, w1, _, _ = philox(np.uint64(FIRST), number, point, instance, k0, k1)
            direction(w0, w1, n)
            n *= sign
            radius *= SHRUNK
        z2 = radius * radius * screening
        of_value, of_gradient = 1.0, 0.0
        if sources:
            s, logarithm = _source_point(step, number, point, instance, k0, k1, m)
            m *= sign
            if enters or screening > 0.0:
                of_value, of_gradient = source_weight(d, s, logarithm, z2)
            event = np.empty(d + 2)
            event[:d] = x + radius * s * m
            event[d] = radius * radius / (2.0 * d) * (1.0 if enters else weight * of_value)
            event[d + 1] = 1.0 if enters else 0.0
            events.append(event)
        if enters:
            _enter(d, n, m, radius, z2, of_value, of_gradient, first)
        x += radius * n
        if screening > 0.0 and not enters:
            weight = _survive(weight, d, z2, step, walk, point, instance, k0, k1)
        step += 1


@jit
def walks(ends, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, end, piece, place, left, first, marks):
    """One walk a row of ``start``; no pieces: the unit ball. Returns source points with their weights and whether they lie in the first
    ball of a pair, and whose walk's they are.

    ``left``: the weight of each walk at its end; ``first`` (walks, 2 + 2 d): see ``_enter``.
    """
    d = start.shape[1]
    events = [np.empty(d + 2) for _ in range(0)]
    owner = [0 for _ in range(0)]
    weights = np.zeros(d - 1)
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], radius, at = _one_walk(
            ends, x, walk[i], point[i], instance, k0, k1, epsilon, screening, pairs, max_steps, sources, first[i], weights, events
        )
        for _ in range(len(events) - len(owner)):
            owner.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if radius > epsilon else 0
            marks[i] += ESCAPED if len(ends) and _beyond(x) else 0
            piece[i], place[i] = at, weights
            _project(ends, x, radius, at, weights, end[i])
        else:
            piece[i], place[i], end[i] = 0, 0.0, x
    found = np.empty((len(events), d + 2))
    for i in range(len(events)):
        found[i] = events[i]
    return found, np.array(owner, dtype=np.int64)
