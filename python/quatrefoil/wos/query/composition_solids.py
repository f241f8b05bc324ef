"""Balls, boxes and signed distance fields at many points (P, d) at once, with array API functions in float64.

Equation numbers refer to csrc/wos/solid/README.md.
"""

from __future__ import annotations

from typing import Any

from ..._array_tools import added


def is_solid(ends: Any, d: int) -> bool:
    """Whether the table describes a solid: None for the unit ball, otherwise one row with half of a box's side lengths, or a field."""
    return ends is None or bool(ends.shape[0] == 1 and ends.shape[1] != d * d)


def is_box(ends: Any, d: int) -> bool:
    return ends is not None and bool(ends.shape[1] == d)


def field_of(label: str, ends: Any, d: int) -> Any:
    """The row of a field. Raises NotImplementedError for a function's row, which has no nodes and so is shorter than any field's."""
    if ends.shape[1] == 2 + 4 * d:
        raise NotImplementedError(f"{label}: backend 'array' cannot call a compiled distance function; sample it on a grid")
    return ends[0, :]


def norm(xp: Any, x: Any) -> Any:
    """The norms of vectors (..., d)."""
    return xp.sqrt(xp.sum(x * x, axis=-1))


def _field(xp: Any, row: Any, x: Any) -> tuple[Any, Any]:
    """(2) The field (P,) and its slopes (P, d) in scaled coordinates. Outside its box, those at the closest point of the box."""
    d = x.shape[1]
    last, low, high = row[1 : 1 + d] - 1, row[1 + d : 1 + 2 * d], row[1 + 2 * d : 1 + 3 * d]
    steps = last / (high - low)
    t = (x - low) * steps
    t = xp.where(t > 0, xp.where(t < last, t, xp.zeros_like(t) + last), xp.zeros_like(t))  # NaN is treated as 0
    corner = xp.floor(t)
    corner = xp.where(corner < last, corner, xp.zeros_like(t) + (last - 1))
    fraction, sizes = t - corner, xp.astype(last + 1, xp.int64)
    value: Any = None
    slopes: list[Any] = [None] * d
    for bits in range(1 << d):
        node: Any = 0
        sides, signs = [], []
        for i in range(d):
            bit = bits >> (d - 1 - i) & 1
            node = node * sizes[i] + xp.astype(corner[:, i], xp.int64) + bit
            sides.append(fraction[:, i] if bit else 1 - fraction[:, i])
            signs.append(1.0 if bit else -1.0)
        v = xp.take(row, 1 + 3 * d + node, axis=0)
        value = added(value, _product(sides, v))
        for i in range(d):
            slopes[i] = added(slopes[i], signs[i] * _product([*sides[:i], *sides[i + 1 :]], v * steps[i]))
    return value, xp.stack(slopes, axis=1)


def _product(factors: list[Any], first: Any) -> Any:
    for f in factors:
        first = first * f
    return first


def _project(xp: Any, row: Any, x: Any) -> tuple[Any, Any]:
    """(3), at most eight steps: the field at x, and the closest points."""
    d = x.shape[1]
    low, high = row[1 + d : 1 + 2 * d], row[1 + 2 * d : 1 + 3 * d]
    at, first = x, _field(xp, row, x)[0]
    todo = xp.ones(first.shape, dtype=xp.bool, device=x.device)
    for _ in range(8):
        value, slopes = _field(xp, row, at)
        steepness = xp.sum(slopes * slopes, axis=1)
        todo = todo & (steepness > 1e-12) & ~(xp.abs(value) < 1e-14)
        share = value / xp.where(todo, steepness, xp.ones_like(steepness))
        moved = xp.minimum(xp.maximum(at - share[:, None] * slopes, low), high)
        at = xp.where(todo[:, None], moved, at)
    return first, at


def _nearest_on_box(xp: Any, half: Any, x: Any) -> tuple[Any, Any, Any]:
    excess = xp.abs(x) - half
    best, axis = xp.max(excess, axis=1), xp.argmax(excess, axis=1)
    beyond = xp.where(excess > 0, excess, xp.zeros_like(excess))
    is_axis = xp.arange(x.shape[1], dtype=axis.dtype, device=x.device) == axis[:, None]
    within = ~(best > 0)
    at = xp.minimum(xp.maximum(x, -half), half)
    at = xp.where(within[:, None] & is_axis, xp.where(x < 0, -half, half), at)
    face = 2 * axis + xp.astype(~xp.any(is_axis & (x < 0), axis=1), axis.dtype)
    return xp.where(within, best, norm(xp, beyond)), at, xp.astype(face, xp.int64)


def nearest_on_solid(xp: Any, label: str, ends: Any, x: Any) -> tuple[Any, Any, Any]:
    """The distance (P,), negative inside, the closest point, and the face of a box."""
    P, d = x.shape
    none = xp.zeros((P,), dtype=xp.int64, device=x.device)
    if ends is None:
        r = norm(xp, x)
        first = xp.astype(xp.arange(d, dtype=xp.int64, device=x.device) == 0, x.dtype)
        apart = (r > 0)[:, None]
        return r - 1, xp.where(apart, x / xp.where(apart, r[:, None], xp.ones_like(x)), xp.zeros_like(x) + first), none
    if is_box(ends, d):
        return _nearest_on_box(xp, ends[0, :], x)
    return *_project(xp, field_of(label, ends, d), x), none


def radius_in_solid(xp: Any, label: str, ends: Any, x: Any, outside: bool = False) -> Any:
    """The radius of a walk's ball around x."""
    d = x.shape[1]
    if ends is None or is_box(ends, d):
        distance = nearest_on_solid(xp, label, ends, x)[0]
        return distance if outside else -distance
    row = field_of(label, ends, d)
    value = _field(xp, row, x)[0] / row[0]
    if not outside:
        return -value
    away = xp.clip(xp.abs(x) - row[1 + 2 * d : 1 + 3 * d], min=0.0)
    return xp.sqrt(xp.sum(away * away, axis=1) + xp.clip(value, min=0.0) ** 2)  # (8)
