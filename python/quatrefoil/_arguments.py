"""Checks of what is no array: each once, with the error that says function, argument, expected and got."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

LARGEST = 2**63 - 1  # of an int64, which is what kernels count in


def integer(value: Any, label: str, name: str, least: int | None = None, most: int = LARGEST) -> int:
    """An integer from ``least`` to ``most``; a bool is none."""
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{label}: {name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{label}: {name} must be an integer, got {value!r}")
    if least is not None and n < least:
        raise ValueError(f"{label}: {name} must be at least {least}, got {n}")
    if n > most:
        raise ValueError(f"{label}: {name} must be at most {most}, got {n}")
    return n


def threads(n: Any, label: str) -> int:
    """A number of threads."""
    return integer(n, label, "num_threads", 1)


def sequence(value: Any, label: str) -> Sequence[Any]:
    """A list or tuple of arrays, at least one."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{label}: expected a list or tuple of arrays, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{label}: expected at least one array, got none")
    return value
