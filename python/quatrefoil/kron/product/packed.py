"""Factors of a Kronecker product, packed once per direction at first use; they must not change afterwards."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ... import _backends
from ..._call import call
from ..._memo import LazyMemo
from ..._typing import Backend
from . import MATVEC, RMATVEC


def memos(count: int) -> tuple[tuple[LazyMemo], tuple[LazyMemo]]:
    """Extras for calls with ``count`` factors, and for calls with their transposes."""
    forward, backward = ((LazyMemo(functools.partial(_pack, transpose), "native", count, private=True),) for transpose in (False, True))
    return forward, backward


class PackedFactors:
    """x (..., N) -> (K_1 ⊗ ... ⊗ K_d) x, or its transpose."""

    def __init__(self, factors: Sequence[Any], backend: Backend | None = None, num_threads: int | None = None) -> None:
        self.factors, self._backend, self._num_threads = tuple(factors), backend, num_threads
        self._memos = memos(len(self.factors))

    def __call__(self, x: Any, transpose: bool = False, out: Any = None) -> Any:
        op = RMATVEC if transpose else MATVEC
        return call(op, (*self.factors, x), (), self._memos[transpose], out, self._backend, self._num_threads)


def _pack(transpose: bool, *factors: Any) -> Any:
    return _backends.native.core().kron.Plan(list(factors), transpose)
