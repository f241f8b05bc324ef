"""The data of a ``GridGP`` and its covariance with hyperparameters, of arrays on the host or a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _arguments, _arrays
from .._bind import check_beside
from .axis_kernel import AxisKernel
from .product.dense import exponent, owned

Array = Any
_NOISE_BOUNDS = (np.log(1e-10), np.log(1e5))  # relative to the start, which knows the unit
_MOST_CELLS = 100  # for each point: more is no grid, and its matrices would take the memory
_VARIANCE_BOUNDS = (np.log(1e-5), np.log(1e5))


class Data(NamedTuple):
    """Copies of what a caller gave, who may write to theirs."""

    axes: list[Array]
    y: Array  # (N,), scaled
    mask: Array | None
    offset: float
    scale: float

    @classmethod
    def checked(cls, axes: Any, Y: Any, mask: Any, normalize: bool, label: str) -> Data:
        given = axes_of(axes, None, label)
        shape = tuple(map(len, given))
        values = _arguments.numbers_here(Y, label, "Y")
        if tuple(values.shape) != shape:
            raise ValueError(f"{label}: Y has shape {tuple(values.shape)}, expected {shape}, a number a cell")
        check_beside(label, "Y", values, "axes[0]", given[0])
        seen = None
        if mask is not None:
            check_mask(mask, label)
            seen = mask if not _arrays.on_host(mask) else _arrays.to_host(mask)
            if tuple(seen.shape) != shape:
                raise ValueError(f"{label}: mask has shape {tuple(seen.shape)}, expected {shape}")
            check_beside(label, "mask", seen, "axes[0]", given[0])
            seen = seen.reshape(-1)
        y, unit = _arrays.double(values).reshape(-1), (0.0, 1.0)
        if normalize or isinstance(y, np.ndarray):  # on a device NaN and infinity show in the likelihood
            observed = _arrays.to_host(y if seen is None else y[seen])
            _arguments.finite(observed, label, "the observed part of Y")
            unit = _unit(observed) if normalize else unit
        if seen is not None:
            seen = owned(seen)
            y = _arrays.namespace(y).where(seen, y, unit[0])
        return cls([owned(x) for x in given], (y - unit[0]) / unit[1], seen, *unit)

    @property
    def log_unit(self) -> float:
        """What the unit of y adds to the negative log-likelihood: log |y| per observed cell, with |y| the root of the mean square."""
        y = _arrays.to_host(self.y if self.mask is None else self.y[self.mask])
        size = float(np.abs(y).max(initial=0.0))
        return len(y) * (math.log(size) + math.log(float(np.mean((y / size) ** 2))) / 2) if 0 < size < math.inf else 0.0

    @property
    def on_host(self) -> bool:
        return isinstance(self.y, np.ndarray)


class Model(NamedTuple):
    kernels: list[AxisKernel]
    noise: Array  # (1,) NumPy if it is learnt, or (N,) where the data are
    variance: float
    learns_noise: bool

    @classmethod
    def given(cls, kernels: list[AxisKernel], noise: Any, variance: Any, data: Data, label: str) -> Model:
        per_cell = bool(np.ndim(noise) if _arrays.kind(noise) is None else noise.ndim)
        if per_cell:
            s = _arrays.double(_arguments.numbers_here(noise, label, "noise")).reshape(-1)
            if s.shape != data.y.shape:
                raise ValueError(f"{label}: noise has {s.shape[0]} numbers, expected one, or {data.y.shape[0]}, one a cell")
            check_beside(label, "noise", s, "axes[0]", data.y)
            s = owned(s)
        else:
            s = np.full(1, _arguments.number(noise, label, "noise", positive=True))
        return cls(kernels, s, _arguments.number(variance, label, "variance", positive=True), not per_cell)

    def noise_at(self, data: Data) -> Array:
        """Where the data are."""
        return _arrays.beside(data.y, self.noise) if isinstance(self.noise, np.ndarray) else self.noise

    @property
    def theta(self) -> np.ndarray:
        own = [np.log([self.variance]), *[k.theta for k in self.kernels]]
        return np.concatenate(own + ([np.log(self.noise)] if self.learns_noise else []))

    def units(self, data: Data) -> np.ndarray:
        """Of theta: steps of a search that change the covariance about as much, whatever the units of the axes."""
        own = [np.ones(1), *[k.units(x) for k, x in zip(self.kernels, data.axes)]]
        return np.concatenate(own + ([np.ones(1)] if self.learns_noise else []))

    @property
    def bounds(self) -> np.ndarray:
        """Of theta, if this is where a search begins."""
        own = [np.log(self.variance) + np.array([_VARIANCE_BOUNDS]), *[k.bounds for k in self.kernels]]
        return np.concatenate(own + ([np.log(self.noise) + np.array([_NOISE_BOUNDS])] if self.learns_noise else []))

    def at(self, theta: np.ndarray) -> Model:
        kernels, begin = [], 1
        for k in self.kernels:
            end = begin + len(k.theta)
            kernels.append(k.at(theta[begin:end]))
            begin = end
        noise = np.exp(theta[begin:]) if self.learns_noise else self.noise
        return Model(kernels, noise, float(np.exp(theta[0])), self.learns_noise)

    def factors(self, data: Data) -> list[Array]:
        """The variance is in the first."""
        found = [k(x) for k, x in zip(self.kernels, data.axes)]
        found[0] = self.variance * found[0]
        return found

    def gradient(self, data: Data, factors: Sequence[Array], grads: Sequence[Array], dnoise: Array) -> np.ndarray:
        """Of the negative log-likelihood, by theta, from its gradients by the factors and the noise; on the host."""
        found = [_arrays.to_host((grads[0] * factors[0]).sum().reshape(1))]
        for i, (k, x, G) in enumerate(zip(self.kernels, data.axes, grads)):
            found.append(k.gradient(x, G * self.variance if i == 0 else G))
        return np.concatenate(found + ([_arrays.to_host(dnoise.reshape(1)) * self.noise] if self.learns_noise else []))


def _unit(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of finite numbers; 1 in place of a deviation that is 0 or rounding."""
    if not values.size or values.min() == values.max():
        return (float(values[0]) if values.size else 0.0), 1.0
    e = exponent(values)  # squares would leave the range of float64
    scaled = np.ldexp(values, -e)
    is_constant = np.ptp(scaled) <= 10 * np.finfo(np.float64).eps
    return math.ldexp(float(scaled.mean()), e), 1.0 if is_constant else math.ldexp(float(scaled.std()), e)


def axes_of(axes: Any, like: Sequence[Array] | None, label: str) -> list[Array]:
    """(n,) or (n, p) each, finite, in double precision."""
    given = _arguments.sequence(axes, f"{label}: axes")
    found: list[Array] = []
    for k, x in enumerate(given):
        numbers = _arrays.double(_arguments.numbers_here(x, label, f"axes[{k}]"))
        if numbers.ndim not in (1, 2) or (like is not None and k < len(like) and tuple(numbers.shape[1:]) != tuple(like[k].shape[1:])):
            expected = "(n,) or (n, p)" if like is None else f"(n{''.join(f', {p}' for p in like[k].shape[1:]) or ','})"
            raise ValueError(f"{label}: axes[{k}] has shape {tuple(numbers.shape)}, expected {expected}")
        _arguments.finite(numbers, label, f"axes[{k}]")
        check_beside(label, f"axes[{k}]", numbers, "axes[0]", found[0] if found else numbers)
        found.append(numbers)
    if like is not None and len(found) != len(like):
        raise ValueError(f"{label}: {len(found)} axes, expected {len(like)}, as in fit")
    return found


def cells_of(X: Any, y: Any, count: int, label: str) -> tuple[list[Array], Array, Array | None]:
    """Points (P, d) of a grid, a column an axis, and values (P,) there -> its axes, the values on it, and which cells they are."""
    _arguments.array(X, label, "X", torch=False)
    _arguments.array(y, label, "y", torch=False)
    if X.ndim != 2 or X.shape[1] != count or not len(X):
        raise ValueError(f"{label}: X has shape {X.shape}, expected (P, {count}), P at least 1: points of a grid, a column a kernel")
    if y.shape != (len(X),):
        raise ValueError(f"{label}: y has shape {y.shape}, expected {(len(X),)}, a number a point")
    _arguments.finite(X, label, "X")
    axes, places = zip(*(np.unique(X[:, k], return_inverse=True) for k in range(count)))
    shape = tuple(map(len, axes))
    if math.prod(shape) > _MOST_CELLS * len(X):
        raise ValueError(f"{label}: {len(X)} points span a grid of {' x '.join(map(str, shape))} cells: these are not points of a grid")
    cells = np.ravel_multi_index([p.reshape(-1) for p in places], shape)
    mask = np.zeros(shape, bool)
    mask.flat[cells] = True
    if mask.sum() < len(X):
        order = np.argsort(cells, kind="stable")
        first = int(np.flatnonzero(np.diff(cells[order]) == 0)[0])
        raise ValueError(f"{label}: X[{order[first]}] and X[{order[first + 1]}] are one point, expected one value a cell")
    Y = np.zeros(shape, y.dtype)
    Y.flat[cells] = y
    return list(axes), Y, None if mask.all() else mask


def columns_of(X: Any, axes: Sequence[Array], label: str) -> list[Array]:
    """Points (P, columns of all axes) -> those of every axis."""
    numbers = _arrays.double(_arguments.numbers_here(X, label, "X"))
    widths = [math.prod(a.shape[1:]) for a in axes]
    if numbers.ndim == 1 and sum(widths) == 1:
        numbers = numbers[:, None]
    if numbers.ndim != 2 or numbers.shape[1] != sum(widths):
        raise ValueError(f"{label}: X has shape {tuple(numbers.shape)}, expected (P, {sum(widths)}), or a list of axes")
    _arguments.finite(numbers, label, "X")
    ends = np.cumsum(widths)
    found = [numbers[:, e - w] if a.ndim == 1 else numbers[:, e - w : e] for a, w, e in zip(axes, widths, map(int, ends))]
    return [np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x for x in found]


def check_mask(mask: Any, label: str) -> None:
    """TypeError for what is no array of bool."""
    if _arrays.kind(mask) is None or _arrays.on_host(mask):
        _arguments.array(mask, label, "mask", dtypes=("bool",))
    elif _arrays.dtype_name(mask) != "bool":
        raise TypeError(f"{label}: mask has dtype {_arrays.dtype_name(mask)}, expected bool; convert it")
