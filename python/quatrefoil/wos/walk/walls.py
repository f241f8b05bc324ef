"""The reflecting part of a boundary: who reflects, on which side of a polygon's the domain lies, and which of its corners hide what.

Meshes: ``facets``. Equation numbers are those of csrc/wos/stars/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _arrays, _backends
from ..._arguments import number, numbers_like
from ..._memo import Memo
from ..mesh import TriangleMesh
from ..polygon import Ball, Polygon
from ..rings import crossings, inside

Array = Any
_OFF = 1e-7  # of the box: how far off a segment its sides are looked at
_FLAT = 1e-9  # sine of an angle that is none
FAR = np.array([[1e3, -1.0, 1e3, 1.0]])  # a scaled segment that no walk comes near, where nothing absorbs


class Tables:
    """What walks on stars see, scaled: of polygons or a mesh the absorbing part (L, 4 or 9), the walls of the rest (M, 6 or 11) and their
    corners or edges (K, 6 or 12), as ``stars`` takes them, and behind each the ``first`` row of every instance. Pickles without what is
    compiled.
    """

    def __init__(self, *rows: np.ndarray) -> None:
        self.rows = rows
        self._arrays: dict[str, tuple[Array, ...]] = {}
        self._memos: dict[str, Memo] = {}
        self._part: tuple[Any, Any] = (None, None)  # the last one that was asked for

    def _arrays_of(self, kind: str) -> tuple[Array, ...]:
        made = self._arrays.get(kind)
        if made is None:  # as Pieces.arrays: what is compiled is of these very ones
            made = self._arrays.setdefault(kind, tuple(_arrays.of_kind(kind, x) for x in self.rows))
        return made

    def _memo_of(self, kind: str) -> Memo | None:
        """The compiled grids of the absorbing part, for calls whose arrays 2 and 3 are those of ``arrays(kind)``; None on a device."""
        if "@" in kind:
            return None
        core = _backends.native.core()
        if kind not in self._memos and core is not None:
            ends, first = self.rows[:2]
            made = core.wos.Mesh(ends) if ends.shape[1] == 9 else core.wos.Polygons(ends, first, closed=False)
            self._memos[kind] = Memo(made, "native", self._arrays_of(kind)[:2], at=2, private=True)
        return self._memos.get(kind)

    def _part_of(self, begin: int, end: int) -> Tables:
        """Those of instances [begin, end): these where all instances share them."""
        if len(self.rows[1]) == 2 or (begin, end) == (0, len(self.rows[1]) - 1):
            return self
        asked, part = self._part
        if asked != (begin, end):
            cut: list[np.ndarray] = []
            for table, first in zip(self.rows[::2], self.rows[1::2]):
                cut += [np.ascontiguousarray(table[first[begin] : first[end]]), first[begin : end + 1] - first[begin]]
            part = Tables(*cut)
            self._part = (begin, end), part
        found: Tables = part
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_memos": {}, "_part": (None, None)}


@dataclass
class Mixed:
    """``absorbing`` and ``reflecting``: which segments or triangles those are, in the order of the tables; where nothing absorbs the first
    of each polygon. ``turned``: reflecting ones whose corners go the other way.
    """

    tables: Tables
    absorbing: np.ndarray
    reflecting: np.ndarray
    turned: np.ndarray
    endless: bool


def conditions(boundary: Any, neumann: Any, robin: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Of every segment or triangle: 0 Dirichlet, 1 Neumann, 2 Robin; and μ."""
    if not isinstance(boundary, (Polygon, TriangleMesh)):
        what = "a Ball, which has no segments" if isinstance(boundary, Ball) else type(boundary).__name__
        raise ValueError(f"{label}: neumann needs a Polygon or a TriangleMesh, robin a Polygon; boundary is {what}")
    if isinstance(boundary, TriangleMesh) and robin is not None:
        raise ValueError(f"{label}: robin needs a Polygon; boundary is a TriangleMesh, which takes neumann only")
    code, mu = np.zeros(len(boundary._ends), np.int64), np.zeros(len(boundary._ends))
    for name, given, parts, number_of in (("neumann", neumann, "(where, h)", 1), ("robin", robin, "(where, mu, h)", 2)):
        if given is None:
            continue
        if not isinstance(given, (tuple, list)) or len(given) != number_of + 1:
            what = f"{parts}: where is bool, one entry per segment or triangle"
            raise TypeError(f"{label}: {name} is {_said(given)}, expected a tuple {what}")
        here = _per_piece(boundary, given[0], f"{name}'s where", label, bool)
        if (code[here] > 0).any():
            segment = int(np.flatnonzero(here & (code > 0))[0])
            raise ValueError(f"{label}: segment {segment} is in both neumann and robin; give it to one of them")
        code[here] = number_of
        if name == "robin":
            mu[here] = _of_mu(boundary, given[1], label)[here]
    return code, mu


def _said(given: Any) -> str:
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, (tuple, list)) else type(given).__name__


def _of_mu(polygon: Polygon | TriangleMesh, given: Any, label: str) -> np.ndarray:
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        return np.full(len(polygon._ends), number(given, label, "robin's mu"))
    mu = _per_piece(polygon, given, "robin's mu", label, float)
    if not (np.isfinite(mu) & (mu >= 0)).all():
        raise ValueError(f"{label}: robin's mu has negative or infinite numbers, expected 0 or more")
    return mu


def _per_piece(boundary: Polygon | TriangleMesh, given: Any, name: str, label: str, dtype: type) -> np.ndarray:
    """(M,) for every polygon, or a list of them, as one row a segment that is kept; or of a mesh's triangles."""
    sizes = np.diff(boundary._first_vertex if isinstance(boundary, Polygon) else boundary._first)
    if isinstance(given, (list, tuple)) and any(_arrays.kind(g) is not None for g in given):
        if boundary._batch is None or len(given) != boundary._count:
            raise ValueError(
                f"{label}: {name} is a list of {len(given)}, expected one array a boundary, of which there are {boundary._count}"
            )
        rows = [_row(g, name, label, dtype) for g in given]
    else:
        row = _row(given, name, label, dtype)
        rows = [row] * boundary._count if row.ndim == 1 else list(row) * (boundary._count if len(row) == 1 else 1)
        if len(rows) != boundary._count:
            raise ValueError(f"{label}: {name} has {len(rows)} rows, expected one a boundary, of which there are {boundary._count}")
    for b, row in enumerate(rows):
        if row.shape != (sizes[b],):
            what = f"segment of polygon {b}" if isinstance(boundary, Polygon) else "triangle"
            raise ValueError(f"{label}: {name} has shape {row.shape}, expected ({sizes[b]},): one entry a {what}")
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype)
    return np.asarray(flat[boundary._pairs[:, 0]] if isinstance(boundary, Polygon) else flat)


def _row(given: Any, name: str, label: str, dtype: type) -> np.ndarray:
    if dtype is float:
        return np.asarray(numbers_like(given, label, name), np.float64)
    array = np.asarray(given if _arrays.kind(given) is None else _arrays.to_host(given))
    if isinstance(given, np.ma.MaskedArray) or array.dtype != bool:
        cure = "; of their numbers give np.isin(np.arange(M), numbers)" if array.dtype.kind in "iu" else ""
        what = "expected bool: True where the segment or triangle has the condition"
        raise TypeError(f"{label}: {name} has dtype {array.dtype}, {what}{cure}")
    return array


def mixed(polygon: Polygon, code: np.ndarray, mu: np.ndarray, screening: float, label: str) -> Mixed:
    """The tables of the walk for a polygon with those conditions."""
    scaled = polygon._scaled_ends()
    turned = np.zeros(len(scaled), bool)
    for b, (begin, end) in enumerate(pairwise(polygon._first)):
        pairs = crossings(scaled[begin:end])
        for i, j in pairs[(code[begin:end][pairs] > 0).any(axis=1)][:1]:
            raise ValueError(
                f"{label}: segments {i} and {j} of polygon {b} cross, and at least one of them reflects: the domain lies on both sides of "
                "it; give the loops as polygons of their own"
            )
        turned[begin:end] = _turned(scaled[begin:end], len(pairs) == 0)
    oriented = np.where(turned[:, None], scaled[:, [2, 3, 0, 1]], scaled)
    where = np.repeat(np.arange(polygon._count), np.diff(polygon._first))
    absorbing, reflecting = np.flatnonzero(code == 0), np.flatnonzero(code > 0)
    none_left = [b for b in range(polygon._count) if not (code[polygon._first[b] : polygon._first[b + 1]] == 0).any()]
    for b in none_left:
        if screening == 0 and not (mu[polygon._first[b] : polygon._first[b + 1]] > 0).any():
            raise ValueError(
                f"{label}: all of polygon {b} reflects, so that u is known but for a constant; leave a Dirichlet part, "
                "a positive mu or a screening"
            )
    endless = len(none_left) > 0
    if endless and len(none_left) < polygon._count:
        raise ValueError(f"{label}: polygon {none_left[0]} has no Dirichlet part and others have; solve them apart")
    corners, of_corner = _corners(scaled, oriented, turned, code, polygon._first)
    ends = scaled[absorbing] if not endless else np.repeat(FAR, polygon._count, axis=0)
    first = _first(where[absorbing], polygon._count) if not endless else np.arange(polygon._count + 1)
    walls = np.concatenate([oriented, mu[:, None], (code == 2)[:, None].astype(float)], axis=1)[reflecting]
    tables = Tables(
        np.ascontiguousarray(ends), first, np.ascontiguousarray(walls), _first(where[reflecting], polygon._count),
        np.ascontiguousarray(corners), _first(of_corner, polygon._count),
    )  # fmt: skip
    return Mixed(tables, absorbing if not endless else polygon._first[:-1], reflecting, turned[reflecting], endless)


def _first(instance: np.ndarray, count: int) -> np.ndarray:
    return np.searchsorted(instance, np.arange(count + 1)).astype(np.int64)


def _next(segments: np.ndarray) -> np.ndarray:
    """The segment that follows each one in its ring."""
    last = np.append((segments[:-1, 2:] != segments[1:, :2]).any(axis=1), True)[: len(segments)]
    ends = np.flatnonzero(last)
    follows = np.arange(1, len(segments) + 1)
    follows[ends] = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    return follows


def _turned(segments: np.ndarray, simple: bool) -> np.ndarray:
    """Whether the domain lies to the right of each segment: asked at the longest one of every ring, or at each where some cross."""
    along = segments[:, 2:] - segments[:, :2]
    length = np.hypot(*along.T)
    turned = np.zeros(len(segments), bool)
    follows = _next(segments)
    start = 0
    for last in map(int, np.flatnonzero(follows <= np.arange(len(segments))) if simple else np.arange(len(segments))):
        longest = start + int(length[start : last + 1].argmax())
        left = np.array([-along[longest, 1], along[longest, 0]]) / length[longest]
        middle = 0.5 * (segments[longest, :2] + segments[longest, 2:])
        turned[start : last + 1] = not inside(segments, middle + min(_OFF, 1e-3 * length[longest]) * left)
        start = last + 1
    return turned


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
