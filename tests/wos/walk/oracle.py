"""Closed forms, brute-force distances, and a plain walk in float64 with NumPy's own random numbers."""

import numpy as np


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


def walk(segs, X, g, f, walks, epsilon, rng):
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
