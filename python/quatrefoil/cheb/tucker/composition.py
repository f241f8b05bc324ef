"""Tucker decompositions with array API functions, in double precision. Equation numbers refer to csrc/cheb/README.md.

A composition cannot branch on values, but the number of columns for a tolerance depends on them. So dropped columns are 0, and arrays are
as large as the given ranks allow. Bases are computed from the triangles of the unfoldings (4), exact to eps sigma_1. "rsvd" is "sthosvd".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..._array_tools import chunk_slices, double, mode_product, nan_unless, resized

SWEEPS = 20  # sweeps of (5); the host stops if a sweep lowers the squared error by less than 0.1 %, usually before the tenth


def _triangle(xp: Any, core: Any, axis: int) -> Any:
    """R (k, n), k at most n, with R^T R the Gram matrix of the unfolding along an axis, one block at a time (4)."""
    n = core.shape[axis]
    rows = xp.reshape(xp.moveaxis(core, axis, -1), (math.prod(core.shape) // n, n))
    R: Any = None
    for at in chunk_slices(rows.shape[0], n):
        block = rows[at, :]
        R = xp.linalg.qr(block if R is None else xp.concat([R, block], axis=0)).R
    return R


def _principal(xp: Any, core: Any, axis: int, rank: int) -> tuple[Any, Any]:
    """The first left singular vectors of an unfolding (n, rank), completed if it has fewer, and its squared singular values."""
    n = core.shape[axis]
    U, values, _ = xp.linalg.svd(_triangle(xp, core, axis).T, full_matrices=False)
    if (more := rank - U.shape[1]) > 0:
        U = xp.linalg.qr(xp.concat([U, xp.eye(n, more, dtype=core.dtype, device=core.device)], axis=1)).Q
    return U[:, :rank], values * values


def _sequential(xp: Any, core: Any, ranks: Sequence[int], budget: Any) -> tuple[Any, list[Any], list[Any]]:
    """Process the axes (1), starting with the one that shrinks most. Return the core, bases, and their numbers of nonzero columns.

    Without a budget the ranks are exact. An axis of rank 0 is not changed.
    """
    factors: list[Any] = [None] * core.ndim
    counts = [xp.full((), n, dtype=xp.int64, device=core.device) for n in core.shape]
    for axis in sorted((k for k, r in enumerate(ranks) if r), key=lambda k: (-core.shape[k] / ranks[k], k)):
        U, squares = _principal(xp, core, axis, ranks[axis])
        count = xp.full((), ranks[axis], dtype=xp.int64, device=core.device)
        if budget is not None:
            dropped = xp.cumulative_sum(xp.flip(squares))
            count_needed = squares.shape[0] - xp.sum(xp.astype(dropped <= budget, xp.int64))
            count = xp.clip(count_needed, min=1, max=ranks[axis])
            U = _columns(xp, U, count)
        core, factors[axis], counts[axis] = mode_product(xp, core, U.T, axis), U, count
    return core, factors, counts


def _columns(xp: Any, U: Any, count: Any) -> Any:
    """Return U with its columns from ``count`` on set to zero."""
    at = xp.arange(U.shape[1], dtype=xp.int64, device=U.device)
    return xp.where(at < count, U, xp.zeros_like(U))


def _hooi(xp: Any, C: Any, factors: list[Any], counts: list[Any]) -> tuple[Any, list[Any]]:
    """Sweeps of (5), which preserve the ranks."""
    core: Any = None
    axes = [k for k, U in enumerate(factors) if U is not None]
    for _ in range(SWEEPS):
        for axis in axes:
            others = C
            for k in sorted(axes, key=lambda k: -factors[k].shape[0] / factors[k].shape[1]):
                others = mode_product(xp, others, factors[k].T, k) if k != axis else others
            U, _ = _principal(xp, others, axis, factors[axis].shape[1])
            factors[axis] = _columns(xp, U, counts[axis])
            core = mode_product(xp, others, factors[axis].T, axis)
    return core, factors


def _padded(xp: Any, a: Any, shape: Sequence[int]) -> Any:
    """``a``, padded with zeros to that shape."""
    for axis, n in enumerate(shape):
        a = xp.moveaxis(resized(xp, xp.moveaxis(a, axis, -1), n), -1, axis)
    return a


def tucker(xp: Any, C: Any, tol: float, ranks: Sequence[int], method: str) -> Any:
    """The padded core, all (n, r) factors flattened, the column counts; NaN if C is not finite."""
    A, finite = double(xp, C), xp.all(xp.isfinite(C))
    scale = xp.max(xp.abs(A))
    scale = xp.where(finite & (scale > 0), scale, xp.ones_like(scale))
    A = xp.where(xp.isfinite(A), A, xp.zeros_like(A)) / scale
    budget = None if tol < 0 else tol * tol * xp.sum(A * A) / sum(map(bool, ranks))
    core, factors, counts = _sequential(xp, A, ranks, budget)
    if method == "hooi":
        core, factors = _hooi(xp, A, factors, counts)
    flat = []
    for axis, (U, r) in enumerate(zip(factors, ranks)):  # makes the largest entry of a column positive: unique signs
        if U is None:
            continue
        signs = xp.where(xp.max(U, axis=0) < xp.max(-U, axis=0), -xp.ones_like(U[0, :]), xp.ones_like(U[0, :]))
        core = core * xp.reshape(signs, tuple(-1 if k == axis else 1 for k in range(A.ndim)))
        n = U.shape[0]
        flat.append(xp.reshape(_padded(xp, U * signs, (n, r)), (n * r,)))
    core = nan_unless(xp, finite, _padded(xp, core * scale, C.shape))
    return xp.astype(core, C.dtype), xp.astype(nan_unless(xp, finite, xp.concat(flat, axis=0)), C.dtype), xp.stack(counts)
