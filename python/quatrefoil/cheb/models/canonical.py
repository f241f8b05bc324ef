"""Conversion of canonical sums to Tucker tensors without the full array. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import to_reference
from ..transform import chebpts, vals2coeffs
from ..tucker import tucker
from ..tucker.unfolding import EPS, principal
from .algebra import assembled, column_exponents

BASES = 0.1  # fraction of the tolerance for the bases
BLOCK = 2**20  # elements of a Khatri-Rao product at a time: 8 MB
TRIES = 4  # guesses of the norm; each at least halves it


def compressed(weights: np.ndarray, columns: Sequence[np.ndarray], tol: float) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Compress sum_r weights_r u_r x v_r x .. to ``tol`` times its norm (16), (17).

    ``columns[k]`` is (n_k, R). Returns the core, the factors, and e such that the tensor is 2^e times the result.
    """
    scale, powers = np.frexp(weights)
    units = []
    for U in columns:
        exponents = column_exponents(U)
        U = np.ldexp(U, -exponents)
        length = np.linalg.norm(U, axis=0)
        scale, powers = scale * length, powers + exponents
        units.append(U / np.where(length > 0, length, 1))
    scale, exponent = assembled(scale, powers)
    nonzero = scale != 0
    if not nonzero.any():
        return np.zeros((1,) * len(columns)), [np.eye(len(U), 1) for U in columns], 0
    scale, units = scale[nonzero], [U[:, nonzero] for U in units]
    root, total = np.sqrt(np.abs(scale)), float(np.abs(scale).sum())
    guess = float(np.linalg.norm(scale))
    for _ in range(TRIES):
        budget = max((BASES * tol * guess) ** 2 / (len(units) * total), (EPS * total) ** 2 / total)
        bases, small, _ = zip(*(principal(U * root, 0, min(U.shape), budget, total) for U in units))
        core = _summed(scale, [part / root for part in small])
        size = float(np.linalg.norm(core))
        if size >= guess / 2 or guess <= EPS * total:
            break
        guess = max(size, EPS * total)
    truncated = tucker(core, tol=max(tol * math.sqrt(1 - 4 * BASES**2), 4 * EPS))
    return truncated.core, [Q @ W for Q, W in zip(bases, truncated.factors)], exponent


def _summed(weights: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """The full array of a short canonical sum: one matrix product per block of terms."""
    first, others = columns[0] * weights, columns[1:]
    core = np.zeros((len(first), math.prod(len(z) for z in others)))
    step = max(1, BLOCK // core.shape[1])
    for s in range(0, weights.size, step):
        product = np.ones((1, len(weights[s : s + step])))
        for z in others:
            product = (product[:, None] * z[None, :, s : s + step]).reshape(-1, product.shape[1])
        core += first[:, s : s + step] @ product.T
    return core.reshape([len(z) for z in columns])


def splined(x: np.ndarray, samples: np.ndarray, n: int, domain: Any) -> np.ndarray:
    """Chebyshev coefficients (n, R) of not-a-knot cubic splines through samples (m, R) at x, extended to the ends of the domain."""
    from scipy.interpolate import CubicSpline

    t, exponents = to_reference(x, *domain), column_exponents(samples)
    values = CubicSpline(t, np.ldexp(samples, -exponents), axis=0, bc_type="not-a-knot", extrapolate=True)(chebpts(n))
    return np.ldexp(vals2coeffs(np.ascontiguousarray(values), 0), exponents)
