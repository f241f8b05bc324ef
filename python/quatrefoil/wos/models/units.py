"""The unit of u, a power of two per instance. Data are divided by it before they are rounded to float32 and squared.

u is linear in g, f and h together, and scaling by a power of two is exact. See csrc/wos/walk/README.md, The unit of u.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _arrays
from ..data.functions import Scaled
from ..data.packed import PackedData
from ..region import Region

Array = Any
_POWERS = (0, 2, 1, 1)  # u grows with g, f and the two h times these powers of the domain's length
_FEW = 64  # the longest row that Python inspects element by element
_ORDINARY = 20  # exponents of at most this absolute value have the unit 1
_WITH_FUNCTIONS = 400  # with functions, no unit is smaller than 2^-400
_NOTHING = -(2**20)  # exponent of 0


def in_units(
    data: Sequence[PackedData], boundary: Region, B: int, largest: np.ndarray | None
) -> tuple[tuple[PackedData, ...], np.ndarray | None]:
    """Divide data by units that depend on the problem alone.

    Returns the divided data, and the exponents (B,) of the units of u, or None if all exponents are 0. ``largest`` (B,) is the largest
    diffusion α, if there is one. α, σ and f then have a second unit, because the equation may be multiplied by a number.
    """
    if largest is None and _is_ordinary(data, boundary):
        return tuple(data), None
    of_alpha = np.zeros(1, np.int64) if largest is None else alpha_unit(largest, data[-2])
    linear = data if largest is None else data[:-2]
    unit = _unit(_of_u(linear, boundary, of_alpha))
    of_data = [unit, unit + of_alpha, *[unit] * (len(linear) - 2), *[of_alpha] * 2]
    changed = [_in_units(d, np.broadcast_to(exponents, B)) if exponents.any() else d for d, exponents in zip(data, of_data)]
    return tuple(changed), np.broadcast_to(unit, B) if unit.any() else None


def alpha_unit(largest: np.ndarray, diffusion: PackedData) -> np.ndarray:
    """The exponents of the units of α, (1,) or (B,)."""
    return np.zeros(1, np.int64) if diffusion.kind == "none" else _unit(_exponents(largest))


def _is_ordinary(data: Sequence[PackedData], boundary: Region) -> bool:
    """Whether all units are 1. Takes a microsecond for data with a single short row."""
    if len(boundary._extent) != 1:
        return False
    length, largest = float(boundary._extent[0]), 0.0
    for each, power in zip(data, _POWERS):
        if each.numbers is not None:
            if each.numbers.__class__ is not np.ndarray or len(each.numbers) != 1 or each.numbers.shape[1] > _FEW:
                return False
            row = each.numbers[0, each.linear].tolist()
            size = max(map(abs, row), default=0.0) * length**power
            if size != size:  # max keeps a NaN only if it comes first
                return False
            largest = max(largest, size)
    return not largest or 2.0**-16 < largest < 2.0**16  # well within _ORDINARY


def _of_u(linear: Sequence[PackedData], boundary: Region, of_alpha: np.ndarray) -> np.ndarray:
    """Exponents of a bound on u, from the values of g, f and h."""
    length, largest = _exponents(boundary._extent), np.full(1, _NOTHING)
    for k, (data, power) in enumerate(zip(linear, _POWERS)):
        if data.numbers is not None:
            sizes = _sizes(data)
            exponents = np.where(sizes > 0, _exponents(sizes) + power * length - (of_alpha if k == 1 else 0), _NOTHING)
            largest = np.maximum(largest, exponents)
    if any(data.function is not None for data in linear):  # their values may have any size, and are squared too
        largest = np.where(largest > _NOTHING // 2, np.maximum(largest, -_WITH_FUNCTIONS), largest)
    return largest


def _exponents(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frexp(x)[1], np.int64)


def _unit(exponents: np.ndarray) -> np.ndarray:
    """Exponents of units: 0 for data of ordinary size and for zero data."""
    return np.asarray(np.where((abs(exponents) <= _ORDINARY) | (exponents < _NOTHING // 2), 0, exponents))


def each_instance(data: PackedData, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``function`` applied to the parameters in which data are linear, (1,) or (B,): one row per instance, or one for all."""
    numbers = _arrays.to_host(data.numbers)[:, data.linear]
    if data.first is None:
        return function(numbers)
    return np.concatenate([np.zeros(0), *(function(numbers[:, 2 * a : 2 * b]) for a, b in pairwise(data.first))])


def _sizes(data: PackedData) -> np.ndarray:
    """The largest finite parameter of each instance's data, (1,) or (B,)."""

    def largest(numbers: np.ndarray) -> np.ndarray:
        size = np.abs(numbers)
        maximum: np.ndarray = size.max(axis=1, initial=0.0)
        return maximum if np.isfinite(maximum).all() else np.where(np.isfinite(size), size, 0.0).max(axis=1, initial=0.0)

    return each_instance(data, largest)


def powers(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two factors within the range of float64 whose product is 2^exponents."""
    half = exponents // 2
    return np.ldexp(1.0, half), np.ldexp(1.0, exponents - half)


def times(x: Array, exponents: np.ndarray | None) -> Array:
    """Multiply the rows of x by powers of two, (rows,)."""
    if exponents is None:
        return x
    for factor in powers(exponents):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            x = x * _arrays.of_kind(_arrays.location(x), factor.reshape(-1, *[1] * (x.ndim - 1)))
    return x


def _in_units(data: PackedData, units: np.ndarray) -> PackedData:
    """Divide data by units, one per instance."""
    if data.function is not None:
        return data._replace(function=Scaled(data.function, units))
    if data.numbers is None:
        return data
    rows, width = data.numbers.shape
    if data.first is not None:
        exponents = np.repeat(-units, 2 * np.diff(data.first))[None]
    else:
        exponents = (-units[:1] if (units == units[0]).all() else -units)[:, None]
    numbers, linear = data.numbers, data.linear
    if isinstance(linear, slice):
        linear = np.zeros(width, bool)
        linear[data.linear] = True
    for factor in powers(exponents):
        numbers = numbers * _arrays.of_kind(_arrays.location(numbers), np.where(linear, factor, 1.0))

    def pull(g: np.ndarray) -> Any:
        assert data.pull is not None
        # gradients with respect to amplitudes keep their unit; those with respect to centres and widths do not
        if data.kind == "gaussians":
            outer = times(g, units if len(g) == len(units) else units[:1])
            outer[:, data.linear] = g[:, data.linear]
            g = outer
        return data.pull(g.sum(axis=0, keepdims=True) if rows == 1 < len(g) else g)

    return data._replace(numbers=numbers, pull=data.pull and pull)
