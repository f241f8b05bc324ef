"""The reflecting part of a polygon: on which side of each segment the domain lies, and the corners that hide walls.

Equation numbers refer to csrc/wos/stars/README.md.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..polygon import Polygon
from ..rings import FLAT, crossings, inside
from .tables import Reflecting, Tables

_OFF = 1e-7  # distance from a segment, relative to the box, at which its side is tested
FAR = np.array([[1e3, -1.0, 1e3, 1.0]])  # scaled segment far from all walks, used if nothing absorbs


def reflecting_polygon(polygon: Polygon, code: np.ndarray, mu: np.ndarray, screening: float, label: str) -> Reflecting:
    """The tables of the walk for a polygon with these conditions."""
    scaled = polygon._scaled_ends()
    flipped = np.zeros(len(scaled), bool)
    for b, (begin, end) in enumerate(pairwise(polygon._first)):
        pairs = crossings(scaled[begin:end])
        numbers = polygon._pairs[begin:end, 0] - polygon._first_vertex[b]  # count segments of length 0, too
        for i, j in numbers[pairs[(code[begin:end][pairs] > 0).any(axis=1)][:1]]:
            raise ValueError(
                f"{label}: segments {i} and {j} of polygon {b} cross, and at least one of them reflects: the domain lies on both sides of "
                "it; pass the loops as separate polygons"
            )
        flipped[begin:end] = _flipped(scaled[begin:end], len(pairs) == 0)
    oriented = np.where(flipped[:, None], scaled[:, [2, 3, 0, 1]], scaled)
    where = np.repeat(np.arange(polygon._count), np.diff(polygon._first))
    absorbing, reflecting = np.flatnonzero(code == 0), np.flatnonzero(code > 0)
    none_left = [b for b in range(polygon._count) if not (code[polygon._first[b] : polygon._first[b + 1]] == 0).any()]
    for b in none_left:
        if screening == 0 and not (mu[polygon._first[b] : polygon._first[b + 1]] > 0).any():
            raise ValueError(
                f"{label}: all of polygon {b} reflects, so u is unique only up to a constant; add a Dirichlet part, "
                "a positive mu or a screening"
            )
    endless = len(none_left) > 0
    if endless and len(none_left) < polygon._count:
        raise ValueError(f"{label}: polygon {none_left[0]} has no Dirichlet part, but others have one; solve them separately")
    corners, of_corner = _corners(scaled, oriented, flipped, code, polygon._first)
    ends = scaled[absorbing] if not endless else np.repeat(FAR, polygon._count, axis=0)
    first = _first(where[absorbing], polygon._count) if not endless else np.arange(polygon._count + 1)
    walls = np.concatenate([oriented, mu[:, None], (code == 2)[:, None].astype(float)], axis=1)[reflecting]
    tables = Tables(
        np.ascontiguousarray(ends), first, np.ascontiguousarray(walls), _first(where[reflecting], polygon._count),
        np.ascontiguousarray(corners), _first(of_corner, polygon._count),
    )  # fmt: skip
    return Reflecting(tables, absorbing if not endless else polygon._first[:-1], reflecting, flipped[reflecting], endless)


def _first(instance: np.ndarray, count: int) -> np.ndarray:
    return np.searchsorted(instance, np.arange(count + 1)).astype(np.int64)


def _next(segments: np.ndarray) -> np.ndarray:
    """The segment that follows each segment in its ring."""
    last = np.append((segments[:-1, 2:] != segments[1:, :2]).any(axis=1), True)[: len(segments)]
    ends = np.flatnonzero(last)
    follows = np.arange(1, len(segments) + 1)
    follows[ends] = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    return follows


def _flipped(segments: np.ndarray, simple: bool) -> np.ndarray:
    """Whether the domain lies to the right of each segment. Tests the longest segment of every ring, or each segment if some cross."""
    along = segments[:, 2:] - segments[:, :2]
    length = np.hypot(*along.T)
    flipped = np.zeros(len(segments), bool)
    follows = _next(segments)
    start = 0
    for last in map(int, np.flatnonzero(follows <= np.arange(len(segments))) if simple else np.arange(len(segments))):
        longest = start + int(length[start : last + 1].argmax())
        left = np.array([-along[longest, 1], along[longest, 0]]) / length[longest]
        middle = 0.5 * (segments[longest, :2] + segments[longest, 2:])
        flipped[start : last + 1] = not inside(segments, middle + min(_OFF, 1e-3 * length[longest]) * left)
        start = last + 1
    return flipped


def _corners(scaled: np.ndarray, oriented: np.ndarray, flipped: np.ndarray, code: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, Any]:
    """(2) The re-entrant corners between reflecting segments, and the polygon of each."""
    along = oriented[:, 2:] - oriented[:, :2]
    unit = along / np.hypot(*along.T)[:, None]
    inner = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
    rows, owner = [np.zeros((0, 6))], [np.zeros(0, np.int64)]
    for b in range(len(first) - 1):
        at = np.arange(first[b], first[b + 1])
        after = first[b] + _next(scaled[at])
        reflects = (code[at] > 0) & (code[after] > 0)
        turn = unit[at, 0] * unit[after, 1] - unit[at, 1] * unit[after, 0]
        turn = np.where(flipped[at], -turn, turn)  # reversed rings visit their corners in the opposite direction
        back = (unit[at] * unit[after]).sum(axis=1) < -1 + 1e-12  # a slit
        chosen = reflects & ((turn < -FLAT) | back)
        rows.append(np.concatenate([scaled[at, 2:], inner[at], inner[after]], axis=1)[chosen])
        owner.append(np.full(int(chosen.sum()), b, np.int64))
    return np.concatenate(rows), np.concatenate(owner)
