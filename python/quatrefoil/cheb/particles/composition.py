"""Short-range sums with array API functions, in double precision: the formulas of csrc/cheb/particles, over all P N pairs.

There are no cells, because a composition cannot branch on the number of charges in a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._array_tools import chunk_slices, double, finite

LIVE = 8  # approximate number of temporary arrays with one element per pair


def _pair(xp: Any, s: Any, c: Sequence[float], cutoff: float) -> tuple[Any, Any]:
    """README (7): B and 2 B', twice its derivative with respect to s = r^2, up to the cutoff; NaN stays NaN."""
    within, scale = ~(s >= cutoff * cutoff), 2 / (cutoff * cutoff)
    zero = xp.zeros_like(s)
    x = scale * xp.clip(s, max=cutoff * cutoff) - 1
    p, dp = zero + c[-1], zero
    for number in c[-2::-1]:
        dp = dp * x + p
        p = p * x + number
    apart = ~(s <= 0)
    inverse = xp.where(apart, 1 / xp.sqrt(xp.where(apart, s, xp.ones_like(s))), zero)
    return xp.where(within, inverse - p, zero), xp.where(within, -(inverse**3 + 2 * scale * dp), zero)


def _sums(xp: Any, X: Any, w: Any, points: Any, bracket: Sequence[float], slopes: bool) -> Any:
    """The sums at all points (N,), or their slopes (N, 3)."""
    cutoff, *c = bracket
    X, w, points = finite(xp, double(xp, X)), double(xp, w), finite(xp, double(xp, points))
    parts = []
    for at in chunk_slices(points.shape[0], LIVE * X.shape[0], xp):
        d = [points[at, k][:, None] - X[:, k] for k in range(3)]
        value, down = _pair(xp, d[0] * d[0] + d[1] * d[1] + d[2] * d[2], c, cutoff)
        if slopes:
            parts.append(xp.stack([xp.sum(w * down * part, axis=1) for part in d], axis=1))
        else:
            parts.append(xp.sum(w * value, axis=1))
    return xp.concat(parts, axis=0)


def short_range(xp: Any, X: Any, q: Any, targets: Any, bracket: Sequence[float]) -> Any:
    return xp.astype(_sums(xp, X, q, targets, bracket, slopes=False), q.dtype)


def short_range_vjp(xp: Any, X: Any, q: Any, targets: Any, grad: Any, bracket: Sequence[float]) -> Any:
    """README (8)."""
    dtargets = _sums(xp, X, q, targets, bracket, slopes=True) * double(xp, grad)[:, None]
    dX = _sums(xp, targets, grad, X, bracket, slopes=True) * double(xp, q)[:, None]
    dq = _sums(xp, targets, grad, X, bracket, slopes=False)
    return tuple(xp.astype(a, q.dtype) for a in (dX, dq, dtargets))
