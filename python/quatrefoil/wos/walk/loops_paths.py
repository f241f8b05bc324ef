"""Walk on spheres in plain loops and float64. Every step tests every segment. Uses the counters of csrc/wos/walk/walker.hpp."""

import math

import numpy as np

from ..._backends.numba import jit
from ..query.composition import HALF_SIDE
from ..query.loops import closest, point_on
from ..query.loops_solids import beyond_field, is_solid, length, nearest_on_solid, radius_in_solid, return_to_circle, return_to_sphere
from .composition_balls import LIGHT, MAX_SCREENED, SHRUNK
from .composition_philox import FIRST, ROULETTE
from .loops_half_discs import leave_half_disc
from .loops_philox import bessel_series, direction, first_words, philox, roulette, source_point, source_weight, uniform, unit_vector

CUT_OFF, ESCAPED = 1 << 31, 1 << 30


@jit
def see(ends, outside, x, weights):
    """The distance to the boundary (0 outside the box), the closest segment or triangle, and the weights of its corners after the first."""
    if is_solid(ends, x.size):
        return radius_in_solid(ends, x, outside), 0
    d2, at = closest(ends, x, weights)
    return (0.0 if _beyond(x) and not outside else math.sqrt(d2)), at


@jit
def _beyond(x):
    """Whether x is outside the box of the grid."""
    beyond = False
    for j in range(x.size):
        beyond = beyond or abs(x[j]) >= HALF_SIDE
    return beyond


@jit
def enter(d, n, m, radius, z2, of_value, of_gradient, first):
    """The first ball of a walk of a pair, see First in formula.hpp."""
    first[0], first[1] = 1.0 / bessel_series(d - 2, 0.25 * z2), of_value
    for j in range(d):
        first[2 + j] = d / (radius * bessel_series(d, 0.25 * z2)) * n[j]
        first[2 + d + j] = of_gradient / radius * m[j]


@jit
def _survive(weight, d, z2, step, walk, point, instance, k0, k1):
    """(9), (14) The weight of a walk after a ball. 0 ends the walk."""
    left = weight / bessel_series(d - 2, 0.25 * z2)
    if left >= LIGHT:
        return left
    return roulette(left, philox(np.uint64(ROULETTE + step), walk, point, instance, k0, k1)[0])


@jit
def _come_back(sphere, step, walk, point, instance, k0, k1, x, moved):
    """Solid README (4) to (7): return a walk beyond the sphere to ``moved`` on it; in space, it may end. Returns its weight, 1 or 0."""
    w0, w1, w2, _ = philox(np.uint64(ROULETTE + step), walk, point, instance, k0, k1)
    angle = float(w2) * (2.0 * math.pi * 2.0**-32)
    if x.size == 2:
        return_to_circle(sphere, x, angle, moved)
        return 1.0
    return_to_sphere(sphere, x, uniform(w1), angle, moved)
    return 1.0 if uniform(w0) * length(x) < sphere else 0.0


@jit
def make_step(
    around, x, radius, step, weight, walk, point, instance, k0, k1, screening, pairs, sources, words, n, m, first, events,
    sobol=False,
):  # fmt: skip
    """Move x to the surface of its ball, and append a source point to ``events``. Returns the weight.

    ``words``: those of the block of this step. ``n`` and ``m`` are scratch arrays. ``around``: the radii of ``sphere_around`` for walks
    outside, otherwise 0.
    """
    d = x.size
    if screening > 0.0:
        radius = min(radius, MAX_SCREENED / math.sqrt(screening))
    if d > 3:
        unit_vector(step, walk, point, instance, k0, k1, n)
    else:
        column = (d - 1) * (step % (4 // (d - 1)))
        direction(words[column], words[column + d - 2], n)
    enters, number, sign = pairs and step == 0, walk, 1.0
    if around[0] > 0.0 and screening == 0.0 and not enters and length(x) > around[1]:
        weight = _come_back(around[0], step, walk, point, instance, k0, k1, x, m)
        x[:] = m
        return weight
    if enters:
        number, sign = walk // np.uint64(2), 1.0 - 2.0 * (walk % np.uint64(2))
        if d > 3:
            unit_vector(FIRST, number, point, instance, k0, k1, n)
        n *= sign
        radius *= SHRUNK
    z2 = radius * radius * screening
    of_value, of_gradient = 1.0, 0.0
    if sources:
        s, logarithm = source_point(step, number, point, instance, k0, k1, m, sobol)
        m *= sign
        if enters or screening > 0.0:
            of_value, of_gradient = source_weight(d, s, logarithm, z2)
        event = np.empty(d + 2)
        event[:d] = x + radius * s * m
        event[d] = radius * radius / (2.0 * d) * (1.0 if enters else weight * of_value)
        event[d + 1] = 1.0 if enters else 0.0
        events.append(event)
    if enters:
        enter(d, n, m, radius, z2, of_value, of_gradient, first)
    x += radius * n
    if screening > 0.0 and not enters:
        weight = _survive(weight, d, z2, step, walk, point, instance, k0, k1)
    return weight


@jit
def step_all(ends, sees, around, half_discs, alive, x, radius, step, weight, walk, point, instance, k0, k1, epsilon, screening, pairs,
             sobol, max_steps, sources, words, first, facet, corner_weights, mark):  # fmt: skip
    """Make one step of the walks ``alive``. If ``ends`` has no rows, the domain is the unit ball.

    Returns the walks that continue, a table of source points (with weights, and whether they are in the first ball of a pair), and the walk
    of each source point. Distances are computed if ``sees``, otherwise read from ``radius``. A ``weight`` of 0 ends a walk. ``mark``: steps
    and flags of walks that ended. ``first`` (walks, 2 + 2 d): see ``enter``.
    """
    d = x.shape[1]
    sharing = 4 // (d - 1)
    n, m, going = np.empty(d), np.zeros(d), np.ones(len(alive), np.bool_)
    events, owner = [np.empty(d + 2) for _ in range(0)], [0 for _ in range(0)]
    for j in range(len(alive)):
        i, moved, landed = alive[j], False, False
        if sees:
            radius[i], facet[i] = see(ends, around[0] > 0.0, x[i], corner_weights[i])
        if d < 4 and step == 0:
            first_words(d, walk[i], point[i], instance, k0, k1, pairs, sobol, words[i])
        elif d < 4 and step % sharing == 0:
            words[i, 0], words[i, 1], words[i, 2], words[i, 3] = philox(np.uint64(step // sharing), walk[i], point[i], instance, k0, k1)
        if half_discs and step < max_steps and (step > 0 or (radius[i] > epsilon and not pairs)):
            direction(words[i, step % 4], words[i, step % 4], n)
            moved, landed = leave_half_disc(ends, facet[i], corner_weights[i], x[i], n, epsilon)
        if landed:
            mark[i], going[j] = step + 1, False
        elif moved:
            continue
        elif radius[i] <= epsilon or step >= max_steps or weight[i] == 0.0:
            mark[i], going[j] = step + (CUT_OFF if weight[i] > 0.0 and radius[i] > epsilon else 0), False
        else:
            weight[i] = make_step(
                around, x[i], radius[i], step, weight[i], walk[i], point[i], instance, k0, k1, screening, pairs, sources, words[i],
                n, m, first[i], events, sobol,
            )  # fmt: skip
            for _ in range(len(events) - len(owner)):
                owner.append(i)
    return alive[going], table_of(events, d + 2), np.array(owner, dtype=np.int64)


@jit
def table_of(rows, width):
    table = np.empty((len(rows), width))
    for i in range(len(rows)):
        table[i] = rows[i]
    return table


@jit
def end_all(ends, outside, x, weight, facet, corner_weights, mark, end):
    """Write the ends of walks on the boundary, and mark those that have left the box."""
    for i in range(len(x)):
        if weight[i] != 0.0:
            if is_solid(ends, x.shape[1]):
                beyond = beyond_field(ends, x[i])
                nearest_on_solid(ends, x[i], end[i])
            else:
                beyond = _beyond(x[i])
                point_on(ends[facet[i]], corner_weights[i], end[i])
            mark[i] += ESCAPED if beyond and not outside else 0
