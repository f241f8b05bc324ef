"""Brute force over all segments and triangles with NumPy; inside tests by angles around the point. Also builds meshes."""

import numpy as np


def icosphere(subdivisions, bumps=0.0):
    """20 4^k triangles on the unit sphere, optionally with bumps. Normals point outward."""
    p = (1 + 5**0.5) / 2
    V = np.array([(0, s, t * p) for s in (-1, 1) for t in (-1, 1)])
    V = np.concatenate([np.roll(V, k, axis=1) for k in range(3)])
    near = np.linalg.norm(V[:, None] - V, axis=2) < 2.1
    F = np.array([(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] and near[b, c] and near[c, a]])
    reversed_rows = np.linalg.det(V[F]) < 0
    F[reversed_rows] = F[reversed_rows, ::-1]
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    for _ in range(subdivisions):
        V, F = quarters(V, F, lambda middle: middle / np.linalg.norm(middle, axis=1, keepdims=True))
    return V * (1 + bumps * (np.sin(4 * V[:, :1]) * np.cos(3 * V[:, 1:2]) + 0.6 * np.sin(7 * V[:, 2:]))), F


def quarters(V, F, move):
    """Split every triangle into four at the midpoints of its sides, then apply ``move``."""
    edges, at = np.unique(np.sort(F[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    x, y, z = at.reshape(-1, 3).T + len(V)
    a, b, c = F.T
    parts = ([a, x, z], [b, y, x], [c, z, y], [x, y, z])
    return np.concatenate([V, move(V[edges].mean(axis=1))]), np.concatenate([np.stack(t, axis=1) for t in parts])


def tetrahedron():
    return np.eye(4, 3), np.array([[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]])


def cube():
    """The cube from 0 to 1, with two triangles per side."""
    V = np.array([[x, y, z] for x in (0, 1.0) for y in (0, 1.0) for z in (0, 1.0)])
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return V, np.array([t for a, b, c, d in sides for t in ([a, b, c], [a, c, d])])


def needles(rng, n=5, thickness=1e-5):
    """A closed fan of slivers: a double pyramid over a polygon with thin, long sides."""
    t = 2 * np.pi * (np.arange(n) + rng.uniform(0, 0.5, n)) / n
    ring = np.stack([np.cos(t), np.sin(t), np.zeros(n)], axis=1)
    ring = np.concatenate([ring, ring + thickness * rng.standard_normal((n, 3))], axis=1).reshape(-1, 3)
    V = np.concatenate([ring, [[0, 0, 1.0], [0, 0, -1.0]]])
    k, m = np.arange(2 * n), 2 * n
    return V, np.concatenate([np.stack([k, (k + 1) % m, k * 0 + m], 1), np.stack([(k + 1) % m, k, k * 0 + m + 1], 1)])


def on_segment(x, a, b):
    """Squared distance and weights of the ends, for every x and every segment."""
    e = b - a
    t = np.clip(((x - a) * e).sum(-1) / (e * e).sum(-1), 0, 1)
    w = np.stack([1 - t, t], axis=-1)
    return ((x - a - t[..., None] * e) ** 2).sum(-1), w


def cross(a, b):
    """Like np.cross, without the checks that take most of its time for a few vectors."""
    i, j = [1, 2, 0], [2, 0, 1]
    return a[..., i] * b[..., j] - a[..., j] * b[..., i]


def on_triangle(x, a, b, c):
    """``on_segment`` for triangles: the minimum over the three sides, and over the foot of x in the plane if it is inside."""
    best = np.full(np.broadcast_shapes(x.shape, a.shape)[:-1], np.inf)
    weights = np.zeros((*best.shape, 3))
    for i, j, p, q in ((0, 1, a, b), (1, 2, b, c), (2, 0, c, a)):
        d2, w = on_segment(x, p, q)
        full = np.zeros_like(weights)
        full[..., i], full[..., j] = w[..., 0], w[..., 1]
        weights = np.where((d2 < best)[..., None], full, weights)
        best = np.minimum(best, d2)
    n = cross(b - a, c - a)
    n2 = (n * n).sum(-1)
    foot = x - (((x - a) * n).sum(-1) / n2)[..., None] * n
    w = np.stack([(cross(q - p, foot - p) * n).sum(-1) / n2 for p, q in ((b, c), (c, a), (a, b))], axis=-1)
    inside = (w >= 0).all(-1)
    d2 = ((x - a) * n).sum(-1) ** 2 / n2
    return np.where(inside, d2, best), np.where(inside[..., None], w / w.sum(-1, keepdims=True), weights)


def all_distances(ends, x):
    """Squared distances (N, M) and weights (N, M, d)."""
    corner = ends.reshape(len(ends), *((2, 2) if ends.shape[1] == 4 else (3, 3)))
    on = on_segment if ends.shape[1] == 4 else on_triangle
    return on(x[:, None], *corner.swapaxes(0, 1)[:, None])


def is_box(ends, x):
    """Whether ``ends`` contains half the side lengths of a box instead of facets."""
    return ends is not None and ends.shape == (1, x.shape[-1])


def box_faces(half, x):
    """Distances (N, 2 d) and closest points (N, 2 d, d) of all faces."""
    d = len(half)
    at = np.repeat(np.clip(x, -half, half)[:, None], 2 * d, axis=1)
    at[:, np.arange(2 * d), np.arange(2 * d) // 2] = np.stack([-half, half], axis=1).reshape(-1)
    return np.linalg.norm(x[:, None] - at, axis=-1), at


def on_box(half, x):
    """Distances, closest points and faces: the minimum over all faces."""
    distance, at = box_faces(half, x)
    k = distance.argmin(axis=1)
    return distance[np.arange(len(x)), k], at[np.arange(len(x)), k], k


def contained(ends, x):
    """Polygons: the winding angle is an odd number of turns. Meshes: the absolute sum of the solid angles is at least half of 4 pi."""
    if ends is None:
        return (x * x).sum(-1) < 1
    if is_box(ends, x):
        return (np.abs(x) < ends[0]).all(-1)
    corner = ends.reshape(len(ends), *((2, 2) if ends.shape[1] == 4 else (3, 3)))[None] - x[:, None, None]
    if ends.shape[1] == 4:
        v, w = corner[:, :, 0], corner[:, :, 1]
        turns = np.arctan2(v[..., 0] * w[..., 1] - v[..., 1] * w[..., 0], (v * w).sum(-1)).sum(1) / (2 * np.pi)
        return np.round(turns) % 2 == 1
    a, b, c = np.moveaxis(corner, 2, 0)
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    det = (a * np.cross(b, c)).sum(-1)
    rest = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.abs(np.arctan2(det, rest).sum(1) / (2 * np.pi)) >= 0.5


def _instances(points, frame, ends, first):
    for b in range(len(frame)):
        x = ((points if points.ndim == 2 else points[b]) - frame[b, :-1]) / frame[b, -1]
        at = b if ends is not None and len(first) > 2 else 0
        yield b, x, None if ends is None else ends[first[at] : first[at + 1]]


def nearest(points, frame, ends=None, first=None, *, sign=False, where=True, weights=False, closed=True):
    B, N, d = len(frame), points.shape[-2], points.shape[-1]
    distance, at, k, w = np.empty((B, N)), np.empty((B, N, d)), np.zeros((B, N), np.int64), np.empty((B, N, d))
    for b, x, facets in _instances(points, frame, ends, first):
        if facets is None:
            r = np.linalg.norm(x, axis=-1)
            distance[b], at[b] = np.abs(1 - r), x / r[:, None]
        elif is_box(facets, x):
            distance[b], at[b], k[b] = on_box(facets[0], x)
        elif N:
            d2, each = all_distances(facets, x)
            k[b] = d2.argmin(axis=1)
            distance[b], w[b] = np.sqrt(d2.min(axis=1)), each[np.arange(N), k[b]]
            at[b] = (w[b][..., None] * facets[k[b]].reshape(N, d, d)).sum(axis=1)
        at[b] = frame[b, :-1] + frame[b, -1] * at[b]
        distance[b] *= frame[b, -1] * (np.where(contained(facets, x), -1, 1) if sign else 1)
    return distance, at if where else None, k if where else None, w if weights else None


def inside(points, frame, ends=None, first=None, *, closed=True):
    result = np.empty((len(frame), points.shape[-2]), np.int64)
    for b, x, facets in _instances(points, frame, ends, first):
        result[b] = contained(facets, x)
    return result
