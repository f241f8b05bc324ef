"""Exact queries of a polygon in scaled coordinates: inside, closest point."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _backends
from ..polygon import Polygon


def _native(backend: str | None) -> bool:
    return (backend or _backends.default()) == "native"


def contains(polygon: Polygon, instance: int, points: np.ndarray, backend: str | None, num_threads: int | None) -> np.ndarray:
    """Odd crossing number; points of the boundary may count as either."""
    inside = np.zeros(len(points), bool)
    points = np.ascontiguousarray(points)
    if _native(backend):
        core = _backends.native.core().wos
        core.locate(polygon.native(core), instance, points, inside, None, None, None, None, num_threads or 0)
    else:
        from . import _numba

        _numba.contains(_segments(polygon, instance), points, inside)
    return inside


def closest(
    polygon: Polygon, instance: int, points: np.ndarray, backend: str | None, num_threads: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distance and closest point."""
    distance, at = np.empty(len(points)), np.empty((len(points), 2))
    points = np.ascontiguousarray(points)
    if _native(backend):
        core = _backends.native.core().wos
        core.locate(
            polygon.native(core),
            instance,
            points,
            np.zeros(len(points), bool),
            distance,
            at,
            None,
            None,
            num_threads or 0,
        )
    else:
        from . import _numba

        _numba.closest(_segments(polygon, instance), points, distance, at)
    return distance, at


def _segments(polygon: Polygon, instance: int) -> Any:
    return polygon.scaled_ends()[polygon.first[instance] : polygon.first[instance + 1]]
