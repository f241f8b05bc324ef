"""The layer in functions of the array API: one matrix product per degree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..._array_tools import nan_unless


def _polynomials(xp: Any, X: Any, a: Any, b: Any, slopes: bool = False) -> Iterator[Any]:
    """README (1), (3): p_k (N, I) or (p_k, p_k') for k = 0, 1, ..., two degrees in memory at a time."""
    b = nan_unless(xp, (b > 0) & xp.isfinite(b), b)
    b = nan_unless(xp, xp.all(xp.isfinite(b)), b)  # the host refuses all of b for one bad number
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
