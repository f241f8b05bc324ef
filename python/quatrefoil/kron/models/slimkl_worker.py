"""A worker's share of the ``SlimKL`` objective. Equation numbers are those of csrc/kron/README.md, "Mixture weights"."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EPS = float(np.finfo(np.float64).eps)


def component(t: np.ndarray, means: np.ndarray, std: np.ndarray) -> np.ndarray:
    """One component of (1) at lags t (..., P)."""
    turns = t * means
    turns -= np.rint(turns)  # a phase of hundreds of turns has no digits to lose
    value: np.ndarray = np.prod(np.exp(-2 * np.pi**2 * (t * std) ** 2) * np.cos(2 * np.pi * turns), axis=-1)
    return value


def factor(x: np.ndarray, means: np.ndarray, std: np.ndarray) -> np.ndarray:
    """L (n, r) with L L^T = one component at the points x (n, P), to n roundings of its phases: Cholesky with pivots, of which only r
    columns are computed."""
    n = len(x)
    least = n * EPS * (1 + 2 * np.pi * float(np.ptp(x, axis=0) @ np.abs(means)))
    left, columns = np.ones(n), np.empty((4, n))
    for r in range(n):
        p = int(left.argmax())
        if left[p] <= least:  # its diagonal was 1
            return columns[:r].T
        if r == len(columns):
            columns = np.concatenate([columns, np.empty_like(columns)])
        rest = component(x - x[p], means, std) - columns[:r, p] @ columns[:r]
        columns[r] = rest / np.sqrt(left[p])
        left = np.maximum(left - columns[r] ** 2, 0)
        left[p] = 0
    return columns[:n].T


class Weighing(NamedTuple):
    """The objective (2) at some weights, and the two parts of its gradient t - q."""

    objective: float
    t: np.ndarray
    q: np.ndarray


def starting(A: int, square: float, noise: float) -> np.ndarray:
    """Equal weights, above 0, that add up to the mean square of the data, or to the noise where that is 0."""
    return np.full(A, (square or noise) / A)


def not_definite(weights: np.ndarray, noise: float) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(
        f"SlimKL.fit: the covariance is not positive definite in float64, beside weights that add up to {weights.sum():.3g}; "
        f"noise is {noise}, expected more"
    )


class Worker:
    """Points x (n, P) with values y (n,), and the components (A, P) as factors side by side."""

    def __init__(self, x: np.ndarray, y: np.ndarray, means: np.ndarray, std: np.ndarray, noise: float) -> None:
        factors = [factor(x, *one) for one in zip(means, std)]
        ranks = [f.shape[1] for f in factors]
        self._L, self._of = np.concatenate(factors, axis=1), np.repeat(np.arange(len(means)), ranks)
        self._first, self._y, self._noise = np.cumsum([0, *ranks[:-1]]), y, noise
        self._start = starting(len(means), float(np.mean(y**2)), noise)
        self._last: tuple[np.ndarray | None, Weighing | None] = None, None

    def start(self) -> np.ndarray:
        return self._start

    def weigh(self, weights: np.ndarray) -> Weighing:
        """At these weights; the last ones are kept, for several steps are taken from them."""
        weights_, found = self._last
        if weights_ is None or not np.array_equal(weights, weights_):
            found = self._weigh(weights)
            self._last = weights, found
        assert found is not None
        return found

    def _weigh(self, weights: np.ndarray) -> Weighing:
        """One Cholesky factorisation, and a triangular solve with all factors: n^3 / 3 + 2 n^2 (sum of ranks) flops."""
        from scipy.linalg import lapack, solve_triangular

        W = self._L * np.sqrt(weights)[self._of]
        C = W @ W.T
        C[np.diag_indices(len(C))] += self._noise
        R, info = lapack.dpotrf(C, lower=1)
        if info:
            raise not_definite(weights, self._noise)
        z = solve_triangular(R, self._y, lower=True, check_finite=False)
        a = solve_triangular(R, z, lower=True, trans="T", check_finite=False)
        S = solve_triangular(R, self._L, lower=True, check_finite=False)
        t = np.add.reduceat(np.einsum("ij,ij->j", S, S), self._first)
        q = np.add.reduceat((a @ self._L) ** 2, self._first)
        return Weighing(float(z @ z + 2 * np.log(np.diagonal(R)).sum()), t, q)
