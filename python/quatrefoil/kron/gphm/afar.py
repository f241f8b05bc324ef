"""An axis whose points are on a device, in array-API terms: dense matrices, of which a uniform axis takes the entries from its lags.

Equation numbers are those of csrc/kron/gphm/README.md.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ... import _arrays
from ..._array_tools import cholesky, zeros
from ..gp.afar import namespace
from .axis import Axis, Covariance, Hyper, Points
from .inverse import Cholesky, Inverse, Spectrum, clear_of, not_finite

Array = Any


class CholeskyAfar(Inverse):
    """By K = L Lᵀ; NaN where K is not positive definite, which shows in the loss."""

    def __init__(self, K: Array, jitter: float, name: str, halves: Any = None) -> None:
        xp = namespace(K)
        lower, inverse = cholesky(xp, K)
        self.logdet, self._inverse = 2.0 * xp.sum(xp.log(xp.linalg.diagonal(lower))), xp.matmul(inverse.T, inverse)

    def solve(self, rows: Array) -> Array:
        return rows @ self._inverse

    def dense(self) -> Array:
        return self._inverse


class SpectrumAfar(Spectrum):
    """All eigenvalues are read back, for those that are clear of the floor set the sizes of what follows."""

    def __init__(self, K: Array, jitter: float, name: str, halves: Any = None) -> None:
        xp = namespace(K)
        is_finite = xp.isfinite(K)
        values, self.every = xp.linalg.eigh(xp.where(is_finite, K, zeros(xp, K.shape, K)))
        values = xp.where(xp.all(is_finite), values, xp.full_like(values, np.nan))
        known = _arrays.to_host(values)
        if not np.isfinite(known).all():
            raise not_finite(name)
        self.floor, begin = clear_of(known, jitter)
        self.clamped = xp.where(values < self.floor, xp.full_like(values, self.floor), values)
        self.values, self.vectors = self.clamped[begin:], self.every[:, begin:]
        self.logdet = xp.sum(xp.log(self.clamped))


_FORMS: dict[type[Inverse], type[Inverse]] = {Cholesky: CholeskyAfar, Spectrum: SpectrumAfar}


class AxisAfar(Axis):
    """K and D as they are; the products with D are as many operations as the solves."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        super().__init__(points.host, covariance, name)
        self._points, self._here, n = points, points.here, len(points.host)
        self._xp = namespace(self._here)
        self._eye = self._xp.eye(n, dtype=self._here.dtype, device=self._here.device)
        self._lags = _Lags(self._here, self.x) if points.uniform else None

    @property
    def here(self) -> Array:
        return self._here

    def like(self, covariance: Covariance) -> Self:
        return type(self)(self._points, covariance, self.name)

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        self.hyper = hyper
        K, self._D = (self._matrix(order) for order in (0, self.covariance.order))
        self.inverse = _FORMS[form](K + self.covariance.jitter * self._eye, self.covariance.jitter, self.name)

    def _matrix(self, order: int) -> Array:
        if self._lags is None:
            return self.covariance.cross(self._here, None, self.hyper, order)
        return self._lags.matrix(self.covariance.lags(self._lags.d, self.hyper, order), order % 2 == 0)

    def apply(self, A: Array) -> Array:
        return A @ self._D.T

    def adjoint(self, E: Array) -> Array:
        return E @ self._D

    def gradient(self, rows: int, X: Array, A: Array, E: Array) -> Hyper:
        of_K, of_D = 0.5 * rows * self.inverse.dense() - X.T @ A, E.T @ A
        parts = [self._pulled(G, order) for G, order in ((of_K, 0), (of_D, self.covariance.order))]
        return Hyper(*(k + d for k, d in zip(*parts)))

    def _pulled(self, G: Array, order: int) -> Hyper:
        """By the hyperparameters, of <G, the matrix of that order>."""
        if self._lags is None:
            return self.covariance.cross_vjp(self._here, self.hyper, G, order)
        return self.covariance.lags_vjp(self._lags.d, self.hyper, self._lags.sums(G, order % 2 == 0), order)


class _Lags:
    """Matrices (n, n) with a number a lag, and back."""

    def __init__(self, like: Array, x: np.ndarray) -> None:
        self._xp, self.n = namespace(like), len(x)
        lags = np.subtract.outer(np.arange(self.n), np.arange(self.n))
        self.d = _arrays.beside(like, np.arange(self.n) * ((x[-1] - x[0]) / (self.n - 1)))
        self._index = _arrays.beside(like, np.abs(lags).reshape(-1))
        self._sign = _arrays.beside(like, np.sign(lags).astype(np.float64))

    def matrix(self, lags: Array, even: bool) -> Array:
        """At (i, j) the number of |i - j|; with the sign of i - j where it is not even."""
        whole = self._xp.reshape(self._xp.take(lags, self._index), (self.n, self.n))
        return whole if even else whole * self._sign

    def sums(self, G: Array, even: bool) -> Array:
        """By the numbers, of <G, matrix>: the diagonal at lag l plus the one at -l, or minus it; the main one once, or 0 (9)."""
        xp, n = self._xp, self.n
        skewed = xp.concat([xp.flip(G, axis=1), zeros(xp, (n, n), G)], axis=1)  # each row one place further than the one above
        along = xp.sum(xp.reshape(xp.reshape(skewed, (-1,))[: n * (2 * n - 1)], (n, 2 * n - 1)), axis=0)
        below, above = along[n:], xp.flip(along[: n - 1])
        main = along[n - 1 : n]
        return xp.concat([main, below + above] if even else [0 * main, below - above])
