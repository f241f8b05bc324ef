"""Symmetric eigendecompositions in float64 by the array API, without branches on values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._array_tools import double, is_symmetric
from .dense import outer

Array = Any


class Eigen(NamedTuple):
    """K = Q diag(values) Qᵀ; whether the factor was symmetric and finite; and whether it is positive semidefinite up to rounding."""

    K: Array
    values: Array
    vectors: Array
    valid: Array
    not_negative: Array


def eigen(xp: Any, f: Array) -> Eigen:
    """The eigendecomposition of one factor (..., n, n)."""
    K, valid = symmetric(xp, f)
    n = f.shape[-1]
    if n == 0:
        return Eigen(K, xp.zeros(K.shape[:-1], dtype=K.dtype, device=K.device), K, valid, valid)
    values, vectors = xp.linalg.eigh(K)
    not_negative = values[..., 0] >= -n * float(xp.finfo(f.dtype).eps) * xp.max(xp.abs(values), axis=-1)
    return Eigen(K, values, vectors, valid, not_negative)


def symmetric(xp: Any, f: Array) -> tuple[Array, Array]:
    """The symmetric part of a factor (..., n, n), with 0 for entries that are not finite, and whether it was symmetric and finite."""
    K = double(xp, f)
    if f.shape[-1] == 0:
        return K, xp.ones(K.shape[:-2], dtype=xp.bool, device=K.device)
    is_finite = xp.isfinite(K)
    K = xp.where(is_finite, K, xp.zeros_like(K))
    valid = xp.all(is_finite, axis=(-2, -1)) & is_symmetric(xp, K, float(xp.finfo(f.dtype).eps))
    return (K + xp.matrix_transpose(K)) / 2, valid


def clamped(xp: Any, values: Array) -> Array:
    """``values`` with negative ones, which are rounding errors, set to 0."""
    return xp.where(values < 0, xp.zeros_like(values), values)


def negligible(xp: Any, values: Sequence[Array], eps: float, like: Array) -> Array:
    """The noise up to which K + noise I is treated as singular, (...): -1 for a regular K, else eps times its largest eigenvalue.
    ``values`` are the nonnegative eigenvalues (..., n_k) of every axis, ascending, of factors with precision eps."""
    limit = xp.full((), -1.0, dtype=xp.float64, device=like.device)
    if not all(l.shape[-1] for l in values):
        return limit
    largest = outer([l[..., -1:] for l in values])[..., 0]
    for l in values:
        limit = xp.where(l[..., 0] <= l.shape[-1] * eps * l[..., -1], eps * largest, limit)
    return limit
