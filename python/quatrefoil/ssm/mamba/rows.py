"""Which rows of an array of states the items of a batch have: for the updates of the convolution and of the selective state."""

from __future__ import annotations

from typing import Any

from ..._dispatch import may_look


def check_rows(label: str, argument: str, rows: Any, states: str, shape: Any) -> None:
    """ValueError where a row does not exist or is named twice; below 0 is padding. Nothing is looked at where that would cost more."""
    if not may_look(rows):
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
