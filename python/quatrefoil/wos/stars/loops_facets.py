"""Reflecting triangles in plain loops and float64, like loops_walls in the plane. Equation numbers refer to csrc/wos/stars/README.md."""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.composition import shapes_of
from ..query.loops import point_on, triangle_distance2, weights_at
from ..walk.loops_philox import direction, source_weight
from .composition_walls import SLACK
from .loops_walls import chosen

ALONG, ACROSS, NORMAL, LENGTH = 3, 6, 9, 12
_X, _Y, _AREA, _TURN = 13, 14, 15, 16


def frames_of(walls):
    """The fields of mesh README (1) for every triangle.

    A, an end of the longest side AB; the unit vectors along AB, perpendicular to it in the plane, and normal; |AB|; C in the plane; the
    area; the index of the corner A.
    """
    r = shapes_of(np, walls[:, :9])
    return np.column_stack([r.a, r.e, r.f, r.n, r.length, r.cx, r.cy, 0.5 * r.length * r.cy, r.rotation])


@jit
def _local(r, x, y, z):
    """Coordinates along, across and above a triangle."""
    return (
        x * r[ALONG] + y * r[ALONG + 1] + z * r[ALONG + 2],
        x * r[ACROSS] + y * r[ACROSS + 1] + z * r[ACROSS + 2],
        x * r[NORMAL] + y * r[NORMAL + 1] + z * r[NORMAL + 2],
    )


@jit
def hit(frames, x, d, limit, own, end):
    """(8) The first triangle that the ray hits from inside before ``limit``, or -1, and t of the hit. ``end`` lies beyond its plane."""
    wall = -1
    for k in range(len(frames)):
        r = frames[k]
        du, dv, dw = _local(r, d[0], d[1], d[2])
        if k == own or dw <= 0.0:
            continue
        u, v, w = _local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])
        t = max(-w / dw, 0.0)
        if not (w < SLACK and t <= limit and (end - t) * dw > SLACK):
            continue
        u, v = u + t * du, v + t * dv
        ex = r[_X] - r[LENGTH]
        of_bc = (ex * v - r[_Y] * (u - r[LENGTH])) / math.sqrt(ex * ex + r[_Y] ** 2)
        of_ca = (r[_Y] * u - r[_X] * v) / math.sqrt(r[_X] ** 2 + r[_Y] ** 2)
        if v >= -SLACK and of_bc >= -SLACK and of_ca >= -SLACK and (t < limit or wall < 0):
            wall, limit = k, t
    return wall, max(limit, 0.0)


@jit
def _sees(frames, x, z, wall, own):
    """Whether x sees a point z on a triangle. A triangle does not hide z if z is behind it only by rounding."""
    d = z - x
    r = math.sqrt((d * d).sum())
    if wall == own or r - 4 * SLACK <= 0.0:
        return True
    return hit(frames, x, d / r, r - 4 * SLACK, own, r)[0] < 0


@jit
def silhouette(edges, x, radius):
    """(2) The distance to the closest edge that may hide a triangle, or ``radius``."""
    best = radius * radius
    for k in range(len(edges)):
        c = edges[k]
        p0, p1, p2 = x[0] - c[0], x[1] - c[1], x[2] - c[2]
        one, two = p0 * c[6] + p1 * c[7] + p2 * c[8], p0 * c[9] + p1 * c[10] + p2 * c[11]
        if (one > SLACK and two > SLACK) or (one < -SLACK and two < -SLACK):
            continue
        e0, e1, e2 = c[3] - c[0], c[4] - c[1], c[5] - c[2]
        s = min(max((p0 * e0 + p1 * e1 + p2 * e2) / (e0 * e0 + e1 * e1 + e2 * e2), 0.0), 1.0)
        best = min(best, (p0 - s * e0) ** 2 + (p1 - s * e1) ** 2 + (p2 - s * e2) ** 2)
    return math.sqrt(best)


@jit
def _line(p, h, s, R):
    """(5') The antiderivative along a line, at the position s."""
    q2 = h * h + p * p
    away = math.sqrt(s * s + q2)
    rise = h * math.asinh(s / math.sqrt(q2)) if q2 > 0.0 else 0.0
    return rise + p * (math.atan2(p * s, h * away) - math.atan2(s, h)) - h * s / (2.0 * R)


@jit
def _ball_mass(r, a, b, p, R):
    """(5') The integral of G over the part of a triangle in the ball around a point with foot (a, b) and height p."""
    corners, total = ((0.0, 0.0), (r[LENGTH], 0.0), (r[_X], r[_Y])), 0.0
    for i in range(3):
        (ax, ay), (bx, by) = corners[i], corners[(i + 1) % 3]
        length = math.sqrt((bx - ax) ** 2 + (by - ay) ** 2)
        ex, ey = (bx - ax) / length, (by - ay) / length
        start, side = -(a - ax) * ex - (b - ay) * ey, (b - ay) * ex - (a - ax) * ey
        stop, h = length + start, abs(side)
        half = math.sqrt(max(R * R - p * p - h * h, 0.0))
        low, high = min(max(start, -half), half), min(max(stop, -half), half)
        arc = (math.atan2(stop, h) - math.atan2(high, h)) + (math.atan2(low, h) - math.atan2(start, h))
        mass = _line(p, h, high, R) - _line(p, h, low, R) + arc * (R - p) ** 2 / (2.0 * R)
        total += mass if side >= 0.0 else -mass
    return total / (4.0 * math.pi)


@jit
def robin_mass(walls, frames, extent, x, R, own):
    """(4) The integral of G μ / (1 + p μ) over the visible parts of the triangles in the ball."""
    total, z, weights = 0.0, np.empty(3), np.empty(2)
    for k in range(len(walls)):
        mu = walls[k, 9] * extent
        if mu <= 0.0:
            continue
        r = frames[k]
        d2, weights[0], weights[1] = triangle_distance2(walls[k], x)
        a, b, w = _local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])
        if d2 >= R * R or w >= SLACK:
            continue
        point_on(walls[k, :9], weights, z)
        if _sees(frames, x, z, k, own):
            p = max(-w, 0.0)
            total += _ball_mass(r, a, b, p, R) * mu / (1.0 + p * mu)
    return total


@jit
def _draw(walls, frames, x, R, u):
    """(6') A triangle in the ball, or -1, the position in its plane, and the density."""
    likely = np.empty(len(walls))
    for k in range(len(walls)):
        r = frames[k]
        d2, _, _ = triangle_distance2(walls[k], x)
        _, _, w = _local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])
        disc = math.pi * (R * R - w * w)
        likely[k] = (R * R - d2) * min(r[_AREA], disc) if d2 < R * R and disc > 0.0 and w < SLACK else 0.0
    wall, chance = chosen(likely, u[0])
    if wall < 0:
        return -1, 0.0, 0.0, 0.0
    r = frames[wall]
    a, b, w = _local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])
    length, cx, cy, ex = r[LENGTH], r[_X], r[_Y], r[_X] - r[LENGTH]
    far2 = max(a * a + b * b, (length - a) ** 2 + b * b, (cx - a) ** 2 + (cy - b) ** 2)
    reach = math.sqrt(min(R * R - w * w, far2))
    plain = math.pi * reach**2 / (math.pi * reach**2 + r[_AREA])
    if u[1] < plain:
        root = math.sqrt(u[2])
        p, q = root * (1.0 - u[3]) * length + root * u[3] * cx, root * u[3] * cy
    else:
        n = np.empty(2)
        word = np.uint64(u[3] * 2.0**32)
        direction(word, word, n)
        p, q = a + reach * u[2] * n[0], b + reach * u[2] * n[1]
        if not (q >= 0.0 and ex * q - cy * (p - length) >= 0.0 and cy * p - cx * q >= 0.0):
            return -1, 0.0, 0.0, 0.0
    rho = math.sqrt(max((p - a) ** 2 + (q - b) ** 2, 1e-20 * reach**2))
    return wall, p, q, chance * (plain / r[_AREA] + (1.0 - plain) / (2.0 * math.pi * reach * rho))


@jit
def point_on_walls(walls, frames, extent, x, R, own, factor, u, screening, z):
    """(6') Triangle, weights of its second and third corners, and an estimate of the integral of G over the walls.

    Writes the point to z. The triangle is -1 if the point does not count.
    """
    wall, p, q, density = _draw(walls, frames, x, R, u)
    if wall < 0:
        return -1, 0.0, 0.0, 0.0
    r = frames[wall]
    z[:] = r[:3] + p * r[ALONG:ACROSS] + q * r[ACROSS:NORMAL]
    away = math.sqrt(((z - x) ** 2).sum())
    if not 0.0 < away < R or not _sees(frames, x, z, wall, own):
        return -1, 0.0, 0.0, 0.0
    height = max(-_local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])[2], 0.0)
    green = factor * (1.0 / away - 1.0 / R) / (4.0 * math.pi) / density / (1.0 + height * walls[wall, 9] * extent)
    if screening > 0.0:
        green *= source_weight(3, away / R, 0.0, R * R * screening)[0]
    one, two = weights_at(p, q, r[LENGTH], r[_X], r[_Y], r[_TURN])
    return wall, one, two, green
