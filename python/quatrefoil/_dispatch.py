"""From a public function to a backend: arrays are bound once per signature, then looked up."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _arguments, _arrays, _backends, _bind
from ._backends import native as _native
from ._spec import Op

Array = Any
Plan = Callable[[Sequence[Any], Sequence[Any], Any, int], Any]  # (flat arrays, extras, out, num_threads) -> result

_ndarray = np.ndarray
_chosen = _backends.CHOSEN
_MAX_PLANS = 4096  # signatures remembered per op


def call(
    op: Op,
    arrays: Sequence[Array | None],
    options: tuple[Any, ...] = (),
    extras: Sequence[Any] = (),
    out: Array | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> Any:
    """Run ``op`` on flat arrays. Shapes, dtypes and kinds are checked the first time a signature is seen.

    ``extras`` are those that the op declares, one for one, or none of them.
    """
    if extras.__class__ is not tuple or len(extras) != len(op.extras):
        extras = _bind.all_extras(op, extras)
    if arrays[0].__class__ is not _ndarray and PLANNERS["torch"].is_tracing():
        wide = list(map(_arrays.widen, arrays)) if _bind.takes_half(op, arrays) else arrays
        result = PLANNERS["torch"].traced(op, wide, options, extras, backend, num_threads)
        return result if wide is arrays else _bind.narrowed(op, arrays, result)
    threads = 0 if num_threads is None else _arguments.threads(num_threads, op.label)
    return _run(op.plans, _plan, op, options, backend or _chosen.get(), arrays, extras, out, threads)


def look_up_and_run(
    plans: dict[Any, Plan], planner: Any, op: Op, options: Any, backend: Any, arrays: Sequence[Any], extras: Any, out: Any, threads: int
) -> Any:
    """The front door in Python, where there is no native part."""
    key = plan = None
    with contextlib.suppress(AttributeError, TypeError, RuntimeError):
        key = (options, backend, _arrays.signature(arrays))
        plan = plans.get(key)
    return (plan or planner(op, key, arrays, options, backend))(arrays, extras, out, threads)


_run = _native.call or look_up_and_run


def call_vjp(
    op: Op,
    arguments: Sequence[Any],
    options: tuple[Any, ...] = (),
    extras: Sequence[Any] = (),
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
    grads = list(grad) if isinstance(grad, (list, tuple)) and len(op.graded) > 1 else [grad]
    grads += [None] * (len(op.graded) - len(grads))
    results = call(adjoint, [*op.flatten(inputs), *grads], options, extras, None, backend, num_threads)
    return tuple(g for g in op.split(results) if g is not None)


def _plan(op: Op, key: Any, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None) -> Plan:
    plan = _bind_call(op, arrays, options, backend)
    if key is not None:
        if len(op.plans) >= _MAX_PLANS:
            op.plans.clear()
        op.plans[key] = plan
    return plan


def _half_plan(op: Op, options: tuple[Any, ...], backend: str | None) -> Plan:
    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is not None and out is not _bind.IN_PLACE:
            raise TypeError(f"{op.label}: out= does not take half precision results; leave it out")
        wide = list(map(_arrays.widen, arrays))
        return _bind.narrowed(op, arrays, call(op, wide, options, extras, out, backend, num_threads or None))

    return run


def _bind_call(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None) -> Plan:
    if _bind.takes_half(op, arrays):
        _bind.check_arrays(op, arrays)
        return _half_plan(op, options, backend)
    kind, results = _bind.layout(op, arrays, options)
    for r in results:
        if r is not None and math.prod(r[0]) > _arguments.MOST_NUMBERS:
            raise ValueError(f"{op.label}: a result would have shape {r[0]}, more numbers than 64 bits can address; expected smaller sizes")
    return PLANNERS[kind].plan(op, arrays, options, backend, results)


# How the arrays of each kind get to their kernels


def numpy_plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[_bind.Layout]) -> Plan:
    name, kernel = _backends.kernel(op, backend)
    if name == "array":
        return _composed_plan(op, options, kernel, "numpy", results)
    return _host_plan(op, options, name, kernel, [None if r is None else (r[0], np.dtype(r[1])) for r in results], len(arrays))


def _host_plan(
    op: Op, options: tuple[Any, ...], backend: str, kernel: Callable[..., Any], layout: Sequence[tuple[Any, Any] | None], count: int
) -> Plan:
    """What remains to be done once everything is checked, for ``count`` NumPy arrays; ``layout`` is (shape, dtype) of every result."""
    shape, dtype = layout[0] or ((), None)  # no first result: an adjoint's, which takes no ``out``
    large = [r is not None and math.prod(r[0]) * r[1].itemsize >= _arrays.LARGE for r in layout]
    first_large = large[0]
    flat = op.many is None
    first, behind = op.span(count)
    absent = [None] * len(layout)

    def simple(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        """One result: what users time."""
        if out is None:
            out = _arrays.large(shape, dtype) if first_large else _arrays.empty(shape, dtype)
        else:
            _bind.check_out(op, out, shape, dtype, arrays)
        beside = extras and _bind.for_kernel(op, extras, backend, arrays)
        if flat:
            kernel(*arrays, out, *options, *beside, num_threads)
        else:  # op.split(arrays), without its cost
            kernel(*arrays[:first], list(arrays[first:behind]), *arrays[behind:], out, *options, *beside, num_threads)
        return out

    def general(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is None or out is _bind.IN_PLACE:
            given = _bind.in_place(op, arrays, _is_plain) if out is not None else absent
            results = [
                a if a is not None else None if r is None else _arrays.large(*r) if big else _arrays.empty(*r)
                for a, r, big in zip(given, layout, large)
            ]
        else:
            _bind.one_result(op, layout)
            _bind.check_out(op, out, shape, dtype, arrays)
            results = [out] + [None] * (len(layout) - 1)
        outputs = op.primal.split(results) if op.primal else results
        kernel(*op.split(arrays), *outputs, *options, *_bind.for_kernel(op, extras, backend, arrays), num_threads)
        return _bind.finish(op, arrays, results)

    return simple if op.single else general


def _is_plain(a: Any) -> bool:
    """Whether a kernel can write there: in one piece, aligned, not read-only."""
    return bool(a.flags.carray)


def _composed_plan(op: Op, options: tuple[Any, ...], kernel: Callable[..., Any], kind: str, layout: Sequence[_bind.Layout]) -> Plan:
    """A composition over NumPy or CuPy arrays, which makes its results itself."""
    compose = _backends.composed(op, kernel, kind, layout, options)
    library = _arrays.namespace_of(kind)
    shape, dtype = layout[0] or ((), "")

    def owned(result: Any, arrays: Sequence[Any]) -> Any:
        """In memory of its own, in one piece."""
        plain = library.asarray(result, order="C")
        shared = any(a is not None and library.may_share_memory(plain, a) for a in arrays)
        return plain.copy() if shared or not getattr(plain.flags, "writeable", True) else plain

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        out = None if out is _bind.IN_PLACE else out
        if out is not None:
            _bind.one_result(op, layout)
            _bind.check_out(op, out, shape, dtype, arrays, kind)
            _bind.check_device(op.label, "out", out, "the first array", next(a for a in arrays if a is not None))
        results = compose(arrays, _bind.for_kernel(op, extras, "array", arrays))
        if out is not None:
            out[...] = results[0]
            return out if op.single else (out, *[None] * (len(layout) - 1))
        made: list[Any] = []
        for r in results:
            made.append(None if r is None else owned(r, [*arrays, *made]))
        return made if op.primal else made[0] if op.single else tuple(made)

    return run


def _cupy_plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[_bind.Layout]) -> Plan:
    first = next(i for i, a in enumerate(arrays) if a is not None)
    name, kernel = _backends.kernel(op, backend, _arrays.device(arrays[first]), arrays)
    compute = (_composed_plan if name == "array" else _device_plan)(op, options, kernel, "cupy", results)

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        with arrays[first].device:  # CuPy computes and allocates on the current one, wherever the arrays are
            return compute(arrays, extras, out, num_threads)

    return run


def _device_plan(op: Op, options: tuple[Any, ...], kernel: Callable[..., Any], kind: str, layout: Sequence[_bind.Layout]) -> Plan:
    """A kernel for a GPU over arrays of a library whose memory it fills."""
    library = _arrays.namespace_of(kind)
    shape, dtype = layout[0] or ((), "")

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is None or out is _bind.IN_PLACE:
            results = [None if r is None else library.empty(r[0], r[1]) for r in layout]
        else:
            _bind.one_result(op, layout)
            _bind.check_out(op, out, shape, dtype, arrays, kind)
            _bind.check_device(op.label, "out", out, "the first array", next(a for a in arrays if a is not None))
            results = [out] + [None] * (len(layout) - 1)
        outputs = op.primal.split(results) if op.primal else results
        kernel(*op.split(arrays), *outputs, *options, *_bind.for_kernel(op, extras, "cuda", arrays), num_threads)
        return _bind.finish(op, arrays, results)

    return run


def _torch_plan(*request: Any) -> Plan:
    from .torch import _route

    PLANNERS["torch"] = _route.PLANNER
    plan: Plan = _route.plan(*request)
    return plan


def _torch_traced(*request: Any) -> Any:
    from .torch import _route  # which is not put in this place here: torch.compile may begin anew, and must find the same way

    return _route.traced(*request)


def _torch_is_tracing() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def _jax_plan(*request: Any) -> Plan:
    from .jax import _route

    plan: Plan = _route.plan(*request)
    return plan


def _never(*request: Any) -> Any:
    raise AssertionError("arrays of this kind are not traced")


class Planner(NamedTuple):
    """How arrays of one kind get in."""

    plan: Callable[..., Plan]  # (op, arrays, options, backend, layout of the results)
    traced: Callable[..., Any] = _never  # the call itself where a compiler traces: (op, arrays, options, extras, backend, num_threads)
    is_tracing: Callable[[], bool] = bool  # whether one does, here and now


# By the kind of array. Torch's entry finds quatrefoil.torch, which is imported at the first tensor; its own then stands in this place. So
# does JAX's.
PLANNERS: dict[str, Planner] = {
    "numpy": Planner(numpy_plan),
    "torch": Planner(_torch_plan, _torch_traced, _torch_is_tracing),
    "cupy": Planner(_cupy_plan),
    "jax": Planner(_jax_plan),
}


def is_compiling() -> bool:
    """Whether torch.compile is tracing."""
    return PLANNERS["torch"].is_tracing()


def may_look(x: Any) -> bool:
    """Whether one may look at the numbers of an array: not while tracing, nor where that would wait for a device."""
    return not (is_compiling() or _arrays.is_traced(x)) and _arrays.device(x) == "cpu"
