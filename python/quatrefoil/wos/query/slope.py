"""Gradients of signed distances: outward unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..region import Region, inward_normals

Array = Any
_ROUNDINGS = 256  # in units of eps times the extent; closer to the boundary than this, the direction of the closest point is noise


def slope(boundary: Any, q: Array, signed: Array, point: Array, primitive: Array) -> Array:
    """The gradients (..., d). Within a rounding error of the boundary, the normal of the closest primitive.

    NaN within a rounding error of an SDF's boundary, because an SDF has no primitives.
    """
    xp, lead = _arrays.namespace(q), tuple(signed.shape)
    extent = _of_each(boundary._extent, boundary, lead, signed)
    near = abs(signed) <= _ROUNDINGS * np.finfo(_arrays.dtype_name(q)).eps * extent
    safe = xp.where(near, xp.ones_like(signed), signed)
    away = (q - point) / safe[..., None]
    if _arrays.on_host(q) and not near.any():
        return away
    normal = _normals(boundary, point, primitive, lead)
    off = 1e-4 * extent[..., None] * normal
    inward = boundary.contains(point + off) & ~boundary.contains(point - off)
    return xp.where(near[..., None], xp.where(inward[..., None], -normal, normal), away)


def _of_each(numbers: np.ndarray, boundary: Region, lead: tuple[int, ...], like: Array) -> Array:
    """Values of each instance as an array of the type of ``like`` that broadcasts to the points' axes."""
    axes = (-1, *[1] * (len(lead) - 1)) if boundary._batch is not None else [1] * len(lead)
    cast = numbers.astype(_arrays.dtype_name(like)) if numbers.dtype == np.float64 else numbers
    return _arrays.of_kind(_arrays.location(like), cast).reshape(axes)


def _normals(boundary: Any, point: Array, primitive: Array, lead: tuple[int, ...]) -> Array:
    """Unit normals (..., d) of the primitives, with either sign."""
    location, dtype, d = _arrays.location(point), _arrays.dtype_name(point), boundary.dimension
    xp = _arrays.namespace(point)
    if hasattr(boundary, "_ends"):
        normals = -inward_normals(boundary._ends.reshape(-1, d, d))
        primitive = primitive + _of_each(boundary._first[:-1], boundary, lead, primitive)
    elif boundary._row() is None:  # a ball
        centre = _arrays.of_kind(location, boundary._centre[0].astype(dtype))
        return (point - centre) / float(boundary._extent[0])
    else:
        is_box = boundary._row().shape == (d,)
        normals = np.repeat(np.eye(d) if is_box else np.full((d, d), np.nan), 2, axis=0)
    rows = _arrays.of_kind(location, normals.astype(dtype))
    at = xp.clip(primitive.reshape(-1), min=0)  # -1 for device points that are not finite
    return rows[at].reshape((*lead, d))
