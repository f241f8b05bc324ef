"""Walks on stars, one at a time in float64, from the definitions: Bessel functions, quadrature, tests of every wall. Also closed forms."""

import functools
import math

import numpy as np
from scipy.integrate import quad
from scipy.special import iv, kv

from wos.query.oracle import all_distances, on_segment, quarters
from wos.walk.oracle import moments, nodes, part_of, row_of, values
from wos.walk.replay import _uniform, _unit, greens, philox, remembered, source_radius, sphere_weights

TAU = 2 * np.pi


def corners(piece, d):
    """The corners of a segment or triangle."""
    return piece[: d * d].reshape(d, d)


def normal(piece, d):
    """The outward normal, and the length or twice the area."""
    return _normal(piece[: d * d].tobytes(), d)


@functools.lru_cache(1024)
def _normal(numbers, d):
    at = corners(np.frombuffer(numbers), d)
    e = at[1:] - at[0]
    n = np.array([e[0, 1], -e[0, 0]]) if d == 2 else np.cross(*e)
    size = np.sqrt(n @ n)
    return n / size, size


def nearest(pieces, x):
    """Distance, facet, weights of its corners except the first, and closest point."""
    (d2,), (weight,) = all_distances(pieces[:, : len(x) ** 2], x[None])
    k = int(d2.argmin())
    return np.sqrt(d2[k]), k, weight[k, 1:], weight[k] @ corners(pieces[k], len(x))


def from_side(x, side):
    """The distance from a point or a segment."""
    return np.sqrt(((x - side[0]) ** 2).sum() if len(side) == 1 else on_segment(x, *side)[0])


def through(d, r, R, screening):
    """The flux through the sphere of radius r around the pole of a ball's Green's function."""
    if screening == 0:
        return 1.0
    z, s = np.sqrt(screening) * np.array([R, r])
    if d == 2:
        return s * (kv(1, s) + iv(1, s) * kv(0, z) / iv(0, z))
    return (np.sinh(z - s) + s * np.cosh(z - s)) / np.sinh(z)


def ray(walls, x, d, limit, skip, end=np.inf):
    """The first wall through which the ray leaves the domain, and its distance. At ``end`` the ray must be outside by more than
    rounding."""
    hit, at = -1, limit
    for k, wall in enumerate(walls):
        n, _ = normal(wall, len(x))
        if k in skip or d @ n <= 1e-14:
            continue
        corner = corners(wall, len(x))
        t, *s = np.linalg.solve(np.stack([-d, *(corner[1:] - corner[0])], axis=1), x - corner[0])
        if -1e-13 < t <= at and min(*s, 1 - sum(s)) >= -1e-12 and (x + min(end, 10.0) * d - corner[0]) @ n > 1e-13:
            hit, at = k, t
    return hit, max(at, 0.0)


def sees(walls, x, k, z, own):
    r = np.sqrt(((z - x) ** 2).sum())
    return k == own or r < 1e-12 or ray(walls, x, (z - x) / r, r - 1e-12, (own,), r)[0] < 0


def chord(wall, x, R):
    """For a wall's line: the height of x above it, and its foot. Also the part in the disc, or None if x faces the back of the wall."""
    n, length = normal(wall, 2)
    p, foot = (wall[:2] - x) @ n, (x - wall[:2]) @ (wall[2:4] - wall[:2]) / length
    half = np.sqrt(max(R * R - p * p, 0))
    low, high = max(foot - half, 0), min(foot + half, length)
    return p, foot, (low, high) if -1e-13 <= p < R and low < high else None


def log_mass(p, t, R):
    """The integral of G along a line at height p, from the foot to t, by quadrature in the square root of the length."""
    mass = quad(lambda v: 2 * v * math.log(R / math.hypot(p, v * v)) / TAU, 0, math.sqrt(abs(t)), epsabs=1e-15, epsrel=1e-12, limit=400)[0]
    return mass if t > 0 else -mass


def facet_mass(wall, x, p, R):
    """The integral of G over a triangle in the ball around x, at height p above its plane, by quadrature over directions in that plane."""
    n, _ = normal(wall, 3)
    along = wall[3:6] - wall[:3]
    along /= np.sqrt(along @ along)
    corner = (corners(wall, 3) - x) @ np.stack([along, np.cross(n, along)], axis=1)  # relative to the foot of x

    def upto(rho):
        rho = min(rho, np.sqrt(R * R - p * p))
        return (np.hypot(rho, p) - p - rho**2 / (2 * R)) / (2 * TAU)

    def of_direction(angle):
        low, high, d = 0.0, np.inf, np.array([np.cos(angle), np.sin(angle)])
        for a, b in zip(corner, np.roll(corner, -1, axis=0)):
            inner = np.array([a[1] - b[1], b[0] - a[0]])
            toward, offset = inner @ d, inner @ a
            if toward == 0:
                high = high if offset <= 0 else -1.0
            elif toward > 0:
                low = max(low, offset / toward)
            else:
                high = min(high, offset / toward)
        return upto(high) - upto(low) if high > low else 0.0

    angles = [*np.arctan2(corner[:, 1], corner[:, 0])]
    for a, b in zip(corner, np.roll(corner, -1, axis=0)):  # points where a side leaves the ball
        inner = np.array([a[1] - b[1], b[0] - a[0]])
        nearest = inner @ a / (inner @ inner) * inner
        cosine = np.sqrt((nearest @ nearest) / (R * R - p * p))
        angles += [np.arctan2(nearest[1], nearest[0]) + side * np.arccos(min(cosine, 1.0)) for side in (-1, 1)]
    angles = np.unique(np.mod(angles, TAU))
    parts = zip(angles, [*angles[1:], angles[0] + TAU])
    return sum(quad(of_direction, a, b, epsabs=1e-14, epsrel=1e-12, limit=400)[0] for a, b in parts)


def robin_mass(walls, extent, x, R, own):
    total, d = 0.0, len(x)
    for k, wall in enumerate(walls):
        mu, (away, _, _, seen) = wall[d * d] * extent, nearest(wall[None], x)
        p = (wall[:d] - x) @ normal(wall, d)[0]
        if mu == 0 or away >= R or p < -1e-13:
            continue
        if d == 2:
            _, foot, part = chord(wall, x, R)
            seen = wall[:2] + 0.5 * sum(part) / normal(wall, 2)[1] * (wall[2:4] - wall[:2])
        if sees(walls, x, k, seen, own):
            p = max(p, 0.0)
            mass = facet_mass(wall, x, p, R) if d == 3 else log_mass(p, part[1] - foot, R) - log_mass(p, part[0] - foot, R)
            total += mass * mu / (1 + p * mu)
    return total


class Walk:
    """One walk. ``margin``: the smallest distance from a different decision."""

    def __init__(self, tables, frame, start, counter, seed, max_steps, pairs, endless, screening, wanted):
        self.segs, self.walls, self.edges = tables
        self.d = d = len(start)
        self.extent, self.epsilon = frame[d], frame[d + 1]
        self.screening, self.wanted = screening * self.extent**2, wanted
        self.counter, self.seed = counter, seed
        self.met = [[], [], [], [], []]  # for each kind of data: point, facet, position, weight; last, source points in the first ball
        self.margin, self.steps, self.cut = np.inf, 0, False
        self.x, self.weight, self.own = np.array(start, float), 1.0, -1
        self.along, self.toward = np.full(1 + d, np.nan), np.full(1 + d, np.nan)  # factors of contributions after the first ball and in it
        self.along[0], self.toward[0] = 1.0, 0.0
        away, k, _, _ = nearest(self.walls, self.x)
        if away < 4e-13:
            self.own = k
        self.near(self.from_absorbing() / self.epsilon - 1)
        if pairs and self.from_absorbing() > self.epsilon:
            self.near(away / self.epsilon - 1)
            if away > self.epsilon:
                self.leave(min(away, self.from_absorbing(), 2.0))
        while self.step(max_steps):
            pass
        distance, k, place, at = nearest(self.segs, self.x)
        self.cut = self.weight > 0 and distance > self.epsilon
        if self.weight > 0 and not endless:
            self.met[0].append((at, k, place, self.weight))

    def words(self, stream, step, walk=None):
        counter = (self.counter[0] if walk is None else walk, *self.counter[1:])
        return [np.float64(w) for w in philox((np.array(stream << 28 | step), *map(np.array, counter)), self.seed)]

    def from_absorbing(self):
        return nearest(self.segs, self.x)[0]

    def near(self, *margins):
        self.margin = min([self.margin, *np.abs(margins)])

    def mass(self, s, R):
        """The weight of a source point at radius s R, in the value and in the gradient."""
        g, slope = greens(self.d, R * s, R, self.screening)
        return np.array([g, slope]) * R * R / (2 * self.d) * self.extent**2 / greens(self.d, R * s, R, 0)[0]

    def leave(self, R):
        """Make the first step of a walk of a pair."""
        R = 0.99 * (min(R, 2 / np.sqrt(self.screening)) if self.screening else R)
        pair, sign = self.counter[0] // 2, 1 - 2 * (self.counter[0] % 2)
        w, v, b = self.words(4, 0, pair), self.words(1, 0, pair), self.words(1, 1 << 20, pair)
        n, s, m = _unit(*w[:2], self.d), source_radius(self.d, v), _unit(v[2], None, 2) if self.d == 2 else _unit(*b[:2], 3)
        n, m = sign * n, sign * m
        value, slope = sphere_weights(self.d, np.array(R), self.screening)
        self.along = np.concatenate([[value], slope * n / self.extent])
        g, of_slope = self.mass(s, R)
        self.toward = np.concatenate([[g], of_slope * m / self.extent])
        if self.wanted[1]:
            self.met[4].append((self.x + R * s * m, None, None, 1.0))
        self.x, self.own, self.steps = self.x + R * n, -1, 1

    def radius(self, distance):
        """The radius of the star, and the mass of the Robin walls in it."""
        d, R = self.d, min(distance, 2.0)
        for edge in self.edges:
            side, inner = edge[: d * (d - 1)].reshape(d - 1, d), edge[d * (d - 1) :].reshape(2, d)
            one, two = inner @ (self.x - side[0])
            away = from_side(self.x, side)
            if one * two <= 1e-13:
                R = min(R, away)
            elif away < R:
                self.near(one, two)
        R, reach = max(R, self.epsilon), 0.02
        if self.screening:
            m = np.sqrt(self.screening)
            R, reach = min(R, 2 / m), min(reach, 0.25 / m)
        with_mu = self.walls[self.walls[:, d * d] > 0]
        away = nearest(with_mu, self.x)[0] if len(with_mu) else np.inf
        if away > R:
            return R, 0.0
        R = min(R, max(away, reach))
        if away >= R:
            return R, 0.0
        self.near(*([away / R - 1] if away else []))
        mass = robin_mass(self.walls, self.extent, self.x, R, self.own)
        if self.screening:
            mass *= greens(d, 0.25 * R, R, self.screening)[0] / greens(d, 0.25 * R, R, 0)[0]
        return R, mass

    def step(self, max_steps):
        distance = self.from_absorbing()
        self.near(distance / self.epsilon - 1)
        if distance <= self.epsilon or self.steps >= max_steps or self.weight == 0:
            return False
        R, mass = self.radius(distance)
        factor = 2 if self.own >= 0 else 1
        self.weight /= 1 + factor * mass
        words = self.words(0, self.steps)
        d = _unit(*words[:2], self.d)
        if self.own >= 0:
            n, _ = normal(self.walls[self.own], self.d)
            self.near(d @ n)
            d = d if d @ n <= 0 else -d
        k, t = ray(self.walls, self.x, d, R, (self.own,))
        self.clear_of_sides(d, R)
        if self.wanted[1]:
            s = source_radius(self.d, words[1:] if self.d == 2 else self.words(1, self.steps))
            self.near(s * R / t - 1)
            if s * R < t:
                self.met[1].append((self.x + s * R * d, None, None, self.weight * self.mass(s, R)[0]))
        if self.wanted[2] or self.wanted[3]:
            self.flux(R, factor)
        t = R if k < 0 else t
        self.x = self.x + t * d
        self.weight *= through(self.d, t, R, self.screening)
        self.own = k
        if self.weight < 0.125:
            u = _uniform(words[3]) * 0.125
            self.near(u / self.weight - 1)
            self.weight = 0.125 if u < self.weight else 0.0
        self.steps += 1
        return True

    def clear_of_sides(self, d, R):
        """Update the margin by a quarter of the distance of the ray from wall sides and of its end from walls. A step may amplify
        rounding."""
        for k, wall in enumerate(self.walls):
            if k == self.own:
                continue
            n, _ = normal(wall, self.d)
            corner = corners(wall, self.d)
            self.near(0.25 * nearest(wall[None], self.x + R * d)[0])
            if abs(d @ n) < 1e-9:
                continue
            t = (corner[0] - self.x) @ n / (d @ n)
            if 0 < t < R:
                self.near(*(0.25 * from_side(self.x + t * d, np.roll(corner, i, axis=0)[:-1]) for i in range(self.d)))

    def likely(self, wall, R):
        if self.d == 2:
            p, foot, part = chord(wall, self.x, R)
            return 0.0 if part is None else (part[1] - part[0]) * (R * R - p * p - (foot - np.clip(foot, *part)) ** 2)
        n, twice = normal(wall, 3)
        up, away = (wall[:3] - self.x) @ n, nearest(wall[None], self.x)[0]
        return (R * R - away**2) * min(twice / 2, np.pi * (R * R - up * up)) if away < R and up > -1e-13 else 0.0

    def flux(self, R, held):
        u = [_uniform(w) for w in self.words(2, self.steps)]
        likely = np.array([self.likely(wall, R) for wall in self.walls])
        if likely.sum() == 0:
            return
        chances = likely / likely.sum()
        sums = np.cumsum(chances)
        self.near(*(sums[(sums > 0) & (sums < 1 - 1e-9)] - u[0]))
        chosen = int(np.searchsorted(sums, u[0]))
        wall = self.walls[chosen]
        z, place, density = (self.on_wall if self.d == 2 else self.on_facet)(wall, R, u)
        away = np.sqrt(((z - self.x) ** 2).sum())
        if density == 0 or not sees(self.walls, self.x, chosen, z, self.own):
            return
        w = self.weight * held * greens(self.d, away, R, self.screening)[0] / (chances[chosen] * density) * self.extent
        w /= 1 + max((wall[: self.d] - self.x) @ normal(wall, self.d)[0], 0.0) * wall[self.d**2] * self.extent
        self.met[3 if wall[self.d**2 + 1] else 2].append((z, chosen, place, w))

    def on_wall(self, wall, R, u):
        """A point on a segment, uniform on the chord with probability 1/2, otherwise concentrated near the foot. Also its position and
        density."""
        (p, foot, (a, b)), length = chord(wall, self.x, R), normal(wall, 2)[1]
        half = np.sqrt(R * R - p * p)
        t = a + 2 * u[1] * (b - a) if u[1] < 0.5 else foot + half * u[2] * u[3] * (1 if u[1] < 0.75 else -1)
        self.near((t - a) / R if t != a else 1, (t - b) / R if t != b else 1)
        density = (1 / (b - a) + np.log(half / abs(t - foot)) / (2 * half)) / 2 if a <= t <= b else 0
        return wall[:2] + t / length * (wall[2:4] - wall[:2]), np.array([t / length]), density

    def on_facet(self, wall, R, u):
        """A point on a triangle, either uniform or on a disc around the foot, concentrated near the foot."""
        corner, (n, twice) = corners(wall, 3), normal(wall, 3)
        sides = np.roll(corner, -1, axis=0) - corner
        first = int((sides**2).sum(axis=1).argmax())  # start of the longest side
        a, b, c = np.roll(corner, -first, axis=0)
        along = (b - a) / np.sqrt(((b - a) ** 2).sum())
        foot, area = self.x + (wall[:3] - self.x) @ n * n, twice / 2
        reach = min(np.sqrt(R * R - ((foot - self.x) ** 2).sum()), np.sqrt(((corner - foot) ** 2).sum(axis=1)).max())
        plain = np.pi * reach**2 / (np.pi * reach**2 + area)
        self.near(u[1] - plain)
        if u[1] < plain:
            root = np.sqrt(u[2])
            z = a + root * (1 - u[3]) * (b - a) + root * u[3] * (c - a)
        else:
            angle = TAU * (u[3] - 0.5 / 2**32)
            z = foot + reach * u[2] * (np.cos(angle) * along + np.sin(angle) * np.cross(n, along))
        weight = np.array([np.cross(q - p, z - p) @ n for p, q in zip(np.roll(corner, -1, axis=0), np.roll(corner, -2, axis=0))]) / twice
        away, rho = np.sqrt(((z - self.x) ** 2).sum()), np.sqrt(((z - foot) ** 2).sum())
        self.near(*weight, away / R - 1)
        inside = weight.min() >= 0 and away < R
        return z, weight[1:], plain / area + (1 - plain) / (TAU * reach * rho) if inside else 0


_walk = remembered(Walk, most=4096)


def walked(start, frame, arrays, b, n, w, seed, max_steps, pairs, endless, screening, wanted, first_instance=0, first_point=0):
    tables = [part_of(arrays[i], arrays[i + 1], b) for i in (0, 2, 4)]
    counter = (w, first_point + n, first_instance + b)
    return _walk(tables, frame[b], start[b, n], counter, seed % 2**64, max_steps, pairs, endless, screening, wanted)


def stars(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet=None, source=None, neumann=None, robin=None, *,
          dirichlet_kind="number", source_kind="none", neumann_kind="none", robin_kind="none", seed=0, first_walk=0, walks=64,
          max_steps=1024, gradient=False, screening=0.0, first_instance=0, first_point=0, endless=False):  # fmt: skip
    B, N, d = start.shape
    group, channels = (2, 1 + d) if gradient else (1, 1)
    arrays = (ends, first, walls, first_wall, corners, first_corner)
    kinds, data = (dirichlet_kind, source_kind, neumann_kind, robin_kind), (dirichlet, source, neumann, robin)
    wanted = [kind != "none" for kind in kinds]
    cut = nodes(first_walk // group, walks // group)
    mean, m2 = np.full((B, N, len(cut), channels), np.nan), np.full((B, N, len(cut), channels), np.nan)
    counts = np.zeros((B, N, 3), np.int64)
    for b in range(B):
        rows = [_row(numbers, b, met, arrays) for met, numbers in enumerate(data)]
        for n in range(N):
            if np.isnan(start[b, n, 0]):
                continue
            results = []
            for w in range(first_walk, first_walk + walks):
                one = walked(
                    start, frame, arrays, b, n, w, seed, max_steps, gradient, endless, screening, wanted, first_instance, first_point
                )
                sums = [_evaluated(kind, row, points, frame[b])
                        for kind, row, points in zip((*kinds, kinds[1]), (*rows, rows[1]), one.met)]  # fmt: skip
                results.append((sum(sums[:4]) * one.along + sums[4] * one.toward)[:channels])
                counts[b, n] += [one.steps, one.cut, 0]
            samples = np.array(results).reshape(1, -1, group, channels).mean(axis=2)
            (mean[b, n],), (m2[b, n],) = moments(samples, cut, start[b, n : n + 1])
    return mean, m2, counts


def _row(numbers, b, met, arrays):
    if numbers is None:
        return None
    first, table = (arrays[1], arrays[0]) if met < 2 else (arrays[3], arrays[2])
    if len(first) > 2 and len(numbers) == 1 and numbers.shape[1] == 2 * len(table):  # polygons
        return numbers[0, 2 * first[b] : 2 * first[b + 1]]
    return row_of(numbers, b)


def _evaluated(kind, row, points, frame):
    if not points or kind == "none":
        return 0.0
    X, piece, place, weight = (list(column) for column in zip(*points))
    d = len(frame) - 2
    if kind == "per_vertex":
        corner = row.reshape(-1, d)[np.array(piece)]
        result = corner[:, 0] + (np.array(place) * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
    else:
        result = values(kind, row, np.array(X), None, None, frame)
    return float((np.array(weight) * result).sum())


# ---------------------------------------------------------------- closed forms


def arc(radius, first, last, n):
    t = np.linspace(first, last, n + 1)
    return radius * np.stack([np.cos(t), np.sin(t)], axis=1)


def sector(inner, outer, angle, n):
    """A ring sector from the x axis to ``angle``: the outer arc of n segments, a radius, the inner arc of n, the other radius.

    With ``inner`` 0, the inner arc is the centre.
    """
    back = arc(inner, angle, 0, n) if inner else np.zeros((1, 2))
    return np.concatenate([arc(outer, 0, angle, n), back])


def corner_solution(X):
    """r^(2/3) cos(2 theta / 3) around 0, theta from the negative y axis: no flux through both walls at the corner of the L."""
    theta = np.mod(np.arctan2(X[..., 1], X[..., 0]) + TAU / 4, TAU)
    return np.hypot(X[..., 0], X[..., 1]) ** (2 / 3) * np.cos(2 * theta / 3)


# ---------------------------------------------------------------- meshes


def prism(ring, height, layers=1):
    """A closed mesh over a simple counter-clockwise polygon, whose triangles fan out from its first vertex.

    Returns V, F, and the side of every triangle: k for side k, -1 for the bottom, -2 for the top.
    """
    M = len(ring)
    levels = np.linspace(0, height, layers + 1)
    V = np.concatenate([np.column_stack([ring, np.full(M, z)]) for z in levels])
    k = np.arange(1, M - 1)
    top = np.stack([0 * k, k, k + 1], axis=1)
    side = []
    for layer in range(layers):
        a = np.arange(M) + layer * M
        b = np.roll(a, -1)
        side += [np.stack([a, b, b + M], axis=1), np.stack([a, b + M, a + M], axis=1)]
    F = np.concatenate([top[:, ::-1], top + layers * M, *side])
    on = np.concatenate([np.full(M - 2, -1), np.full(M - 2, -2), np.tile(np.arange(M), 2 * layers)])
    return V, F, on


def split(V, F, on):
    """Split every triangle into four."""
    return *quarters(V, F, lambda middle: middle), np.tile(on, 4)
