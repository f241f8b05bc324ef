"""Paths of walks on stars in plain loops and float64, with the counters of csrc/wos/stars/walker.hpp.

Equation numbers refer to csrc/wos/stars/README.md. ``walls`` has one row per reflecting segment or triangle, ``frames`` the frames of
triangles, ``corners`` the corners of the walls.
"""

import math

import numpy as np

from ..._backends.numba import jit
from ..media.loops import enter
from ..query.composition import HALF_SIDE
from ..query.loops import closest, point_on, segment_distance2, triangle_distance2
from ..walk.composition_balls import MAX_SCREENED, SHRUNK
from ..walk.composition_philox import BOUNDARY, ROULETTE
from ..walk.loops_paths import CUT_OFF, ESCAPED, make_step, table_of
from ..walk.loops_philox import bessel_series, direction, first_words, hit_weight, philox, roulette, source_point, source_weight, uniform
from . import loops_facets as solid
from . import loops_walls as flat
from .composition_walls import EXCHANGED, LARGEST, NOWHERE, ROBIN, ROBIN_SCREENED, SLACK

ENDS, TO_WALL, TO_SOURCE = 0, 1, 2  # how a walk stops: at its end, or at a jump to a wall or to a source point


@jit
def _nearest(walls, x, radius, with_mu):
    """The closest wall within ``radius``, or -1, and its distance."""
    best, wall = radius * radius, -1
    for k in range(len(walls)):
        if with_mu and walls[k, x.size * x.size] <= 0.0:
            continue
        d2 = segment_distance2(walls[k], x)[0] if x.size == 2 else triangle_distance2(walls[k], x)[0]
        if d2 < best or (d2 <= best and wall < 0):
            best, wall = d2, k
    return wall, math.sqrt(best)


@jit
def _star(corners, walls, frames, extent, absorbs, max_exchange, x, distance, own, epsilon, screening):
    """The radius of the star, and the mass (4) of walls with a μ in it."""
    limit, reach = min(distance, LARGEST), ROBIN
    R = max(epsilon, flat.silhouette(corners, x[0], x[1], limit) if x.size == 2 else solid.silhouette(corners, x, limit))
    if screening > 0.0:
        R, reach = min(R, MAX_SCREENED / math.sqrt(screening)), min(ROBIN, ROBIN_SCREENED / math.sqrt(screening))
    if max_exchange > 0.0:
        R = min(R, EXCHANGED / max_exchange)
    if not absorbs:
        return R, 0.0
    wall, away = _nearest(walls, x, R, True)
    if wall < 0:
        return R, 0.0
    R = min(R, max(away, reach))
    mass = 0.0
    if away < R:
        mass = flat.robin_mass(walls, extent, x[0], x[1], R, own) if x.size == 2 else solid.robin_mass(walls, frames, extent, x, R, own)
    if screening > 0.0:
        mass *= source_weight(x.size, 0.25, 1.3862943611198906, R * R * screening)[0]
    return R, mass


@jit
def _turn_inward(walls, frames, own, n):
    """Turn a direction so that it points into the domain from the wall that the walk is on."""
    if n.size == 2:
        outward = n[1] * (walls[own, 2] - walls[own, 0]) - n[0] * (walls[own, 3] - walls[own, 1]) < 0.0
    else:
        outward = (n * frames[own, solid.NORMAL : solid.LENGTH]).sum() > 0.0
    if outward:
        n *= -1.0


@jit
def _hit(walls, frames, x, n, R, own):
    if x.size == 2:
        return flat.hit(walls, x[0], x[1], n[0], n[1], R, own, NOWHERE)
    return solid.hit(frames, x, n, R, own, NOWHERE)


@jit
def _land(wall, n, t, x):
    """Move x to the point where its ray meets a wall."""
    x += t * n
    if x.size == 2:
        e = wall[2:4] - wall[:2]
        where = ((x[0] - wall[0]) * e[0] + (x[1] - wall[1]) * e[1]) / (e[0] * e[0] + e[1] * e[1])
        x[:] = wall[:2] + min(max(where, 0.0), 1.0) * e
    else:
        weights = np.empty(2)
        _, weights[0], weights[1] = triangle_distance2(wall, x)
        point_on(wall[:9], weights, x)


@jit
def _point_on_walls(walls, frames, extent, x, R, own, factor, u, screening, corner_weights, z):
    """(6) A point on the walls: its wall and an estimate of the integral of G. Writes its position on the wall and the point."""
    if x.size == 2:
        wall, corner_weights[0], z[0], z[1], green = flat.point_on_walls(walls, extent, x[0], x[1], R, own, factor, u, screening)
    else:
        wall, corner_weights[0], corner_weights[1], green = solid.point_on_walls(walls, frames, extent, x, R, own, factor, u, screening, z)
    return wall, green


@jit
def _first_step(x, clearance, walk, point, instance, k0, k1, screening, varies, extent, sources, n, m, first, events):
    """(9) The first step of a walk of a pair; media (8) in a medium. Returns whether the walk jumps to the source point."""
    d = x.size
    if not varies:
        words = np.zeros(4, np.uint64)
        first_words(d, walk, point, instance, k0, k1, True, False, words)
        make_step((0.0, 0.0), x, clearance, 0, 1.0, walk, point, instance, k0, k1, screening, True, sources, words, n, m, first, events)
        if sources:
            events[-1][d] *= extent * extent
        return False
    R = SHRUNK * (min(clearance, MAX_SCREENED / math.sqrt(screening)) if screening > 0.0 else clearance)
    s, inside = enter(d, walk, point, instance, k0, k1, R, screening, n, m, first)
    if sources:
        event = np.empty(d + 2)
        event[:d], event[d], event[d + 1] = x + R * s * m, R * R / (2.0 * d) * extent * extent, 1.0
        events.append(event)
    x += R * s * m if inside else R * n
    return inside


@jit
def _draw_inside(step, walk, point, instance, k0, k1, w1, w2, x, n, R, t, z2, y):
    """Write the source point of a step to y. Returns its weight, or 0 if the walk meets a wall first."""
    d = x.size
    s = math.sqrt(uniform(w1) * uniform(w2)) if d == 2 else source_point(step, walk, point, instance, k0, k1, y)[0]
    y[:] = x + R * s * n
    if s * R >= t:
        return 0.0
    return source_weight(d, s, -math.log(s), z2)[0] if z2 > 0.0 else 1.0


@jit
def _jump(step, walk, point, instance, k0, k1, odds, likely):
    """(12) Whether a walk jumps, and where."""
    _, to_source, to_wall, _ = philox(np.uint64(ROULETTE + step), walk, point, instance, k0, k1)
    if uniform(to_wall) * (1.0 + odds) < odds:
        return TO_WALL
    return TO_SOURCE if uniform(to_source) < likely else ENDS


@jit
def _arrive(walls, met, n, t, R, screened, z2, x):
    """Move x to the wall that its ray meets, or to the sphere. Returns the factor (3) of the weight."""
    if met >= 0:
        _land(walls[met], n, t, x)
    else:
        x += R * n
    if not screened:
        return 1.0
    s = max(t / R, 1e-10)
    return hit_weight(x.size, s, -math.log(s), z2) if met >= 0 else 1.0 / bessel_series(x.size - 2, 0.25 * z2)


@jit
def _one_walk(segments, walls, frames, corners, extent, absorbs, exchange, varies, x, step, weight, own, walk, point, instance, k0, k1,
              epsilon, screening, pairs, max_steps, sources, flux, first, corner_weights, events, fluxes):  # fmt: skip
    """Move x to the end of the walk or to its next jump, and set ``corner_weights``.

    Returns how the walk stops, its steps, weight, wall and distance, and the closest segment or triangle.
    """
    d = x.size
    n, y, z, on_wall = np.empty(d), np.zeros(d), np.empty(d), np.empty(d - 1)
    max_exchange = exchange[:, 0].max() if exchange.size else 0.0
    while True:
        d2, at = closest(segments, x, corner_weights)
        distance = math.sqrt(d2)
        if distance <= epsilon or step >= max_steps or weight == 0.0 or np.abs(x).max() >= HALF_SIDE:
            return ENDS, step, weight, own, distance, at
        if pairs and step == 0:
            clearance = _nearest(walls, x, min(distance, LARGEST), False)[1]
            if clearance > epsilon:
                if _first_step(x, clearance, walk, point, instance, k0, k1, screening, varies, extent, sources, n, y, first, events):
                    return TO_SOURCE, step, weight, -1, distance, at
                step, own = 1, -1
                continue
        w0, w1, w2, w3 = philox(np.uint64(step), walk, point, instance, k0, k1)
        direction(w0, w1, n)
        R, mass = _star(corners, walls, frames, extent, absorbs, max_exchange, x, distance, own, epsilon, screening)
        factor = 2.0 if own >= 0 else 1.0
        weight /= 1.0 + factor * mass
        if own >= 0:
            _turn_inward(walls, frames, own, n)
        met, t = _hit(walls, frames, x, n, R, own)
        z2, share, odds, wall = R * R * screening, 0.0, 0.0, -1
        if sources or varies:
            share = _draw_inside(step, walk, point, instance, k0, k1, w1, w2, x, n, R, t, z2, y)
        if sources and share > 0.0:
            event = np.empty(d + 2)
            event[:d], event[d], event[d + 1] = y, weight * R * R / (2.0 * d) * extent * extent * share, 0.0
            events.append(event)
        if flux or max_exchange > 0.0:
            v0, v1, v2, v3 = philox(np.uint64(BOUNDARY + step), walk, point, instance, k0, k1)
            u = (uniform(v0), uniform(v1), uniform(v2), uniform(v3))
            wall, green = _point_on_walls(walls, frames, extent, x, R, own, factor, u, screening, on_wall, z)
            if wall >= 0 and flux:
                each = np.empty(d + 1)
                each[0], each[1:d], each[d] = wall, on_wall, weight * green * extent
                fluxes.append(each)
            odds = green * exchange[wall, 0] if wall >= 0 and max_exchange > 0.0 else 0.0
        if varies:
            weight *= 1.0 + odds
            jump = _jump(step, walk, point, instance, k0, k1, odds, z2 / (2.0 * d) * share)
            if jump != ENDS:
                x[:] = z if jump == TO_WALL else y
                return jump, step, weight, wall if jump == TO_WALL else -1, distance, at
        weight *= _arrive(walls, met, n, t, R, screening > 0.0 and not varies, z2, x)
        own = met
        weight = roulette(weight, w3)
        step += 1


@jit
def begin(walls, start, own):
    """Find the walls that walks start on."""
    for i in range(len(start)):
        own[i] = _nearest(walls, start[i], 4 * SLACK, False)[0]


@jit
def walks(segments, walls, frames, corners, extent, absorbs, exchange, varies, some, x, step, weight, own, walk, point, instance, k0, k1,
          epsilon, screening, pairs, max_steps, sources, flux, end, segment, corner_weights, first, stops, marks):  # fmt: skip
    """Run walks ``some`` to their ends or to their next jumps. Write how each one stops to ``stops``.

    Returns a table of source points (with weights, and whether they are in the first ball of a pair), the walk of each, a table of points
    on the walls (wall, position, weight), and the walk of each.
    """
    d = x.shape[1]
    events, fluxes = [np.empty(d + 2) for _ in range(0)], [np.empty(d + 1) for _ in range(0)]
    of_event, of_flux = [0 for _ in range(0)], [0 for _ in range(0)]
    for i in some:
        stops[i], step[i], weight[i], own[i], distance, segment[i] = _one_walk(
            segments, walls, frames, corners, extent, absorbs, exchange, varies, x[i], step[i], weight[i], own[i], walk[i], point[i],
            instance, k0, k1, epsilon, screening, pairs, max_steps, sources, flux, first[i], corner_weights[i], events, fluxes,
        )  # fmt: skip
        for _ in range(len(events) - len(of_event)):
            of_event.append(i)
        for _ in range(len(fluxes) - len(of_flux)):
            of_flux.append(i)
        if stops[i] != ENDS:
            continue
        marks[i] = step[i]
        if weight[i] != 0.0:
            marks[i] += CUT_OFF if distance > epsilon else 0
            marks[i] += ESCAPED if np.abs(x[i]).max() >= HALF_SIDE else 0
        point_on(segments[segment[i]], corner_weights[i], end[i])
    return table_of(events, d + 2), np.array(of_event, dtype=np.int64), table_of(fluxes, d + 1), np.array(of_flux, dtype=np.int64)


@jit
def settle(some, weight, step, walk, point, instance, k0, k1):
    """End the steps of walks that have jumped."""
    for i in some:
        weight[i] = roulette(weight[i], philox(np.uint64(step[i]), walk[i], point[i], instance, k0, k1)[3])
        step[i] += 1
