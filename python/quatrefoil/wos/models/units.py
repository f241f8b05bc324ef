"""The unit of u: a power of two for each instance, taken out of the data before they are rounded to float32 and squared.

u is linear in g, f and h together, and a power of two changes no bit. csrc/wos/walk/README.md, The unit of u.
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
_POWERS = (0, 2, 1, 1)  # of the domain's length by which g, f and h count in u
_FEW = 64  # numbers of a row that Python looks at one by one
_ORDINARY = 20  # exponents up to this size are left alone: the unit is 1
_WITH_FUNCTIONS = 400  # the unit of other data is no smaller than 2^-400
_NOTHING = -(2**20)  # the exponent of 0


def in_units(
    data: Sequence[PackedData], boundary: Region, B: int, largest: np.ndarray | None
) -> tuple[tuple[PackedData, ...], np.ndarray | None]:
    """Data in units, which depend on the problem alone, and the exponents of u's, (B,), None if all are 0.

    With a diffusion, ``largest`` (B,) that was found, α, σ and f have a unit of their own too: they may be multiplied by a number.
    """
    if largest is None and _is_ordinary(data, boundary):
        return tuple(data), None
    of_alpha = np.zeros(1, np.int64) if largest is None or data[2].kind == "none" else _unit(_exponents(largest))
    unit = _unit(_of_u(data[:2] if largest is not None else data, boundary, of_alpha))
    of_data = [unit, unit + of_alpha, *([unit] * 2 if largest is None else [of_alpha] * 2)]
    changed = [_in_units(d, np.broadcast_to(exponents, B)) if exponents.any() else d for d, exponents in zip(data, of_data)]
    return tuple(changed), np.broadcast_to(unit, B) if unit.any() else None


def _is_ordinary(data: Sequence[PackedData], boundary: Region) -> bool:
    """Whether all units are 1, by a look at one row of few numbers for each data, which costs a microsecond."""
    if len(boundary._extent) != 1:
        return False
    length, found = float(boundary._extent[0]), 0.0
    for each, power in zip(data, _POWERS):
        if each.numbers is not None:
            if each.numbers.__class__ is not np.ndarray or len(each.numbers) != 1 or each.numbers.shape[1] > _FEW:
                return False
            row = each.numbers[0, each.linear].tolist()
            size = max(map(abs, row), default=0.0) * length**power
            if size != size:  # a NaN comes first
                return False
            found = max(found, size)
    return not found or 2.0**-16 < found < 2.0**16  # well within what is ordinary


def _of_u(linear: Sequence[PackedData], boundary: Region, of_alpha: np.ndarray) -> np.ndarray:
    """Of the largest that u may be by what is known of g, f and h."""
    length, found = _exponents(boundary._extent), np.full(1, _NOTHING)
    for k, (data, power) in enumerate(zip(linear, _POWERS)):
        if data.numbers is not None:
            sizes = _sizes(data)
            exponents = np.where(sizes > 0, _exponents(sizes) + power * length - (of_alpha if k == 1 else 0), _NOTHING)
            found = np.maximum(found, exponents)
    if any(data.function is not None for data in linear):  # whose values may be of any size, and have squares too
        found = np.where(found > _NOTHING // 2, np.maximum(found, -_WITH_FUNCTIONS), found)
    return found


def _exponents(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frexp(x)[1], np.int64)


def _unit(exponents: np.ndarray) -> np.ndarray:
    """That of sizes, or 1 where they are ordinary or all 0."""
    found: np.ndarray = np.where((abs(exponents) <= _ORDINARY) | (exponents < _NOTHING // 2), 0, exponents)
    return found


def each_instance(data: PackedData, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(1,) or (B,): ``of`` the numbers in which data are linear, a row for each instance or one for all."""
    numbers = _arrays.to_host(data.numbers)[:, data.linear]
    if data.first is None:
        return of(numbers)
    return np.concatenate([np.zeros(0), *(of(numbers[:, 2 * a : 2 * b]) for a, b in pairwise(data.first))])


def _sizes(data: PackedData) -> np.ndarray:
    """(1,) or (B,): the largest finite number of the data of each instance."""

    def largest(numbers: np.ndarray) -> np.ndarray:
        size = np.abs(numbers)
        found: np.ndarray = size.max(axis=1, initial=0.0)
        return found if np.isfinite(found).all() else np.where(np.isfinite(size), size, 0.0).max(axis=1, initial=0.0)

    return each_instance(data, largest)


def powers(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two factors whose product is 2^exponents, each of which float64 holds."""
    half = exponents // 2
    return np.ldexp(1.0, half), np.ldexp(1.0, exponents - half)


def times(x: Array, exponents: np.ndarray | None) -> Array:
    """Rows of x times powers of two, (rows,)."""
    if exponents is None:
        return x
    for factor in powers(exponents):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            x = x * _arrays.of_kind(_arrays.place(x), factor.reshape(-1, *[1] * (x.ndim - 1)))
    return x


def _in_units(data: PackedData, units: np.ndarray) -> PackedData:
    """Data in those units, one per instance."""
    if data.function is not None:
        return data._replace(function=Scaled(data.function, units))
    if data.numbers is None:
        return data
    rows, width = data.numbers.shape
    if data.first is not None:
        exponents = np.repeat(-units, 2 * np.diff(data.first))[None]
    else:
        exponents = (-units[:1] if (units == units[0]).all() else -units)[:, None]
    numbers = data.numbers
    for factor in powers(exponents):
        scale = np.ones((len(exponents), width))
        scale[:, data.linear] = factor if data.first is None else factor[:, data.linear]
        numbers = numbers * _arrays.of_kind(_arrays.place(numbers), scale)

    def pull(g: np.ndarray) -> Any:
        assert data.pull is not None
        if data.kind == "gaussians":  # the amplitudes' gradients are in units of their own; those of centres and widths are not
            outer = times(g, units if len(g) == len(units) else units[:1])
            outer[:, data.linear] = g[:, data.linear]
            g = outer
        return data.pull(g.sum(axis=0, keepdims=True) if rows == 1 < len(g) else g)

    return data._replace(numbers=numbers, pull=data.pull and pull)
