"""Two autograd Functions per op. The gradient of an adjoint is the op's ``second_vjp``; without one it raises an error, because a second
derivative must never be silently wrong."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from .._call import call
from .._spec import Op
from ._library import constant_results, differentiable_grads, expand, no_derivative, pack, registered, reject_constants
from ._private import apply_of


def _second(op: Op, arrays: Any, grads: Any, options: Any, backend: str | None, num_threads: int) -> Any:
    """The gradient of an adjoint; raises an error if its op has none."""
    if op.primal is None or op.primal.policy.second_vjp is None:
        no_derivative(op)
    return op.primal.policy.second_vjp(arrays, expand(op, arrays, options, grads), options, backend, num_threads or None)  # type: ignore[union-attr,misc]


@cache
def eager(op: Op) -> Any:
    """Outside any torch.func transform: (compute, num_threads, (options, extras, backend), *arrays) -> present results."""

    class Eager(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, compute: Any, num_threads: int, setting: Any, *arrays: Any) -> Any:
            ctx.num_threads, ctx.setting = num_threads, setting
            ctx.save_for_backward(*arrays)
            result = compute(arrays, setting[1], None, num_threads)
            if op.single:
                return result
            ctx.set_materialize_grads(op.primal is None)
            ctx.mark_non_differentiable(*constant_results(op, result))
            return tuple(r for r in result if r is not None)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            options, extras, backend = ctx.setting
            arrays = ctx.saved_tensors
            if op.adjoint is None:
                return (None, None, None, *_second(op, arrays, grads, options, backend, ctx.num_threads))
            reject_constants(op, arrays, ctx.needs_input_grad[3:])
            inputs = [*arrays, *differentiable_grads(op, arrays, options, grads)]
            return (None, None, None, *call(op.adjoint, inputs, options, extras, None, backend, ctx.num_threads or None))

    Eager.__name__ = Eager.__qualname__ = f"{op.family}_{op.name}"
    return apply_of(Eager)  # the route has checked for transforms


@cache
def transformed(op: Op) -> Any:
    """For torch.func: ((options, backend, num_threads), *arrays) -> present results."""

    class Transformed(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(setting: Any, *arrays: Any) -> Any:
            options, backend, num_threads = setting
            result = registered[op.key](*pack(op, arrays, options, backend, num_threads))
            return result if op.single else tuple(result)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.setting = inputs[0]
            ctx.save_for_backward(*inputs[1:])
            if not op.single:
                ctx.mark_non_differentiable(*constant_results(op, expand(op, inputs[1:], inputs[0][0], output)))

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            arrays = ctx.saved_tensors
            if op.adjoint is None:
                options, backend, num_threads = ctx.setting
                return (None, *_second(op, arrays, grads, options, backend, num_threads))
            reject_constants(op, arrays, ctx.needs_input_grad[1:])
            inputs = [*arrays, *differentiable_grads(op, arrays, ctx.setting[0], grads)]
            return (None, *expand(op.adjoint, inputs, ctx.setting[0], transformed(op.adjoint).apply(ctx.setting, *inputs)))

        @staticmethod
        def vmap(info: Any, in_dims: Any, setting: Any, *arrays: Any) -> Any:
            """One call per item: correct for every op."""
            dims = in_dims[1:]
            items = ([a if d is None else a.select(d, i) for a, d in zip(arrays, dims)] for i in range(info.batch_size))
            calls = [Transformed.apply(setting, *item) for item in items]
            if op.single:
                return torch.stack(calls), 0
            return tuple(map(torch.stack, zip(*calls))), (0,) * len(calls[0])

    Transformed.__name__ = Transformed.__qualname__ = f"{op.family}_{op.name}"
    return Transformed
