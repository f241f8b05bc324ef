"""Queries over all segments and triangles, with array API functions in float64. Equation numbers refer to csrc/wos/mesh/README.md.

Points of all instances are rows (P, d), processed in chunks, and compared with all M segments or triangles. Facets of other instances are
treated as infinitely far away, because a composition does not branch on ``first``. So a point costs B times as much with B instances.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..._array_tools import chunk_slices, double, nan_unless
from .composition_solids import is_solid, nearest_on_solid

HALF_SIDE = 0.5 * (1 + 2.0**-6)  # half of the box's side, with a margin
POLYGON_HALF = 0.4  # for walks outside a polygon, whose box is in the square from -0.4 to 0.4
LIVE = 16  # approximate number of array elements per point and segment or triangle


class Segments(NamedTuple):
    """Segments from a to a + e, arrays (M, 2)."""

    a: Any
    e: Any

    def foot(self, xp: Any, x: Any) -> tuple[Any, tuple[Any, ...]]:
        """Squared distances from points, given as a list of coordinates, and the position on each segment."""
        (ax, ay), (ex, ey) = (columns(part) for part in self)
        px, py = x[0] - ax, x[1] - ay
        t = xp.clip((px * ex + py * ey) / (ex * ex + ey * ey), min=0.0, max=1.0)
        dx, dy = px - t * ex, py - t * ey
        return dx * dx + dy * dy, (t,)

    def weights(self, xp: Any, at: tuple[Any, ...]) -> list[Any]:
        return list(at)


class Triangles(NamedTuple):
    """Triangles in the frame (1).

    The longest side goes from a along e, the opposite corner is at (cx, cy), and f and n complete the axes. ``rotation`` is the index of
    the corner a.
    """

    a: Any
    e: Any
    f: Any
    n: Any
    length: Any
    cx: Any
    cy: Any
    rotation: Any

    def foot(self, xp: Any, x: Any) -> tuple[Any, tuple[Any, ...]]:
        """(2) Squared distances from points, given as a list of coordinates, and the coordinates in each triangle's frame."""
        p = [x[k] - a for k, a in enumerate(columns(self.a))]
        u, v, w = (_dot(p, columns(axis)) for axis in (self.e, self.f, self.n))
        length, cx, cy = self.length, self.cx, self.cy
        zero = xp.zeros_like(u)
        inside = (v >= 0) & ((cx - length) * v - cy * (u - length) >= 0) & (cy * u - cx * v >= 0)
        nu, nv = xp.minimum(xp.maximum(u, zero), zero + length), zero
        planar = (u - nu) ** 2 + v * v
        for start, (sx, sy) in ((length, (cx - length, cy)), (zero, (cx, cy))):
            square = sx * sx + sy * sy
            apart = square > 0
            t = (sx * (u - start) + sy * v) / xp.where(apart, square, xp.ones_like(square))
            t = xp.where(apart, xp.clip(t, min=0.0, max=1.0), zero)
            pu, pv = start + t * sx, t * sy
            d2 = (u - pu) ** 2 + (v - pv) ** 2
            nearer = d2 < planar
            nu, nv, planar = xp.where(nearer, pu, nu), xp.where(nearer, pv, nv), xp.where(nearer, d2, planar)
        nu, nv, planar = xp.where(inside, u, nu), xp.where(inside, v, nv), xp.where(inside, zero, planar)
        return planar + w * w, (nu, nv)

    def weights(self, xp: Any, at: tuple[Any, ...]) -> list[Any]:
        """The weights of the second and third corners."""
        nu, nv = at
        has_area = self.cy > 0
        of_c = xp.clip(nv / xp.where(has_area, self.cy, xp.ones_like(nv)), min=0.0, max=1.0)
        of_c = xp.where(has_area, of_c, xp.zeros_like(nv))
        of_b = xp.minimum(xp.clip((nu - self.cx * of_c) / self.length, min=0.0), 1 - of_c)
        of_a = (1 - of_c) - of_b
        first = [xp.where(self.rotation == 0, of_b, xp.where(self.rotation == 1, of_a, of_c))]
        return [*first, xp.where(self.rotation == 0, of_c, xp.where(self.rotation == 1, of_b, of_a))]


def columns(a: Any) -> list[Any]:
    """The coordinates (...) of points (..., d)."""
    return [a[..., k] for k in range(a.shape[-1])]


def _dot(p: list[Any], q: list[Any]) -> Any:
    total = p[0] * q[0]
    for a, b in zip(p[1:], q[1:]):
        total = total + a * b
    return total


def _cross(p: list[Any], q: list[Any]) -> list[Any]:
    return [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]]


def shapes_of(xp: Any, ends: Any) -> Segments | Triangles:
    if ends.shape[1] == 4:
        return Segments(ends[:, :2], ends[:, 2:] - ends[:, :2])
    c = [ends[:, :3], ends[:, 3:6], ends[:, 6:]]
    rotation = xp.argmax(xp.stack([xp.sum((c[(k + 1) % 3] - c[k]) ** 2, axis=1) for k in range(3)], axis=1), axis=1)

    def corner(k: int) -> Any:
        at = rotation[:, None]
        return xp.where(at == 0, c[k], xp.where(at == 1, c[(k + 1) % 3], c[(k + 2) % 3]))

    a, e, w = corner(0), corner(1) - corner(0), corner(2) - corner(0)
    length = xp.sqrt(xp.sum(e * e, axis=1))
    e = e / length[:, None]
    cx = xp.sum(w * e, axis=1)
    f = w - cx[:, None] * e
    slip, cy = xp.sum(f * e, axis=1), xp.sqrt(xp.sum(f * f, axis=1))
    f = f - slip[:, None] * e
    size = xp.sqrt(xp.sum(f * f, axis=1))[:, None]
    f = f / xp.where(size > 0, size, xp.ones_like(size))
    return Triangles(a, e, f, xp.stack(_cross(columns(e), columns(f)), axis=1), length, cx, cy, rotation)


class Rows(NamedTuple):
    """Scaled points of all instances, (P, d). Points that are not finite are set to 0 and are not ``valid``.

    An instance has segments or triangles ``low`` to ``high``, or all of them if these are None.
    """

    x: Any
    valid: Any
    low: Any
    high: Any


def rows_of(xp: Any, x: Any, first: Any) -> Rows:
    """The rows of scaled points (B, N, d)."""
    B, N, d = x.shape
    x = xp.reshape(x, (B * N, d))
    valid = xp.all(xp.isfinite(x), axis=1)
    x = xp.where(valid[:, None], x, xp.zeros_like(x))
    if first is None or first.shape[0] == 2:
        return Rows(x, valid, None, None)
    low, high = (xp.reshape(xp.broadcast_to(a[:, None], (B, N)), (B * N,)) for a in (first[:-1], first[1:]))
    return Rows(x, valid, low, high)


def scaled(xp: Any, points: Any, frame: Any) -> Any:
    """The scaled points, (B, N, d)."""
    d = points.shape[-1]
    return (double(xp, points) - frame[:, None, :d]) / frame[:, None, -1:]


def belongs(xp: Any, rows: Rows, at: slice, count: int) -> Any:
    """Whether each segment or triangle belongs to a point's instance, (P, M). None if all do."""
    if rows.low is None:
        return None
    k = xp.arange(count, dtype=rows.low.dtype, device=rows.x.device)
    return (rows.low[at][:, None] <= k) & (k < rows.high[at][:, None])


def closest(xp: Any, ends: Any, rows: Rows, shapes: Segments | Triangles | None = None) -> tuple[Any, Any, list[Any]]:
    """Squared distance and index of each row's closest segment or triangle, and the weights of its corners after the first.

    ``shapes``: those of ``ends``, if already computed.
    """
    if not ends.shape[0]:  # no instances, so no points
        ends = xp.zeros((1, ends.shape[1]), dtype=ends.dtype, device=ends.device)
    shapes, M = shapes or shapes_of(xp, ends), ends.shape[0]
    results = []
    for at in chunk_slices(rows.x.shape[0], LIVE * M):
        x = columns(rows.x[at, :])
        d2, _ = shapes.foot(xp, [a[:, None] for a in x])
        mine = belongs(xp, rows, at, M)
        d2 = d2 if mine is None else xp.where(mine, d2, xp.full_like(d2, math.inf))
        k = xp.argmin(d2, axis=1)
        chosen = type(shapes)(*(xp.take(a, k, axis=0) for a in shapes))
        best, coordinates = chosen.foot(xp, x)
        results.append([best, xp.astype(k, xp.int64), *chosen.weights(xp, coordinates)])
    best, k, *weights = (xp.concat(list(parts), axis=0) for parts in zip(*results))
    return best, k, weights


def point_on(xp: Any, ends: Any, k: Any, weights: list[Any]) -> Any:
    """The points of segments or triangles with these weights of the corners after the first."""
    d = len(weights) + 1
    c = xp.take(ends, k, axis=0)
    at = c[:, :d]
    for j, w in enumerate(weights, 1):
        at = at + w[:, None] * (c[:, d * j : d * j + d] - c[:, :d])
    return at


def _crosses(xp: Any, ends: Any, x: list[Any]) -> Any:
    """Whether a ray from each point meets a segment."""
    ax, ay, bx, by = columns(ends)
    side = (bx - ax) * (x[1] - ay) - (x[0] - ax) * (by - ay)
    return ((ay <= x[1]) & (x[1] < by) & (side > 0)) | ((by <= x[1]) & (x[1] < ay) & (side < 0))


def _goes_through(xp: Any, ends: Any, x: list[Any]) -> Any:
    """(4) Whether the ray from each point in direction z crosses a triangle."""
    crossings, sides, x0, z0, x1, z1 = 0, 0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        p, q = ends[:, 3 * k : 3 * k + 3], ends[:, 3 * ((k + 1) % 3) : 3 * ((k + 1) % 3) + 3]
        meets = (p[:, 1] <= x[1]) != (q[:, 1] <= x[1])
        downwards = (p[:, 1] > q[:, 1])[:, None]
        a, b = (columns(c) for c in (xp.where(downwards, q, p), xp.where(downwards, p, q)))  # upwards
        side = (b[0] - a[0]) * (x[1] - a[1]) - (x[0] - a[0]) * (b[1] - a[1])
        rise = b[1] - a[1]
        t = (x[1] - a[1]) / xp.where(rise > 0, rise, xp.ones_like(rise))
        cross_x, cross_z = a[0] + t * (b[0] - a[0]), a[2] + t * (b[2] - a[2])
        crossings = crossings + xp.astype(meets & (side > 0), xp.int64)
        is_first = meets & (sides == 0)
        x0, z0 = xp.where(is_first, cross_x, x0 + 0 * cross_x), xp.where(is_first, cross_z, z0 + 0 * cross_z)
        x1, z1 = xp.where(meets, cross_x, x1 + 0 * cross_x), xp.where(meets, cross_z, z1 + 0 * cross_z)
        sides = sides + xp.astype(meets, xp.int64)
    apart = x1 != x0
    s = xp.clip((x[0] - x0) / xp.where(apart, x1 - x0, xp.ones_like(x1)), min=0.0, max=1.0)
    s = xp.where(apart, s, xp.full_like(s, 0.5))
    return (crossings == 1) & (z0 + s * (z1 - z0) > x[2])


def _half_angle(xp: Any, ends: Any, x: list[Any]) -> Any:
    """(5) Half of the solid angle of triangles."""
    a, b, c = ([ends[:, 3 * k + j] - x[j] for j in range(3)] for k in range(3))
    la, lb, lc = (xp.sqrt(_dot(v, v)) for v in (a, b, c))
    return xp.atan2(_dot(a, _cross(b, c)), la * lb * lc + _dot(a, b) * lc + _dot(b, c) * la + _dot(c, a) * lb)


def is_inside(xp: Any, label: str, ends: Any, rows: Rows, closed: bool) -> Any:
    """Whether points (P,) are inside the polygons, the mesh, or the solid."""
    if is_solid(ends, rows.x.shape[1]):
        return nearest_on_solid(xp, label, ends, rows.x)[0] < 0
    M, inside = ends.shape[0], []
    for at in chunk_slices(rows.x.shape[0], LIVE * M):
        x = [a[:, None] for a in columns(rows.x[at, :])]
        if ends.shape[1] == 9 and not closed:
            inside.append(xp.abs(xp.sum(_half_angle(xp, ends, x), axis=1)) >= math.pi)
            continue
        meets, mine = (_crosses if ends.shape[1] == 4 else _goes_through)(xp, ends, x), belongs(xp, rows, at, M)
        meets = meets if mine is None else meets & mine
        inside.append(xp.remainder(xp.sum(xp.astype(meets, xp.int64), axis=1), 2) == 1)
    return xp.concat(inside, axis=0)


def nearest(
    xp: Any, points: Any, frame: Any, ends: Any, first: Any, sign: bool, where: bool, weights: bool, closed: bool, boundary: Any = None
) -> Any:
    """Distances, and the optional results."""
    x, label = scaled(xp, points, frame), "wos.nearest"
    B, N, d = x.shape
    rows = rows_of(xp, x, first)
    of_corners: list[Any] = []
    if is_solid(ends, d):
        far, at, k = nearest_on_solid(xp, label, ends, rows.x)
        far = far if sign else xp.abs(far)
    else:
        d2, k, of_corners = closest(xp, ends, rows)
        far, at = xp.sqrt(d2), point_on(xp, ends, k, of_corners)
        far = xp.where(is_inside(xp, label, ends, rows, closed), -far, far) if sign else far
    results = [xp.astype(xp.reshape(nan_unless(xp, rows.valid, far), (B, N)) * frame[:, -1:], points.dtype), None, None, None]
    if where:
        at = xp.reshape(nan_unless(xp, rows.valid[:, None], at), (B, N, d))
        results[1] = xp.astype(frame[:, None, :d] + frame[:, None, -1:] * at, points.dtype)
        k = k if is_solid(ends, d) or rows.low is None else k - rows.low
        results[2] = xp.reshape(xp.where(rows.valid, k, xp.full_like(k, -1)), (B, N))
    if weights:
        rest = xp.ones_like(far)
        for w in of_corners:
            rest = xp.clip(rest - w, min=0.0)
        all_weights = nan_unless(xp, rows.valid[:, None], xp.stack([rest, *of_corners], axis=1))
        results[3] = xp.astype(xp.reshape(all_weights, (B, N, d)), points.dtype)
    return tuple(results)


def inside(xp: Any, points: Any, frame: Any, ends: Any, first: Any, closed: bool, boundary: Any = None) -> Any:
    """1 inside, 0 outside."""
    x = scaled(xp, points, frame)
    rows = rows_of(xp, x, first)
    contains = is_inside(xp, "wos.inside", ends, rows, closed) & rows.valid
    return xp.reshape(xp.astype(contains, xp.int64), x.shape[:2])
