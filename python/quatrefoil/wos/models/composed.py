"""Ops without compiled kernels for more than three dimensions. NumPy runs their compositions on every host backend."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from ..._backends import array
from ..._spec import Op

_UP_TO_3 = ("media", "media_trace", "balls", "expand", "gather")  # other ops lack only kernels for walks outside


def is_composed(op: Op, d: int, outside: bool = False) -> bool:
    """Whether NumPy, or the library of the points' device, runs an op in d dimensions."""
    return d > 3 and (outside or op.name in _UP_TO_3)


def for_dimension(op: Op, d: int, outside: bool = False) -> Op:
    """The form of an op that every host backend can run in d dimensions."""
    return _composed(op) if is_composed(op, d, outside) else op


@cache
def _composed(op: Op) -> Op:
    adjoint = partial(_run, op.adjoint) if op.adjoint else None
    return replace(op, policy=replace(op.policy, python_kernel=partial(_run, op), python_adjoint=adjoint), plans={})


def _run(op: Op, *arguments: Any, backend: str) -> None:
    at = -1 - len(op.extras)
    extras = [_plain(x) if extra.function and x is not None else x for extra, x in zip(op.extras, arguments[at:-1])]
    kernel = array.as_kernel(op)
    assert kernel is not None
    kernel(*arguments[:at], *extras, arguments[-1])


def _plain(function: Any) -> Any:
    """A function as Python calls it: compositions reject compiled code, which other libraries cannot call."""
    return lambda instance, X: np.asarray(function(instance, X))
