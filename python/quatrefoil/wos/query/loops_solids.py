"""Balls, boxes and signed distance fields in plain loops and float64. Equation numbers refer to csrc/wos/solid/README.md."""

import math

import numpy as np

from ..._backends.numba import jit
from .composition import POLYGON_HALF


@jit
def is_solid(ends, d):
    """Whether the table describes a solid: no row for the unit ball, otherwise one with half of a box's side lengths, or a field."""
    return len(ends) == 0 or ends.shape[1] != d * d


@jit
def _field(row, x, slopes):
    """(2) The field and its slopes in scaled coordinates. Outside its box, those at the closest point of the box."""
    d = x.size
    corner, fraction, steps = np.empty(d, np.int64), np.empty(d), np.empty(d)
    for i in range(d):
        last = row[1 + i] - 1.0
        steps[i] = last / (row[1 + 2 * d + i] - row[1 + d + i])
        t = min(max((x[i] - row[1 + d + i]) * steps[i], 0.0), last)
        corner[i] = min(int(t), int(last) - 1)
        fraction[i] = t - corner[i]
    value = 0.0
    slopes[:] = 0.0
    for bits in range(1 << d):
        node, weight = 0, 1.0
        for i in range(d):
            bit = bits >> (d - 1 - i) & 1
            node = node * int(row[1 + i]) + corner[i] + bit
            weight *= fraction[i] if bit else 1.0 - fraction[i]
        v = row[1 + 3 * d + node]
        value += weight * v
        for i in range(d):
            side = 1.0
            for j in range(d):
                bit = bits >> (d - 1 - j) & 1
                if j == i:
                    side *= 1.0 if bit else -1.0
                else:
                    side *= fraction[j] if bit else 1.0 - fraction[j]
            slopes[i] += side * v * steps[i]
    return value


@jit
def _project(row, x, at):
    """(3), at most eight steps. Returns the field at x."""
    d = x.size
    slopes = np.empty(d)
    at[:] = x
    first = 0.0
    for k in range(8):
        value = _field(row, at, slopes)
        if k == 0:
            first = value
        steepness = 0.0
        for i in range(d):
            steepness += slopes[i] * slopes[i]
        if not steepness > 1e-12 or abs(value) < 1e-14:
            break
        for i in range(d):
            at[i] = min(max(at[i] - value * slopes[i] / steepness, row[1 + d + i]), row[1 + 2 * d + i])
    return first


def is_function(ends, d):
    """Whether the field is a function, whose row has no nodes."""
    return ends.shape == (1, 2 + 4 * d) and ends[0, 1] == 0


class Distances:
    """A signed distance function at points (n, d) in scaled coordinates. Outside its box, it is called at the closest point of the box."""

    STEP = 1e-5

    def __init__(self, row, function):
        d = (len(row) - 2) // 4
        self.function, self.divisor, self.low, self.high = function, row[0], row[1 + d : 1 + 2 * d], row[1 + 2 * d : 1 + 3 * d]
        self.centre, self.extent = row[1 + 3 * d : 1 + 4 * d], row[-1]

    def __call__(self, x, step=0.0):
        return self.function(0, np.ascontiguousarray(self.centre + self.extent * (np.clip(x, self.low, self.high) + step))) / self.extent

    def radius(self, x, outside=False):
        """The radii of walks' balls: 0 outside the box or, for walks ``outside``, (8)."""
        if not outside:
            return np.where(self.beyond(x), 0.0, -self(x) / self.divisor)
        away = np.maximum(np.maximum(self.low - x, x - self.high), 0.0)
        return np.sqrt((away**2).sum(axis=1) + np.maximum(self(x) / self.divisor, 0.0) ** 2)

    def beyond(self, x):
        return ((x < self.low) | (x > self.high)).any(axis=1)

    def project(self, x):
        """(3) The field, and the closest points."""
        at, first = x.copy(), self(x) if len(x) else np.zeros(0)
        value, todo = first.copy(), np.ones(len(x), bool)
        for _ in range(8):
            slopes = (
                np.stack([(self(at, s) - self(at, -s)) / (2 * self.STEP) for s in self.STEP * np.eye(x.shape[1])], axis=1) if len(x) else x
            )
            steepness = (slopes**2).sum(axis=1)
            todo &= (steepness > 1e-12) & (np.abs(value) >= 1e-14)
            if not todo.any():
                break
            moved = np.clip(at - (value / np.where(steepness > 0, steepness, 1))[:, None] * slopes, self.low, self.high)
            at[todo] = moved[todo]
            value = self(at)
        return first, at


@jit
def length(x):
    r2 = 0.0
    for j in range(x.size):
        r2 += x[j] * x[j]
    return math.sqrt(r2)


@jit
def nearest_on_solid(ends, x, at):
    """The distance, negative inside, and the face of a box. Writes the closest point to ``at``."""
    d = x.size
    if len(ends) == 0:
        r = length(x)
        for j in range(d):
            at[j] = x[j] / r if r > 0.0 else (1.0 if j == 0 else 0.0)
        return r - 1.0, 0
    row = ends[0]
    if row.size != d:
        return _project(row, x, at), 0
    best, beyond2, axis = -1e300, 0.0, 0
    for j in range(d):
        excess = abs(x[j]) - row[j]
        if excess > best:
            best, axis = excess, j
        if excess > 0.0:
            beyond2 += excess * excess
        at[j] = min(max(x[j], -row[j]), row[j])
    if not best > 0.0:
        at[axis] = -row[axis] if x[axis] < 0.0 else row[axis]
    return (math.sqrt(beyond2) if best > 0.0 else best), 2 * axis + (0 if x[axis] < 0.0 else 1)


@jit
def radius_in_solid(ends, x, outside):
    """The radius of a walk's ball around x."""
    at = np.empty(x.size)
    if len(ends) and ends.shape[1] != x.size:
        value = _field(ends[0], x, at) / ends[0, 0]
        if not outside:
            return -value
        total = max(value, 0.0) ** 2
        for j in range(x.size):
            total += max(abs(x[j]) - ends[0, 1 + 2 * x.size + j], 0.0) ** 2
        return math.sqrt(total)
    distance, _ = nearest_on_solid(ends, x, at)
    return distance if outside else -distance


@jit
def beyond_field(ends, x):
    """Whether x is outside the box of a field."""
    d = x.size
    beyond = False
    if len(ends) and ends.shape[1] > d * d:
        for j in range(d):
            beyond = beyond or x[j] < ends[0, 1 + d + j] or x[j] > ends[0, 1 + 2 * d + j]
    return beyond


@jit
def sphere_around(ends, d, reach):
    """(4) The radius of a sphere around the boundary and the sources, and the radius beyond which walks return to it."""
    if len(ends) == 0:
        radius = 1.0
        if not reach > 1.0:
            return 1.0, 1.0
    elif ends.shape[1] == d:
        radius = length(ends[0])
    elif ends.shape[1] != d * d:
        radius = length(ends[0, 1 + 2 * d : 1 + 3 * d])
    else:
        radius = math.sqrt(0.75) if d == 3 else POLYGON_HALF * math.sqrt(2.0)
    radius = max(radius, reach)
    return radius, 1.0625 * radius


@jit
def return_to_circle(radius, x, angle, y):
    """(7) Write to y the point at which a walk in the plane returns from x, outside the circle."""
    r2 = x[0] * x[0] + x[1] * x[1]
    ax, ay, nx, ny = x[0] * radius / r2, x[1] * radius / r2, math.cos(angle), math.sin(angle)
    px, py, qx, qy = nx + ax, ny + ay, 1.0 + ax * nx + ay * ny, ax * ny - ay * nx
    scale = radius / (qx * qx + qy * qy)
    y[0], y[1] = (px * qx + py * qy) * scale, (py * qx - px * qy) * scale


@jit
def return_to_sphere(radius, x, u, angle, y):
    """(5), (6) Write to y the point at which a walk returns from x, outside the sphere."""
    r = length(x)
    k, gap = radius / r, (r - radius) / r
    den = gap + 2.0 * k * u
    h = 2.0 * gap * gap * (1.0 - u) * (1.0 + k * u) / (den * den)
    away = math.sqrt(max(h * (2.0 - h), 0.0))
    e0, e1, e2 = x[0] / r, x[1] / r, x[2] / r
    sign = -1.0 if e2 < 0.0 else 1.0
    a = -1.0 / (sign + e2)
    b = e0 * e1 * a
    c, s = away * math.cos(angle), away * math.sin(angle)
    y[0] = radius * ((1.0 - h) * e0 + c * (1.0 + sign * e0 * e0 * a) + s * b)
    y[1] = radius * ((1.0 - h) * e1 + c * sign * b + s * (sign + e1 * e1 * a))
    y[2] = radius * ((1.0 - h) * e2 - c * sign * e0 - s * e1)
