"""The walks of one round by Numba, their data by NumPy: what csrc/wos does, slower and in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import NONE
from ..polygon import Polygon
from .result import State

if TYPE_CHECKING:
    from .problem import Prepared

_BLOCK = 1 << 14  # walks at once: their source points are held in memory


def walk(p: Prepared, begin: int, end: int, first: int, count: int, state: State, ends: Any, segments: Any) -> None:
    """Fill ``state`` (and ends, segments) with walks [first, first + count) of instances [begin, end)."""
    values = np.full((end - begin, p.N, count), np.nan)
    marks = np.zeros((end - begin, p.N, count), np.int64)
    for b in range(begin, end):
        points = np.flatnonzero(p.live[b])
        for at in range(0, len(points) * count, _BLOCK):
            index = np.arange(at, min(at + _BLOCK, len(points) * count))
            _block(p, b, points[index // count], index % count, first, values[b - begin], marks[b - begin],
                   None if ends is None else ends[b - begin], None if segments is None else segments[b - begin])  # fmt: skip
    from . import _numba

    rows = (end - begin) * p.N
    flat = marks.reshape(rows, count)
    made = State.of_values(
        first, values.reshape(rows, count), (flat & (_numba.ESCAPED - 1)).sum(axis=1),
        ((flat & _numba.CUT_OFF) != 0).sum(axis=1), ((flat & _numba.ESCAPED) != 0).sum(axis=1),
    )  # fmt: skip
    for name in ("mean", "m2", "steps", "truncated", "escaped"):
        getattr(state, name)[...] = getattr(made, name)


def _block(
    p: Prepared,
    b: int,
    point: np.ndarray,
    walk: np.ndarray,
    first: int,
    values: np.ndarray,
    marks: np.ndarray,
    ends: Any,
    segments: Any,
) -> None:
    from . import _numba

    boundary = p.boundary
    table, base = np.empty((0, 4)), 0
    if isinstance(boundary, Polygon):
        at = b if boundary.count > 1 else 0
        table = boundary.scaled_ends()[boundary.first[at] : boundary.first[at + 1]]
        base = p.first_pair(b)
    n, d = len(point), boundary.dimension
    end, segment, place, mark = np.empty((n, d)), np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64)
    seed = p.problem.seed
    event, weight, owner = _numba.walks(
        table, np.ascontiguousarray(p.scaled[b, point]), (first + walk).astype(np.uint64), point.astype(np.uint64), np.uint64(b),
        np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32), float(p.epsilon[b]), p.problem.max_steps, p.source.kind != NONE,
        end, segment, place, mark,
    )  # fmt: skip

    def absolute(x: np.ndarray) -> np.ndarray:
        return np.asarray(p.centre[b] + p.extent[b] * x)

    value = p.dirichlet.evaluate(b, end, absolute(end), segment + base, place)
    if len(event):
        none = np.zeros(0, np.int64)
        f = p.source.evaluate(b, event, absolute(event), none, np.zeros(0))
        value = value + np.bincount(owner, weight * p.extent[b] ** 2 * f, minlength=n)
    values[point, walk] = value
    marks[point, walk] = mark
    if ends is not None:
        ends[point, walk, :d], ends[point, walk, d] = absolute(end), place
        segments[point, walk] = segment
