"""Half discs on long segments: (24) of csrc/wos/walk/README.md, (4) and (5) of csrc/wos/polygon/README.md."""

import math

from ..._backends.numba import jit
from ..query.loops import segment_distance2
from .composition_domain import CLEAR_UP_TO, HIGHEST, MIN, ON_SEGMENT


@jit
def _clear_radius(ends, at, x, y):
    """The distance of a point on segment ``at`` to the closest of its ends and all other segments."""
    p = (x, y)
    e = ends[at]
    radius = min(math.hypot(x - e[0], y - e[1]), math.hypot(x - e[2], y - e[3]))
    for k in range(len(ends)):
        if k != at:
            radius = min(radius, math.sqrt(segment_distance2(ends[k], p)[0]))
    return radius


@jit
def half_discs_pay(ends, d, epsilon):
    """Whether the clearance at the segments' midpoints, averaged over the boundary, is at least epsilon^(1/3)."""
    if d != 2 or ends.shape[1] != 4 or len(ends) > CLEAR_UP_TO:
        return False
    total, weighted = 0.0, 0.0
    for k in range(len(ends)):
        e = ends[k]
        length = math.hypot(e[2] - e[0], e[3] - e[1])
        total += length
        weighted += length * _clear_radius(ends, k, 0.5 * (e[0] + e[2]), 0.5 * (e[1] + e[3]))
    return total > 0.0 and (weighted / total) ** 3 >= epsilon


@jit
def leave_half_disc(ends, at, weights, x, n, epsilon):
    """(5) Move x out of a half disc, in direction n. The closest boundary point is at fraction weights[0] of segment ``at``.

    Returns whether there is a half disc, and whether the walk exits through the segment, at the new weights[0].
    """
    e, t = ends[at], weights[0]
    ex, ey = e[2] - e[0], e[3] - e[1]
    length = math.hypot(ex, ey)
    ex, ey = ex / length, ey / length
    fx, fy = e[0] + t * length * ex, e[1] + t * length * ey
    side = (x[1] - fy) * ex - (x[0] - fx) * ey
    height = abs(side)
    if height <= ON_SEGMENT:
        return False, False
    R = _clear_radius(ends, at, fx, fy)
    if not max(MIN * epsilon, HIGHEST * height) <= R:
        return False, False
    y = height / R
    p, q = (1.0 - y * y) / (1.0 + y * y), 2.0 * y / (1.0 + y * y)
    c = n[0] if abs(n[0]) > 1e-30 else 1e-30
    ratio = (p - q) * (p + q) + 2.0 * p * q * (n[1] / c)
    if ratio >= 0.0:
        root = math.sqrt(ratio)
        along = (root - 1.0) / (root + 1.0)
        weights[0] = t + along * R / length
        x[0], x[1] = fx + R * along * ex, fy + R * along * ey
        return True, True
    along, up = (-ratio - 1.0) / (1.0 - ratio), math.copysign(2.0 * math.sqrt(-ratio) / (1.0 - ratio), side)
    x[0], x[1] = fx + R * (along * ex - up * ey), fy + R * (along * ey + up * ex)
    return True, False
