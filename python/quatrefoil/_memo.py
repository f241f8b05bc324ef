"""What a caller keeps between calls so that kernels need not make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NoReturn

import numpy as np


class Memo:
    """``made``, which kernels of one backend make of some arrays of a call: packed factors, a grid.

    A kernel receives it only in a call with those very arrays on that backend; in any other it receives None and makes its own. So a memo
    saves time and never changes a bit. ``arrays`` are the flat arrays of the call from number ``at`` on; the owner of the memo guarantees
    that nobody writes to them.
    """

    __slots__ = ("_at", "_held", "backend", "made")

    def __init__(self, made: Any, backend: str, arrays: Sequence[Any], *, at: int = 0) -> None:
        self.made, self.backend = made, backend
        self._held, self._at = tuple(arrays), at

    def made_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        """``made`` for a call with these flat arrays, None if it must not be used."""
        at = self._at
        fits = backend == self.backend and all(map(is_, self._held, arrays[at:])) and len(arrays) >= at + len(self._held)
        return self.made if fits else None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a memo belongs to the process that made it: it is not pickled or copied, its owner makes another")


class LazyMemo(Memo):
    """A memo made by the first call that can use it, and again where its owner has taken other arrays.

    ``make`` gets ``count`` arrays of that call, from number ``at`` on: NumPy arrays or CPU tensors of plain memory. Arrays that are not
    ``private`` must be ``frozen``; a call with others gets None.
    """

    __slots__ = ("_count", "_make", "_now", "_private")

    def __init__(self, make: Callable[..., Any], backend: str, count: int, *, at: int = 0, private: bool = False) -> None:
        self._make, self.backend, self._count, self._at, self._private = make, backend, count, at, private
        self._now: tuple[Sequence[Any], Any] = (), None

    def made_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        if backend != self.backend:
            return None
        given = arrays[self._at : self._at + self._count]
        if not self._private:
            for a in given:
                if not _is_frozen(a):
                    return None
        held, made = self._now
        if not held or not all(map(is_, held, given)):
            made = self._make(*map(_plain, given))
            self._now = given, made
        return made


def frozen(array: Any) -> Any:
    """A copy of a NumPy array in the memory of a bytes object: nobody can write to it, and NumPy refuses to unlock it. Such a copy, and any
    other array, as it is."""
    if not isinstance(array, np.ndarray) or _is_frozen(array):
        return array
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def _is_frozen(a: Any) -> bool:
    return isinstance(a, np.ndarray) and isinstance(a.base, bytes)


def _plain(a: Any) -> Any:
    """An array whose memory holds what its numbers say."""
    return a if isinstance(a, np.ndarray) else a.detach().resolve_conj().resolve_neg()
