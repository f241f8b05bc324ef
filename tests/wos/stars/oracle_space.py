"""Walks on stars in space one by one in float64, from the definitions: every triangle and edge asked; meshes with known solutions."""

import numpy as np

from wos.query.oracle import on_segment, on_triangle
from wos.stars.oracle import TAU, Walk
from wos.walk.replay import greens


def normal(triangle):
    """Out of the domain, and twice the area."""
    a, b, c = triangle[:9].reshape(3, 3)
    n = np.cross(b - a, c - a)
    size = np.sqrt(n @ n)
    return n / size, size


def ray(walls, x, d, limit, skip, end=np.inf):
    """The first triangle that the ray leaves the domain through, and where; at ``end`` it must have left it by more than rounding."""
    found, at = -1, limit
    for k, wall in enumerate(walls):
        n, _ = normal(wall)
        if k in skip or d @ n <= 1e-14:
            continue
        a, b, c = wall[:9].reshape(3, 3)
        t, u, v = np.linalg.solve(np.array([-d, b - a, c - a]).T, x - a)
        if -1e-13 < t <= at and min(u, v, 1 - u - v) >= -1e-12 and (x + min(end, 10.0) * d - a) @ n > 1e-13:
            found, at = k, t
    return found, max(at, 0.0)


def sees(walls, x, k, z, own):
    r = np.sqrt(((z - x) ** 2).sum())
    return k == own or r < 1e-12 or ray(walls, x, (z - x) / r, r - 1e-12, (own,), r)[0] < 0


def nearest(triangles, x):
    """Distance, triangle, weights of its second and third corner, closest point."""
    corner = triangles[:, :9].reshape(-1, 3, 3)
    d2, weight = on_triangle(x, *np.moveaxis(corner, 1, 0))
    k = int(d2.argmin())
    return np.sqrt(d2[k]), k, weight[k, 1:], weight[k] @ corner[k]


class Frame:
    """A triangle's plane: A, the unit vector along its longest side AB, and the one across it."""

    def __init__(self, triangle):
        corner = triangle[:9].reshape(3, 3)
        sides = np.roll(corner, -1, axis=0) - corner
        self.a, b, self.c = np.roll(corner, -int((sides**2).sum(axis=1).argmax()), axis=0)
        self.first = int((sides**2).sum(axis=1).argmax())
        self.along = (b - self.a) / np.sqrt(((b - self.a) ** 2).sum())
        across = self.c - self.a - (self.c - self.a) @ self.along * self.along
        self.across = across / np.sqrt(across @ across)
        self.b = b

    def at(self, p, q):
        return self.a + p * self.along + q * self.across

    def weights(self, z):
        """Of the corners as they were given, by areas."""
        n = np.cross(self.b - self.a, self.c - self.a)
        parts = [
            np.cross(self.c - self.b, z - self.b) @ n,
            np.cross(self.a - self.c, z - self.c) @ n,
            np.cross(self.b - self.a, z - self.a) @ n,
        ]
        return np.roll(np.array(parts) / (n @ n), self.first)


class WalkInSpace(Walk):
    def nearest_wall(self):
        away, k, _, _ = nearest(self.walls, self.x)
        return k, away

    def closest(self):
        return nearest(self.segs, self.x)

    def unit(self, word, height):
        z = (height + 0.5) / 2**31 - 1
        return np.append(np.sqrt(1 - z * z) * np.array([np.cos(TAU * word / 2**32), np.sin(TAU * word / 2**32)]), z)

    def source(self, words, more):
        return float(np.median([(w + 0.5) / 2**32 for w in words[:3]])), self.unit(*more[:2])

    def radius(self, distance):
        R = min(distance, 2.0)
        for edge in self.corners:
            one, two = (self.x - edge[:3]) @ edge[6:9], (self.x - edge[:3]) @ edge[9:]
            away = np.sqrt(on_segment(self.x, edge[:3], edge[3:6])[0])
            if one * two <= 1e-13:
                R = min(R, away)
            elif away < R:
                self.near(one, two)
        R = max(R, self.epsilon)
        return (min(R, 2 / np.sqrt(self.screening)) if self.screening else R), 0.0

    def step(self, max_steps):
        distance = self.from_absorbing()
        self.near(distance / self.epsilon - 1)
        if distance <= self.epsilon or self.steps >= max_steps or self.weight == 0:
            return False
        R, _ = self.radius(distance)
        held = 2 if self.own >= 0 else 1
        words = self.words(0, self.steps)
        d = self.unit(*words[:2])
        if self.own >= 0:
            n, _ = normal(self.walls[self.own])
            self.near(d @ n)
            d = d if d @ n <= 0 else -d
        k, t = ray(self.walls, self.x, d, R, (self.own,))
        self.clear_of_edges(d, R)
        if self.wanted[1]:
            s, _ = self.source(self.words(1, self.steps), self.words(1, 1 << 20 | self.steps))
            self.near(s * R / t - 1)
            if s * R < t:
                mass = R * R / 6 * self.extent**2 * greens(3, s * R, R, self.screening)[0] / greens(3, s * R, R, 0)[0]
                self.met[1].append((self.x + s * R * d, None, None, self.weight * mass))
        if self.wanted[2] or self.wanted[3]:
            self.flux(R, held)
        t = R if k < 0 else t
        self.x = self.x + t * d
        if self.screening:
            z = R * np.sqrt(self.screening)
            rest, s = z * (1 - t / R), z * t / R
            self.weight *= (np.sinh(rest) + s * np.cosh(rest)) / np.sinh(z)
        self.own = k
        if self.weight < 0.125:
            u = (words[3] + 0.5) / 2**32 * 0.125
            self.near(u / self.weight - 1)
            self.weight = 0.125 if u < self.weight else 0.0
        self.steps += 1
        return True

    def clear_of_edges(self, d, R):
        """How near the ray comes to a side of a triangle, and its end to a triangle, as in the plane."""
        for k, wall in enumerate(self.walls):
            if k == self.own:
                continue
            n, _ = normal(wall)
            corner = wall[:9].reshape(3, 3)
            self.near(0.25 * nearest(wall[None], self.x + R * d)[0])
            if abs(d @ n) < 1e-9:
                continue
            t = (corner[0] - self.x) @ n / (d @ n)
            if 0 < t < R:
                z = self.x + t * d
                self.near(*(0.25 * np.sqrt(on_segment(z, corner[i], corner[(i + 1) % 3])[0]) for i in range(3)))

    def likely(self, wall, R):
        n, twice = normal(wall)
        up, away = (wall[:3] - self.x) @ n, nearest(wall[None], self.x)[0]
        return (R * R - away**2) * min(twice / 2, np.pi * (R * R - up * up)) if away < R and up > -1e-13 else 0.0

    def flux(self, R, held):
        u = [(w + 0.5) / 2**32 for w in self.words(2, self.steps)]
        likely = np.array([self.likely(wall, R) for wall in self.walls])
        if likely.sum() == 0:
            return
        chances = likely / likely.sum()
        edges = np.cumsum(chances)
        self.near(*(edges[(edges > 0) & (edges < 1 - 1e-9)] - u[0]))
        chosen = int(np.searchsorted(edges, u[0]))
        wall, frame = self.walls[chosen], Frame(self.walls[chosen])
        n, twice = normal(wall)
        up, area = (wall[:3] - self.x) @ n, twice / 2
        foot = self.x + up * n
        reach = min(np.sqrt(R * R - up * up), max(np.sqrt(((c - foot) ** 2).sum()) for c in wall[:9].reshape(3, 3)))
        plain = np.pi * reach**2 / (np.pi * reach**2 + area)
        self.near(u[1] - plain)
        if u[1] < plain:
            root = np.sqrt(u[2])
            z = frame.a + root * (1 - u[3]) * (frame.b - frame.a) + root * u[3] * (frame.c - frame.a)
        else:
            angle = TAU * (u[3] - 0.5 / 2**32)
            z = foot + reach * u[2] * (np.cos(angle) * frame.along + np.sin(angle) * frame.across)
        weight = frame.weights(z)
        self.near(*weight)
        away = np.sqrt(((z - self.x) ** 2).sum())
        self.near(away / R - 1)
        if weight.min() < 0 or away >= R or not sees(self.walls, self.x, chosen, z, self.own):
            return
        rho = np.sqrt(((z - foot) ** 2).sum())
        density = chances[chosen] * (plain / area + (1 - plain) / (TAU * reach * rho))
        w = self.weight * held * greens(3, away, R, self.screening)[0] / density * self.extent
        self.met[2].append((z, chosen, weight[1:], w))


# ---------------------------------------------------------------- meshes


def prism(ring, height, layers=1):
    """A closed mesh over a simple polygon, counter-clockwise, whose triangles fan out of its first vertex: V, F, and what every triangle
    lies on: k for side k, -1 the bottom, -2 the top."""
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
    """Every triangle in four."""
    edges, at = np.unique(np.sort(F[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    x, y, z = at.reshape(-1, 3).T + len(V)
    a, b, c = F.T
    parts = ([a, x, z], [b, y, x], [c, z, y], [x, y, z])
    return np.concatenate([V, V[edges].mean(axis=1)]), np.concatenate([np.stack(t, axis=1) for t in parts]), np.tile(on, 4)
