"""The inverse of a symmetric covariance (N, N), from Cholesky factors or eigenvalues. Rows are (m, N)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .... import _arrays
from ...._array_tools import cholesky, nan_unless, zeros
from ...product.dense import namespace
from ...product.mirror import folded, unfolded
from .parity import Parity, eigh

Array = Any

_INVERSE_ROWS = 8  # fewer rows than 1/8 of their length are solved with the factor, because computing the inverse takes longer
_MARGIN = 10.0  # eigenvalues within this factor of the floor come from the jitter, not the kernel


class Inverse:
    """The inverse of an axis's covariance K (N, N), which includes the jitter; with ``parity`` K is Toeplitz and given by its first row.

    K may be overwritten.
    """

    logdet: Any  # of K, a number

    def __init__(self, K: Array, jitter: float, name: str, parity: Parity | None = None) -> None:
        raise NotImplementedError

    def solve(self, rows: Array) -> Array:
        """K⁻¹ on every row."""
        raise NotImplementedError

    def first_column(self) -> np.ndarray:
        """The first column of K⁻¹, for an axis with parity."""
        raise NotImplementedError

    def dense(self) -> Array:
        """K⁻¹, for an axis without parity."""
        raise NotImplementedError


class Cholesky(Inverse):
    """Uses Cholesky factors of K, or of its even and odd parts. On a device NaN if K is not positive definite, which shows in the loss."""

    def __init__(self, K: Array, jitter: float, name: str, parity: Parity | None = None) -> None:
        self.parts = [_Factor(part, jitter, name) for part in ([K] if parity is None else parity.symmetric(K))]
        self.logdet = sum(part.logdet for part in self.parts)

    def solve(self, rows: Array) -> Array:
        if len(self.parts) == 1:
            return self.parts[0].solve(rows)
        even, odd = (part.solve(0.5 * half) for part, half in zip(self.parts, folded(rows, 1)))
        return unfolded(even, odd, 1)

    def first_column(self) -> np.ndarray:
        first = np.zeros((1, sum(part.size for part in self.parts)))
        first[0, 0] = 1.0
        return self.solve(first)[0]

    def dense(self) -> Array:
        return self.parts[0].inverse


class _Factor:
    """K = L Lᵀ."""

    def __init__(self, K: Array, jitter: float, name: str) -> None:
        self.size = len(K)
        if not isinstance(K, np.ndarray):
            xp = namespace(K)
            self.lower, half = cholesky(xp, K)
            self.logdet, self.inverse = 2.0 * xp.sum(xp.log(xp.linalg.diagonal(self.lower))), xp.matmul(half.T, half)
            return
        from scipy.linalg.lapack import dpotrf

        self.lower, info = dpotrf(K.T, lower=1, clean=1, overwrite_a=1)
        if info:
            raise np.linalg.LinAlgError(
                f"GPHM: the covariance of {name} with jitter {jitter:g} is not positive definite at these parameters; "
                "use a larger jitter or a smaller learning_rate"
            )
        self.logdet = 2.0 * float(np.log(self.lower.diagonal()).sum())

    @functools.cached_property
    def inverse(self) -> Array:
        from scipy.linalg.lapack import dpotri

        lower, _ = dpotri(self.lower, lower=1)
        inverse = lower + lower.T
        inverse.flat[:: len(inverse) + 1] *= 0.5
        return inverse

    def solve(self, rows: Array) -> Array:
        from scipy.linalg.lapack import dpotrs

        if isinstance(rows, np.ndarray) and len(rows) * _INVERSE_ROWS < self.size:
            return dpotrs(self.lower, rows.T, lower=1)[0].T
        return rows @ self.inverse


class Spectrum(Inverse):
    """K = V diag(w) Vᵀ with w raised to at least ``floor``, so that no K is too ill-conditioned.

    ``floor`` is the jitter, or the rounding error of the largest eigenvalue if that is larger. ``values`` (r,) are the eigenvalues well
    above it, at least three, and ``vectors`` (N, r) their eigenvectors. ``solve`` uses only these; log det and the inverse use all.
    """

    def __init__(self, K: np.ndarray, jitter: float, name: str, parity: Parity | None = None) -> None:
        xp = namespace(K)
        values, self.every = _eigh(K, parity)
        known = _arrays.to_host(values)
        if not np.isfinite(known).all():
            raise FloatingPointError(f"GPHM: the covariance of {name} is not finite; use a smaller learning_rate")
        self.floor = max(jitter, 4 * np.finfo(float).eps * float(known[-1]))
        begin = min(int(np.searchsorted(known, _MARGIN * self.floor)), len(known) - 3)
        self.clamped = xp.where(values < self.floor, xp.full_like(values, self.floor), values)
        self.values, self.vectors = self.clamped[begin:], self.every[:, begin:]
        self.logdet = xp.sum(xp.log(self.clamped))

    def solve(self, rows: np.ndarray) -> np.ndarray:
        """K⁻¹ on the part of a row spanned by ``vectors``; the rest becomes 0, as its rounding errors would be divided by the jitter."""
        return (rows @ self.vectors / self.values) @ self.vectors.T

    def first_column(self) -> np.ndarray:
        return self.every @ (self.every[0] / self.clamped)

    def dense(self) -> np.ndarray:
        return (self.every / self.clamped) @ self.every.T


def _eigh(K: Array, parity: Parity | None) -> tuple[Array, Array]:
    """Ascending eigenvalues and eigenvectors, which overwrite K; NaN if K is not finite. On a device all eigenvalues are read back, because
    the number of those well above the floor sets array sizes."""
    xp = namespace(K)
    is_finite = xp.isfinite(K)
    if isinstance(K, np.ndarray):
        return eigh(K, parity) if is_finite.all() else (np.full(len(K), np.nan), K)
    values, vectors = xp.linalg.eigh(xp.where(is_finite, K, zeros(xp, K.shape, K)))
    return nan_unless(xp, xp.all(is_finite), values), vectors
