"""Reflecting triangles for many walks at once: the 3D counterpart of ``composition_walls``."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import added, chunk_slices
from ..query.composition import LIVE, Triangles, columns, point_on, shapes_of
from ..walk.composition_philox import direction
from .composition_walls import SLACK, Walls, _faced


class Facets(Walls):
    d = 3

    def prepare(self) -> None:
        r: Any = shapes_of(self.xp, self.table[:, :9])
        self.shapes, self.area = r, 0.5 * r.length * r.cy

    def squares(self, x: Any) -> Any:
        return self.shapes.foot(self.xp, [a[:, None] for a in columns(x)])[0]

    def silhouette(self, x: Any, radius: Any) -> Any:
        """(2) The distance to the closest silhouette edge, or ``radius``."""
        if self.corners is None:
            return radius
        xp, (c, mine) = self.xp, self.corners
        p = [x[:, k : k + 1] - c[:, k] for k in range(3)]
        one, two = (sum(p[k] * c[:, begin + k] for k in range(3)) for begin in (6, 9))
        e = [c[:, 3 + k] - c[:, k] for k in range(3)]
        s = xp.clip(sum(p[k] * e[k] for k in range(3)) / sum(part * part for part in e), min=0.0, max=1.0)
        d2 = sum((p[k] - s * e[k]) ** 2 for k in range(3))
        hides = ~_faced(one, two) & mine
        return xp.sqrt(xp.minimum(xp.min(xp.where(hides, d2, xp.full_like(d2, math.inf)), axis=1), radius * radius))

    def robin_mass(self, x: Any, R: Any, own: Any) -> Any:
        """(4), (5') The integral of G μ / (1 + p μ) over the visible parts of the triangles in the ball."""
        xp, r, b = self.xp, self.shapes, R[:, None]
        d2, foot = r.foot(xp, [a[:, None] for a in columns(x)])
        u, v, w = self.local(x[:, None, :] - r.a)
        p, mu, total = xp.clip(-w, min=0.0), self.mu * self.extent[:, None], None
        counts = (d2 < b * b) & (w < SLACK) & (mu > 0) & self.mine
        for some in chunk_slices(self.table.shape[0], 3 * LIVE * x.shape[0] * self.table.shape[0]):
            few = Triangles(*(part[some] for part in r))
            z = few.a + foot[0][:, some, None] * few.e + foot[1][:, some, None] * few.f
            seen = self.sees(x[:, None, :], z, self.number[some], own)
            mass = _ball_mass(xp, few, u[:, some], v[:, some], p[:, some], b) * mu[:, some] / (1.0 + p[:, some] * mu[:, some])
            total = added(total, xp.sum(xp.where(counts[:, some] & seen, mass, xp.zeros_like(mass)), axis=1))
        return total

    def inward(self, k: Any) -> Any:
        return -self.take(self.shapes.n, k)

    def turn_inward(self, n: Any, own: Any) -> Any:
        outward = (own >= 0) & (self.xp.sum(n * self.take(self.shapes.n, own), axis=1) > 0)
        return self.xp.where(outward[:, None], -n, n)

    def local(self, x: Any) -> tuple[Any, ...]:
        """Components (..., W) of vectors (..., W, 3) or (..., 1, 3) in each triangle's frame.

        The axes are along the first edge, across it in the plane, and along the normal.
        """
        return tuple(self.xp.sum(x * axis, axis=-1) for axis in (self.shapes.e, self.shapes.f, self.shapes.n))

    def hit(self, x: Any, n: Any, limit: Any, own: Any, end: Any) -> tuple[Any, Any]:
        """(8) The first triangle that the ray hits from inside before ``limit``, or -1, and t of the hit; ``end`` is beyond its plane."""
        xp, r = self.xp, self.shapes
        du, dv, dw = self.local(n[..., None, :])
        u, v, w = self.local(x[..., None, :] - r.a)
        towards = dw > 0
        dw = xp.where(towards, dw, xp.ones_like(dw))
        t = xp.clip(-w / dw, min=0.0)
        limit, end = limit[..., None], end if isinstance(end, float) else end[..., None]
        meets = towards & (w < SLACK) & (t <= limit) & ((end - t) * dw > SLACK)
        u, v = u + t * du, v + t * dv
        ex = r.cx - r.length
        of_bc = (ex * v - r.cy * (u - r.length)) / xp.sqrt(ex * ex + r.cy**2)
        of_ca = (r.cy * u - r.cx * v) / xp.sqrt(r.cx**2 + r.cy**2)
        meets = meets & (v >= -SLACK) & (of_bc >= -SLACK) & (of_ca >= -SLACK)
        return self.first_met(meets & self.may(meets, own), t, limit[..., 0])

    def draw(self, x: Any, R: Any, u: list[Any]) -> tuple[Any, ...]:
        """(6') The position on a triangle is given by the weights of its second and third corners."""
        xp, all_r = self.xp, self.shapes
        d2, R2 = self.squares(x), (R * R)[:, None]
        w = self.local(x[:, None, :] - all_r.a)[2]
        disc = math.pi * (R2 - w * w)
        likely = (R2 - d2) * xp.minimum(self.area + 0 * disc, disc)
        counts = (d2 < R2) & (disc > 0) & (w < SLACK) & self.mine
        wall, chance = self.drawn(xp.where(counts, likely, xp.zeros_like(likely)), u[0])
        k = xp.clip(wall, min=0)
        r, area = Triangles(*(xp.take(part, k, axis=0) for part in all_r)), xp.take(self.area, k, axis=0)
        away = x - r.a
        a, b, w = (xp.sum(away * axis, axis=1) for axis in (r.e, r.f, r.n))
        far2 = xp.maximum(xp.maximum(a * a + b * b, (r.length - a) ** 2 + b * b), (r.cx - a) ** 2 + (r.cy - b) ** 2)
        valid = wall >= 0
        reach = xp.sqrt(xp.where(valid, xp.minimum(R * R - w * w, far2), xp.ones_like(R)))
        plain = math.pi * reach**2 / (math.pi * reach**2 + area)
        root, n = xp.sqrt(u[2]), direction(xp, xp.floor(u[3] * 2.0**32), None, 2)
        uniform = u[1] < plain
        p = xp.where(uniform, root * (1.0 - u[3]) * r.length + root * u[3] * r.cx, a + reach * u[2] * n[:, 0])
        q = xp.where(uniform, root * u[3] * r.cy, b + reach * u[2] * n[:, 1])
        inside = (q >= 0) & ((r.cx - r.length) * q - r.cy * (p - r.length) >= 0) & (r.cy * p - r.cx * q >= 0)
        rho = xp.sqrt(xp.maximum((p - a) ** 2 + (q - b) ** 2, 1e-20 * reach**2))
        density = chance * (plain / area + (1.0 - plain) / (2.0 * math.pi * reach * rho))
        z = r.a + p[:, None] * r.e + q[:, None] * r.f
        green = lambda far: (1.0 / far - 1.0 / R) / (4.0 * math.pi)  # noqa: E731
        return wall, r.weights(xp, (p, q)), z, valid & (uniform | inside), density, green, xp.clip(-w, min=0.0) * self.take(self.mu, k)

    def land(self, x: Any, n: Any, t: Any, k: Any) -> Any:
        xp, at = self.xp, self.xp.clip(k, min=0)
        r = Triangles(*(xp.take(part, at, axis=0) for part in self.shapes))
        _, foot = r.foot(xp, columns(x + t[:, None] * n))
        return point_on(xp, self.table, at, r.weights(xp, foot))


def _ball_mass(xp: Any, r: Triangles, u: Any, v: Any, p: Any, R: Any) -> Any:
    """(5') The integral of G over the parts of triangles in the ball around a point at height p above each plane, with foot (u, v)."""
    total: Any = None
    for ax, ay, bx, by in ((0.0, 0.0, r.length, 0.0), (r.length, 0.0, r.cx, r.cy), (r.cx, r.cy, 0.0, 0.0)):
        length = xp.sqrt((bx - ax) ** 2 + (by - ay) ** 2)
        ex, ey = (bx - ax) / length, (by - ay) / length
        start, side = -(u - ax) * ex - (v - ay) * ey, (v - ay) * ex - (u - ax) * ey
        stop, h = length + start, xp.abs(side)
        half = xp.sqrt(xp.clip(R * R - p * p - h * h, min=0.0))
        low, high = (xp.minimum(xp.maximum(s, -half), half) for s in (start, stop))
        arc = (xp.atan2(stop, h) - xp.atan2(high, h)) + (xp.atan2(low, h) - xp.atan2(start, h))
        mass = _line(xp, p, h, high, R) - _line(xp, p, h, low, R) + arc * (R - p) ** 2 / (2.0 * R)
        total = added(total, xp.where(side >= 0, mass, -mass))
    return total / (4.0 * math.pi)


def _line(xp: Any, p: Any, h: Any, s: Any, R: Any) -> Any:
    """(5') The antiderivative along a line, at the position s."""
    q2 = h * h + p * p
    away = xp.sqrt(s * s + q2)
    rise = h * xp.asinh(s / xp.sqrt(xp.where(q2 > 0, q2, xp.ones_like(q2))))
    return rise + p * (xp.atan2(p * s, h * away) - xp.atan2(s, h)) - h * s / (2.0 * R)
