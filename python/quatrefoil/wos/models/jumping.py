"""Walks through a diffusion that jumps between polygons. Equation numbers refer to csrc/wos/walk/README.md.

A walk is one of ``trace`` until it reaches the boundary of its region. At an interface it continues from a half disc on one of the sides.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._call import call
from ..polygon import Polygon
from ..query import closest_point
from ..regions import Regions
from ..walk import PLACE
from ..walk.composition_philox import Lanes, direction, uniform
from ..walk.traces import TRACE
from .recording import Recorded
from .run import Run
from .settings import Settings

_GUESS = 16  # room for source points, per walk and leg; a leg with more runs a second time
_LEAST = 2.0  # smallest half disc, in units of epsilon


class _Part(NamedTuple):
    """A region: its polygon, its diffusion, and the index of its first segment among those of the region around all parts."""

    polygon: Polygon
    alpha: float
    first: int


class _Met(NamedTuple):
    """Source points of a group of walks."""

    owner: np.ndarray
    point: np.ndarray
    share: np.ndarray


def jumping(run: Run, regions: Regions, walks: range) -> Recorded:
    """The walks of a problem in a polygon."""
    p, s = run.prepared, run.settings
    frame = np.asarray(p.frame)[0]
    scaled = np.asarray(p.start)[0].astype(np.float64)
    outside = np.isnan(scaled[:, 0])
    at = _Walks(run.statement.boundary, regions, s, frame[3] * frame[2], run.statement.source is not None)
    return at.run(frame[:2] + frame[2] * scaled, outside, walks)


class _Walks:
    """W walks from each point, which move together from interface to interface. Walk k of point i has index i W + k."""

    def __init__(self, domain: Any, regions: Regions, settings: Settings, epsilon: float, sourced: bool) -> None:
        self.domain, self.settings, self.epsilon, self.sourced = domain, settings, epsilon, sourced
        rings = [polygon.vertices for polygon, _ in regions.parts]
        around = Polygon(domain.vertices, [*domain.holes, *rings])
        sizes = np.cumsum([0, *map(len, around._rings[0])])
        first = np.searchsorted(around._pairs[:, 0], sizes[1 + len(domain.holes) : -1])
        self.parts = [_Part(around, regions.outside, 0), *(_Part(q, a, int(k)) for (q, a), k in zip(regions.parts, first))]
        self.part_of = np.searchsorted(first, np.arange(len(around._ends)), side="right")  # part of each segment; 0 for the boundary
        self.turned = np.array([_signed_area(ring) for ring in rings]) < 0
        self.clear = _clearances(around)

    def run(self, start: np.ndarray, outside: np.ndarray, walks: range) -> Recorded:
        N, W = len(start), len(walks)
        self.x, self.alive = np.repeat(start, W, axis=0), np.repeat(~outside, W)
        self.lanes = np.tile(np.arange(walks.start, walks.stop), N), np.repeat(np.arange(N), W)
        self.part, self.counts = np.zeros(N * W, np.int64), np.zeros((N * W, 3), np.int64)
        self.part[self.alive] = self._part_at(self.x[self.alive])
        self.met: list[_Met] = []
        for leg in range(self.settings.max_steps):
            if not self.alive.any():
                break
            of_each = [np.flatnonzero(self.alive & (self.part == k)) for k in range(len(self.parts))]  # before any walk changes its part
            for k, own in enumerate(of_each):
                if len(own):
                    self._leg(k, leg, own)
        left = np.flatnonzero(self.alive)
        if len(left):
            self.x[left] = closest_point(self.domain, self.x[left]).point
        cut = self.counts[:, 1] > 0
        cut[left] = True
        inside = np.repeat(~outside, W)
        met = self._sources(inside) if self.sourced else (None, None, None)
        of_points = [x.reshape(N, W).sum(axis=1) for x in (cut, self.counts[:, 2])]
        return Recorded(outside, self.x[inside], np.ones(inside.sum()), *of_points, *met)

    def _part_at(self, x: np.ndarray) -> np.ndarray:
        part = np.zeros(len(x), np.int64)
        for k, (polygon, _, _) in enumerate(self.parts[1:], 1):
            part[polygon.contains(x)] = k
        return part

    def _leg(self, k: int, leg: int, own: np.ndarray) -> None:
        """Run the walks in a region until they reach its boundary."""
        polygon, alpha, first = self.parts[k]
        frame = polygon._frame(self.epsilon, False).rows
        geometry, memo = polygon._arrays_of("numpy"), (polygon._memo_of("numpy"),)
        backend, threads = self.settings.backend, self.settings.num_threads
        placed = call(PLACE, (self.x[own], frame, *geometry), (True, False), memo, None, backend, threads)[0]
        lost = np.isnan(placed[:, 0])  # outside at a corner, by rounding
        self.part[own[lost]] = self._part_at(self.x[own[lost]])
        own = own[~lost]
        start = np.full((1, len(self.x), 2), np.nan)
        start[0, own] = placed[~lost]

        def trace(events: int) -> Any:
            options = (_mixed(self.settings.seed, 2 * leg, k), 0, 1, self.settings.max_steps, 0.0, 0, False, 0.0, self.sourced, events)
            return call(TRACE, (start, frame, *geometry), options, memo, None, backend, threads)

        end, _, counts, point, share = trace(_GUESS * len(own) if self.sourced else 0)
        counts = counts[:, 0]
        if self.sourced:
            total = int(counts[:, 0].sum())
            point, share = (point[:total], share[:total]) if total <= len(share) else trace(total)[3:]
            self.met.append(_Met(np.repeat(np.arange(len(self.x)), counts[:, 0]), frame[0, :2] + frame[0, 2] * point, share / alpha))
        self.counts += counts
        self.x[own] = frame[0, :2] + frame[0, 2] * end[own, 0]
        nearest = closest_point(polygon, self.x[own])
        self.x[own] = nearest.point
        segment = nearest.primitive + first
        self.alive[own[self.part_of[segment] == 0]] = False
        at_interface = self.part_of[segment] > 0
        self._cross(own[at_interface], segment[at_interface], leg)

    def _cross(self, own: np.ndarray, segment: np.ndarray, leg: int) -> None:
        """(28) Move walks from interfaces to half circles on one of the two sides."""
        if not len(own):
            return
        around, k = self.parts[0].polygon, self.part_of[segment]
        ends = around._ends[segment]
        along = ends[:, 2:] - ends[:, :2]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        inward = np.where(self.turned[k - 1], -1.0, 1.0)[:, None] * np.stack([-along[:, 1], along[:, 0]], axis=1)
        y, R = self.x[own], np.maximum(self._clear(self.x[own], segment), _LEAST * self.epsilon)
        walk, point = (lane[own] for lane in self.lanes)
        a, b = Lanes(walk, point, 0 * walk, _mixed(self.settings.seed, 2 * leg + 1, 0)).words(np, 0, 1)
        alphas = np.array([alpha for _, alpha, _ in self.parts])
        enters = uniform(np, a[0]) * (alphas[0] + alphas[k]) < alphas[k]
        angle = np.pi * uniform(np, a[1])
        normal = np.where(enters[:, None], inward, -inward)
        self.x[own] = y + R[:, None] * (np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * normal)
        self.part[own] = np.where(enters, k, 0)
        self.counts[own, 0] += 1
        if self.sourced:
            s = R * np.sqrt(uniform(np, a[2]) * uniform(np, a[3]))
            self.met.append(_Met(own, y + s[:, None] * direction(np, b[0], b[0], 2), R * R / (2 * (alphas[0] + alphas[k]))))

    def _clear(self, x: np.ndarray, segment: np.ndarray) -> np.ndarray:
        """Lower bounds of the distances of points on segments from all other segments."""
        ends, (apart, opening) = self.parts[0].polygon._ends[segment], self.clear
        from_ends = np.stack([np.hypot(*(x - ends[:, i : i + 2]).T) for i in (0, 2)])
        return np.asarray(np.minimum(apart[segment], (from_ends * opening[:, segment]).min(axis=0)))

    def _sources(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All source points, walk by walk."""
        owner, point, share = (
            np.concatenate(parts) for parts in zip(_Met(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0)), *self.met)
        )
        order = np.argsort(owner, kind="stable")
        return point[order], share[order], np.bincount(owner, minlength=len(inside))[inside]


def _clearances(polygon: Polygon) -> tuple[np.ndarray, np.ndarray]:
    """Bounds for ``_Walks._clear``.

    (M,): distances of segments from those that share no end with them. (2, M): distances of their points from the segments that share
    their first or last end, relative to the distance from this end.
    """
    ends, pairs = polygon._ends.reshape(-1, 2, 2), polygon._pairs
    apart, opening = np.empty(len(ends)), np.ones((2, len(ends)))
    directions = ends[:, 1] - ends[:, 0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for k in range(len(ends)):
        shares = (pairs[:, :, None] == pairs[k]).any(axis=1)  # (M, 2): shares the first end of k, shares its last end
        others = ends[~shares.any(axis=1)]
        apart[k] = min(_distances(*pair).min(initial=np.inf) for pair in ((ends[k], others), (others.reshape(-1, 2), ends[k][None])))
        for at, sign in ((0, 1.0), (1, -1.0)):
            for j in np.flatnonzero(shares[:, at]):
                if j != k:
                    away = directions[j] if pairs[j, 0] == pairs[k, at] else -directions[j]
                    cosine = sign * float(directions[k] @ away)
                    opening[at, k] = np.sqrt(max(1 - cosine * cosine, 0.0)) if cosine > 0 else 1.0
    return apart, opening


def _distances(x: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(n, m): distances of points (n, 2) from segments (m, 2, 2)."""
    a, e = ends[:, 0], ends[:, 1] - ends[:, 0]
    away = x[:, None] - a
    t = np.clip((away * e).sum(axis=-1) / (e * e).sum(axis=-1), 0, 1)
    return np.asarray(np.linalg.norm(away - t[..., None] * e, axis=-1))


def _signed_area(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def _mixed(seed: int, leg: int, part: int) -> int:
    """A signed 64-bit seed for the walks of a leg in a region, by splitmix64."""
    z = (seed + 0x9E3779B97F4A7C15 * (1 + leg * 1024 + part)) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ z >> shift) * factor % 2**64
    z ^= z >> 31
    return z - (z >> 63 << 64)
