"""The plan for calls with one signature: a compiled JAX function, with or without jit, grad and vmap around it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from .. import _arrays, _backends, _bind
from .._call import Planner
from .._spec import Op
from ._functions import function
from ._site import expand


def plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[Any]) -> Any:
    for name, _, _, a in op.named(arrays):
        if a is not None and _arrays.device(a) != "cpu":
            fix = f"pass jax.device_put({name}, jax.devices('cpu')[0])"
            raise TypeError(f"{op.label}: {name} is on {_arrays.device(a)}, expected JAX arrays on the CPU; {fix}")
    _backends.kernel(op, backend, "cpu", arrays)  # raises an error during tracing if there is no kernel
    arguments = [None if a is None else (tuple(a.shape), _arrays.dtype_name(a)) for a in arrays]
    if op.primal is not None:  # a gradient has the shape of its input, even a broadcast one
        results = [None if r is None else a for r, a in zip(results, arguments)]

    @cache
    def compiled(num_threads: int) -> Any:
        return function(op, options, backend, num_threads, arguments, results)

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is not None:
            _bind.reject_jax(op, "jax")
        if extras:
            _bind.reject_functions(op, extras, "a compiled JAX program")
        present = compiled(num_threads)(*[a for a in arrays if a is not None])
        if op.single:
            return present[0]
        flat = expand(results, present)
        return flat if op.primal else tuple(flat)

    return run


PLANNER = Planner(plan)
