"""Uniform axes by halves: a Toeplitz matrix keeps what is even about the axis's middle apart from what is odd, README (11).

Rows (m, N) are folded to their even part, (m, E) with E = (N + 1) // 2, and their odd part, (m, O) with O = N // 2, both times sqrt(2).
"""

from __future__ import annotations

import numpy as np

from .inverse import not_definite

Pair = tuple[np.ndarray, np.ndarray]
_ROOT = np.sqrt(2.0)


class Halves:
    """Of axes with N points: indices."""

    def __init__(self, n: int) -> None:
        self.n, self.even, self.odd = n, (n + 1) // 2, n // 2
        i = np.arange(self.even)
        self.near, self.far = abs(i[:, None] - i), n - 1 - i[:, None] - i  # lags of (i, j), and of i and the mirror image of j
        middle = np.ones(self.even)
        middle[self.odd :] = 1 / _ROOT  # the point that is its own mirror image
        self.weights = middle[:, None] * middle
        self.sides = np.sign(i[:, None] - i)[: self.odd] * middle, -middle

    def fold(self, rows: np.ndarray) -> Pair:
        left, right = rows[:, : self.even], rows[:, : self.odd - 1 : -1]  # of an odd number both have the middle
        even = left + right
        if self.even > self.odd:
            even[:, -1] *= 1 / _ROOT
        return even, left[:, : self.odd] - right[:, : self.odd]

    def unfold(self, even: np.ndarray, odd: np.ndarray) -> np.ndarray:
        """Of halves that are half as large: what comes of folded rows and half a matrix."""
        rows = np.empty((len(even), self.n))
        pairs = even[:, : self.odd]
        np.add(pairs, odd, out=rows[:, : self.odd])
        np.subtract(pairs, odd, out=rows[:, : self.even - 1 : -1])
        if self.even > self.odd:
            np.multiply(even[:, -1], _ROOT, out=rows[:, self.odd])
        return rows

    # ---- matrices of lags, and the gradients by these of the matrices' halves

    def symmetric(self, lags: np.ndarray) -> Pair:
        """(E, E) and (O, O)."""
        near, far = lags[self.near], lags[self.far]
        even: np.ndarray = (near + far) * self.weights
        return even, (near - far)[: self.odd, : self.odd]

    def of_symmetric(self, even: np.ndarray, odd: np.ndarray) -> np.ndarray:
        even = even * self.weights
        near, far = even.copy(), even
        near[: self.odd, : self.odd] += odd
        far[: self.odd, : self.odd] -= odd
        found: np.ndarray = self._sums(self.near, near) + self._sums(self.far, far)
        return found

    def antisymmetric(self, lags: np.ndarray) -> np.ndarray:
        """(O, E), from even to odd; from odd to even it is minus the transpose."""
        found: np.ndarray = lags[self.near[: self.odd]] * self.sides[0] + lags[self.far[: self.odd]] * self.sides[1]
        return found

    def of_antisymmetric(self, block: np.ndarray) -> np.ndarray:
        near, far = self.near[: self.odd], self.far[: self.odd]
        found: np.ndarray = self._sums(near, block * self.sides[0]) + self._sums(far, block * self.sides[1])
        return found

    def _sums(self, lags: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.bincount(lags.reshape(-1), values.reshape(-1), self.n)


class HalvedCholesky:
    """The inverse of a symmetric positive definite Toeplitz matrix, by its halves: matrices, half as large as they are."""

    def __init__(self, halves: Halves, lags: np.ndarray, jitter: float, name: str) -> None:
        from scipy.linalg.lapack import dpotrf, dpotri

        self.halves, self.logdet, parts = halves, 0.0, []
        for half in halves.symmetric(lags):
            lower, info = dpotrf(half.T, lower=1, clean=1, overwrite_a=1)
            if info:
                raise not_definite(jitter, name)
            self.logdet += 2.0 * float(np.log(lower.diagonal()).sum())
            inverse, _ = dpotri(lower, lower=1, overwrite_c=1)
            inverse += np.tril(inverse, -1).T
            inverse *= 0.5
            parts.append(inverse)
        self.even, self.odd = parts

    def solve(self, rows: np.ndarray) -> np.ndarray:
        """K⁻¹ on every row."""
        even, odd = self.halves.fold(rows)
        return self.halves.unfold(even @ self.even, odd @ self.odd)
