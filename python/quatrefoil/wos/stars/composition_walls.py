"""Reflecting walls in the plane, for many walks at once, with array API functions in float64.

Equation numbers refer to csrc/wos/stars/README.md. Every walk tests every wall and corner; walls of other instances are masked. A point on
the walls is drawn with the probabilities of (6) without a tree. With more than eight walls, a flux therefore uses its random numbers
differently from the kernels, with the same mean.
"""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import added, chunk_slices
from ..query.composition import LIVE, point_on
from ..query.composition_solids import norm
from ..walk.composition_balls import MAX_SCREENED, source_weight

SLACK, LARGEST, NOWHERE = 1e-13, 2.0, 1e30  # as in visibility.hpp and walker.hpp
ROBIN, ROBIN_SCREENED, EXCHANGED = 0.02, 0.25, 0.3


class Walls:
    """Reflecting walls.

    ``mine`` (P, W): which walls belong to a walk's instance. ``corners``: a table of corners and a mask like ``mine``, or None.
    ``absorbs``: whether any wall has a μ (4).
    """

    d = 2

    def __init__(self, xp: Any, table: Any, mine: Any, corners: Any, extent: Any, screening: Any, absorbs: bool) -> None:
        self.xp, self.table, self.mine, self.corners, self.absorbs = xp, table, mine, corners, absorbs
        self.extent, self.screening = extent, screening  # one value per walk
        self.number = xp.arange(table.shape[0], dtype=xp.int64, device=table.device)
        self.mu = xp.clip(table[:, self.d**2], min=0.0)
        self.exchange: Any = None  # in a medium, a bound on |ν_0| (12) and the constant part of ν_0 for each wall
        self.prepare()

    def prepare(self) -> None:
        self.a, self.e = self.table[:, :2], self.table[:, 2:4] - self.table[:, :2]
        self.length = norm(self.xp, self.e)

    def take(self, column: Any, k: Any) -> Any:
        """Entries of walls k (P,); k may be -1."""
        return self.xp.take(column, self.xp.clip(k, min=0), axis=0)

    def squares(self, x: Any) -> Any:
        """Squared distances (P, W)."""
        xp, px, py = self.xp, x[:, :1] - self.a[:, 0], x[:, 1:] - self.a[:, 1]
        ex, ey = self.e[:, 0], self.e[:, 1]
        t = xp.clip((px * ex + py * ey) / (self.length * self.length), min=0.0, max=1.0)
        return (px - t * ex) ** 2 + (py - t * ey) ** 2

    def nearest(self, x: Any, radius: Any, with_mu: bool = False) -> tuple[Any, Any]:
        """The closest wall within ``radius``, or -1, and its distance."""
        xp, d2, limit = self.xp, self.squares(x), radius * radius
        these = self.mine & (self.mu > 0) if with_mu else self.mine
        d2 = xp.where(these, d2, xp.full_like(d2, math.inf))
        best, k = xp.min(d2, axis=1), xp.astype(xp.argmin(d2, axis=1), xp.int64)
        return xp.where(best <= limit, k, xp.full_like(k, -1)), xp.sqrt(xp.minimum(best, limit + 0 * best))

    def silhouette(self, x: Any, radius: Any) -> Any:
        """(2) The distance to the closest silhouette corner, or ``radius``."""
        if self.corners is None:
            return radius
        xp, (c, mine) = self.xp, self.corners
        dx, dy = x[:, :1] - c[:, 0], x[:, 1:] - c[:, 1]
        hides = ~_faced(dx * c[:, 2] + dy * c[:, 3], dx * c[:, 4] + dy * c[:, 5]) & mine
        d2 = dx * dx + dy * dy
        return xp.sqrt(xp.minimum(xp.min(xp.where(hides, d2, xp.full_like(d2, math.inf)), axis=1), radius * radius))

    def star(self, x: Any, distance: Any, epsilon: Any, own: Any) -> tuple[Any, Any]:
        """The radius of the star, and the mass (4) of walls with a μ in it, or None without such walls."""
        xp, max_radius, reach = self.xp, self.limit(), ROBIN
        R = xp.maximum(epsilon, self.silhouette(x, xp.clip(distance, max=LARGEST)))
        if max_radius is not None:
            R, reach = xp.minimum(R, max_radius), xp.clip(max_radius * (ROBIN_SCREENED / MAX_SCREENED), max=ROBIN)
        if self.exchange is not None:
            largest = (
                xp.max(xp.where(self.mine, self.exchange[:, 0] + 0 * self.extent[:, None], 0 * self.extent[:, None]), axis=1) * self.extent
            )
            R = xp.where(largest > 0, xp.minimum(R, EXCHANGED / xp.where(largest > 0, largest, xp.ones_like(largest))), R)
        if not self.absorbs:
            return R, None
        wall, away = self.nearest(x, R, True)
        R = xp.where(wall >= 0, xp.minimum(R, xp.maximum(away, reach + 0 * away)), R)
        mass = self.robin_mass(x, R, own)
        if max_radius is not None:
            mass = mass * source_weight(self.d, 0.25, 1.3862943611198906, R * R * self.screening)[0]
        return R, xp.where((wall >= 0) & (away < R), mass, xp.zeros_like(mass))

    def limit(self) -> Any:
        """The largest radius with screening. None without screening."""
        if self.screening is None:
            return None
        screened = self.screening > 0
        radius = MAX_SCREENED / self.xp.sqrt(self.xp.where(screened, self.screening, self.xp.ones_like(self.screening)))
        return self.xp.where(screened, radius, self.xp.full_like(radius, NOWHERE))

    def exchanged(self, k: Any) -> Any:
        """The bounds on |ν_0| (12) and the constant parts of ν_0 of walls k, (P, 2) in scaled units."""
        return self.take(self.exchange, k) * self.extent[:, None]

    def inward(self, k: Any) -> Any:
        """Inward normals (P, 2) of walls k."""
        e = self.take(self.e, k) / self.take(self.length, k)[:, None]
        return self.xp.stack([-e[:, 1], e[:, 0]], axis=1)

    def turn_inward(self, n: Any, own: Any) -> Any:
        """n, reflected if it points outward from the wall that the walk is on."""
        e = self.take(self.e, own)
        outward = (own >= 0) & (n[:, 1] * e[:, 0] - n[:, 0] * e[:, 1] < 0)
        return self.xp.where(outward[:, None], -n, n)

    def hit(self, x: Any, n: Any, limit: Any, own: Any, end: Any) -> tuple[Any, Any]:
        """(7) The first wall that the ray hits from inside before ``limit``, or -1, and t of the hit. ``end`` lies beyond its line.

        Points and directions are (..., 2), with the walks along the first axis.
        """
        xp = self.xp
        ex, ey, length = self.e[:, 0], self.e[:, 1], self.length
        dx, dy, px, py = n[..., :1], n[..., 1:], self.a[:, 0] - x[..., :1], self.a[:, 1] - x[..., 1:]
        det = dx * ey - dy * ex
        towards = det > 0
        det = xp.where(towards, det, xp.ones_like(det))
        t, s = (px * ey - py * ex) / det, (px * dy - py * dx) / det
        behind, over = -t * det / length, SLACK / length
        s = xp.where(t <= 0, -(px * ex + py * ey) / (length * length), s)  # x is behind the wall by rounding, or does not hit it
        t = xp.clip(t, min=0.0)
        limit, end = limit[..., None], end if isinstance(end, float) else end[..., None]
        meets = towards & (behind < SLACK) & (t <= limit) & (s >= -over) & (s <= 1.0 + over) & ((end - t) * det / length > SLACK)
        return self.first_met(meets & self.may(meets, own), t, limit[..., 0])

    def may(self, like: Any, own: Any) -> Any:
        """A mask (P, ..., W): walls of each walk's instance, except the wall that the walk is on."""
        may = self.mine & (self.number != own[:, None])
        return self.xp.reshape(may, (may.shape[0], *[1] * (len(like.shape) - 2), may.shape[1]))

    def first_met(self, meets: Any, t: Any, limit: Any) -> tuple[Any, Any]:
        xp = self.xp
        t = xp.where(meets, t, xp.full_like(t, math.inf))
        best, k = xp.min(t, axis=-1), xp.astype(xp.argmin(t, axis=-1), xp.int64)
        hit = best < math.inf
        return xp.where(hit, k, xp.full_like(k, -1)), xp.clip(xp.where(hit, best, limit), min=0.0)

    def sees(self, x: Any, z: Any, wall: Any, own: Any) -> Any:
        """Whether x sees points z on walls. A wall does not hide z if z is behind it only by rounding."""
        xp = self.xp
        r = norm(xp, z - x)
        at_hand = r - 4 * SLACK <= 0
        r = xp.where(at_hand, xp.ones_like(r), r)
        hidden = self.hit(x, (z - x) / r[..., None], r - 4 * SLACK, own, r)[0] >= 0
        own = xp.reshape(own, (own.shape[0], *[1] * (len(r.shape) - 1)))
        return (wall == own) | at_hand | ~hidden

    def _clip(self, x: Any, R: Any) -> tuple[Any, ...]:
        """The parts (P, W) of walls in the disc, as lengths from the walls' starts.

        Also returns the feet of the perpendiculars, the heights of x, and whether x faces the walls.
        """
        xp, px, py = self.xp, x[:, :1] - self.a[:, 0], x[:, 1:] - self.a[:, 1]
        ex, ey, length = self.e[:, 0], self.e[:, 1], self.length
        foot, height = (px * ex + py * ey) / length, (py * ex - px * ey) / length
        half2 = R[:, None] ** 2 - height * height
        half = xp.sqrt(xp.clip(half2, min=0.0))
        low, high = xp.clip(foot - half, min=0.0), xp.minimum(foot + half, length + 0 * foot)
        faces = (half2 > 0) & (height > -SLACK) & (low < high) & self.mine
        zero = xp.zeros_like(low)
        return xp.where(faces, low, zero), xp.where(faces, high, zero), foot, xp.clip(height, min=0.0), faces

    def robin_mass(self, x: Any, R: Any, own: Any) -> Any:
        """(4), (5) The integral of G μ / (1 + p μ) over the visible parts of the walls in the disc."""
        xp, (low, high, foot, p, faces) = self.xp, self._clip(x, R)
        mu = self.mu * self.extent[:, None]
        at = 0.5 * (low + high) / self.length
        total: Any = None
        for some in chunk_slices(self.table.shape[0], LIVE * x.shape[0] * self.table.shape[0]):
            z = self.a[some, :] + at[:, some][:, :, None] * self.e[some, :]
            seen = self.sees(x[:, None, :], z, self.number[some], own)
            counts = faces[:, some] & (mu[:, some] > 0) & seen
            q, b = p[:, some], R[:, None]
            mass = _line_mass(xp, q, high[:, some] - foot[:, some], b) - _line_mass(xp, q, low[:, some] - foot[:, some], b)
            mass = mass * mu[:, some] / (1.0 + q * mu[:, some])
            total = added(total, xp.sum(xp.where(counts, mass, xp.zeros_like(mass)), axis=1))
        return total

    def drawn(self, likely: Any, u: Any) -> tuple[Any, Any]:
        """A wall drawn with probabilities proportional to ``likely`` (P, W), and its probability. The wall is -1 if all weights are 0."""
        xp = self.xp
        upto = xp.cumulative_sum(likely, axis=1)
        total = upto[:, -1]
        k = xp.sum(xp.astype(upto <= (u * total)[:, None], xp.int64), axis=1)
        last = likely.shape[1] - 1 - xp.astype(xp.argmax(xp.flip(xp.astype(likely > 0, xp.int64), axis=1), axis=1), xp.int64)
        k = xp.minimum(k, last)
        one = self.column(likely, k) / xp.where(total > 0, total, xp.ones_like(total))
        return xp.where(total > 0, k, xp.full_like(k, -1)), one

    def column(self, rows: Any, k: Any) -> Any:
        """Entry k (P,) of every row of (P, W)."""
        chosen = self.number == k[:, None]
        return self.xp.sum(self.xp.where(chosen, rows, self.xp.zeros_like(rows)), axis=1)

    def flux(self, x: Any, R: Any, own: Any, factor: Any, u: list[Any]) -> tuple[Any, list[Any], Any]:
        """(6), (6') Wall and position of a point on the walls, and an estimate of the integral of G over them.

        The wall is -1 if the point does not count.
        """
        xp, (wall, corner_weights, z, valid, density, green, mu) = self.xp, self.draw(x, R, u)
        r = norm(xp, z - x)
        valid = valid & (r > 0) & (r < R)
        r = xp.where(valid, r, 0.5 * R)
        valid = valid & self.sees(x, z, xp.clip(wall, min=0), own)
        weight = factor * green(r) / xp.where(valid, density, xp.ones_like(density))
        weight = weight / (1.0 + mu * self.extent)
        if self.screening is not None:
            weight = weight * source_weight(self.d, r / R, -xp.log(r / R), R * R * self.screening)[0]
        return xp.where(valid, wall, xp.full_like(wall, -1)), corner_weights, weight

    def draw(self, x: Any, R: Any, u: list[Any]) -> tuple[Any, ...]:
        """Wall, position, point, whether there is one, its density, G as a function of the distance, and μ times the height of x."""
        xp, (low, high, foot, p, faces) = self.xp, self._clip(x, R)
        off = xp.maximum(xp.maximum(low - foot, foot - high), xp.zeros_like(foot))
        likely = (high - low) * (R[:, None] ** 2 - p * p - off * off)
        wall, chance = self.drawn(xp.where(faces, xp.clip(likely, min=0.0), xp.zeros_like(likely)), u[0])
        k = xp.clip(wall, min=0)
        low, high, foot, p = (self.column(part, k) for part in (low, high, foot, p))
        valid = wall >= 0
        half = xp.sqrt(xp.where(valid, R * R - p * p, xp.ones_like(R)))
        length = xp.where(valid, high - low, xp.ones_like(low))
        side = xp.where(u[1] < 0.75, half, -half)
        t = xp.where(u[1] < 0.5, low + 2.0 * u[1] * length, foot + side * u[2] * u[3])
        valid = valid & (t >= low) & (t <= high)
        away = xp.maximum(xp.abs(t - foot), 1e-12 * half)
        density = 0.5 * chance * (1.0 / length + xp.log(half / xp.minimum(away, half)) / (2.0 * half))
        weight = xp.clip(t / self.take(self.length, k), max=1.0)
        z = self.take(self.a, k) + weight[:, None] * self.take(self.e, k)
        return wall, [weight], z, valid, density, lambda r: -xp.log(r / R) / (2.0 * math.pi), p * self.take(self.mu, k)

    def point(self, k: Any, weights: list[Any]) -> Any:
        return point_on(self.xp, self.table, self.xp.clip(k, min=0), weights)

    def land(self, x: Any, n: Any, t: Any, k: Any) -> Any:
        """The point of wall k that the ray meets."""
        xp, a, e = self.xp, self.take(self.a, k), self.take(self.e, k)
        where = xp.sum((x + t[:, None] * n - a) * e, axis=1) / xp.sum(e * e, axis=1)
        return a + xp.clip(where, min=0.0, max=1.0)[:, None] * e


def _faced(one: Any, two: Any) -> Any:
    """Whether x faces both walls of a corner or edge, or neither."""
    return ((one > SLACK) & (two > SLACK)) | ((one < -SLACK) & (two < -SLACK))


def _line_mass(xp: Any, p: Any, t: Any, R: Any) -> Any:
    """(5) for t of either sign."""
    r = xp.sqrt(p * p + t * t)
    apart = r > 0
    mass = (t * (xp.log(R / xp.where(apart, r, xp.ones_like(r))) + 1.0) - p * xp.atan2(t, p)) / (2.0 * math.pi)
    return xp.where(apart, mass, xp.zeros_like(mass))
