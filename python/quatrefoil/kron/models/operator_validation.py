"""Argument checks of ``KroneckerOperator``. ``factors`` are the operator's factors, of one kind and on one device."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays, _bind

Array = Any


def require_square(method: str, factors: Sequence[Array]) -> None:
    for i, f in enumerate(factors):
        if f.shape[0] != f.shape[1]:
            raise ValueError(f"KroneckerOperator.{method}: factors[{i}] has shape {f.shape}, expected a square matrix")


def is_table(y: Any, factors: Sequence[Array]) -> bool:
    """Whether y has the shape of the grid; the first axis distinguishes it from columns (N, c)."""
    sizes = tuple(f.shape[1] for f in factors)
    return _arrays.kind(y) is not None and tuple(y.shape) == sizes and sizes[0] != math.prod(sizes)


def check_columns(label: str, y: Any, factors: Sequence[Array]) -> None:
    """Checks that y is (N,) or (N, c), of the kind and on the device of the factors, and that these are square."""
    kind = _arrays.kind(factors[0])
    _arguments.real_array(y, label, "y")
    if _arrays.kind(y) != kind:
        raise TypeError(f"{label}: y is a {_arrays.kind(y)} array but factors[0] is a {kind} array; they must be from one library")
    _bind.check_device(label, "y", y, "factors[0]", factors[0])
    require_square(label.partition(".")[2], factors)
    sizes = tuple(f.shape[1] for f in factors)
    N = math.prod(sizes)
    if y.ndim not in (1, 2) or y.shape[0] != N:
        expected = f"({N},) or ({N}, c)" + (f" or {sizes}" if len(sizes) > 1 else "")
        raise ValueError(f"{label}: y has shape {tuple(y.shape)}, expected {expected}")


def check_function(label: str, h: Any, y: Any, factors: Sequence[Array]) -> None:
    if not callable(h):
        raise TypeError(f"{label}: h is {type(h).__name__}, expected a function of the eigenvalues")
    check_columns(label, y, factors)


def check_values(label: str, name: str, values: Any, factors: Sequence[Array]) -> None:
    """Checks that ``values``, which the function ``name`` returned, are N real numbers."""
    kind, N = _arrays.kind(factors[0]), math.prod(f.shape[0] for f in factors)
    _arguments.reject_masked(values, label, f"{name}(lam)")
    if _arrays.kind(values) != kind:
        raise TypeError(f"{label}: {name} returned {_arrays.describe(values)}, expected a {kind} array of {N} real numbers")
    _bind.check_device(label, f"{name}(lam)", values, "factors[0]", factors[0])
    if tuple(values.shape) != (N,):
        raise ValueError(f"{label}: {name} returned an array of shape {tuple(values.shape)}, expected ({N},), one number per eigenvalue")
    if not _arrays.dtype_name(values).lstrip("u").startswith(("float", "int", "bool", "bfloat")):
        raise TypeError(f"{label}: {name} returned {_arrays.describe(values)}, expected real numbers")


def indices(index: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns that ``index`` selects by NumPy's rules: integer arrays that broadcast to the shape of the selection."""
    parts = index if isinstance(index, tuple) else (index,)
    if sum(part is Ellipsis for part in parts) == 1 and len(parts) <= 3:
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts = (*parts[:at], *[slice(None)] * (3 - len(parts)), *parts[at + 1 :])
    if len(parts) > 2:
        raise IndexError(f"KroneckerOperator: got {len(parts)} indices, expected one or two")
    parts = (*parts, slice(None), slice(None))[:2]
    i, j = (_positions(part, axis, shape[axis]) for axis, part in enumerate(parts))
    if any(isinstance(part, slice) for part in parts):
        i = i.reshape(i.shape + (1,) * j.ndim)
    return i, j


def _positions(part: Any, axis: int, size: int) -> np.ndarray:
    """The positions on an axis that a slice, an integer, or an array of integers or bools selects."""
    if isinstance(part, slice):
        return np.arange(*part.indices(size))
    if _arrays.kind(part) is None and not isinstance(part, (list, bool)) and hasattr(part, "__index__"):
        part = operator.index(part)
    at = _arrays.to_host(part) if _arrays.kind(part) is not None else np.asarray(part)
    at = at.astype(np.int64) if at.size == 0 and isinstance(part, (list, tuple)) else at
    if at.dtype == bool and at.shape == (size,):
        return np.flatnonzero(at)
    if at.dtype.kind not in "iu":
        raise IndexError(f"KroneckerOperator: index {axis} is {part!r}, expected integers, a slice, or an array of {size} bools")
    outside = (at < -size) | (at >= size)
    if outside.any():
        raise IndexError(f"KroneckerOperator: index {at[outside][0]} is out of bounds for axis {axis} with size {size}")
    at = at.astype(np.int64)
    return np.where(at < 0, at + size, at)
