"""Rational filters as array operations: the states of all steps by doubling, with log2 L powers of one matrix."""

from __future__ import annotations

from typing import Any

from ..._array_tools import double, resized, zeros


def _coefficients(xp: Any, b: Any, a: Any) -> tuple[Any, Any, Any]:
    """b and a, divided by a_0 and padded to equal length, and a_0."""
    b, a, count = double(xp, b), double(xp, a), max(b.shape[-1], a.shape[-1])
    first = a[..., :1]
    return resized(xp, b, count) / first, resized(xp, a, count) / first, first


def _run(xp: Any, b: Any, a: Any, x: Any, start: Any) -> tuple[Any, Any]:
    """(2), (3): y and the final states."""
    order, L = a.shape[-1] - 1, x.shape[-1]
    if order == 0:
        return b[..., :1] * x, zeros(xp, (*x.shape[:-1], 0), x)
    start = zeros(xp, (*x.shape[:-1], order), x) if start is None else start
    if 0 in x.shape:
        return x, start
    shift = xp.concat([xp.eye(order, dtype=x.dtype, device=x.device)[1:, :], zeros(xp, (1, order), x)], axis=0)
    first = xp.concat([xp.ones((1,), dtype=x.dtype, device=x.device), zeros(xp, (order - 1,), x)], axis=0)
    step = shift - a[..., 1:, None] * first  # z -> step z + c x
    c = b[..., 1:] - a[..., 1:] * b[..., :1]
    z = x[..., None] * c[..., None, :]  # states after each step, (..., L, order)
    z = z + xp.concat([_moved(xp, start[..., None, :], step), zeros(xp, (*x.shape[:-1], L - 1, order), x)], axis=-2)
    n = 1
    while n < L:
        earlier = _moved(xp, z[..., : L - n, :], step)
        z = xp.concat([z[..., :n, :], z[..., n:, :] + earlier], axis=-2)
        step, n = xp.matmul(step, step), 2 * n
    before = xp.concat([start[..., :1], z[..., : L - 1, 0]], axis=-1)
    return b[..., :1] * x + before, z[..., L - 1, :]


def _moved(xp: Any, z: Any, step: Any) -> Any:
    """All states (..., L, order) times a power of the step matrix; 0 for zero states, even if the power has overflowed."""
    moved = xp.matmul(z, xp.matrix_transpose(step))
    return xp.where(xp.all(z == 0, axis=-1, keepdims=True), xp.zeros_like(moved), moved)


def arma_filter(xp: Any, b: Any, a: Any, x: Any, zi: Any, return_state: bool) -> tuple[Any, Any]:
    b, a, _ = _coefficients(xp, b, a)
    y, zf = _run(xp, b, a, double(xp, x), double(xp, zi))
    return y, zf if return_state else None


def arma_filter_vjp(xp: Any, b: Any, a: Any, x: Any, zi: Any, grad: Any, grad_zf: Any, return_state: bool) -> tuple[Any, Any, Any, Any]:
    """(4)-(7). mu follows the recurrence of the forward pass backwards in time, starting from the gradient of the final state."""
    b_scaled, a_scaled, first = _coefficients(xp, b, a)
    order, L, x, grad = a_scaled.shape[-1] - 1, x.shape[-1], double(xp, x), double(xp, grad)
    y, _ = _run(xp, b_scaled, a_scaled, x, double(xp, zi))
    after = zeros(xp, (*x.shape[:-1], order), x) if grad_zf is None else double(xp, grad_zf)
    past = [xp.sum(-a_scaled[..., m + 1 :] * after[..., : order - m], axis=-1, keepdims=True) for m in range(order)]
    one = xp.concat([xp.ones_like(a_scaled[..., :1]), xp.zeros_like(a_scaled[..., 1:])], axis=-1)
    backwards, _ = _run(xp, one, a_scaled, xp.flip(grad, axis=-1), xp.concat(past, axis=-1) if past else None)
    mu = xp.concat([xp.flip(backwards, axis=-1), after], axis=-1)
    dx, b_terms, a_terms = 0 * x, [], []
    for i in range(order + 1):
        later = mu[..., i : i + L]
        dx = dx + b_scaled[..., i : i + 1] * later
        b_terms.append(xp.sum(x * later, axis=-1, keepdims=True))
        a_terms.append(-xp.sum(y * later, axis=-1, keepdims=True))
    db, da = xp.concat(b_terms, axis=-1), xp.concat(a_terms, axis=-1)
    scale = -xp.sum(b_scaled * db, axis=-1, keepdims=True) - xp.sum((a_scaled * da)[..., 1:], axis=-1, keepdims=True)
    da = xp.concat([scale, da[..., 1:]], axis=-1)
    db, da = (_summed_like(xp, g[..., : c.shape[-1]] / first, c) for g, c in ((db, b), (da, a)))
    return db, da, dx, None if zi is None else mu[..., :order]


def _summed_like(xp: Any, gradient: Any, coefficients: Any) -> Any:
    """The gradient, summed over the rows if they share their coefficients."""
    axes = tuple(range(gradient.ndim - 1))
    return xp.sum(gradient, axis=axes) if coefficients.ndim == 1 and axes else gradient
