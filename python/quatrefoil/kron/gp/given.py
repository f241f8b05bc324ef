"""What callers give to functions that are no op: checked like the arrays of any call, then plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._arguments import numbers_here
from ..._bind import check_device


def same_kind(label: str, name: str, given: Sequence[Any]) -> list[np.ndarray]:
    """The numbers of arrays that must be of one kind and dtype, and want no gradient."""
    plain = [_arguments.numbers_of(a, label, f"{name}[{k}]") for k, a in enumerate(given)]
    for k, a in enumerate(given):
        if a.dtype != given[0].dtype or _arrays.kind(a) != _arrays.kind(given[0]):
            raise TypeError(f"{label}: {name}[{k}] is {_arrays.describe(a)} but {name}[0] is {_arrays.describe(given[0])}")
    return plain


def fitting(label: str, factors: Any, cross: Sequence[Any], y: Any) -> list[int]:
    """The sizes m_k of cross_factors that fit factors; what else is wrong ``gp_solve`` says."""
    given = _arguments.sequence(factors, label)
    if len(cross) != len(given):
        raise ValueError(f"{label}: {len(cross)} cross_factors for {len(given)} factors, expected one each")
    for k, (c, f) in enumerate(zip(cross, given)):
        _arguments.real_array(c, label, f"cross_factors[{k}]")
        _arguments.real_array(f, label, f"factors[{k}]")
        if c.dtype != f.dtype or _arrays.kind(c) != _arrays.kind(f):
            raise TypeError(f"{label}: cross_factors[{k}] is {_arrays.describe(c)} but factors[{k}] is {_arrays.describe(f)}")
        check_device(label, f"cross_factors[{k}]", c, f"factors[{k}]", f)
        if f.ndim != 2 or f.shape[0] != f.shape[1]:
            raise ValueError(f"{label}: factors[{k}] has shape {tuple(f.shape)}, expected a square matrix")
        if c.ndim != 2 or c.shape[1] != f.shape[0]:
            raise ValueError(f"{label}: cross_factors[{k}] has shape {tuple(c.shape)}, expected (m, {f.shape[0]})")
    N = math.prod(len(f) for f in given)
    _arguments.real_array(y, label, "y")
    if y.ndim == 0 or y.shape[-1] != N:
        raise ValueError(f"{label}: y has shape {tuple(y.shape)}, expected (..., {N}), the cells of the grid in one axis")
    return [c.shape[0] for c in cross]


def there(label: str, name: str, given: Sequence[Any], like: Any, other: str = "y") -> list[Any]:
    """Arrays of a device in double precision: of the kind, the dtype and the place of ``like``, which is the ``other``, and in which nobody
    wants a gradient."""
    found = []
    for k, a in enumerate(given):
        numbers_here(a, label, f"{name}[{k}]")
        if a.dtype != like.dtype or _arrays.kind(a) != _arrays.kind(like):
            raise TypeError(f"{label}: {name}[{k}] is {_arrays.describe(a)}, expected {_arrays.describe(like)}")
        check_device(label, f"{name}[{k}]", a, other, like)
        found.append(_arrays.double(a))
    return found


def plain_numbers(label: str, factors: Any, noise: Any, mask: Any) -> tuple[list[np.ndarray], np.ndarray, np.ndarray | None]:
    """Factors, noise (1,) or (N,) and mask as NumPy arrays."""
    plain = same_kind(label, "factors", factors)
    s = (
        np.full(1, _arguments.number(noise, label, "noise"))
        if _arrays.kind(noise) is None
        else _arguments.numbers_of(noise, label, "noise")
    )
    if mask is None:
        return plain, s.reshape(-1), None
    _arguments.array(mask, label, "mask", dtypes=("bool",))
    return plain, s.reshape(-1), mask if isinstance(mask, np.ndarray) else mask.numpy()
