"""Chebyshev points of the second kind, and the way between values on them and Chebyshev coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, overload

import numpy as np

from .. import _arguments
from .._typing import Array, T
from .domain import UNIT, Domain, flat_domain

MATRIX_UP_TO = 97  # points: up to here a product with the cosine matrix takes no longer than a fast transform


@overload
def chebpts(n: int, domain: Domain = UNIT) -> np.ndarray: ...
@overload
def chebpts(n: Sequence[int], domain: Domain = UNIT) -> tuple[np.ndarray, ...]: ...
def chebpts(n: int | Sequence[int], domain: Domain = UNIT) -> np.ndarray | tuple[np.ndarray, ...]:
    """The n Chebyshev points of the second kind, ascending, x_j = sin(pi (2j-n+1) / (2(n-1))) mapped to the domain (9).

    Parameters
    ----------
    n : int, or one per axis
        Number of points, at least 1. One point is the middle of the interval.
    domain : (lo, hi), or one such pair per axis
        The first and the last point are lo and hi, exactly.

    Returns
    -------
    x : (n,) float64, or a tuple of such arrays where n is a sequence

    Raises
    ------
    ValueError, TypeError
        n < 1 or not an integer; an empty interval.
    """
    label = "cheb.chebpts"
    if isinstance(n, (Sequence, np.ndarray)) and not isinstance(n, str):
        counts = _arguments.integers(n, len(n), label, "n", 1)
        flat = flat_domain(domain, len(counts), label)
        return tuple(_points(m, *flat[2 * k : 2 * k + 2]) for k, m in enumerate(counts))
    return _points(_arguments.integer(n, label, "n", 1), *flat_domain(domain, 1, label))


def vals2coeffs(V: Array[T], axes: int | Sequence[int] | None = None) -> T:
    """Chebyshev coefficients of the polynomial through values on Chebyshev points, c_k = (2/(n-1)) sum'' v_j T_k(x_j) (10).

    Parameters
    ----------
    V : (..., n, ...)
        Values on ``chebpts(n)``, ascending; float32 or float64.
    axes : int or ints, optional
        The axes to transform; all of them if absent. Every other axis is a batch axis.

    Returns
    -------
    C : V's shape
        C[k] is the coefficient of T_k, degree up to n-1.

    Raises
    ------
    ValueError, TypeError
        An axis out of range, named twice or without points; dtypes other than float32 and float64.

    Notes
    -----
    The inverse of ``coeffs2vals``. Differentiable: a tensor keeps its graph. Error: a few eps of max|V|. Cost: a product with an n x n
    matrix for n <= 97, beyond it (NumPy) a fast cosine transform. A NaN stays in its pencils.
    """
    C: T = _transform(V, axes, "cheb.vals2coeffs", _to_coefficients, _fast_to_coefficients)
    return C


def coeffs2vals(C: Array[T], axes: int | Sequence[int] | None = None) -> T:
    """Values on Chebyshev points of the polynomial with these Chebyshev coefficients, v_j = sum_k c_k T_k(x_j) (11).

    Parameters, errors and costs are those of ``vals2coeffs``, whose inverse this is.
    """
    V: T = _transform(C, axes, "cheb.coeffs2vals", _to_values, _fast_to_values)
    return V


def mode_product(A: Any, matrix: Any, axis: int) -> Any:
    """sum_j matrix[i, j] A[..., j, ...] along one axis, for NumPy arrays and tensors (which keep their graph)."""
    if not isinstance(A, np.ndarray):
        return (A.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    n, m = A.shape[axis], matrix.shape[0]
    before, after = math.prod(A.shape[:axis]), math.prod(A.shape[axis + 1 :])
    shape = (*A.shape[:axis], m, *A.shape[axis + 1 :])
    if after == 1:
        return (A.reshape(before, n) @ matrix.T).reshape(shape)
    return np.matmul(matrix, A.reshape(before, n, after)).reshape(shape)


def polynomials(t: np.ndarray, n: int) -> np.ndarray:
    """T_k(t), (len(t), n), for t in [-1, 1]."""
    values: np.ndarray = np.cos(np.arccos(t)[:, None] * np.arange(n))
    return values


def _points(n: int, lo: float, hi: float) -> np.ndarray:
    x = np.sin(np.pi * np.arange(1 - n, n, 2) / (2 * max(n - 1, 1)))
    mapped: np.ndarray = np.clip(lo * ((1 - x) / 2) + hi * ((1 + x) / 2), lo, hi)
    return mapped


@lru_cache(maxsize=64)
def _to_values(n: int) -> np.ndarray:
    """(11) as a matrix: cos(pi k (n-1-j) / (n-1)), its angle reduced in integers, so that every entry is good to an ulp."""
    N = max(n - 1, 1)
    quarter = np.sin(np.pi * np.arange(N, -N - 1, -2) / (2 * N))  # cos(pi i / N), i = 0..N, antisymmetric to the last bit
    period = np.concatenate([quarter, quarter[-2:0:-1]])
    matrix: np.ndarray = period[np.outer(np.arange(n)[::-1], np.arange(n)) % (2 * N)]
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def _to_coefficients(n: int) -> np.ndarray:
    """(10) as a matrix."""
    ends = np.ones(n)
    ends[[0, -1]] = 0.5
    matrix: np.ndarray = ends[:, None] * _to_values(n).T * ends * (2 / (n - 1)) if n > 1 else np.ones((1, 1))
    matrix.flags.writeable = False
    return matrix


def _fast_to_coefficients(V: np.ndarray, axis: int) -> np.ndarray:
    from scipy import fft

    C: np.ndarray = fft.dct(np.flip(V, axis), type=1, axis=axis)
    C /= V.shape[axis] - 1
    ends = np.moveaxis(C, axis, 0)
    ends[[0, -1]] *= 0.5
    return C


def _fast_to_values(C: np.ndarray, axis: int) -> np.ndarray:
    from scipy import fft

    halved = np.moveaxis(C * C.dtype.type(0.5), axis, 0)  # the transform doubles the interior terms
    halved[[0, -1]] *= 2
    return np.ascontiguousarray(np.flip(fft.dct(np.moveaxis(halved, 0, axis), type=1, axis=axis), axis))


def _transform(A: Any, axes: Any, label: str, matrix: Any, fast: Any) -> Any:
    kind = _arguments.array(A, label, "the array")
    result = A
    for axis in _axes(axes, len(A.shape), label):
        n = A.shape[axis]
        if n < 1:
            raise ValueError(f"{label}: axis {axis} of shape {tuple(A.shape)} has no points, expected at least 1")
        if kind == "torch":
            result = mode_product(result, result.new_tensor(matrix(n)), axis)
        elif n <= MATRIX_UP_TO or A.size == 0:
            result = mode_product(result, matrix(n).astype(A.dtype), axis)
        else:
            result = fast(result, axis)
    return result if result is not A else A.copy() if kind == "numpy" else A.clone()


def _axes(axes: Any, rank: int, label: str) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(rank))
    found = tuple(axes) if isinstance(axes, Sequence) and not isinstance(axes, str) else (axes,)
    result = []
    for axis in found:
        at = _arguments.integer(axis, label, "axes")
        if not -rank <= at < rank or at % rank in result:
            raise ValueError(f"{label}: axes is {axes!r}, expected distinct axes of an array with {rank}")
        result.append(at % rank)
    return tuple(result)
