"""A uniform axis whose points are on a device, in array-API terms. Equation numbers are those of csrc/kron/gphm/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import _arrays
from ...._array_tools import zeros
from ...product.dense import namespace
from .axis import Covariance, GeneralAxis, Hyper, Points

Array = Any


class DeviceAxis(GeneralAxis):
    """K and D are dense, with one entry per lag: the products with D are as many operations as the solves."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        super().__init__(points, covariance, name)
        x, n = self.x, len(self.x)
        self._xp, lags = namespace(points.array), np.subtract.outer(np.arange(n), np.arange(n))
        self._d = _arrays.to_device_of(np.arange(n) * ((x[-1] - x[0]) / (n - 1)), points.array)
        self._index = _arrays.to_device_of(np.abs(lags).reshape(-1), points.array)
        self._sign = _arrays.to_device_of(np.sign(lags).astype(np.float64), points.array)

    def _matrix(self, order: int) -> Array:
        """The matrix of values at the lags |i - j|, with the sign of i - j if the order is odd."""
        n = len(self.x)
        whole = self._xp.reshape(self._xp.take(self.covariance.lags(self._d, self.hyper, order), self._index), (n, n))
        return whole if order % 2 == 0 else whole * self._sign

    def _pulled(self, G: Array, order: int) -> Hyper:
        return self.covariance.lags_vjp(self._d, self.hyper, self._sums(G, order % 2 == 0), order)

    def _sums(self, G: Array, even: bool) -> Array:
        """The gradient of <G, matrix> by the lags: the diagonal at l plus or minus the one at -l; the main one once, or 0 (9)."""
        xp, n = self._xp, len(self.x)
        skewed = xp.concat([xp.flip(G, axis=1), zeros(xp, (n, n), G)], axis=1)  # each row is shifted by one against the row above
        along = xp.sum(xp.reshape(xp.reshape(skewed, (-1,))[: n * (2 * n - 1)], (n, 2 * n - 1)), axis=0)
        below, above = along[n:], xp.flip(along[: n - 1])
        main = along[n - 1 : n]
        return xp.concat([main, below + above] if even else [0 * main, below - above])
