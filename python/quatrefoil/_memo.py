"""Values that a caller caches between calls so that kernels need not recompute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NoReturn

import numpy as np


class Memo:
    """A value that kernels of one backend derive from some arrays of a call: packed factors, a grid.

    A kernel receives it only in a call with exactly those arrays on that backend; in any other call it receives None and computes its own.
    A memo therefore saves time and never changes a result. ``arrays`` are the flat arrays of the call from index ``at`` on; the owner of
    the memo guarantees that nobody writes to them.
    """

    __slots__ = ("_arrays", "_at", "backend", "value")

    def __init__(self, value: Any, backend: str, arrays: Sequence[Any], *, at: int = 0) -> None:
        self.value, self.backend = value, backend
        self._arrays, self._at = tuple(arrays), at

    def value_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        """The value for a call with these flat arrays; None if the memo does not match the call."""
        at = self._at
        fits = backend == self.backend and all(map(is_, self._arrays, arrays[at:])) and len(arrays) >= at + len(self._arrays)
        return self.value if fits else None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a memo belongs to the process that created it and cannot be pickled or copied; create a new one in each process")


class LazyMemo(Memo):
    """A memo computed by the first call that can use it, and recomputed when its owner passes other arrays.

    ``make`` receives ``count`` arrays of that call, from index ``at`` on: NumPy arrays, or CPU tensors without pending operations. Unless
    ``private``, the arrays must be ``frozen``; a call with other arrays receives None.
    """

    __slots__ = ("_count", "_make", "_now", "_private")

    def __init__(self, make: Callable[..., Any], backend: str, count: int, *, at: int = 0, private: bool = False) -> None:
        self._make, self.backend, self._count, self._at, self._private = make, backend, count, at, private
        self._now: tuple[Sequence[Any], Any] = (), None

    def value_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        if backend != self.backend:
            return None
        own = arrays[self._at : self._at + self._count]
        if not (self._private or all(map(_is_frozen, own))):
            return None
        previous, value = self._now
        if not previous or not all(map(is_, previous, own)):
            value = self._make(*map(_plain, own))
            self._now = own, value
        return value


def frozen(array: Any) -> Any:
    """Copy a NumPy array into the memory of a bytes object, so that nobody can write to it or make it writeable. Frozen arrays and arrays
    of other kinds are returned unchanged."""
    if not isinstance(array, np.ndarray) or _is_frozen(array):
        return array
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def _is_frozen(a: Any) -> bool:
    return isinstance(a, np.ndarray) and isinstance(a.base, bytes)


def _plain(a: Any) -> Any:
    """An array without pending conjugation or negation."""
    return a if isinstance(a, np.ndarray) else a.detach().resolve_conj().resolve_neg()
