"""The reflecting part of a polygon's boundary: who reflects, on which side the domain lies, and the corners that hide what is behind them.

Equation numbers are those of csrc/wos/stars/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _arrays, _backends
from ..._arguments import number, numbers_of
from ..._memo import Memo
from ..polygon import Ball, Polygon

Array = Any
_OFF = 1e-7  # of the box: how far off a segment its sides are looked at
_FLAT = 1e-9  # sine of an angle that is none
FAR = np.array([[1e3, -1.0, 1e3, 1.0]])  # a scaled segment that no walk comes near, where nothing absorbs


@dataclass
class Mixed:
    """``walls`` (M, 6): the scaled ends with the domain to the left, μ, 0 where Neumann and 1 where Robin; ``corners`` (K, 6): where, and
    the inner normals of both walls; ``ends`` (L, 4) the scaled segments of the rest. The ``first_`` row of each instance. ``absorbing`` and
    ``reflecting``: which segments of the polygon those are; ``turned``: reflecting segments that go the other way.
    """

    ends: np.ndarray
    first: np.ndarray
    walls: np.ndarray
    first_wall: np.ndarray
    corners: np.ndarray
    first_corner: np.ndarray
    absorbing: np.ndarray
    reflecting: np.ndarray
    turned: np.ndarray
    endless: bool

    def arrays(self, kind: str) -> tuple[Array, ...]:
        tables = (self.ends, self.first, self.walls, self.first_wall, self.corners, self.first_corner)
        return tuple(_arrays.of_kind(kind, x) for x in tables)


def conditions(polygon: Any, neumann: Any, robin: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Of every segment of the polygon: 0 Dirichlet, 1 Neumann, 2 Robin; and μ."""
    if not isinstance(polygon, Polygon):
        what = "a Ball, which has no segments; give a Polygon" if isinstance(polygon, Ball) else type(polygon).__name__
        raise ValueError(f"{label}: neumann and robin need a Polygon; boundary is {what}")
    code, mu = np.zeros(len(polygon.ends), np.int64), np.zeros(len(polygon.ends))
    for name, given, parts, number_of in (("neumann", neumann, "(where, h)", 1), ("robin", robin, "(where, mu, h)", 2)):
        if given is None:
            continue
        if not isinstance(given, tuple) or len(given) != number_of + 1:
            raise TypeError(f"{label}: {name} is {_said(given)}, expected a tuple {parts}")
        here = _per_segment(polygon, given[0], f"{name}'s where", label, bool)
        if (code[here] > 0).any():
            segment = int(np.flatnonzero(here & (code > 0))[0])
            raise ValueError(f"{label}: segment {segment} is in both neumann and robin; give it to one of them")
        code[here] = number_of
        if name == "robin":
            mu[here] = _of_mu(polygon, given[1], label)[here]
    return code, mu


def _said(given: Any) -> str:
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, (tuple, list)) else type(given).__name__


def _of_mu(polygon: Polygon, given: Any, label: str) -> np.ndarray:
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        return np.full(len(polygon.ends), number(given, label, "robin's mu"))
    mu = _per_segment(polygon, given, "robin's mu", label, float)
    if not (np.isfinite(mu) & (mu >= 0)).all():
        raise ValueError(f"{label}: robin's mu has negative or infinite numbers, expected 0 or more")
    return mu


def _per_segment(polygon: Polygon, given: Any, name: str, label: str, dtype: type) -> np.ndarray:
    """(M,) for every polygon, or a list of them, as one row a segment that is kept."""
    sizes = np.diff(polygon.first_vertex)
    if isinstance(given, (list, tuple)) and any(_arrays.kind(g) is not None for g in given):
        if polygon.batch is None or len(given) != polygon.count:
            raise ValueError(f"{label}: {name} is a list of {len(given)}, expected one array a polygon, of which there are {polygon.count}")
        rows = [_row(g, name, label, dtype) for g in given]
    else:
        row = _row(given, name, label, dtype)
        rows = [row] * polygon.count if row.ndim == 1 else list(row)
        if len(rows) != polygon.count:
            raise ValueError(f"{label}: {name} has {len(rows)} rows, expected one a polygon, of which there are {polygon.count}")
    for b, row in enumerate(rows):
        if row.shape != (sizes[b],):
            raise ValueError(f"{label}: {name} has shape {row.shape}, expected ({sizes[b]},): one entry a segment of polygon {b}")
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype)
    return np.asarray(flat[polygon.pairs[:, 0]])


def _row(given: Any, name: str, label: str, dtype: type) -> np.ndarray:
    if dtype is float:
        return np.asarray(numbers_of(given, label, name), np.float64)
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if isinstance(given, np.ma.MaskedArray) or array.dtype != bool:
        raise TypeError(f"{label}: {name} has dtype {array.dtype}, expected bool: True where the segment has the condition")
    return array


def mixed(polygon: Polygon, code: np.ndarray, mu: np.ndarray, screening: float, label: str) -> Mixed:
    """The tables of the walk for a polygon with those conditions."""
    scaled = polygon.scaled_ends()
    turned = np.concatenate([_turned(scaled[a:b]) for a, b in zip(polygon.first[:-1], polygon.first[1:])] or [np.zeros(0, bool)])
    oriented = np.where(turned[:, None], scaled[:, [2, 3, 0, 1]], scaled)
    where = np.repeat(np.arange(polygon.count), np.diff(polygon.first))
    absorbing, reflecting = np.flatnonzero(code == 0), np.flatnonzero(code > 0)
    none_left = [b for b in range(polygon.count) if not (code[polygon.first[b] : polygon.first[b + 1]] == 0).any()]
    for b in none_left:
        if screening == 0 and not (mu[polygon.first[b] : polygon.first[b + 1]] > 0).any():
            raise ValueError(
                f"{label}: all of polygon {b} reflects, so that u is known but for a constant; leave a Dirichlet part, "
                "a positive mu or a screening"
            )
    endless = len(none_left) > 0
    if endless and len(none_left) < polygon.count:
        raise ValueError(f"{label}: polygon {none_left[0]} has no Dirichlet part and others have; solve them apart")
    corners, of_corner = _corners(scaled, oriented, turned, code, polygon.first)
    ends = scaled[absorbing] if not endless else np.repeat(FAR, polygon.count, axis=0)
    first = _first(where[absorbing], polygon.count) if not endless else np.arange(polygon.count + 1)
    walls = np.concatenate([oriented, mu[:, None], (code == 2)[:, None].astype(float)], axis=1)[reflecting]
    return Mixed(
        np.ascontiguousarray(ends), first, np.ascontiguousarray(walls), _first(where[reflecting], polygon.count),
        np.ascontiguousarray(corners), _first(of_corner, polygon.count), absorbing, reflecting, turned[reflecting], endless,
    )  # fmt: skip


def _first(instance: np.ndarray, count: int) -> np.ndarray:
    return np.searchsorted(instance, np.arange(count + 1)).astype(np.int64)


def _next(segments: np.ndarray) -> np.ndarray:
    """The segment that follows each one in its ring."""
    last = np.append((segments[:-1, 2:] != segments[1:, :2]).any(axis=1), True)[: len(segments)]
    ends = np.flatnonzero(last)
    follows = np.arange(1, len(segments) + 1)
    follows[ends] = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    return follows


def _turned(segments: np.ndarray) -> np.ndarray:
    """Whether the domain lies to the right of each segment: asked at the longest one of every ring."""
    along = segments[:, 2:] - segments[:, :2]
    length = np.hypot(*along.T)
    turned = np.zeros(len(segments), bool)
    follows = _next(segments)
    start = 0
    for last in map(int, np.flatnonzero(follows <= np.arange(len(segments)))):
        longest = start + int(length[start : last + 1].argmax())
        left = np.array([-along[longest, 1], along[longest, 0]]) / length[longest]
        middle = 0.5 * (segments[longest, :2] + segments[longest, 2:])
        turned[start : last + 1] = not _inside(segments, middle + min(_OFF, 1e-3 * length[longest]) * left)
        start = last + 1
    return turned


def _inside(segments: np.ndarray, x: np.ndarray) -> bool:
    """Odd crossing number."""
    ax, ay, bx, by = segments.T
    side = (bx - ax) * (x[1] - ay) - (x[0] - ax) * (by - ay)
    return bool((((ay <= x[1]) & (x[1] < by) & (side > 0)) | ((by <= x[1]) & (x[1] < ay) & (side < 0))).sum() % 2)


def _corners(scaled: np.ndarray, oriented: np.ndarray, turned: np.ndarray, code: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, Any]:
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
        turn = np.where(turned[at], -turn, turn)  # a ring that goes the other way comes to its corners from behind
        back = (unit[at] * unit[after]).sum(axis=1) < -1 + 1e-12  # a slit
        chosen = reflects & ((turn < -_FLAT) | back)
        rows.append(np.concatenate([scaled[at, 2:], inner[at], inner[after]], axis=1)[chosen])
        owner.append(np.full(int(chosen.sum()), b, np.int64))
    return np.concatenate(rows), np.concatenate(owner)


def grids(tables: tuple[Array, ...], kind: str) -> Memo | None:
    """The compiled grids of the absorbing part, for calls whose arrays 2 and 3 are ``tables``'s first two."""
    core = _backends.native.core()
    if core is None:
        return None
    plain = [x if isinstance(x, np.ndarray) else x.numpy() for x in tables[:2]]
    return Memo(core.wos.Polygons(*plain, closed=False), "native", tables[:2], at=2, private=True)
