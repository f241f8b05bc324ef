"""Sums, products, derivatives, integrals and norms of Tucker tensors of Chebyshev coefficients, on their cores and factors.

Tensors keep their graph except in truncations. Norms and truncations read arrays back from a device. Equation numbers are those of
csrc/cheb/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from .. import transform
from ..transform import coeffs2vals, mode_product, vals2coeffs
from ..tucker import tucker

Parts = tuple[Any, list[Any]]
EPS = float(np.finfo(np.float64).eps)
EXACT = {"float32": 5e-7, "float64": 1e-14}  # tolerance of rounding sums and products: 4 eps in float32, 45 eps in float64
TRIMMED = 0.1  # share of a tolerance for dropped coefficients


def wants_gradient(*arrays: Any) -> bool:
    return any(getattr(a, "requires_grad", False) for a in arrays)


def like(numbers: np.ndarray, array: Any) -> Any:
    """Numbers of the host as an array of the kind, dtype and device of ``array``."""
    if isinstance(array, np.ndarray):
        return numbers.astype(array.dtype)
    return _arrays.to_device_of(np.ascontiguousarray(numbers, dtype=_arrays.dtype_name(array)), array)


def padded(A: Any, axis: int, before: int, after: int) -> Any:
    """Zeros before and after an axis."""
    join = _arrays.namespace(A).concatenate
    parts = [A]
    for count, at in ((before, 0), (after, 2)):
        if count:
            zeros = like(np.zeros([count if k == axis else m for k, m in enumerate(A.shape)]), A)
            parts.insert(at, zeros)
    return join(parts, axis) if len(parts) > 1 else A


# ---------------------------------------------------------------- truncation


def unit(array: np.ndarray) -> tuple[np.ndarray, int]:
    """A real array in float64, divided by a power of two so that its largest entry lies between 1/2 and 1, and its exponent."""
    exponent = math.frexp(float(np.abs(array).max(initial=0)))[1]
    return np.ldexp(array.astype(np.float64), -exponent), exponent


def column_exponents(U: np.ndarray) -> np.ndarray:
    """Exponents of the powers of two that scale every column's largest entry to between 1/2 and 1."""
    exponents: np.ndarray = np.frexp(np.abs(U).max(axis=0, initial=0))[1]
    return exponents


def assembled(mantissas: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, int]:
    """mantissas 2^powers, divided by a power of two so that the largest is about 1, and its exponent."""
    present = powers[mantissas != 0]
    exponent = int(present.max()) if present.size else 0
    return np.ldexp(mantissas, powers - exponent), exponent


def balanced(core: np.ndarray, factors: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray], int]:
    """The same tensor in float64, divided by a power of two, and its exponent. Nothing is rounded, and squares and products of the results
    neither overflow nor underflow, whatever the units."""
    mantissas, powers = np.frexp(core.astype(np.float64))
    columns = []
    for k, U in enumerate(factors):
        exponents = column_exponents(U)
        columns.append(np.ldexp(U.astype(np.float64), -exponents))
        powers = powers + exponents.reshape([-1 if j == k else 1 for j in range(core.ndim)])
    small, exponent = assembled(mantissas, powers)
    return small, columns, exponent


def restored(core: Any, exponent: int, array: Any, label: str) -> Any:
    """core 2^exponent as an array like ``array``; ValueError if it leaves the range of the dtype."""
    with np.errstate(over="ignore"):
        result = np.ldexp(_arrays.to_host(core).astype(np.float64), exponent).astype(_arrays.dtype_name(array), copy=False)
    if not np.isfinite(result).all():
        raise ValueError(f"{label}: the norm of the coefficients is beyond the largest number of {result.dtype}; scale the input")
    return like(result, array)


def orthogonal(core: np.ndarray, factors: Sequence[np.ndarray]) -> Parts:
    """The same tensor with orthonormal factors."""
    bases = []
    for k, U in enumerate(factors):
        Q, R = np.linalg.qr(U)
        core = mode_product(core, R, k)
        bases.append(Q)
    return core, bases


def rounded(core: Any, factors: Sequence[Any], tol: float, label: str, *, trim: bool = False) -> Parts:
    """Truncated to ``tol`` with orthonormal factors (10); ``trim``: without negligible trailing coefficients."""
    host = [_arguments.numbers_on_host(a, label, "core" if i == 0 else f"factors[{i - 1}]") for i, a in enumerate((core, *factors))]
    core_on_host, columns, exponent = balanced(host[0], host[1:])
    small, bases = orthogonal(core_on_host, columns)
    if trim:
        bases = [Q[: _needed(small, Q, k, TRIMMED * tol / math.sqrt(small.ndim))] for k, Q in enumerate(bases)]
        small, bases = orthogonal(small, bases)
        tol *= math.sqrt(1 - TRIMMED**2)
    truncated = tucker(small, tol=max(tol, 4 * EPS))
    return restored(truncated.core, exponent, core, label), [like(Q @ W, core) for Q, W in zip(bases, truncated.factors)]


def envelope(core: np.ndarray, Q: np.ndarray, axis: int) -> np.ndarray:
    """Norms of the slices of coefficients along an axis; the other factors are orthonormal."""
    rows = np.moveaxis(core, axis, 0).reshape(core.shape[axis], -1)
    triangle: Any = np.linalg.qr(rows.T, mode="r")
    norms: np.ndarray = np.linalg.norm(Q @ triangle.T, axis=1)
    return norms


def _needed(core: np.ndarray, Q: np.ndarray, axis: int, tol: float) -> int:
    """The number of coefficients that are not negligible, plus those that ``error_estimate`` reads."""
    left = np.cumsum(envelope(core, Q, axis)[::-1] ** 2)[::-1]
    m = max(1, int((left > tol * tol * left[0]).sum()))
    return min(len(Q), m + max(2, m // 7 + 1))


def error_estimate(core: np.ndarray, factors: Sequence[np.ndarray]) -> float:
    """The norm of the trailing coefficients of all axes, relative to the norm of all coefficients (11)."""
    core, columns, _ = balanced(core, factors)
    small, bases = orthogonal(core, columns)
    total = float(np.linalg.norm(small))
    if total == 0:
        return 0.0
    tails = 0.0
    for k, Q in enumerate(bases):
        n = len(Q)
        tails += float((envelope(small, Q, k)[n - min(max(2, n // 8), n - 1) :] ** 2).sum()) if n > 1 else 0.0
    return math.sqrt(tails) / total


# ---------------------------------------------------------------- algebra


def constant(value: float, core: Any, factors: Sequence[Any]) -> Parts:
    """A constant function as a tensor of the same kind with as many coefficients."""
    first = [like(np.eye(U.shape[0], 1), U) for U in factors]
    return like(np.full((1,) * len(factors), value), core), first


def added(core: Any, factors: Sequence[Any], other: Any, others: Sequence[Any]) -> Parts:
    """The sum: a block-diagonal core and concatenated columns; the shorter of two factors is padded with zeros."""
    blocks = core, other
    for k in range(len(factors)):
        r, s = core.shape[k], other.shape[k]
        blocks = padded(blocks[0], k, 0, s), padded(blocks[1], k, r, 0)
    columns = []
    for U, W in zip(factors, others):
        n = max(U.shape[0], W.shape[0])
        join = _arrays.namespace(U).concatenate
        columns.append(join([padded(U, 0, 0, n - U.shape[0]), padded(W, 0, 0, n - W.shape[0])], 1))
    return blocks[0] + blocks[1], columns


def multiplied(core: Any, factors: Sequence[Any], other: Any, others: Sequence[Any], label: str) -> Parts:
    """The product of two functions (12): by all values if these are fewer than the products of ranks, otherwise column by column."""
    values = [[coeffs2vals(padded(A, 0, 0, U.shape[0] + W.shape[0] - 1 - A.shape[0]), 0) for A in (U, W)] for U, W in zip(factors, others)]
    graph = wants_gradient(core, *factors, other, *others)
    if not graph and math.prod(len(a) for a, _ in values) <= math.prod(a.shape[1] * b.shape[1] for a, b in values):
        first, second = core, other
        for k, (a, b) in enumerate(values):
            first, second = mode_product(first, a, k), mode_product(second, b, k)
        return tucker(vals2coeffs(first * second), tol=EXACT[_arrays.dtype_name(core)])
    d, n = len(factors), [len(a) for a, _ in values]
    left = tuple(m for k in range(d) for m in (core.shape[k], 1))
    right = tuple(m for k in range(d) for m in (1, other.shape[k]))
    products = core.reshape(left) * other.reshape(right)
    products = products.reshape(tuple(a * b for a, b in zip(core.shape, other.shape)))
    columns = [vals2coeffs((a[:, :, None] * b[:, None, :]).reshape(m, -1), 0) for m, (a, b) in zip(n, values)]
    return (products, columns) if graph else rounded(products, columns, EXACT[_arrays.dtype_name(core)], label)


# ---------------------------------------------------------------- calculus


def derivative(U: Any) -> Any:
    """Coefficients (n - 1, r), at least one, of the derivatives of factor functions on [-1, 1] (13)."""
    return transform.derivative(U)[: max(1, U.shape[0] - 1)]


def antiderivative(U: Any) -> Any:
    """Coefficients (n + 1, r) of the integrals from -1 of factor functions (14)."""
    n = U.shape[0]
    lower = U + like(np.eye(n, 1), U) * U[:1]  # c_0 counts twice
    upper = padded(U, 0, 0, 2)[2 : n + 2]
    k = np.arange(1, n + 1)[:, None]
    rest = (lower - upper) * like(1 / (2.0 * k), U)
    first = (rest * like((-1.0) ** (k + 1), U)).sum(0)[None]
    return _arrays.namespace(U).concatenate([first, rest], 0)


def integral_weights(n: int) -> np.ndarray:
    """Integrals of T_k over [-1, 1] (14)."""
    k = np.arange(n)
    weights: np.ndarray = np.where(k % 2, 0.0, 2.0 / (1.0 - k.astype(float) ** 2 + (k % 2)))
    return weights


def _clenshaw_curtis(n: int) -> np.ndarray:
    """Weights of the rule with n points, n odd: the cosine transform of (14)."""
    if n == 1:
        return np.array([2.0])
    weights = np.fft.irfft(integral_weights(n)[::2], n - 1)
    ends: np.ndarray = np.concatenate([weights[:1] / 2, weights[1:], weights[:1] / 2])
    return ends


def on_clenshaw_curtis(U: Any) -> Any:
    """Factor functions at 2n - 1 points, times the roots of the weights: products of two rows sum up to integrals over [-1, 1]."""
    n = 2 * U.shape[0] - 1
    return like(np.sqrt(_clenshaw_curtis(n))[:, None], U) * coeffs2vals(padded(U, 0, 0, n - U.shape[0]), 0)


def contracted(core: Any, factors: Sequence[Any], weights: dict[int, np.ndarray]) -> Parts:
    """The tensor without the axes in ``weights``, whose coefficients are summed with weights (n,)."""
    for k, w in weights.items():
        core = mode_product(core, like(w[None], factors[k]) @ factors[k], k)
    shape = tuple(m for k, m in enumerate(core.shape) if k not in weights)
    return core.reshape(shape), [U for k, U in enumerate(factors) if k not in weights]


def norm(core: Any, factors: Sequence[Any]) -> Any:
    """The L2 norm over [-1, 1]^d by the Clenshaw-Curtis rule, which is exact for it (15)."""
    graph, exponent = wants_gradient(core, *factors), 0
    if not graph:
        core, *factors = (_arguments.numbers_on_host(a, "cheb.ChebTucker.norm", "core") for a in (core, *factors))
        core, factors, exponent = balanced(core, factors)
    rows = [on_clenshaw_curtis(U) for U in factors]
    if not graph:
        return float(np.ldexp(np.linalg.norm(orthogonal(core, rows)[0]), exponent))
    squared = core
    for k, W in enumerate(rows):
        squared = mode_product(squared, W.T @ W, k)
    return (core * squared).sum().sqrt()
