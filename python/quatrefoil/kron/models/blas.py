"""One thread for NumPy's and SciPy's OpenBLAS: its threads spin while ours work, and small matrices gain nothing from them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator

import numpy as np

_MANY = 2000  # rows of a matrix whose factorisation is faster on several threads


@functools.cache
def _libraries() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    """How many threads each OpenBLAS uses, and the function that changes it. Other libraries keep their setting."""
    from scipy.linalg import cython_blas

    found = []
    for module in (np.linalg._umath_linalg, cython_blas):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(module.__file__)  # a symbol is looked up in what a library depends on, too
            names = [f"{prefix}openblas_%s_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]
            name = next((n for n in names if hasattr(library, n % "set")), None)
            if name is not None:
                found.append((getattr(library, name % "get"), getattr(library, name % "set")))
    return found


@contextlib.contextmanager
def one_thread(rows: int) -> Iterator[None]:
    """Limits BLAS to one thread in a block of code whose largest matrix has that many rows."""
    changed = []
    try:
        if rows <= _MANY:
            for get, change in _libraries():
                if (before := get()) > 1:  # else it is the user's choice, or that of another thread in this block
                    changed.append((change, before))
                    change(1)
        yield
    finally:
        for change, before in changed:
            change(before)
