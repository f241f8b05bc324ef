"""Walks through a diffusion that jumps between regions. Equation numbers refer to csrc/wos/walk/README.md.

A walk is a sequence of legs. A leg is a walk of ``trace`` to the boundary of a region. At an interface the walk continues from a half
sphere on one of the sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..._call import call
from ..._typing import Backend
from ..media.composition import enter
from ..query import closest_point
from ..walk import PLACE
from ..walk.composition_balls import MAX_SCREENED, SHRUNK, First, bessel_series, roulette, source_weight
from ..walk.composition_philox import FIRST, SOURCE, SOURCE_DIRECTION, TRIAL, Lanes, direction, source_point, source_radius, uniform
from ..walk.traces import TRACE
from .interfaces import Interfaces

_GUESS = 16  # expected source points per walk of a leg; the leg runs a second time if there are more
_ROBIN = 0.02  # largest radius of a half sphere on a wall with μ > 0, in units of the extent
_LEAST = 2.0  # smallest radius of a half sphere, in units of epsilon
BLOCK = 256  # a call runs walks [k BLOCK, (k + 1) BLOCK) of a point, so their random words do not depend on the requested range
_ROWS = 1 << 17  # rows per call


class How(NamedTuple):
    """How walks run. ``epsilon`` and ``screening`` are absolute. ``sourced``: source points are needed. ``pairs``: for a gradient.

    ``screening`` is σ or, with the function ``sigma`` of points (n, d), a bound on it. ``fluxes``: 1 and 2 if points on walls of
    ``neumann`` and ``robin`` are needed.
    """

    seed: int
    epsilon: float
    screening: float
    sigma: Callable[[np.ndarray], np.ndarray] | None
    max_steps: int
    sourced: bool
    fluxes: tuple[int, ...]
    pairs: bool
    backend: Backend | None
    num_threads: int | None


class Wall(NamedTuple):
    """Points on reflecting walls, like the source points of ``Walked``, with their facets and the weights of the facets' corners."""

    owner: np.ndarray
    point: np.ndarray
    share: np.ndarray
    facet: np.ndarray
    weights: np.ndarray


class Walked(NamedTuple):
    """W walks from each of the n points from ``first_point`` on, point by point, in absolute coordinates.

    ``end``, ``facet``, ``weights``: the end, its facet, and the weights of the facet's corners. ``left`` (n W,): the walk's weight there.
    ``counts`` (n W, 3): steps, cut off, escaped. ``owner``, ``point``, ``share``: each source point's walk, the point and its weight, for
    each walk in the order of its steps. ``walls``: points on walls of ``neumann``, 1, and ``robin``, 2. ``first``, ``entered``, ``area``:
    the factors of pairs' first balls, and the source point in each with its weight.
    """

    first_point: int
    walks: range
    end: np.ndarray
    facet: np.ndarray
    weights: np.ndarray
    left: np.ndarray
    counts: np.ndarray
    owner: np.ndarray
    point: np.ndarray
    share: np.ndarray
    walls: dict[int, Wall]
    first: First | None = None
    entered: np.ndarray | None = None
    area: np.ndarray | None = None


def blocks(interfaces: Interfaces, how: How, start: np.ndarray, walks: range, first_point: int = 0, instance: int = 0) -> Iterator[Walked]:
    """Yield the walks of points (N, d), for groups of points and at most ``BLOCK`` walks per point. Points that are NaN have no walks."""
    for n in range(0, len(start), _ROWS // BLOCK):
        for block in range(walks.start // BLOCK, -(-walks.stop // BLOCK)):
            some = range(max(walks.start, block * BLOCK), min(walks.stop, (block + 1) * BLOCK))
            yield _Legs(interfaces, how, instance).run(start[n : n + _ROWS // BLOCK], first_point + n, some)


class _Legs:
    """Walks that move together from interface to interface."""

    def __init__(self, interfaces: Interfaces, how: How, instance: int) -> None:
        self.at, self.how, self.instance, self.d = interfaces, how, instance, interfaces.domain.dimension
        self.records = how.sourced or how.sigma is not None  # whether the source points of a leg are needed

    def run(self, start: np.ndarray, first_point: int, walks: range) -> Walked:
        n, W = len(start), len(walks)
        self.x, self.alive = np.repeat(start, W, axis=0), np.repeat(~np.isnan(start[:, 0]), W)
        self.walk, self.point = np.tile(np.arange(walks.start, walks.stop), n), np.repeat(np.arange(first_point, first_point + n), W)
        self.row = self.point * BLOCK + self.walk % BLOCK
        self.part, self.counts, self.weight = np.zeros(n * W, np.int64), np.zeros((n * W, 3), np.int64), np.ones(n * W)
        self.part[self.alive] = self._part_at(self.x[self.alive])
        self.met: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros((0, self.d)), np.zeros(0))]  # owner, point, share
        self.on_walls: list[tuple[np.ndarray, ...]] = [(*self.met[0], np.zeros(0, np.int64))]  # and whether neumann or robin
        first, entered, area = self._enter() if self.how.pairs else (None, None, None)
        for leg in range(self.how.max_steps):
            if not self.alive.any():
                break
            of_each = [np.flatnonzero(self.alive & (self.part == k)) for k in range(len(self.at.parts))]  # before any walk changes its part
            for k, own in enumerate(of_each):
                if len(own):
                    self._leg(k, leg, own)
        self.counts[self.alive, 1] += 1
        inside = ~np.isnan(self.x[:, 0])
        nearest = closest_point(self.at.domain, self.x[inside], num_threads=self.how.num_threads)
        end, facet, weights = np.full(self.x.shape, np.nan), np.zeros(n * W, np.int64), np.zeros(self.x.shape)
        end[inside], facet[inside], weights[inside] = nearest.point, nearest.primitive, nearest.barycentric
        self.counts[:, 1:] = np.minimum(self.counts[:, 1:], 1)
        owner, point, share = (np.concatenate(x) for x in zip(*self.met))
        walls = self._walls()
        return Walked(first_point, walks, end, facet, weights, self.weight, self.counts, owner, point, share, walls, first, entered, area)

    def _walls(self) -> dict[int, Wall]:
        owner, point, share, code = (np.concatenate(x) for x in zip(*self.on_walls))
        if not len(owner):
            return {}
        nearest = closest_point(self.at.domain, point, num_threads=self.how.num_threads)
        table = owner, point, share, nearest.primitive, nearest.barycentric
        return {k: Wall(*(x[code == k] for x in table)) for k in self.how.fluxes}  # type: ignore[index]

    def _lanes(self, own: np.ndarray, seed: int) -> Lanes:
        return Lanes(self.walk[own], self.point[own], np.full(len(own), self.instance), seed)

    def _part_at(self, x: np.ndarray) -> np.ndarray:
        part = np.zeros(len(x), np.int64)
        for k, (shape, _, _) in enumerate(self.at.parts[1:], 1):
            part[shape.contains(x)] = k
        return part

    def _distance(self, k: int, x: np.ndarray) -> np.ndarray:
        """Lower bounds on the distances of points of region k from its boundary."""
        threads = self.how.num_threads
        distance = np.asarray(closest_point(self.at.parts[k].shape, x, num_threads=threads).distance)
        return np.minimum(distance, self.at.depth(x, threads)) if self.at.open and k == 0 else distance

    def _enter(self) -> tuple[First, np.ndarray, np.ndarray]:
        """(13) Move pairs to opposite points of balls in the regions of their starts."""
        radius, alpha, d = np.zeros(len(self.x)), self.at.alphas[self.part], self.d
        for k in range(len(self.at.parts)):
            own = np.flatnonzero(self.alive & (self.part == k))
            radius[own] = self._distance(k, self.x[own])
        enters, rate = self.alive & (radius > self.how.epsilon), self.how.screening / alpha
        if self.how.screening > 0:
            radius = np.minimum(radius, MAX_SCREENED / np.sqrt(rate))
        own, radius = np.flatnonzero(enters), np.where(enters, SHRUNK * radius, 1.0)
        z2 = np.where(enters, radius * radius * rate, 0.0)
        walks = self._lanes(np.arange(len(self.x)), self.how.seed)
        if self.how.sigma is None:
            lanes, sign = walks.pairs()
            ((w0, w1, _, _),) = lanes.words(np, FIRST)
            s, m = source_point(np, lanes, 0, d)
            n, m = sign[:, None] * direction(np, w0, w1, d), sign[:, None] * m
            of_value, of_gradient = source_weight(d, s, -np.log(s), z2)
            entered = First.entered(np, n, m, radius, z2, of_value, of_gradient)
        else:
            (n, m, s, _, jumped), entered = enter(np, walks, d, radius, z2 / radius**2)
        first = entered.where(np, enters, First.none(np, np.where(enters[:, None], self.x, 0.0)))
        inner, area = self.x + (radius * s)[:, None] * m, np.where(enters, radius * radius / (2 * d * alpha), 0.0)
        self.x[own] += radius[own, None] * n[own]
        if self.how.sigma is not None:
            jumps = own[jumped[own]]
            self.x[jumps], self.weight[jumps] = inner[jumps], 1 - self.how.sigma(inner[jumps]) / self.how.screening
        self.counts[own, 0] += 1
        return first, inner, area

    def _leg(self, k: int, leg: int, own: np.ndarray) -> None:
        """Run the walks in a region until they reach its boundary."""
        shape, _, first = self.at.parts[k]
        frame = shape._frame(self.how.epsilon, False).rows
        geometry, memo = shape._arrays_of("numpy"), (shape._memo_of("numpy"),)
        backend, threads = self.how.backend, self.how.num_threads
        starts = call(PLACE, (self.x[own], frame, *geometry), (True, False), memo, None, backend, threads)[0]
        lost = np.isnan(starts[:, 0])  # outside at a corner, because of rounding errors
        if lost.any():
            self._find(own[lost])
        own, starts = own[~lost], starts[~lost]
        if not len(own):
            return
        walk, met = self._steps if self.at.open and k == 0 else self._traced, len(self.met)
        end, left = walk(k, leg, own, frame[0], starts, (frame, *geometry), memo)
        if self.how.sigma is None:
            self.weight[own] *= left
            ends = left != 0
        else:
            ends = ~self._jump(own, left, leg, met)
        self.alive[own[self.weight[own] == 0]] = False
        ends &= self.weight[own] != 0
        own, end = own[ends], end[ends]
        if not len(own):
            return
        nearest = closest_point(shape, end, num_threads=threads)
        facet = nearest.primitive + first
        at_interface = self.at.part_of[facet] > 0
        at_wall = self.at.code[facet] > 0
        if self.at.open:
            at_interface &= nearest.distance < self.at.depth(end, threads)
        if self.at.touching and not self.at.walls:
            at_interface &= self.at.depth(nearest.point, threads) > self.how.epsilon
        elif self.at.touching:
            outer = closest_point(self.at.domain, nearest.point, num_threads=threads)
            reaches = at_interface & (outer.distance <= self.how.epsilon)
            facet = np.where(reaches, outer.primitive, facet)
            at_interface, at_wall = at_interface & ~reaches, at_wall | (reaches & (self.at.code[outer.primitive] > 0))
        at_wall[at_wall] = self.at.to_absorbing(nearest.point[at_wall]) > self.how.epsilon
        self.x[own] = np.where((at_interface | at_wall)[:, None], nearest.point, end)
        self.alive[own[~(at_interface | at_wall)]] = False
        self._cross(own[at_interface], facet[at_interface], leg)
        self._reflect(own[at_wall], facet[at_wall], nearest.distance[at_wall], k, leg)

    def _reflect(self, own: np.ndarray, facet: np.ndarray, height: np.ndarray, k: int, leg: int) -> None:
        """(34) Move walks from walls to half spheres in region k. They were at ``height`` above the walls."""
        if not len(own):
            return
        d, alpha, mu, inward, code = self.d, self.at.alphas[k], self.at.mu[facet], self.at.inward[facet], self.at.code[facet]
        y, R = self.x[own], np.maximum(self.at.clear(self.x[own], facet, self.how.num_threads), _LEAST * self.how.epsilon)
        R = np.where(mu > 0, np.minimum(R, _ROBIN * float(self.at.domain._extent[0])), R)
        rate, factor = self.how.screening / alpha, 2 / np.pi if d == 2 else 0.5
        R = np.minimum(R, 1 / np.sqrt(rate)) if rate > 0 else R
        a, b, c, e = self._lanes(own, self._key(2 * leg + 1, 0)).words(np, 0, SOURCE, SOURCE_DIRECTION, TRIAL)
        z2 = R * R * rate
        if self.how.fluxes:
            v = [uniform(np, word) for word in e]
            r = v[0] * v[1] if d == 2 else 1 - np.sqrt(v[0])
            m = direction(np, e[2], e[3], d)
            m -= (m * inward).sum(axis=1)[:, None] * inward
            m /= np.linalg.norm(m, axis=1)[:, None]
            self.on_walls.append((own, y, -self.weight[own] * height, code))
        self.weight[own] *= (1 + mu * height) / (1 + factor * R * mu * source_weight(d, 0.25 + 0 * R, np.log(4) + 0 * R, z2)[0])
        if self.how.fluxes:
            share = self.weight[own] * factor * R * source_weight(d, r, -np.log(r), z2)[0]
            self.on_walls.append((own, y + (R * r)[:, None] * m, share, code))
        n, m = direction(np, a[1], a[2], d), direction(np, c[0], c[1], d)
        n, m = (x - 2 * np.minimum((x * inward).sum(axis=1), 0.0)[:, None] * inward for x in (n, m))
        x, s = y + R[:, None] * n, source_radius(np, d, b)
        point, area = y + (R * s)[:, None] * m, R * R / (2 * d * alpha) * source_weight(d, s, -np.log(s), z2)[0]
        if self.how.sourced:
            self._meet(own, point, area)
        if self.how.sigma is not None:
            jumps = uniform(np, b[3]) < area * self.how.screening
            self.weight[own[jumps]] *= 1 - self.how.sigma(point[jumps]) / self.how.screening
            x = np.where(jumps[:, None], point, x)
        elif rate > 0:
            self.weight[own] /= bessel_series(d - 2, 0.25 * z2)
        self.weight[own] = roulette(np, self.weight[own], uniform(np, a[3]))
        self.counts[own, 0] += 1
        self.alive[own[self.weight[own] == 0]] = False
        self.x[own], self.part[own] = x, k

    def _find(self, own: np.ndarray) -> None:
        """Find the regions of walks. Those outside end or, at walls, return to the closest point."""
        outside = own[~self.at.domain.contains(self.x[own])]
        self.alive[outside] = False
        if self.at.walls and len(outside):
            nearest = closest_point(self.at.domain, self.x[outside], num_threads=self.how.num_threads)
            self.alive[outside] = self.at.code[nearest.primitive] > 0
            self.x[outside] = nearest.point + 0.5 * self.how.epsilon * self.at.inward[nearest.primitive]
        self.part[own] = self._part_at(self.x[own])

    def _traced(
        self, k: int, leg: int, own: np.ndarray, frame: np.ndarray, starts: np.ndarray, inputs: tuple[Any, ...], memo: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ends of a leg and the weights there, from one call of ``trace``."""
        rows, d, alpha = self.row[own], self.d, self.at.alphas[k]
        start = np.full((1, rows[-1] + 1 - rows[0], d), np.nan)
        start[0, rows - rows[0]] = starts
        seed, block = self._key(2 * leg, k), int(self.walk[0]) // BLOCK

        def trace(events: int) -> Any:
            rate = self.how.screening / alpha
            options = (seed, block, 1, self.how.max_steps, rate, int(rows[0]), False, 0.0, self.records, events, False)
            return call(TRACE, (start, *inputs), options, memo, None, self.how.backend, self.how.num_threads)

        end, left, counts, point, share = trace(_GUESS * len(own) if self.records else 0)
        end, left, counts = (x[rows - rows[0], 0] for x in (end, left, counts))
        if self.records:
            total = int(counts[:, 0].sum())
            point, share = (point[:total], share[:total]) if total <= len(share) else trace(total)[3:]
            self._meet(np.repeat(own, counts[:, 0]), frame[:d] + frame[d] * point, share / alpha)
        self.counts[own] += counts
        return frame[:d] + frame[d] * end, left

    def _steps(self, k: int, leg: int, own: np.ndarray, frame: np.ndarray, starts: np.ndarray, *_: Any) -> tuple[np.ndarray, np.ndarray]:
        """(2), (10): the same around the parts in a domain whose boundary has no facets, in balls that reach neither."""
        d, x, left, going = self.d, frame[: self.d] + frame[self.d] * starts, np.ones(len(own)), np.arange(len(own))
        alpha, seed = self.at.alphas[k], self._key(2 * leg, k)
        rate = self.how.screening / alpha
        for step in range(self.how.max_steps):
            radius = self._distance(k, x[going])
            going, radius = going[radius > self.how.epsilon], radius[radius > self.how.epsilon]
            if not len(going):
                return x, left
            radius = np.minimum(radius, MAX_SCREENED / np.sqrt(rate)) if rate > 0 else radius
            lanes, z2 = self._lanes(own[going], seed), radius * radius * rate
            if self.records:
                s, m = source_point(np, lanes, step, d)
                area = left[going] * radius * radius / (2 * d * alpha)
                area = area * source_weight(d, s, -np.log(s), z2)[0] if rate > 0 else area
                self._meet(own[going], x[going] + (radius * s)[:, None] * m, area)
            ((w0, w1, w2, _),) = lanes.words(np, step)
            x[going] += radius[:, None] * direction(np, w0, w1, d)
            self.counts[own[going], 0] += 1
            if rate > 0:
                left[going] = roulette(np, left[going] / bessel_series(d - 2, 0.25 * z2), uniform(np, w2))
                going = going[left[going] != 0]
        self.counts[own[going], 1] += 1
        return x, left

    def _jump(self, own: np.ndarray, left: np.ndarray, leg: int, met: int) -> np.ndarray:
        """(33) Choose the end of a leg or one of its source points for each walk. Returns whether it is a source point."""
        owner, point, share = (np.concatenate(x) for x in zip(*self.met[met:], self.met[0]))
        if not self.how.sourced:
            del self.met[met:]
        order = np.argsort(owner, kind="stable")
        owner, point, share = owner[order], point[order], share[order]
        row = np.searchsorted(own, owner)
        column = 1 + np.arange(len(row)) - np.searchsorted(row, row)
        table = np.zeros((len(own), 1 + int(column.max(initial=0))))  # weights of the end and of the source points
        assert self.how.sigma is not None
        table[:, 0], table[row, column] = self.weight[own] * left, share * (self.how.screening - self.how.sigma(point))
        total = np.cumsum(abs(table), axis=1)
        choice, light = (uniform(np, word) for word in self._lanes(own, self._key(2 * leg + 1, 0)).words(np, FIRST)[0][:2])
        chosen = (total <= (choice * total[:, -1])[:, None]).sum(axis=1)
        chosen = np.minimum(chosen, table.shape[1] - 1)
        weight = roulette(np, np.copysign(total[:, -1], table[np.arange(len(own)), chosen]), light)
        at = np.zeros(table.shape, np.int64)
        at[row, column] = np.arange(len(row))
        jumps: np.ndarray = (chosen > 0) & (weight != 0)
        self.x[own[jumps]] = point[at[jumps, chosen[jumps]]]
        self.weight[own] = weight
        return jumps

    def _meet(self, owner: np.ndarray, point: np.ndarray, share: np.ndarray) -> None:
        """Record source points of walks."""
        self.met.append((owner, point, self.weight[owner] * share))

    def _key(self, number: int, part: int) -> int:
        return _mixed(self.how.seed, number, part, self.instance)

    def _cross(self, own: np.ndarray, facet: np.ndarray, leg: int) -> None:
        """(28), (29) Move walks from interfaces to half spheres on one of the two sides or, with a screening, to points in the balls."""
        if not len(own):
            return
        k, inward, alphas, sigma = self.at.part_of[facet], self.at.inward[facet], self.at.alphas, self.how.screening
        least = sigma if self.how.sigma is None else 0.0  # lower bound of σ
        y, R = self.x[own], np.maximum(self.at.clear(self.x[own], facet, self.how.num_threads), _LEAST * self.how.epsilon)
        beyond = self._part_at(y - 0.5 * R[:, None] * inward) if self.at.touching else np.zeros_like(k)
        both, rate = alphas[beyond] + alphas[k], sigma / np.minimum(alphas[beyond], alphas[k])
        if sigma > 0:
            R = np.minimum(R, 1 / np.sqrt(rate))
        a, b, c = self._lanes(own, self._key(2 * leg + 1, 0)).words(np, 0, SOURCE, SOURCE_DIRECTION)
        enters = uniform(np, a[0]) * both < alphas[k]
        n = direction(np, a[1], a[2], self.d)
        clockwise = ((n * inward).sum(axis=1) > 0) != enters
        x = y + R[:, None] * np.where(clockwise[:, None], -n, n)
        self.counts[own, 0] += 1
        if self.how.sourced or sigma > 0:
            m, s, area = direction(np, c[0], c[1], self.d), source_radius(np, self.d, b), R * R / (self.d * both)
            point = y + (R * s)[:, None] * m
            if sigma > 0:
                area = area * source_weight(self.d, s, -np.log(s), R * R * rate)[0]
            if self.how.sourced:
                self._meet(own, point, area)
            if sigma > 0:
                inner = (m * inward).sum(axis=1) > 0
                most = rate * np.where(inner, alphas[k], alphas[beyond])
                jumps = uniform(np, b[3]) < area * (most - least)
                left = 1 / bessel_series(self.d - 2, 0.25 * R * R * rate)
                kept = 1.0 if self.how.sigma is None else 1 - self.how.sigma(point) / most
                weight = np.where(jumps, kept, left / (1 - (1 - left) * (1 - 2 * least / (rate * both)))) * self.weight[own]
                self.weight[own] = roulette(np, weight, uniform(np, a[3]))
                x, enters = np.where(jumps[:, None], point, x), np.where(jumps, inner, enters)
                self.alive[own[self.weight[own] == 0]] = False
        self.x[own], self.part[own] = x, np.where(enters, k, beyond)


def _mixed(seed: int, leg: int, part: int, instance: int) -> int:
    """A signed 64-bit seed for the walks of a leg in a region, by splitmix64."""
    z = seed
    for number in (1 + leg * 1024 + part, 1 + instance):
        z = (z + 0x9E3779B97F4A7C15 * number) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ z >> shift) * factor % 2**64
        z ^= z >> 31
    return z - (z >> 63 << 64)
