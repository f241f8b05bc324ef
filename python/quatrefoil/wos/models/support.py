"""The support of sources. Without screening, walks jump back from far outside, and this must not skip a source."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import host_array, is_number
from ..data import Gaussians, GridField

_WIDTHS = 6.1  # exp(-6.1^2) = 7e-17 is below the rounding error of float64


def support(source: Any, centres: np.ndarray, label: str) -> np.ndarray:
    """The largest distance of a source from each of the centres (count, d), or from the centre of its instance.

    Raises ValueError if the source has no bounded support.
    """
    if isinstance(source, (list, tuple)):
        return np.asarray(np.max([support(one, centres, label) for one in source], axis=0, initial=0.0))
    if isinstance(source, Gaussians):
        width = source.width if is_number(source.width) else _arrays.to_host(source.width)
        return np.asarray((_away(_arrays.to_host(source.center), centres) + _WIDTHS * np.asarray(width)).max(axis=-1, initial=0.0))
    if isinstance(source, GridField) and _ends_at_0(source, centres.shape[1]):
        (lo, hi), d = np.array(source.box), centres.shape[1]
        corners = np.array(np.meshgrid(*zip(lo, hi))).reshape(d, -1).T
        return np.asarray(_away(corners, centres).max(axis=-1))
    if is_number(source) and float(source) == 0:
        return np.zeros(1)
    raise ValueError(
        f"{label}: exterior=True without screening requires a source that is 0 far away; pass Gaussians, or a GridField that is 0 "
        "on the faces of its box"
    )


def _away(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The distances (count, n) of points (n, d) or (B, n, d) from centres (count, d)."""
    return np.asarray(np.linalg.norm(points - centres[:, None], axis=-1))


def _ends_at_0(field: GridField, d: int) -> bool:
    values = host_array(field.values, "solve", "source.values", differentiable=True)
    inner: Any = (..., *[slice(1, -1)] * d)
    return bool(np.count_nonzero(values) == np.count_nonzero(values[inner]))
