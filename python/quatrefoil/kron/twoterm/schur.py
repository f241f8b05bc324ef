"""Sylvester's equation, with one factorisation of A and B: eigenbases if both are symmetric, else real Schur forms (7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arguments
from ..product.dense import asymmetry, exponent, rounding

_EPS = float(np.finfo(np.float64).eps)


def double(a: np.ndarray) -> np.ndarray:
    """A float64 array in C order, because BLAS's rounding depends on the order."""
    return np.require(a, np.float64, ["C", "A"])


def negligible(data: np.ndarray, *sizes: int) -> float:
    """The largest number treated as 0 relative to 1: the precision of the data plus LAPACK's errors in float64."""
    return float(np.finfo(data.dtype).eps) + max(sizes) * _EPS


def sylvester(A: np.ndarray, B: np.ndarray, label: str) -> Any:
    """A function (C, transposed) that solves A X + X B = C, or A^T X + X B^T = C, with one factorisation."""
    for a, name in ((A, "A"), (B, "B")):
        _arguments.finite(a, label, name)
    e = max(exponent(A), exponent(B)) - 1  # squares of entries could exceed the range of float64
    solve = _factorised(np.ldexp(double(A), -e), np.ldexp(double(B), -e), 2.0**e, A, label)
    return lambda C, transposed: np.ldexp(solve(C, transposed), -e)


def _factorised(A: np.ndarray, B: np.ndarray, unit: float, data: np.ndarray, label: str) -> Any:
    """``sylvester`` for matrices divided by ``unit``, with entries below 2; ``data`` has the original dtype."""
    if all(asymmetry(a) <= rounding(a, _EPS) for a in (A, B)):
        (l, U), (m, V) = (np.linalg.eigh(a) for a in (A, B))
        sums = l[:, None] + m
        _require_regular(l, m, float(np.abs(sums).max()), "the largest sum", unit, data, label)
        return lambda C, transposed: U @ ((U.T @ C @ V) / sums) @ V.T
    from scipy.linalg import norm, schur

    (R, U), (S, V) = (schur(a, output="real", check_finite=False) for a in (A, B))
    l, m = _eigenvalues(R), _eigenvalues(S)
    _require_regular(l, m, float(norm(R) + norm(S)), "|A| + |B|", unit, data, label)
    return lambda C, transposed: U @ _triangular(R, S, U.T @ C @ V, transposed, label) @ V.T


def _eigenvalues(R: np.ndarray) -> np.ndarray:
    """Eigenvalues of a real Schur form as LAPACK returns it; blocks [[a, b], [c, a]] with b c < 0 contain the pairs a +- i sqrt(-b c)."""
    imaginary = np.sqrt(np.abs(np.diagonal(R, 1)) * np.abs(np.diagonal(R, -1)))
    l = np.diagonal(R).astype(complex)
    l[:-1] += 1j * imaginary
    l[1:] -= 1j * imaginary
    return l


def _require_regular(l: np.ndarray, m: np.ndarray, scale: float, scale_is: str, unit: float, data: np.ndarray, label: str) -> None:
    """LinAlgError if a sum of eigenvalues is 0 up to rounding, relative to ``scale``."""
    sums = l[:, None] + m
    size = np.abs(sums)
    i, j = np.unravel_index(int(size.argmin()), size.shape)
    if size[i, j] <= negligible(data, *size.shape) * scale:
        raise np.linalg.LinAlgError(
            f"{label}: the eigenvalues {l[i] * unit:.6g} of A and {m[j] * unit:.6g} of B add up to {sums[i, j] * unit:.3g}, 0 relative to "
            f"{scale_is}, {scale * unit:.3g}: X does not exist or is not unique"
        )


def _triangular(R: np.ndarray, S: np.ndarray, F: np.ndarray, transposed: bool, label: str) -> np.ndarray:
    from scipy.linalg import lapack

    op = "T" if transposed else "N"
    Y = np.empty_like(F)
    for at in np.ndindex(*F.shape[:-2]):
        solved, scale, info = lapack.dtrsyl(R, S, F[at], trana=op, tranb=op)
        if info == 1:
            raise np.linalg.LinAlgError(f"{label}: A and -B have eigenvalues so close that X does not exist or is not unique in float64")
        Y[at] = solved / scale
    return Y
