"""Checks of the arguments of ``KroneckerOperator``'s methods. ``factors`` are the operator's own, of one kind and on one device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import _arguments, _arrays, _bind

Array = Any


def require_square(method: str, factors: Sequence[Array]) -> None:
    for i, f in enumerate(factors):
        if f.shape[0] != f.shape[1]:
            raise ValueError(f"KroneckerOperator.{method}: factors[{i}] has shape {f.shape}, expected a square matrix")


def is_table(y: Any, factors: Sequence[Array]) -> bool:
    """Whether y has the shape of the grid; its first axis tells it from columns (N, c)."""
    sizes = tuple(f.shape[1] for f in factors)
    return _arrays.kind(y) is not None and tuple(y.shape) == sizes and sizes[0] != math.prod(sizes)


def check_columns(label: str, y: Any, factors: Sequence[Array]) -> None:
    """y must be (N,) or (N, c), of the kind of the factors, which must be square, and on their device."""
    kind = _arrays.kind(factors[0])
    _arguments.real_array(y, label, "y")
    if _arrays.kind(y) != kind:
        raise TypeError(f"{label}: y is a {_arrays.kind(y)} array but factors[0] is a {kind} array; they must be of one kind")
    _bind.check_device(label, "y", y, "factors[0]", factors[0])
    require_square(label.partition(".")[2], factors)
    sizes = tuple(f.shape[1] for f in factors)
    N = math.prod(sizes)
    if y.ndim not in (1, 2) or y.shape[0] != N:
        wanted = f"({N},) or ({N}, c)" + (f" or {sizes}" if len(sizes) > 1 else "")
        raise ValueError(f"{label}: y has shape {tuple(y.shape)}, expected {wanted}")


def check_function(label: str, h: Any, y: Any, factors: Sequence[Array]) -> None:
    if not callable(h):
        raise TypeError(f"{label}: h is {type(h).__name__}, expected a function of the eigenvalues")
    check_columns(label, y, factors)


def check_values(label: str, name: str, values: Any, factors: Sequence[Array]) -> None:
    """``values``, which the function ``name`` returned, must be N real numbers."""
    kind, N = _arrays.kind(factors[0]), math.prod(f.shape[0] for f in factors)
    _arguments.refuse_masked(values, label, f"{name}(lam)")
    if _arrays.kind(values) != kind:
        raise TypeError(f"{label}: {name} gave {_arrays.describe(values)}, expected a {kind} array of {N} real numbers")
    _bind.check_device(label, f"{name}(lam)", values, "factors[0]", factors[0])
    if tuple(values.shape) != (N,):
        raise ValueError(f"{label}: {name} gave an array of shape {tuple(values.shape)}, expected ({N},), a number an eigenvalue")
    if not _arrays.dtype_name(values).lstrip("u").startswith(("float", "int", "bool", "bfloat")):
        raise TypeError(f"{label}: {name} gave {_arrays.describe(values)}, expected real numbers")
