"""Uniform axes by parity: a Toeplitz matrix maps even vectors to even ones and odd to odd, README (11).

Rows (m, N) are folded to their even part, (m, E) with E = (N + 1) // 2, and their odd part, (m, O) with O = N // 2. Both are scaled by
sqrt(2) and their matrices by 1/2, so that unfolding a product gives rows again.
"""

from __future__ import annotations

import numpy as np

from ...product.mirror import folded, unfolded
from .errors import not_definite

Pair = tuple[np.ndarray, np.ndarray]
_ROOT = np.sqrt(2.0)


class Parity:
    """Weights and workspace for axes with N points."""

    def __init__(self, n: int) -> None:
        self.n, self.even, self.odd = n, (n + 1) // 2, n // 2
        self.middle = np.ones(self.even)
        self.middle[self.odd :] = 1 / _ROOT  # the point that is its own mirror image
        self.weights = self.middle[:, None] * self.middle
        self.skewed = np.zeros((self.even, 2 * self.even))

    # ---- matrices from lags, and gradients by lags from those of the matrices' parts

    def _near(self, lags: np.ndarray, sign: float) -> np.ndarray:
        """The lags i - j, times ``sign`` if negative: a view (E, E)."""
        line = np.concatenate([sign * lags[self.even - 1 : 0 : -1], lags[: self.even]])
        return np.ndarray((self.even, self.even), float, line, 8 * (self.even - 1), (8, -8))

    def _far(self, lags: np.ndarray) -> np.ndarray:
        """The lags N - 1 - i - j from i to the mirror image of j: a view (E, E)."""
        return np.ndarray((self.even, self.even), float, np.ascontiguousarray(lags[::-1]), 0, (8, 8))

    def symmetric(self, lags: np.ndarray) -> Pair:
        """(E, E) and (O, O)."""
        near, far = self._near(lags, 1.0), self._far(lags)
        even = near + far
        if self.even > self.odd:
            even *= self.weights
        return even, near[: self.odd, : self.odd] - far[: self.odd, : self.odd]

    def of_symmetric(self, even: np.ndarray, odd: np.ndarray) -> np.ndarray:
        near = even * self.weights if self.even > self.odd else even.copy()
        far = near.copy()
        near[: self.odd, : self.odd] += odd
        far[: self.odd, : self.odd] -= odd
        return self._of_lags(near, far, 1.0)

    def antisymmetric(self, lags: np.ndarray) -> np.ndarray:
        """(O, E), from even to odd; from odd to even it is minus the transpose. The first lag is 0."""
        found: np.ndarray = (self._near(lags, -1.0) - self._far(lags))[: self.odd] * self.middle
        return found

    def of_antisymmetric(self, block: np.ndarray) -> np.ndarray:
        near = np.zeros((self.even, self.even))
        np.multiply(block, self.middle, out=near[: self.odd])
        found = self._of_lags(near, -near, -1.0)
        found[0] = 0.0
        return found

    def _of_lags(self, near: np.ndarray, far: np.ndarray, sign: float) -> np.ndarray:
        """The gradient of <near, _near> + <far, _far> by the lags."""
        found, last = np.zeros(self.n), self.even - 1
        found[self.n - 1 - 2 * last :] = self._along(far)[::-1]
        sums = self._along(near[:, ::-1])
        found[: self.even] += sums[last:]
        found[1 : self.even] += sign * sums[last - 1 :: -1] if last else 0.0
        return found

    def _along(self, values: np.ndarray) -> np.ndarray:
        """Sums over i + j, (2 E - 1,): each row written one place further than the one above."""
        self.skewed[:, : self.even] = values
        flat = self.skewed.reshape(-1)[: self.even * (2 * self.even - 1)]
        sums: np.ndarray = flat.reshape(self.even, -1).sum(axis=0)
        return sums


class ParityCholesky:
    """The inverse of a symmetric positive definite Toeplitz matrix, by its even and odd part: two matrices, half as large."""

    def __init__(self, parity: Parity, lags: np.ndarray, jitter: float, name: str) -> None:
        from scipy.linalg.lapack import dpotrf, dpotri

        self.logdet, parts = 0.0, []
        for half in parity.symmetric(lags):
            lower, info = dpotrf(half.T, lower=1, clean=1, overwrite_a=1)
            if info:
                raise not_definite(jitter, name)
            self.logdet += 2.0 * float(np.log(lower.diagonal()).sum())
            inverse, _ = dpotri(lower, lower=1, overwrite_c=1)
            half = inverse + inverse.T  # its diagonal twice
            half *= 0.5
            half.flat[:: len(half) + 1] *= 0.5
            parts.append(half)
        self.even, self.odd = parts

    def solve(self, rows: np.ndarray) -> np.ndarray:
        """K⁻¹ on every row."""
        even, odd = folded(rows, 1)
        return unfolded(even @ self.even, odd @ self.odd, 1)


def eigh(K: np.ndarray, parity: Parity | None) -> Pair:
    """Ascending eigenvalues and their vectors, computed in place of K; from its even and odd part if K is Toeplitz."""
    if parity is None:
        return _eigh(K)
    (even, V), (odd, W) = map(_eigh, parity.symmetric(K[0]))
    rows = np.zeros((parity.n, parity.even)), np.zeros((parity.n, parity.odd))
    rows[0][: parity.even], rows[1][parity.even :] = V.T, W.T
    vectors = unfolded(np.sqrt(0.5) * rows[0], np.sqrt(0.5) * rows[1], 1)
    values = np.concatenate([even, odd])
    order = np.argsort(values)
    return values[order], np.ascontiguousarray(vectors[order].T)


def _eigh(K: np.ndarray) -> Pair:
    from scipy.linalg import eigh as scipy_eigh

    values, vectors = scipy_eigh(K, overwrite_a=True, check_finite=False, driver="evd")
    return values, vectors
