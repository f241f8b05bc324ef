"""Walk on Stars in plain loops and float64: every step asks every segment, wall and corner. The same counters as csrc/wos/stars/walker.hpp.

Among more than eight walls a point is drawn by other chances than the tree's: a flux then has other random numbers, and the same mean.
"""

import math

import numpy as np

from ..._backends.numba import dense, jit
from ..data._numba import add_gradient, data_values, row_of
from ..query._numba import closest, pieces, segment_distance2
from ..walk._numba_paths import (
    CUT_OFF,
    ESCAPED,
    HALF_SIDE,
    LIGHT,
    MOST_SCREENED,
    direction,
    harmonic_series,
    source_weight,
)
from ..walk._numba_walked import blocks, tallied
from ..walk._numba_words import bessel_series, philox, uniform
from ..walk.state import of_values

_BOUNDARY = 2 << 28
_SLACK, _ROBIN, _ROBIN_SCREENED, _LARGEST = 1e-13, 0.02, 0.25, 2.0  # as in walker.hpp


@jit
def _silhouette(corners, x, y, radius):
    """(2) The distance of the closest corner that may hide something, or ``radius``."""
    best = radius * radius
    for k in range(len(corners)):
        dx, dy = x - corners[k, 0], y - corners[k, 1]
        one, two = dx * corners[k, 2] + dy * corners[k, 3], dx * corners[k, 4] + dy * corners[k, 5]
        seen = (one > _SLACK and two > _SLACK) or (one < -_SLACK and two < -_SLACK)
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
        over = _SLACK / length
        meets = t > -_SLACK and t <= limit and s >= -over and s <= 1.0 + over and (end - t) * det / length > _SLACK
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
    if half2 <= 0.0 or height <= -_SLACK:
        return 0.0, 0.0, foot, height, False
    half = math.sqrt(half2)
    low, high = max(foot - half, 0.0), min(foot + half, length)
    return low, high, foot, max(height, 0.0), low < high


@jit
def _visible(walls, x, y, k, at, own):
    if k == own:
        return True
    ex, ey = walls[k, 2] - walls[k, 0], walls[k, 3] - walls[k, 1]
    s = at / math.sqrt(ex * ex + ey * ey)
    dx, dy = walls[k, 0] + s * ex - x, walls[k, 1] + s * ey - y
    r = math.sqrt(dx * dx + dy * dy)
    if r - 4 * _SLACK <= 0.0:
        return True
    return _hit(walls, x, y, dx / r, dy / r, r - 4 * _SLACK, own, r)[0] < 0


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
        if faces and _visible(walls, x, y, k, 0.5 * (low + high), own):
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
    R = max(epsilon, _silhouette(corners, x, y, min(distance, _LARGEST)))
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
    if not 0.0 < r < R:
        return -1, 0.0, 0.0
    if wall != own and r > 4 * _SLACK and _hit(walls, x, y, dx / r, dy / r, r - 4 * _SLACK, own, r)[0] >= 0:
        return -1, 0.0, 0.0
    s = r / R
    w = weight * held * -math.log(s) / (2.0 * math.pi) * extent / density / (1.0 + height * walls[wall, 4] * extent)
    if screening > 0.0:
        w *= source_weight(2, s, -math.log(s), R * R * screening)[0]
    return wall, place, w


@jit
def _one_walk(segments, walls, corners, extent, absorbs, x, walk, point, instance, k0, k1, epsilon, screening, max_steps, sources, flux,
              events, fluxes):  # fmt: skip
    """Moves x to where the walk ends. Returns steps, weight, distance, segment, place."""
    n, along = np.empty(2), np.empty(1)
    step, weight = 0, 1.0
    own, _ = _nearest(walls, x[0], x[1], 4 * _SLACK, False)
    while True:
        d2, at = closest(segments, x, along)
        distance = math.sqrt(d2)
        if distance <= epsilon or step >= max_steps or weight == 0.0 or max(abs(x[0]), abs(x[1])) >= HALF_SIDE:
            return step, weight, distance, at, along[0]
        w0, w1, w2, w3 = philox(np.uint64(step), walk, point, instance, k0, k1)
        direction(w0, w0, n)
        R, mass = _radius(corners, walls, extent, absorbs, x[0], x[1], distance, own, epsilon, screening)
        held = 2.0 if own >= 0 else 1.0
        weight /= 1.0 + held * mass
        if own >= 0 and n[1] * (walls[own, 2] - walls[own, 0]) - n[0] * (walls[own, 3] - walls[own, 1]) < 0.0:
            n *= -1.0
        met, t = _hit(walls, x[0], x[1], n[0], n[1], R, own, 1e30)
        s = math.sqrt(uniform(w1) * uniform(w2))
        if sources and s * R < t:
            w = weight * R * R * 0.25 * extent * extent
            w *= source_weight(2, s, -math.log(s), R * R * screening)[0] if screening > 0.0 else 1.0
            events.append((x[0] + R * s * n[0], x[1] + R * s * n[1], w))
        if flux:
            v0, v1, v2, v3 = philox(np.uint64(_BOUNDARY + step), walk, point, instance, k0, k1)
            u = (uniform(v0), uniform(v1), uniform(v2), uniform(v3))
            wall, where, w = _flux(walls, extent, x[0], x[1], R, own, held, weight, u, screening)
            if wall >= 0:
                fluxes.append((float(wall), where, w))
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
def walks(segments, walls, corners, extent, absorbs, start, walk, point, instance, k0, k1, epsilon, screening, max_steps, sources, flux,
          end, segment, place, left, marks):  # fmt: skip
    """One walk a row of ``start``. Returns source points with their weights and whose they are, and the same of points of the walls."""
    events, fluxes = [(0.0, 0.0, 0.0) for _ in range(0)], [(0.0, 0.0, 0.0) for _ in range(0)]
    of_event, of_flux = [0 for _ in range(0)], [0 for _ in range(0)]
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], distance, segment[i], place[i] = _one_walk(
            segments, walls, corners, extent, absorbs, x, walk[i], point[i], instance, k0, k1, epsilon, screening, max_steps, sources, flux,
            events, fluxes,
        )  # fmt: skip
        for _ in range(len(events) - len(of_event)):
            of_event.append(i)
        for _ in range(len(fluxes) - len(of_flux)):
            of_flux.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if distance > epsilon else 0
            marks[i] += ESCAPED if max(abs(x[0]), abs(x[1])) >= HALF_SIDE else 0
        for j in range(2):
            end[i, j] = segments[segment[i], j] + place[i] * (segments[segment[i], 2 + j] - segments[segment[i], j])
    return _table(events), np.array(of_event, dtype=np.int64), _table(fluxes), np.array(of_flux, dtype=np.int64)


@jit
def _table(rows):
    found = np.empty((len(rows), 3))
    for i in range(len(rows)):
        found[i, 0], found[i, 1], found[i, 2] = rows[i]
    return found


class _Walked:
    """Some walks of one instance: for each kind of data where it is met, with what weight, by which walk."""

    def __init__(self, start, frame, tables, instance, point, walk, seed, max_steps, endless, screening, wanted):
        n = len(point)
        segments, walls, corners = tables
        end, segment, place, left = np.empty((n, 2)), np.empty(n, np.int64), np.empty(n), np.empty(n)
        self.mark = np.empty(n, np.int64)
        event, of_event, flux, of_flux = walks(
            segments, walls, corners, frame[2], bool((walls[:, 4] > 0).any()), np.ascontiguousarray(start[point], np.float64),
            walk.astype(np.uint64), point.astype(np.uint64), np.uint64(instance), np.uint64(seed & 0xFFFFFFFF),
            np.uint64((seed >> 32) & 0xFFFFFFFF), frame[3], screening * frame[2] ** 2, max_steps, wanted[1], wanted[2] or wanted[3],
            end, segment, place, left, self.mark,
        )  # fmt: skip
        here = np.flatnonzero(left > 0) if not endless else np.zeros(0, np.int64)
        wall, along = flux[:, 0].astype(np.int64), flux[:, 1]
        at = walls[wall, :2] + along[:, None] * (walls[wall, 2:4] - walls[wall, :2])
        robin = walls[wall, 5] > 0
        self.met = [(end[here], segment[here], place[here, None], left[here], here), (event[:, :2], None, None, event[:, 2], of_event)]
        self.met += [(at[m], wall[m], along[m, None], flux[m, 2], of_flux[m]) for m in (~robin, robin)]


def _check(label, arrays):
    for table, first, name in zip(arrays[::2], arrays[1::2], ("ends", "walls", "corners")):
        if first[0] != 0 or first[-1] != len(table):
            raise ValueError(f"{label}: the first rows of {name} are {first[0]} to {first[-1]}, but there are {len(table)}")


def _tables(arrays, instance):
    ends, first, walls, first_wall, corners, first_corner = arrays
    return tuple(pieces(table, begins, instance, 2) for table, begins in ((ends, first), (walls, first_wall), (corners, first_corner)))


def _all_numbers(kinds, data, instance, arrays):
    _, first, _, first_wall = arrays[:4]
    begins = (first, first, first_wall, first_wall)
    return [None if rows is None else row_of(kind, rows, instance, begin) for kind, rows, begin in zip(kinds, data, begins)]


def stars(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet, source, neumann, robin, mean, m2, counts,
          dirichlet_kind, source_kind, neumann_kind, robin_kind, seed, first_walk, count, max_steps, endless, screening, grids, g, f, h, k,
          num_threads):  # fmt: skip
    """The nodes of walks [first_walk, first_walk + count) of every point."""
    frame, ends, walls, corners = map(dense, (frame, ends, walls, corners))
    arrays, kinds = (ends, first, walls, first_wall, corners, first_corner), (dirichlet_kind, source_kind, neumann_kind, robin_kind)
    _check("wos.stars", arrays)
    data = [dense(x) for x in (dirichlet, source, neumann, robin)]
    wanted = [kind != "none" for kind in kinds]
    for b in range(len(start)):
        values, marks = np.full((start.shape[1], count), np.nan), np.zeros((start.shape[1], count), np.int64)
        numbers = _all_numbers(kinds, data, b, arrays)
        for point, w in blocks(start[b], first_walk, count):
            walked = _Walked(start[b], frame[b], _tables(arrays, b), b, point, w, seed, max_steps, endless, screening, wanted)
            total = np.zeros(len(point))
            for kind, row, function, (X, segment, place, weight, owner) in zip(kinds, numbers, (g, f, h, k), walked.met):
                if kind != "none" and len(X):
                    found = data_values(kind, row, function, b, frame[b], np.ascontiguousarray(X), segment, place)
                    total += np.bincount(owner, weight * found, minlength=len(point))
            values[point, w - first_walk], marks[point, w - first_walk] = total, walked.mark
        counts[b] = tallied(marks).sum(axis=1)
        state = of_values(first_walk, values, counts[b])
        mean[b, :, :, 0], m2[b, :, :, 0] = state.mean, state.m2


def stars_vjp(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet, source, neumann, robin, grad, _0, _1, _2, _3,
              _4, _5, _6, _7, ddirichlet, dsource, dneumann, drobin, dirichlet_kind, source_kind, neumann_kind, robin_kind, seed,
              first_walk, count, max_steps, endless, screening, grids, g, f, h, k, num_threads):  # fmt: skip
    """The walks again."""
    frame, ends, walls, corners = map(dense, (frame, ends, walls, corners))
    arrays, kinds = (ends, first, walls, first_wall, corners, first_corner), (dirichlet_kind, source_kind, neumann_kind, robin_kind)
    _check("wos.stars_vjp", arrays)
    data, to = [dense(x) for x in (dirichlet, source, neumann, robin)], (ddirichlet, dsource, dneumann, drobin)
    state = of_values(first_walk, np.zeros((0, count)), np.zeros((0, 3)))
    for d in to:
        if d is not None:
            d[...] = 0
    wanted = [d is not None for d in to]
    for b in range(len(start)):
        numbers, gradients = _all_numbers(kinds, data, b, arrays), _all_numbers(kinds, to, b, arrays)
        for point, w in blocks(start[b], first_walk, count):
            node = np.searchsorted(state.starts, w, side="right") - 1
            share = grad[b, point, node, 0] / np.array(state.sizes)[node]
            walked = _Walked(start[b], frame[b], _tables(arrays, b), b, point, w, seed, max_steps, endless, screening, wanted)
            for kind, row, d, (X, segment, place, weight, owner) in zip(kinds, numbers, gradients, walked.met):
                if d is not None and len(X):
                    add_gradient(kind, row, weight * share[owner], d, frame[b], X, segment, place)
