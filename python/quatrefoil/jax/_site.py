"""A call within a compiled program: a string in the program, which is parsed when XLA first runs the call.

The string describes the call completely, so a cached program from a different process also runs.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import _arrays, _backends
from .._spec import FAMILIES, Op

Layout = Sequence[tuple[tuple[int, ...], str] | None]  # shape and dtype of every array, None for absent ones


# XLA's dtype codes
_CODES = {"bool": 1, "int32": 4, "int64": 5, "float32": 11, "float64": 12, "complex64": 15, "complex128": 18}


class Buffer(NamedTuple):
    """An XLA array. ``memory`` is the type of a ctypes array of its bytes, None if it is empty."""

    shape: tuple[int, ...]
    dtype: np.dtype
    code: int
    dims: bytes  # the shape as bytes in memory
    dims_memory: Any
    memory: Any


class Site(NamedTuple):
    arguments: list[Buffer]
    results: list[Buffer]
    run: Callable[[list[np.ndarray], list[np.ndarray]], None]  # (present arguments, present results to fill)


def text_of(op: Op, options: tuple[Any, ...], backend: str | None, num_threads: int, arguments: Layout, results: Layout) -> str:
    return json.dumps([op.key, options, backend, num_threads, arguments, results])


@lru_cache(1 << 14)
def site_of(text: bytes) -> Site:
    key, options, backend, num_threads, arguments, results = json.loads(text)
    family, _, name = key.partition(".")
    op = getattr(FAMILIES[family], name)
    sources, targets = [*map(_buffer, arguments)], [*map(_buffer, results)]
    options = tuple(tuple(o) if isinstance(o, list) else o for o in options)
    fill = _filler(op, options, backend, num_threads, sources, targets)
    narrow = [
        i for i, ((_, arg, _, _), a) in enumerate(zip(op.named(sources), sources)) if a and arg.dtype == "int" and a.dtype != np.int64
    ]

    def run(arrays: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        flat = expand(sources, arrays)
        for i in narrow:  # JAX has only int32 without jax_enable_x64
            flat[i] = flat[i].astype(np.int64)
        fill(flat, expand(targets, outputs))

    return Site([a for a in sources if a], [r for r in targets if r], run)


def _buffer(entry: Any) -> Buffer | None:
    if entry is None:
        return None
    shape, dtype = tuple(entry[0]), np.dtype(entry[1])
    dims, size = np.asarray(shape, np.int64).tobytes(), math.prod(shape) * dtype.itemsize
    return Buffer(shape, dtype, _CODES[dtype.name], dims, ctypes.c_char * len(dims), ctypes.c_char * size if size else None)


def expand(layout: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    """The present arrays at their positions, None at the others."""
    if len(arrays) == len(layout):
        return list(arrays)
    present = iter(arrays)
    return [None if entry is None else next(present) for entry in layout]


def _filler(op: Op, options: Any, backend: str | None, num_threads: int, sources: Sequence[Any], targets: Sequence[Any]) -> Any:
    """(flat arrays, flat outputs) -> None: the kernel of the backend, or its composition, which allocates its results."""
    name, kernel = _backends.kernel(op, backend)
    extras = (None,) * len(op.extras)
    if name == "array":
        compose = _backends.array.bind(op, kernel, "numpy", [r and (r.shape, r.dtype.name) for r in targets], options)

        def fill_composed(arrays: Any, outputs: Any) -> None:
            for output, result in zip(outputs, compose(arrays, extras)):
                if output is not None:
                    output[...] = result

        return fill_composed
    primal = op.primal
    full = op.infer([a and a.shape for a in sources], options) if primal else None
    broadcast = [i for i, r in enumerate(targets) if r and full and r.shape != full[i]]  # gradients of broadcast arguments

    def fill(arrays: Any, outputs: Any) -> None:
        filled = outputs
        if broadcast:
            filled = [np.empty(full[i], r.dtype) if i in broadcast else r for i, r in enumerate(outputs)]  # type: ignore[index]
        kernel(*op.split(arrays), *(primal.split(filled) if primal else filled), *options, *extras, num_threads)
        for i in broadcast:
            outputs[i][...] = _arrays.sum_to_shape(filled[i], outputs[i].shape)

    return fill
