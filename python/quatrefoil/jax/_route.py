"""The plan of a call of one signature: a compiled function of JAX, which is as good under jit, grad and vmap as outside of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from .. import _arrays, _backends, _bind
from .._call import Planner
from .._spec import Op
from ._functions import function


def plan(op: Op, arrays: Sequence[Any], options: tuple[Any, ...], backend: str | None, results: Sequence[Any]) -> Any:
    for name, _, _, a in op.named(arrays):
        if a is not None and _arrays.device(a) != "cpu":
            raise TypeError(
                f"{op.label}: {name} is on {_arrays.device(a)}, expected JAX arrays on the CPU; "
                f"give jax.device_put({name}, jax.devices('cpu')[0])"
            )
    _backends.kernel(op, backend, "cpu", arrays)  # where there is none, now is the time to say so
    arguments = [None if a is None else (tuple(a.shape), _arrays.dtype_name(a)) for a in arrays]
    made = results
    if op.primal is not None:  # a gradient has the shape of what it is of, also of what was broadcast
        made = [None if r is None else a for r, a in zip(results, arguments)]

    @cache
    def compiled(num_threads: int) -> Any:
        return function(op, options, backend, num_threads, arguments, made)

    def run(arrays: Sequence[Any], extras: Sequence[Any], out: Any, num_threads: int) -> Any:
        if out is not None:
            _bind.refuse_jax(op, "jax")
        if extras:
            _bind.refuse_functions(op, extras, "a compiled program of JAX")
        present = iter(compiled(num_threads)(*[a for a in arrays if a is not None]))
        if op.single:
            return next(present)
        found = [None if r is None else next(present) for r in made]
        return found if op.primal else tuple(found)

    return run


PLANNER = Planner(plan)
