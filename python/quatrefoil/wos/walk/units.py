"""The unit of u: a power of two for each instance, taken out of the data before they are rounded to float32 and squared.

u is linear in g, f and h together, and a power of two changes no bit. csrc/wos/walk/README.md, The unit of u.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _arrays
from ..data.functions import Scaled
from .packing import Packed

if TYPE_CHECKING:
    from .problem import Prepared

Array = Any
_FEW = 64  # numbers of a row that Python looks at one by one
_ORDINARY = 20  # exponents up to this size are left alone: the unit is 1
_BESIDE_FUNCTIONS = 400  # the unit of other data is no smaller than 2^-400
_NOTHING = -(2**20)  # the exponent of 0


def choose(p: Prepared) -> np.ndarray | None:
    """Puts a problem's data in units, which depend on the problem alone; (B,) the exponents of u's, None where all are 0.

    With a diffusion α, σ and f have a unit of their own besides: they may be multiplied by a number. On a device units are 1.
    """
    if not p.on_host or (p.medium is None and _is_ordinary(p)):
        return None
    varies = p.medium is not None
    of_alpha = np.zeros(1, np.int64) if p.medium is None or p.medium.diffusion.kind == "none" else _unit(_exponents(p.medium.largest))
    unit = _unit(_of_u(p, range(2 if varies else len(p.data)), of_alpha))
    of_data = [unit, unit + of_alpha, *([of_alpha] * 2 if varies else [unit] * 2)]
    for k, exponents in zip(range(len(p.data)), of_data):
        if exponents.any():
            p.data[k] = _in_units(p, k, np.broadcast_to(exponents, p.B))
    return np.broadcast_to(unit, p.B) if unit.any() else None


def _is_ordinary(p: Prepared) -> bool:
    """Whether all units are 1, by a look at one row of few numbers for each data, which costs a microsecond."""
    if len(p.boundary._extent) != 1:
        return False
    length, found = float(p.boundary._extent[0]), 0.0
    for data, power in zip(p.data, (0, 2, 1, 1)):
        if data.numbers is not None:
            if data.numbers.__class__ is not np.ndarray or len(data.numbers) != 1 or data.numbers.shape[1] > _FEW:
                return False
            row = data.numbers[0, amplitudes(data.kind, p.boundary.dimension)].tolist()
            size = max(map(abs, row), default=0.0) * length**power
            if size != size:  # a NaN comes first
                return False
            found = max(found, size)
    return not found or 2.0**-16 < found < 2.0**16  # well within what is ordinary


def _of_u(p: Prepared, linear: range, of_alpha: np.ndarray) -> np.ndarray:
    """Of the largest that u may be by what is known of g, f and h."""
    length, found = _exponents(p.boundary._extent), np.full(1, _NOTHING)
    for k, power in zip(linear, (0, 2, 1, 1)):
        data = p.data[k]
        if data.numbers is not None:
            sizes = _sizes(p, k)
            exponents = np.where(sizes > 0, _exponents(sizes) + power * length - (of_alpha if k == 1 else 0), _NOTHING)
            found = np.maximum(found, exponents)
    if any(p.data[k].function is not None for k in linear):  # whose values may be of any size, and have squares too
        found = np.where(found > _NOTHING // 2, np.maximum(found, -_BESIDE_FUNCTIONS), found)
    return found


def _exponents(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frexp(x)[1], np.int64)


def _unit(exponents: np.ndarray) -> np.ndarray:
    """That of sizes, or 1 where they are ordinary or all 0."""
    found: np.ndarray = np.where((abs(exponents) <= _ORDINARY) | (exponents < _NOTHING // 2), 0, exponents)
    return found


def amplitudes(kind: str, d: int) -> slice:
    """The columns of a row of numbers in which the data are linear."""
    if kind == "gaussians":
        return slice(None, None, d + 2)
    return slice({"fourier": 2, "polynomial": d, "grid": 3 * d}.get(kind, 0), None)


def each_instance(p: Prepared, k: int, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(1,) or (B,): ``of`` the numbers in which data k are linear, a row for each instance or one for all."""
    data, first = p.data[k], p.corners_of(k)
    numbers = _arrays.to_host(data.numbers)[:, amplitudes(data.kind, p.boundary.dimension)]
    if first is None:
        return of(numbers)
    return np.concatenate([np.zeros(0), *(of(numbers[:, 2 * a : 2 * b]) for a, b in pairwise(first))])


def _sizes(p: Prepared, k: int) -> np.ndarray:
    """(1,) or (B,): the largest finite number of the data of each instance."""

    def largest(numbers: np.ndarray) -> np.ndarray:
        size = np.abs(numbers)
        found: np.ndarray = size.max(axis=1, initial=0.0)
        return found if np.isfinite(found).all() else np.where(np.isfinite(size), size, 0.0).max(axis=1, initial=0.0)

    return each_instance(p, k, largest)


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


def _in_units(p: Prepared, k: int, units: np.ndarray) -> Packed:
    """Data k in those units."""
    data = p.data[k]
    if data.function is not None:
        return replace(data, function=Scaled(data.function, units))
    if data.numbers is None:
        return data
    first, rows = p.corners_of(k), len(data.numbers)
    exponents = -units[:1] if (units == units[0]).all() else -units
    shape = (len(exponents), data.numbers.shape[1])
    linear = amplitudes(data.kind, p.boundary.dimension)
    if data.kind == "grid" and p.names[k] == "diffusion":  # what follows the values has no unit
        linear = slice(linear.start, (linear.start + shape[1]) // 2)
    if first is not None:
        exponents, shape = np.repeat(-units, 2 * np.diff(first))[None], (1, data.numbers.shape[1])
    else:
        exponents = exponents[:, None]
    numbers = data.numbers
    for factor in powers(exponents):
        table = np.ones(shape)
        table[:, linear] = factor if first is None else factor[:, linear]
        numbers = numbers * _arrays.of_kind(p.kind, table)

    def pull(g: np.ndarray) -> Any:
        assert data.pull is not None
        if data.kind == "gaussians":  # the amplitudes' gradients are in units of their own; those of centres and widths are not
            outer = times(g, units if len(g) == len(units) else units[:1])
            outer[:, linear] = g[:, linear]
            g = outer
        return data.pull(g.sum(axis=0, keepdims=True) if rows == 1 < len(g) else g)

    return replace(data, numbers=numbers, pull=data.pull and pull)
