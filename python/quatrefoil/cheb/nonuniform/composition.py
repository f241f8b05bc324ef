"""Values and moments with array API functions, in double precision, by products with the polynomials of every axis.

There is no grid, because its adjoint needs scattered additions, which the array API lacks. Results are exact for any ``eps``, with
n_1 ... n_d multiplications per point, nearly all of them in matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..._array_tools import added, chunk_slices, double, in_chunks
from ..scattered.composition import contracted, contracted_adjoint, derivative, polynomials, products, reference


def _width(n: Sequence[int]) -> int:
    """The number of elements per point in the largest array."""
    return max(math.prod(n[:-1]), len(n) * max(n))


def _functions(xp: Any, X: Any, n: Sequence[int], domain: Sequence[float]) -> list[Any]:
    """T_k (P, n) of every axis."""
    T = polynomials(xp, reference(xp, X, domain), max(n))
    return [T[:m, k, :].T for k, m in enumerate(n)]


def _evaluate(xp: Any, C: Any, X: Any, domain: Sequence[float]) -> Any:
    A = double(xp, C)

    def part(at: slice) -> Any:
        return xp.astype(contracted(xp, A, _functions(xp, X[at, :], C.shape, domain))[0][:, 0], X.dtype)

    return in_chunks(xp, part, X.shape[0], _width(C.shape))


def _adjoint(xp: Any, C: Any, X: Any, weights: Any, domain: Sequence[float]) -> tuple[Any, Any]:
    """The gradients of sum_p weights_p f(x_p) with respect to C and X, README (8)."""
    A, q, dC, dX = double(xp, C), double(xp, weights), None, []
    for at in chunk_slices(X.shape[0], _width(C.shape), xp):
        T = _functions(xp, X[at, :], C.shape, domain)
        part, bars = contracted_adjoint(xp, A, T, q[at])
        dC = added(dC, part)
        slopes = [xp.sum(derivative(xp, bar.T).T * t, axis=-1) for bar, t in zip(bars, T)]
        dX.append(xp.stack([s * (2 / (domain[2 * k + 1] - domain[2 * k])) for k, s in enumerate(slopes)], axis=1))
    return xp.astype(dC, C.dtype), xp.astype(xp.concat(dX, axis=0), X.dtype)


def cheb_eval(xp: Any, C: Any, X: Any, eps: float, by_grid: bool, domain: Sequence[float]) -> Any:
    return _evaluate(xp, C, X, domain)


def cheb_eval_vjp(xp: Any, C: Any, X: Any, grad: Any, eps: float, by_grid: bool, domain: Sequence[float]) -> Any:
    return _adjoint(xp, C, X, grad, domain)


def cheb_moments(xp: Any, X: Any, q: Any, n: Sequence[int], eps: float) -> Any:
    weights, M = double(xp, q), None
    for at in chunk_slices(X.shape[0], _width(n), xp):
        T = _functions(xp, X[at, :], n, (-1.0, 1.0) * len(n))
        M = added(M, xp.matmul(products(xp, T, weights[at])[-1].T, T[-1]))
    return xp.astype(xp.reshape(M, tuple(n)), q.dtype)


def cheb_moments_vjp(xp: Any, X: Any, q: Any, grad: Any, n: Sequence[int], eps: float) -> Any:
    domain = (-1.0, 1.0) * len(n)
    return _adjoint(xp, grad, X, q, domain)[1], _evaluate(xp, grad, X, domain)
