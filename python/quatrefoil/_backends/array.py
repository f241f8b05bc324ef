"""Implements every op with array API functions (``<method>/composition.py``).

Used on devices without our kernels, and on the host if requested or if a method has no Numba loops.

A composition ``<op>(xp, *inputs, *options)`` returns its results, whereas a kernel fills arrays. ``xp`` is a namespace of the array API:
NumPy itself, or that of array-api-compat for torch and CuPy. An adjoint returns one gradient per input: a list for a sequence, None if
there is no gradient, and an array of the full shape for a broadcast input.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._spec import Op


def reason() -> str | None:
    return None  # NumPy is always available; for other libraries see namespace()


@functools.cache
def kernel(op: Op) -> Callable[..., Any] | None:
    """The composition of an op."""
    return op.implementation("composition")


def _composed(op: Op, compute: Callable[..., Any], xp: Any, inputs: Sequence[Any], options: Sequence[Any], extras: Sequence[Any]) -> Any:
    functions = {e.name: f for e, f in zip(op.extras, extras) if e.function and f is not None}
    with np.errstate(all="ignore"):  # overflow gives infinity or NaN, as in all backends
        return compute(xp, *inputs, *options, **functions)


def as_kernel(op: Op) -> Callable[..., Any] | None:
    """A host kernel that runs the composition with NumPy and fills its outputs: the fallback of a method without Numba loops."""
    compute = kernel(op)
    if compute is None:
        return None
    count = len(op.primal.inputs if op.primal else op.outputs)

    def run(*arguments: Any) -> None:
        inputs, rest = arguments[: len(op.inputs)], arguments[len(op.inputs) :]
        outputs, options, extras = rest[:count], rest[count : count + len(op.options)], rest[count + len(op.options) : -1]
        inputs = tuple(list(map(_arrays.dense, x)) if isinstance(x, list) else _arrays.dense(x) for x in inputs)
        results = _composed(op, compute, np, inputs, options, extras)
        for output, result in zip(outputs, [results] if op.single else results, strict=True):
            for o, r in zip(output, result, strict=True) if isinstance(output, list) else [(output, result)]:
                if o is not None:
                    np.copyto(o, r, casting="same_kind")

    return run


def namespace(kind: str) -> Any:
    if kind == "numpy":
        return np
    if not importlib.util.find_spec("array_api_compat"):
        what = f"backend 'array' needs array-api-compat for {kind} arrays: pip install 'quatrefoil[{kind}]'"
        raise ModuleNotFoundError(what, name="array_api_compat")
    return importlib.import_module(f"array_api_compat.{kind}")


def bind(
    op: Op, compute: Callable[..., Any], kind: str, layout: Sequence[tuple[Any, str] | None], options: tuple[Any, ...]
) -> Callable[[Sequence[Any], Sequence[Any]], list[Any]]:
    """A composition as a function (flat arrays, extras) -> flat results of that layout, summed over broadcast axes. They may be views."""
    xp = namespace(kind)
    expected = [None if r is None else (tuple(r[0]), getattr(xp, r[1])) for r in layout]

    def run(arrays: Sequence[Any], extras: Sequence[Any]) -> list[Any]:
        computed = _composed(op, compute, xp, op.split(arrays), options, extras)
        flat = [computed] if op.single else op.primal.flatten(computed) if op.primal else list(computed)
        results = [_as_expected(xp, op, r, e) for r, e in zip(flat, expected, strict=True)]
        if op.primal is None:
            return results
        inputs = op.primal.named(arrays[: len(results)])
        return [_arrays.sum_to_shape(r, a.shape) if arg.broadcast and r is not None else r for r, (_, arg, _, a) in zip(results, inputs)]

    return run


def _as_expected(xp: Any, op: Op, result: Any, expected: tuple[Any, Any] | None) -> Any:
    """A result in the expected dtype: many compositions compute in double precision."""
    if expected is None:
        return None
    result = xp.asarray(result, dtype=expected[1])
    if tuple(result.shape) != expected[0]:
        raise AssertionError(f"{op.label}: the array composition returned shape {tuple(result.shape)}, expected {expected[0]}")
    return result
