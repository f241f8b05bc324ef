"""Limits NumPy's and SciPy's OpenBLAS to one thread: its threads would spin while ours work, without gain for small matrices."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator

import numpy as np

_MANY = 2000  # matrices with more rows are factorised faster on several threads


@functools.cache
def _libraries() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    """For each OpenBLAS the functions that return and set its number of threads. Other libraries are not changed."""
    from scipy.linalg import cython_blas

    libraries = []
    for module in (np.linalg._umath_linalg, cython_blas):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(module.__file__)  # a lookup includes the library's dependencies
            names = [f"{prefix}openblas_%s_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]
            name = next((n for n in names if hasattr(library, n % "set")), None)
            if name is not None:
                libraries.append((getattr(library, name % "get"), getattr(library, name % "set")))
    return libraries


@contextlib.contextmanager
def one_thread(rows: int) -> Iterator[None]:
    """Limits BLAS to one thread within a block of code, unless its largest matrix has more than ``_MANY`` rows."""
    changed = []
    try:
        if rows <= _MANY:
            for get, change in _libraries():
                if (before := get()) > 1:  # 1 is the user's choice, or set by another thread
                    changed.append((change, before))
                    change(1)
        yield
    finally:
        for change, before in changed:
            change(before)
