"""Checks of index arrays: rows of an array of states, ends of packed sequences.

Values are checked here if they can be read without waiting. On a device, and in code that a compiler traces, the kernels check them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import _arrays
from ..._arguments import integer_array
from ..._call import may_read_values


def index_list(x: Any) -> list[int] | None:
    """The values, or None if they cannot be read: on a device, while tracing, or in a fake tensor."""
    try:
        values: list[int] | None = x.tolist() if may_read_values(x) else None
    except RuntimeError:
        return None
    return values


def check_rows(label: str, argument: str, rows: Any, states: str, shape: Any) -> None:
    """Raise ValueError if a row does not exist or is used twice; negative values are padding."""
    numbers = index_list(rows)
    if not numbers:
        return
    if shape[0] == 0:
        raise ValueError(f"{label}: {states} has shape {tuple(shape)}, expected at least one row, because {argument} selects rows")
    if max(numbers) >= shape[0]:
        what = f"must be row numbers of {states}, in [0, {shape[0]}), or negative for padding"
        raise ValueError(f"{label}: {argument} {what}, got {numbers}")
    if len(set(numbers)) < len(numbers):
        chosen = [n for n in numbers if n >= 0]
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"{label}: {argument} is {numbers}, which contains a row twice; use a different row for every item")


def ends_of(cu_seqlens: Any, label: str, x: Any, axis: int, *, whole: bool = True) -> Any:
    """Check cu_seqlens and return it as int64. The sequences must cover the axis of x if ``whole``, and otherwise lie within it."""
    ends = integer_array(cu_seqlens, label, "cu_seqlens")
    if ends is None or len(ends.shape) != 1 or _arrays.kind(x) is None or len(x.shape) <= axis:
        return ends  # the call reports wrong shapes
    at, length = index_list(ends), x.shape[axis]
    if not at:
        return ends
    if sorted(at) != at or at[0] < 0 or at[-1] > length or (whole and (at[0] != 0 or at[-1] != length)):
        expected = (
            f"start with 0, never decrease, and end with the length, {length}" if whole else f"stay in [0, {length}] and never decrease"
        )
        got = str(at) if len(at) < 20 else f"[{at[0]}, {at[1]}, ..., {at[-1]}]"
        raise ValueError(f"{label}: cu_seqlens is {got}, expected numbers that {expected}")
    return ends


def ends_check(at: int, axis: int, expected: str, *, whole: bool = True) -> Callable[[str, Sequence[Any], tuple[Any, ...]], None]:
    """``Policy.check_values`` of an op whose input ``at`` contains the ends of sequences along an axis of its first input."""

    def check(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
        ends, length = inputs[at], inputs[0].shape[axis]
        if ends is None:
            return
        inside = ends[0] == 0 and ends[-1] == length if whole else ends[0] >= 0 and ends[-1] <= length
        if not inside or (ends[1:] < ends[:-1]).any():
            raise ValueError(f"{label}: cu_seqlens {expected}")

    return check
