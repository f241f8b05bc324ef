"""Kronecker products in array-API terms: one matrix product per axis, in the order of csrc/kron/product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..._array_tools import double, gram, mode_product


def _along(xp: Any, a: Any, x: Any, L: int, R: int) -> Any:
    """README (1) along one axis: a (m, n) times x, viewed as (L, n, R) -> (L, m, R)."""
    return mode_product(xp, xp.reshape(x, (L, a.shape[1], R)), a, 1)


def product(xp: Any, factors: Sequence[Any], x: Any, transpose: bool = False) -> Any:
    """(..., N) -> (..., M): leading axes of the factors (..., m_k, n_k) and x broadcast. Axes that shrink go first; in ties, the last."""
    factors = _transposed(xp, factors) if transpose else factors
    sizes, y = [f.shape[-1] for f in factors], x
    for k in sorted(reversed(range(len(factors))), key=lambda k: factors[k].shape[-2] - factors[k].shape[-1]):
        f, lead, L, R = factors[k], y.shape[:-1], math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
        sizes[k] = f.shape[-2]
        if f.ndim == 2:
            y = _along(xp, f, y, math.prod(lead) * L, R)
        elif R == 1:
            y = xp.matmul(xp.reshape(y, (*lead, L, f.shape[-1])), xp.matrix_transpose(f))
            lead = y.shape[:-2]
        else:
            y = xp.matmul(f[..., None, :, :], xp.reshape(y, (*lead, L, f.shape[-1], R)))
            lead = y.shape[:-3]
        y = xp.reshape(y, (*lead, math.prod(sizes)))
    return y


def _transposed(xp: Any, factors: Sequence[Any]) -> list[Any]:
    return [xp.matrix_transpose(a) for a in factors]


matvec = product


def rmatvec(xp: Any, factors: list[Any], x: Any) -> Any:
    return product(xp, factors, x, transpose=True)


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
