"""The mean of a ``GridGP``: a known function, or coefficients estimated together with the covariance (universal kriging)."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments, _arrays
from ..._bind import check_location
from ..product.dense import exponent, namespace

Array = Any
MEANS = ("zero", "constant", "linear")
_RANK = 1e-4  # relative rank tolerance of a linear mean; directions that observed cells do not span have the slope 0


def coordinates(axes: Sequence[Array], on_grid: bool) -> list[Array]:
    """One array per column of the axes; for a grid they broadcast to its shape."""
    columns = []
    for k, x in enumerate(axes):
        shape = (1,) * k + (len(x),) + (1,) * (len(axes) - k - 1) if on_grid else (len(x),)
        columns += [c.reshape(shape) for c in ([x] if x.ndim == 1 else [x[:, j] for j in range(x.shape[1])])]
    return columns


class Mean(NamedTuple):
    """``offset`` + ``slopes`` · (x - ``centres``), or a function of coordinates.

    ``basis`` (1 + slopes, p) has the coefficients of p basis functions, orthonormal over the observed cells, whose weights are estimated.
    """

    offset: float = 0.0
    slopes: Sequence[float] = ()
    centres: Sequence[float] = ()
    function: Callable[..., Any] | None = None
    basis: np.ndarray = np.zeros((1, 0))

    @classmethod
    def fitted(cls, kind: Any, axes: Sequence[Array], values: np.ndarray, seen: np.ndarray | None, label: str) -> Mean:
        """The mean for centring the data: ordinary least squares from the observed values, in the order of the grid."""
        if callable(kind):
            return cls(function=kind)
        if _arguments.is_number(kind):
            return cls(_arguments.number(kind, label, "mean", negative=True))
        if kind not in MEANS:
            raise ValueError(f"{label}: mean is {kind!r}, expected one of {', '.join(map(repr, MEANS))}, a number or a callable")
        if kind == "zero" or not len(values):
            return cls()
        count = len(values)
        if kind == "constant":
            return cls(average(values), basis=np.full((1, 1), count**-0.5))
        shape, offset = tuple(map(len, axes)), average(values)
        columns, centres, units = [], [], []
        for c in coordinates(list(map(_arrays.to_host, axes)), True):
            column = np.broadcast_to(c, shape)
            column = column.reshape(-1) if seen is None else column[seen]
            centres.append(average(column))
            columns.append(column - centres[-1])
            units.append(float(np.abs(columns[-1]).max()))
        e = exponent(values)  # avoids overflow and underflow
        design = np.stack([c / (u or 1.0) for c, u in zip(columns, units)], axis=1)
        slopes = np.ldexp(np.linalg.lstsq(design, np.ldexp(values - offset, -e), rcond=_RANK)[0], e)
        _, sizes, rows = np.linalg.svd(np.column_stack([np.ones(count), design]), full_matrices=False)
        spanned = sizes > _RANK * sizes[0]
        basis = (rows[spanned] / sizes[spanned, None]).T / np.array([1.0, *[u or np.inf for u in units]])[:, None]
        return cls(offset, tuple(float(s) / u if u else 0.0 for s, u in zip(slopes, units)), tuple(centres), None, basis)

    def plus(self, weights: np.ndarray) -> Mean:
        """Adds a combination of the p basis functions."""
        offset, *slopes = self.basis @ weights
        return self._replace(offset=self.offset + offset, slopes=tuple(s + t for s, t in zip(self.slopes, slopes)))

    def basis_at(self, axes: Sequence[Array], on_grid: bool) -> Array:
        """The basis functions on the grid of axes, or at points: (p, points)."""
        xp, shape = namespace(axes[0]), tuple(map(len, axes)) if on_grid else (len(axes[0]),)
        one = xp.ones((1,) * len(shape), dtype=xp.float64, device=axes[0].device)
        columns = [one, *[c - centre for c, centre in zip(coordinates(axes, on_grid), self.centres)]]
        functions = [functools.reduce(operator.add, [float(w) * c for w, c in zip(f, columns)]) for f in self.basis.T]
        return xp.stack([xp.reshape(xp.broadcast_to(f, shape), (-1,)) for f in functions], axis=0)

    def derivative(self, axis: int, order: int, label: str) -> float:
        """The derivative of the mean with respect to column ``axis`` of ``coordinates``."""
        if self.function is not None:
            raise TypeError(f"{label}: the derivative of a callable mean is unknown; subtract the mean from Y and pass mean='zero'")
        return float(self.slopes[axis]) if self.slopes and order == 1 else 0.0

    def at(self, axes: Sequence[Array], on_grid: bool, label: str) -> Any:
        """The mean on the grid of axes, or at points (row i of each axis belongs to point i); a number if it is constant."""
        if self.function is None:
            mean: Any = self.offset
            for slope, centre, c in zip(self.slopes, self.centres, coordinates(axes, on_grid) if self.slopes else ()):
                mean = mean + slope * (c - centre)
            return mean
        shape, xp = tuple(map(len, axes)) if on_grid else (len(axes[0]),), namespace(axes[0])
        returned = self.function(*(xp.asarray(xp.broadcast_to(c, shape), copy=True) for c in coordinates(axes, on_grid)))
        if _arguments.is_number(returned):
            return _arguments.number(returned, label, "the mean", negative=True)
        values = _arguments.host_array(returned, label, "the mean", device="keep", convert=True)
        if tuple(values.shape) != shape:
            raise ValueError(f"{label}: the mean has shape {tuple(values.shape)}, expected {shape}, the shape of its arguments")
        check_location(label, "the mean", values, "axes[0]", axes[0])
        _arguments.finite(values, label, "the mean")
        return _arrays.double(values)


def average(values: np.ndarray) -> float:
    """The average, exact if all numbers are equal, and without overflow."""
    e = exponent(values)
    return float(values[0]) if values.min() == values.max() else math.ldexp(float(np.ldexp(values, -e).mean()), e)


def mean_square(values: np.ndarray) -> float:
    """The mean square, which may overflow to infinity or underflow to 0."""
    e = exponent(values)
    with np.errstate(over="ignore"):
        return float(np.ldexp(float((np.ldexp(values, -e) ** 2).mean()), 2 * e)) if len(values) else 0.0
