"""The Robin conditions of walls in a medium. Equation numbers refer to csrc/wos/stars/README.md."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..data.packed import PackedData
from ..media.bound import ON_BOUNDARY, SLACK, SPREAD, as_host_function, on_host
from ..media.derivatives import derived
from ..mesh import Boundary
from ..query import contains
from ..region import inward_normals
from .tables import Tables

Array = Any
PER_WALL = 8  # minimum number of points per wall
_LEAST = 0.05  # the smallest bound of a wall, as a fraction of the largest
_WEAK = 0.25  # scaled μ + ν above which a wall has μ_0 > 0, which shortens steps but avoids weights of both signs
MAX_RISE = 3.0  # factor of increase of α towards a wall beyond which the variance may be infinite (13)
_NORMALS, _ALONG = 256, 16  # number of normals of an instance's walls, and of points on each, that ``rise`` samples


class Exchange(NamedTuple):
    """(11) ``rest`` (walls, 2): bounds on |ν_0|, and the constant part μ - μ_0 of ν_0. ``tables`` have μ_0 in place of μ."""

    rest: np.ndarray
    tables: Tables


def exchange_of(diffusion: PackedData, tables: Tables, frame: np.ndarray, steps: np.ndarray, like: Array) -> Exchange:
    """Split μ + ν of every wall into μ_0 + ν_0 (11), from values at points of the wall in all instances."""
    (walls, first), d = tables.rows[2:4], frame.shape[1] - 2
    (X, inward), mu = _on_walls(walls, d), walls[:, d * d]
    numbers, function = on_host(diffusion.numbers), as_host_function(diffusion.function, like)
    low, high = np.full(len(walls), np.inf), np.full(len(walls), -np.inf)
    for b in _instances(diffusion, first, len(frame)):
        rows = slice(None) if len(first) == 2 else slice(first[b], first[b + 1])
        alpha, slope, _ = derived(diffusion.kind, numbers, function, 0, b, frame[b], steps[b], X[rows].reshape(-1, d))
        nu = ((slope / (2 * alpha[:, None])).reshape(X[rows].shape) * inward[rows, None]).sum(axis=-1)
        low[rows], high[rows] = np.minimum(low[rows], nu.min(axis=1)), np.maximum(high[rows], nu.max(axis=1))
    middle = mu + 0.5 * (low + high)
    constant = np.where((mu > 0) | (middle * frame[:, d].max(initial=0.0) > _WEAK), np.maximum(middle, 0.0), 0.0)
    bounds = SLACK * np.maximum(abs(mu + low - constant), abs(mu + high - constant)) + SPREAD * (high - low)
    rest = np.stack([np.maximum(bounds, _LEAST * bounds.max(initial=0.0)), mu - constant], axis=1)
    return Exchange(rest, tables.with_mu(constant))


def rise(boundary: Boundary, diffusion: PackedData, tables: Tables, frame: np.ndarray, steps: np.ndarray, like: Array) -> float:
    """The largest ratio of α on a wall with μ + ν < 0 to α on the wall's inward normal, from samples; 0 without such walls."""
    (walls, first), d, largest = tables.rows[2:4], frame.shape[1] - 2, 0.0
    numbers, function = on_host(diffusion.numbers), as_host_function(diffusion.function, like)
    for b in _instances(diffusion, first, len(frame)):
        own = walls if len(first) == 2 else walls[first[b] : first[b + 1]]
        own = own[:: max(1, len(own) // _NORMALS)]
        corners = own[:, : d * d].reshape(-1, d, d)
        at, inward = corners.mean(axis=1), inward_normals(corners)
        alpha, slope, _ = derived(diffusion.kind, numbers, function, 0, b, frame[b], steps[b], at)
        grows = own[:, d * d] + (slope * inward).sum(axis=1) / (2 * alpha) < 0
        away = at[grows, None] + np.arange(1, _ALONG + 1)[:, None] / _ALONG * inward[grows, None]
        part = boundary if boundary._batch is None else boundary._part_of(b, b + 1)
        within = np.asarray(contains(part, frame[b, :d] + frame[b, d] * away.reshape(-1, d))).reshape(away.shape[:2])
        if within.any():
            inner = derived(diffusion.kind, numbers, function, 0, b, frame[b], steps[b], away[within])[0]
            largest = max(largest, float((alpha[grows][np.nonzero(within)[0]] / inner).max()))
    return largest


def _instances(diffusion: PackedData, first: np.ndarray, B: int) -> range:
    """All instances if their walls or media differ, otherwise only the first."""
    return range(B if diffusion.batch not in (None, 1) or len(first) > 2 else min(B, 1))


def _on_walls(walls: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (walls, k, d) of every wall, corners included, and inward normals (walls, d)."""
    each = max(PER_WALL, ON_BOUNDARY // max(len(walls), 1))
    corner = walls[:, : d * d].reshape(-1, d, d)
    sides = corner[:, 1:] - corner[:, :1]
    if d == 2:
        u = np.linspace(0.0, 1.0, each)[:, None]
    else:
        u = np.arange(each)[:, None] * [0.7548776662466927, 0.5698402909980532] % 1
        u = np.concatenate([np.where(u.sum(axis=1, keepdims=True) > 1, 1 - u, u), [[0, 0], [1, 0], [0, 1]]])  # fold into the triangle
    return corner[:, :1] + np.einsum("kc,mcd->mkd", u, sides), inward_normals(corner)
