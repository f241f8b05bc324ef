"""The fallback: every op in plain loops, compiled by Numba at its first use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from .._spec import Op


def reason() -> str | None:
    return None if importlib.util.find_spec("numba") else "numba is not installed"


def kernel(op: Op) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = getattr(importlib.import_module(op.twin), op.name, None)
    return found


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` with its cache where one can be written: with no writable directory, ``cache=True`` raises.

    No licence to contract or reassociate: a loop that LLVM runs in one of two versions, by where its arrays lie, keeps its bits.
    """
    import numba

    try:
        return numba.njit(cache=True, error_model="numpy")(function)  # type: ignore[no-any-return]
    except RuntimeError:
        return numba.njit(error_model="numpy")(function)  # type: ignore[no-any-return]
