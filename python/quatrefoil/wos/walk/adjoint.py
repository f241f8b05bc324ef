"""The gradient in the answers of a problem, as its walks and its points see it. Equation numbers are those of csrc/wos/walk/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from .piece import to_numpy
from .problem import Prepared, Problem

Array = Any


def shares(p: Prepared, grad: Array, means: np.ndarray, more: int) -> Array:
    """(B, N, K, 1 + more) the gradient in the means of the nodes, 0 for points outside: the value is their sum by ``means`` (K,) (6)."""
    if p.on_host:
        share = np.zeros((p.B, p.N, len(means), 1 + more))
        share[..., 0] = grad.reshape(p.B, p.N, 1) * means
        if p.outside is not None:
            share[to_numpy(p.outside).reshape(p.B, p.N)] = 0
        return _arrays.of_kind(p.kind, share)
    xp = _arrays.namespace(grad)
    each = grad.reshape(p.B, p.N, 1) * _arrays.of_kind(p.kind, means)
    each = xp.where(p.outside.reshape(p.B, p.N, 1), xp.zeros_like(each), each)[..., None]
    return xp.concatenate([each, *[xp.zeros_like(each)] * more], -1)


def of_points(problem: Problem, grad: Array, first: int, count: int) -> Array:
    """The gradient in the points, of their shape: that in the value times that of u, by walks [first, first + count)."""
    p = problem.ready
    xp, slope, outside = _arrays.namespace(grad), problem.slope(first, count), p.outside
    if p.on_host:
        slope, outside = to_numpy(slope), to_numpy(outside)
    weight = grad.reshape(p.B, p.N, 1)
    if outside is not None:
        weight = xp.where(outside.reshape(p.B, p.N, 1), xp.zeros_like(weight), weight)
    product = weight * slope.reshape(p.B, p.N, p.boundary.dimension)
    product = xp.where(weight == 0, xp.zeros_like(product), product)
    summed = product if problem.points.ndim == 3 and len(problem.points) == p.B else product.sum(axis=0).reshape(problem.points.shape)
    summed = summed[0] if problem.one_point else summed
    return p.cast(summed) if not p.on_host else _arrays.of_kind(p.kind, np.ascontiguousarray(summed, p.dtype))
