"""Gradients of a solution with respect to its data and points. Equation numbers refer to csrc/wos/walk/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import arrays_like, host_array
from ..._bind import check_device
from ..._call import call_vjp
from ..walk.nodes import schedule
from .prepared import Prepared
from .run import Run

Array = Any


def gradients(run: Run, grad: Any, walks: range, of_points: bool, label: str) -> tuple[Any, ...]:
    """Gradients of sum(grad * value) with respect to the points and to the parameters of each kind of data.

    The gradient with respect to the points is None unless ``of_points``.
    """
    p, group, first, count = run.prepared, 2 if run.settings.gradient else 1, walks.start, len(walks)
    grad = _checked(run, grad, label)
    for data in p.linear:
        if data.numbers is not None and data.pull is None:
            raise NotImplementedError(
                f"{label}: gradients of a list of data are not supported; stack the parameters, or use PyTorch autograd"
            )
    _, sizes = schedule(first // group, count // group)
    whole, share = p.as_chunk(), _shares(p, grad, np.array(sizes) * group / count, p.boundary.dimension if group == 2 else 0)
    if whole.interfaces is not None:
        of_jumps = whole.replay_jumps(whole.interfaces, first, count, _arrays.to_host(share))
        pulled = iter([x for x, data in zip(of_jumps, p.linear) if data.pull is not None])
    else:
        options = whole.options_of(first, count)
        pulled = iter(call_vjp(whole.op, (*whole.inputs, share), options, whole.extras, p.backend, whole.num_threads))
    of_data = [{} if data.pull is None else data.pull(_arrays.to_host(next(pulled))) for data in p.linear]
    return _of_points(run, grad, first, count) if of_points else None, *of_data


def _checked(run: Run, grad: Any, label: str) -> Array:
    """``grad`` as an array with the shape, dtype and array type of the value."""
    p = run.prepared
    array = host_array(arrays_like((run.points, grad), label, ("points", "grad"))[1], label, "grad", device="keep")
    if tuple(array.shape) != p.sizes.shape:
        raise ValueError(f"{label}: grad has shape {tuple(array.shape)}, expected {p.sizes.shape}, the shape of value")
    if (dtype := _arrays.dtype_name(array)) != p.dtype.name:
        raise TypeError(f"{label}: grad has dtype {dtype} but points has {p.dtype}; convert it")
    if not p.on_host or not isinstance(array, np.ndarray):
        check_device(label, "grad", grad, "points", run.points)
    return array


def _shares(p: Prepared, grad: Array, means: np.ndarray, more: int) -> Array:
    """Gradients (B, N, K, 1 + more) with respect to the means of the nodes, 0 for points outside.

    (6) The value is the sum of the nodes' means with weights ``means`` (K,).
    """
    B, N, _ = p.sizes
    xp, outside = _arrays.namespace(grad), p.outside
    each = grad.reshape(B, N, 1) * _arrays.of_kind(_arrays.location(grad), means)
    if outside is not None:
        outside = _arrays.to_host(outside) if p.on_host else outside
        each = xp.where(outside.reshape(B, N, 1), xp.zeros_like(each), each)
    share = xp.concatenate([each[..., None], *[xp.zeros_like(each[..., None])] * more], -1)
    return _arrays.of_kind(p.kind, share) if p.on_host else share


def _of_points(run: Run, grad: Array, first: int, count: int) -> Array:
    """The gradient with respect to the points: ``grad`` times ∇u, estimated from walks [first, first + count)."""
    p, points = run.prepared, run.points
    B, N, _ = p.sizes
    xp, slope, outside = _arrays.namespace(grad), run.slope(first, count), p.outside
    if p.on_host:
        slope, outside = _arrays.to_host(slope), None if outside is None else _arrays.to_host(outside)
    weight = grad.reshape(B, N, 1)
    if outside is not None:
        weight = xp.where(outside.reshape(B, N, 1), xp.zeros_like(weight), weight)
    product = weight * slope.reshape(B, N, p.boundary.dimension)
    product = xp.where(weight == 0, xp.zeros_like(product), product)
    summed = product if points.ndim == 3 and len(points) == B else product.sum(axis=0).reshape(points.shape)
    return p.cast(summed) if not p.on_host else _arrays.of_kind(p.kind, np.ascontiguousarray(summed, p.dtype))
