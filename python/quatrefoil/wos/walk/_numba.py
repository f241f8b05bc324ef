"""Walk on Spheres in plain loops and float64: every step asks every segment or triangle. The same counters as csrc/wos/walk/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import jit
from ..query._numba import closest, is_inside, pieces, point_on
from .state import of_values

_MASK = np.uint64(0xFFFFFFFF)
_SOURCE, _TRIAL = 1 << 28, 1 << 20
CUT_OFF, ESCAPED = 1 << 31, 1 << 30
HALF_SIDE = 0.5 * (1 + 2.0**-6)  # of the box and a margin
_BLOCK = 1 << 14  # walks at once: their source points are held in memory


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
def _place_all(ends, closed, epsilon, scaled):
    for i in range(len(scaled)):
        _place(ends, closed, epsilon, scaled[i])


def place(points, frame, ends, first, start, closed, grids, num_threads):
    """Points in the frame of their boundary."""
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise ValueError(f"solve: points{list(index)} is {points[index]}, expected a finite number")
    for b in range(len(frame)):
        X = points if points.ndim == 2 else points[b]
        scaled = (X.astype(np.float64) - frame[b, :-2]) / frame[b, -2]
        _place_all(pieces(ends, first, b, X.shape[-1]), closed, frame[b, -1], scaled)
        start[b] = scaled


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
def walks(ends, start, walk, point, instance, k0, k1, epsilon, max_steps, sources, end, piece, place, marks):
    """One walk a row of ``start``; no pieces: the unit ball. Returns source points, weights, walks."""
    d = start.shape[1]
    sharing = 4 if d == 2 else 2
    room = 16 * len(start) if sources else 0
    event, weight, owner = np.empty((room, d)), np.empty(room), np.empty(room, np.int64)
    used = 0
    x, n, weights = np.empty(d), np.empty(d), np.zeros(d - 1)
    for i in range(len(start)):
        x[:] = start[i]
        words = np.zeros(4, np.uint64)
        step = 0
        while True:
            if len(ends):
                d2, at = closest(ends, x, weights)
                radius = math.sqrt(d2)
                for j in range(d):  # beyond the box: README, Limits
                    if abs(x[j]) >= HALF_SIDE:
                        radius = 0.0
            else:
                r2 = 0.0
                for j in range(d):
                    r2 += x[j] * x[j]
                radius, at = 1.0 - math.sqrt(r2), 0
            if radius <= epsilon or step >= max_steps:
                break
            if step % sharing == 0:
                w0, w1, w2, w3 = philox(np.uint64(step // sharing), walk[i], point[i], instance, k0, k1)
                words[0], words[1], words[2], words[3] = w0, w1, w2, w3
            if sources:
                if used == room:
                    more_event, more_weight, more_owner = np.empty((2 * room, d)), np.empty(2 * room), np.empty(2 * room, np.int64)
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
        piece[i], place[i] = at, weights
        if len(ends):
            for j in range(d):
                if abs(x[j]) >= HALF_SIDE:
                    marks[i] |= ESCAPED
            point_on(ends[at], weights, end[i])
        else:
            r = 1.0 - radius
            for j in range(d):
                end[i, j] = x[j] / r if r > 0 else (1.0 if j == 0 else 0.0)
    return event[:used], weight[:used], owner[:used]


class _Walked:
    """Some walks of one instance: their ends and source points."""

    def __init__(self, start, frame, ends, instance, point, walk, seed, max_steps, sources):
        n, d = len(point), start.shape[1]
        self.end, self.piece, self.place = np.empty((n, d)), np.empty(n, np.int64), np.empty((n, d - 1))
        self.mark = np.empty(n, np.int64)
        self.event, self.weight, self.owner = walks(
            ends, np.ascontiguousarray(start[point], np.float64), walk.astype(np.uint64), point.astype(np.uint64), np.uint64(instance),
            np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF), frame[-1], max_steps, sources,
            self.end, self.piece, self.place, self.mark,
        )  # fmt: skip
        self.weight *= frame[-2] ** 2


def _blocks(start, first_walk, count):
    """(points, walks) of one instance, some thousand walks at a time; points outside have none."""
    live = np.flatnonzero(~np.isnan(start[:, 0]))
    for at in range(0, len(live) * count, _BLOCK):
        index = np.arange(at, min(at + _BLOCK, len(live) * count))
        yield live[index // count], first_walk + index % count


def _row(numbers, instance, ends, first):
    """The numbers of one instance."""
    if ends is not None and first is not None and len(first) > 2 and len(numbers) == 1 and numbers.shape[1] == 2 * len(ends):
        return numbers[0, 2 * first[instance] : 2 * first[instance + 1]]
    return numbers[instance if len(numbers) > 1 else 0]


def _modes(numbers, X):
    """(..., K): the functions that the coefficients multiply; and the distance and angle from the centre."""
    dx, dy = X[:, 0] - numbers[0], X[:, 1] - numbers[1]
    r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)[:, None]
    m = np.arange(1, (len(numbers) - 1) // 2)
    waves = np.stack([np.cos(m * theta), np.sin(m * theta)], axis=-1).reshape(len(X), 2 * len(m))
    return np.concatenate([np.ones_like(theta), waves], axis=1), r, theta[:, 0], m


def _values(kind, numbers, function, instance, frame, X, piece=None, place=None):
    """Data at scaled points, or on segments and triangles."""
    if kind == "function":
        return function(instance, np.ascontiguousarray(frame[:-2] + frame[-2] * X))
    if kind == "number":
        return np.full(len(X), numbers[0])
    if kind == "fourier":
        return _modes(numbers, X)[0] @ numbers[2:]
    if kind == "per_vertex":
        at_corners = numbers.reshape(-1, X.shape[1])[piece]
        return at_corners[:, 0] + (place * (at_corners[:, 1:] - at_corners[:, :1])).sum(axis=1)
    bells = numbers.reshape(-1, X.shape[1] + 2)
    r2 = ((X[:, None, :] - bells[:, 1:-1]) ** 2).sum(axis=-1)
    return np.exp(-r2 * bells[:, -1]) @ bells[:, 0]


def _add_gradient(kind, numbers, share, to, X, piece=None, place=None):
    """Adds d sum(share values) / d numbers to ``to``: data README (3)-(5)."""
    if kind == "number":
        to[0] += share.sum()
    elif kind == "fourier":
        modes, r, theta, m = _modes(numbers, X)
        to[2:] += share @ modes
        waves = m * (modes[:, 1::2] * numbers[4::2] - modes[:, 2::2] * numbers[3::2])
        slope = share * waves.sum(axis=1) / np.where(r > 0, r, np.inf)
        to[0] += (slope * np.sin(theta)).sum()
        to[1] -= (slope * np.cos(theta)).sum()
    elif kind == "per_vertex":
        corners = to.reshape(-1, X.shape[1])
        weights = np.concatenate([1 - place.sum(axis=1, keepdims=True), place], axis=1)
        for k in range(X.shape[1]):
            corners[:, k] += np.bincount(piece, share * weights[:, k], minlength=len(corners))
    elif kind == "gaussians":
        bells, d = numbers.reshape(-1, X.shape[1] + 2), to.reshape(-1, X.shape[1] + 2)
        away = X[:, None, :] - bells[:, 1:-1]
        r2 = (away**2).sum(axis=-1)
        e = np.exp(-r2 * bells[:, -1]) * share[:, None]
        d[:, 0] += e.sum(axis=0)
        d[:, 1:-1] += 2 * (bells[:, :1] * bells[:, -1:]) * (e[..., None] * away).sum(axis=0)
        d[:, -1] -= bells[:, 0] * (e * r2).sum(axis=0)


def _dense(x):
    """In one piece: NumPy sums numbers that lie apart in another order."""
    return None if x is None else np.require(x, requirements=["C", "A"])


def walk(start, frame, ends, first, dirichlet, source, mean, m2, counts, dirichlet_kind, source_kind, seed, first_walk, count, max_steps,
         grids, g, f, num_threads):  # fmt: skip
    """The nodes of walks [first_walk, first_walk + count) of every point."""
    frame, ends, dirichlet, source = map(_dense, (frame, ends, dirichlet, source))
    for b in range(len(start)):
        of_b = pieces(ends, first, b, start.shape[2])
        values, marks = np.full((start.shape[1], count), np.nan), np.zeros((start.shape[1], count), np.int64)
        of_g, of_f = (None if x is None else _row(x, b, ends, first) for x in (dirichlet, source))
        for point, w in _blocks(start[b], first_walk, count):
            walked = _Walked(start[b], frame[b], of_b, b, point, w, seed, max_steps, source_kind != "none")
            value = _values(dirichlet_kind, of_g, g, b, frame[b], walked.end, walked.piece, walked.place)
            if len(walked.event):
                at_sources = _values(source_kind, of_f, f, b, frame[b], walked.event)
                value = value + np.bincount(walked.owner, walked.weight * at_sources, minlength=len(point))
            values[point, w - first_walk], marks[point, w - first_walk] = value, walked.mark
        steps = [(marks & (ESCAPED - 1)).sum(axis=1), ((marks & CUT_OFF) != 0).sum(axis=1), ((marks & ESCAPED) != 0).sum(axis=1)]
        state = of_values(first_walk, values, np.stack(steps, axis=1))
        mean[b], m2[b], counts[b] = state.mean, state.m2, state.counts


def walk_vjp(start, frame, ends, first, dirichlet, source, grad, _0, _1, _2, _3, ddirichlet, dsource, dirichlet_kind, source_kind, seed,
             first_walk, count, max_steps, grids, g, f, num_threads):  # fmt: skip
    """(7), (8): the walks again."""
    frame, ends, dirichlet, source = map(_dense, (frame, ends, dirichlet, source))
    state = of_values(first_walk, np.zeros((0, count)), np.zeros((0, 3)))
    for d in (ddirichlet, dsource):
        if d is not None:
            d[...] = 0
    for b in range(len(start)):
        of_b = pieces(ends, first, b, start.shape[2])
        of_g, of_f, to_g, to_f = (None if x is None else _row(x, b, ends, first) for x in (dirichlet, source, ddirichlet, dsource))
        for point, w in _blocks(start[b], first_walk, count):
            node = np.searchsorted(state.starts, w, side="right") - 1
            share = grad[b, point, node] / np.array(state.sizes)[node]
            walked = _Walked(start[b], frame[b], of_b, b, point, w, seed, max_steps, to_f is not None)
            if to_g is not None:
                _add_gradient(dirichlet_kind, of_g, share, to_g, walked.end, walked.piece, walked.place)
            if to_f is not None and len(walked.event):
                _add_gradient(source_kind, of_f, share[walked.owner] * walked.weight, to_f, walked.event)
