"""``SlimKL`` with data on a device, in array-API terms and double precision: README, "Mixture weights".

Points stay there. Weights, and all that depends on the number of components alone, are on the host, which decides when to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._array_tools import arange, cholesky, chunk_slices, zeros
from ..mixture import gsmp_kernel
from ..product.dense import namespace
from ..product.eigen import clamped
from .slimkl_worker import EPS, Weighing, Worker, not_definite, starting

Array = Any


class DeviceWorker(Worker):
    """A worker whose points x (n, P) and values y (n,) are on one device."""

    def __init__(self, x: Array, y: Array, means: np.ndarray, std: np.ndarray, noise: float) -> None:
        xp = self._xp = namespace(x)
        spread = xp.max(x, axis=0) - xp.min(x, axis=0)
        spreads, square = np.split(_arrays.to_host(xp.concat([spread, xp.mean(y * y)[None]])), [-1])
        if not np.isfinite([*spreads, *square]).all():
            raise ValueError("SlimKL.fit: X or y has NaN or infinity in it, expected finite numbers")
        least = len(x) * EPS * (1 + 2 * np.pi * np.abs(means) @ spreads)
        self._rows, self._of = _factors(x, means, std, least)
        self._y, self._noise, self._start = y, noise, starting(len(means), float(square[0]), noise)
        self._last = None, None

    def _weigh(self, weights: np.ndarray) -> Weighing:
        """What is read back, at once, are two numbers a column of a factor and the objective."""
        xp, rows, y = self._xp, self._rows, self._y
        W = rows * _arrays.to_device_of(np.sqrt(weights)[self._of], y)[:, None]
        R, inverse = cholesky(xp, xp.matmul(W.T, W) + self._noise * xp.eye(y.shape[0], dtype=y.dtype, device=y.device))
        z = xp.matmul(inverse, y)
        t = xp.sum(xp.matmul(inverse, rows.T) ** 2, axis=0)
        q = xp.matmul(rows, xp.matmul(inverse.T, z)) ** 2
        value = xp.sum(z * z) + 2 * xp.sum(xp.log(xp.linalg.diagonal(R)))
        found = _arrays.to_host(xp.concat([t, q, value[None]]))
        if not np.isfinite(found).all():
            raise not_definite(weights, self._noise)
        t, q, (objective,) = np.split(found, [len(self._of), 2 * len(self._of)])
        return Weighing(float(objective), *(np.bincount(self._of, part, len(weights)) for part in (t, q)))


def _factors(x: Array, means: np.ndarray, std: np.ndarray, least: np.ndarray) -> tuple[Array, np.ndarray]:
    """Columns of the factors of all components, (S, n), and whose they are, (S,): ``factor`` for all of them a column at a time. Which have
    one more is read back; those that have not are put aside."""
    xp, n, of = namespace(x), x.shape[0], np.arange(len(means))
    done: list[tuple[Array, np.ndarray]] = []
    parts = [_arrays.to_device_of(np.ascontiguousarray(a), x) for a in (means, std, least)]
    left, columns = zeros(xp, (len(means), n), x) + 1, zeros(xp, (0, len(means), n), x)
    while len(of):
        most = xp.max(left, axis=1)
        live = _arrays.to_host(most > parts[2]) if columns.shape[0] < n else np.zeros(len(of), bool)
        if not live.all():
            ended, on = (_arrays.to_device_of(np.flatnonzero(rows), x) for rows in (~live, live))
            done.append((_in_rows(xp, xp.take(columns, ended, axis=1)), np.repeat(of[~live], columns.shape[0])))
            of, columns = of[live], xp.take(columns, on, axis=1)
            left, most, *parts = (xp.take(a, on, axis=0) for a in (left, most, *parts))
            if not len(of):
                break
        pivot = xp.argmax(left, axis=1)
        hot = arange(xp, n, pivot)[None, :] == pivot[:, None]
        at = xp.sum(xp.where(hot, columns, xp.zeros_like(columns)), axis=2)
        rest = _components_at(xp, x, xp.take(x, pivot, axis=0), *parts[:2]) - xp.sum(at[:, :, None] * columns, axis=0)
        column = rest / xp.sqrt(most)[:, None]
        left = xp.where(hot, xp.zeros_like(left), clamped(xp, left - column * column))
        columns = xp.concat([columns, column[None, :, :]], axis=0)
    return xp.concat([rows for rows, _ in done], axis=0), np.concatenate([whose for _, whose in done])


def _in_rows(xp: Any, columns: Array) -> Array:
    """(r, A, n) -> (A r, n)."""
    r, A, n = columns.shape
    return xp.reshape(xp.permute_dims(columns, (1, 0, 2)), (A * r, n))


def _components_at(xp: Any, x: Array, at: Array, means: Array, std: Array) -> Array:
    """(A, n): each component of (1) at x (n, P) minus its own point, at (A, P)."""
    wave: Any = 1.0
    exponent: Any = 0.0
    for p in range(x.shape[1]):
        t = x[None, :, p] - at[:, p][:, None]
        turns = t * means[:, p][:, None]
        cosine = xp.cos(2 * np.pi * (turns - xp.round(turns)))
        square = (t * std[:, p][:, None]) ** 2
        wave, exponent = wave * cosine, exponent + square
    return wave * xp.exp(-2 * np.pi**2 * exponent)


def predicted(at: Array, seen: Sequence[Any], weights: np.ndarray, return_std: bool) -> list[Array]:
    """Mean and variance, where it is wanted, at points (m, P) beside those of the fit; NaN where the covariance is not positive definite.
    Nothing is read back."""
    x, y, means, std, noise = seen
    xp, on = namespace(x), np.flatnonzero(weights)
    w, mu, sd = (_arrays.to_device_of(np.ascontiguousarray(a[on]), x) for a in (weights, means, std))

    def kernel(a: Array, b: Array | None) -> Array:
        return gsmp_kernel(a, b, weights=w, means=mu, std=sd)

    n = x.shape[0]
    _, inverse = cholesky(xp, kernel(x, None) + noise * xp.eye(n, dtype=x.dtype, device=x.device))
    alpha = xp.matmul(inverse.T, xp.matmul(inverse, y))
    parts = []
    for rows in chunk_slices(at.shape[0], n):
        cross = kernel(at[rows, :], x)
        found = [xp.matmul(cross, alpha)]
        if return_std:
            found.append(clamped(xp, float(weights.sum()) - xp.sum(xp.matmul(cross, inverse.T) ** 2, axis=1)))
        parts.append(found)
    return [xp.concat(list(column), axis=0) for column in zip(*parts)]
