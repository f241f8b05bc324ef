"""The layers with array API functions: one matrix product per degree, or one for all products."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..._array_tools import chunk_slices, in_chunks, nan_unless

_ROOT = math.sqrt(2)


def _polynomials(xp: Any, X: Any, a: Any, b: Any, slopes: bool = False) -> Iterator[Any]:
    """README (1), (3): p_k (N, I) or (p_k, p_k') for k = 0, 1, ..., two degrees in memory at a time."""
    b = nan_unless(xp, (b > 0) & xp.isfinite(b), b)
    b = nan_unless(xp, xp.all(xp.isfinite(b)), b)  # on the host one invalid element of b raises an error
    zero = xp.zeros_like(X)
    before, d_before, at, d_at = zero, zero, zero, zero
    for k in range(a.shape[-1]):
        scale = 1 / xp.sqrt(b[..., k])
        if k == 0:
            at, d_at = zero + scale, zero
        else:
            back, x = xp.sqrt(b[..., k - 1]) * scale, X - a[..., k - 1]
            if slopes:
                d_before, d_at = d_at, scale * (at + x * d_at) - back * d_before
            before, at = at, x * scale * at - back * before
        yield (at, d_at) if slopes else at


def poly_layer(xp: Any, X: Any, W: Any, a: Any, b: Any) -> Any:
    Y = xp.zeros((X.shape[0], W.shape[2]), dtype=X.dtype, device=X.device)
    for k, p in enumerate(_polynomials(xp, X, a, b)):
        Y = Y + xp.matmul(p, W[:, k, :])
    return Y


def poly_layer_vjp(xp: Any, X: Any, W: Any, a: Any, b: Any, grad: Any) -> Any:
    dX, dW = xp.zeros_like(X), []
    for k, (p, slope) in enumerate(_polynomials(xp, X, a, b, slopes=True)):
        dW.append(xp.matmul(p.T, grad))
        dX = dX + slope * xp.matmul(grad, W[:, k, :].T)
    return dX, xp.stack(dW, axis=1) if dW else xp.zeros_like(W), None, None


# ---- products


def _trigonometric(xp: Any, X: Any, K: int, slopes: bool = False) -> Iterator[Any]:
    """README (10): the functions (N, I), or pairs (function, derivative), by the angle-addition formulas."""
    cos, sin, one = xp.cos(X), xp.sin(X), xp.ones_like(X)
    c, s = one, xp.zeros_like(X)
    yield (one, s) if slopes else one
    for k in range(1, K):
        if k % 2:
            c, s = c * cos - s * sin, s * cos + c * sin
        j, (at, slope) = (k + 1) // 2, (c, -s) if k % 2 else (s, c)
        yield (_ROOT * at, j * _ROOT * slope) if slopes else _ROOT * at


def _slots(degrees: Sequence[int], M: int, I: int, K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the functions of degree above 0 of every product: their columns (S, M) in a table (I K + 1) whose last column is 1, and their
    inputs (S, M), which are I for an empty slot. Also return a mask (M, I) of the degrees that are 0."""
    table = np.asarray(degrees, np.int64).reshape(M, I)
    which, inputs = np.nonzero(table)
    slot = np.arange(which.size) - np.searchsorted(which, which)
    columns = np.full((max(1, int(slot.max(initial=-1)) + 1), M), I * K)
    of_input = np.full(columns.shape, I)
    columns[slot, which], of_input[slot, which] = inputs * K + table[which, inputs], inputs
    return columns, of_input, table == 0


def _gathered(xp: Any, tables: Sequence[Any], last: float, columns: np.ndarray) -> list[Any]:
    """The functions of each slot (N, M), from the functions (N, I) of each degree."""
    N, I = tables[0].shape
    table = xp.reshape(xp.stack(list(tables), axis=2), (N, I * len(tables)))
    table = xp.concat([table, xp.full((N, 1), last, dtype=table.dtype, device=table.device)], axis=1)
    return [xp.take(table, _constant(xp, row, table, xp.int64), axis=1) for row in columns]


def _constant(xp: Any, numbers: np.ndarray, like: Any, dtype: Any) -> Any:
    """Copy host values to the device of ``like``."""
    return xp.reshape(xp.asarray(numbers.tolist(), dtype=dtype, device=like.device), numbers.shape)


def _times(factors: Sequence[Any]) -> Any:
    return functools.reduce(operator.mul, factors)


Functions = Callable[[Any, bool], Iterator[Any]]  # functions of X (N, I), with or without derivatives, one degree at a time


def _products(xp: Any, X: Any, W: Any, functions: Functions, scale: Any, degrees: Any, K: int) -> Any:
    """README (11), in blocks of rows."""
    columns, _, _ = _slots(degrees, W.shape[0], X.shape[1], K)

    def rows(at: slice) -> Any:
        return xp.matmul(_times(_gathered(xp, list(functions(X[at, :], False)), 1.0, columns)), scale * W)

    return in_chunks(xp, rows, X.shape[0], X.shape[1] * K + W.shape[0] * len(columns))


def _products_vjp(xp: Any, X: Any, W: Any, grad: Any, functions: Functions, scale: Any, degrees: Any, K: int) -> tuple[Any, Any]:
    """README (12), (13)."""
    N, I = X.shape
    columns, inputs, _ = _slots(degrees, W.shape[0], I, K)
    dX, dW = [], xp.zeros_like(W)
    for at in chunk_slices(N, 2 * I * K + W.shape[0] * (2 * len(columns) + 2), xp):
        values, slopes = zip(*functions(X[at, :], True))
        factors, steep = _gathered(xp, values, 1.0, columns), _gathered(xp, slopes, 0.0, columns)
        dW = dW + scale * xp.matmul(_times(factors).T, grad[at, :])
        weight, part = xp.matmul(grad[at, :], (scale * W).T), xp.zeros_like(X[at, :])
        for i, slope in enumerate(steep):
            of_input = _constant(xp, np.eye(I + 1)[inputs[i], :I], X, X.dtype)
            part = part + xp.matmul(_times([weight, slope, *factors[:i], *factors[i + 1 :]]), of_input)
        dX.append(part)
    return xp.concat(dX, axis=0), dW


def _of_polynomials(xp: Any, X: Any, W: Any, a: Any, b: Any, degrees: Any) -> tuple[Functions, Any, Any, int]:
    """The functions of a product layer of polynomials, and its scale: the product of the polynomials of degree 0."""
    zeros = _constant(xp, _slots(degrees, W.shape[0], X.shape[1], a.shape[-1])[2], X, xp.bool)
    first = xp.broadcast_to(1 / xp.sqrt(nan_unless(xp, (b > 0) & xp.isfinite(b), b)[..., 0]), (X.shape[1],))
    scale = xp.prod(xp.where(zeros, first, xp.ones_like(first)), axis=1)[:, None]
    return lambda X, slopes: _polynomials(xp, X, a, b, slopes), scale, degrees, a.shape[-1]


def product_layer(xp: Any, X: Any, W: Any, a: Any, b: Any, degrees: Any) -> Any:
    return _products(xp, X, W, *_of_polynomials(xp, X, W, a, b, degrees))


def product_layer_vjp(xp: Any, X: Any, W: Any, a: Any, b: Any, grad: Any, degrees: Any) -> Any:
    return *_products_vjp(xp, X, W, grad, *_of_polynomials(xp, X, W, a, b, degrees)), None, None


def _of_waves(xp: Any, X: Any, degrees: Any) -> tuple[Functions, Any, Any, int]:
    K = max(degrees, default=0) + 1
    return lambda X, slopes: _trigonometric(xp, X, K, slopes), 1.0, degrees, K


def trig_layer(xp: Any, X: Any, W: Any, degrees: Any) -> Any:
    return _products(xp, X, W, *_of_waves(xp, X, degrees))


def trig_layer_vjp(xp: Any, X: Any, W: Any, grad: Any, degrees: Any) -> Any:
    return _products_vjp(xp, X, W, grad, *_of_waves(xp, X, degrees))
