"""Closed forms, brute-force distances, and a plain walk in float64 with NumPy's own random numbers."""

import numpy as np
from scipy.special import gamma, iv, kv


def star(M=1024):
    t = 2 * np.pi * np.arange(M) / M
    r = 1 + 0.12 * np.cos(4 * t) - 0.08 * np.cos(8 * t)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def ellipse(a, b, M=2000):
    """A polygon of M points whose distance from the ellipse is at most 1.3e-6 (a + b)."""
    t = 2 * np.pi * np.arange(M) / M
    return np.stack([a * np.cos(t), b * np.sin(t)], axis=1)


def torsion_ellipse(X, a, b):
    """-Δu = 1, u = 0 on the ellipse."""
    return (1 - X[..., 0] ** 2 / a**2 - X[..., 1] ** 2 / b**2) / (2 * (1 / a**2 + 1 / b**2))


def torsion_ball(X, radius):
    """-Δu = 1, u = 0 on the sphere, in any dimension."""
    return (radius**2 - (X**2).sum(axis=-1)) / (2 * X.shape[-1])


def harmonic(X):
    return np.exp(X[..., 0]) * np.cos(X[..., 1])


def fourier(X, c, center=(0, 0)):
    theta = np.arctan2(X[..., 1] - center[1], X[..., 0] - center[0])
    return c[0] + sum(c[2 * m - 1] * np.cos(m * theta) + c[2 * m] * np.sin(m * theta) for m in range(1, (len(c) + 1) // 2))


def gaussians(X, amplitude, center, width):
    r2 = ((X[..., None, :] - center) ** 2).sum(axis=-1)
    return (amplitude * np.exp(-r2 / np.square(width))).sum(axis=-1)


def segments(rings):
    """(M, 4) ends of the closed rings' segments."""
    return np.concatenate([np.concatenate([r, np.roll(r, -1, axis=0)], axis=1) for r in rings])


def closest(segs, X):
    """Distance, segment, place on it, closest point: every segment is asked."""
    a, e = segs[:, :2], segs[:, 2:] - segs[:, :2]
    t = np.clip(((X[:, None] - a) * e).sum(-1) / (e * e).sum(-1), 0, 1)
    p = a + t[..., None] * e
    d = np.hypot(*np.moveaxis(X[:, None] - p, -1, 0))
    k = d.argmin(axis=1)
    row = np.arange(len(X))
    return d[row, k], k, t[row, k], p[row, k]


def inside(rings, X):
    """By winding angle: odd number of rings around the point."""
    odd = np.zeros(len(X), bool)
    for ring in rings:
        v = ring[None] - X[:, None]
        w = np.roll(v, -1, axis=1)
        angle = np.arctan2(v[..., 0] * w[..., 1] - v[..., 1] * w[..., 0], (v * w).sum(-1)).sum(axis=1)
        odd ^= np.abs(angle) > np.pi
    return odd


def plain_walk(segs, X, g, f, walks, epsilon, rng):
    """Mean and standard error of plain walks on spheres: exact distances, source points by rejection from the Green's function."""
    x = np.repeat(X, walks, axis=0)
    total = np.zeros(len(x))
    alive = np.arange(len(x))
    while len(alive):
        d, _, _, p = closest(segs, x[alive])
        ends = d <= epsilon
        total[alive[ends]] += g(p[ends])
        alive, d = alive[~ends], d[~ends]
        if f is not None and len(alive):
            r = np.zeros(len(alive))
            todo = np.arange(len(alive))
            while len(todo):  # density -r ln r on (0, 1), which is at most 1/e
                u, v = rng.random(len(todo)), rng.random(len(todo)) / np.e
                good = v < -u * np.log(np.maximum(u, 1e-300))
                r[todo[good]] = u[good]
                todo = todo[~good]
            angle = 2 * np.pi * rng.random(len(alive))
            y = x[alive] + (d * r)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            total[alive] += d**2 / 4 * f(y)
        angle = 2 * np.pi * rng.random(len(alive))
        x[alive] += d[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    total = total.reshape(len(X), walks)
    return total.mean(axis=1), total.std(axis=1, ddof=1) / np.sqrt(walks)


def disc_points(rng, n, radius=0.95, d=2):
    v = rng.standard_normal((n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True) * radius * rng.random((n, 1)) ** (1 / d)


def star_points(rng, n):
    # 0.94: inside the star of 30 vertices too, whose chords cut 0.04 off
    X = rng.uniform(-1.2, 1.2, (6 * n + 60, 2))
    X = X[inside([0.94 * star(256)], X)]
    return X[:n]


def seed(rng):
    return int(rng.integers(2**63))


def gates(value, stderr, truth, spread=True):
    """The failed gates. A true normal z fails one with probability below 1e-7: 6 sigma for sums, 7 for the largest of up to 1e4."""
    z = (value - truth) / stderr
    n = z.size
    failed = []
    if abs(z.sum()) / np.sqrt(n) > 6:
        failed.append("mean")
    matched = (z * truth / stderr).sum() / np.sqrt(((truth / stderr) ** 2).sum())
    if abs(matched) > 6:
        failed.append("matched")
    if spread and abs((z**2).mean() - 1) > 7 * np.sqrt(2 / n):
        failed.append("spread")
    if abs(z).max() > 7:
        failed.append("largest")
    return failed


def coordinate_sum(X):
    return X.sum(axis=1)


def same(a, b):
    for name in ("value", "stderr", "n_walks", "mean_steps", "n_truncated", "n_escaped"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


# ---------------------------------------------------------------- the op ``walk``: the same random words, exact distances


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


def greens(d, r, R, screening):
    """The Green's function of a ball of radius R with its pole at the centre, and how fast it changes where the centre moves towards r."""
    nu = d / 2 - 1
    if screening == 0:
        area = 2 * np.pi ** (d / 2) / gamma(d / 2)
        g = np.log(R / r) / (2 * np.pi) if d == 2 else (r ** (2 - d) - R ** (2 - d)) / ((d - 2) * area)
        return g, (r**-d - R**-d) * r / area
    m = np.sqrt(screening)
    scale = (m / (2 * np.pi * r)) ** nu / (2 * np.pi)
    g = scale * (kv(nu, m * r) - iv(nu, m * r) * kv(nu, m * R) / iv(nu, m * R))
    return g, scale * m * (kv(nu + 1, m * r) - iv(nu + 1, m * r) * kv(nu + 1, m * R) / iv(nu + 1, m * R))


def sphere_weights(d, R, screening):
    """What the mean over the sphere counts in the value at its centre, and that of u n in the gradient."""
    if screening == 0:
        return np.ones_like(R), d / R
    z = R * np.sqrt(screening)
    value = (z / 2) ** (d / 2 - 1) / (gamma(d / 2) * iv(d / 2 - 1, z))
    slope = d * (np.sqrt(screening) / 2) ** (d / 2) / (gamma(d / 2 + 1) * R ** (1 - d / 2) * iv(d / 2, z))
    return value, slope


def paths(start, epsilon, segs, instance, seed, first_walk, walks, max_steps, gradient=False, screening=0.0, first_point=0):
    """Of walks (N, walks): ends, their weights, segments, places, source points (a list of points, weights), the first ball, steps, which
    were cut off, how near a step came to epsilon. The first ball, with ``gradient``: weights in value and gradient (1 + d) of what comes
    after it and of its own source, and that source's point."""
    N, d = start.shape
    seed %= 2**64
    point, walk = np.meshgrid(first_point + np.arange(N), first_walk + np.arange(walks), indexing="ij")
    x = np.repeat(start[:, None], walks, axis=1)
    steps, margin = np.zeros((N, walks), int), np.full((N, walks), np.inf)
    cut = np.zeros((N, walks), bool)
    alive = ~np.isnan(x[..., 0])
    left = np.where(alive, 1.0, np.nan)
    nothing = np.full((N, walks, 1 + d), np.nan)
    events, entry, words = [], (nothing, nothing, x), None
    for step in range(max_steps + 1):
        if segs is None:
            radius = 1 - np.sqrt((x * x).sum(axis=-1))
        else:
            radius = closest(segs, x.reshape(-1, d))[0].reshape(N, walks)
        margin[alive] = np.minimum(margin, np.abs(radius - epsilon) / epsilon)[alive]
        gone = left == 0
        ends = alive & ((radius <= epsilon) | gone)
        if step == max_steps:
            cut = alive & ~ends
            ends = alive.copy()
        alive &= ~ends
        if not alive.any():
            break
        if screening:
            radius = np.minimum(radius, 2 / np.sqrt(screening))
        sharing = 4 if d == 2 else 2
        if step % sharing == 0:
            words = philox((np.full_like(point, step // sharing), walk, point, np.full_like(point, instance)), seed)
        entering = gradient and step == 0
        number, sign = (walk // 2, (1 - 2 * (walk % 2))[..., None]) if entering else (walk, 1)
        first = (d - 1) * (step % sharing)
        direction = _unit(words[first], words[first + d - 2], d)
        if entering:
            w = philox((np.full_like(point, 4 << 28), number, point, np.full_like(point, instance)), seed)
            direction, radius = sign * _unit(w[0], w[1], d), 0.99 * radius
        a = philox((np.full_like(point, (1 << 28) + step), number, point, np.full_like(point, instance)), seed)
        if d == 2:
            r, n = np.sqrt(_uniform(a[0]) * _uniform(a[1])), _unit(a[2], None, 2)
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
            if screening:
                left = np.where(alive, left * of_sphere, left)
                w = philox((np.full_like(point, (3 << 28) + step), walk, point, np.full_like(point, instance)), seed)
                left = np.where(alive & (left < 0.125), np.where(_uniform(w[0]) * 0.125 < left, 0.125, 0), left)
        x = np.where(alive[..., None], x + radius[..., None] * direction, x)
        steps += alive
    segment = place = None
    if segs is None:
        x = x / np.sqrt((x * x).sum(axis=-1, keepdims=True))
    else:
        _, segment, place, at = closest(segs, np.nan_to_num(x.reshape(-1, d)))
        x = np.where(np.isnan(x), np.nan, at.reshape(x.shape))
    return x, left, segment, place, events, entry, steps, cut, margin


def values(kind, p, X, segment, place):
    """Data at scaled points (..., d)."""
    if kind == "number":
        return np.full(X.shape[:-1], p[0])
    if kind == "fourier":
        return fourier(X, p[2:], p[:2])
    if kind == "gaussians":
        bells = p.reshape(-1, X.shape[-1] + 2)
        return gaussians(X, bells[:, 0], bells[:, 1:-1], 1 / np.sqrt(bells[:, -1]))
    pairs = p.reshape(-1, 2)[segment]
    return (pairs[:, 0] * (1 - place) + pairs[:, 1] * place).reshape(X.shape[:-1])


def nodes(first, walks):
    """The range as aligned powers of two, by halving a range that is large enough."""

    def cut(at, size):
        if at >= first + walks or at + size <= first:
            return []
        if at >= first and at + size <= first + walks:
            return [(at, size)]
        return cut(at, size // 2) + cut(at + size // 2, size // 2)

    return cut(0, 1 << (first + walks).bit_length())


def walk(start, frame, ends=None, first=None, dirichlet=None, source=None, *, dirichlet_kind="number", source_kind="none", seed=0,
         first_walk=0, walks=64, max_steps=1024, gradient=False, screening=0.0, first_instance=0, first_point=0):  # fmt: skip
    B, N, d = start.shape
    group, channels = (2, 1 + d) if gradient else (1, 1)
    cut = nodes(first_walk // group, walks // group)
    mean, m2 = np.full((B, N, len(cut), channels), np.nan), np.full((B, N, len(cut), channels), np.nan)
    counts = np.zeros((B, N, 3), np.int64)
    for b in range(B):
        which = None if first is None else (b if len(first) > 2 else 0)
        segs = None if ends is None else ends[first[which] : first[which + 1]]
        extent = frame[b, -2]
        x, left, segment, place, events, entry, steps, truncated, _ = paths(
            start[b],
            frame[b, -1],
            segs,
            first_instance + b,
            seed,
            first_walk,
            walks,
            max_steps,
            gradient,
            screening * extent**2,
            first_point,
        )
        row = dirichlet[b if len(dirichlet) > 1 else 0]
        if dirichlet_kind == "per_vertex" and len(first) > 2:
            row = row[2 * first[b] : 2 * first[b + 1]]
        value = left * values(dirichlet_kind, row, x, segment, place)
        row = None if source_kind == "none" else source[b if len(source) > 1 else 0]
        if source_kind != "none":
            value = value + sum(w * extent**2 * values(source_kind, row, y, None, None) for y, w in events)
        value = value[..., None]
        if gradient:
            along, of_source, y = entry
            value = along * value
            if source_kind != "none":
                value = value + of_source * extent**2 * values(source_kind, row, y, None, None)[..., None]
            unmoved = steps == 0
            value[unmoved] = np.nan
            value[unmoved, 0] = values(dirichlet_kind, row_of(dirichlet, b), x, segment, place)[unmoved]
            value[..., 1:] /= extent
            value = (value[:, ::2] + value[:, 1::2]) / 2
        live = ~np.isnan(start[b, :, 0])
        for k, (at, size) in enumerate(cut):
            part = value[live, at - first_walk // group : at - first_walk // group + size]
            mean[b, live, k], m2[b, live, k] = part.mean(axis=1), ((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        counts[b, :, 0], counts[b, :, 1] = steps.sum(axis=1), truncated.sum(axis=1)
    return mean, m2, counts


def row_of(numbers, instance):
    return numbers[instance if len(numbers) > 1 else 0]


def place(points, frame, ends=None, first=None):
    B, d = len(frame), points.shape[-1]
    X = np.broadcast_to(points, (B, *points.shape[-2:]))
    start = (X - frame[:, None, :d]) / frame[:, None, d, None]
    for b in range(B):
        epsilon = frame[b, -1]
        if ends is None:
            r = np.sqrt((start[b] ** 2).sum(axis=-1))
            start[b][r > 1] /= r[r > 1, None]
            start[b][r > 1 + epsilon] = np.nan
        else:
            which = b if len(first) > 2 else 0
            segs = ends[first[which] : first[which + 1]]
            out = ~inside_segments(segs, start[b])
            distance, _, _, at = closest(segs, start[b])
            start[b][out] = at[out]
            start[b][out & (distance > epsilon)] = np.nan
    return start


def inside_segments(segs, X):
    """By winding angle, of segments that close into rings."""
    a, b = segs[None, :, :2] - X[:, None], segs[None, :, 2:] - X[:, None]
    angle = np.arctan2(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], (a * b).sum(-1)).sum(axis=1)
    return np.rint(np.abs(angle) / (2 * np.pi)) % 2 == 1
