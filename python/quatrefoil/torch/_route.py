"""The cheapest way in for the state torch is in.

While ``torch.compile`` traces: the registered operator. Under a ``torch.func`` transform: a Function with ``setup_context``. Otherwise,
without gradients, the kernel on the tensors' memory (1-2 us); with them, a classic Function over the same call (5 us, where a registered
operator takes 20). A Function over an operator that has no autograd returned silent zeros under ``torch.compile(torch.func.grad(f))``:
hence the first rule, and a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .. import _backends, _bind
from .._dispatch import Planner
from .._spec import Op
from ._functions import functions
from ._library import empty, pack, place, refuse_constants, registered, run_composed, run_kernel
from ._private import dispatch_modes as _modes
from ._private import forward_ad as _forward_ad
from ._private import functorch_level as _functorch_level

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_empty_like = torch.empty_like


def traced(
    op: Op, arrays: Sequence[Any], options: tuple[Any, ...], extras: Sequence[Any], backend: str | None, num_threads: int | None
) -> Any:
    """The registered operator, which has no extras: memos stay behind, a function is an error."""
    _bind.refuse_functions(op, extras)
    return _restore(op, arrays, options, registered[op.key](*pack(op, arrays, options, backend, num_threads or 0)))


# The plan of one signature, which tells type, dtype, shape, device, requires_grad and pending signs of every tensor.
def plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[Any]) -> Any:
    given = [a for a in arrays if a is not None]
    device = given[0].device
    name, kernel = ("", None) if device.type == "meta" else _backends.kernel(op, backend, str(device), arrays)
    layout: list[Any] = [None if r is None else (r[0], getattr(torch, r[1])) for r in results]
    if any(type(a) not in _PLAIN for a in given) or kernel is None:

        def elsewhere(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
            _refuse_out(op, out)
            return traced(op, arrays, options, extras, backend, num_threads)

        return elsewhere
    composed = _composition(op, kernel, layout, results, options, device) if name == "array" else None
    reads_tensors = composed is None and _backends.takes_tensors(kernel) and not any(a.is_neg() or a.is_conj() for a in given)
    single = reads_tensors and op.single
    like = _alike(arrays, layout[0])
    wanted = [a is not None and a.requires_grad for a in arrays]
    flat, wants_gradient, function = op.many is None, any(wanted), functions(op)

    def transform(arrays: Sequence[Any], extras: Sequence[Any], num_threads: int) -> Any:
        if _modes():
            return traced(op, arrays, options, extras, backend, num_threads)
        _bind.refuse_functions(op, extras)
        return _restore(op, arrays, options, function.transformed.apply((options, backend, num_threads), *arrays))

    def run_one(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        """All of a call that wants no gradient, in one step: this is what users time."""
        if _functorch_level() is not None or _modes() or _forward_ad._current_level >= 0:
            _refuse_out(op, out)
            return transform(arrays, extras, num_threads)
        if out is not None:
            _check_out(op, out, layout[0], arrays, device)
        else:  # empty_like takes half as long as empty
            out = empty(layout[0][0], layout[0][1], device) if like is None else _empty_like(arrays[like])
        kernel(
            *(arrays if flat else op.split(arrays)), out, *options, *(extras and _bind.for_kernel(op, extras, name, arrays)), num_threads
        )
        return out

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if _functorch_level() is not None or _modes() or _forward_ad._current_level >= 0:
            _refuse_out(op, out)
            return transform(arrays, extras, num_threads)
        if wants_gradient and torch.is_grad_enabled():
            _refuse_out(op, out)
            refuse_constants(op, arrays, wanted)
            result = function.eager(compute, num_threads, (options, extras, backend), *arrays)
            return _restore(op, arrays, options, result)
        result = compute(arrays, extras, out, num_threads)
        return tuple(result) if op.primal is None and not op.single else result

    compute = run_one if single else composed or _filled(op, kernel, name, arrays, layout, options, device, reads_tensors)
    return run_one if single and not wants_gradient else run


def _composition(op: Op, kernel: Any, layout: Any, results: Any, options: tuple[Any, ...], device: Any) -> Any:
    """What takes the place of a kernel and makes its results itself, on any device."""
    compose = _backends.composed(op, kernel, "torch", results, options)

    def compute(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        out = None if out is _bind.IN_PLACE else out
        if out is not None:
            _bind.one_result(op, layout)
            _check_out(op, out, layout[0], arrays, device)
        return run_composed(op, compose, arrays, out, _bind.for_kernel(op, extras, "array", arrays))

    return compute


def _restore(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], result: Any) -> Any:
    """Operators and Functions return several results without the absent ones: None in their places."""
    return result if op.single else tuple(place(op, arrays, options, result))


def _alike(arrays: Sequence[Any], layout: Any) -> int | None:
    """Which of the arrays of a signature is as a result will be, in shape, dtype and order."""
    fits = (i for i, a in enumerate(arrays) if a is not None and (tuple(a.shape), a.dtype) == layout and a.is_contiguous())
    return next(fits, None)


def _filled(
    op: Op, kernel: Any, name: str, given: Sequence[Any], layout: Any, options: tuple[Any, ...], device: Any, reads_tensors: bool
) -> Any:
    """A call of a kernel with any number of results, which may lie in the memory of arguments where the caller allows it."""
    in_place = [i if i is not None and _is_plain(given[i]) else None for i in op.over]
    results = list(zip(in_place, layout, [_alike(given, r) for r in layout]))

    def run_over(arrays: Sequence[Any], extras: Sequence[Any], num_threads: int) -> Any:
        """In one step: a decoder's."""
        outputs: list[Any] = []
        for index, r, like in results:
            a = None if index is None else arrays[index]
            if a is None or a.data_ptr() % a.element_size():
                outputs.append(None if r is None else empty(r[0], r[1], device) if like is None else _empty_like(arrays[like]))
                continue
            if not a.is_inference():  # which autograd counts, so that it refuses what it has saved
                torch.autograd.graph.increment_version(a)
            outputs.append(a)
        beside = extras and _bind.for_kernel(op, extras, name, arrays)
        if not reads_tensors:
            return run_kernel(op, kernel, arrays, outputs, options, beside, num_threads)
        kernel(*arrays, *outputs, *options, *beside, num_threads)
        return outputs

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is _bind.IN_PLACE:
            return run_over(arrays, extras, num_threads)
        if out is not None:
            _bind.one_result(op, layout)
            _check_out(op, out, layout[0], arrays, device)
            outputs = [out, *layout[1:]]
        else:
            outputs = [None if r is None else empty(r[0], r[1], device) for r in layout]
        return run_kernel(op, kernel, arrays, outputs, options, _bind.for_kernel(op, extras, name, arrays), num_threads)

    return run


def _is_plain(a: Any) -> bool:
    """Whether a kernel can write to a tensor of this signature, and autograd need not know; that it is aligned no signature says."""
    return a.is_contiguous() and not (a.is_neg() or a.is_conj() or a.requires_grad)


def _refuse_out(op: Op, out: Any) -> None:
    if out is not None and out is not _bind.IN_PLACE:
        raise RuntimeError(f"{op.label}: out= does not work with automatic differentiation or tracing; leave it out")


def _check_out(op: Op, out: Any, layout: Any, arrays: Sequence[Any], device: Any) -> None:
    shape, dtype = layout
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"{op.label}: out is {type(out).__name__}, expected a tensor like the inputs")
    if out.dtype != dtype:
        raise TypeError(f"{op.label}: out has dtype {out.dtype}, expected {dtype}")
    if tuple(out.shape) != tuple(shape):
        raise ValueError(f"{op.label}: out has shape {tuple(out.shape)}, expected {tuple(shape)}")
    if not out.is_contiguous() or out.device != device or out.is_neg() or out.is_conj():
        raise ValueError(f"{op.label}: out must be a contiguous {'CPU tensor' if device.type == 'cpu' else f'tensor on {device}'}")
    if out.requires_grad:
        raise RuntimeError(f"{op.label}: out= does not work with automatic differentiation; leave it out")
    for name, _, _, a in op.named(arrays):
        if a is not None and a.untyped_storage().data_ptr() == out.untyped_storage().data_ptr() and out.numel():
            raise ValueError(f"{op.label}: out overlaps {name}; give it memory of its own")


PLANNER = Planner(plan, traced, torch.compiler.is_compiling)
