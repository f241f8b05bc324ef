"""Walks on stars, one at a time in float64, from the definitions: Bessel functions, quadrature, tests of every wall."""

import numpy as np

from wos.media import oracle as media
from wos.stars.walls import TAU, chord, corners, facet_mass, from_side, log_mass, nearest, normal, ray, sees, through
from wos.walk.oracle import moments, nodes, part_of, row_of, values
from wos.walk.replay import _uniform, _unit, greens, philox, remembered, source_radius, sphere_weights


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


class Medium:
    """A medium of one instance, with its bounds in scaled units. ``description``: as in ``media.oracle.alpha``."""

    def __init__(self, description, bound, exchange):
        self.description, self.bound, self.exchange = description, bound, exchange

    def root(self, x):
        return np.sqrt(media.alpha(self.description, x))

    def ratio(self, x, wall=None, k=-1):
        """σ', or ν on wall k, relative to its bound."""
        if wall is None:
            return float(media.rate(self.description, x)) / self.bound
        d = len(x)
        return (self.exchange[k, 1] - media.slope(self.description, x) @ normal(wall, d)[0]) / self.exchange[k, 0]


class Walk:
    """One walk. ``margin``: the smallest distance from a different decision."""

    def __init__(self, tables, frame, start, counter, seed, max_steps, pairs, endless, screening, wanted, medium=None):
        self.segs, self.walls, self.edges = tables
        self.d = d = len(start)
        self.extent, self.epsilon = frame[d], frame[d + 1]
        self.screening, self.wanted = medium[1] if medium else screening * self.extent**2, wanted
        self.medium, self.beyond = medium and Medium(*medium), 0
        self.start_root = self.medium.root(np.array(start, float)) if medium else 1.0
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
        distance, k, corner_weights, at = nearest(self.segs, self.x)
        self.cut = self.weight != 0 and distance > self.epsilon
        if self.weight != 0 and not endless:
            self.met[0].append((at, k, corner_weights, self.weight * (self.root(at) if self.steps else 1)))

    def root(self, x):
        """√α relative to the start."""
        return self.medium.root(x) / self.start_root if self.medium else 1.0

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
        plain = self.d == 2 and not self.medium
        n, s, m = _unit(*w[:2], self.d), source_radius(self.d, v), _unit(v[2], None, 2) if plain else _unit(*b[:2], self.d)
        n, m, self.own = sign * n, sign * m, -1
        value, slope = sphere_weights(self.d, np.array(R), self.screening)
        if self.medium:
            return self.leave_in_medium(R, n, m, s, _uniform(w[3]), _uniform(w[2]), value, slope)
        self.along = np.concatenate([[value], slope * n / self.extent])
        g, of_slope = self.mass(s, R)
        self.toward = np.concatenate([[g], of_slope * m / self.extent])
        if self.wanted[1]:
            self.met[4].append((self.x + R * s * m, None, None, 1.0))
        self.x, self.steps = self.x + R * n, 1

    def leave_in_medium(self, R, n, m, s, choice, decides, value, slope):
        """The first step in a medium. Half of the source points follow Laplace's equation, half have a uniform radius."""
        self.near(choice - 0.5)
        s = 2 * choice if choice < 0.5 else s
        (g, of_slope), plain = greens(self.d, R * s, R, self.screening), greens(self.d, R * s, R, 0)[0]
        surface = TAU * (self.d - 1) * (R * s) ** (self.d - 1) * R
        measure = surface / (self.d * plain / R**2 * surface + 0.5)
        y = self.x + R * s * m
        inside = np.concatenate([[g], of_slope * m / self.extent])
        self.toward = measure * self.extent**2 * inside
        if self.wanted[1]:
            self.met[4].append((y, None, None, 1 / (self.root(y) * self.start_root**2)))
        self.near(decides - (1 - value))
        if decides < 1 - value:
            self.along = self.screening * measure / (1 - value) * inside
            self.arrive(y, self.medium.ratio(y))
            self.end_light(self.words(0, 0)[3])
        else:
            self.along = np.concatenate([[1.0], slope / value * n / self.extent])
            self.x = self.x + R * n
        self.steps = 1

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
        if self.medium and (max_exchange := self.medium.exchange[:, 0].max()) > 0:
            R = min(R, 0.3 / max_exchange)
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
        s = source_radius(self.d, words[1:] if self.d == 2 else self.words(1, self.steps))
        y, inside = self.x + s * R * d, s * R < t
        if self.wanted[1] or self.medium:
            self.near(s * R / t - 1)
        if self.wanted[1] and inside:
            self.met[1].append((y, None, None, self.weight * self.mass(s, R)[0] / (self.root(y) * self.start_root**2)))
        on_wall = self.drawn(R, factor) if self.wanted[2] or self.wanted[3] or self.medium else None
        if on_wall:
            z, chosen, corner_weights, green = on_wall
            robin = bool(self.walls[chosen, self.d**2 + 1])
            if self.wanted[2 + robin]:
                self.met[2 + robin].append((z, chosen, corner_weights, self.weight * green * self.extent * self.root(z)))
        if not (self.medium and self.jumps(R, s, y if inside else None, on_wall)):
            t = R if k < 0 else t
            self.x = self.x + t * d
            self.weight *= 1 if self.medium else through(self.d, t, R, self.screening)
            self.own = k
        self.end_light(words[3])
        self.steps += 1
        return True

    def end_light(self, word):
        if abs(self.weight) < 0.125:
            u = _uniform(word) * 0.125
            self.near(u / abs(self.weight) - 1 if self.weight else 1)
            self.weight = np.sign(self.weight) * 0.125 if u < abs(self.weight) else 0.0

    def arrive(self, x, ratio, wall=-1):
        """End a jump."""
        self.x, self.own = x, wall
        self.weight *= -ratio if wall >= 0 else 1 - ratio
        self.near(abs(ratio) - 1)
        self.beyond += abs(ratio) > 1

    def jumps(self, R, s, y, on_wall):
        """Whether the walk jumps in a medium, either to a point on the walls or to the source point, if they exist."""
        _, to_source, to_wall, _ = map(_uniform, self.words(3, self.steps))
        odds = on_wall[3] * self.medium.exchange[on_wall[1], 0] if on_wall else 0.0
        self.weight *= 1 + odds
        if odds:
            self.near(to_wall - odds / (1 + odds))
        if to_wall < odds / (1 + odds):
            z, k = on_wall[:2]
            self.arrive(z, self.medium.ratio(z, self.walls[k], k), k)
            return True
        if y is not None and self.screening:
            likely = self.screening * self.mass(s, R)[0] / self.extent**2
            self.near(to_source - likely)
            if to_source < likely:
                self.arrive(y, self.medium.ratio(y))
                return True
        return False

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

    def drawn(self, R, factor):
        """A random point on the walls, its wall and position, and the estimate of the integral of G; None if it contributes nothing."""
        u = [_uniform(w) for w in self.words(2, self.steps)]
        likely = np.array([self.likely(wall, R) for wall in self.walls])
        if likely.sum() == 0:
            return None
        chances = likely / likely.sum()
        sums = np.cumsum(chances)
        self.near(*(sums[(sums > 0) & (sums < 1 - 1e-9)] - u[0]))
        chosen = int(np.searchsorted(sums, u[0]))
        wall = self.walls[chosen]
        z, corner_weights, density = (self.on_wall if self.d == 2 else self.on_facet)(wall, R, u)
        away = np.sqrt(((z - self.x) ** 2).sum())
        if density == 0 or not sees(self.walls, self.x, chosen, z, self.own):
            return None
        green = factor * greens(self.d, away, R, self.screening)[0] / (chances[chosen] * density)
        height = max((wall[: self.d] - self.x) @ normal(wall, self.d)[0], 0.0)
        return z, chosen, corner_weights, green / (1 + height * wall[self.d**2] * self.extent)

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


_walk = remembered(Walk, max_size=4096)


def walked(
    start, frame, arrays, b, n, w, seed, max_steps, pairs, endless, screening, wanted, first_instance=0, first_point=0, media_of=None
):
    tables = [part_of(arrays[i], arrays[i + 1], b) for i in (0, 2, 4)]
    counter = (w, first_point + n, first_instance + b)
    return _walk(
        tables, frame[b], start[b, n], counter, seed % 2**64, max_steps, pairs, endless, screening, wanted, media_of and media_of[b]
    )


def media_from(kinds, diffusion, screening, bounds, exchange, frame, first_wall):
    """The arguments of ``Medium`` for every instance."""
    result = []
    for b, row in enumerate(frame):
        numbers = [None if x is None else row_of(x, b) for x in (diffusion, screening)]
        walls = part_of(exchange, first_wall, b)
        result.append(((kinds, numbers, row), bounds[b, 0] * row[-2] ** 2, walls * row[-2]))
    return result


def stars(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet=None, source=None, neumann=None, robin=None,
          diffusion=None, screening=None, bounds=None, slopes=None, exchange=None, *, dirichlet_kind="number", source_kind="none",
          neumann_kind="none", robin_kind="none", diffusion_kind="none", screening_kind="none", seed=0, first_walk=0, walks=64,
          max_steps=1024, gradient=False, rate=0.0, first_instance=0, first_point=0, endless=False, varies=False,
          nrhs=1):  # fmt: skip
    B, N, d = start.shape
    group, channels = (2, 1 + d) if gradient else (1, 1)
    arrays = (ends, first, walls, first_wall, corners, first_corner)
    kinds, data = (dirichlet_kind, source_kind, neumann_kind, robin_kind), (dirichlet, source, neumann, robin)
    wanted = [kind != "none" for kind in kinds]
    cut = nodes(first_walk // group, walks // group)
    mean, m2 = (np.full((B * nrhs, N, len(cut), channels), np.nan) for _ in range(2))
    counts, beyond, media_of = np.zeros((B * nrhs, N, 3), np.int64), np.zeros((B * nrhs, N), np.int64), None
    if varies:
        media_of = media_from((diffusion_kind, screening_kind), diffusion, screening, bounds, exchange, frame, first_wall)
    for side in range(B * nrhs):
        b = side // nrhs
        rows = [_row(numbers, side, met, arrays) for met, numbers in enumerate(data)]
        for n in range(N):
            if np.isnan(start[b, n, 0]):
                continue
            results = []
            for w in range(first_walk, first_walk + walks):
                one = walked(
                    start, frame, arrays, b, n, w, seed, max_steps, gradient, endless, rate, wanted, first_instance, first_point, media_of
                )
                sums = [_evaluated(kind, row, points, frame[b])
                        for kind, row, points in zip((*kinds, kinds[1]), (*rows, rows[1]), one.met)]  # fmt: skip
                row = (sum(sums[:4]) * one.along + sums[4] * one.toward)[:channels]
                if slopes is not None:
                    row[1:] -= row[0] * slopes[b, n]
                results.append(row)
                counts[side, n] += [one.steps, one.cut, 0]
                beyond[side, n] += one.beyond
            samples = np.array(results).reshape(1, -1, group, channels).mean(axis=2)
            (mean[side, n],), (m2[side, n],) = moments(samples, cut, start[b, n : n + 1])
    return mean, m2, counts, beyond if varies else None


def stars_trace(start, frame, ends, first, walls, first_wall, corners, first_corner, dirichlet=None, source=None, neumann=None, robin=None,
                diffusion=None, screening=None, bounds=None, slopes=None, exchange=None, *, dirichlet_kind="number", source_kind="none",
                neumann_kind="none", robin_kind="none", diffusion_kind="none", screening_kind="none", seed=0, first_walk=0, walks=64,
                max_steps=1024, rate=0.0, first_instance=0, first_point=0, endless=False, varies=False, events=0):  # fmt: skip
    (_, N, d), media_of = start.shape, None
    arrays = (ends, first, walls, first_wall, corners, first_corner)
    wanted = [kind != "none" for kind in (dirichlet_kind, source_kind, neumann_kind, robin_kind)]
    exits, weights, counts = np.full((N, walks, d), np.nan), np.full((N, walks), np.nan), np.zeros((N, walks, 3), np.int64)
    beyond, of_walks = np.zeros((N, walks), np.int64), []
    if varies:
        media_of = media_from((diffusion_kind, screening_kind), diffusion, screening, bounds, exchange, frame, first_wall)
    for n, w in np.ndindex(N, walks):
        if np.isnan(start[0, n, 0]):
            of_walks.append(([], [], []))
            continue
        settings = seed, max_steps, False, endless, rate, wanted, first_instance, first_point, media_of
        one = walked(start, frame, arrays, 0, n, first_walk + w, *settings)
        weights[n, w], counts[n, w], beyond[n, w] = 0.0, [one.steps, one.cut, 0], one.beyond
        if one.met[0]:
            ((exits[n, w], _, _, weights[n, w]),) = one.met[0]
        of_walks.append([[(x, weight) for x, _, _, weight in one.met[kind]] for kind in (1, 2, 3)])
    return media.recorded(start, exits, weights, counts, beyond, of_walks, events)


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
    X, facet, corner_weights, weight = (list(column) for column in zip(*points))
    d = len(frame) - 2
    if kind == "per_vertex":
        corner = row.reshape(-1, d)[np.array(facet)]
        result = corner[:, 0] + (np.array(corner_weights) * (corner[:, 1:] - corner[:, :1])).sum(axis=1)
    else:
        result = values(kind, row, np.array(X), None, None, frame)
    return float((np.array(weight) * result).sum())
