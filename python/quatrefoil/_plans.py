"""The plans of NumPy and CuPy calls: the work that remains after a signature has been checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import _arrays, _backends, _bind
from ._spec import Op

Plan = Callable[[Sequence[Any], Sequence[Any], Any, int], Any]  # (flat arrays, extras, out, num_threads) -> result


def numpy_plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, layout: Sequence[_bind.Layout]) -> Plan:
    name, kernel = _backends.kernel(op, backend)
    if name == "array":
        return _composed(op, options, kernel, "numpy", layout)
    if op.single:
        return _single(op, options, name, kernel, layout[0], len(arrays))
    return _several(op, options, name, kernel, "numpy", layout)


def cupy_plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, layout: Sequence[_bind.Layout]) -> Plan:
    first = next(i for i, a in enumerate(arrays) if a is not None)
    name, kernel = _backends.kernel(op, backend, _arrays.device(arrays[first]), arrays)
    if name == "array":
        compute = _composed(op, options, kernel, "cupy", layout)
    else:
        compute = _several(op, options, name, kernel, "cupy", layout)

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        with arrays[first].device:  # CuPy computes and allocates on the current device, not on the device of the arrays
            return compute(arrays, extras, out, num_threads)

    return run


def _allocator(kind: str, layout: _bind.Layout) -> Callable[[], Any]:
    if layout is None:
        return lambda: None
    shape, dtype = layout
    if kind != "numpy":
        return partial(_arrays.namespace_of(kind).empty, shape, dtype)
    numbers = np.dtype(dtype)
    return partial(_arrays.large if math.prod(shape) * numbers.itemsize >= _arrays.LARGE else _arrays.empty, shape, numbers)


def _single(op: Op, options: Any, backend: str, kernel: Callable[..., Any], layout: _bind.Layout, count: int) -> Plan:
    """A host kernel with one result, for ``count`` arrays. This is the hot path: its overhead dominates small calls."""
    assert layout is not None
    shape, dtype, new = layout[0], np.dtype(layout[1]), _allocator("numpy", layout)
    flat = op.sequence_arg is None
    begin, end = op.span(count)

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is None:
            out = new()
        else:
            _bind.check_out(op, out, shape, dtype, arrays)
        extras = extras and _bind.for_kernel(op, extras, backend, arrays)
        if flat:
            kernel(*arrays, out, *options, *extras, num_threads)
        else:  # the same as op.split(arrays), but faster
            kernel(*arrays[:begin], list(arrays[begin:end]), *arrays[end:], out, *options, *extras, num_threads)
        return out

    return run


def _several(op: Op, options: Any, backend: str, kernel: Callable[..., Any], kind: str, layout: Sequence[_bind.Layout]) -> Plan:
    """A kernel that fills any number of results."""
    empty = [_allocator(kind, r) for r in layout]
    in_place_of = op.in_place_of if kind == "numpy" else (None,) * len(layout)  # per result, the argument whose memory it may reuse

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is _bind.IN_PLACE:
            results = [new() if i is None or not arrays[i].flags.carray else arrays[i] for i, new in zip(in_place_of, empty, strict=True)]
        elif out is None:
            results = [new() for new in empty]
        else:
            _check_out(op, out, arrays, kind, layout)
            results = [out] + [None] * (len(layout) - 1)
        outputs = op.primal.split(results) if op.primal else results
        kernel(*op.split(arrays), *outputs, *options, *_bind.for_kernel(op, extras, backend, arrays), num_threads)
        return _bind.finish(op, arrays, results)

    return run


def _composed(op: Op, options: Any, kernel: Callable[..., Any], kind: str, layout: Sequence[_bind.Layout]) -> Plan:
    """A composition, which allocates its own results."""
    compose = _backends.array.bind(op, kernel, kind, layout, options)
    library = _arrays.namespace_of(kind)

    def owned(result: Any, arrays: Sequence[Any]) -> Any:
        """The result as a contiguous array in its own memory."""
        plain = library.asarray(result, order="C")
        shared = any(a is not None and library.may_share_memory(plain, a) for a in arrays)
        return plain.copy() if shared or not getattr(plain.flags, "writeable", True) else plain

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        out = None if out is _bind.IN_PLACE else out
        if out is not None:
            _check_out(op, out, arrays, kind, layout)
        results = compose(arrays, _bind.for_kernel(op, extras, "array", arrays))
        if out is not None:
            out[...] = results[0]
            return out if op.single else (out, *[None] * (len(layout) - 1))
        for i, r in enumerate(results):
            results[i] = None if r is None else owned(r, [*arrays, *results[:i]])
        return results if op.primal else results[0] if op.single else tuple(results)

    return run


def _check_out(op: Op, out: Any, arrays: Sequence[Any], kind: str, layout: Sequence[_bind.Layout]) -> None:
    _bind.one_result(op, layout)
    shape, dtype = layout[0] or ((), "")
    _bind.check_out(op, out, shape, np.dtype(dtype) if kind == "numpy" and dtype else dtype, arrays, kind)
    _bind.check_device(op.label, "out", out, "the first array", next(a for a in arrays if a is not None))
