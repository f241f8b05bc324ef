"""The Robin conditions of walls in a medium. Equation numbers refer to csrc/wos/stars/README.md."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..data.packed import PackedData
from ..media.bound import ON_BOUNDARY, SLACK, SPREAD, by_host, on_host
from ..media.derivatives import derived
from .tables import Tables

Array = Any
PER_WALL = 8  # points per wall, at least
_LEAST = 0.05  # the smallest bound of a wall, as a fraction of the largest
_WEAK = 0.25  # scaled μ + ν above which a wall has μ_0 > 0: small steps, instead of weights of both signs


class Exchange(NamedTuple):
    """(11) ``rest`` (walls, 2): bounds on |ν_0|, and the constant part μ - μ_0 of ν_0. ``tables`` have μ_0 in place of μ."""

    rest: np.ndarray
    tables: Tables


def exchange_of(diffusion: PackedData, tables: Tables, frame: np.ndarray, steps: np.ndarray, like: Array) -> Exchange:
    """Split μ + ν of every wall, by its values at points of the wall in all instances."""
    (walls, first), d, B = tables.rows[2:4], frame.shape[1] - 2, len(frame)
    (X, inward), mu = _on_walls(walls, d), walls[:, d * d]
    numbers, function = on_host(diffusion.numbers), by_host(diffusion.function, like)
    low, high = np.full(len(walls), np.inf), np.full(len(walls), -np.inf)
    for b in range(B if diffusion.batch not in (None, 1) or len(first) > 2 else min(B, 1)):
        rows = slice(None) if len(first) == 2 else slice(first[b], first[b + 1])
        alpha, slope, _ = derived(diffusion.kind, numbers, function, 0, b, frame[b], steps[b], X[rows].reshape(-1, d))
        nu = ((slope / (2 * alpha[:, None])).reshape(X[rows].shape) * inward[rows, None]).sum(axis=-1)
        low[rows], high[rows] = np.minimum(low[rows], nu.min(axis=1)), np.maximum(high[rows], nu.max(axis=1))
    middle = mu + 0.5 * (low + high)
    constant = np.where((mu > 0) | (middle * frame[:, d].max(initial=0.0) > _WEAK), np.maximum(middle, 0.0), 0.0)
    bounds = SLACK * np.maximum(abs(mu + low - constant), abs(mu + high - constant)) + SPREAD * (high - low)
    rest = np.stack([np.maximum(bounds, _LEAST * bounds.max(initial=0.0)), mu - constant], axis=1)
    return Exchange(rest, tables.with_mu(constant))


def _on_walls(walls: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """(walls, k, d) points of every wall, corners included, and (walls, d) inward normals."""
    each = max(PER_WALL, ON_BOUNDARY // max(len(walls), 1))
    corner = walls[:, : d * d].reshape(-1, d, d)
    sides = corner[:, 1:] - corner[:, :1]
    if d == 2:
        inward, u = np.stack([-sides[:, 0, 1], sides[:, 0, 0]], axis=1), np.linspace(0.0, 1.0, each)[:, None]
    else:
        inward, u = np.cross(sides[:, 1], sides[:, 0]), np.arange(each)[:, None] * [0.7548776662466927, 0.5698402909980532] % 1
        u = np.concatenate([np.where(u.sum(axis=1, keepdims=True) > 1, 1 - u, u), [[0, 0], [1, 0], [0, 1]]])  # folds a square
    return corner[:, :1] + np.einsum("kc,mcd->mkd", u, sides), inward / np.sqrt((inward**2).sum(axis=1, keepdims=True))
