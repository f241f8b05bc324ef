"""Products with batches of Kronecker matrices: factors (..., m_k, n_k)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays, _bind
from ..._call import call
from ..._spec import Op
from ..._typing import Backend
from .dense import namespace

SMALL = 4096  # numbers in a vector, up to which calls cost more than the kernels save over one matrix product per axis for the whole batch


def is_batch(factors: Sequence[Any]) -> bool:
    return any([getattr(f, "ndim", 2) > 2 for f in factors])


def batch_shape(factors: Sequence[Any]) -> tuple[int, ...]:
    """The axes that the leading ones of the factors broadcast to."""
    return np.broadcast_shapes(*[tuple(f.shape[:-2]) for f in factors])


def spread(factors: Sequence[Any], batch: tuple[int, ...]) -> list[Any]:
    """The factors with the batch axes."""
    return [namespace(f).broadcast_to(f, (*batch, *f.shape[-2:])) for f in factors]


def product(op: Op, factors: Sequence[Any], x: Any, transpose: bool, out: Any, backend: Backend | None, num_threads: int | None) -> Any:
    """x (..., N) -> (..., M): the leading axes of the factors and of x broadcast."""
    if out is not None:
        raise ValueError(f"{op.label}: out is for factors that are matrices; assign the result of a batch: out[...] = {op.label}(...)")
    _bind.layout(op, (*map(_one, factors), x), ())
    batch = batch_shape(factors)
    try:
        lead = np.broadcast_shapes(batch, tuple(x.shape[:-1]))
    except ValueError:
        raise ValueError(
            f"{op.label}: x has shape {tuple(x.shape)}; its leading axes do not broadcast with those of the factors, {batch}"
        ) from None
    xp = namespace(x)
    if backend in (None, "array") and (x.shape[-1] <= SMALL or not math.prod(batch)):
        return composed(xp, factors, x, transpose)
    outer, batch = lead[: len(lead) - len(batch)], lead[len(lead) - len(batch) :]
    x, factors = xp.broadcast_to(x, (*lead, x.shape[-1])), spread(factors, batch)
    rows = [
        call(op, (*[f[at] for f in factors], x[(slice(None),) * len(outer) + at]), (), (None,), None, backend, num_threads)
        for at in np.ndindex(batch)
    ]
    return xp.reshape(xp.stack(rows, axis=len(outer)), (*lead, rows[0].shape[-1]))


def _one(factor: Any) -> Any:
    """A matrix of a batch, for checks."""
    if getattr(factor, "ndim", 2) <= 2:
        return factor
    return factor[(0,) * (factor.ndim - 2)] if math.prod(factor.shape[:-2]) else _arrays.zeros_on_device_of(factor, factor.shape[-2:])


def factor_gradients(xp: Any, factors: Sequence[Any], x: Any, grad: Any) -> list[Any]:
    """Those of <grad, K x> by square factors (..., n_k, n_k) with batch axes B, for rows x and grad (*B, c, N): (*B, n_k, n_k)."""
    sizes, gradients = [f.shape[-1] for f in factors], []
    for k, n in enumerate(sizes):
        others = [f[..., None, :, :] for f in factors]
        others[k] = xp.eye(n, dtype=x.dtype, device=x.device)
        shape = (*x.shape[:-2], x.shape[-2] * math.prod(sizes[:k]), n, math.prod(sizes[k + 1 :]))
        rows = [xp.reshape(a, shape) for a in (grad, composed(xp, others, x, False))]
        turn = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2, x.ndim)
        left, right = (xp.reshape(xp.permute_dims(a, turn), (*shape[:-3], n, shape[-3] * shape[-1])) for a in rows)
        gradients.append(left @ xp.matrix_transpose(right))
    return gradients


def composed(xp: Any, factors: Sequence[Any], x: Any, transpose: bool) -> Any:
    """One product of matrices per axis, in the order of csrc/kron/product: axes that shrink first."""
    if transpose:
        factors = [xp.matrix_transpose(f) for f in factors]
    sizes, y = [f.shape[-1] for f in factors], x
    for k in sorted(range(len(factors)), key=lambda k: factors[k].shape[-2] - factors[k].shape[-1]):
        f, L, R = factors[k], math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
        sizes[k] = f.shape[-2]
        if R == 1:
            y = xp.matmul(xp.reshape(y, (*y.shape[:-1], L, f.shape[-1])), xp.matrix_transpose(f))
            y = xp.reshape(y, (*y.shape[:-2], L * sizes[k]))
        else:
            y = xp.matmul(f[..., None, :, :], xp.reshape(y, (*y.shape[:-1], L, f.shape[-1], R)))
            y = xp.reshape(y, (*y.shape[:-3], L * sizes[k] * R))
    return y
