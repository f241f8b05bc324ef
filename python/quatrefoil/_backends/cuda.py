"""The place of the CUDA kernels (``quatrefoil._cuda``). This version has none, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._spec import Op


def reason() -> str | None:
    return "this version has no CUDA kernels; move the arrays to the host"


def kernel(op: Op) -> Callable[..., Any] | None:
    return None
