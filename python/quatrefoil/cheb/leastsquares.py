"""Chebyshev coefficients from scattered samples, by weighted least squares. Equation numbers are those of csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .transform import polynomials

BLOCK = 2**21  # numbers of the matrix at a time: 16 MB


def coefficients(points: Sequence[np.ndarray], y: np.ndarray, root: np.ndarray, n: Sequence[int], label: str) -> np.ndarray:
    """C (n_1, .., n_d) of least sum of (root (f(x) - y))^2; points: one array (P,) per axis, on [-1, 1] (18)."""
    K = math.prod(n)
    triangle: Any = np.zeros((0, K + 1))
    step = max(K, BLOCK // (K + 1))
    for s in range(0, y.size, step):
        rows = np.ones((y[s : s + step].size, 1))
        for t, m in zip(points, n):
            rows = (rows[:, :, None] * polynomials(t[s : s + step], m)[:, None]).reshape(len(rows), -1)
        rows = np.concatenate([rows, y[s : s + step, None]], axis=1) * root[s : s + step, None]
        triangle = np.linalg.qr(np.concatenate([triangle, rows]), mode="r")
    U, sigma, V = np.linalg.svd(triangle[:K, :K])
    if not sigma[-1] > K * float(np.finfo(np.float64).eps) * sigma[0]:
        what = (
            f"{K} coefficients are not determined by these {y.size} points and weights (singular values {sigma[0]:.1e} to {sigma[-1]:.1e})"
        )
        raise np.linalg.LinAlgError(f"{label}: {what}; expected more points, or a smaller n")
    C: np.ndarray = (V.T @ ((U.T @ triangle[:K, K]) / sigma)).reshape(tuple(n))
    return C
