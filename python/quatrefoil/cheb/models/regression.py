"""Sparse polynomial regression: orthogonal least squares over hyperbolic crosses, chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..multiindex import cross

NORMS = (1.0, 0.75, 0.5)  # exponents of the crosses; 1 is total degree
MAX_DEGREE = 25
MAX_TERMS = 3000  # of a basis
FLOPS = 1e10  # of all fits: some seconds
PATIENCE = 8  # larger bases without a better fit before the search ends,
CHEAP = 0.05  # once this share of FLOPS is spent
BETTER = 0.99  # factor by which the error must fall
FOLDS = 10  # of the cross-validation
EQUAL = 1e-11  # relative errors below this are rounding


def sparse(tables: Sequence[np.ndarray], y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Degrees (K, d), coefficients (K,) and the error of cross-validation, relative to the standard deviation of y.

    tables: values (P, MAX_DEGREE + 1) of the polynomials of each input at the samples.
    """
    d = len(tables)
    spread = float(y.std())
    best: tuple[np.ndarray, np.ndarray, float] = (np.zeros((1, d), np.int64), np.array([y.mean()]), 1.0)
    if spread <= EQUAL * float(np.abs(y).max(initial=0)):
        return best[0], best[1], 0.0
    flops, since = 0.0, 0
    for degrees in _crosses(d, min(table.shape[1] for table in tables) - 1):
        A = products(tables, degrees)
        terms, error, steps = _selected(A, (y - y.mean()) / spread, 1 / np.prod(1.0 + degrees, axis=1))
        flops += 2.0 * A.size * steps
        since += 1
        if error < BETTER * best[2]:
            chosen = degrees[terms]
            best, since = (chosen, np.linalg.lstsq(A[:, terms], y, rcond=None)[0], error), 0
        if (since >= PATIENCE and flops > CHEAP * FLOPS) or flops > FLOPS or best[2] < EQUAL:
            break
    return best


def _crosses(d: int, most: int) -> list[np.ndarray]:
    """Multi-indices (K, d) of all crosses, from small to large."""
    found = {}
    for norm in NORMS:
        for degree in range(1, most + 1):
            degrees = cross(d, degree, norm, MAX_TERMS)
            if degrees is None:
                break
            found[degrees.tobytes()] = degrees
    return sorted(found.values(), key=len)


def products(tables: Sequence[np.ndarray], degrees: np.ndarray) -> np.ndarray:
    """Products (P, K) of the polynomials of all inputs."""
    rows = np.ones((len(tables[0]), len(degrees)))
    for table, k in zip(tables, degrees.T):
        rows *= table[:, k]
    return rows


def _selected(A: np.ndarray, y: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Columns of A for y, of mean 0 and deviation 1, as many as cross-validation asks for; its error; and the number of all steps.

    preference: factors of the columns' gains, smaller for higher degrees, because smooth functions have small coefficients there.
    """
    P = y.size
    folds = np.random.Generator(np.random.Philox(key=0)).permutation(np.arange(P) % min(FOLDS, P))
    most = max(1, min(A.shape[1], int(0.8 * (P - -(-P // FOLDS)))))
    squares, steps = np.full((folds.max() + 1, most), np.inf), 0
    for fold, row in enumerate(squares):
        missed = _steps(A, y, preference, folds != fold, most)[1]
        row[: missed.size] = missed
        steps += missed.size
    means = squares.sum(axis=0) / P
    k = int(means.argmin()) + 1
    chosen = _steps(A, y, preference, np.ones(P, bool), k)[0]
    return chosen, float(np.sqrt(means[k - 1])), steps + k


def _steps(A: np.ndarray, y: np.ndarray, preference: np.ndarray, fitted: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal least squares on the ``fitted`` rows: the columns in the order of their choice, and after each step the sum of squares of
    what is left of y in the other rows.

    Each step takes the column whose part orthogonal to the earlier ones lowers the residual most.
    """
    w = fitted.astype(np.float64)
    sizes = w @ A**2
    left, gains = sizes.copy(), (w * y) @ A  # squared norms of the orthogonal parts, and their products with y
    Q, residual = np.empty((most, y.size)), y.copy()
    chosen, missed = np.zeros(most, np.intp), np.zeros(most)
    for k in range(most):
        lowered = np.where(left > 1e-9 * sizes, preference * gains**2 / np.maximum(left, 1e-300), -1.0)
        j = int(lowered.argmax()) if k else 0
        if lowered[j] < 0:
            return chosen[:k], missed[:k]
        q = A[:, j]
        for _ in range(2):
            q = q - (Q[:k] @ (w * q)) @ Q[:k]
        Q[k] = q = q / np.sqrt(w @ q**2)
        along, product = (w * q) @ A, w @ (q * residual)
        left, gains = left - along**2, gains - along * product
        left[j], chosen[k] = 0, j
        residual = residual - q * product
        missed[k] = residual[~fitted] @ residual[~fitted]
        if not fitted.all() and k > 1.5 * missed[: k + 1].argmin() + 20:
            return chosen[: k + 1], missed[: k + 1]
    return chosen, missed
