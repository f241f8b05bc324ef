"""Kronecker products as array operations: one matrix product per axis, in the order of csrc/kron/product."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import double, gram, mode_product


def _along(xp: Any, a: Any, x: Any, L: int, R: int) -> Any:
    """README (1) along one axis: a (m, n) on x, taken as (L, n, R) -> (L, m, R)."""
    return mode_product(xp, xp.reshape(x, (L, a.shape[1], R)), a, 1)


def _product(xp: Any, factors: list[Any], x: Any) -> Any:
    """(..., n_1 ... n_d) -> (..., m_1 ... m_d): axes that shrink go first, those that grow last."""
    size = [a.shape[1] for a in factors]
    batch = math.prod(x.shape[:-1])
    y = x
    for k in sorted(range(len(factors)), key=lambda k: factors[k].shape[0] - factors[k].shape[1]):
        y = _along(xp, factors[k], y, batch * math.prod(size[:k]), math.prod(size[k + 1 :]))
        size[k] = factors[k].shape[0]
    return xp.reshape(y, (*x.shape[:-1], math.prod(size)))


def _transposed(xp: Any, factors: list[Any]) -> list[Any]:
    return [xp.matrix_transpose(a) for a in factors]


def matvec(xp: Any, factors: list[Any], x: Any) -> Any:
    return _product(xp, factors, x)


def rmatvec(xp: Any, factors: list[Any], x: Any) -> Any:
    return _product(xp, _transposed(xp, factors), x)


def matvec_vjp(xp: Any, factors: list[Any], x: Any, grad: Any) -> tuple[list[Any], Any]:
    n, m = [a.shape[1] for a in factors], [a.shape[0] for a in factors]
    d, batch = len(factors), math.prod(x.shape[:-1])
    later = [x]
    for k in range(d - 1, 0, -1):  # (4)
        later.insert(0, _along(xp, factors[k], later[0], batch * math.prod(n[:k]), math.prod(m[k + 1 :])))
    g, dfactors = grad, []
    for k in range(d):
        L, R = batch * math.prod(n[:k]), math.prod(m[k + 1 :])
        left, right = xp.reshape(g, (L, m[k], R)), xp.reshape(later[k], (L, n[k], R))
        dfactors.append(gram(xp, double(xp, left), double(xp, right)))  # (5), in double precision as on the host
        g = _along(xp, xp.matrix_transpose(factors[k]), g, L, R)  # (6)
    return dfactors, xp.reshape(g, x.shape)


def rmatvec_vjp(xp: Any, factors: list[Any], x: Any, grad: Any) -> tuple[list[Any], Any]:
    dfactors, dx = matvec_vjp(xp, _transposed(xp, factors), x, grad)
    return _transposed(xp, dfactors), dx
