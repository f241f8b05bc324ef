"""Walks by the same random words as the library's, with exact distances and Bessel functions."""

import numpy as np
from scipy.special import gamma, iv, kv

from wos.query.oracle import is_box


def remembered(function, most=64):
    """Cache the ``most`` latest results, which callers must not change. A case draws its points by the walks that its oracle replays, and
    none of these depends on the data."""
    answers = {}

    def key(x):
        if isinstance(x, np.ndarray):
            return x.shape, x.dtype.str, x.tobytes()
        return tuple(map(key, x)) if isinstance(x, (list, tuple)) else x

    def run(*args):
        at = key(args)
        if at not in answers:
            while len(answers) >= most:
                del answers[next(iter(answers))]
            answers[at] = function(*args)
        return answers[at]

    return run


def closest(segs, X):
    """Distance, segment, place on it, closest point: every segment is asked."""
    a, e = segs[:, :2], segs[:, 2:] - segs[:, :2]
    t = np.clip(((X[:, None] - a) * e).sum(-1) / (e * e).sum(-1), 0, 1)
    p = a + t[..., None] * e
    d = np.hypot(*np.moveaxis(X[:, None] - p, -1, 0))
    k = d.argmin(axis=1)
    row = np.arange(len(X))
    return d[row, k], k, t[row, k], p[row, k]


def philox(counter, key):
    """Philox4x32-10 of (..., 4) words below 2^32, as the Random123 paper writes it."""
    low = np.uint64(0xFFFFFFFF)
    c = [np.asarray(x, np.uint64) for x in counter]
    k = [np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32 & 0xFFFFFFFF)]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & low, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def _uniform(word):
    return (word + 0.5) / 2**32


def _unit(word, height, d):
    angle = 2 * np.pi * (word / 2**32)
    if d == 2:
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    z = 2 * _uniform(height) - 1
    return np.concatenate([np.sqrt(1 - z * z)[..., None] * _unit(word, None, 2), z[..., None]], axis=-1)


def _many(counter, number, point, instance, seed):
    """The words of a counter that is the same for all walks or has their shape."""
    return philox((counter + np.zeros_like(point), number, point, np.full_like(point, instance)), seed)


def _unit_of_many(counter, number, point, instance, seed, d):
    """In more than three dimensions: pairs of normal numbers from two words each, four words a trial (bits 20 on)."""
    normal = []
    for trial in range((d + 3) // 4):
        w = _many(counter + (trial << 20), number, point, instance, seed)
        for a, b in ((w[0], w[1]), (w[2], w[3])):
            z = np.sqrt(-2 * np.log(_uniform(a))) * np.exp(2j * np.pi * (b / 2**32))
            normal += [z.real, z.imag]
    n = np.stack(normal[:d], axis=-1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def _source_of_many(step, number, point, instance, seed, d):
    """Radius and direction of the source point: the first of all attempts that is accepted."""
    r, trial = np.full(point.shape, np.nan), 0
    while np.isnan(r).any():
        w = _many((1 << 28) + (trial << 20) + step, number, point, instance, seed)
        for a, b in ((w[0], w[1]), (w[2], w[3])):
            good = np.isnan(r) & (_uniform(b) < 1 - _uniform(a) ** (d / 2 - 1))
            r[good] = np.sqrt(_uniform(a))[good]
        trial += 1
    return r, _unit_of_many((2 << 28) + step, number, point, instance, seed, d)


def _distance(segs, x):
    if segs is None:
        return 1 - np.sqrt((x * x).sum(axis=-1))
    if is_box(segs, x):
        return (segs[0] - np.abs(x)).min(axis=-1)
    return closest(segs, x.reshape(-1, x.shape[-1]))[0].reshape(x.shape[:-1])


def onto_box(half, x):
    """The closest point of the boundary to points inside: on the face that is nearest."""
    face = np.arange(len(half)) == (half - np.abs(x)).argmin(axis=-1)[..., None]
    return np.where(face, np.where(x < 0, -half, half), x)


def greens(d, r, R, screening):
    """The Green's function of a ball of radius R with its pole at the centre, and how fast it changes where the centre moves towards r."""
    nu = d / 2 - 1
    if not np.any(screening):
        area = 2 * np.pi ** (d / 2) / gamma(d / 2)
        g = np.log(R / r) / (2 * np.pi) if d == 2 else (r ** (2 - d) - R ** (2 - d)) / ((d - 2) * area)
        return g, (r**-d - R**-d) * r / area
    m = np.sqrt(screening)
    scale = (m / (2 * np.pi * r)) ** nu / (2 * np.pi)
    g = scale * (kv(nu, m * r) - iv(nu, m * r) * kv(nu, m * R) / iv(nu, m * R))
    return g, scale * m * (kv(nu + 1, m * r) - iv(nu + 1, m * r) * kv(nu + 1, m * R) / iv(nu + 1, m * R))


def sphere_weights(d, R, screening):
    """What the mean over the sphere counts in the value at its centre, and that of u n in the gradient."""
    if not np.any(screening):
        return np.ones_like(R), d / R
    z = R * np.sqrt(screening)
    value = (z / 2) ** (d / 2 - 1) / (gamma(d / 2) * iv(d / 2 - 1, z))
    slope = d * (np.sqrt(screening) / 2) ** (d / 2) / (gamma(d / 2 + 1) * R ** (1 - d / 2) * iv(d / 2, z))
    return value, slope


@remembered
def paths(start, epsilon, segs, instance, seed, first_walk, walks, max_steps, gradient=False, screening=0.0, first_point=0):
    """Of walks (N, walks): ends, their weights, segments, places, source points (a list of points, weights), the first ball, steps, which
    were cut off, how near a step came to epsilon. The first ball, with ``gradient``: weights in value and gradient (1 + d) of what comes
    after it and of its own source, and that source's point. ``epsilon``, ``instance`` and ``screening``: one value, or (N, 1);
    ``first_point`` may also be an array with the number of each point."""
    N, d = start.shape
    seed %= 2**64
    numbers = first_point if np.ndim(first_point) else first_point + np.arange(N)
    point, walk = np.meshgrid(numbers, first_walk + np.arange(walks), indexing="ij")
    x = np.repeat(start[:, None], walks, axis=1)
    steps, margin = np.zeros((N, walks), int), np.full((N, walks), np.inf)
    cut = np.zeros((N, walks), bool)
    alive = ~np.isnan(x[..., 0])
    left = np.where(alive, 1.0, np.nan)
    nothing = np.full((N, walks, 1 + d), np.nan)
    events, entry, words = [], (nothing, nothing, x), None
    for step in range(max_steps + 1):
        radius = _distance(segs, x)
        margin[alive] = np.minimum(margin, np.abs(radius - epsilon) / epsilon)[alive]
        gone = left == 0
        ends = alive & ((radius <= epsilon) | gone)
        if step == max_steps:
            cut = alive & ~ends
            ends = alive.copy()
        alive &= ~ends
        if not alive.any():
            break
        if np.any(screening):
            radius = np.minimum(radius, 2 / np.sqrt(screening))
        sharing = 4 if d == 2 else 2 if d == 3 else 1
        if step % sharing == 0:
            words = philox((np.full_like(point, step // sharing), walk, point, np.full_like(point, instance)), seed)
        entering = gradient and step == 0
        number, sign = (walk // 2, (1 - 2 * (walk % 2))[..., None]) if entering else (walk, 1)
        first = (d - 1) * (step % sharing)
        if d > 3:
            direction = _unit_of_many((4 << 28) if entering else step, number, point, instance, seed, d)
        else:
            direction = _unit(words[first], words[first + d - 2], d)
        if entering:
            w = philox((np.full_like(point, 4 << 28), number, point, np.full_like(point, instance)), seed)
            direction, radius = sign * (direction if d > 3 else _unit(w[0], w[1], d)), 0.99 * radius
        a = philox((np.full_like(point, (1 << 28) + step), number, point, np.full_like(point, instance)), seed)
        if d == 2:
            r, n = np.sqrt(_uniform(a[0]) * _uniform(a[1])), _unit(a[2], None, 2)
        elif d > 3:
            r, n = _source_of_many(step, number, point, instance, seed, d)
        else:
            b = philox((np.full_like(point, (1 << 28) + (1 << 20) + step), number, point, np.full_like(point, instance)), seed)
            r, n = np.median([_uniform(w) for w in a[:3]], axis=0), _unit(b[0], b[1], 3)
        n = sign * n
        with np.errstate(all="ignore"):
            g, slope = greens(d, radius * r, radius, screening)
            weight = radius**2 / (2 * d) / greens(d, radius * r, radius, 0)[0]
            of_sphere, of_slope = sphere_weights(d, radius, screening)
        y = x + (radius * r)[..., None] * n
        if entering:
            along = np.concatenate([of_sphere[..., None], of_slope[..., None] * direction], axis=-1)
            source = weight[..., None] * np.concatenate([g[..., None], slope[..., None] * n], axis=-1)
            entry = along, source, y
        else:
            events.append((y, np.where(alive, left * weight * g, 0)))
            if np.any(screening):
                left = np.where(alive, left * of_sphere, left)
                w = philox((np.full_like(point, (3 << 28) + step), walk, point, np.full_like(point, instance)), seed)
                left = np.where(alive & (left < 0.125), np.where(_uniform(w[0]) * 0.125 < left, 0.125, 0), left)
        x = np.where(alive[..., None], x + radius[..., None] * direction, x)
        steps += alive
    segment = place = None
    if segs is None:
        x = x / np.sqrt((x * x).sum(axis=-1, keepdims=True))
    elif is_box(segs, x):
        x = onto_box(segs[0], x)
    else:
        _, segment, place, at = closest(segs, np.nan_to_num(x.reshape(-1, d)))
        x, segment, place = np.where(np.isnan(x), np.nan, at.reshape(x.shape)), segment.reshape(N, walks), place.reshape(N, walks)
    return x, left, segment, place, events, entry, steps, cut, margin
