"""Chebyshev coefficients from scattered samples, by weighted least squares. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from ..._warnings import warn
from ..transform import polynomials

BLOCK = 2**21  # elements of the matrix at a time: 16 MB
MAX_FLOPS = 2e10  # maximum of P K^2 if n is omitted: a few seconds
MAX_DENSE = 2**22  # largest array of coefficients for a total degree
_DETERMINED = 1e-10  # fraction of the largest diagonal entry of R; a coefficient with a smaller entry is not determined by the samples
_DOUBTFUL, _CROWDED = 0.5, 0.7  # held-out error, and ratio of unknowns to samples, above which there is a warning
_EQUAL = 1.01  # held-out errors within this factor are treated as equal


def fitted(points: Sequence[np.ndarray], y: np.ndarray, root: np.ndarray, n: Sequence[int] | None, label: str) -> tuple[np.ndarray, float]:
    """The coefficients C (n_1, .., n_d) and the held-out error. Without n, up to the total degree with the smallest held-out error."""
    d, P = len(points), int(np.count_nonzero(root))
    degrees, ends = by_degree(P, d) if n is None else (np.indices(n).reshape(d, -1).T, np.array([math.prod(n)]))
    solution, degrees, error = coefficients(points, y, root, degrees, ends, label)
    C = np.zeros((int(degrees.max()) + 1,) * d if n is None else tuple(n))
    C[tuple(degrees.T)] = solution
    what = f"{label}: {len(solution)} coefficients from {P} samples"
    fix = "use more samples" if n is None else "use a smaller n, or omit n"
    if error > _DOUBTFUL:
        missed = f"miss held-out samples by {error:.2g} standard deviations (error_estimate)"
        warn(f"{what} {missed}; {fix}")
    elif len(solution) > _CROWDED * P:
        warn(f"{what} are nearly as many as the samples and fit their noise; {fix}")
    return C, error


def by_degree(P: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Degrees (K, d) of products of polynomials, sorted by total degree, and the number (D,) with total degree at most 0, 1, ...; K is
    limited to what P samples can determine."""
    max_terms = min(max(P // 2, min(P - 1, d + 1)), int(math.sqrt(MAX_FLOPS / max(P, 1))))
    rows, ends = [np.zeros((1, d), np.int64)], [1]
    while d and math.comb(len(ends) + d, d) <= max_terms and (len(ends) + 1) ** d <= MAX_DENSE:
        chosen = np.array(list(combinations_with_replacement(range(d), len(ends))))
        rows.append((chosen[:, :, None] == np.arange(d)).sum(axis=1))
        ends.append(ends[-1] + len(chosen))
    return np.concatenate(rows), np.array(ends)


def coefficients(
    points: Sequence[np.ndarray], y: np.ndarray, root: np.ndarray, degrees: np.ndarray, ends: np.ndarray, label: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """Minimise the sum of (root (f(x) - y))^2 over products of polynomials (18): coefficients, degrees and held-out error.

    points: one array (P,) per axis, on [-1, 1]. Uses the first ``ends[k]`` products, with the k that has the smallest held-out error. That
    error is infinite if the fit to all other samples is not determined. With several k, products that the samples do not distinguish from
    earlier ones are omitted.
    """
    max_terms = len(degrees)
    step = max(max_terms, BLOCK // (max_terms + 1))
    blocks = [slice(s, s + step) for s in range(0, y.size, step)]

    def matrix(block: slice) -> np.ndarray:
        rows = np.ones((y[block].size, len(degrees)))
        for t, k in zip(points, degrees.T):
            rows *= polynomials(t[block], int(k.max()) + 1)[:, k]
        return np.concatenate([rows, y[block, None]], axis=1) * root[block, None]

    triangle: Any = np.zeros((0, max_terms + 1))
    for block in blocks:
        triangle = np.linalg.qr(np.concatenate([triangle, matrix(block)]), mode="r")
    if len(ends) > 1:
        diagonal = np.abs(np.diagonal(triangle))[:max_terms]
        determined = np.append(0, 1 + np.flatnonzero(diagonal[1:] > _DETERMINED * diagonal[0]))
        triangle, degrees = np.linalg.qr(triangle[:, [*determined, max_terms]], mode="r"), degrees[determined]
        ends = np.unique(np.searchsorted(determined, ends))
    K = int(ends[-1])
    inverse, squares = _inverse(triangle[:K, :K], y.size, label, known=len(ends) > 1), np.zeros(len(ends))
    for block in blocks:
        rows = matrix(block)
        Q = rows[:, :K] @ inverse
        left = 1 - np.cumsum(Q * Q, axis=1)[:, ends - 1]  # the weight of the other samples in the value at this one
        missed = rows[:, -1:] - np.cumsum(Q * triangle[:K, -1], axis=1)[:, ends - 1]
        squares += (np.divide(missed, left, out=np.full_like(left, np.inf), where=left > 1e-9) ** 2).sum(axis=0)
    best = int((squares <= _EQUAL**2 * squares.min() + 1e-24 * ((root * y) @ (root * y))).argmax())
    K = int(ends[best])  # the inverse of a leading block is a leading block
    mean = (root**2 @ y) / (root @ root)
    spread = np.hypot(np.linalg.norm(root * (y - mean)), 1e-12 * np.linalg.norm(root * y))
    return inverse[:K, :K] @ triangle[:K, -1], degrees[:K], float(np.sqrt(squares[best]) / spread) if spread else 0.0


def _inverse(R: np.ndarray, P: int, label: str, known: bool) -> np.ndarray:
    """The inverse of a triangular matrix; LinAlgError if it is singular, which ``known`` rules out."""
    if known:
        return np.linalg.inv(R)
    U, sigma, V = np.linalg.svd(R)
    if not sigma[-1] > len(R) * float(np.finfo(np.float64).eps) * sigma[0]:
        values = f"singular values {sigma[0]:.1e} to {sigma[-1]:.1e}"
        what = f"{len(R)} coefficients are not determined by these {P} points and weights ({values})"
        raise np.linalg.LinAlgError(f"{label}: {what}; use more points or a smaller n")
    return (V.T / sigma) @ U.T
