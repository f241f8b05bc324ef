"""Calls: the arrays are checked and planned once per signature; later calls look up the plan and run it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import _arguments, _arrays, _backends, _bind, _plans
from ._backends import native as _native
from ._plans import Plan
from ._spec import Op

Array = Any

_ndarray = np.ndarray
_chosen = _backends.CHOSEN
MAX_PLANS = 4096  # cached signatures per op


def call(
    op: Op,
    arrays: Sequence[Array | None],
    options: tuple[Any, ...] = (),
    extras: Sequence[Any] = (),
    out: Array | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> Any:
    """Run ``op`` on flat arrays, and check them on the first call with their signature. ``extras``: all that the op declares, or none."""
    if extras.__class__ is not tuple or len(extras) != len(op.extras):
        extras = _bind.all_extras(op, extras)
    if arrays[0].__class__ is not _ndarray and PLANNERS["torch"].is_tracing():
        wide = list(map(_arrays.widen, arrays)) if _bind.takes_half(op, arrays) else arrays
        result = PLANNERS["torch"].traced(op, wide, options, extras, backend, num_threads, out)
        return result if wide is arrays else _bind.narrowed(op, arrays, result)
    threads = 0 if num_threads is None else _arguments.threads(num_threads, op.label)
    return run_planned(op.plans, _plan, op, options, backend or _chosen.get(), arrays, extras, out, threads)


def look_up_and_run(
    plans: dict[Any, Plan], planner: Any, op: Op, options: Any, backend: Any, arrays: Sequence[Any], extras: Any, out: Any, threads: int
) -> Any:
    """The Python version of the entry point, for installations without the compiled kernels."""
    key = plan = None
    with contextlib.suppress(AttributeError, TypeError, RuntimeError):
        key = (options, backend, _arrays.signature(arrays))
        plan = plans.get(key)
    return (plan or planner(op, key, arrays, options, backend))(arrays, extras, out, threads)


run_planned = _native.call or look_up_and_run


def call_vjp(
    op: Op,
    arguments: Sequence[Any],
    options: tuple[Any, ...] = (),
    extras: Sequence[Any] = (),
    backend: str | None = None,
    num_threads: int | None = None,
) -> tuple[Any, ...]:
    """The adjoint of ``op``: its inputs and the gradient of the result -> the gradients of the present inputs.

    The last of ``arguments`` is the gradient, or a tuple if the call returned several arrays. The inputs come before it in their order;
    trailing optional ones may be omitted.
    """
    adjoint = op.adjoint
    assert adjoint is not None
    *inputs, grad = arguments
    required = sum(not a.optional for a in op.inputs)
    if not required <= len(inputs) <= len(op.inputs):
        names = ", ".join(a.name + ("=None" if a.optional else "") for a in op.inputs)
        raise TypeError(f"{adjoint.label}: expected the inputs ({names}), then grad, got {len(arguments)} arguments")
    inputs += [None] * (len(op.inputs) - len(inputs))
    grads = list(grad) if isinstance(grad, (list, tuple)) and len(op.differentiable_outputs) > 1 else [grad]
    grads += [None] * (len(op.differentiable_outputs) - len(grads))
    results = call(adjoint, [*op.flatten(inputs), *grads], options, extras, None, backend, num_threads)
    return tuple(g for g in op.split(results) if g is not None)


def _plan(op: Op, key: Any, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None) -> Plan:
    return remember(op.plans, key, _bind_call(op, arrays, options, backend))


def remember(plans: dict[Any, Plan], key: Any, plan: Plan) -> Plan:
    """Cache a plan under the key of its signature, if it has one."""
    if key is not None:
        if len(plans) >= MAX_PLANS:
            plans.clear()
        plans[key] = plan
    return plan


def _bind_call(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None) -> Plan:
    if _bind.takes_half(op, arrays):
        _bind.check_arrays(op, arrays)
        return partial(_run_half, op, options, backend)
    kind, results = _bind.layout(op, arrays, options)
    for r in results:
        if r is not None and math.prod(r[0]) > _arguments.MAX_NUMBERS:
            raise ValueError(f"{op.label}: a result would have shape {r[0]}, too large to address with 64 bits; use smaller sizes")
    return PLANNERS[kind].plan(op, arrays, options, backend, results)


def _run_half(
    op: Op, options: tuple[Any, ...], backend: str | None, arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int
) -> Any:
    """The plan for half-precision arrays: compute in float32."""
    if out is not None and out is not _bind.IN_PLACE:
        raise TypeError(f"{op.label}: out= does not support half-precision results; omit it")
    wide = list(map(_arrays.widen, arrays))
    return _bind.narrowed(op, arrays, call(op, wide, options, extras, out, backend, num_threads or None))


class Planner(NamedTuple):
    """How arrays of one kind reach a kernel."""

    plan: Callable[..., Plan]  # (op, arrays, options, backend, layout of the results)
    traced: Any = None  # torch's call while a compiler traces: (op, arrays, options, extras, backend, num_threads, out)
    is_tracing: Callable[[], bool] = bool  # whether a compiler is tracing now


# By the kind of array; _libraries.py adds torch and jax.
PLANNERS: dict[str, Planner] = {"numpy": Planner(_plans.numpy_plan), "cupy": Planner(_plans.cupy_plan)}


def is_compiling() -> bool:
    """Whether torch.compile is tracing."""
    return PLANNERS["torch"].is_tracing()


def may_read_values(x: Any) -> bool:
    """Whether the values of an array may be read: not while tracing, nor if that would wait for a device."""
    return not (is_compiling() or _arrays.is_traced(x)) and _arrays.device(x) == "cpu"
