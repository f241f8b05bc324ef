"""Domains of walks with array API functions: distance and closest boundary point, half discs, and the sphere around the boundary.

Equation numbers refer to csrc/wos/walk/README.md, unless another method is named.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any

from ..._array_tools import chunk_slices, segment_sums
from ..data.composition import Points
from ..query.composition import HALF_SIDE, LIVE, POLYGON_HALF, Rows, Segments, belongs, closest, columns, point_on, shapes_of
from ..query.composition_solids import is_box, is_solid, nearest_on_solid, norm, radius_in_solid
from .composition_philox import _TURN, ROULETTE, Lanes, uniform

CLEAR_UP_TO, MIN, HIGHEST, ON_SEGMENT = 256, 16.0, 1.4, 1e-14  # as in csrc


class Domain:
    """The boundaries of the walks of a batch. A walk has segments ``low`` to ``high``, or all segments if these are None."""

    def __init__(self, xp: Any, label: str, ends: Any, low: Any, high: Any, outside: bool = False, reach: Any = 0.0) -> None:
        self.xp, self.label, self.ends, self.low, self.high = xp, label, ends, low, high
        self.outside, self.reach = outside, reach  # reach: (P,) scaled radius beyond which sources are 0, for walks outside

    def only(self, kept: Any) -> Domain:
        """The boundaries of the walks with these indices."""
        part = copy(self)
        for name in ("low", "high", "reach"):
            if getattr(getattr(self, name), "ndim", 0):
                setattr(part, name, self.xp.take(getattr(self, name), kept, axis=0))
        return part

    def is_solid(self, x: Any) -> bool:
        return is_solid(self.ends, x.shape[1])

    def rows(self, x: Any) -> Rows:
        return Rows(x, None, self.low, self.high)

    @property
    def shapes(self) -> Any:
        if not hasattr(self, "_shapes"):
            self._shapes = shapes_of(self.xp, self.ends)
        return self._shapes

    def see(self, x: Any) -> tuple[Any, Any, list[Any]]:
        """The distance to the boundary (P,), the closest segment or triangle, and the weights of its corners after the first.

        The distance is 0 outside the box.
        """
        xp = self.xp
        if self.is_solid(x):
            distance = radius_in_solid(xp, self.label, self.ends, x, self.outside)
            return distance, xp.zeros(x.shape[:1], dtype=xp.int64, device=x.device), []
        distance, k, weights = self.see_far(x)
        return distance if self.outside else xp.where(beyond_box(xp, x), xp.zeros_like(distance), distance), k, weights

    def see_far(self, x: Any) -> tuple[Any, Any, list[Any]]:
        """``see`` for segments or triangles, including outside the box."""
        d2, k, weights = closest(self.xp, self.ends, self.rows(x), self.shapes)
        return self.xp.sqrt(d2), k, weights

    def escaped(self, x: Any) -> Any:
        """Whether x has left the box that contains the domain."""
        xp, d = self.xp, x.shape[1]
        if self.outside or (self.is_solid(x) and (self.ends is None or is_box(self.ends, d))):
            return xp.zeros(x.shape[:1], dtype=xp.bool, device=x.device)
        if not self.is_solid(x):
            return beyond_box(xp, x)
        low, high = self.ends[0, 1 + d : 1 + 2 * d], self.ends[0, 1 + 2 * d : 1 + 3 * d]
        return xp.any((x < low) | (x > high), axis=1)

    def project(self, x: Any, k: Any, weights: list[Any]) -> Any:
        if self.is_solid(x):
            return nearest_on_solid(self.xp, self.label, self.ends, x)[1]
        return point_on(self.xp, self.ends, k, weights)

    def beyond_sphere(self, x: Any) -> Any:
        """Whether x is beyond the sphere around the boundary and the sources, solid README (4)."""
        return norm(self.xp, x) > self._sphere(x)[1]

    def return_to_sphere(self, x: Any, lanes: Lanes, step: int, n: Any) -> tuple[Any, Any]:
        """Solid README (4) to (7), (9): the point at which a walk beyond the sphere returns, and whether it returns.

        ``n``: the direction of the step, used in more than three dimensions.
        """
        xp = self.xp
        sphere, _ = self._sphere(x)
        r = norm(xp, x)
        ((w0, w1, w2, _),) = lanes.words(xp, ROULETTE + step)
        if x.shape[1] == 2:
            return _return_to_circle(xp, sphere, x, r, xp.astype(w2, xp.float64) * _TURN), r > 0
        u, angle = uniform(xp, w1), xp.astype(w2, xp.float64) * _TURN
        k, gap = sphere / r, (r - sphere) / r
        if x.shape[1] > 3:
            y = _end_of_chord(xp, x * (k / r)[:, None], n, gap * (1.0 + k), u)
            return sphere[:, None] * y, uniform(xp, w0) < k ** (x.shape[1] - 2.0)
        den = gap + 2.0 * k * u
        h = 2.0 * gap * gap * (1.0 - u) * (1.0 + k * u) / (den * den)
        away = xp.sqrt(xp.clip(h * (2.0 - h), min=0.0))
        e0, e1, e2 = columns(x / r[:, None])
        sign = xp.where(e2 < 0.0, xp.full_like(e2, -1.0), xp.ones_like(e2))
        a = -1.0 / (sign + e2)
        b = e0 * e1 * a
        c, s = away * xp.cos(angle), away * xp.sin(angle)
        y = [
            (1.0 - h) * e0 + c * (1.0 + sign * e0 * e0 * a) + s * b,
            (1.0 - h) * e1 + c * sign * b + s * (sign + e1 * e1 * a),
            (1.0 - h) * e2 - c * sign * e0 - s * e1,
        ]
        return xp.stack([sphere * x for x in y], axis=1), uniform(xp, w0) * r < sphere

    def _sphere(self, x: Any) -> tuple[Any, Any]:
        """The radius (P,) of the sphere, and the radius beyond which walks return to it."""
        xp, d = self.xp, x.shape[1]
        one, reach = xp.ones_like(x[:, 0]), self.reach + xp.zeros_like(x[:, 0])
        if self.ends is None:
            radius = xp.maximum(one, reach)
            return radius, xp.where(radius > 1.0, 1.0625 * radius, radius)
        if self.is_solid(x):
            inner = norm(xp, self.ends[:1, :] if is_box(self.ends, d) else self.ends[:1, 1 + 2 * d : 1 + 3 * d])
        else:
            inner = (0.5 if d == 3 else POLYGON_HALF) * math.sqrt(d) * one
        radius = xp.maximum(inner, reach)
        return radius, 1.0625 * radius


def _end_of_chord(xp: Any, a: Any, n: Any, product: Any, u: Any) -> Any:
    """Solid README (9): an end of the chord of the unit sphere through a along n. ``product``: 1 - |a|^2, the product of its two parts."""
    along = xp.sum(a * n, axis=1)
    far = xp.abs(along) + xp.sqrt(along * along + xp.clip(product, min=0.0))
    near = product / far
    forward, back = xp.where(along > 0, near, far), xp.where(along > 0, far, near)
    y = a + xp.where(u * (forward + back) < back, forward, -back)[:, None] * n
    return y / norm(xp, y)[:, None]


def _return_to_circle(xp: Any, radius: Any, x: Any, r: Any, angle: Any) -> Any:
    ax, ay = x[:, 0] * radius / (r * r), x[:, 1] * radius / (r * r)
    nx, ny = xp.cos(angle), xp.sin(angle)
    px, py, qx, qy = nx + ax, ny + ay, 1.0 + ax * nx + ay * ny, ax * ny - ay * nx
    scale = radius / (qx * qx + qy * qy)
    return xp.stack([(px * qx + py * qy) * scale, (py * qx - px * qy) * scale], axis=1)


def beyond_box(xp: Any, x: Any) -> Any:
    """Whether x is outside the box of the grid."""
    return xp.any(xp.abs(x) >= HALF_SIDE, axis=1)


class HalfDiscs:
    """(24), and polygon README (4), (5): half discs on long segments, for polygons with few segments."""

    def __init__(self, xp: Any, domain: Domain, pays: Any, epsilon: Any) -> None:
        self.xp, self.domain, self.pays, self.epsilon = xp, domain, pays, epsilon

    @staticmethod
    def pay(xp: Any, ends: Any, first: Any, at: Points, epsilon: Any) -> Any:
        """Whether the clearance at the segments' midpoints, averaged over the boundary, is at least epsilon^(1/3).

        One value per walk, or None if it is false for all walks.
        """
        d, count = at.x.shape[1], 0 if ends is None else ends.shape[0]
        if d != 2 or is_solid(ends, d) or (first.shape[0] == 2 and count > CLEAR_UP_TO):
            return None
        k = xp.arange(count, dtype=xp.int64, device=ends.device)
        owner = xp.clip(xp.searchsorted(first[1:], k, side="right"), max=first.shape[0] - 2)
        low, high = xp.take(first, owner, axis=0), xp.take(first, owner + 1, axis=0)
        a, b = ends[:, :2], ends[:, 2:]
        length, clear = norm(xp, b - a), _clear(xp, Domain(xp, "", ends, low, high), k, 0.5 * (a + b))
        sums = segment_sums(xp, xp.stack([length, length * clear], axis=1), first)
        few = first[1:] - first[:-1] <= CLEAR_UP_TO
        mean = xp.where(few, sums[:, 1] / sums[:, 0], xp.zeros_like(sums[:, 0]))
        return xp.take(mean, at.row if first.shape[0] > 2 else 0 * at.row, axis=0) ** 3 >= epsilon

    def leave(self, x: Any, n: Any, k: Any, t: Any) -> tuple[Any, Any, Any]:
        """Move x out of half discs, in direction n. The closest point to x is at fraction t of segment k.

        Returns whether there is a half disc, whether the walk exits through the segment, and the exit point.
        """
        xp = self.xp
        c = xp.take(self.domain.ends, k, axis=0)
        a, e = c[:, :2], c[:, 2:] - c[:, :2]
        length = norm(xp, e)
        e = e / length[:, None]
        foot = a + (t * length)[:, None] * e
        away = x - foot
        side = away[:, 1] * e[:, 0] - away[:, 0] * e[:, 1]
        height = xp.abs(side)
        R = _clear(xp, self.domain, k, foot)
        fits = self.pays & (height > ON_SEGMENT) & (xp.maximum(MIN * self.epsilon, HIGHEST * height) <= R)
        y = xp.where(fits, height / xp.where(fits, R, xp.ones_like(R)), xp.full_like(R, 0.5))
        p, q = (1.0 - y * y) / (1.0 + y * y), 2.0 * y / (1.0 + y * y)
        cosine = xp.where(xp.abs(n[:, 0]) > 1e-30, n[:, 0], xp.full_like(y, 1e-30))
        ratio = (p - q) * (p + q) + 2.0 * p * q * (n[:, 1] / cosine)
        lands, root = ratio >= 0.0, xp.sqrt(xp.abs(ratio))
        along = xp.where(lands, (root - 1.0) / (root + 1.0), (xp.abs(ratio) - 1.0) / (1.0 + xp.abs(ratio)))
        up = 2.0 * root / (1.0 + xp.abs(ratio))
        up = xp.where(lands, xp.zeros_like(up), xp.where(side < 0, -up, up))
        normal = xp.stack([-e[:, 1], e[:, 0]], axis=1)
        return fits, lands, foot + (R * along)[:, None] * e + (R * up)[:, None] * normal


def _clear(xp: Any, domain: Domain, k: Any, x: Any) -> Any:
    """The distance of points (P, 2) on segments k from the segment's ends and all other segments, whichever is closest."""
    shapes: Segments = domain.shapes
    M, nearest = domain.ends.shape[0], []
    number = xp.arange(M, dtype=xp.int64, device=x.device)
    for some in chunk_slices(x.shape[0], LIVE * M):
        d2, _ = shapes.foot(xp, [a[:, None] for a in columns(x[some, :])])
        others, of_its = number != k[some][:, None], belongs(xp, domain.rows(x), some, M)
        d2 = xp.where(others if of_its is None else others & of_its, d2, xp.full_like(d2, math.inf))
        nearest.append(xp.min(d2, axis=1))
    c = xp.take(domain.ends, k, axis=0)
    from_ends = xp.minimum(norm(xp, x - c[:, :2]), norm(xp, x - c[:, 2:]))
    return xp.minimum(from_ends, xp.sqrt(xp.concat(nearest, axis=0)))
