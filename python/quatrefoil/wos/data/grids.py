"""Boxes, and regular grids of values in them. Equation numbers refer to csrc/wos/data/README.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._arguments import point, reject_masked

_SMALLEST, _LARGEST = 1e-70, 1e70  # limits of a box's sides, as for the extent of a polygon


def box_of(box: Any, label: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Check and return the corners of a box."""
    reject_masked(box, label, "box")
    if not hasattr(box, "__len__") or isinstance(box, (str, dict)):
        raise TypeError(f"{label}: box is {type(box).__name__}, expected (lo, hi), the corners of a box")
    if len(box) != 2:
        raise ValueError(f"{label}: box has {len(box)} entries, expected (lo, hi), the corners of a box")
    lo, hi = (point(x, label, f"box[{i}]") for i, x in enumerate(box))
    check_corners(lo, hi, label, "box")
    return lo, hi


def check_corners(lo: Sequence[float], hi: Sequence[float], label: str, name: str) -> None:
    """Raise ValueError unless ``lo`` and ``hi`` are opposite corners of a box."""
    if len(lo) != len(hi):
        raise ValueError(f"{label}: {name} has corners of {len(lo)} and {len(hi)} coordinates, expected the same number")
    for i, (a, b) in enumerate(zip(lo, hi)):
        if not a < b:
            raise ValueError(f"{label}: {name} ranges from {a} to {b} along axis {i}, expected lo < hi for its two corners (lo, hi)")
        if not _SMALLEST <= b - a <= _LARGEST:
            raise ValueError(f"{label}: {name} has a side of {b - a:.3g}, expected {_SMALLEST:.0e} to {_LARGEST:.0e}")


class Cells:
    """(8) The positions in a grid of points (..., d) in absolute coordinates.

    These are the lowest corners of their cells, and the coordinates in the cell and in the grid.
    """

    def __init__(self, sizes: Sequence[int], box: np.ndarray, X: np.ndarray) -> None:
        last = np.array(sizes) - 1
        t = (X - box[0]) * (last / (box[1] - box[0]))
        self.inside = (t >= 0) & (t <= last)
        self.t = np.where(t > 0, np.minimum(t, last), 0.0)
        self.corner = np.minimum(self.t.astype(np.int64), last - 1)
        self.fraction = self.t - self.corner


def interpolated(values: np.ndarray, corner: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Interpolate linearly along every axis, the last axis first. Equal neighbours give exactly their value."""
    d = values.ndim
    at_corners = [values[tuple(corner[..., i] + bit for i, bit in enumerate(bits))] for bits in itertools.product((0, 1), repeat=d)]
    for i in reversed(range(d)):
        at_corners = [a + fraction[..., i] * (b - a) for a, b in zip(at_corners[::2], at_corners[1::2])]
    return np.asarray(at_corners[0])


def at_instances(function: Callable[[np.ndarray, np.ndarray], np.ndarray], table: np.ndarray, X: np.ndarray, d: int) -> np.ndarray:
    """Apply ``function`` to a table with d axes, or to each instance's table. Points are (n, d), for all instances, or (B, n, d)."""
    if table.ndim == d:
        return function(table, X)
    if X.ndim == 3 and len(X) != len(table):
        raise ValueError(f"X has shape {X.shape}, expected (n, {d}) or ({len(table)}, n, {d})")
    empty = np.zeros((0, X.shape[-2]), np.result_type(table, X))
    return np.stack([function(one, X[b] if X.ndim == 3 else X) for b, one in enumerate(table)]) if len(table) else empty
