"""The inverse of a covariance, (N, N) symmetric, in the two forms that training takes it in. Rows are (m, N)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..product.mirror import unfolded

if TYPE_CHECKING:
    from .halves import Halves

_MARGIN = 10.0  # eigenvalues within this of the floor are the jitter's, not the kernel's


def not_definite(jitter: float, name: str) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(
        f"GPHM: the covariance of {name} with jitter {jitter:g} is not positive definite at these parameters; "
        "give a larger jitter or a smaller learning_rate"
    )


def not_finite(name: str) -> FloatingPointError:
    return FloatingPointError(f"GPHM: the covariance of {name} is not finite; give a smaller learning_rate")


class Inverse:
    """Of a covariance K of an axis with that jitter and name; ``halves`` where it is Toeplitz."""

    logdet: Any  # of K, a number

    def __init__(self, K: np.ndarray, jitter: float, name: str, halves: Halves | None = None) -> None:
        raise NotImplementedError

    def solve(self, rows: np.ndarray) -> np.ndarray:
        """K⁻¹ on every row."""
        raise NotImplementedError

    def first_column(self) -> np.ndarray:
        """Of K⁻¹."""
        raise NotImplementedError

    def dense(self) -> np.ndarray:
        """K⁻¹."""
        raise NotImplementedError


class Cholesky(Inverse):
    """By K = L Lᵀ, in the place of K; its upper triangle keeps what was there."""

    def __init__(self, K: np.ndarray, jitter: float, name: str, halves: Halves | None = None) -> None:
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


class Spectrum(Inverse):
    """By K = V diag(w) Vᵀ, w no less than ``floor``: the jitter, or the roundings of the largest. Nothing is too ill-conditioned for it.

    ``values`` (r,) and ``vectors`` (N, r) are those that the kernel itself has, clear of the floor, and at least three; ``solve`` stays
    among them, log det and the inverse count all.
    """

    def __init__(self, K: np.ndarray, jitter: float, name: str, halves: Halves | None = None) -> None:
        if not np.isfinite(K).all():
            raise not_finite(name)
        values, self.every = _eigh(K) if halves is None else _eigh_by_halves(K, halves)
        self.floor, begin = clear_of(values, jitter)
        self.clamped = np.maximum(values, self.floor)
        self.values, self.vectors = self.clamped[begin:], self.every[:, begin:]
        self.logdet = float(np.log(self.clamped).sum())

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


def _eigh(K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and vectors; in the place of K."""
    from scipy.linalg import eigh

    values, vectors = eigh(K, overwrite_a=True, check_finite=False, driver="evd")
    return values, vectors


def _eigh_by_halves(K: np.ndarray, halves: Halves) -> tuple[np.ndarray, np.ndarray]:
    (even, V), (odd, W) = map(_eigh, halves.symmetric(K[0]))
    rows = np.zeros((halves.n, halves.even)), np.zeros((halves.n, halves.odd))
    rows[0][: halves.even], rows[1][halves.even :] = V.T, W.T
    vectors = unfolded(np.sqrt(0.5) * rows[0], np.sqrt(0.5) * rows[1], 1)
    values = np.concatenate([even, odd])
    order = np.argsort(values)
    return values[order], np.ascontiguousarray(vectors[order].T)
