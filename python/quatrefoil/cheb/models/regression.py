"""Sparse polynomial regression: orthogonal least squares over hyperbolic crosses, chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..multiindex import cross

NORMS = (1.0, 0.75, 0.5)  # exponents of the crosses; 1 is total degree
MAX_DEGREE = 25
MAX_TERMS = 3000  # maximum size of a basis
FLOPS = 1e10, 4e7, 4e10  # limit for all fits: minimum, per sample, maximum; a few seconds
PATIENCE = 8  # the search ends after this number of larger bases without a better fit,
CHEAP = 0.05  # but not before this fraction of FLOPS is used
BETTER = 0.99  # factor by which the error must fall
FOLDS = 10  # folds of the cross-validation
EQUAL = 1e-11  # relative errors below this are rounding errors


def sparse(tables: Sequence[np.ndarray], y: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return degrees (K, d), coefficients (K,) and the cross-validation error relative to the standard deviation of y.

    tables: values (P, MAX_DEGREE + 1) of the polynomials of each input at the samples; share: fraction of FLOPS that may be used.
    """
    d = len(tables)
    spread = float(y.std())
    best: tuple[np.ndarray, np.ndarray, float] = (np.zeros((1, d), np.int64), np.array([y.mean()]), 1.0)
    if spread <= EQUAL * float(np.abs(y).max(initial=0)):
        return best[0], best[1], 0.0
    flops, since, budget = 0.0, 0, share * min(max(FLOPS[0], FLOPS[1] * y.size), FLOPS[2])
    for degrees in _crosses(d, min(table.shape[1] for table in tables) - 1):
        A = products(tables, degrees)
        terms, error, steps = _selected(A, (y - y.mean()) / spread, 1 / np.prod(1.0 + degrees, axis=1))
        flops += 2.0 * A.size * steps
        since += 1
        if error < BETTER * best[2]:
            chosen = degrees[terms]
            best, since = (chosen, np.linalg.lstsq(A[:, terms], y, rcond=None)[0], error), 0
        if (since >= PATIENCE and flops > CHEAP * budget) or flops > budget or best[2] < EQUAL:
            break
    return best


def _crosses(d: int, max_degree: int) -> list[np.ndarray]:
    """Multi-indices (K, d) of all crosses, from small to large."""
    crosses = {}
    for norm in NORMS:
        for degree in range(1, max_degree + 1):
            degrees = cross(d, degree, norm, MAX_TERMS)
            if degrees is None:
                break
            crosses[degrees.tobytes()] = degrees
    return sorted(crosses.values(), key=len)


def products(tables: Sequence[np.ndarray], degrees: np.ndarray) -> np.ndarray:
    """Products (P, K) of one polynomial of each input."""
    rows = np.ones((len(tables[0]), len(degrees)))
    for table, k in zip(tables, degrees.T):
        rows *= table[:, k]
    return rows


def _selected(A: np.ndarray, y: np.ndarray, preference: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Select columns of A to fit y (mean 0, deviation 1). Return them, the cross-validation error and the total number of steps.

    The number of columns minimises the cross-validation error. preference: factors of the columns' gains, smaller for higher degrees,
    because smooth functions have small coefficients there.
    """
    P = y.size
    folds = np.random.Generator(np.random.Philox(key=0)).permutation(np.arange(P) % min(FOLDS, P))
    count = int(folds.max()) + 1
    max_steps = max(1, min(A.shape[1], int(0.8 * (P - -(-P // FOLDS)))))
    missed = _steps(A, y, preference, folds != np.arange(count)[:, None], max_steps)[1]
    means = missed.sum(axis=0) / P
    k = int(means.argmin()) + 1
    chosen = _steps(A, y, preference, np.ones((1, P), bool), k)[0][0]
    return chosen, float(np.sqrt(means[k - 1])), count * int(np.isfinite(means).sum()) + k


def _steps(A: np.ndarray, y: np.ndarray, preference: np.ndarray, fitted: np.ndarray, max_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal least squares on the ``fitted`` rows (F, P) of F folds at once. Return the columns (F, steps) in the order of their
    choice, and the squared residuals (F, max_steps) in the other rows after each step, infinite after the last step of a fold.

    Each step selects the column whose part orthogonal to the earlier columns reduces the residual most.
    """
    w = fitted.astype(np.float64)
    F, P = w.shape
    every = np.arange(F)
    sizes = w @ A**2
    left, gains = sizes.copy(), (w * y) @ A  # squared norms of the orthogonal parts, and their products with y
    Q, along, residual = np.empty((F, max_steps, P)), np.empty((F, max_steps, A.shape[1])), np.repeat(y[None], F, axis=0)
    chosen, missed, ended = np.zeros((F, max_steps), np.intp), np.full((F, max_steps), np.inf), np.zeros(F, bool)
    for k in range(max_steps):
        lowered = np.where(left > 1e-9 * sizes, preference * gains**2 / np.maximum(left, 1e-300), -1.0)
        j = lowered.argmax(axis=1) if k else np.zeros(F, np.intp)
        ended |= lowered[every, j] < 0
        if ended.all():
            return chosen[:, :k], missed
        q = A.T[j] - np.matmul(along[every, :k, j][:, None], Q[:, :k])[:, 0]
        if (left[every, j] < 1e-3 * sizes[every, j]).any():  # orthogonalise again after cancellation
            q = q - np.matmul(np.matmul(Q[:, :k], (w * q)[:, :, None])[:, None, :, 0], Q[:, :k])[:, 0]
        q = q / np.sqrt((w * q**2).sum(axis=1))[:, None]
        Q[:, k], along[:, k] = q, (w * q) @ A
        product = (w * q * residual).sum(axis=1)[:, None]
        left, gains = left - along[:, k] ** 2, gains - along[:, k] * product
        left[every, j], chosen[:, k] = 0, j
        residual = residual - q * product
        missed[:, k] = np.where(ended, np.inf, ((1 - w) * residual**2).sum(axis=1))
        ended |= ~fitted.all(axis=1) & (k > 1.5 * missed[:, : k + 1].argmin(axis=1) + 20)
        if ended.all():
            return chosen[:, : k + 1], missed
    return chosen, missed
