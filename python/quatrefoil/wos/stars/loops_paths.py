"""Paths of walks on stars in plain loops and float64, with the counters of csrc/wos/stars/walker.hpp.

Equation numbers refer to csrc/wos/stars/README.md. ``walls`` has one row per reflecting segment or triangle, ``frames`` the frames of
triangles, ``corners`` the corners of the walls.
"""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.composition import HALF_SIDE
from ..query.loops import closest, point_on, triangle_distance2
from ..walk.composition_balls import LIGHT, MAX_SCREENED
from ..walk.composition_philox import BOUNDARY
from ..walk.loops_paths import CUT_OFF, ESCAPED, make_step, table_of
from ..walk.loops_philox import bessel_series, direction, hit_weight, philox, source_point, source_weight, uniform
from . import loops_facets as solid
from . import loops_walls as flat
from .composition_walls import LARGEST, NOWHERE, ROBIN, ROBIN_SCREENED, SLACK


@jit
def _nearest(walls, x, radius, with_mu):
    return flat.nearest(walls, x[0], x[1], radius, with_mu) if x.size == 2 else solid.nearest(walls, x, radius, with_mu)


@jit
def _robin_mass(walls, frames, extent, x, R, own):
    return flat.robin_mass(walls, extent, x[0], x[1], R, own) if x.size == 2 else solid.robin_mass(walls, frames, extent, x, R, own)


@jit
def _star(corners, walls, frames, extent, absorbs, x, distance, own, epsilon, screening):
    """The radius of the star, and the mass (4) of walls with a μ in it."""
    limit, reach = min(distance, LARGEST), ROBIN
    R = max(epsilon, flat.silhouette(corners, x[0], x[1], limit) if x.size == 2 else solid.silhouette(corners, x, limit))
    if screening > 0.0:
        R, reach = min(R, MAX_SCREENED / math.sqrt(screening)), min(ROBIN, ROBIN_SCREENED / math.sqrt(screening))
    if not absorbs:
        return R, 0.0
    wall, away = _nearest(walls, x, R, True)
    if wall < 0:
        return R, 0.0
    R = min(R, max(away, reach))
    mass = _robin_mass(walls, frames, extent, x, R, own) if away < R else 0.0
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
def _add_flux(fluxes, walls, frames, extent, x, R, own, factor, weight, u, screening):
    """(6) Add wall, position and weight of a point on the walls, if it counts."""
    flux = np.empty(x.size + 1)
    if x.size == 2:
        wall, flux[1], flux[2] = flat.flux(walls, extent, x[0], x[1], R, own, factor, weight, u, screening)
    else:
        wall, flux[1], flux[2], flux[3] = solid.flux(walls, frames, extent, x, R, own, factor, weight, u, screening)
    if wall >= 0:
        flux[0] = float(wall)
        fluxes.append(flux)


@jit
def _one_walk(segments, walls, frames, corners, extent, absorbs, x, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps,
              sources, flux, first, place, events, fluxes):  # fmt: skip
    """Move x to the end of the walk and set ``place``. Returns steps, weight, distance, and the closest segment or triangle."""
    d = x.size
    n, m, words = np.empty(d), np.zeros(d), np.zeros(4, np.uint64)
    step, weight = 0, 1.0
    first[:] = math.nan
    first[0], first[1] = 1.0, 0.0
    own, _ = _nearest(walls, x, 4 * SLACK, False)
    while True:
        d2, at = closest(segments, x, place)
        distance = math.sqrt(d2)
        if distance <= epsilon or step >= max_steps or weight == 0.0 or np.abs(x).max() >= HALF_SIDE:
            return step, weight, distance, at
        if pairs and step == 0:
            room = _nearest(walls, x, min(distance, LARGEST), False)[1]
            if room > epsilon:
                make_step((0.0, 0.0), x, room, 0, 1.0, walk, point, instance, k0, k1, screening, True, sources, words, n, m, first, events)
                if sources:
                    events[-1][d] *= extent * extent
                step, own = 1, -1
                continue
        w0, w1, w2, w3 = philox(np.uint64(step), walk, point, instance, k0, k1)
        direction(w0, w1, n)
        R, mass = _star(corners, walls, frames, extent, absorbs, x, distance, own, epsilon, screening)
        factor = 2.0 if own >= 0 else 1.0
        weight /= 1.0 + factor * mass
        if own >= 0:
            _turn_inward(walls, frames, own, n)
        met, t = _hit(walls, frames, x, n, R, own)
        if sources:
            s = math.sqrt(uniform(w1) * uniform(w2)) if d == 2 else source_point(step, walk, point, instance, k0, k1, m)[0]
            if s * R < t:
                w = weight * R * R / (2.0 * d) * extent * extent
                w *= source_weight(d, s, -math.log(s), R * R * screening)[0] if screening > 0.0 else 1.0
                event = np.empty(d + 2)
                event[:d], event[d], event[d + 1] = x + R * s * n, w, 0.0
                events.append(event)
        if flux:
            v0, v1, v2, v3 = philox(np.uint64(BOUNDARY + step), walk, point, instance, k0, k1)
            u = (uniform(v0), uniform(v1), uniform(v2), uniform(v3))
            _add_flux(fluxes, walls, frames, extent, x, R, own, factor, weight, u, screening)
        z2 = R * R * screening
        if met >= 0:
            _land(walls[met], n, t, x)
            if screening > 0.0:
                s = max(t / R, 1e-10)
                weight *= hit_weight(d, s, -math.log(s), z2)
        else:
            x += R * n
            weight /= bessel_series(d - 2, 0.25 * z2) if screening > 0.0 else 1.0
        own = met
        if weight < LIGHT:
            weight = LIGHT if uniform(w3) * LIGHT < weight else 0.0
        step += 1


@jit
def walks(segments, walls, frames, corners, extent, absorbs, start, walk, point, instance, k0, k1, epsilon, screening, pairs, max_steps,
          sources, flux, end, segment, place, left, first, marks):  # fmt: skip
    """Run one walk per row of ``start``. ``first``: see ``enter``.

    Returns source points with their weights and whether they are in the first ball of a pair, with the walk of each. Returns points on the
    walls (wall, position, weight) in the same way.
    """
    d = start.shape[1]
    events, fluxes = [np.empty(d + 2) for _ in range(0)], [np.empty(d + 1) for _ in range(0)]
    of_event, of_flux = [0 for _ in range(0)], [0 for _ in range(0)]
    for i in range(len(start)):
        x = start[i].copy()
        marks[i], left[i], distance, segment[i] = _one_walk(
            segments, walls, frames, corners, extent, absorbs, x, walk[i], point[i], instance, k0, k1, epsilon, screening, pairs, max_steps,
            sources, flux, first[i], place[i], events, fluxes,
        )  # fmt: skip
        for _ in range(len(events) - len(of_event)):
            of_event.append(i)
        for _ in range(len(fluxes) - len(of_flux)):
            of_flux.append(i)
        if left[i] > 0.0:
            marks[i] += CUT_OFF if distance > epsilon else 0
            marks[i] += ESCAPED if np.abs(x).max() >= HALF_SIDE else 0
        point_on(segments[segment[i]], place[i], end[i])
    return table_of(events, d + 2), np.array(of_event, dtype=np.int64), table_of(fluxes, d + 1), np.array(of_flux, dtype=np.int64)
