"""Error bars of points whose walks all have the same value: csrc/wos/walk/README.md (26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _arrays
from ..data.packed import PackedData, detached
from ..query import closest_point, contains
from .prepared import Prepared
from .state import COUNTS, Groups, State
from .units import alpha_unit, each_instance

Array = Any
_STEPS = COUNTS.index("steps")
_SAMPLES = 1024  # points at which functions are evaluated
_ROUNDING = 2.0**-40  # data with a smaller relative range of values are treated as constant


def with_alike(
    p: Prepared, points: Array, ranges: Callable[[], np.ndarray], state: State | Groups, mean: Array, bars: np.ndarray
) -> np.ndarray:
    """Error bars (rows, channels) in units of u. If all walks of a point have the same value, its error bar is (26) instead of 0.

    ``ranges`` returns the result of ``ranges_of``. It is called only if there are such points.
    """
    counts = _arrays.to_host(state.counts)
    rows = np.flatnonzero((bars == 0).all(axis=1) & (counts[:, _STEPS] > 0))
    if not len(rows):
        return bars
    n = np.asarray(np.broadcast_to(state.samples, len(bars)), np.float64)[rows]
    value, (low, high) = _arrays.to_host(mean)[rows, 0], ranges()[rows // p.sizes.N].T
    reach = np.maximum(np.maximum(high - value, value - low), 0.0)
    reach[reach <= _ROUNDING * np.maximum(abs(low), abs(high))] = 0.0
    sizes = [reach]
    if bars.shape[1] > 1:
        distance = _arrays.to_host(closest_point(p.boundary, detached(points)).distance)
        radius = np.broadcast_to(distance, (p.sizes.B, p.sizes.N)).reshape(-1)[rows]
        d = p.boundary.dimension
        sizes += [np.where(reach > 0, d / 2 * (high - low), 0.0) / radius] * d
    bars = bars.copy()
    bars[rows] = np.stack(sizes, axis=1) * np.sqrt(2 / ((n + 2) * (n + 3)))[:, None]
    return bars


def ranges_of(p: Prepared) -> np.ndarray:
    """Bounds (B, 2) on the values of a walk, in units of u. Functions are evaluated at points of the boundary and the domain."""
    s, diagonal = p.statement, np.maximum(p.boundary._diagonal, 2 * p.statement._reach)
    low, high = _range(p, p.linear[0], of_domain=False)
    to_infinity = s.exterior and s.boundary.dimension > 2
    if to_infinity or s._rate > 0 or p.bound is not None or s.robin is not None:  # walks may lose their weight
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    for k, data in enumerate(p.linear[1:]):
        size = diagonal if k else diagonal**2 / (8 * p.boundary.dimension)  # largest u with -Δu = 1 in the ball around the box
        if s._interfaces is not None:
            size = size / s._interfaces.alphas.min()
        if s._varies and p.bound is not None and k == 0:
            size = size * 2.0 ** alpha_unit(p.bound.largest, p.data[-2]) / p.bound.largest
        smallest, largest = _range(p, data, of_domain=k == 0)
        low, high = low + np.minimum(smallest, 0.0) * size, high + np.maximum(largest, 0.0) * size
    return np.stack([np.broadcast_to(x, p.sizes.B) for x in (low, high)], axis=1)


def _range(p: Prepared, data: PackedData, of_domain: bool) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each instance's data, (1,) or (B,) each."""
    if data.function is not None:
        rows = _of_function(p, data, of_domain)
    elif data.numbers is None:
        rows = np.zeros((1, 2))
    else:
        bounds_of = _OF_KIND.get(data.kind, _of_numbers)
        return each_instance(data, lambda c: bounds_of(c)[0]), each_instance(data, lambda c: bounds_of(c)[1])
    return rows[:, 0], rows[:, 1]


def _of_numbers(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finite = np.where(np.isfinite(c), c, np.nan)
    return np.fmin.reduce(finite, axis=1, initial=np.inf), np.fmax.reduce(finite, axis=1, initial=-np.inf)


def _of_bells(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(c, 0.0).sum(axis=1), np.maximum(c, 0.0).sum(axis=1)


def _of_series(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a series: the terms after the first are at most as large as their coefficients."""
    rest = np.abs(c[:, 1:]).sum(axis=1)
    return c[:, 0] - rest, c[:, 0] + rest


_OF_KIND = {"gaussians": _of_bells, "fourier": _of_series, "polynomial": _of_series}


def _of_function(p: Prepared, data: PackedData, of_domain: bool) -> np.ndarray:
    """The range (B, 2) of the values at random points of the domain or its boundary."""
    b, d = p.boundary, p.boundary.dimension
    side = np.minimum(b._diagonal, 2 * b._extent)[:, None, None]
    X = b._centre[:, None] + side * np.random.default_rng(0).uniform(-0.5, 0.5, (_SAMPLES, d))
    X = X if b._batch is not None else X[0]
    inside = np.broadcast_to(contains(b, X), X.shape[:-1])
    X = X if of_domain else closest_point(b, X).point
    ranges = np.zeros((p.sizes.B, 2))
    for i in range(p.sizes.B):
        k = slice(None) if b._batch is None else i if b._count > 1 else 0
        values = np.asarray(data.function(i, X[k][inside[k]] if of_domain else X[k]))
        ranges[i] = [float(x[0]) for x in _of_numbers(values[None])]
    return ranges
