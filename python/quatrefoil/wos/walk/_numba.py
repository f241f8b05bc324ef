"""Walk on Spheres in plain loops and float64: every step asks every segment. The same counters as csrc/wos/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import jit

_MASK = np.uint64(0xFFFFFFFF)
_SOURCE, _TRIAL = 1 << 28, 1 << 20
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
def _direction(word, height, n):
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
    """Squared distance, segment and place: README (5)."""
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
def contains(segments, points, inside):
    """Odd crossing number."""
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        odd = False
        for k in range(len(segments)):
            ax, ay, bx, by = segments[k, 0], segments[k, 1], segments[k, 2], segments[k, 3]
            side = (bx - ax) * (y - ay) - (x - ax) * (by - ay)
            if (ay <= y < by and side > 0) or (by <= y < ay and side < 0):
                odd = not odd
        inside[i] = odd


@jit
def closest(segments, points, distance, at):
    """The closest point of every point."""
    for i in range(len(points)):
        d2, k, t = _closest(segments, points[i, 0], points[i, 1])
        distance[i] = math.sqrt(d2)
        for j in range(2):
            at[i, j] = segments[k, j] + t * (segments[k, 2 + j] - segments[k, j])


@jit
def _source_point(step, walk, point, instance, k0, k1, x, radius, n, y):
    """(4a) in the plane, (4b) in space."""
    w0, w1, w2, _ = philox(np.uint64(_SOURCE + step), walk, point, instance, k0, k1)
    if x.size == 2:
        r = math.sqrt(_uniform(w0) * _uniform(w1))
        _direction(w2, w2, n)
    else:
        a, b, c = _uniform(w0), _uniform(w1), _uniform(w2)
        r = max(min(a, b), min(max(a, b), c))
        v0, v1, _, _ = philox(np.uint64(_SOURCE + _TRIAL + step), walk, point, instance, k0, k1)
        _direction(v0, v1, n)
    for i in range(x.size):
        y[i] = x[i] + radius * r * n[i]


@jit
def walks(segments, start, walk, point, instance, k0, k1, epsilon, max_steps, sources, end, segment, place, marks):
    """One walk a row of ``start``; no segments: the unit ball. Returns source points, weights, walks."""
    d = start.shape[1]
    sharing = 4 if d == 2 else 2
    room = 16 * len(start) if sources else 0
    event, weight, owner = np.empty((room, d)), np.empty(room), np.empty(room, np.int64)
    used = 0
    x, n = np.empty(d), np.empty(d)
    for i in range(len(start)):
        x[:] = start[i]
        words = np.zeros(4, np.uint64)
        step = 0
        while True:
            if len(segments):
                d2, at, t = _closest(segments, x[0], x[1])
                radius = math.sqrt(d2)
            else:
                r2 = 0.0
                for j in range(d):
                    r2 += x[j] * x[j]
                radius, at, t = 1.0 - math.sqrt(r2), 0, 0.0
            if radius <= epsilon or step >= max_steps:
                break
            if step % sharing == 0:
                w0, w1, w2, w3 = philox(np.uint64(step // sharing), walk[i], point[i], instance, k0, k1)
                words[0], words[1], words[2], words[3] = w0, w1, w2, w3
            if sources:
                if used == room:
                    more_event, more_weight, more_owner = (
                        np.empty((2 * room, d)),
                        np.empty(2 * room),
                        np.empty(2 * room, np.int64),
                    )
                    more_event[:room], more_weight[:room], more_owner[:room] = event, weight, owner
                    event, weight, owner, room = more_event, more_weight, more_owner, 2 * room
                _source_point(step, walk[i], point[i], instance, k0, k1, x, radius, n, event[used])
                weight[used] = radius * radius / (2.0 * d)
                owner[used] = i
                used += 1
            first = (d - 1) * (step % sharing)
            _direction(words[first], words[first + d - 2], n)
            for j in range(d):
                x[j] += radius * n[j]
            step += 1
        marks[i] = step + (CUT_OFF if radius > epsilon else 0)
        segment[i], place[i] = at, t
        if len(segments):
            for j in range(2):
                end[i, j] = segments[at, j] + t * (segments[at, 2 + j] - segments[at, j])
        else:
            r = 1.0 - radius
            for j in range(d):
                end[i, j] = x[j] / r if r > 0 else (1.0 if j == 0 else 0.0)
    return event[:used], weight[:used], owner[:used]
