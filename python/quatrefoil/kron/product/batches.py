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
from . import composition
from .dense import namespace

SMALL = 4096  # elements per vector; up to this size, one matrix product per axis for the batch is faster than a kernel call per item


def is_batch(factors: Sequence[Any]) -> bool:
    return any([getattr(f, "ndim", 2) > 2 for f in factors])


def batch_shape(factors: Sequence[Any]) -> tuple[int, ...]:
    """The shape that the leading axes of the factors broadcast to."""
    return np.broadcast_shapes(*[tuple(f.shape[:-2]) for f in factors])


def spread(factors: Sequence[Any], batch: tuple[int, ...]) -> list[Any]:
    """The factors, broadcast to the batch axes."""
    return [namespace(f).broadcast_to(f, (*batch, *f.shape[-2:])) for f in factors]


def stacked(results: Sequence[Any], batch: tuple[int, ...]) -> Any:
    """One result per item, or tuples or lists of them, as arrays with leading batch axes."""
    first = results[0]
    if isinstance(first, (tuple, list)):
        return type(first)(stacked(part, batch) for part in zip(*results))
    if _arrays.kind(first) is None:
        return np.array(results).reshape(batch)
    return namespace(first).stack(list(results)).reshape(*batch, *first.shape)


def product(op: Op, factors: Sequence[Any], x: Any, transpose: bool, out: Any, backend: Backend | None, num_threads: int | None) -> Any:
    """x (..., N) -> (..., M): the leading axes of the factors and of x broadcast."""
    if out is not None:
        raise ValueError(f"{op.label}: out= requires factors without batch axes; for a batch assign the result: out[...] = {op.label}(...)")
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
        return composition.product(xp, factors, x, transpose)
    outer, batch = lead[: len(lead) - len(batch)], lead[len(lead) - len(batch) :]
    x, factors = xp.broadcast_to(x, (*lead, x.shape[-1])), spread(factors, batch)
    rows = [
        call(op, (*[f[at] for f in factors], x[(slice(None),) * len(outer) + at]), (), (None,), None, backend, num_threads)
        for at in np.ndindex(batch)
    ]
    return xp.reshape(xp.stack(rows, axis=len(outer)), (*lead, rows[0].shape[-1]))


def _one(factor: Any) -> Any:
    """One matrix of a batch, for checks."""
    if getattr(factor, "ndim", 2) <= 2:
        return factor
    return factor[(0,) * (factor.ndim - 2)] if math.prod(factor.shape[:-2]) else _arrays.zeros_on_device_of(factor, factor.shape[-2:])


def factor_gradients(xp: Any, factors: Sequence[Any], x: Any, grad: Any) -> list[Any]:
    """Gradients of <grad, K x> with respect to square factors (..., n_k, n_k), for rows x and grad (*B, c, N): (*B, n_k, n_k)."""
    sizes, gradients = [f.shape[-1] for f in factors], []
    for k, n in enumerate(sizes):
        others = [f[..., None, :, :] for f in factors]
        others[k] = xp.eye(n, dtype=x.dtype, device=x.device)
        shape = (*x.shape[:-2], x.shape[-2] * math.prod(sizes[:k]), n, math.prod(sizes[k + 1 :]))
        rows = [xp.reshape(a, shape) for a in (grad, composition.product(xp, others, x))]
        order = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2, x.ndim)
        left, right = (xp.reshape(xp.permute_dims(a, order), (*shape[:-3], n, shape[-3] * shape[-1])) for a in rows)
        gradients.append(left @ xp.matrix_transpose(right))
    return gradients
