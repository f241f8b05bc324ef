"""Reflecting segments in plain loops and float64. Every query tests every wall and corner.

Equation numbers refer to csrc/wos/stars/README.md. With more than eight walls, the probabilities of drawing a point differ from those of
the tree: a flux then uses its random numbers differently, with the same mean.
"""

import math

import numpy as np

from ..._backends.numba import jit
from ..walk.loops_philox import source_weight
from .composition_walls import SLACK


@jit
def chosen(likely, u):
    """Draw an index with probabilities proportional to ``likely``, using u, uniform in (0, 1).

    Returns the index, or -1 if all weights are 0, and its probability.
    """
    total = 0.0
    for x in likely:
        total += x
    left, wall, chance = u * total, -1, 0.0
    for k in range(len(likely)):
        if likely[k] > 0.0:
            wall, chance = k, likely[k] / total
            left -= likely[k]
            if left < 0.0:
                break
    return wall, chance


@jit
def silhouette(corners, x, y, radius):
    """(2) The distance to the closest corner that may hide a wall, or ``radius``."""
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
def hit(walls, x, y, dx, dy, limit, own, end):
    """(7) The first wall that the ray hits from inside before ``limit``, or -1, and t of the hit. ``end`` lies beyond its line."""
    wall = -1
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
        if t <= 0.0:  # x is behind the wall by rounding, or does not hit it
            t, s = 0.0, -(px * ex + py * ey) / (length * length)
        meets = behind < SLACK and t <= limit and s >= -over and s <= 1.0 + over and (end - t) * det / length > SLACK
        if meets and (t < limit or wall < 0):
            wall, limit = k, t
    return wall, max(limit, 0.0)


@jit
def _clip(wall, x, y, R):
    """The part of a wall in the disc, as lengths from the wall's start.

    Also returns the foot of the perpendicular, the height of x, and whether x faces the wall.
    """
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
    """Whether x sees a point z on a wall. A wall does not hide z if z is behind it only by rounding."""
    dx, dy = zx - x, zy - y
    r = math.sqrt(dx * dx + dy * dy)
    if wall == own or r - 4 * SLACK <= 0.0:
        return True
    return hit(walls, x, y, dx / r, dy / r, r - 4 * SLACK, own, r)[0] < 0


@jit
def _line_mass(p, t, R):
    """(5) for t of either sign."""
    if p == 0.0 and t == 0.0:
        return 0.0
    r = math.sqrt(p * p + t * t)
    return (t * (math.log(R / r) + 1.0) - p * math.atan2(t, p)) / (2.0 * math.pi)


@jit
def robin_mass(walls, extent, x, y, R, own):
    """(4) The integral of G μ / (1 + p μ) over the visible parts of the walls in the disc."""
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
def _draw(walls, x, y, R, u):
    """(6) A point on the walls in the disc: wall, position, height, density. The wall is -1 if no wall meets the disc."""
    likely = np.empty(len(walls))
    for k in range(len(walls)):
        low, high, foot, p, faces = _clip(walls[k], x, y, R)
        off = max(low - foot, foot - high, 0.0)
        likely[k] = (high - low) * (R * R - p * p - off * off) if faces else 0.0
    wall, chance = chosen(likely, u[0])
    if wall < 0:
        return -1, 0.0, 0.0, 0.0
    low, high, foot, p, _ = _clip(walls[wall], x, y, R)
    half, length = math.sqrt(R * R - p * p), high - low
    t = low + 2.0 * u[1] * length if u[1] < 0.5 else foot + (half if u[1] < 0.75 else -half) * u[2] * u[3]
    if t < low or t > high:
        return -1, 0.0, 0.0, 0.0
    ex, ey = walls[wall, 2] - walls[wall, 0], walls[wall, 3] - walls[wall, 1]
    off = max(abs(t - foot), 1e-12 * half)
    density = 0.5 * chance * (1.0 / length + math.log(half / min(off, half)) / (2.0 * half))
    return wall, min(t / math.sqrt(ex * ex + ey * ey), 1.0), p, density


@jit
def point_on_walls(walls, extent, x, y, R, own, factor, u, screening):
    """(6) Wall, position and point, with an estimate of the integral of G over the walls. The wall is -1 if the point does not count."""
    wall, weight, height, density = _draw(walls, x, y, R, u)
    if wall < 0:
        return -1, 0.0, 0.0, 0.0, 0.0
    dx = walls[wall, 0] + weight * (walls[wall, 2] - walls[wall, 0]) - x
    dy = walls[wall, 1] + weight * (walls[wall, 3] - walls[wall, 1]) - y
    r = math.sqrt(dx * dx + dy * dy)
    if not 0.0 < r < R or not _sees(walls, x, y, x + dx, y + dy, wall, own):
        return -1, 0.0, 0.0, 0.0, 0.0
    s = r / R
    green = factor * -math.log(s) / (2.0 * math.pi) / density / (1.0 + height * walls[wall, 4] * extent)
    if screening > 0.0:
        green *= source_weight(2, s, -math.log(s), R * R * screening)[0]
    return wall, weight, x + dx, y + dy, green
