"""The inverse of a covariance, (N, N) symmetric: by Cholesky's factor or by eigenvalues. Rows are (m, N)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import _arrays
from ...._array_tools import cholesky, nan_unless, zeros
from ...product.dense import namespace
from .errors import not_definite, not_finite
from .parity import Parity, eigh

Array = Any

_MARGIN = 10.0  # eigenvalues within this of the floor are the jitter's, not the kernel's


class Inverse:
    """The inverse of an axis's covariance K with that jitter and name; ``parity`` if K is Toeplitz."""

    logdet: Any  # of K, a number

    def __init__(self, K: np.ndarray, jitter: float, name: str, parity: Parity | None = None) -> None:
        raise NotImplementedError

    def solve(self, rows: np.ndarray) -> np.ndarray:
        """K⁻¹ on every row."""
        raise NotImplementedError

    def first_column(self) -> np.ndarray:
        """The first column of K⁻¹."""
        raise NotImplementedError

    def dense(self) -> np.ndarray:
        """K⁻¹."""
        raise NotImplementedError


class Cholesky(Inverse):
    """K = L Lᵀ, computed in place of K; the upper triangle of K is unchanged."""

    def __init__(self, K: np.ndarray, jitter: float, name: str, parity: Parity | None = None) -> None:
        from scipy.linalg.lapack import dpotrf

        self.lower, info = dpotrf(K.T, lower=1, clean=0, overwrite_a=1)
        if info:
            raise not_definite(jitter, name)
        self.logdet = 2.0 * float(np.log(self.lower.diagonal()).sum())

    def solve(self, rows: np.ndarray) -> np.ndarray:
        from scipy.linalg.blas import dtrsm

        half = dtrsm(1.0, self.lower, rows.T, lower=1)
        found: np.ndarray = dtrsm(1.0, self.lower, half, lower=1, trans_a=1, overwrite_b=1)
        return found.T

    def first_column(self) -> np.ndarray:
        from scipy.linalg.blas import dtrsv

        first = np.zeros(len(self.lower))
        first[0] = 1.0
        column: np.ndarray = dtrsv(self.lower, dtrsv(self.lower, first, lower=1), lower=1, trans=1)
        return column

    def dense(self) -> np.ndarray:
        return self.solve(np.eye(len(self.lower)))


class DeviceCholesky(Inverse):
    """The same on a device; NaN if K is not positive definite, which shows in the loss."""

    def __init__(self, K: Array, jitter: float, name: str, parity: Parity | None = None) -> None:
        xp = namespace(K)
        lower, inverse = cholesky(xp, K)
        self.logdet, self._inverse = 2.0 * xp.sum(xp.log(xp.linalg.diagonal(lower))), xp.matmul(inverse.T, inverse)

    def solve(self, rows: Array) -> Array:
        return rows @ self._inverse

    def dense(self) -> Array:
        return self._inverse


class Spectrum(Inverse):
    """K = V diag(w) Vᵀ, w at least ``floor``: the jitter, or the rounding of the largest. No K is too ill-conditioned.

    ``values`` (r,) and ``vectors`` (N, r) are those that the kernel itself has, clear of the floor, and at least three; ``solve`` stays
    among them, log det and the inverse count all.
    """

    def __init__(self, K: np.ndarray, jitter: float, name: str, parity: Parity | None = None) -> None:
        xp = namespace(K)
        values, self.every = _eigh(K, parity)
        known = _arrays.to_host(values)
        if not np.isfinite(known).all():
            raise not_finite(name)
        self.floor, begin = clear_of(known, jitter)
        self.clamped = xp.where(values < self.floor, xp.full_like(values, self.floor), values)
        self.values, self.vectors = self.clamped[begin:], self.every[:, begin:]
        self.logdet = xp.sum(xp.log(self.clamped))

    def solve(self, rows: np.ndarray) -> np.ndarray:
        """K⁻¹ on every row's part in ``vectors``; of the rest, where rounding would be divided by the jitter, nothing."""
        found: np.ndarray = (rows @ self.vectors / self.values) @ self.vectors.T
        return found

    def first_column(self) -> np.ndarray:
        column: np.ndarray = self.every @ (self.every[0] / self.clamped)
        return column

    def dense(self) -> np.ndarray:
        inverse: np.ndarray = (self.every / self.clamped) @ self.every.T
        return inverse


def clear_of(values: np.ndarray, jitter: float) -> tuple[float, int]:
    """The floor of eigenvalues, ascending, and the first of those that are clear of it."""
    floor = max(jitter, 4 * np.finfo(float).eps * float(values[-1]))
    return floor, min(int(np.searchsorted(values, _MARGIN * floor)), len(values) - 3)


def _eigh(K: Array, parity: Parity | None) -> tuple[Array, Array]:
    """Ascending eigenvalues and their vectors, in place of K; NaN for a K that is not finite. On a device all eigenvalues are read back:
    how many of them are clear of the floor sets the sizes of what follows."""
    xp = namespace(K)
    is_finite = xp.isfinite(K)
    if isinstance(K, np.ndarray):
        return eigh(K, parity) if is_finite.all() else (np.full(len(K), np.nan), K)
    values, vectors = xp.linalg.eigh(xp.where(is_finite, K, zeros(xp, K.shape, K)))
    return nan_unless(xp, xp.all(is_finite), values), vectors
