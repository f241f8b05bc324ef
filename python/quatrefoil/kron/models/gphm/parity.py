"""Uniform axes by parity: a symmetric Toeplitz matrix maps even vectors to even ones and odd to odd, README (11).

Rows (m, N) are folded to an even part, (m, E) with E = (N + 1) // 2, and an odd part, (m, O) with O = N // 2. Both are scaled by sqrt(2)
and their matrices by 1/2, so that unfolding a product returns rows.
"""

from __future__ import annotations

import numpy as np

from ...product.mirror import whole

Pair = tuple[np.ndarray, np.ndarray]
_ROOT = np.sqrt(2.0)


class Parity:
    """Weights and workspace for axes with N points."""

    def __init__(self, n: int) -> None:
        self.n, self.even, self.odd = n, (n + 1) // 2, n // 2
        self.middle = np.ones(self.even)
        self.middle[self.odd :] = 1 / _ROOT  # the middle point
        self.weights = self.middle[:, None] * self.middle
        self.skewed = np.zeros((self.even, 2 * self.even))

    # ---- matrices from lags, and gradients with respect to lags from those of the parts

    def _near(self, lags: np.ndarray, sign: float) -> np.ndarray:
        """The numbers at lags i - j, times ``sign`` if the lag is negative: a view (E, E)."""
        line = np.concatenate([sign * lags[self.even - 1 : 0 : -1], lags[: self.even]])
        return np.ndarray((self.even, self.even), float, line, 8 * (self.even - 1), (8, -8))

    def _far(self, lags: np.ndarray) -> np.ndarray:
        """The numbers at lags N - 1 - i - j, from i to the mirror image of j: a view (E, E)."""
        return np.ndarray((self.even, self.even), float, np.ascontiguousarray(lags[::-1]), 0, (8, 8))

    def symmetric(self, lags: np.ndarray) -> Pair:
        """The blocks that map even to even and odd to odd vectors: (E, E) and (O, O)."""
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
        """The block (O, E) that maps even to odd vectors; its negative transpose maps odd to even. The first lag is 0."""
        return (self._near(lags, -1.0) - self._far(lags))[: self.odd] * self.middle

    def of_antisymmetric(self, block: np.ndarray) -> np.ndarray:
        near = np.zeros((self.even, self.even))
        np.multiply(block, self.middle, out=near[: self.odd])
        gradient = self._of_lags(near, -near, -1.0)
        gradient[0] = 0.0
        return gradient

    def _of_lags(self, near: np.ndarray, far: np.ndarray, sign: float) -> np.ndarray:
        """The gradient of <near, _near> + <far, _far> with respect to the lags."""
        gradient, last = np.zeros(self.n), self.even - 1
        gradient[self.n - 1 - 2 * last :] = self._along(far)[::-1]
        sums = self._along(near[:, ::-1])
        gradient[: self.even] += sums[last:]
        gradient[1 : self.even] += sign * sums[last - 1 :: -1] if last else 0.0
        return gradient

    def _along(self, values: np.ndarray) -> np.ndarray:
        """Sums over i + j, (2 E - 1,), after shifting each row by one relative to the row above."""
        self.skewed[:, : self.even] = values
        flat = self.skewed.reshape(-1)[: self.even * (2 * self.even - 1)]
        return flat.reshape(self.even, -1).sum(axis=0)


def eigh(K: np.ndarray, parity: Parity | None) -> Pair:
    """Ascending eigenvalues and eigenvectors, which overwrite K; with ``parity`` K is the first row of a Toeplitz matrix."""
    if parity is None:
        return _eigh(K)
    (even, V), (odd, W) = map(_eigh, parity.symmetric(K))
    values = np.concatenate([even, odd])
    order = np.argsort(values)
    return values[order], np.take(whole([V, W], parity.n), order, axis=1)


def _eigh(K: np.ndarray) -> Pair:
    from scipy.linalg import eigh as scipy_eigh

    values, vectors = scipy_eigh(K, overwrite_a=True, check_finite=False, driver="evd")
    return values, vectors
