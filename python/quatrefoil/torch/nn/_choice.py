"""Options of layers that must be one of a few, or counts."""

from __future__ import annotations

import operator
from collections.abc import Sequence


def one_of(label: str, value: object, choices: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{label} is {value!r}, expected one of {', '.join(choices)}")
    return value


def count(label: str, value: object) -> int:
    """A size of at least 1."""
    try:
        size = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{label} is {value!r}, expected an integer") from None
    if size < 1:
        raise ValueError(f"{label} is {size}, expected at least 1")
    return size
