"""The mean of a ``GridGP``: subtracted from the data before anything is learnt, added to predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments, _arrays
from ..._bind import check_beside
from ..product.dense import exponent, namespace

Array = Any
MEANS = ("zero", "constant", "linear")
_RANK = 1e-4  # of the columns of a linear mean: what the observed cells do not span has the slope 0


def coordinates(axes: Sequence[Array], on_grid: bool) -> list[Array]:
    """One array per column of the axes; on a grid they broadcast to its shape."""
    found = []
    for k, x in enumerate(axes):
        shape = (1,) * k + (len(x),) + (1,) * (len(axes) - k - 1) if on_grid else (len(x),)
        found += [c.reshape(shape) for c in ([x] if x.ndim == 1 else [x[:, j] for j in range(x.shape[1])])]
    return found


class Mean(NamedTuple):
    """``offset`` + ``slopes`` · (x - ``centres``), or a function of coordinates."""

    offset: float = 0.0
    slopes: Sequence[float] = ()
    centres: Sequence[float] = ()
    function: Callable[..., Any] | None = None

    @classmethod
    def fitted(cls, kind: Any, axes: Sequence[Array], values: np.ndarray, seen: np.ndarray | None, label: str) -> Mean:
        """By least squares from the observed values, in the order of the grid."""
        if callable(kind):
            return cls(function=kind)
        if _arguments.is_number(kind):
            return cls(_arguments.number(kind, label, "mean", negative=True))
        if kind not in MEANS:
            raise ValueError(f"{label}: mean is {kind!r}, expected one of {', '.join(map(repr, MEANS))}, a number or a callable")
        if kind == "zero" or not len(values):
            return cls()
        if kind == "constant" or values.min() == values.max():
            return cls(average(values))
        shape, offset = tuple(map(len, axes)), average(values)
        columns, centres, units = [], [], []
        for c in coordinates(list(map(_arrays.to_host, axes)), True):
            column = np.broadcast_to(c, shape)
            column = column.reshape(-1) if seen is None else column[seen]
            centres.append(average(column))
            columns.append(column - centres[-1])
            units.append(float(np.abs(columns[-1]).max()))
        e = exponent(values)  # for numbers near the ends of the range of float64
        design = np.stack([c / (u or 1.0) for c, u in zip(columns, units)], axis=1)
        slopes = np.ldexp(np.linalg.lstsq(design, np.ldexp(values - offset, -e), rcond=_RANK)[0], e)
        return cls(offset, tuple(float(s) / u if u else 0.0 for s, u in zip(slopes, units)), tuple(centres))

    def at(self, axes: Sequence[Array], on_grid: bool, label: str) -> Any:
        """On the grid of axes, or at points with one row of every axis: a number, or an array of the result's shape."""
        if self.function is None:
            found: Any = self.offset
            for slope, centre, c in zip(self.slopes, self.centres, coordinates(axes, on_grid) if self.slopes else ()):
                found = found + slope * (c - centre)
            return found
        shape, xp = tuple(map(len, axes)) if on_grid else (len(axes[0]),), namespace(axes[0])
        given = self.function(*(xp.asarray(xp.broadcast_to(c, shape), copy=True) for c in coordinates(axes, on_grid)))
        if _arguments.is_number(given):
            return _arguments.number(given, label, "the mean", negative=True)
        values = _arguments.numbers_here(_arguments.points_like(given, label, "the mean"), label, "the mean")
        if tuple(values.shape) != shape:
            raise ValueError(f"{label}: the mean has shape {tuple(values.shape)}, expected {shape}, as its arguments")
        check_beside(label, "the mean", values, "axes[0]", axes[0])
        _arguments.finite(values, label, "the mean")
        return _arrays.double(values)


def average(values: np.ndarray) -> float:
    """Exact if all numbers are the same; their sum may leave the range of float64."""
    e = exponent(values)
    return float(values[0]) if values.min() == values.max() else math.ldexp(float(np.ldexp(values, -e).mean()), e)


def mean_square(values: np.ndarray) -> float:
    """May be infinite, or 0 by underflow."""
    e = exponent(values)
    with np.errstate(over="ignore"):
        return float(np.ldexp(float((np.ldexp(values, -e) ** 2).mean()), 2 * e)) if len(values) else 0.0
