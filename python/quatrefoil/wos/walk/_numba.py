"""Walk on Spheres in plain loops and float64: every step asks every segment. The same counters as csrc/wos/walk/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import dense, jit
from .state import of_values

_MASK = np.uint64(0xFFFFFFFF)
_SOURCE, _ROULETTE, _FIRST, _TRIAL = 1 << 28, 3 << 28, 4 << 28, 1 << 20
_SHRUNK, _MOST_SCREENED, _LIGHT = 0.99, 2.0, 0.125  # as in walker.hpp
CUT_OFF, ESCAPED = 1 << 31, 1 << 30
_BLOCK = 1 << 14  # walks at once: their source points are held in memory
_BALL = np.empty((0, 4))  # no segments: the unit ball


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
def _place_all(segments, epsilon, scaled):
    for i in range(len(scaled)):
        _place(segments, epsilon, scaled[i])


def place(points, frame, ends, first, start, grids, num_threads):
    """Points in the frame of their boundary."""
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise ValueError(f"solve: points{list(index)} is {points[index]}, expected a finite number")
    for b in range(len(frame)):
        X = points if points.ndim == 2 else points[b]
        scaled = (X.astype(np.float64) - frame[b, :-2]) / frame[b, -2]
        _place_all(_segments(ends, first, b), frame[b, -1], scaled)
        start[b] = scaled


def _segments(ends, first, instance):
    """The segments of one instance; none stand for the unit ball."""
    if ends is None:
        return _BALL
    b = instance if len(first) > 2 else 0
    return ends[first[b] : first[b + 1]]


@jit
def _bessel_series(half, q):
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
        i0, i1, i1_end = _bessel_series(0, at), _bessel_series(2, at), _bessel_series(2, q)
        a = _harmonic_series(0, at) / i0 - _harmonic_series(0, q) / _bessel_series(0, q)
        b = _harmonic_series(1, at) / i1 - _harmonic_series(1, q) / i1_end
        slope = 1.0 / s - s * i1 / i1_end - z2 * s * 0.5 * i1 * (logarithm + b)
        return i0 * (1.0 + a / logarithm), slope / logarithm
    odd = _bessel_series(-1, at) - z2 * s * s * _bessel_series(1, at)
    odd_end = _bessel_series(-1, q) - z2 * _bessel_series(1, q)
    slope = odd / (s * s) - s * odd_end * _bessel_series(3, at) / _bessel_series(3, q)
    return _bessel_series(1, q * (1.0 - s) ** 2) / _bessel_series(1, q), slope * s / (1.0 - s)


@jit
def _source_point(step, walk, point, instance, k0, k1, n):
    """(4a) in the plane, (4b) in space: the radius in the unit ball and minus its logarithm; the direction in n."""
    w0, w1, w2, _ = philox(np.uint64(_SOURCE + step), walk, point, instance, k0, k1)
    if n.size == 2:
        r = math.sqrt(_uniform(w0) * _uniform(w1))
        _direction(w2, w2, n)
        return r, -math.log(r)
    a, b, c = _uniform(w0), _uniform(w1), _uniform(w2)
    v0, v1, _, _ = philox(np.uint64(_SOURCE + _TRIAL + step), walk, point, instance, k0, k1)
    _direction(v0, v1, n)
    return max(min(a, b), min(max(a, b), c)), 0.0


@jit
def _see(segments, x):
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
    first[0], first[1] = 1.0 / _bessel_series(d - 2, 0.25 * z2), of_value
    for j in range(d):
        first[2 + j] = d / (radius * _bessel_series(d, 0.25 * z2)) * n[j]
        first[2 + d + j] = of_gradient / radius * m[j]


@jit
def _survive(weight, d, z2, step, walk, point, instance, k0, k1):
    """(9), (14) What is left of the weight of a walk after a ball, or 0."""
    left = weight / _bessel_series(d - 2, 0.25 * z2)
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
        radius, at, t = _see(segments, x)
        if radius <= epsilon or step >= max_steps or weight == 0.0:
            return step, weight, radius, at, t
        if screening > 0.0:
            radius = min(radius, _MOST_SCREENED / math.sqrt(screening))
        if step % sharing == 0:
            words[0], words[1], words[2], words[3] = philox(np.uint64(step // sharing), walk, point, instance, k0, k1)
        column = (d - 1) * (step % sharing)
        _direction(words[column], words[column + d - 2], n)
        enters, number, sign = pairs and step == 0, walk, 1.0
        if enters:
            number, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
            w0, w1, _, _ = philox(np.uint64(_FIRST), number, point, instance, k0, k1)
            _direction(w0, w1, n)
            n *= sign
            radius *= _SHRUNK
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


class _Walked:
    """Some walks of one instance: their ends and source points."""

    def __init__(self, start, frame, segments, instance, point, first_point, walk, seed, max_steps, pairs, screening, sources):
        n, d = len(point), start.shape[1]
        self.end, self.segment, self.place, self.left = np.empty((n, d)), np.empty(n, np.int64), np.empty(n), np.empty(n)
        self.mark, first = np.empty(n, np.int64), np.empty((n, 2 + 2 * d))
        events, self.owner = walks(
            segments, np.ascontiguousarray(start[point], np.float64), walk.astype(np.uint64), (first_point + point).astype(np.uint64),
            np.uint64(instance), np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) & 0xFFFFFFFF), frame[-1], screening * frame[-2] ** 2,
            pairs, max_steps, sources, self.end, self.segment, self.place, self.left, first, self.mark,
        )  # fmt: skip
        self.event, self.weight, self.entering = np.ascontiguousarray(events[:, :d]), events[:, d] * frame[-2] ** 2, events[:, d + 1] > 0
        first[:, 2:] /= frame[-2]
        columns = np.arange(d)
        self.along = first[:, [0, *(2 + columns)]] if pairs else np.ones((n, 1))  # (walks, channels): of what is met after the first ball
        self.toward = first[:, [1, *(2 + d + columns)]] if pairs else np.ones((n, 1))  # of the source in it

    def channels(self, found, at_sources):
        """(walks, channels): the value, and the gradient of a walk of a pair (13), of what is at the ends and at the source points."""
        found = np.where(self.left > 0, self.left, 0.0) * np.where(self.left > 0, found, 0.0)
        if at_sources is None:
            return found[:, None] * self.along
        held = self.weight * at_sources
        later, n = ~self.entering, len(found)
        found = found + np.bincount(self.owner[later], held[later], minlength=n)
        here = np.bincount(self.owner[self.entering], held[self.entering], minlength=n)
        channels = found[:, None] * self.along
        return channels + here[:, None] * self.toward if self.entering.any() else channels


def _blocks(start, first_walk, count):
    """(points, walks) of one instance, some thousand walks at a time; points outside have none."""
    live = np.flatnonzero(~np.isnan(start[:, 0]))
    for at in range(0, len(live) * count, _BLOCK):
        index = np.arange(at, min(at + _BLOCK, len(live) * count))
        yield live[index // count], first_walk + index % count


def _row(numbers, instance, ends, first):
    """The numbers of one instance; those at vertices as pairs, one a segment."""
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


def _values(kind, numbers, function, instance, frame, X, segment=None, place=None):
    """Data at scaled points, or on segments."""
    if kind == "function":
        return function(instance, np.ascontiguousarray(frame[:-2] + frame[-2] * X))
    if kind == "number":
        return np.full(len(X), numbers[0])
    if kind == "fourier":
        return _modes(numbers, X)[0] @ numbers[2:]
    if kind == "per_vertex":
        pair = numbers.reshape(-1, 2)[segment]
        return pair[:, 0] + place * (pair[:, 1] - pair[:, 0])
    bells = numbers.reshape(-1, X.shape[1] + 2)
    r2 = ((X[:, None, :] - bells[:, 1:-1]) ** 2).sum(axis=-1)
    return np.exp(-r2 * bells[:, -1]) @ bells[:, 0]


def _add_gradient(kind, numbers, share, to, X, segment=None, place=None):
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
        pairs = to.reshape(-1, 2)
        pairs[:, 0] += np.bincount(segment, share * (1 - place), minlength=len(pairs))
        pairs[:, 1] += np.bincount(segment, share * place, minlength=len(pairs))
    elif kind == "gaussians":
        bells, d = numbers.reshape(-1, X.shape[1] + 2), to.reshape(-1, X.shape[1] + 2)
        away = X[:, None, :] - bells[:, 1:-1]
        r2 = (away**2).sum(axis=-1)
        e = np.exp(-r2 * bells[:, -1]) * share[:, None]
        d[:, 0] += e.sum(axis=0)
        d[:, 1:-1] += 2 * (bells[:, :1] * bells[:, -1:]) * (e[..., None] * away).sum(axis=0)
        d[:, -1] -= bells[:, 0] * (e * r2).sum(axis=0)


def walk(start, frame, ends, first, dirichlet, source, mean, m2, counts, dirichlet_kind, source_kind, seed, first_walk, count, max_steps,
         gradient, screening, first_instance, first_point, grids, g, f, num_threads):  # fmt: skip
    """The nodes of walks [first_walk, first_walk + count) of every point."""
    frame, ends, dirichlet, source = map(dense, (frame, ends, dirichlet, source))
    N, channels, group, about = start.shape[1], mean.shape[3], 2 if gradient else 1, (seed, max_steps, gradient, screening)
    for b in range(len(start)):
        values, marks = np.full((channels, N, count), np.nan), np.zeros((N, count), np.int64)
        of_g, of_f = (None if x is None else _row(x, b, ends, first) for x in (dirichlet, source))
        for point, w in _blocks(start[b], first_walk, count):
            walked = _Walked(
                start[b], frame[b], _segments(ends, first, b), first_instance + b, point, first_point, w, *about, source_kind != "none"
            )
            found = _values(dirichlet_kind, of_g, g, first_instance + b, frame[b], walked.end, walked.segment, walked.place)
            at_sources = _values(source_kind, of_f, f, first_instance + b, frame[b], walked.event) if len(walked.event) else None
            values[:, point, w - first_walk], marks[point, w - first_walk] = walked.channels(found, at_sources).T, walked.mark
        steps = [(marks & (ESCAPED - 1)).sum(axis=1), ((marks & CUT_OFF) != 0).sum(axis=1), ((marks & ESCAPED) != 0).sum(axis=1)]
        counts[b] = np.stack(steps, axis=1)
        for c in range(channels):
            samples = values[c] if group == 1 else (values[c, :, ::2] + values[c, :, 1::2]) * 0.5
            state = of_values(first_walk // group, samples, counts[b])
            mean[b, :, :, c], m2[b, :, :, c] = state.mean, state.m2


def walk_vjp(start, frame, ends, first, dirichlet, source, grad, _0, _1, _2, _3, ddirichlet, dsource, dirichlet_kind, source_kind, seed,
             first_walk, count, max_steps, gradient, screening, first_instance, first_point, grids, g, f, num_threads):  # fmt: skip
    """(7), (8): the walks again."""
    frame, ends, dirichlet, source = map(dense, (frame, ends, dirichlet, source))
    group, about = 2 if gradient else 1, (seed, max_steps, gradient, screening)
    state = of_values(first_walk // group, np.zeros((0, count // group)), np.zeros((0, 3)))
    for d in (ddirichlet, dsource):
        if d is not None:
            d[...] = 0
    for b in range(len(start)):
        of_g, of_f, to_g, to_f = (None if x is None else _row(x, b, ends, first) for x in (dirichlet, source, ddirichlet, dsource))
        for point, w in _blocks(start[b], first_walk, count):
            node = np.searchsorted(state.starts, w // group, side="right") - 1
            share = grad[b, point, node] / (np.array(state.sizes)[node] * group)[:, None]
            walked = _Walked(
                start[b], frame[b], _segments(ends, first, b), first_instance + b, point, first_point, w, *about, to_f is not None
            )
            along, toward = ((share * np.where(share == 0, 0.0, x)).sum(axis=1) for x in (walked.along, walked.toward))
            if to_g is not None:
                _add_gradient(dirichlet_kind, of_g, along * walked.left, to_g, walked.end, walked.segment, walked.place)
            if to_f is not None and len(walked.event):
                of_event = np.where(walked.entering, toward[walked.owner], along[walked.owner])
                _add_gradient(source_kind, of_f, of_event * walked.weight, to_f, walked.event)
