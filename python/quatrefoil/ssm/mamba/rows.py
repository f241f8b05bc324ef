"""Which rows of an array of states the items of a batch have: for the updates of the convolution and of the selective state."""

from __future__ import annotations

from typing import Any

from ... import _arrays
from ..._dispatch import is_compiling


def integers(label: str, argument: str, x: Any) -> Any:
    """int64 from int32 or int64."""
    if x is None:
        return None
    dtype = None if _arrays.kind(x) is None else _arrays.dtype_name(x)
    if dtype not in ("int32", "int64"):
        raise TypeError(f"{label}: {argument} is {_arrays.describe(x)}, expected an array of int32 or int64")
    if dtype == "int64":
        return x
    return x.long() if _arrays.kind(x) == "torch" else x.astype("int64")


def is_here(rows: Any) -> bool:
    """Whether one may look at the numbers: not while tracing, nor where that would wait for a device."""
    return not is_compiling() and _arrays.device(rows) == "cpu"


def check_rows(label: str, argument: str, rows: Any, states: str, shape: Any) -> None:
    """ValueError where a row does not exist or is named twice; below 0 is padding. Nothing is looked at where that would cost more."""
    if not is_here(rows):
        return
    numbers = rows.tolist()
    if numbers and shape[0] == 0:
        raise ValueError(f"{label}: {states} has shape {tuple(shape)}, expected at least one row for {argument} to choose")
    if max(numbers, default=-1) >= shape[0]:
        what = f"must lie in [0, {shape[0]}), the rows of {states}, or below 0 for padding"
        raise ValueError(f"{label}: {argument} {what}, got {numbers}")
    if len(set(numbers)) < len(numbers):
        chosen = [n for n in numbers if n >= 0]
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"{label}: {argument} names a row twice, got {chosen}; give every item a row of its own")
