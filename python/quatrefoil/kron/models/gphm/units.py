"""The units in which ``GPHM`` computes, so that results do not depend on the units of its arguments: README, "Units"."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arrays
from ...pde import PDE
from .axis import Points
from .differences import Differences
from .loss import Params, edges

Array = Any
HIGHEST = 20.0  # highest initial frequency, in cycles per unit of scaled length


class Units(NamedTuple):
    """The sizes of the units. Scaled ("inner") values are in these units, unscaled ("outer") values in the units of the arguments."""

    origins: tuple[float, ...]  # of the axes
    lengths: tuple[float, ...]
    size: float  # of u
    rate: float  # of the equation, per unit of u: the largest coefficient of a derivative

    @classmethod
    def from_pde(cls, pde: PDE, axes: Sequence[Points], highest: Sequence[float]) -> Units:
        """Units for an equation on a grid, given the highest initial frequency of every axis."""
        lengths = tuple(HIGHEST / f for f in highest)
        rate = max(abs(c) / _power(length, order) for k, length in enumerate(lengths) for order, c in pde.terms(k)) or 1.0
        units = cls(tuple(float(x.host[0]) for x in axes), lengths, 1.0, rate)
        return units._replace(size=_size(units.equation(pde), [units.axis(k, x.host) for k, x in enumerate(axes)]))

    def axis(self, k: int, x: Array) -> Array:
        """Scaled points of an axis, in double precision."""
        return (_arrays.double(x) - self.origins[k]) / self.lengths[k]

    def equation(self, pde: PDE) -> PDE:
        return _Inner(pde, self)

    def _map(self, name: str, kind: str) -> tuple[float, float]:
        """(factor, shift) from the scaled value of a parameter to the unscaled one."""
        name, _, axis = name.rpartition("_") if name[-1].isdigit() else (name, "", "")
        length = self.lengths[int(axis)] if axis else 1.0
        size, power = math.log(self.size), 1 if kind == "student_t" else 2
        maps = {
            "U": (self.size, 0.0),
            "log_tau": (1.0, -2 * size),
            "log_v": (1.0, -2 * (size + math.log(self.rate))),
            "log_weights": (1.0, 2 * size / len(self.lengths)),
            "log_scales": (1.0, -power * math.log(length)),
            "freqs": (1 / length, 0.0),
        }
        return maps[name]

    def _mapped(self, params: Mapping[str, Array], kind: str, function: Callable[[Array, float, float], Array]) -> Params:
        return {name: function(value, *self._map(name, kind)) for name, value in params.items()}

    def outer(self, params: Mapping[str, Array], kind: str) -> Params:
        return self._mapped(params, kind, lambda value, factor, shift: _as_array(value, value * factor + shift))

    def inner(self, params: Mapping[str, Array], kind: str) -> Params:
        return self._mapped(params, kind, lambda value, factor, shift: _as_array(value, (value - shift) / factor))

    def gradient(self, params: Mapping[str, Array], kind: str) -> Params:
        """The gradient with respect to the unscaled parameters, from that with respect to the scaled ones."""
        return self._mapped(params, kind, lambda value, factor, _: _as_array(value, value / factor))


class _Inner(PDE):
    """A scaled equation on a grid; the largest coefficient of its derivatives is 1 or -1."""

    def __init__(self, pde: PDE, units: Units) -> None:
        self.dims, self._pde, self._units = pde.dims, pde, units
        self.coefficient_of_u = pde.coefficient_of_u / units.rate
        super().__init__(source=pde.source / units.size / units.rate, boundary=pde.boundary / units.size)

    def terms(self, k: int) -> tuple[tuple[int, float], ...]:
        length, rate = self._units.lengths[k], self._units.rate
        return tuple((order, c / _power(length, order) / rate) for order, c in self._pde.terms(k))

    def reaction(self, u: Array) -> tuple[Array, Array] | None:
        size, rate = self._units.size, self._units.rate
        values = self._pde.reaction(size * u)
        return None if values is None else (values[0] / size / rate, values[1] / rate)


def _power(length: float, order: int) -> float:
    """length^order by products, because the rounding of libm's pow depends on the exponent of its argument, hence on units."""
    return math.prod((length,) * order)


def _as_array(like: Array, value: Array) -> Array:
    """The value as an array, because NumPy converts 0-d results to scalars."""
    return np.asarray(value) if isinstance(like, np.ndarray) else value


def _size(pde: PDE, axes: Sequence[np.ndarray]) -> float:
    """Estimate the root mean square of u from its boundary values and a finite-difference solution with zero boundary values, with the
    derivatives alone, and with the coefficients of second derivatives made negative.

    Returns 1 if everything is 0 or a value is not finite.
    """
    g, f = _arrays.to_host(edges(pde.boundary)), _arrays.to_host(pde.source)
    largest = float(max(np.abs(g).max(), np.abs(f).max()))
    if not 0 < largest < math.inf:
        return 1.0
    stable = [tuple((order, -abs(c) if order == 2 else c) for order, c in pde.terms(k)) for k in range(len(axes))]
    with np.errstate(all="ignore"):
        root = math.sqrt(float(np.mean((g / largest) ** 2)) + Differences(axes, stable).mean_square(f / largest))
    return largest * (root if 0 < root < math.inf else 1.0)
