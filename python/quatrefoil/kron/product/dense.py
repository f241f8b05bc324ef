"""Dense factors and their eigenvalues: LU, and products whose intermediate values stay in the range of float64."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays, _backends

_SMALL = 1e-280  # noise below which rounding errors of the smallest eigenvalues matter
_INVERTED = 64  # largest triangular matrix that LAPACK inverts
FIX = "add noise, or jitter to its diagonal"


def namespace(array: Any) -> Any:
    """The array-API namespace for arrays of that kind."""
    kind = str(_arrays.kind(array))
    return _arrays.namespace_of(kind) if kind == "jax" else _backends.array.namespace(kind)


def in_form_of(like: Any, array: Any) -> Any:
    """A result in the kind and precision of an argument; results computed on the host are NumPy arrays."""
    if isinstance(array, np.ndarray):
        return _arrays.of_kind(str(_arrays.kind(like)), array.astype(_arrays.dtype_name(like), copy=False))
    return namespace(array).astype(array, like.dtype, copy=False)


def doubled(array: Any) -> Any:
    """A copy in double precision."""
    xp = namespace(array)
    return xp.asarray(array, dtype=xp.float64, copy=True)


def owned(array: Any) -> Any:
    """A private copy of an array of any kind."""
    return array.clone() if _arrays.kind(array) == "torch" else array.copy()


def outer(vectors: Sequence[Any]) -> Any:
    """The Kronecker product of vectors (..., n_k)."""
    return functools.reduce(_outer, vectors)


def _outer(a: Any, b: Any) -> Any:
    c = a[..., :, None] * b[..., None, :]
    return c.reshape(*c.shape[:-2], c.shape[-2] * c.shape[-1])


def exponent(a: np.ndarray) -> int:
    """The binary exponent of the largest entry."""
    return int(np.frexp(np.abs(a).max(initial=0.0))[1])


def products(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The Kronecker product of vectors, without intermediate overflow or underflow."""
    exponents = list(map(exponent, vectors))
    if sum(map(abs, exponents)) < 900:
        return outer(vectors)
    with np.errstate(over="ignore"):
        return np.ldexp(outer([np.ldexp(v, -e) for v, e in zip(vectors, exponents)]), sum(exponents))


def product_of(numbers: Sequence[float]) -> float:
    """The product of numbers, without intermediate overflow or underflow."""
    return float(products([np.ones(1), *[np.array([x]) for x in numbers]])[0])


def singular_axis(values: Sequence[np.ndarray], eps: float) -> int | None:
    """The first axis whose nonnegative eigenvalues ``values[k]`` make its matrix singular to precision ``eps``, or None."""
    return next((k for k, l in enumerate(values) if len(l) and l.min() <= len(l) * eps * l.max()), None)


def require_symmetric(a: np.ndarray, eps: float, name: str, fix: str = "symmetrise it") -> None:
    """ValueError if ``a``, a finite matrix of precision ``eps``, is not symmetric."""
    skew = asymmetry(a)
    if skew > rounding(a, eps):
        raise ValueError(f"{name} is not symmetric (it differs from its transpose by up to {skew:.3g}); {fix}")


def asymmetry(a: np.ndarray) -> float:
    return float(np.abs(a - a.T).max(initial=0.0))


def rounding(a: np.ndarray, eps: float) -> float:
    """The largest asymmetry that rounding can cause: in sums of n terms or, for small n, in a few operations per entry."""
    return max(len(a), 8) * eps * float(np.abs(a).max(initial=0.0))


def not_negative(values: np.ndarray, eps: float, name: str) -> np.ndarray:
    """Eigenvalues of a matrix of precision ``eps``, with negative rounding errors set to 0; LinAlgError for a lower one."""
    lowest = values.min(initial=0.0)
    if lowest < -len(values) * eps * np.abs(values).max(initial=0.0):
        raise np.linalg.LinAlgError(f"{name} is not positive semidefinite (it has the eigenvalue {lowest:.3g}); add jitter to its diagonal")
    return np.maximum(values, 0.0)


def log_determinant(vectors: Sequence[np.ndarray], noise: float) -> float:
    """The sum of log(λ + noise) over the Kronecker product λ of nonnegative vectors; the noise is at least 0."""
    lam = products(vectors)
    if noise > _SMALL and np.isfinite(lam).all():
        return float(np.log(lam + noise).sum())
    with np.errstate(divide="ignore"):  # logarithms stay in range even if λ does not
        logs = functools.reduce(lambda a, b: (a[:, None] + b).reshape(-1), list(map(np.log, vectors)))
        return float(np.logaddexp(logs, np.log(noise)).sum())


def factorised(f: Any, i: int) -> tuple[Any, Any]:
    """The LU factorisation of a factor; LinAlgError if it is singular to its own precision."""
    if len(f) == 0:
        return np.zeros((0, 0)), np.zeros(0, np.int32)
    from scipy.linalg import lapack

    lu, pivots, info = lapack.dgetrf(f.astype(np.float64))
    if info > 0:
        raise np.linalg.LinAlgError(f"KroneckerOperator: factors[{i}] is singular (pivot {info - 1} is 0); {FIX}")
    inverse_condition, _ = lapack.dgecon(lu, np.abs(f).sum(axis=0, dtype=np.float64).max())
    if inverse_condition < np.finfo(f.dtype).eps:
        raise np.linalg.LinAlgError(
            f"KroneckerOperator: factors[{i}] is singular to working precision (1 / condition number is {inverse_condition:.1e}); {FIX}"
        )
    return lu, pivots


def inverse_lower(L: np.ndarray) -> np.ndarray:
    """The inverse of a lower triangular matrix, by recursion, with n^3 / 3 multiplications in NumPy."""
    n, h = len(L), len(L) // 2
    if n <= _INVERTED:
        return np.tril(np.linalg.inv(L))
    inverse = np.zeros_like(L)
    inverse[:h, :h], inverse[h:, h:] = inverse_lower(L[:h, :h]), inverse_lower(L[h:, h:])
    inverse[h:, :h] = -inverse[h:, h:] @ (L[h:, :h] @ inverse[:h, :h])
    return inverse
