"""A call within a compiled program: written as a string, which travels in the program, and read when XLA first runs it.

The string says all that the call needs, so that a program that was compiled in another process, and kept, is run like one's own.
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

Layout = Sequence[tuple[tuple[int, ...], str] | None]  # shape and dtype of every array, None where there is none


# dtypes, as XLA numbers them
_NUMBERS = {"bool": 1, "int32": 4, "int64": 5, "float32": 11, "float64": 12, "complex64": 15, "complex128": 18}


class Buffer(NamedTuple):
    """An array of XLA's. ``memory`` is the ctypes array of its bytes, None where there are none."""

    shape: tuple[int, ...]
    dtype: np.dtype
    number: int
    dims: bytes  # the shape as it lies in memory
    dims_memory: Any
    memory: Any


class Site(NamedTuple):
    arguments: list[Buffer]
    results: list[Buffer]
    run: Callable[[list[np.ndarray], list[np.ndarray]], None]  # (arguments, results to be filled), those that are there


def text_of(op: Op, options: tuple[Any, ...], backend: str | None, num_threads: int, arguments: Layout, results: Layout) -> str:
    return json.dumps([op.key, options, backend, num_threads, arguments, results])


@lru_cache(1 << 14)
def site_of(text: bytes) -> Site:
    key, options, backend, num_threads, arguments, results = json.loads(text)
    family, _, name = key.partition(".")
    op = getattr(FAMILIES[family], name)
    given, wanted = [*map(_buffer, arguments)], [*map(_buffer, results)]
    options = tuple(tuple(o) if isinstance(o, list) else o for o in options)
    fill = _filler(op, options, backend, num_threads, given, wanted)
    narrow = [i for i, ((_, arg, _, _), a) in enumerate(zip(op.named(given), given)) if a and arg.dtype == "int" and a.dtype != np.int64]

    def run(arrays: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        flat = _placed(given, arrays)
        for i in narrow:  # int32 is what JAX has without jax_enable_x64
            flat[i] = flat[i].astype(np.int64)  # type: ignore[union-attr]
        fill(flat, _placed(wanted, outputs))

    return Site([a for a in given if a], [r for r in wanted if r], run)


def _buffer(entry: Any) -> Buffer | None:
    if entry is None:
        return None
    shape, dtype = tuple(entry[0]), np.dtype(entry[1])
    dims, size = np.asarray(shape, np.int64).tobytes(), math.prod(shape) * dtype.itemsize
    return Buffer(shape, dtype, _NUMBERS[dtype.name], dims, ctypes.c_char * len(dims), ctypes.c_char * size if size else None)


def _placed(layout: Sequence[Buffer | None], arrays: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The arrays that are there in their places, None in the others."""
    if len(arrays) == len(layout):
        return list(arrays)
    present = iter(arrays)
    return [None if entry is None else next(present) for entry in layout]


def _filler(op: Op, options: Any, backend: str | None, num_threads: int, given: Sequence[Any], wanted: Sequence[Any]) -> Any:
    """(flat arrays, flat outputs) -> None: the kernel of the backend, or its composition, which makes its results itself."""
    name, kernel = _backends.kernel(op, backend)
    extras = (None,) * len(op.extras)
    if name == "array":
        compose = _backends.composed(op, kernel, "numpy", [r and (r.shape, r.dtype.name) for r in wanted], options)

        def fill_composed(arrays: Any, outputs: Any) -> None:
            for output, result in zip(outputs, compose(arrays, extras)):
                if output is not None:
                    output[...] = result

        return fill_composed
    primal = op.primal
    whole = op.infer([a and a.shape for a in given], options) if primal else None
    stretched = [i for i, r in enumerate(wanted) if r and whole and r.shape != whole[i]]  # gradients of what was broadcast

    def fill(arrays: Any, outputs: Any) -> None:
        filled = outputs
        if stretched:
            filled = [np.empty(whole[i], r.dtype) if i in stretched else r for i, r in enumerate(outputs)]  # type: ignore[index]
        kernel(*op.split(arrays), *(primal.split(filled) if primal else filled), *options, *extras, num_threads)
        for i in stretched:
            outputs[i][...] = _arrays.sum_to_shape(filled[i], outputs[i].shape)

    return fill
