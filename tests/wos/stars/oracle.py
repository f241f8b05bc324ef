"""Walks on stars one by one in float64, from the definitions: Bessel functions, quadrature, every wall asked; and closed forms."""

import functools

import numpy as np
from scipy.integrate import quad
from scipy.special import iv, kv

from wos.walk.oracle import gates, inside, nodes, row_of, values
from wos.walk.replay import closest, greens, philox, sphere_weights

__all__ = ["gates", "inside", "stars"]

TAU = 2 * np.pi


def green(r, R, screening):
    """Of a disc of radius R, its pole at the centre."""
    if screening == 0:
        return np.log(R / r) / TAU
    m = np.sqrt(screening)
    return (kv(0, m * r) - iv(0, m * r) * kv(0, m * R) / iv(0, m * R)) / TAU


def through(r, R, screening):
    """What passes through a circle of radius r around the pole: -2 pi r dG/dr."""
    if screening == 0:
        return 1.0
    m = np.sqrt(screening)
    return m * r * (kv(1, m * r) + iv(1, m * r) * kv(0, m * R) / iv(0, m * R))


def height(wall, x):
    """Above the line of a wall, whose left is the domain; and the place of the foot on it, as a length; its length."""
    e = wall[2:4] - wall[:2]
    length = np.hypot(*e)
    return (e[0] * (x[1] - wall[1]) - e[1] * (x[0] - wall[0])) / length, (x - wall[:2]) @ e / length, length


def ray(walls, x, d, limit, skip, end=np.inf):
    """The first wall that the ray leaves the domain through, and where; at ``end`` it must have left it by more than rounding."""
    found, at = -1, limit
    for k, wall in enumerate(walls):
        e = wall[2:4] - wall[:2]
        matrix = np.array([d, -e]).T
        if k in skip or d[0] * e[1] - d[1] * e[0] <= 1e-14:
            continue
        t, s = np.linalg.solve(matrix, wall[:2] - x)
        if -1e-13 < t <= at and -1e-12 <= s <= 1 + 1e-12 and height(wall, x + min(end, 10.0) * d)[0] < -1e-13:
            found, at = k, t
    return found, max(at, 0.0)


def sees(walls, x, k, z, own):
    r = np.hypot(*(z - x))
    return k == own or r < 1e-12 or ray(walls, x, (z - x) / r, r - 1e-12, (own,), r)[0] < 0


def chord(wall, x, R):
    """The part of a wall in the disc, as lengths; None where there is none or x looks at its back."""
    p, foot, length = height(wall, x)
    if p < -1e-13 or p >= R:
        return None
    half = np.sqrt(R * R - p * p)
    low, high = max(foot - half, 0), min(foot + half, length)
    return (low, high) if low < high else None


def log_mass(p, t, R):
    """The integral of G along a line at the height p, from the foot to t, by quadrature in the square root of the length."""
    found = quad(lambda v: 2 * v * np.log(R / np.hypot(p, v * v)) / TAU, 0, np.sqrt(abs(t)), epsabs=1e-15, epsrel=1e-12, limit=400)[0]
    return found if t > 0 else -found


def robin_mass(walls, extent, x, R, own):
    total = 0.0
    for k, wall in enumerate(walls):
        mu, part = wall[4] * extent, chord(wall, x, R)
        if mu == 0 or part is None:
            continue
        p, foot, length = height(wall, x)
        middle = wall[:2] + 0.5 * sum(part) / length * (wall[2:4] - wall[:2])
        if sees(walls, x, k, middle, own):
            p = max(p, 0.0)
            mass = log_mass(p, part[1] - foot, R) - log_mass(p, part[0] - foot, R)
            total += mass * mu / (1 + p * mu)
    return total


class Walk:
    """One walk. ``margin``: how near a decision was to another one."""

    def __init__(self, tables, frame, start, counter, seed, max_steps, pairs, endless, screening, wanted):
        self.segs, self.walls, self.corners = tables
        self.d = d = len(start)
        self.extent, self.epsilon = frame[d], frame[d + 1]
        self.screening, self.wanted = screening * self.extent**2, wanted
        self.counter, self.seed = counter, seed
        self.met = [[], [], [], [], []]  # for each kind of data: point, segment, place, weight; source points in the first ball
        self.margin, self.steps, self.cut = np.inf, 0, False
        self.x, self.weight, self.own = np.array(start, float), 1.0, -1
        self.along, self.toward = np.full(1 + d, np.nan), np.full(1 + d, np.nan)  # what is met after the first ball and in it counts
        self.along[0], self.toward[0] = 1.0, 0.0
        k, away = self.nearest_wall()
        if away < 4e-13:
            self.own = k
        self.near(self.from_absorbing() / self.epsilon - 1)
        if pairs and self.from_absorbing() > self.epsilon:
            self.near(away / self.epsilon - 1)
            if away > self.epsilon:
                self.leave(min(away, self.from_absorbing(), 2.0))
        while self.step(max_steps):
            pass
        distance, k, place, at = self.closest()
        self.cut = self.weight > 0 and distance > self.epsilon
        if self.weight > 0 and not endless:
            self.met[0].append((at, k, place, self.weight))

    def words(self, stream, step, walk=None):
        counter = (self.counter[0] if walk is None else walk, *self.counter[1:])
        return [int(w) for w in philox((np.array(stream << 28 | step), *map(np.array, counter)), self.seed)]

    def leave(self, R):
        """The first step of a walk of a pair."""
        R = 0.99 * (min(R, 2 / np.sqrt(self.screening)) if self.screening else R)
        pair, sign = self.counter[0] // 2, 1 - 2 * (self.counter[0] % 2)
        w, v, b = self.words(4, 0, pair), self.words(1, 0, pair), self.words(1, 1 << 20, pair)
        n, s, m = self.unit(*w[:2]), *self.source(v, b)
        n, m = sign * n, sign * m
        value, slope = sphere_weights(self.d, np.array(R), self.screening)
        self.along = np.concatenate([[value], slope * n / self.extent])
        g, of_slope = greens(self.d, R * s, R, self.screening)
        mass = R * R / (2 * self.d) * self.extent**2 / greens(self.d, R * s, R, 0)[0]
        self.toward = np.concatenate([[g], of_slope * m / self.extent]) * mass
        if self.wanted[1]:
            self.met[4].append((self.x + R * s * m, None, None, 1.0))
        self.x, self.own, self.steps = self.x + R * n, -1, 1

    def nearest_wall(self):
        away, k, _, _ = closest(self.walls[:, :4], self.x[None])
        return k[0], away[0]

    def closest(self):
        distance, k, place, at = (a[0] for a in closest(self.segs, self.x[None]))
        return distance, k, place, at

    def from_absorbing(self):
        return self.closest()[0]

    def unit(self, word, _):
        return np.array([np.cos(TAU * word / 2**32), np.sin(TAU * word / 2**32)])

    def source(self, words, _):
        return np.sqrt((words[0] + 0.5) * (words[1] + 0.5)) / 2**32, self.unit(words[2], None)

    def near(self, *margins):
        self.margin = min([self.margin, *np.abs(margins)])

    def radius(self, distance):
        R = min(distance, 2.0)
        for corner in self.corners:
            one, two = (self.x - corner[:2]) @ corner[2:4], (self.x - corner[:2]) @ corner[4:6]
            hides = one * two <= 1e-13
            if hides:
                R = min(R, np.hypot(*(self.x - corner[:2])))
            elif np.hypot(*(self.x - corner[:2])) < R:
                self.near(one, two)
        R = max(R, self.epsilon)
        reach = 0.02
        if self.screening:
            m = np.sqrt(self.screening)
            R, reach = min(R, 2 / m), min(reach, 0.25 / m)
        with_mu = self.walls[self.walls[:, 4] > 0]
        if not len(with_mu):
            return R, 0.0
        away = closest(with_mu[:, :4], self.x[None])[0][0]
        if away > R:
            return R, 0.0
        R = min(R, max(away, reach))
        if away >= R:
            return R, 0.0
        self.near(*([away / R - 1] if away else []))
        mass = robin_mass(self.walls, self.extent, self.x, R, self.own)
        if self.screening:
            mass *= green(0.25 * R, R, self.screening) / green(0.25 * R, R, 0)
        return R, mass

    def step(self, max_steps):
        distance = self.from_absorbing()
        self.near(distance / self.epsilon - 1)
        if distance <= self.epsilon or self.steps >= max_steps or self.weight == 0:
            return False
        R, mass = self.radius(distance)
        held = 2 if self.own >= 0 else 1
        self.weight /= 1 + held * mass
        words = self.words(0, self.steps)
        d = np.array([np.cos(TAU * words[0] / 2**32), np.sin(TAU * words[0] / 2**32)])
        if self.own >= 0:
            wall = self.walls[self.own]
            side = (wall[2] - wall[0]) * d[1] - (wall[3] - wall[1]) * d[0]
            self.near(side / np.hypot(*(wall[2:4] - wall[:2])))
            d = d if side >= 0 else -d
        k, t = ray(self.walls, self.x, d, R, (self.own,))
        self.clear_of_ends(d, R)
        s = np.sqrt((words[1] + 0.5) * (words[2] + 0.5)) / 2**32
        if self.wanted[1]:
            self.near(s * R / t - 1)
            if s * R < t:
                mass = R * R / 4 * self.extent**2 * green(s * R, R, self.screening) / green(s * R, R, 0)
                self.met[1].append((self.x + s * R * d, None, None, self.weight * mass))
        if self.wanted[2] or self.wanted[3]:
            self.flux(R, held)
        if k < 0:
            self.x = self.x + R * d
            self.weight *= through(R, R, self.screening)
        else:
            self.x = self.x + t * d
            self.weight *= through(t, R, self.screening)
        self.own = k
        if self.weight < 0.125:
            u = (words[3] + 0.5) / 2**32 * 0.125
            self.near(u / self.weight - 1)
            self.weight = 0.125 if u < self.weight else 0.0
        self.steps += 1
        return True

    def clear_of_ends(self, d, R):
        """How near the ray comes to a wall's end, and its end to a wall: with what a step may do to rounding, a quarter of it."""
        for k, wall in enumerate(self.walls):
            for end in (wall[:2], wall[2:4]):
                along = (end - self.x) @ d
                if 0 < along < R and k != self.own:
                    self.near(0.25 * ((end - self.x) @ [-d[1], d[0]]))
            if k != self.own:
                tip = closest(wall[None, :4], (self.x + R * d)[None])[0][0]
                self.near(0.25 * tip)

    def flux(self, R, held):
        u = [(w + 0.5) / 2**32 for w in self.words(2, self.steps)]
        parts = [chord(wall, self.x, R) for wall in self.walls]
        likely = np.zeros(len(self.walls))
        for k, part in enumerate(parts):
            if part is not None:
                p, foot, _ = height(self.walls[k], self.x)
                likely[k] = (part[1] - part[0]) * (R * R - p * p - (foot - np.clip(foot, *part)) ** 2)
        if likely.sum() == 0:
            return
        chances = likely / likely.sum()
        edges = np.cumsum(chances)
        self.near(*(edges[(edges > 0) & (edges < 1 - 1e-9)] - u[0]))
        chosen = int(np.searchsorted(np.cumsum(chances), u[0]))
        wall, (a, b) = self.walls[chosen], parts[chosen]
        p, foot, length = height(wall, self.x)
        half = np.sqrt(R * R - p * p)
        t = a + 2 * u[1] * (b - a) if u[1] < 0.5 else foot + half * u[2] * u[3] * (1 if u[1] < 0.75 else -1)
        self.near((t - a) / R if t != a else 1, (t - b) / R if t != b else 1)
        z = wall[:2] + t / length * (wall[2:4] - wall[:2])
        if not a <= t <= b or not sees(self.walls, self.x, chosen, z, self.own):
            return
        density = chances[chosen] * (1 / (b - a) + np.log(half / abs(t - foot)) / (2 * half)) / 2
        w = self.weight * held * green(np.hypot(*(z - self.x)), R, self.screening) / density * self.extent
        w /= 1 + max(p, 0.0) * wall[4] * self.extent
        self.met[3 if wall[5] else 2].append((z, chosen, t / length, w))


def of_instance(table, first, b):
    b = b if len(first) > 2 else 0
    return table[first[b] : first[b + 1]]


def walked(start, frame, arrays, b, n, w, seed, max_steps, pairs, endless, screening, wanted, first_instance=0, first_point=0):
    tables = [of_instance(arrays[i], arrays[i + 1], b) for i in (0, 2, 4)]
    from wos.stars.oracle_space import WalkInSpace

    kind = Walk if start.shape[2] == 2 else WalkInSpace
    counter = (w, first_point + n, first_instance + b)
    return kind(tables, frame[b], start[b, n], counter, seed % 2**64, max_steps, pairs, endless, screening, wanted)


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
            found = []
            for w in range(first_walk, first_walk + walks):
                one = walked(
                    start, frame, arrays, b, n, w, seed, max_steps, gradient, endless, screening, wanted, first_instance, first_point
                )
                sums = [_evaluated(kind, row, points, frame[b])
                        for kind, row, points in zip((*kinds, kinds[1]), (*rows, rows[1]), one.met)]  # fmt: skip
                found.append((sum(sums[:4]) * one.along + sums[4] * one.toward)[:channels])
                counts[b, n] += [one.steps, one.cut, 0]
            samples = np.array(found).reshape(-1, group, channels).mean(axis=1)
            for k, (at, size) in enumerate(cut):
                part = samples[at - first_walk // group : at - first_walk // group + size]
                mean[b, n, k], m2[b, n, k] = part.mean(axis=0), ((part - part.mean(axis=0)) ** 2).sum(axis=0)
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
    X, weight, d = np.array(X), np.array(weight), len(frame) - 2
    if kind == "per_vertex" and d == 3:
        corner = row.reshape(-1, 3)[np.array(piece)]
        found = corner[:, 0] + (np.array(place) * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
    else:
        on_pieces = (None, None) if piece[0] is None else (np.array(piece), np.array(place))
        found = values(kind, row, X, *on_pieces, frame)
    return float((weight * found).sum())


# ---------------------------------------------------------------- closed forms


def arc(radius, first, last, n):
    t = np.linspace(first, last, n + 1)
    return radius * np.stack([np.cos(t), np.sin(t)], axis=1)


def sector(inner, outer, angle, n):
    """A ring from the x axis to ``angle``: the outer arc of n segments, a radius, the inner arc of n, the other radius. With inner 0 the
    centre."""
    back = arc(inner, angle, 0, n) if inner else np.zeros((1, 2))
    return np.concatenate([arc(outer, 0, angle, n), back])


@functools.cache
def rectangle():
    return np.array([[0.0, 0], [1, 0], [1, 0.7], [0, 0.7]])


def corner_solution(X):
    """r^(2/3) cos(2 theta / 3) around 0, theta from the negative y axis on to the left: flux 0 through both walls of the L's corner."""
    theta = np.mod(np.arctan2(X[..., 1], X[..., 0]) + TAU / 4, TAU)
    return np.hypot(X[..., 0], X[..., 1]) ** (2 / 3) * np.cos(2 * theta / 3)
