"""Every op of every table as ``torch.ops.quatrefoil.<family>_<op>``: schema, kernel, fake kernel, autograd, vmap.

``torch.compile`` and ``torch.export`` see registered operators. An adjoint, which returns the gradients of the present inputs, is also an
operator. Its own derivative raises an error, because a second derivative must never be silently zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from .. import _arrays, _backends, _bind
from .._call import remember, run_planned
from .._spec import FAMILIES, Op
from ._private import storage_of

_TYPES = {bool: "bool", int: "int", float: "float", str: "str", "floats": "float[]", "ints": "int[]"}

library = torch.library.Library("quatrefoil", "DEF")
registered: dict[str, Any] = {}


def schema(op: Op) -> str:
    arrays = [f"Tensor{'[]' if a.sequence else '?' if a.optional else ''} {a.name}" for a in op.inputs]
    options = [f"{_TYPES[o.type]} {o.name}" for o in op.options]
    result = "Tensor" if op.single else "Tensor[]"
    return f"{op.family}_{op.name}({', '.join([*arrays, *options, 'str? backend', 'int num_threads'])}) -> {result}"


def unpack(op: Op, arguments: tuple[Any, ...]) -> tuple[list[Any], tuple[Any, ...], str | None, int]:
    """Arguments in the schema's order -> (flat arrays, options, backend, num_threads)."""
    count = len(op.inputs)
    options = tuple(tuple(x) if isinstance(x, (list, tuple)) else x for x in arguments[count : count + len(op.options)])
    return op.flatten(arguments[:count]), options, arguments[-2], arguments[-1]


def pack(op: Op, arrays: Any, options: tuple[Any, ...], backend: str | None, num_threads: int) -> list[Any]:
    """Return flat arrays and the other arguments in the schema's order."""
    return [*op.split(arrays), *[list(o) if isinstance(o, tuple) else o for o in options], backend, num_threads]


def run_kernel(
    op: Op, kernel: Any, arrays: Any, outputs: list[Any], options: tuple[Any, ...], extras: Sequence[Any], num_threads: int
) -> Any:
    """Call a backend's kernel on tensors of its device. Fills the outputs and returns the result for the caller."""
    arrays = [plain(a) for a in arrays]
    if not _backends.takes_tensors(kernel):
        arrays = [None if a is None else a.detach().numpy() for a in arrays]
        filled = [None if o is None else o.numpy() for o in outputs]
    else:
        filled = outputs
    kernel(*op.split(arrays), *(op.primal.split(filled) if op.primal else filled), *options, *extras, num_threads)
    if op.primal is None:
        return outputs[0] if op.single else outputs
    for i, (_, arg, _, array) in enumerate(op.primal.named(arrays[: len(outputs)])):
        if arg.broadcast and outputs[i] is not None:
            if outputs[i].device.type == "cpu":  # sum in NumPy's order
                outputs[i] = torch.from_numpy(_arrays.sum_to_shape(outputs[i].numpy(), tuple(array.shape)))
            else:
                outputs[i] = outputs[i].sum_to_size(array.shape)
    return outputs


def run_composed(op: Op, compose: Any, arrays: Sequence[Any], out: Any, extras: Sequence[Any]) -> Any:
    """Like ``run_kernel``, for a composition on tensors of any device. The results have their own memory."""
    inputs = [None if a is None else plain(a.detach()) for a in arrays]
    results = compose(inputs, extras)
    if out is not None:
        out.copy_(results[0])
        return out if op.single else [out, *results[1:]]
    used_storages = {storage_of(a) for a in inputs if a is not None}
    for i, r in enumerate(results):
        if r is not None:
            r = plain(r).contiguous()
            results[i] = r.clone() if storage_of(r) in used_storages else r
            used_storages.add(storage_of(results[i]))
    return results[0] if op.single else results


def empty(shape: Any, dtype: Any, device: Any) -> Any:
    """Allocate a result. Raises MemoryError instead of torch's RuntimeError if the host is out of memory."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    try:
        return torch.empty(shape, dtype=dtype)
    except RuntimeError as error:
        raise MemoryError(f"cannot allocate a result of shape {tuple(shape)} and dtype {str(dtype).removeprefix('torch.')}") from error


def plain(a: Any) -> Any:
    """A tensor without pending conjugation or negation."""
    if a is None or not (a.is_neg() or a.is_conj()):
        return a
    return a.resolve_conj().resolve_neg()


def _plan(op: Op, arrays: Any, options: tuple[Any, ...], backend: str | None) -> Any:
    """The call to a registered operator, after its checks: (arrays, extras, out, num_threads) -> results. There is never an ``out``."""
    _, layout = _bind.layout(op, arrays, options)
    device = next(a.device for a in arrays if a is not None)
    name, kernel = _backends.kernel(op, backend, str(device), arrays)
    if name == "array":
        compose = _backends.array.bind(op, kernel, "torch", layout, options)
        return lambda arrays, extras, out, num_threads: run_composed(op, compose, arrays, None, extras)
    results = [None if r is None else (r[0], getattr(torch, r[1])) for r in layout]

    def run(arrays: Any, extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        outputs = [None if r is None else empty(*r, device) for r in results]
        return run_kernel(op, kernel, arrays, outputs, options, extras, num_threads)

    return run


def register(op: Op) -> None:
    name = f"{op.family}_{op.name}"
    library.define(schema(op))

    plans: dict[Any, Any] = {}

    def plan(op: Op, key: Any, arrays: Any, options: tuple[Any, ...], backend: str | None) -> Any:
        return remember(plans, key, _plan(op, arrays, options, backend))

    def run(*arguments: Any) -> Any:
        arrays, options, backend, num_threads = unpack(op, arguments)
        extras = (None,) * len(op.extras)
        result = run_planned(plans, plan, op, options, backend or _backends.chosen(), arrays, extras, None, num_threads)
        return result if op.single else [g for g in result if g is not None]

    def fake(*arguments: Any) -> Any:
        arrays, options, _, _ = unpack(op, arguments)
        first = next(a for a in arrays if a is not None)
        if op.primal is not None:
            shapes = op.infer([None if a is None else tuple(a.shape) for a in arrays], options)
            return [a.new_empty(a.shape) for a, s in zip(arrays, shapes) if s is not None]
        _, layout = _bind.layout(op, arrays, options)
        results = [first.new_empty(r[0], dtype=getattr(torch, r[1])) for r in layout if r is not None]
        return results[0] if op.single else results

    for device in ("CPU", "CUDA"):
        library.impl(name, run, device)
    torch.library.register_fake(f"quatrefoil::{name}", fake, lib=library)
    registered[op.key] = getattr(torch.ops.quatrefoil, name).default

    backward: Any = partial(_backward, op) if op.adjoint else lambda *_: no_derivative(op)
    save = partial(_save, op) if op.adjoint else None
    torch.library.register_autograd(f"quatrefoil::{name}", backward, setup_context=save, lib=library)


def _save(op: Op, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    arrays, *ctx.setting = unpack(op, inputs)
    ctx.save_for_backward(*arrays)
    if not op.single:
        ctx.results = [(tuple(x.shape), x.dtype, x.device) for x in output]
        ctx.mark_non_differentiable(*constant_results(op, expand(op, arrays, ctx.setting[0], output)))


def expand(op: Op, arrays: Any, options: tuple[Any, ...], results: Any) -> list[Any]:
    """Expand the present results, or their gradients, to one entry per output of ``op``, None for absent ones."""
    if op.single:
        return list(results)
    present = iter(results)
    return [next(present) if m else None for m in op.present_outputs(arrays, options)]


def differentiable_grads(op: Op, arrays: Any, options: tuple[Any, ...], grads: Any) -> list[Any]:
    """The gradients that the adjoint accepts, from those of the present results; None for absent ones."""
    expanded = expand(op, arrays, options, grads)
    return [expanded[i] for i in op.differentiable_outputs]


def constant_results(op: Op, results: Any) -> list[Any]:
    """The present results without a gradient, from one entry per output."""
    return [r for r, o in zip(results, op.outputs) if r is not None and not o.has_gradient]


def reject_constants(op: Op, arrays: Any, wanted: Any) -> None:
    """Raise NotImplementedError if an input that is not differentiable requires a gradient."""
    for (name, arg, _, _), wants in zip(op.named(arrays), wanted):
        if wants and arg.constant:
            raise NotImplementedError(f"{op.label} is not differentiable with respect to {name}, which requires grad; detach it")


def _backward(op: Op, ctx: Any, grad: Any) -> tuple[Any, ...]:
    assert op.adjoint is not None
    for arg, wants in zip(op.inputs, ctx.needs_input_grad):
        if arg.constant and wants is True:
            raise NotImplementedError(f"{op.label} is not differentiable with respect to {arg.name}, which requires grad; detach it")
    arrays, (options, backend, num_threads), grads = ctx.saved_tensors, ctx.setting, [grad]
    if not op.single:  # torch omits the gradients of unused results
        grads = [torch.zeros(s, dtype=t, device=d) if g is None else g for g, (s, t, d) in zip(grad, ctx.results)]
        grads = differentiable_grads(op, arrays, options, grads)
    inputs = [*arrays, *grads]
    results = registered[op.adjoint.key](*pack(op.adjoint, inputs, options, backend, num_threads))
    return *op.split(expand(op.adjoint, inputs, options, results)), *[None] * (len(op.options) + 2)


def no_derivative(op: Op) -> Any:
    what = f"the gradient of {op.primal.label}" if op.primal else op.label
    raise NotImplementedError(f"{what} is not differentiable: a second derivative is not available")


for _family in FAMILIES.values():
    for _op in _family:
        register(_op)
