"""Helpers for compositions of array-API functions. ``xp`` is the namespace; new arrays are on the device of ``like``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Elements in a temporary array of a chunk, unless one item has more: 64 to 256 MB keep a device busy; 1 to 4 MB fit the host's caches.
CHUNK, HOST_CHUNK = 1 << 24, 1 << 18


def is_complex(xp: Any, x: Any) -> bool:
    return bool(xp.isdtype(x.dtype, "complex floating"))


def conj(xp: Any, x: Any) -> Any:
    """The conjugate; a real array unchanged."""
    return xp.conj(x) if is_complex(xp, x) else x


def real(xp: Any, x: Any) -> Any:
    """The real part; a real array unchanged."""
    return xp.real(x) if is_complex(xp, x) else x


def imag(xp: Any, x: Any) -> Any:
    """The imaginary part; zeros for a real array."""
    return xp.imag(x) if is_complex(xp, x) else xp.zeros_like(x)


def sigmoid(xp: Any, x: Any) -> Any:
    return 1 / (1 + xp.exp(-x))


def softplus(xp: Any, x: Any) -> Any:
    """log(1 + e^x), accurate for large |x|."""
    return xp.where(x > 0, x, 0 * x) + xp.log1p(xp.exp(-xp.abs(x)))


def silu(xp: Any, x: Any) -> Any:
    return x * sigmoid(xp, x)


def silu_slope(xp: Any, x: Any) -> Any:
    s = sigmoid(xp, x)
    return s * (1 + x * (1 - s))


def double(xp: Any, x: Any) -> Any:
    """``x`` in double precision, real or complex like ``x``; None stays None."""
    return None if x is None else xp.astype(x, xp.complex128 if is_complex(xp, x) else xp.float64, copy=False)


def complex_of(xp: Any, re: Any, im: Any) -> Any:
    """re + i im for two arrays of the same precision."""
    dtype = xp.complex64 if re.dtype == xp.float32 else xp.complex128
    return xp.astype(re, dtype) + 1j * xp.astype(im, dtype)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """a b as two doubles; the second is the rounding error (Dekker 1971)."""

    def halves(x: Any) -> tuple[Any, Any]:
        shifted = 134217729.0 * x  # 2^27 + 1
        high = shifted - (shifted - x)
        return high, x - high

    (a0, a1), (b0, b1), p = halves(a), halves(b), a * b
    return p, ((a0 * b0 - p) + a0 * b1 + a1 * b0) + a1 * b1


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b as two doubles (Knuth 1969)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def twofold_sums(xp: Any, x: Any) -> tuple[Any, Any]:
    """Cumulative sums along the last axis, each as two numbers; the second is the rounding error of the first."""
    high, low, reach = x, 0 * x, 1
    while reach < x.shape[-1]:
        before = [xp.concat([zeros(xp, (*x.shape[:-1], reach), x), y[..., :-reach]], axis=-1) for y in (high, low)]
        high, lost = two_sum(before[0], high)
        low, reach = low + before[1] + lost, 2 * reach
    return high, low


def exclusive_cumsum(xp: Any, x: Any) -> Any:
    """For each element of the last axis, the sum of the elements before it. Later elements, even NaN, do not affect it."""
    return xp.cumulative_sum(x, axis=-1, include_initial=True)[..., :-1]


def reverse_cumsum(xp: Any, x: Any) -> Any:
    """For each element of the last axis, the sum from it to the end."""
    return xp.flip(xp.cumulative_sum(xp.flip(x, axis=-1), axis=-1), axis=-1)


def crossing_sums(xp: Any, pairs: Any) -> Any:
    """For each t, the sum of the entries (i, j) of a matrix (..., C, C) with j < t <= i."""
    t = arange(xp, pairs.shape[-1], pairs, xp.int64)
    before = exclusive_cumsum(xp, pairs)
    return xp.sum(xp.where(t[:, None] >= t, before, xp.zeros_like(before)), axis=-2)


def zeros(xp: Any, shape: Sequence[int], like: Any, dtype: Any = None) -> Any:
    return xp.zeros(tuple(shape), dtype=like.dtype if dtype is None else dtype, device=like.device)


def arange(xp: Any, n: int, like: Any, dtype: Any = None) -> Any:
    """0 .. n - 1."""
    return xp.arange(n, dtype=like.dtype if dtype is None else dtype, device=like.device)


def resized(xp: Any, x: Any, n: int) -> Any:
    """The first n entries of the last axis, padded with zeros."""
    missing = n - x.shape[-1]
    return x[..., :n] if missing <= 0 else xp.concat([x, zeros(xp, (*x.shape[:-1], missing), x)], axis=-1)


def items_per_chunk(numbers: int, xp: Any = None) -> int:
    """The number of items per chunk, if an item has ``numbers`` elements."""
    return max(1, min(CHUNK, HOST_CHUNK if xp is np else CHUNK) // max(1, numbers))


def chunk_slices(count: int, numbers: int, xp: Any = None) -> list[slice]:
    """The chunks of ``count`` items with ``numbers`` elements each, as slices; one empty slice if there are no items."""
    step = items_per_chunk(numbers, xp)
    return [slice(i, min(i + step, count)) for i in range(0, max(count, 1), step)]


def in_chunks(xp: Any, compute: Callable[[slice], Any], count: int, numbers: int, axis: int = 0) -> Any:
    """Call ``compute`` for every chunk and concatenate its results, an array or a tuple of arrays, along ``axis``. An item may have several
    entries on the axis, the same number for every item."""
    first, *others = chunk_slices(count, numbers, xp)
    result = compute(first)
    if not others:
        return result
    single, totals = not isinstance(result, tuple), []
    for chunk in (first, *others):
        result = result if chunk is first else compute(chunk)
        for i, x in enumerate([result] if single else result):
            at = axis % x.ndim
            each = x.shape[at] // (chunk.stop - chunk.start)
            if chunk is first:
                totals.append(xp.empty((*x.shape[:at], each * count, *x.shape[at + 1 :]), dtype=x.dtype, device=x.device))
            totals[i][(*[slice(None)] * at, slice(each * chunk.start, each * chunk.stop), ...)] = x
    return totals[0] if single else tuple(totals)


def size(x: Any) -> int:
    return math.prod(x.shape)


def added(total: Any, term: Any) -> Any:
    """total + term; a total of None is treated as 0."""
    return term if total is None else total + term


def nan_unless(xp: Any, valid: Any, x: Any) -> Any:
    """``x`` where it is valid, NaN elsewhere: devices return NaN where the host raises an error."""
    return xp.where(valid, x, xp.full_like(x, math.nan))


def finite(xp: Any, x: Any) -> Any:
    """``x`` with NaN instead of infinity."""
    return nan_unless(xp, xp.isfinite(x), x)


def is_symmetric(xp: Any, a: Any, eps: float) -> Any:
    """Whether each of the matrices (..., n, n), n > 0, is symmetric up to rounding errors of size ``eps``; an array of shape (...)."""
    skew, size = (xp.max(xp.abs(b), axis=(-2, -1)) for b in (a - xp.matrix_transpose(a), a))
    return skew <= max(a.shape[-1], 8) * eps * size


def cholesky(xp: Any, a: Any) -> tuple[Any, Any]:
    """The lower Cholesky factor of a matrix (n, n), and its inverse. Both are NaN if it is not positive definite, whether the library
    raises an error or returns a partial factor."""
    try:
        lower = xp.linalg.cholesky(a)
    except Exception as error:
        if "LinAlgError" not in type(error).__name__:
            raise
        nothing = xp.full_like(a, math.nan)
        return nothing, nothing
    valid = xp.all(xp.linalg.diagonal(lower) > 0)
    plain = xp.where(valid, lower, xp.eye(a.shape[0], dtype=a.dtype, device=a.device))
    return nan_unless(xp, valid, lower), nan_unless(xp, valid, xp.linalg.inv(plain))


def gram(xp: Any, a: Any, b: Any) -> Any:
    """The matrix (m, n) with entries sum_lr a[l, i, r] b[l, j, r], for arrays a (L, m, R) and b (L, n, R)."""
    a, b = (xp.reshape(xp.permute_dims(x, (1, 0, 2)), (x.shape[1], x.shape[0] * x.shape[2])) for x in (a, b))
    return xp.matmul(a, b.T)


def mode_product(xp: Any, A: Any, matrix: Any, axis: int) -> Any:
    """sum_j matrix[i, j] A[..., j, ...] along one axis."""
    n, m = A.shape[axis], matrix.shape[0]
    before, after = math.prod(A.shape[:axis]), math.prod(A.shape[axis + 1 :])
    shape = (*A.shape[:axis], m, *A.shape[axis + 1 :])
    if after == 1:
        return xp.reshape(xp.matmul(xp.reshape(A, (before, n)), matrix.T), shape)
    return xp.reshape(xp.matmul(matrix, xp.reshape(A, (before, n, after))), shape)


def is_any(xp: Any, flags: Any) -> bool:
    """Whether any flag is true. This is the only place where a composition waits for a device."""
    return bool(xp.any(flags))


def ascends(xp: Any, ends: Any, length: int) -> Any:
    """Whether the boundaries of packed sequences start at 0, never decrease, and end at ``length``; a 0-d array."""
    return (ends[0] == 0) & (ends[-1] == length) & xp.all(ends[:-1] <= ends[1:])


def segment_sums(xp: Any, x: Any, begin: Any) -> Any:
    """Sums (N, S) of the rows begin[i] to begin[i + 1] of x, by doubling within each range."""
    P = x.shape[0]
    owner = xp.searchsorted(begin[1:], arange(xp, P, begin), side="right")
    step = 1
    while step < P:
        same_owner = (owner[step:] == owner[:-step])[:, None]
        x = xp.concat([x[:step, :], x[step:, :] + xp.where(same_owner, x[:-step, :], xp.zeros_like(x[step:, :]))], axis=0)
        step *= 2
    sums = xp.take(x, xp.clip(begin[1:] - 1, min=0, max=P - 1), axis=0)
    return xp.where((begin[1:] > begin[:-1])[:, None], sums, xp.zeros_like(sums))


def sums_by_index(xp: Any, index: Any, x: Any, size: int) -> Any:
    """Sums (size, S) of the rows of x with each index, 0 for indices without rows."""
    if size == 1 or x.shape[0] == 0:
        return xp.sum(x, axis=0, keepdims=True) if size == 1 else zeros(xp, (size, x.shape[1]), x)
    order = xp.argsort(index, stable=True)
    begin = xp.searchsorted(xp.take(index, order, axis=0), arange(xp, size + 1, index))
    return segment_sums(xp, xp.take(x, order, axis=0), xp.astype(begin, index.dtype))
