"""Walks through a diffusion that jumps between regions. Equation numbers refer to csrc/wos/walk/README.md.

A walk is a sequence of legs. A leg is a walk of ``trace`` to the boundary of a region. At an interface the walk continues from a half
sphere on one of the sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..._call import call
from ..._typing import Backend
from ..query import closest_point
from ..walk import PLACE
from ..walk.composition_balls import MAX_SCREENED, SHRUNK, First, bessel_series, roulette, source_weight
from ..walk.composition_philox import FIRST, SOURCE, SOURCE_DIRECTION, Lanes, direction, median, source_point, uniform
from ..walk.traces import TRACE
from .interfaces import Interfaces

_GUESS = 16  # expected source points per walk of a leg; the leg runs a second time if there are more
_LEAST = 2.0  # smallest radius of a half sphere, in units of epsilon
BLOCK = 256  # a call runs walks [k BLOCK, (k + 1) BLOCK) of a point, so their random words do not depend on the requested range
_ROWS = 1 << 17  # rows per call


class How(NamedTuple):
    """How walks run. ``epsilon`` and ``screening`` (σ) are absolute. ``sourced``: source points are needed. ``pairs``: for a gradient."""

    seed: int
    epsilon: float
    screening: float
    max_steps: int
    sourced: bool
    pairs: bool
    backend: Backend | None
    num_threads: int | None


class Walked(NamedTuple):
    """W walks from each of the n points from ``first_point`` on, point by point, in absolute coordinates.

    ``end``, ``facet``, ``weights``: the end, its facet, and the weights of the facet's corners. ``left`` (n W,): the walk's weight there.
    ``counts`` (n W, 3): steps, cut off, escaped. ``owner``, ``point``, ``share``: each source point's walk, the point and its weight, for
    each walk in the order of its steps. ``first``, ``entered``, ``area``: the factors of pairs' first balls, and the source point in each
    with its weight.
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

    def run(self, start: np.ndarray, first_point: int, walks: range) -> Walked:
        n, W = len(start), len(walks)
        self.x, self.alive = np.repeat(start, W, axis=0), np.repeat(~np.isnan(start[:, 0]), W)
        self.walk, self.point = np.tile(np.arange(walks.start, walks.stop), n), np.repeat(np.arange(first_point, first_point + n), W)
        self.row = self.point * BLOCK + self.walk % BLOCK
        self.part, self.counts, self.weight = np.zeros(n * W, np.int64), np.zeros((n * W, 3), np.int64), np.ones(n * W)
        self.part[self.alive] = self._part_at(self.x[self.alive])
        self.met: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros((0, self.d)), np.zeros(0))]  # owner, point, share
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
        return Walked(first_point, walks, end, facet, weights, self.weight, self.counts, owner, point, share, first, entered, area)

    def _lanes(self, own: np.ndarray, seed: int) -> Lanes:
        return Lanes(self.walk[own], self.point[own], np.full(len(own), self.instance), seed)

    def _part_at(self, x: np.ndarray) -> np.ndarray:
        part = np.zeros(len(x), np.int64)
        for k, (shape, _, _) in enumerate(self.at.parts[1:], 1):
            part[shape.contains(x)] = k
        return part

    def _enter(self) -> tuple[First, np.ndarray, np.ndarray]:
        """(13) Move pairs to opposite points of balls in the regions of their starts."""
        radius, alpha, d = np.zeros(len(self.x)), self.at.alphas[self.part], self.d
        for k, (shape, _, _) in enumerate(self.at.parts):
            own = np.flatnonzero(self.alive & (self.part == k))
            radius[own] = closest_point(shape, self.x[own], num_threads=self.how.num_threads).distance
        enters, rate = self.alive & (radius > self.how.epsilon), self.how.screening / alpha
        if self.how.screening > 0:
            radius = np.minimum(radius, MAX_SCREENED / np.sqrt(rate))
        own, radius = np.flatnonzero(enters), np.where(enters, SHRUNK * radius, 1.0)
        z2 = np.where(enters, radius * radius * rate, 0.0)
        lanes, sign = self._lanes(np.arange(len(self.x)), self.how.seed).pairs()
        ((w0, w1, _, _),) = lanes.words(np, FIRST)
        s, m = source_point(np, lanes, 0, d)
        n, m = sign[:, None] * direction(np, w0, w1, d), sign[:, None] * m
        of_value, of_gradient = source_weight(d, s, -np.log(s), z2)
        entered = First.entered(np, n, m, radius, z2, of_value, of_gradient)
        first = entered.where(np, enters, First.none(np, np.where(enters[:, None], self.x, 0.0)))
        inner, area = self.x + (radius * s)[:, None] * m, np.where(enters, radius * radius / (2 * d * alpha), 0.0)
        self.x[own] += radius[own, None] * n[own]
        self.counts[own, 0] += 1
        return first, inner, area

    def _leg(self, k: int, leg: int, own: np.ndarray) -> None:
        """Run the walks in a region until they reach its boundary."""
        shape, alpha, first = self.at.parts[k]
        frame = shape._frame(self.how.epsilon, False).rows
        geometry, memo = shape._arrays_of("numpy"), (shape._memo_of("numpy"),)
        backend, threads = self.how.backend, self.how.num_threads
        starts = call(PLACE, (self.x[own], frame, *geometry), (True, False), memo, None, backend, threads)[0]
        lost = np.isnan(starts[:, 0])  # outside at a corner, because of rounding errors
        if lost.any():
            self.part[own[lost]] = self._part_at(self.x[own[lost]])
            self.alive[own[lost]] = self.at.domain.contains(self.x[own[lost]])
        own, starts = own[~lost], starts[~lost]
        if not len(own):
            return
        rows = self.row[own]
        start = np.full((1, rows[-1] + 1 - rows[0], self.d), np.nan)
        start[0, rows - rows[0]] = starts
        seed, block = _mixed(self.how.seed, 2 * leg, k, self.instance), int(self.walk[0]) // BLOCK

        def trace(events: int) -> Any:
            rate = self.how.screening / alpha
            options = (seed, block, 1, self.how.max_steps, rate, int(rows[0]), False, 0.0, self.how.sourced, events, False)
            return call(TRACE, (start, frame, *geometry), options, memo, None, backend, threads)

        end, left, counts, point, share = trace(_GUESS * len(own) if self.how.sourced else 0)
        end, left, counts = (x[rows - rows[0], 0] for x in (end, left, counts))
        centre, extent = frame[0, : self.d], frame[0, self.d]
        if self.how.sourced:
            total = int(counts[:, 0].sum())
            point, share = (point[:total], share[:total]) if total <= len(share) else trace(total)[3:]
            owner = np.repeat(own, counts[:, 0])
            self.met.append((owner, centre + extent * point, self.weight[owner] * share / alpha))
        self.counts[own] += counts
        self.weight[own] *= left
        self.alive[own[left == 0]] = False
        own, end = own[left != 0], end[left != 0]
        if not len(own):
            return
        nearest = closest_point(shape, centre + extent * end, num_threads=threads)
        self.x[own] = nearest.point
        facet = nearest.primitive + first
        at_interface = self.at.part_of[facet] > 0
        if self.at.touching:
            at_interface &= closest_point(self.at.domain, nearest.point, num_threads=threads).distance > self.how.epsilon
        self.alive[own[~at_interface]] = False
        self._cross(own[at_interface], facet[at_interface], leg)

    def _cross(self, own: np.ndarray, facet: np.ndarray, leg: int) -> None:
        """(28), (29) Move walks from interfaces to half spheres on one of the two sides or, with a screening, to points in the balls."""
        if not len(own):
            return
        k, inward, alphas, sigma = self.at.part_of[facet], self.at.inward[facet], self.at.alphas, self.how.screening
        y, R = self.x[own], np.maximum(self.at.clear(self.x[own], facet), _LEAST * self.how.epsilon)
        beyond = self._part_at(y - 0.5 * R[:, None] * inward) if self.at.touching else np.zeros_like(k)
        both, rate = alphas[beyond] + alphas[k], sigma / np.minimum(alphas[beyond], alphas[k])
        if sigma > 0:
            R = np.minimum(R, 1 / np.sqrt(rate))
        a, b, c = self._lanes(own, _mixed(self.how.seed, 2 * leg + 1, 0, self.instance)).words(np, 0, SOURCE, SOURCE_DIRECTION)
        enters = uniform(np, a[0]) * both < alphas[k]
        n = direction(np, a[1], a[2], self.d)
        clockwise = ((n * inward).sum(axis=1) > 0) != enters
        x = y + R[:, None] * np.where(clockwise[:, None], -n, n)
        self.counts[own, 0] += 1
        if self.how.sourced or sigma > 0:
            u, m = [uniform(np, word) for word in b], direction(np, c[0], c[1], self.d)
            s, area = np.sqrt(u[0] * u[1]) if self.d == 2 else median(np, *u[:3]), R * R / (self.d * both)
            point = y + (R * s)[:, None] * m
            if sigma > 0:
                area = area * source_weight(self.d, s, -np.log(s), R * R * rate)[0]
            if self.how.sourced:
                self.met.append((own, point, self.weight[own] * area))
            if sigma > 0:
                inner = (m * inward).sum(axis=1) > 0
                jumps = u[3] < area * (rate * np.where(inner, alphas[k], alphas[beyond]) - sigma)
                left = 1 / bessel_series(self.d - 2, 0.25 * R * R * rate)
                weight = np.where(jumps, 1.0, left / (1 - (1 - left) * (1 - 2 * sigma / (rate * both)))) * self.weight[own]
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
