"""From a public function to a backend: arrays are bound once per signature, then looked up."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import _arrays, _backends
from ._backends import native as _native
from ._spec import Op

Array = Any
Plan = Callable[[Sequence[Any], Any, int], Any]  # (flat arrays, out, num_threads) -> result

_ndarray = np.ndarray
_MAX_PLANS = 4096  # signatures remembered per op
_chosen: ContextVar[str | None] = ContextVar("quatrefoil_backend", default=None)


def is_compiling() -> bool:
    """Whether torch.compile is tracing. quatrefoil.torch puts torch's own function in this place."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the block, in this thread or task, every call takes this backend: "native", "cuda" or "numba"."""
    _backends.check_name(name, "use_backend")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_backend() -> str | None:
    """What ``use_backend`` says here and now."""
    return _chosen.get()


def call(
    op: Op,
    arrays: Sequence[Array | None],
    options: tuple[Any, ...] = (),
    out: Array | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> Any:
    """Run ``op`` on flat arrays. Shapes, dtypes and kinds are checked the first time a signature is seen."""
    if arrays[0].__class__ is not _ndarray and is_compiling():
        from .torch import _route

        wide = list(map(_arrays.widen, arrays)) if takes_half(op, arrays) else arrays
        result = _route.traced(op, wide, options, backend, num_threads)
        return result if wide is arrays else narrowed(op, arrays, result)
    threads = 0 if num_threads is None else check_threads(num_threads, op.label)
    return _run(op.plans, _plan, op, options, backend or _chosen.get(), arrays, out, threads)


def look_up_and_run(
    plans: dict[Any, Plan], planner: Any, op: Op, options: Any, backend: Any, arrays: Sequence[Any], out: Any, threads: int
) -> Any:
    """The front door in Python, where there is no native part."""
    key = plan = None
    with contextlib.suppress(AttributeError, TypeError):
        key = (options, backend, _arrays.signature(arrays))
        plan = plans.get(key)
    return (plan or planner(op, key, arrays, options, backend))(arrays, out, threads)


_run = _native.call or look_up_and_run


def call_vjp(
    op: Op,
    arguments: Sequence[Any],
    options: tuple[Any, ...] = (),
    backend: str | None = None,
    num_threads: int | None = None,
) -> tuple[Any, ...]:
    """The adjoint of ``op``: its inputs and the gradient of the result -> the gradients of the inputs, absent ones left out.

    The last of ``arguments`` is the gradient, a tuple of them where the call returned several arrays; before it the inputs in their order,
    trailing optional ones may be missing.
    """
    adjoint = op.adjoint
    assert adjoint is not None
    *inputs, grad = arguments
    required = sum(not a.optional for a in op.inputs)
    if not required <= len(inputs) <= len(op.inputs):
        names = ", ".join(a.name + ("=None" if a.optional else "") for a in op.inputs)
        raise TypeError(f"{adjoint.label}: expected the inputs ({names}) and then grad, got {len(arguments)} arguments")
    inputs += [None] * (len(op.inputs) - len(inputs))
    grads = list(grad) if isinstance(grad, (list, tuple)) and len(op.outputs) > 1 else [grad]
    grads += [None] * (len(op.outputs) - len(grads))
    results = call(adjoint, [*op.flatten(inputs), *grads], options, None, backend, num_threads)
    return tuple(g for g in op.split(results) if g is not None)


def check_threads(n: Any, label: str) -> int:
    """A number of threads as the caller gave it, or the error that says what is wrong with it."""
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{label}: num_threads must be an integer, got {n!r}")
    if n.__index__() < 1:
        raise ValueError(f"{label}: num_threads must be at least 1, got {n}")
    return int(n.__index__())


def sequence(value: Any, label: str) -> Sequence[Any]:
    """``value``, a list or tuple of arrays; an error for anything else, or for none."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{label}: expected a list or tuple of arrays, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{label}: expected at least one array, got none")
    return value


def _plan(op: Op, key: Any, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None) -> Plan:
    plan = _bind(op, arrays, options, backend)
    if key is not None:
        if len(op.plans) >= _MAX_PLANS:
            op.plans.clear()
        op.plans[key] = plan
    return plan


def check_arrays(op: Op, arrays: Sequence[Any]) -> tuple[str, list[str | None]]:
    """Kind of one call's arrays and dtypes of its flat results; TypeError names the argument that does not fit."""
    first: tuple[str, str, str] | None = None  # name, kind, dtype
    either: tuple[str, str] | None = None  # name and dtype of the first argument that may be real or complex
    dtypes: list[str | None] = []
    for name, arg, _, array in op.named(arrays):
        if array is None:
            if not arg.optional:
                raise TypeError(f"{op.label}: {name} is None, expected an array")
            dtypes.append(None)
            continue
        kind, allowed = _arrays.kind(array), _arrays.ALLOWED[arg.dtype]
        named = " or ".join((*allowed, *_arrays.HALF) if arg.half else allowed)
        if kind is None:
            raise TypeError(f"{op.label}: {name} is {_arrays.describe(array)}, expected a NumPy, PyTorch or CuPy array of {named}")
        dtype = _arrays.dtype_name(array)
        if dtype not in allowed:
            raise TypeError(f"{op.label}: {name} has dtype {dtype}, expected {named}; convert it")
        first = first or (name, kind, dtype)
        if kind != first[1]:
            raise TypeError(
                f"{op.label}: {name} is a {kind} array but {first[0]} is a {first[1]} array; all arrays of a call must be of one kind"
            )
        dtypes.append(dtype)
        if arg.dtype == "int":
            continue
        if arg.dtype == "any":
            either = either or (name, dtype)
        other = either if arg.dtype == "any" and either else (first[0], first[2])
        if dtype != other[1] and (arg.dtype == "any" or _arrays.in_precision(dtype, "real") != _arrays.in_precision(other[1], "real")):
            raise TypeError(f"{op.label}: {name} has dtype {dtype} but {other[0]} has {other[1]}; convert one of them")
    assert first is not None
    if op.primal is not None:
        return first[1], dtypes[: len(dtypes) - len(op.primal.outputs)]
    base = either[1] if either else first[2]
    return first[1], [_arrays.in_precision(base, o.dtype) for o in op.outputs]


def takes_half(op: Op, arrays: Sequence[Any]) -> bool:
    """Whether there are float16 or bfloat16 arrays among these, all of them where the op takes such."""
    halves = [arg.half for (_, arg, _, _), a in zip(op.named(arrays), arrays) if _arrays.is_half(a)]
    return bool(halves) and all(halves)


def narrowed(op: Op, arrays: Sequence[Any], result: Any) -> Any:
    """Results of the float32 computation in the caller's half types: a gradient in its input's, a result in the first array's."""
    if op.single:
        return _arrays.narrow(result, arrays[0]) if op.outputs[0].half else result
    like = arrays if op.primal else [arrays[0] if o.half else None for o in op.outputs]
    return tuple(map(_arrays.narrow, result, like))


def _half_plan(op: Op, options: tuple[Any, ...], backend: str | None) -> Plan:
    def run(arrays: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is not None:
            raise TypeError(f"{op.label}: out= does not take half precision results; leave it out")
        return narrowed(op, arrays, call(op, list(map(_arrays.widen, arrays)), options, None, backend, num_threads or None))

    return run


def _bind(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None) -> Plan:
    if takes_half(op, arrays):
        return _half_plan(op, options, backend)
    kind, dtypes = check_arrays(op, arrays)
    shapes = op.infer([None if a is None else tuple(a.shape) for a in arrays], options)
    results = [None if s is None else (s, d) for s, d in zip(shapes, dtypes)]
    if kind == "torch":
        from .torch import _route

        plan: Plan = _route.plan(op, arrays, options, backend, results)
        return plan
    if kind == "cupy":
        raise RuntimeError(f"{op.label}: CuPy arrays need the CUDA backend: {_backends.reason('cuda')}")
    layout = [None if r is None else (r[0], np.dtype(r[1])) for r in results]
    return _numpy_plan(op, options, _backends.kernel(op, backend), layout, len(arrays))


def _numpy_plan(op: Op, options: tuple[Any, ...], kernel: Callable[..., Any], layout: Sequence[tuple[Any, Any] | None], count: int) -> Plan:
    """What remains to be done once everything is checked, for ``count`` NumPy arrays; ``layout`` is (shape, dtype) of every result."""
    assert layout[0] is not None
    shape, dtype = layout[0]
    large = [r is not None and math.prod(r[0]) * r[1].itemsize >= _arrays.LARGE for r in layout]
    if op.single:
        first_large = large[0]
        flat = op.many is None
        first, behind = op.span(count)

        def simple(arrays: Sequence[Any], out: Any, num_threads: int) -> Any:
            if out is None:
                out = _arrays.large(shape, dtype) if first_large else _arrays.empty(shape, dtype)
            else:
                check_out(op, out, shape, dtype, arrays)
            if flat:
                kernel(*arrays, out, *options, num_threads)
            else:  # op.split(arrays), without its cost
                kernel(*arrays[:first], list(arrays[first:behind]), *arrays[behind:], out, *options, num_threads)
            return out

        return simple

    def general(arrays: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is None:
            results = [None if r is None else _arrays.large(*r) if big else _arrays.empty(*r) for r, big in zip(layout, large)]
        else:
            one_result(op, layout)
            check_out(op, out, shape, dtype, arrays)
            results = [out] + [None] * (len(layout) - 1)
        outputs = op.primal.split(results) if op.primal else results
        kernel(*op.split(arrays), *outputs, *options, num_threads)
        return finish(op, arrays, results)

    return general


def finish(op: Op, arrays: Sequence[Any], results: list[Any]) -> Any:
    """The result as the caller gets it: one array, a tuple of them, or the gradients summed over what was broadcast."""
    if op.primal is None:
        return results[0] if op.single else tuple(results)
    for i, (_, arg, _, array) in enumerate(op.primal.named(arrays[: len(results)])):
        if arg.broadcast and results[i] is not None:
            results[i] = _arrays.sum_to_shape(results[i], array.shape)
    return results


def one_result(op: Op, layout: Sequence[Any]) -> None:
    if any(r is not None for r in layout[1:]):
        raise TypeError(f"{op.label}: out= is for calls that return one array; this one returns several")


def check_out(op: Op, out: Any, shape: Any, dtype: Any, arrays: Sequence[Any]) -> None:
    """``out=`` must be what the call would have allocated, and no input's memory."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{op.label}: out is {_arrays.describe(out)}, expected a NumPy array like the inputs")
    if out.dtype != dtype:
        raise TypeError(f"{op.label}: out has dtype {out.dtype}, expected {dtype}")
    if out.shape != shape:
        raise ValueError(f"{op.label}: out has shape {out.shape}, expected {shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"{op.label}: out must be C-contiguous and writeable")
    for name, _, _, array in op.named(arrays):
        if array is not None and np.may_share_memory(out, array):
            raise ValueError(f"{op.label}: out overlaps {name}; give it memory of its own")
