"""The units that ``GPHM`` computes in, so that results do not depend on those of its arguments: README, "Units"."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arrays
from ...pde import PDE
from .axis import Points
from .edges import edges
from .loss import Params
from .projection import given_ends

Array = Any
HIGHEST = 20.0  # the highest frequency that training begins with, in cycles per unit of length


class Units(NamedTuple):
    """What one unit is in those of the arguments. Inner numbers are in these units, outer ones in the arguments'."""

    origins: tuple[float, ...]  # of the axes
    lengths: tuple[float, ...]
    size: float  # of u
    rate: float  # of the equation's derivatives, per unit of u

    @classmethod
    def of(cls, pde: PDE, axes: Sequence[Points], highest: Sequence[float]) -> Units:
        """For an equation on a grid, and the highest frequency of every axis to begin with."""
        lengths = tuple(HIGHEST / f for f in highest)
        rate = max(abs(c) / _power(length, pde.order) for c, length in zip(pde.coefficients, lengths)) or 1.0
        units = cls(tuple(float(x.host[0]) for x in axes), lengths, 1.0, rate)
        return units._replace(size=_size(units.equation(pde), [units.axis(k, x.host) for k, x in enumerate(axes)]))

    def axis(self, k: int, x: Array) -> Array:
        """Points of an axis, in double precision."""
        return (_arrays.double(x) - self.origins[k]) / self.lengths[k]

    def equation(self, pde: PDE) -> PDE:
        return _Inner(pde, self)

    def _map(self, name: str, kind: str) -> tuple[float, float]:
        """(factor, shift) from a parameter's inner number to the outer one."""
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
        return self._mapped(params, kind, lambda value, factor, shift: _kept(value, value * factor + shift))

    def inner(self, params: Mapping[str, Array], kind: str) -> Params:
        return self._mapped(params, kind, lambda value, factor, shift: _kept(value, (value - shift) / factor))

    def gradient(self, params: Mapping[str, Array], kind: str) -> Params:
        """By the outer parameters, from that by the inner ones."""
        return self._mapped(params, kind, lambda value, factor, _: _kept(value, value / factor))


class _Inner(PDE):
    """An equation on a grid in inner units; its largest coefficient is 1 or -1."""

    def __init__(self, pde: PDE, units: Units) -> None:
        self.order, self.dims, self._pde = pde.order, pde.dims, pde
        self._size, self._rate = units.size, units.rate
        self._coefficients = tuple(c / _power(length, pde.order) / units.rate for c, length in zip(pde.coefficients, units.lengths))
        super().__init__(source=pde.source / units.size / units.rate, boundary=pde.boundary / units.size)

    @property
    def coefficients(self) -> tuple[float, ...]:
        return self._coefficients

    def reaction(self, u: Array) -> tuple[Array, Array] | None:
        found = self._pde.reaction(self._size * u)
        return None if found is None else (found[0] / self._size / self._rate, found[1] / self._rate)


def _power(length: float, order: int) -> float:
    """By products: libm's pow rounds by the exponent of its argument too, so that other units could change a bit."""
    return math.prod((length,) * order)


def _kept(like: Array, value: Array) -> Array:
    """NumPy makes numbers of arrays without axes."""
    return np.asarray(value) if isinstance(like, np.ndarray) else value


def _size(pde: PDE, axes: Sequence[np.ndarray]) -> float:
    """About the root mean square of u: of its values on the edges, and of the solution by differences that is 0 there, without reaction.

    1 where everything is 0, or something is not finite.
    """
    g, f = _arrays.to_host(edges(pde.boundary)), _arrays.to_host(pde.source)
    most = float(max(np.abs(g).max(), np.abs(f).max()))
    if not 0 < most < math.inf:
        return 1.0
    with np.errstate(all="ignore"):
        inside = (_elliptic if pde.order == 2 else _hyperbolic)(f / most, axes, pde.coefficients)
        root = math.sqrt(float(np.mean((g / most) ** 2)) + inside)
    return most * (root if 0 < root < math.inf else 1.0)


def _elliptic(f: np.ndarray, axes: Sequence[np.ndarray], coefficients: Sequence[float]) -> float:
    """The mean square of u, where the sum of c_k u_kk is f with all c_k positive, by the eigenvectors of second differences."""
    from scipy.linalg import eigh_tridiagonal

    total: Any = 0.0
    measure = 1.0
    for k, (x, c) in enumerate(zip(axes, coefficients)):
        h = np.abs(np.diff(x))
        w = (h[1:] + h[:-1]) / 2  # what a point stands for
        values, vectors = eigh_tridiagonal((1 / h[1:] + 1 / h[:-1]) / w, -1 / h[1:-1] / np.sqrt(w[1:] * w[:-1]))
        rows = np.moveaxis(f, k, 0)[1:-1]
        f = np.moveaxis(np.tensordot(vectors.T * np.sqrt(w), rows, 1), 0, k)
        total = np.add.outer(total, abs(c) * values)
        measure *= float(w.sum())
    return float(np.sum((f / total) ** 2)) / measure


def _hyperbolic(f: np.ndarray, axes: Sequence[np.ndarray], coefficients: Sequence[float]) -> float:
    """The mean square of u, where the sum of c_k u_k is f, by upwind differences: triangular where the last points come first."""
    from scipy.linalg.lapack import dtrsyl

    parts = [np.zeros((1, 1)), np.zeros((1, 1))]
    for k, (x, c) in enumerate(zip(axes, coefficients)):
        given, rates = given_ends(x, c, 1), abs(c) / np.abs(np.diff(x))
        if given == [0]:
            rates = rates[::-1]
        points = slice(None, 0, -1) if given == [0] else slice(None, -1) if given else slice(None)
        parts[k] = np.diag(rates) - np.diag(rates[:-1], 1) if given else np.zeros((len(x), len(x)))
        f = np.moveaxis(np.moveaxis(f, k, 0)[points], 0, k)
    found, scale, _ = dtrsyl(*parts, f.reshape(len(parts[0]), -1), tranb="T")
    return float(np.mean((found / scale) ** 2))
