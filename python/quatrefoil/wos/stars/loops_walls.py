"""Walks on stars in the plane in plain loops and float64: every step asks every segment, wall and corner. The same counters as
csrc/wos/stars/walker.hpp. Equation numbers: README.md there.

Among more than eight walls a point is drawn by other chances than the tree's: a flux then has other random numbers, and the same mean.
"""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.loops import closest, segment_distance2
from ..walk.loops_paths import (
    CUT_OFF,
    ESCAPED,
    FIRST,
    HALF_SIDE,
    LIGHT,
    MOST_SCREENED,
    SHRUNK,
    direction,
    enter,
    source_point,
    source_weight,
)
from ..walk.loops_philox import bessel_series, harmonic_series, philox, uniform

BOUNDARY = 2 << 28
SLACK, LARGEST, NOWHERE = 1e-13, 2.0, 1e30  # as in walker.hpp
_ROBIN, _ROBIN_SCREENED = 0.02, 0.25


@jit
def leave(x, R, walk, point, instance, k0, k1, extent, screening, sources, first, events):
    """(9) The first step of a walk of a pair, in a ball inside the domain: moves x. In any dimension."""
    d = x.size
    n, m = np.empty(d), np.zeros(d)
    pair, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
    if screening > 0.0:
        R = min(R, MOST_SCREENED / math.sqrt(screening))
    R *= SHRUNK
    z2 = R * R * screening
    w0, w1, _, _ = philox(np.uint64(FIRST), pair, point, instance, k0, k1)
    direction(w0, w1, n)
    n *= sign
    of_value, of_gradient = 1.0, 0.0
    if sources:
        s, logarithm = source_point(0, pair, point, instance, k0, k1, m)
        m *= sign
        of_value, of_gradient = source_weight(d, s, logarithm, z2)
        add_event(events, x, R * s, m, R * R / (2.0 * d) * extent * extent, 1.0)
    enter(d, n, m, R, z2, of_value, of_gradient, first)
    x += R * n


@jit
def add_event(events, x, r, n, weight, entering):
    """A source point at x + r n."""
    d = x.size
    event = np.empty(d + 2)
    event[:d] = x + r * n
    event[d], event[d + 1] = weight, entering
    events.append(event)


@jit
def _silhouette(corners, x, y, radius):
    """(2) The distance of the closest corner that may hide something, or ``radius``."""
    best = radius * radius
    for k in range(len(corners)):
        dx, dy = x - corners[k, 0], y - corners[k, 1]
        one, two = dx * corners[k, 2] + dy * corners[k, 3], dx * corners[k, 4] + dy * corners[k, 5]
        seen = (one > SLACK and two > SLACK) or (one < -SLACK and two < -SLACK)
        d2 = dx * dx + dy * dy
        if not seen and d2 < best:
            best = d2
    return math.sqrt(best)


@jit
def _hit(walls, x, y, dx, dy, limit, own, end):
    """(7) The first wall that the ray meets from inside, whose line ``end`` is behind, and where; -1 where none is before ``limit``."""
    found = -1
    for k in range(len(walls)):
        if k == own:
            continue
        ax, ay = walls[k, 0], walls[k, 1]
        ex, ey = walls[k, 2] - ax, walls[k, 3] - ay
        det = dx * ey - dy * ex
        if det <= 0.0:
            continue
        px, py = ax - x, ay - y
        t, s = (px * ey - py * ex) / det, (px * dy - py * dx) / det
        length = math.sqrt(ex * ex + ey * ey)
        behind, over = -t * det / length, SLACK / length
        if t <= 0.0:  # by rounding, or not at all
            t, s = 0.0, -(px * ex + py * ey) / (length * length)
        meets = behind < SLACK and t <= limit and s >= -over and s <= 1.0 + over and (end - t) * det / length > SLACK
        if meets and (t < limit or found < 0):
            found, limit = k, t
    return found, max(limit, 0.0)


@jit
def _nearest(walls, x, y, radius, with_mu):
    """The closest wall within ``radius`` and its distance; -1 where there is none."""
    best, found = radius * radius, -1
    for k in range(len(walls)):
        if with_mu and walls[k, 4] <= 0.0:
            continue
        d2, _ = segment_distance2(walls[k], (x, y))
        if d2 < best or (d2 <= best and found < 0):
            best, found = d2, k
    return found, math.sqrt(best)


@jit
def _clip(wall, x, y, R):
    """The part of a wall in the disc, as lengths from its beginning; the foot of the perpendicular and its height; whether x faces it."""
    px, py = x - wall[0], y - wall[1]
    ex, ey = wall[2] - wall[0], wall[3] - wall[1]
    length = math.sqrt(ex * ex + ey * ey)
    foot, height = (px * ex + py * ey) / length, (py * ex - px * ey) / length
    half2 = R * R - height * height
    if half2 <= 0.0 or height <= -SLACK:
        return 0.0, 0.0, foot, height, False
    half = math.sqrt(half2)
    low, high = max(foot - half, 0.0), min(foot + half, length)
    return low, high, foot, max(height, 0.0), low < high


@jit
def _sees(walls, x, y, zx, zy, wall, own):
    """Whether x sees a point of a wall. Walls that it lies behind by rounding only do not hide it."""
    dx, dy = zx - x, zy - y
    r = math.sqrt(dx * dx + dy * dy)
    if wall == own or r - 4 * SLACK <= 0.0:
        return True
    return _hit(walls, x, y, dx / r, dy / r, r - 4 * SLACK, own, r)[0] < 0


@jit
def _line_mass(p, t, R):
    """(5), of either sign of t."""
    if p == 0.0 and t == 0.0:
        return 0.0
    r = math.sqrt(p * p + t * t)
    return (t * (math.log(R / r) + 1.0) - p * math.atan2(t, p)) / (2.0 * math.pi)


@jit
def _robin_mass(walls, extent, x, y, R, own):
    """(4)"""
    total = 0.0
    for k in range(len(walls)):
        mu = walls[k, 4] * extent
        if mu <= 0.0:
            continue
        low, high, foot, p, faces = _clip(walls[k], x, y, R)
        if not faces:
            continue
        ex, ey = walls[k, 2] - walls[k, 0], walls[k, 3] - walls[k, 1]
        s = 0.5 * (low + high) / math.sqrt(ex * ex + ey * ey)
        if _sees(walls, x, y, walls[k, 0] + s * ex, walls[k, 1] + s * ey, k, own):
            total += (_line_mass(p, high - foot, R) - _line_mass(p, low - foot, R)) * mu / (1.0 + p * mu)
    return total


@jit
def _likely(wall, x, y, R):
    """How likely a wall is drawn, but for the sum of all."""
    low, high, foot, p, faces = _clip(wall, x, y, R)
    off = max(low - foot, foot - high, 0.0)
    return (high - low) * (R * R - p * p - off * off) if faces else 0.0


@jit
def _draw(walls, x, y, R, u):
    """(6) A point of the walls in the disc: wall, place, height, density; wall -1 where there is none."""
    total = 0.0
    for k in range(len(walls)):
        total += _likely(walls[k], x, y, R)
    left, found, chance = u[0] * total, -1, 0.0
    for k in range(len(walls)):
        one = _likely(walls[k], x, y, R)
        if one > 0.0:
            found, chance = k, one / total
            left -= one
            if left < 0.0:
                break
    if found < 0:
        return -1, 0.0, 0.0, 0.0
    low, high, foot, p, _ = _clip(walls[found], x, y, R)
    half, length = math.sqrt(R * R - p * p), high - low
    t = low + 2.0 * u[1] * length if u[1] < 0.5 else foot + (half if u[1] < 0.75 else -half) * u[2] * u[3]
    if t < low or t > high:
        return -1, 0.0, 0.0, 0.0
    ex, ey = walls[found, 2] - walls[found, 0], walls[found, 3] - walls[found, 1]
    off = max(abs(t - foot), 1e-12 * half)
    density = 0.5 * chance * (1.0 / length + math.log(half / min(off, half)) / (2.0 * half))
    return found, min(t / math.sqrt(ex * ex + ey * ey), 1.0), p, density


@jit
def _hit_weight(s, z2):
    """(3)"""
    end = 0.25 * z2
    q = end * s * s
    a = harmonic_series(0, end) / bessel_series(0, end)
    return 1.0 + 2.0 * q * (bessel_series(2, q) * (a + math.log(s)) - harmonic_series(1, q))


@jit
def _radius(corners, walls, extent, absorbs, x, y, distance, own, epsilon, screening):
    """The radius of the star, and the mass (4) of walls with mu in it."""
    R = max(epsilon, _silhouette(corners, x, y, min(distance, LARGEST)))
    reach = _ROBIN
    if screening > 0.0:
        R, reach = min(R, MOST_SCREENED / math.sqrt(screening)), min(_ROBIN, _ROBIN_SCREENED / math.sqrt(screening))
    if not absorbs:
        return R, 0.0
    wall, away = _nearest(walls, x, y, R, True)
    if wall < 0:
        return R, 0.0
    R = min(R, max(away, reach))
    mass = _robin_mass(walls, extent, x, y, R, own) if away < R else 0.0
    if screening > 0.0:
        mass *= source_weight(2, 0.25, 1.3862943611198906, R * R * screening)[0]
    return R, mass


@jit
def _flux(walls, extent, x, y, R, own, held, weight, u, screening):
    """(6) Wall, place and weight of a point of the walls that counts; wall -1 where none does."""
    wall, place, height, density = _draw(walls, x, y, R, u)
    if wall < 0:
        return -1, 0.0, 0.0
    dx = walls[wall, 0] + place * (walls[wall, 2] - walls[wall, 0]) - x
    dy = walls[wall, 1] + place * (walls[wall, 3] - walls[wall, 1]) - y
    r = math.sqrt(dx * dx + dy * dy)
    if not 0.0 < r < R or not _sees(walls, x, y, x + dx, y + dy, wall, own):
        return -1, 0.0, 0.0
    s = r / R
    w = weight * held * -math.log(s) / (2.0 * math.pi) * extent / density / (1.0 + height * walls[wall, 4] * extent)
    if screening > 0.0:
        w *= source_weight(2, s, -math.log(s), R * R * screening)[0]
    return wall, place, w


@jit
def _one_walk(segments, walls, corners, extent, absorbs, x, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources,
              flux, first, events, fluxes):  # fmt: skip
    """Moves x to where the walk ends. Returns steps, weight, distance, segment, place."""
    n, along = np.empty(2), np.empty(1)
    step, weight = 0, 1.0
    first[:] = math.nan
    first[0], first[1] = 1.0, 0.0
    own, _ = _nearest(walls, x[0], x[1], 4 * SLACK, False)
    while True:
        d2, at = closest(segments, x, along)
        distance = math.sqrt(d2)
        if distance <= epsilon or step >= max_steps or weight == 0.0 or max(abs(x[0]), abs(x[1])) >= HALF_SIDE:
            return step, weight, distance, at, along[0]
        if pairs and step == 0:
            room = _nearest(walls, x[0], x[1], min(distance, LARGEST), False)[1]
            if room > epsilon:
                leave(x, room, walk, point, instance, k0, k1, extent, screening, sources, first, events)
                step, own = 1, -1
                continue
        w0, w1, w2, w3 = philox(np.uint64(step), walk, point, instance, k0, k1)
        direction(w0, w0, n)
        R, mass = _radius(corners, walls, extent, absorbs, x[0], x[1], distance, own, epsilon, screening)
        held = 2.0 if own >= 0 else 1.0
        weight /= 1.0 + held * mass
        if own >= 0 and n[1] * (walls[own, 2] - walls[own, 0]) - n[0] * (walls[own, 3] - walls[own, 1]) < 0.0:
            n *= -1.0
        met, t = _hit(walls, x[0], x[1], n[0], n[1], R, own, NOWHERE)
        s = math.sqrt(uniform(w1) * uniform(w2))
        if sources and s * R < t:
            w = weight * R * R * 0.25 * extent * extent
            w *= source_weight(2, s, -math.log(s), R * R * screening)[0] if screening > 0.0 else 1.0
            add_event(events, x, R * s, n, w, 0.0)
        if flux:
            v0, v1, v2, v3 = philox(np.uint64(BOUNDARY + step), walk, point, instance, k0, k1)
            u = (uniform(v0), uniform(v1), uniform(v2), uniform(v3))
            wall, where, w = _flux(walls, extent, x[0], x[1], R, own, held, weight, u, screening)
            if wall >= 0:
                fluxes.append(np.array([float(wall), where, w]))
        if met >= 0:
            e = walls[met, 2:4] - walls[met, :2]
            where = ((x[0] + t * n[0] - walls[met, 0]) * e[0] + (x[1] + t * n[1] - walls[met, 1]) * e[1]) / (e[0] * e[0] + e[1] * e[1])
            x[:] = walls[met, :2] + min(max(where, 0.0), 1.0) * e
            weight *= _hit_weight(max(t / R, 1e-10), R * R * screening) if screening > 0.0 else 1.0
        else:
            x += R * n
            weight /= bessel_series(0, 0.25 * R * R * screening) if screening > 0.0 else 1.0
        own = met
        if weight < LIGHT:
            weight = LIGHT if uniform(w3) * LIGHT < weight else 0.0
        step += 1


@jit
def walks(segments, walls, corners, extent, absorbs, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps, sources,
          flux, end, segment, place, left, first, marks):  # fmt: skip
    """One walk a row of ``start``. Returns source points with their weights and whether they lie in the first ball of a pair, and whose
    they are; and points of the walls (wall, place, weight) likewise. ``first``: see ``enter``."""
    events, fluxes = [np.empty(4) for _ in range(0)], [np.empty(3) for _ in range(0)]
    of_event, of_flux = [0 for _ in range(0)], [0 for _ in range(0)]
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], distance, segment[i], place[i, 0] = _one_walk(
            segments, walls, corners, extent, absorbs, x, walk[i], point[i], instance, k0, k1, epsilon, screening, pairs, max_steps,
            sources, flux, first[i], events, fluxes,
        )  # fmt: skip
        for _ in range(len(events) - len(of_event)):
            of_event.append(i)
        for _ in range(len(fluxes) - len(of_flux)):
            of_flux.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if distance > epsilon else 0
            marks[i] += ESCAPED if max(abs(x[0]), abs(x[1])) >= HALF_SIDE else 0
        for j in range(2):
            end[i, j] = segments[segment[i], j] + place[i, 0] * (segments[segment[i], 2 + j] - segments[segment[i], j])
    return table(events, 4), np.array(of_event, dtype=np.int64), table(fluxes, 3), np.array(of_flux, dtype=np.int64)


@jit
def table(rows, width):
    found = np.empty((len(rows), width))
    for i in range(len(rows)):
        found[i] = rows[i]
    return found
