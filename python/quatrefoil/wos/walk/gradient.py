"""Gradients of the value in the parameters of the boundary data, by replaying the walks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import NONE, Fourier, Gaussians, PerVertex
from ..polygon import Polygon, as_numpy
from .problem import Prepared, Walks
from .result import State

Array = Any


def dirichlet_gradient(p: Prepared, grad: Array, first: int, walks: int) -> dict[str, Array]:
    """grad has the shape of value. Summed in the order of instances, rounds, points, walks: always the same bits."""
    g = as_numpy(grad, "solve_vjp", "grad")
    if g.shape != p.shape:
        raise ValueError(f"solve_vjp: grad has shape {g.shape}, expected value's {p.shape}")
    if g.dtype != p.points.dtype:
        raise TypeError(f"solve_vjp: grad has dtype {g.dtype} but points has {p.points.dtype}; convert it")
    for data in (p.dirichlet, p.source):
        if isinstance(data.given, (Gaussians, list, tuple)):
            raise NotImplementedError(f"solve_vjp: {type(data.given).__name__} data has no gradient in this version")
    if p.source.kind != NONE and isinstance(p.source.given, Fourier):
        raise NotImplementedError("solve_vjp: a Fourier source has no gradient in this version")
    weight = np.where(p.live, g.reshape(p.B, p.N).astype(np.float64) / walks, 0.0)
    if isinstance(p.dirichlet.given, Fourier):
        return {"coefficients": _fourier(p, p.dirichlet.given, weight, first, walks)}
    if isinstance(p.dirichlet.given, PerVertex):
        return {"values": _per_vertex(p, p.dirichlet.given, weight, first, walks)}
    return {}


def parameters(p: Prepared) -> list[Array]:
    """The arrays in which the value can be differentiated."""
    given = p.dirichlet.given
    if isinstance(given, Fourier):
        return [given.coefficients]
    if isinstance(given, PerVertex):
        return list(given.values) if isinstance(given.values, (list, tuple)) else [given.values]
    if isinstance(given, (list, tuple)):  # PerVertex parts, in the order of the instances
        return [g.values for g in given if isinstance(g, PerVertex)]
    return []


def replay(p: Prepared, state: State, grad: Array) -> list[Array]:
    """Gradients in ``parameters`` of sum(grad * value), over the walks that the state holds."""
    order = np.argsort(state.starts)
    starts, ends = state.starts[order], (state.starts + state.sizes)[order]
    cuts = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    total: list[Array] = []
    for first, last in zip(np.split(starts, cuts), np.split(ends, cuts)):
        walks = int(last[-1] - first[0])
        (found,) = dirichlet_gradient(p, grad * (walks / state.walks), int(first[0]), walks).values()
        part = found if isinstance(found, list) else [found]
        total = [a + b for a, b in zip(total, part)] if total else part
    return total


def _as_given(array: np.ndarray, like: Array) -> Array:
    """The gradient in the parameter's own shape, dtype and kind."""
    like_numpy = as_numpy(like, "solve_vjp", "parameter", differentiable=True)
    result = array.reshape(like_numpy.shape).astype(like_numpy.dtype)
    return result if isinstance(like, np.ndarray) else like.new_tensor(result)


def _fourier(p: Prepared, data: Fourier, weight: np.ndarray, first: int, walks: int) -> Array:
    K = as_numpy(data.coefficients, "solve_vjp", "coefficients", differentiable=True).shape[-1]
    total = np.zeros((p.B, K))

    def add(begin: int, end: int, w: Walks) -> None:
        for b in range(begin, end):
            total[b] += np.einsum("n,nwk->k", weight[b], data.modes(w.ends[b - begin]))

    p.run(first, walks, add)
    return _as_given(total.sum(axis=0) if p.dirichlet.batch is None else total, data.coefficients)


def _per_vertex(p: Prepared, data: PerVertex, weight: np.ndarray, first: int, walks: int) -> Array:
    boundary = p.boundary
    assert isinstance(boundary, Polygon)
    shared = boundary.batch is None
    totals = [np.zeros(int(M)) for M in (np.repeat(np.diff(boundary.first_vertex), p.B) if shared else np.diff(boundary.first_vertex))]

    def add(begin: int, end: int, w: Walks) -> None:
        for b in range(begin, end):
            at = 0 if shared else b
            pair = boundary.pairs[boundary.first[at] + w.segment[b - begin]] - boundary.first_vertex[at]
            share, place = weight[b][:, None], w.place[b - begin]
            for side, part in ((0, share * (1 - place)), (1, share * place)):
                totals[b] += np.bincount(pair[..., side].ravel(), part.ravel(), minlength=len(totals[b]))

    p.run(first, walks, add)
    if isinstance(data.values, (list, tuple)):
        return [_as_given(t, v) for t, v in zip(totals, data.values)]
    batched = p.dirichlet.batch is not None
    return _as_given(np.stack(totals) if batched else np.sum(totals, axis=0), data.values)
