"""Sums of two Kronecker products and Sylvester's equation in array-API terms, in double precision. Equation numbers refer to
csrc/kron/README.md."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..._array_tools import double, gram, is_symmetric, nan_unless

EPS = 2.0**-52


class _Pencil(NamedTuple):
    """K V = S V diag(w), V^T S V = I (2)."""

    w: Any
    V: Any
    logdet: Any  # of S


def _pencil(xp: Any, K: Any, S: Any, eps: float) -> _Pencil:
    """Solve (2) by the Cholesky factor of S; w is NaN if K or S is not symmetric, or if S is singular to working precision."""
    n = S.shape[0]
    L = xp.linalg.cholesky(S)
    inverse = xp.linalg.inv(L)
    w, V = reduced(xp, K, inverse)
    condition = _norm(xp, S) * _norm(xp, xp.matmul(inverse.T, inverse))
    valid = is_symmetric(xp, K, eps) & is_symmetric(xp, S, eps) & (condition * eps < 1)
    semidefinite = w[0] >= -n * eps * xp.max(xp.abs(w))  # negative values are rounding errors of 0
    w = nan_unless(xp, valid, xp.where(semidefinite & (w < 0), xp.zeros_like(w), w))
    return _Pencil(w, V, 2 * xp.sum(xp.log(xp.linalg.diagonal(L))))


def reduced(xp: Any, K: Any, inverse: Any) -> tuple[Any, Any]:
    """w and V of (2) from the inverse of the Cholesky factor of S."""
    C = xp.matmul(xp.matmul(inverse, K), inverse.T)
    w, U = xp.linalg.eigh((C + C.T) / 2)
    return w, xp.matmul(inverse.T, U)


def _norm(xp: Any, a: Any) -> Any:
    """The 1-norm: the largest sum of absolute values in a column."""
    return xp.max(xp.sum(xp.abs(a), axis=0))


def _pencils(xp: Any, K1: Any, K2: Any, S1: Any, S2: Any) -> Any:
    """Both pencils, and D = 1 + w u^T, which is NaN if the sum is singular."""
    eps = float(xp.finfo(K1.dtype).eps)
    K1, K2, S1, S2 = (double(xp, a) for a in (K1, K2, S1, S2))
    first, second = _pencil(xp, K1, S1, eps), _pencil(xp, K2, S2, eps)
    D = 1 + first.w[:, None] * second.w
    negligible = (eps + max(D.shape) * EPS) * xp.max(xp.abs(D))
    singular = (xp.min(D) < 1) & (xp.min(xp.abs(D)) <= negligible)
    return first, second, nan_unless(xp, ~singular, D)


def solved(xp: Any, pencils: Any, B: Any) -> Any:
    (_, V1, _), (_, V2, _), D = pencils
    middle = xp.matmul(xp.matmul(V1.T, double(xp, B)), V2) / D
    return xp.matmul(xp.matmul(V1, middle), V2.T)


def sum_solve(xp: Any, K1: Any, K2: Any, S1: Any, S2: Any, B: Any) -> Any:
    return xp.astype(solved(xp, _pencils(xp, K1, K2, S1, S2), B), B.dtype) if 0 not in B.shape else B


def sum_solve_vjp(xp: Any, K1: Any, K2: Any, S1: Any, S2: Any, B: Any, grad: Any) -> Any:
    if 0 in B.shape:
        return *map(xp.zeros_like, (K1, K2, S1, S2)), grad
    gradients = solve_gradients(xp, _pencils(xp, K1, K2, S1, S2), K1, K2, S1, S2, B, grad)
    return tuple(xp.astype(a, B.dtype) for a in gradients)


def solve_gradients(xp: Any, pencils: Any, K1: Any, K2: Any, S1: Any, S2: Any, B: Any, grad: Any) -> tuple[Any, ...]:
    """README (4), in double precision."""
    X, Z = solved(xp, pencils, B), solved(xp, pencils, grad)
    gradients = []
    for left, right in ((K1, K2), (S1, S2)):
        gradients.append(-_symmetric(rows(xp, xp.matmul(Z, double(xp, right)), X)))
        gradients.append(-_symmetric(columns(xp, Z, xp.matmul(double(xp, left), X))))
    return *gradients, Z


def rows(xp: Any, a: Any, b: Any) -> Any:
    """The sum of a b^T over the batch, (M, M)."""
    return gram(xp, *(xp.reshape(x, (math.prod(x.shape[:-2]), *x.shape[-2:])) for x in (a, b)))


def columns(xp: Any, a: Any, b: Any) -> Any:
    """The sum of a^T b over the batch, (N, N)."""
    N, count = a.shape[-1], math.prod(a.shape[:-1])
    return xp.matmul(xp.reshape(a, (count, N)).T, xp.reshape(b, (count, N)))


def _symmetric(a: Any) -> Any:
    """The symmetric part, which is the gradient of a function of symmetric matrices."""
    return (a + a.T) / 2


def sum_logdet(xp: Any, K1: Any, K2: Any, S1: Any, S2: Any) -> Any:
    M, N = K1.shape[0], K2.shape[0]
    if M * N == 0:
        return xp.zeros((), dtype=K1.dtype, device=K1.device)
    first, second, D = _pencils(xp, K1, K2, S1, S2)
    is_positive = xp.remainder(xp.sum(xp.astype(D < 0, xp.int64)), 2) == 0
    y = xp.sum(xp.log(xp.abs(D))) + N * first.logdet + M * second.logdet
    return xp.astype(nan_unless(xp, is_positive, y), K1.dtype)


def sum_logdet_vjp(xp: Any, K1: Any, K2: Any, S1: Any, S2: Any, grad: Any) -> Any:
    if K1.shape[0] * K2.shape[0] == 0:
        return tuple(map(xp.zeros_like, (K1, K2, S1, S2)))
    return tuple(xp.astype(a, K1.dtype) for a in logdet_gradients(xp, _pencils(xp, K1, K2, S1, S2), grad))


def logdet_gradients(xp: Any, pencils: Any, grad: Any) -> tuple[Any, ...]:
    """README (5), in double precision."""
    (w, V1, _), (u, V2, _), D = pencils
    g, of_rows, of_columns = double(xp, grad), xp.sum(1 / D, axis=1), xp.sum(1 / D, axis=0)
    weights = ((V1, xp.sum(u / D, axis=1)), (V2, xp.sum(w[:, None] / D, axis=0)), (V1, of_rows), (V2, of_columns))
    return tuple(xp.matmul(V * (g * weight), V.T) for V, weight in weights)


# ---- Sylvester


def _matrix(xp: Any, A: Any, B: Any) -> Any:
    """A ⊗ I + I ⊗ Bᵀ (M N, M N), the matrix of X -> A X + X B in C order. It takes 8 (M N)² bytes, and a solve
    takes (M N)³ / 3 multiplications; the array API has no Schur forms."""
    M, N = A.shape[0], B.shape[0]
    A, B = double(xp, A), double(xp, B)
    one, other = (xp.eye(n, dtype=xp.float64, device=A.device) for n in (M, N))
    whole = A[:, None, :, None] * other[None, :, None, :] + one[:, None, :, None] * B.T[None, :, None, :]
    return xp.reshape(whole, (M * N, M * N))


def _with_columns(xp: Any, matrix: Any, C: Any) -> Any:
    """matrix⁻¹ vec C for every C (..., M, N)."""
    batch, size = math.prod(C.shape[:-2]), matrix.shape[0]
    return xp.reshape(xp.linalg.solve(matrix, xp.reshape(double(xp, C), (batch, size)).T).T, C.shape)


def sylvester_solve(xp: Any, A: Any, B: Any, C: Any) -> Any:
    return xp.astype(_with_columns(xp, _matrix(xp, A, B), C), C.dtype) if 0 not in C.shape else C


def sylvester_solve_vjp(xp: Any, A: Any, B: Any, C: Any, grad: Any) -> Any:
    """README (8)."""
    if 0 in C.shape:
        return xp.zeros_like(A), xp.zeros_like(B), grad
    matrix = _matrix(xp, A, B)
    X, Z = _with_columns(xp, matrix, C), _with_columns(xp, matrix.T, grad)
    return tuple(xp.astype(a, C.dtype) for a in (-rows(xp, Z, X), -columns(xp, X, Z), Z))
