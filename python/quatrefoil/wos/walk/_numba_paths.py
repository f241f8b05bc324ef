"""Walks on spheres in plain loops and float64: every step asks every segment. The same counters as csrc/wos/walk/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import jit

_MASK = np.uint64(0xFFFFFFFF)
_SOURCE, _ROULETTE, FIRST, _TRIAL = 1 << 28, 3 << 28, 4 << 28, 1 << 20
SHRUNK, MOST_SCREENED, _LIGHT = 0.99, 2.0, 0.125  # as in walker.hpp
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
def _uniform(word):
    return (float(word) + 0.5) * 2.0**-32


@jit
def direction(word, height, n):
    """A uniform unit vector, in n."""
    angle = float(word) * (2.0 * math.pi * 2.0**-32)
    if n.size == 2:
        n[0], n[1] = math.cos(angle), math.sin(angle)
    else:
        z = _uniform(height) * 2.0 - 1.0
        rho = math.sqrt(max(1.0 - z * z, 0.0))
        n[0], n[1], n[2] = rho * math.cos(angle), rho * math.sin(angle), z


@jit
def _closest(segments, x, y):
    """Squared distance, segment and place: polygon README (1)."""
    best, at, place = 1e300, 0, 0.0
    for k in range(len(segments)):
        ax, ay = segments[k, 0], segments[k, 1]
        ex, ey = segments[k, 2] - ax, segments[k, 3] - ay
        t = ((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey)
        t = min(max(t, 0.0), 1.0)
        dx, dy = x - ax - t * ex, y - ay - t * ey
        d2 = dx * dx + dy * dy
        if d2 < best:
            best, at, place = d2, k, t
    return best, at, place


@jit
def _inside(segments, x, y):
    """Odd crossing number."""
    odd = False
    for k in range(len(segments)):
        ax, ay, bx, by = segments[k, 0], segments[k, 1], segments[k, 2], segments[k, 3]
        side = (bx - ax) * (y - ay) - (x - ax) * (by - ay)
        if (ay <= y < by and side > 0) or (by <= y < ay and side < 0):
            odd = not odd
    return odd


@jit
def _place(segments, epsilon, x):
    """Moves a point outside but within epsilon to the boundary, the others outside to NaN."""
    if len(segments):
        if _inside(segments, x[0], x[1]):
            return
        d2, k, t = _closest(segments, x[0], x[1])
        near = math.sqrt(d2) <= epsilon
        for j in range(2):
            x[j] = segments[k, j] + t * (segments[k, 2 + j] - segments[k, j]) if near else math.nan
    else:
        r = 0.0
        for j in range(x.size):
            r += x[j] * x[j]
        r = math.sqrt(r)
        for j in range(x.size):
            x[j] = x[j] if r <= 1.0 else x[j] / r if r <= 1.0 + epsilon else math.nan


@jit
def place_all(segments, epsilon, scaled):
    for i in range(len(scaled)):
        _place(segments, epsilon, scaled[i])


@jit
def bessel_series(half, q):
    """(9) sum_k q^k / (k! (nu + 1) ... (nu + k)), nu = half / 2."""
    total = 1.0
    for k in range(14, 0, -1):
        total = total * q / (k * (0.5 * half + k)) + 1.0
    return total


@jit
def _harmonic_series(shift, q):
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
        a = _harmonic_series(0, at) / i0 - _harmonic_series(0, q) / bessel_series(0, q)
        b = _harmonic_series(1, at) / i1 - _harmonic_series(1, q) / i1_end
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
        r = math.sqrt(_uniform(w0) * _uniform(w1))
        direction(w2, w2, n)
        return r, -math.log(r)
    a, b, c = _uniform(w0), _uniform(w1), _uniform(w2)
    v0, v1, _, _ = philox(np.uint64(_SOURCE + _TRIAL + step), walk, point, instance, k0, k1)
    direction(v0, v1, n)
    return max(min(a, b), min(max(a, b), c)), 0.0


@jit
def see(segments, x):
    """The distance of the boundary, its closest segment and the place on it."""
    if len(segments):
        d2, at, t = _closest(segments, x[0], x[1])
        return math.sqrt(d2), at, t
    r2 = 0.0
    for j in range(x.size):
        r2 += x[j] * x[j]
    return 1.0 - math.sqrt(r2), 0, 0.0


@jit
def _project(segments, x, radius, at, t, end):
    if len(segments):
        for j in range(2):
            end[j] = segments[at, j] + t * (segments[at, 2 + j] - segments[at, j])
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
    if left >= _LIGHT:
        return left
    word, _, _, _ = philox(np.uint64(_ROULETTE + step), walk, point, instance, k0, k1)
    return _LIGHT if _uniform(word) * _LIGHT < left else 0.0


@jit
def _one_walk(segments, x, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, first, events):
    """Moves x to where the walk ends, and adds its source points to ``events``. Returns steps, weight, distance, segment, place."""
    d = x.size
    sharing = 4 if d == 2 else 2
    n, m, words = np.empty(d), np.zeros(d), np.zeros(4, np.uint64)
    step, weight = 0, 1.0
    first[:] = math.nan
    first[0], first[1] = 1.0, 0.0
    while True:
        radius, at, t = see(segments, x)
        if radius <= epsilon or step >= max_steps or weight == 0.0:
            return step, weight, radius, at, t
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
def walks(segments, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources, end, segment, place, left, first,
          marks):  # fmt: skip
    """One walk a row of ``start``; no segments: the unit ball. Returns source points with their weights and whether they lie in the first
    ball of a pair, and whose walk's they are.

    ``left``: the weight of each walk at its end; ``first`` (walks, 2 + 2 d): see ``_enter``.
    """
    events = [np.empty(start.shape[1] + 2) for _ in range(0)]
    owner = [0 for _ in range(0)]
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], radius, at, t = _one_walk(
            segments, x, walk[i], point[i], instance, k0, k1, epsilon, screening, pairs, max_steps, sources, first[i], events
        )
        for _ in range(len(events) - len(owner)):
            owner.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if radius > epsilon else 0
            segment[i], place[i] = at, t
            _project(segments, x, radius, at, t, end[i])
        else:
            segment[i], place[i], end[i] = 0, 0.0, x
    found = np.empty((len(events), start.shape[1] + 2))
    for i in range(len(events)):
        found[i] = events[i]
    return found, np.array(owner, dtype=np.int64)
