"""Sums, products, derivatives, integrals and norms of Tucker tensors of Chebyshev coefficients, on their cores and factors.

A core is an array or a ``TensorTrain``. PyTorch tensors keep their autograd graph, except in truncations. Norms and
truncations read arrays back from a device. Equation numbers refer to csrc/cheb/README.md.
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
from . import train
from .train import TensorTrain

Parts = tuple[Any, list[Any]]
EPS = float(np.finfo(np.float64).eps)
EXACT = {"float32": 5e-7, "float64": 1e-14}  # tolerance of rounding sums and products: 4 eps in float32, 45 eps in float64
TRIMMED = 0.1  # fraction of a tolerance that dropped coefficients may use


def wants_gradient(*arrays: Any) -> bool:
    return any(getattr(a, "requires_grad", False) for a in arrays)


def on_host(core: Any, factors: Sequence[Any], label: str, differentiable: bool = False) -> Parts:
    """Copy a tensor to NumPy arrays.

    Raise an error if it has no values, or if its autograd graph would be lost and ``differentiable`` is False.
    """

    def numbers(array: Any, name: str) -> np.ndarray:
        return _arguments.host_array(array, label, name, device="copy", differentiable=differentiable)

    parts = core.cores if isinstance(core, TensorTrain) else [core]
    hosts = [numbers(G, "core") for G in parts]
    columns: list[Any] = [numbers(U, f"factors[{k}]") for k, U in enumerate(factors)]
    return TensorTrain(hosts) if isinstance(core, TensorTrain) else hosts[0], columns


def mode_multiplied(core: Any, matrix: Any, axis: int) -> Any:
    """Return sum_j matrix[i, j] core[..., j, ...] along one axis."""
    return core.mode_product(matrix, axis) if isinstance(core, TensorTrain) else mode_product(core, matrix, axis)


def like(numbers: np.ndarray, array: Any) -> Any:
    """Convert host values to the kind, dtype and device of ``array``."""
    if isinstance(array, np.ndarray):
        return numbers.astype(array.dtype)
    return _arrays.to_device_of(np.ascontiguousarray(numbers, dtype=_arrays.dtype_name(array)), array)


def padded(A: Any, axis: int, before: int, after: int) -> Any:
    """Pad an axis with zeros before and after."""
    join = _arrays.namespace(A).concatenate
    parts = [A]
    for count, at in ((before, 0), (after, 2)):
        if count:
            zeros = like(np.zeros([count if k == axis else m for k, m in enumerate(A.shape)]), A)
            parts.insert(at, zeros)
    return join(parts, axis) if len(parts) > 1 else A


# ---------------------------------------------------------------- truncation


def unit(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Scale a real array in float64 by a power of two so that its largest entry is between 1/2 and 1; return it and the exponent."""
    exponent = math.frexp(float(np.abs(array).max(initial=0)))[1]
    return np.ldexp(array.astype(np.float64), -exponent), exponent


def column_exponents(U: np.ndarray) -> np.ndarray:
    """Exponents e (r,): the largest entry of each column, divided by 2^e, is between 1/2 and 1."""
    return np.frexp(np.abs(U).max(axis=0, initial=0))[1]


def assembled(mantissas: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, int]:
    """Return mantissas * 2^powers, scaled by a power of two so that the largest value is about 1, and the exponent."""
    present = powers[mantissas != 0]
    exponent = int(present.max()) if present.size else 0
    return np.ldexp(mantissas, powers - exponent), exponent


def balanced(core: Any, factors: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray], int]:
    """Scale a tensor in float64 by a power of two; return it and the exponent. Scaling does not round, and squares and products of the
    results do not overflow or underflow."""
    exponents = [column_exponents(U) for U in factors]
    columns = [np.ldexp(U.astype(np.float64), -powers) for U, powers in zip(factors, exponents)]
    if isinstance(core, TensorTrain):
        parts = []
        for G, column_powers in zip(core.cores, exponents):
            mantissas, powers = np.frexp(G.astype(np.float64))
            parts.append(assembled(mantissas, powers + column_powers[:, None]))
        return TensorTrain([small for small, _ in parts]), columns, sum(exponent for _, exponent in parts)
    mantissas, powers = np.frexp(core.astype(np.float64))
    for k, column_powers in enumerate(exponents):
        powers = powers + column_powers.reshape([-1 if j == k else 1 for j in range(core.ndim)])
    small, exponent = assembled(mantissas, powers)
    return small, columns, exponent


def restored(core: Any, exponent: int, array: Any, label: str) -> Any:
    """Return core * 2^exponent as an array like ``array``; raise ValueError if it exceeds the range of the dtype."""
    if isinstance(core, TensorTrain):  # all arrays after the first are orthonormal
        return TensorTrain([restored(core.cores[0], exponent, array.cores[0], label), *(like(G, array.cores[0]) for G in core.cores[1:])])
    with np.errstate(over="ignore"):
        result = np.ldexp(_arrays.to_host(core).astype(np.float64), exponent).astype(_arrays.dtype_name(array), copy=False)
    if not np.isfinite(result).all():
        raise ValueError(f"{label}: the norm of the coefficients overflows {result.dtype}; scale the input")
    return like(result, array)


def orthogonal(core: Any, factors: Sequence[np.ndarray]) -> Parts:
    """Return the same tensor with orthonormal factors."""
    bases = []
    for k, U in enumerate(factors):
        Q, R = np.linalg.qr(U)
        core = mode_multiplied(core, R, k)
        bases.append(Q)
    return core, bases


def rounded(core: Any, factors: Sequence[Any], tol: float, label: str, *, trim: bool = False) -> Parts:
    """Truncate to ``tol`` with orthonormal factors (10); ``trim`` drops negligible trailing coefficients."""
    core_on_host, columns, exponent = balanced(*on_host(core, factors, label))
    small, bases = orthogonal(core_on_host, columns)
    if trim:
        share = TRIMMED * tol / math.sqrt(small.ndim)
        bases = [Q[: _needed(norms, share)] for Q, norms in zip(bases, envelopes(small, bases))]
        small, bases = orthogonal(small, bases)
        tol *= math.sqrt(1 - TRIMMED**2)
    truncate = train.truncated if isinstance(small, TensorTrain) else tucker
    small, factors_of_small = truncate(small, tol=max(tol, 4 * EPS))
    first = core.cores[0] if isinstance(core, TensorTrain) else core
    return restored(small, exponent, core, label), [like(Q @ W, first) for Q, W in zip(bases, factors_of_small)]


def envelopes(core: Any, bases: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Norms of the slices of coefficients along each axis, for orthonormal factors."""
    if isinstance(core, TensorTrain):
        unfoldings = [np.moveaxis(G, 1, 0).reshape(G.shape[1], -1) for G in train.centres(core.cores)]
    else:
        unfoldings = [np.moveaxis(core, k, 0).reshape(core.shape[k], -1) for k in range(core.ndim)]
    triangles: list[Any] = [np.linalg.qr(rows.T, mode="r") for rows in unfoldings]
    return [np.linalg.norm(Q @ triangle.T, axis=1) for Q, triangle in zip(bases, triangles)]


def _needed(norms: np.ndarray, tol: float) -> int:
    """Number of coefficients that are not negligible, plus those that ``error_estimate`` uses."""
    left = np.cumsum(norms[::-1] ** 2)[::-1]
    m = max(1, int((left > tol * tol * left[0]).sum()))
    return min(len(norms), m + max(2, m // 7 + 1))


def frobenius(core: Any) -> float:
    """The norm of all entries of a NumPy core."""
    return float(np.linalg.norm(train.right_orthogonal(core.cores)[0] if isinstance(core, TensorTrain) else core))


def error_estimate(core: Any, factors: Sequence[np.ndarray]) -> float:
    """The norm of the trailing coefficients of all axes, relative to the norm of all coefficients (11)."""
    core, columns, _ = balanced(core, factors)
    small, bases = orthogonal(core, columns)
    total = frobenius(small)
    if total == 0:
        return 0.0
    tails = 0.0
    for norms in envelopes(small, bases):
        n = norms.size
        tails += float((norms[n - min(max(2, n // 8), n - 1) :] ** 2).sum()) if n > 1 else 0.0
    return math.sqrt(tails) / total


# ---------------------------------------------------------------- algebra


def constant(value: float, core: Any, factors: Sequence[Any]) -> Parts:
    """A constant function as a tensor of the same kind, with the same numbers of coefficients."""
    first = [like(np.eye(U.shape[0], 1), U) for U in factors]
    if isinstance(core, TensorTrain):
        return TensorTrain([like(np.full((1, 1, 1), 1.0 if k else value), U) for k, U in enumerate(factors)]), first
    return like(np.full((1,) * len(factors), value), core), first


def added(core: Any, factors: Sequence[Any], other: Any, others: Sequence[Any]) -> Parts:
    """Add two tensors: a block-diagonal core and concatenated columns. The shorter of two factors is padded with zeros."""
    if isinstance(core, TensorTrain):
        total = train.added(core, other, padded)
    else:
        total, rest = core, other
        for k, (r, s) in enumerate(zip(core.shape, other.shape)):
            total, rest = padded(total, k, 0, s), padded(rest, k, r, 0)
        total = total + rest
    columns = []
    for U, W in zip(factors, others):
        n = max(U.shape[0], W.shape[0])
        join = _arrays.namespace(U).concatenate
        columns.append(join([padded(U, 0, 0, n - U.shape[0]), padded(W, 0, 0, n - W.shape[0])], 1))
    return total, columns


def multiplied(core: Any, factors: Sequence[Any], other: Any, others: Sequence[Any], label: str) -> Parts:
    """Multiply two functions (12): on the full grid if it has fewer values than the core of the product, otherwise column by column."""
    values = [[coeffs2vals(padded(A, 0, 0, U.shape[0] + W.shape[0] - 1 - A.shape[0]), 0) for A in (U, W)] for U, W in zip(factors, others)]
    graph, chained = wants_gradient(core, *factors, other, *others), isinstance(core, TensorTrain)
    exact = EXACT[_arrays.dtype_name(factors[0])]
    if not (graph or chained) and math.prod(len(a) for a, _ in values) <= math.prod(a.shape[1] * b.shape[1] for a, b in values):
        first, second = core, other
        for k, (a, b) in enumerate(values):
            first, second = mode_product(first, a, k), mode_product(second, b, k)
        return tucker(vals2coeffs(first * second), tol=exact)
    if chained:
        products = train.multiplied(core, other)
    else:
        left = tuple(m for r in core.shape for m in (r, 1))
        right = tuple(m for r in other.shape for m in (1, r))
        products = (core.reshape(left) * other.reshape(right)).reshape(tuple(a * b for a, b in zip(core.shape, other.shape)))
    columns = [vals2coeffs((a[:, :, None] * b[:, None, :]).reshape(len(a), -1), 0) for a, b in values]
    return (products, columns) if graph else rounded(products, columns, exact, label)


def permuted(core: Any, factors: Sequence[Any], order: Sequence[int], label: str) -> Parts:
    """Return the function with permuted axes."""
    if isinstance(core, TensorTrain):
        small, columns, exponent = balanced(*on_host(core, factors, label))
        small, bases = orthogonal(small, columns)
        cores = train.right_orthogonal(train.permuted(small.cores, order, EPS))
        return restored(TensorTrain(cores), exponent, core, label), [like(bases[k], core.cores[0]) for k in order]
    transposed = core.transpose(order) if isinstance(core, np.ndarray) else core.permute(order)
    return transposed, [factors[k] for k in order]


# ---------------------------------------------------------------- calculus


def derivative(U: Any) -> Any:
    """Coefficients (max(n - 1, 1), r) of the derivatives of factor functions on [-1, 1] (13)."""
    return transform.derivative(U)[: max(1, U.shape[0] - 1)]


def antiderivative(U: Any) -> Any:
    """Coefficients (n + 1, r) of the integrals from -1 of factor functions (14)."""
    n = U.shape[0]
    lower = U + like(np.eye(n, 1), U) * U[:1]  # the first coefficient counts twice
    upper = padded(U, 0, 0, 2)[2 : n + 2]
    k = np.arange(1, n + 1)[:, None]
    rest = (lower - upper) * like(1 / (2.0 * k), U)
    first = (rest * like((-1.0) ** (k + 1), U)).sum(0)[None]
    return _arrays.namespace(U).concatenate([first, rest], 0)


def integral_weights(n: int) -> np.ndarray:
    """Integrals of T_k over [-1, 1] (14)."""
    k = np.arange(n)
    return np.where(k % 2, 0.0, 2.0 / (1.0 - k.astype(float) ** 2 + (k % 2)))


def _clenshaw_curtis(n: int) -> np.ndarray:
    """Weights of the rule with n points, n odd: the cosine transform of (14)."""
    if n == 1:
        return np.array([2.0])
    weights = np.fft.irfft(integral_weights(n)[::2], n - 1)
    return np.concatenate([weights[:1] / 2, weights[1:], weights[:1] / 2])


def on_clenshaw_curtis(U: Any) -> Any:
    """Factor functions at 2n - 1 points times the square roots of the weights, so that sums of products are integrals over [-1, 1]."""
    n = 2 * U.shape[0] - 1
    return like(np.sqrt(_clenshaw_curtis(n))[:, None], U) * coeffs2vals(padded(U, 0, 0, n - U.shape[0]), 0)


def contracted(core: Any, factors: Sequence[Any], weights: dict[int, np.ndarray]) -> Parts:
    """Sum the coefficients of the axes in ``weights`` with weights (n,), and remove these axes."""
    for k, w in weights.items():
        core = mode_multiplied(core, like(w[None], factors[k]) @ factors[k], k)
    if isinstance(core, TensorTrain):
        rest = core.without(list(weights))
    else:
        rest = core.reshape(tuple(m for k, m in enumerate(core.shape) if k not in weights))
    return rest, [U for k, U in enumerate(factors) if k not in weights]


def norm(core: Any, factors: Sequence[Any]) -> Any:
    """L2 norm over [-1, 1]^d by the Clenshaw-Curtis rule, which is exact here (15)."""
    if not wants_gradient(core, *factors):
        core, factors, exponent = balanced(*on_host(core, factors, "cheb.ChebTucker.norm"))
        rows = [on_clenshaw_curtis(U) for U in factors]
        return float(np.ldexp(frobenius(orthogonal(core, rows)[0]), exponent))
    squared = core
    for k, W in enumerate(map(on_clenshaw_curtis, factors)):
        squared = mode_multiplied(squared, W.T @ W, k)
    return (train.product(core, squared) if isinstance(core, TensorTrain) else (core * squared).sum()).sqrt()
