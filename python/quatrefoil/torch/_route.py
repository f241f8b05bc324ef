"""Choose the cheapest call path for torch's current mode.

While ``torch.compile`` traces: the registered operator. Under a ``torch.func`` transform: a Function with ``setup_context``. Otherwise,
without gradients, the kernel on the tensors' memory (1-2 us); with gradients, a classic Function around the same call (5 us, compared with
20 us for a registered operator). The first rule is necessary because a Function around an operator without autograd silently returns zeros
under ``torch.compile(torch.func.grad(f))``; a test checks this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .. import _backends, _bind
from .._call import Planner
from .._spec import Op
from ._functions import eager, transformed
from ._library import empty, expand, pack, registered, reject_constants, run_composed, run_kernel
from ._private import dispatch_modes as _modes
from ._private import forward_ad as _forward_ad
from ._private import functorch_level as _functorch_level

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_empty_like = torch.empty_like


def traced(
    op: Op,
    arrays: Sequence[Any],
    options: tuple[Any, ...],
    extras: Sequence[Any],
    backend: str | None,
    num_threads: int | None,
    out: Any = None,
) -> Any:
    """Call the registered operator. It accepts no extras: memos are dropped, and functions raise an error."""
    _reject_out(op, out)
    _bind.reject_functions(op, extras)
    return _restore(op, arrays, options, registered[op.key](*pack(op, arrays, options, backend, num_threads or 0)))


def plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[Any]) -> Any:
    """The plan for one signature: the type, dtype, shape, device, requires_grad and pending operations of every tensor."""
    present = [a for a in arrays if a is not None]
    device = present[0].device
    name, kernel = ("", None) if device.type == "meta" else _backends.kernel(op, backend, str(device), arrays)
    if any(type(a) not in _PLAIN for a in present) or kernel is None:
        return lambda arrays, extras, out, threads: traced(op, arrays, options, extras, backend, threads, out)
    route = (_Composed if name == "array" else _Filled)(op, arrays, options, backend, results, name, kernel)
    return route.compute_single if route.is_single and not route.wants_gradient else route.run


class _Route:
    """Calls of one signature on plain tensors. ``compute`` is the call without gradients and transforms."""

    is_single = False  # True for a kernel that reads tensors and has one result: ``compute_single`` is then the whole call
    compute: Callable[[Sequence[Any], Sequence[Any], Any, int], Any]
    compute_single: Callable[[Sequence[Any], Sequence[Any], Any, int], Any]

    def __init__(
        self, op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[Any], name: str, kernel: Any
    ) -> None:
        self.op, self.options, self.backend, self.name, self.kernel = op, options, backend, name, kernel
        self.layout: list[Any] = [None if r is None else (r[0], getattr(torch, r[1])) for r in results]
        self.device = next(a.device for a in arrays if a is not None)
        self.wanted = [a is not None and a.requires_grad for a in arrays]
        self.wants_gradient = any(self.wanted)
        self.eager, self.transformed = eager(op), transformed(op)

    def run(self, arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        op = self.op
        if _functorch_level() is not None or _modes() or _forward_ad._current_level >= 0:  # torch.func, tracing, forward mode
            return self.transform(arrays, extras, out, num_threads)
        if self.wants_gradient and torch.is_grad_enabled():
            _reject_out(op, out)
            reject_constants(op, arrays, self.wanted)
            result = self.eager(self.compute, num_threads, (self.options, extras, self.backend), *arrays)
            return _restore(op, arrays, self.options, result)
        result = self.compute(arrays, extras, out, num_threads)
        return tuple(result) if op.primal is None and not op.single else result

    def transform(self, arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if _modes():
            return traced(self.op, arrays, self.options, extras, self.backend, num_threads, out)
        _reject_out(self.op, out)
        _bind.reject_functions(self.op, extras)
        result = self.transformed.apply((self.options, self.backend, num_threads), *arrays)
        return _restore(self.op, arrays, self.options, result)

    def check_out(self, out: Any, arrays: Sequence[Any]) -> None:
        _bind.one_result(self.op, self.layout)
        _check_out(self.op, out, self.layout[0], arrays, self.device)


class _Composed(_Route):
    """A composition, which allocates its own results, on any device."""

    def __init__(self, op: Op, arrays: Any, options: Any, backend: Any, results: Sequence[Any], name: str, kernel: Any) -> None:
        super().__init__(op, arrays, options, backend, results, name, kernel)
        self.compose = _backends.array.bind(op, kernel, "torch", results, options)

    def compute(self, arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        out = None if out is _bind.IN_PLACE else out
        if out is not None:
            self.check_out(out, arrays)
        return run_composed(self.op, self.compose, arrays, out, _bind.for_kernel(self.op, extras, "array", arrays))


class _Filled(_Route):
    """A kernel, which fills its results. Results may reuse the memory of arguments if the caller allows it."""

    def __init__(self, op: Op, arrays: Any, options: Any, backend: Any, results: Sequence[Any], name: str, kernel: Any) -> None:
        super().__init__(op, arrays, options, backend, results, name, kernel)
        pending = any(a is not None and (a.is_neg() or a.is_conj()) for a in arrays)
        self.reads_tensors = _backends.takes_tensors(kernel) and not pending
        self.is_single = self.reads_tensors and op.single
        matches = [_matching_argument(arrays, r) for r in self.layout]
        in_place = [i if i is not None and _is_plain(arrays[i]) else None for i in op.in_place_of]
        self.results = list(zip(in_place, self.layout, matches))
        self.compute_single = self._single(matches[0])
        self.compute = self.compute_single if self.is_single else self.fill

    def _single(self, like: int | None) -> Any:
        """A complete call without gradients in one function. This is the hot path: its overhead dominates small calls."""
        op, kernel, options, name, device, layout = self.op, self.kernel, self.options, self.name, self.device, self.layout[0]
        flat = op.sequence_arg is None

        def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
            if _functorch_level() is not None or _modes() or _forward_ad._current_level >= 0:
                return self.transform(arrays, extras, out, num_threads)
            if out is not None:
                _check_out(op, out, layout, arrays, device)
            else:  # empty_like takes half as long as empty
                out = empty(layout[0], layout[1], device) if like is None else _empty_like(arrays[like])
            extras = extras and _bind.for_kernel(op, extras, name, arrays)
            kernel(*(arrays if flat else op.split(arrays)), out, *options, *extras, num_threads)
            return out

        return run

    def fill(self, arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        """A call with any number of results."""
        if out is _bind.IN_PLACE:
            return self.fill_in_place(arrays, extras, num_threads)
        if out is not None:
            self.check_out(out, arrays)
            outputs = [out, *self.layout[1:]]
        else:
            outputs = [None if r is None else empty(r[0], r[1], self.device) for r in self.layout]
        extras = _bind.for_kernel(self.op, extras, self.name, arrays)
        return run_kernel(self.op, self.kernel, arrays, outputs, self.options, extras, num_threads)

    def fill_in_place(self, arrays: Sequence[Any], extras: Sequence[Any], num_threads: int) -> Any:
        """Fast path for decoding steps."""
        outputs: list[Any] = []
        for index, r, like in self.results:
            a = None if index is None else arrays[index]
            if a is None or a.data_ptr() % a.element_size():
                outputs.append(None if r is None else empty(r[0], r[1], self.device) if like is None else _empty_like(arrays[like]))
                continue
            if not a.is_inference():  # autograd detects changes to saved tensors by their version
                torch.autograd.graph.increment_version(a)
            outputs.append(a)
        extras = extras and _bind.for_kernel(self.op, extras, self.name, arrays)
        if not self.reads_tensors:
            return run_kernel(self.op, self.kernel, arrays, outputs, self.options, extras, num_threads)
        self.kernel(*arrays, *outputs, *self.options, *extras, num_threads)
        return outputs


def _restore(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], result: Any) -> Any:
    """Insert None for the absent results, which operators and Functions omit."""
    return result if op.single else tuple(expand(op, arrays, options, result))


def _matching_argument(arrays: Sequence[Any], layout: Any) -> int | None:
    """The index of an array with the shape, dtype and order of a result, if any."""
    fits = (i for i, a in enumerate(arrays) if a is not None and (tuple(a.shape), a.dtype) == layout and a.is_contiguous())
    return next(fits, None)


def _is_plain(a: Any) -> bool:
    """Whether a kernel can write to a tensor of this signature without involving autograd. A signature does not include alignment."""
    return a.is_contiguous() and not (a.is_neg() or a.is_conj() or a.requires_grad)


def _reject_out(op: Op, out: Any) -> None:
    if out is not None and out is not _bind.IN_PLACE:
        raise RuntimeError(f"{op.label}: out= does not work with automatic differentiation or tracing; omit it")


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
        raise RuntimeError(f"{op.label}: out= does not work with automatic differentiation; omit it")
    for name, _, _, a in op.named(arrays):
        if a is not None and a.untyped_storage().data_ptr() == out.untyped_storage().data_ptr() and out.numel():
            raise ValueError(f"{op.label}: out shares memory with {name}; pass a separate array")


PLANNER = Planner(plan, traced, torch.compiler.is_compiling)
