"""Walks on stars in space in plain loops and float64: every step asks every triangle and edge. The same counters as
csrc/wos/stars/walker.hpp. Equation numbers: README.md there.

Among more than eight walls a point is drawn by other chances than the tree's: a flux then has other random numbers, and the same mean.
"""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.loops import closest, point_on, triangle_distance2
from ..walk.loops_paths import (
    CUT_OFF,
    ESCAPED,
    HALF_SIDE,
    LIGHT,
    MOST_SCREENED,
    direction,
    source_point,
    source_weight,
)
from ..walk.loops_philox import bessel_series, philox, uniform
from .loops_walls import BOUNDARY, LARGEST, NOWHERE, SLACK, add_event, leave, table

_ALONG, _ACROSS, _NORMAL, _LENGTH, _X, _Y, _AREA, _TURN = 3, 6, 9, 12, 13, 14, 15, 16


@jit
def _frames(walls):
    """Of every triangle the numbers of mesh README (1): A, where its longest side AB begins, the unit vectors along AB, across it, and
    normal; |AB|, C in the plane, the area, which of the corners is A."""
    found = np.empty((len(walls), 17))
    for i in range(len(walls)):
        c, longest, first = walls[i, :9].copy().reshape(3, 3), -1.0, 0
        for k in range(3):
            l2 = ((c[(k + 1) % 3] - c[k]) ** 2).sum()
            if l2 > longest:
                longest, first = l2, k
        a, b, d = c[first], c[(first + 1) % 3], c[(first + 2) % 3]
        e = (b - a) / math.sqrt(longest)
        x = ((d - a) * e).sum()
        f = d - a - x * e
        y = math.sqrt((f * f).sum())
        f = f / y
        f = f - (f * e).sum() * e
        f = f / math.sqrt((f * f).sum())
        r = found[i]
        r[:3], r[_ALONG:_ACROSS], r[_ACROSS:_NORMAL] = a, e, f
        for j in range(3):
            r[_NORMAL + j] = e[(j + 1) % 3] * f[(j + 2) % 3] - e[(j + 2) % 3] * f[(j + 1) % 3]
        r[_LENGTH], r[_X], r[_Y], r[_AREA], r[_TURN] = math.sqrt(longest), x, y, 0.5 * math.sqrt(longest) * y, first
    return found


@jit
def _local(r, x, y, z):
    """Along, across and above a triangle."""
    return (
        x * r[_ALONG] + y * r[_ALONG + 1] + z * r[_ALONG + 2],
        x * r[_ACROSS] + y * r[_ACROSS + 1] + z * r[_ACROSS + 2],
        x * r[_NORMAL] + y * r[_NORMAL + 1] + z * r[_NORMAL + 2],
    )


@jit
def _hit(frames, x, d, limit, own, end):
    """(8) The first triangle that the ray meets from inside, whose plane ``end`` is behind, and where; -1 where there is none before
    ``limit``."""
    found = -1
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
        ex = r[_X] - r[_LENGTH]
        of_bc = (ex * v - r[_Y] * (u - r[_LENGTH])) / math.sqrt(ex * ex + r[_Y] ** 2)
        of_ca = (r[_Y] * u - r[_X] * v) / math.sqrt(r[_X] ** 2 + r[_Y] ** 2)
        if v >= -SLACK and of_bc >= -SLACK and of_ca >= -SLACK and (t < limit or found < 0):
            found, limit = k, t
    return found, max(limit, 0.0)


@jit
def _sees(frames, x, z, wall, own):
    """Whether x sees a point of a triangle. Triangles that it lies behind by rounding only do not hide it."""
    d = z - x
    r = math.sqrt((d * d).sum())
    if wall == own or r - 4 * SLACK <= 0.0:
        return True
    return _hit(frames, x, d / r, r - 4 * SLACK, own, r)[0] < 0


@jit
def _nearest(walls, x, radius):
    """The closest triangle within ``radius`` and its distance; -1 where there is none."""
    best, found = radius * radius, -1
    for k in range(len(walls)):
        d2, _, _ = triangle_distance2(walls[k], x)
        if d2 < best or (d2 <= best and found < 0):
            best, found = d2, k
    return found, math.sqrt(best)


@jit
def _silhouette(edges, x, radius):
    """(2) The distance of the closest edge that may hide something, or ``radius``."""
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
def _likely(wall, r, x, R):
    """How likely a triangle is drawn, but for the sum of all."""
    d2, _, _ = triangle_distance2(wall, x)
    _, _, w = _local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])
    disc = math.pi * (R * R - w * w)
    return (R * R - d2) * min(r[_AREA], disc) if d2 < R * R and disc > 0.0 and w < SLACK else 0.0


@jit
def _draw(walls, frames, x, R, u):
    """(6) A triangle in the ball, the place in its plane and the density; -1 where there is none."""
    total = 0.0
    for k in range(len(walls)):
        total += _likely(walls[k], frames[k], x, R)
    left, found, chance = u[0] * total, -1, 0.0
    for k in range(len(walls)):
        one = _likely(walls[k], frames[k], x, R)
        if one > 0.0:
            found, chance = k, one / total
            left -= one
            if left < 0.0:
                break
    if found < 0:
        return -1, 0.0, 0.0, 0.0
    r = frames[found]
    a, b, w = _local(r, x[0] - r[0], x[1] - r[1], x[2] - r[2])
    length, cx, cy, ex = r[_LENGTH], r[_X], r[_Y], r[_X] - r[_LENGTH]
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
    return found, p, q, chance * (plain / r[_AREA] + (1.0 - plain) / (2.0 * math.pi * reach * rho))


@jit
def _weights(r, u, v):
    """Of the second and third corner of a triangle at a place in its plane."""
    of_c = min(max(v / r[_Y], 0.0), 1.0)
    of_b = min(max((u - r[_X] * of_c) / r[_LENGTH], 0.0), 1.0 - of_c)
    of_a = (1.0 - of_c) - of_b
    if r[_TURN] == 0.0:
        return of_b, of_c
    return (of_a, of_b) if r[_TURN] == 1.0 else (of_c, of_a)


@jit
def _flux(walls, frames, extent, x, R, own, held, weight, u, screening):
    """(6) Triangle, weights of its corners and the weight of a point that counts; -1 where none does."""
    wall, p, q, density = _draw(walls, frames, x, R, u)
    if wall < 0:
        return -1, 0.0, 0.0, 0.0
    r = frames[wall]
    z = r[:3] + p * r[_ALONG:_ACROSS] + q * r[_ACROSS:_NORMAL]
    away = math.sqrt(((z - x) ** 2).sum())
    if not 0.0 < away < R or not _sees(frames, x, z, wall, own):
        return -1, 0.0, 0.0, 0.0
    w = weight * held * (1.0 / away - 1.0 / R) / (4.0 * math.pi) * extent / density
    if screening > 0.0:
        w *= source_weight(3, away / R, 0.0, R * R * screening)[0]
    one, two = _weights(r, p, q)
    return wall, one, two, w


@jit
def _hit_weight(s, z2):
    """(3)"""
    q = 0.25 * z2 * (1.0 - s) ** 2
    return ((1.0 - s) * bessel_series(1, q) + s * bessel_series(-1, q)) / bessel_series(1, 0.25 * z2)


@jit
def _one_walk(segments, walls, frames, edges, extent, x, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources,
              flux, first, along, events, fluxes):  # fmt: skip
    """Moves x to where the walk ends. Returns steps, weight, distance, triangle; the weights of its corners are in ``along``."""
    n, m, of_corners = np.empty(3), np.empty(3), np.empty(2)
    step, weight = 0, 1.0
    first[:] = math.nan
    first[0], first[1] = 1.0, 0.0
    own, _ = _nearest(walls, x, 4 * SLACK)
    while True:
        d2, at = closest(segments, x, along)
        distance = math.sqrt(d2)
        if distance <= epsilon or step >= max_steps or weight == 0.0 or np.abs(x).max() >= HALF_SIDE:
            return step, weight, distance, at
        if pairs and step == 0:
            room = _nearest(walls, x, min(distance, LARGEST))[1]
            if room > epsilon:
                leave(x, room, walk, point, instance, k0, k1, extent, screening, sources, first, events)
                step, own = 1, -1
                continue
        w0, w1, _, w3 = philox(np.uint64(step), walk, point, instance, k0, k1)
        direction(w0, w1, n)
        R = max(epsilon, _silhouette(edges, x, min(distance, LARGEST)))
        if screening > 0.0:
            R = min(R, MOST_SCREENED / math.sqrt(screening))
        held = 2.0 if own >= 0 else 1.0
        if own >= 0 and (n * frames[own, _NORMAL:_LENGTH]).sum() > 0.0:
            n *= -1.0
        met, t = _hit(frames, x, n, R, own, NOWHERE)
        if sources:
            s, _ = source_point(step, walk, point, instance, k0, k1, m)
            if s * R < t:
                w = weight * R * R / 6.0 * extent * extent
                w *= source_weight(3, s, 0.0, R * R * screening)[0] if screening > 0.0 else 1.0
                add_event(events, x, R * s, n, w, 0.0)
        if flux:
            v0, v1, v2, v3 = philox(np.uint64(BOUNDARY + step), walk, point, instance, k0, k1)
            u = (uniform(v0), uniform(v1), uniform(v2), uniform(v3))
            wall, one, two, w = _flux(walls, frames, extent, x, R, own, held, weight, u, screening)
            if wall >= 0:
                fluxes.append(np.array([float(wall), one, two, w]))
        if met >= 0:
            x += t * n
            _, of_corners[0], of_corners[1] = triangle_distance2(walls[met], x)
            point_on(walls[met, :9], of_corners, x)
            weight *= _hit_weight(t / R, R * R * screening) if screening > 0.0 else 1.0
        else:
            x += R * n
            weight /= bessel_series(1, 0.25 * R * R * screening) if screening > 0.0 else 1.0
        own = met
        if weight < LIGHT:
            weight = LIGHT if uniform(w3) * LIGHT < weight else 0.0
        step += 1


@jit
def walks(segments, walls, corners, extent, absorbs, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources,
          flux, end, segment, place, left, first, marks):  # fmt: skip
    """As in _numba_walls."""
    events, fluxes = [np.empty(5) for _ in range(0)], [np.empty(4) for _ in range(0)]
    of_event, of_flux = [0 for _ in range(0)], [0 for _ in range(0)]
    frames = _frames(walls)
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], distance, segment[i] = _one_walk(
            segments, walls, frames, corners, extent, x, walk[i], point[i], instance, k0, k1, epsilon, screening, pairs, max_steps, sources,
            flux, first[i], place[i], events, fluxes,
        )  # fmt: skip
        for _ in range(len(events) - len(of_event)):
            of_event.append(i)
        for _ in range(len(fluxes) - len(of_flux)):
            of_flux.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if distance > epsilon else 0
            marks[i] += ESCAPED if np.abs(x).max() >= HALF_SIDE else 0
        point_on(segments[segment[i]], place[i], end[i])
    return table(events, 5), np.array(of_event, dtype=np.int64), table(fluxes, 4), np.array(of_flux, dtype=np.int64)
