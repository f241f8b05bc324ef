"""Queries in plain loops over all segments and triangles, in float64. Equation numbers refer to csrc/wos/mesh/README.md."""

import math

import numpy as np

from ..._backends.numba import jit
from .loops_solids import Distances, is_function, is_solid, nearest_on_solid


@jit
def segment_distance2(e, x):
    """Squared distance from the segment ax, ay, bx, by, and the position on it."""
    ex, ey = e[2] - e[0], e[3] - e[1]
    t = ((x[0] - e[0]) * ex + (x[1] - e[1]) * ey) / (ex * ex + ey * ey)
    t = min(max(t, 0.0), 1.0)
    dx, dy = x[0] - e[0] - t * ex, x[1] - e[1] - t * ey
    return dx * dx + dy * dy, t


@jit
def weights_at(u, v, length, cx, cy, first):
    """The weights of a triangle's second and third corners at a point in its frame (1), whose corner A is corner ``first``."""
    of_c = min(max(v / cy, 0.0), 1.0) if cy > 0.0 else 0.0
    of_b = min(max((u - cx * of_c) / length, 0.0), 1.0 - of_c)
    of_a = (1.0 - of_c) - of_b
    if first == 0:
        return of_b, of_c
    return (of_a, of_b) if first == 1 else (of_c, of_a)


@jit
def triangle_distance2(c, x):
    """(1), (2) Squared distance from the triangle with three corners, and the weights of the second and third corners."""
    longest, first = -1.0, 0
    for k in range(3):
        a, b = 3 * k, 3 * ((k + 1) % 3)
        l2 = (c[b] - c[a]) ** 2 + (c[b + 1] - c[a + 1]) ** 2 + (c[b + 2] - c[a + 2]) ** 2
        if l2 > longest:
            longest, first = l2, k
    a, b, d = 3 * first, 3 * ((first + 1) % 3), 3 * ((first + 2) % 3)
    length = math.sqrt(longest)
    e0, e1, e2 = (c[b] - c[a]) / length, (c[b + 1] - c[a + 1]) / length, (c[b + 2] - c[a + 2]) / length
    w0, w1, w2 = c[d] - c[a], c[d + 1] - c[a + 1], c[d + 2] - c[a + 2]
    cx = w0 * e0 + w1 * e1 + w2 * e2
    f0, f1, f2 = w0 - cx * e0, w1 - cx * e1, w2 - cx * e2
    slip = f0 * e0 + f1 * e1 + f2 * e2
    cy = math.sqrt(f0 * f0 + f1 * f1 + f2 * f2)
    f0, f1, f2 = f0 - slip * e0, f1 - slip * e1, f2 - slip * e2
    norm = math.sqrt(f0 * f0 + f1 * f1 + f2 * f2)
    if norm > 0.0:
        f0, f1, f2 = f0 / norm, f1 / norm, f2 / norm
    p0, p1, p2 = x[0] - c[a], x[1] - c[a + 1], x[2] - c[a + 2]
    u, v = p0 * e0 + p1 * e1 + p2 * e2, p0 * f0 + p1 * f1 + p2 * f2
    w = p0 * (e1 * f2 - e2 * f1) + p1 * (e2 * f0 - e0 * f2) + p2 * (e0 * f1 - e1 * f0)
    planar, nu, nv = 0.0, u, v
    if not (v >= 0.0 and (cx - length) * v - cy * (u - length) >= 0.0 and cy * u - cx * v >= 0.0):
        nu, nv = min(max(u, 0.0), length), 0.0
        planar = (u - nu) ** 2 + v * v
        bc, ca = (cx - length) ** 2 + cy * cy, cx * cx + cy * cy
        t = min(max(((cx - length) * (u - length) + cy * v) / bc, 0.0), 1.0) if bc > 0.0 else 0.0
        s = min(max((cx * u + cy * v) / ca, 0.0), 1.0) if ca > 0.0 else 0.0
        d2 = (u - length - t * (cx - length)) ** 2 + (v - t * cy) ** 2
        if d2 < planar:
            planar, nu, nv = d2, length + t * (cx - length), t * cy
        d2 = (u - s * cx) ** 2 + (v - s * cy) ** 2
        if d2 < planar:
            planar, nu, nv = d2, s * cx, s * cy
    second, third = weights_at(nu, nv, length, cx, cy, first)
    return planar + w * w, second, third


@jit
def closest(ends, x, weights):
    """Squared distance and index of the closest segment or triangle, and the weights of its corners after the first."""
    best, at = 1e300, 0
    for k in range(len(ends)):
        if ends.shape[1] == 4:
            d2, s = segment_distance2(ends[k], x)
            t = 0.0
        else:
            d2, s, t = triangle_distance2(ends[k], x)
        if d2 < best:
            best, at = d2, k
            weights[0] = s
            if weights.size > 1:
                weights[1] = t
    return best, at


@jit
def point_on(e, weights, at):
    """The point of a segment or triangle with these weights of the corners after the first."""
    d = at.size
    for j in range(d):
        at[j] = e[j]
        for k in range(1, d):
            at[j] += weights[k - 1] * (e[d * k + j] - e[j])


@jit
def _in_polygon(ends, x):
    """Whether the crossing number is odd."""
    odd = False
    for k in range(len(ends)):
        ax, ay, bx, by = ends[k, 0], ends[k, 1], ends[k, 2], ends[k, 3]
        side = (bx - ax) * (x[1] - ay) - (x[0] - ax) * (by - ay)
        if (ay <= x[1] < by and side > 0) or (by <= x[1] < ay and side < 0):
            odd = not odd
    return odd


@jit
def _goes_through(c, x):
    """(4) Whether the ray from x in direction z crosses the triangle."""
    crossings, sides = 0, 0
    x0, z0, x1, z1 = 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        a, b = 3 * k, 3 * ((k + 1) % 3)
        if (c[a + 1] <= x[1]) == (c[b + 1] <= x[1]):
            continue
        if c[b + 1] <= x[1]:
            a, b = b, a
        side = (c[b] - c[a]) * (x[1] - c[a + 1]) - (x[0] - c[a]) * (c[b + 1] - c[a + 1])
        t = (x[1] - c[a + 1]) / (c[b + 1] - c[a + 1])
        crossings += side > 0.0
        x1, z1 = c[a] + t * (c[b] - c[a]), c[a + 2] + t * (c[b + 2] - c[a + 2])
        if sides == 0:
            x0, z0 = x1, z1
        sides += 1
    if crossings != 1:
        return False
    s = min(max((x[0] - x0) / (x1 - x0), 0.0), 1.0) if x1 != x0 else 0.5
    return z0 + s * (z1 - z0) > x[2]


@jit
def _half_angle(c, x):
    """(5) Half of the solid angle of a triangle."""
    a0, a1, a2 = c[0] - x[0], c[1] - x[1], c[2] - x[2]
    b0, b1, b2 = c[3] - x[0], c[4] - x[1], c[5] - x[2]
    d0, d1, d2 = c[6] - x[0], c[7] - x[1], c[8] - x[2]
    a, b = math.sqrt(a0 * a0 + a1 * a1 + a2 * a2), math.sqrt(b0 * b0 + b1 * b1 + b2 * b2)
    d = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    det = a0 * (b1 * d2 - b2 * d1) + a1 * (b2 * d0 - b0 * d2) + a2 * (b0 * d1 - b1 * d0)
    ab, bd, da = a0 * b0 + a1 * b1 + a2 * b2, b0 * d0 + b1 * d1 + b2 * d2, d0 * a0 + d1 * a1 + d2 * a2
    return math.atan2(det, a * b * d + ab * d + bd * a + da * b)


@jit
def is_inside(ends, x, closed):
    """Whether x is inside the polygon, the mesh, or the solid."""
    if is_solid(ends, x.size):
        return nearest_on_solid(ends, x, np.empty(x.size))[0] < 0.0
    if ends.shape[1] == 4:
        return _in_polygon(ends, x)
    if closed:
        odd = False
        for k in range(len(ends)):
            if _goes_through(ends[k], x):
                odd = not odd
        return odd
    total = 0.0
    for k in range(len(ends)):
        total += _half_angle(ends[k], x)
    return abs(total) >= math.pi


@jit
def nearest_all(ends, scaled, sign, closed):
    """For each point: distance, closest point, its segment, triangle or face, and the barycentric weights there."""
    n, d = scaled.shape
    distance, at, primitive, weights = np.empty(n), np.empty((n, d)), np.empty(n, np.int64), np.ones((n, d))
    for i in range(n):
        x = scaled[i]
        if is_solid(ends, d):
            distance[i], primitive[i] = nearest_on_solid(ends, x, at[i])
            distance[i] = abs(distance[i])
        else:
            d2, primitive[i] = closest(ends, x, weights[i, 1:])
            distance[i] = math.sqrt(d2)
            point_on(ends[primitive[i]], weights[i, 1:], at[i])
            for w in weights[i, 1:]:
                weights[i, 0] = max(weights[i, 0] - w, 0.0)
        if sign and is_inside(ends, x, closed):
            distance[i] = -distance[i]
    return distance, at, primitive, weights


@jit
def inside_all(ends, scaled, closed, contains):
    for i in range(len(scaled)):
        contains[i] = is_inside(ends, scaled[i], closed)


def facets_of(ends, first, instance, d):
    """The segments or triangles of one instance. The unit ball has no rows, other solids have one."""
    if ends is None:
        return np.empty((0, d * d))
    b = instance if len(first) > 2 else 0
    return np.ascontiguousarray(ends[first[b] : first[b + 1]])


def _scaled(points, frame, b):
    """The scaled points of an instance, with 0 instead of points that are not finite, and a mask of the finite points."""
    X = points if points.ndim == 2 else points[b]
    scaled = (X.astype(np.float64) - frame[b, :-1]) / frame[b, -1]
    valid = np.isfinite(scaled).all(axis=1)
    return np.where(valid[:, None], scaled, 0.0), valid


def nearest(points, frame, ends, first, distance, point, primitive, barycentric, sign, where, weights, closed, boundary, num_threads):
    """Write distances and the optional results."""
    d = points.shape[-1]
    for b in range(len(frame)):
        scaled, valid = _scaled(points, frame, b)
        of_b = facets_of(ends, first, b, d)
        if is_function(of_b, d):
            far, at = Distances(of_b[0], boundary).project(scaled)
            far, k, w = far if sign else np.abs(far), np.zeros(len(scaled), np.int64), np.zeros(scaled.shape)
        else:
            far, at, k, w = nearest_all(of_b, scaled, sign, closed)
        far[~valid], at[~valid], w[~valid], k[~valid] = np.nan, np.nan, np.nan, -1
        distance[b] = far * frame[b, -1]
        if where:
            point[b], primitive[b] = frame[b, :-1] + frame[b, -1] * at, k
        if weights:
            barycentric[b] = w


def inside(points, frame, ends, first, contains, closed, boundary, num_threads):
    """Write 1 for points inside and 0 for points outside."""
    for b in range(len(frame)):
        of_b, (scaled, valid) = facets_of(ends, first, b, points.shape[-1]), _scaled(points, frame, b)
        if is_function(of_b, points.shape[-1]):
            contains[b] = Distances(of_b[0], boundary)(scaled) < 0 if len(scaled) else 0
        else:
            inside_all(of_b, scaled, closed, contains[b])
        contains[b] &= valid
