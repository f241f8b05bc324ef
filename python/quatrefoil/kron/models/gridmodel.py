"""The data of a ``GridGP``, and their covariance with its hyperparameters, on the host or a device."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ... import _arguments, _arrays
from ..._bind import check_location
from ..gp.device import Covariance, covariance_of
from ..product.dense import namespace, owned
from .axis_kernel import AxisKernel, Unscaled
from .gridmean import Mean, mean_square
from .tables import columns, coordinate, kind, plain, stacked

Array = Any
Kernels: TypeAlias = Sequence[AxisKernel | Unscaled]
_SHARES = (0.3, 1.0, 0.1, 0.03)
_NOISE_SHARE = 0.1  # factor of the shares for noise kernels, because noise is correlated over shorter lengths than the signal
_NOISE = 0.1  # start of the noise, relative to the variance of the data
_MIN_NOISE, _MAX_NOISE = 1e-6, 1e5  # times the initial noise, or for the minimum the variance of the data if that is smaller
_MAX_CELLS = 100  # per point; points with more are not on a grid, and matrices of such a grid would not fit into memory
_VARIANCE_BOUNDS = (np.log(1e-5), np.log(1e5))


class Data(NamedTuple):
    """Copies of the caller's arrays."""

    axes: list[Array]
    rows: Array  # (1 + p, N): y without the mean, and p basis functions of the mean; 0 at missing cells
    mask: Array | None
    mean: Mean
    spread: float  # the mean square of the observed y; 0 if they are 0 up to rounding
    size: float  # largest |Y|, for data with a spread of 0
    kinds: list[str]  # of the axes: "numbers", "dates" or "durations"

    @classmethod
    def checked(cls, axes: Any, Y: Any, mask: Any, mean: Any, label: str) -> Data:
        axes = [plain(x, label, f"axes[{k}]") for k, x in enumerate(_arguments.sequence(axes, f"{label}: axes"))]
        points = axes_of(axes, None, label)
        shape = tuple(map(len, points))
        values = _table(Y, label)
        if tuple(values.shape) != shape:
            raise ValueError(f"{label}: Y has shape {tuple(values.shape)}, expected {shape}, one number per cell")
        check_location(label, "Y", values, "axes[0]", points[0])
        y, xp = _arrays.double(values), namespace(values)
        seen = _observed(y, mask, points[0], label)
        flat = None if seen is None else seen.reshape(-1)
        observed = _arrays.to_host(y.reshape(-1) if flat is None else y.reshape(-1)[flat])
        _arguments.finite(observed, label, "the observed part of Y")
        trend = Mean.fitted(mean, points, observed, None if seen is None else _arrays.to_host(seen), label)
        y = (y - trend.at(points, True, label)).reshape(-1)
        left = _arrays.to_host(y if flat is None else y[flat])
        rows = xp.concat([y[None], trend.basis_at(points, True)], axis=0) if trend.basis.size else owned(y[None])
        if flat is not None:
            rows, flat = xp.where(flat, rows, xp.zeros_like(rows)), owned(flat)
        size = float(np.abs(observed).max(initial=0.0))
        is_constant = float(np.abs(left).max(initial=0.0)) <= 10 * np.finfo(np.float64).eps * size
        return cls([owned(x) for x in points], rows, flat, trend, 0.0 if is_constant else mean_square(left), size, list(map(kind, axes)))

    def thinned(self, max_cells: int) -> tuple[Data, np.ndarray]:
        """At most ``max_cells`` cells, by repeatedly keeping every second point of the longest axis; also returns the cells' indices."""
        cells = np.arange(len(self.y)).reshape(tuple(map(len, self.axes)))
        axes = list(self.axes)
        while cells.size > max_cells:
            k = int(np.argmax(cells.shape))
            axes[k] = axes[k][::2]
            cells = np.take(cells, range(0, cells.shape[k], 2), axis=k)
        cells = cells.reshape(-1)
        mask = None if self.mask is None else self.mask[cells]
        return self._replace(axes=axes, rows=self.rows[:, cells], mask=mask), cells

    @property
    def y(self) -> Array:
        return self.rows[0]

    def without(self, weights: np.ndarray) -> Array:
        """y minus a combination of the basis functions."""
        return self.y - _arrays.to_device_of(weights, self.y) @ self.rows[1:] if len(weights) else self.y

    @property
    def variance(self) -> float:
        """The starting value of the variance."""
        return self.spread or self.size**2 or 1.0

    @property
    def log_unit(self) -> float:
        """The contribution of y's unit to the negative log-likelihood: log |y| per observed cell, with |y| the root mean square."""
        y = _arrays.to_host(self.y if self.mask is None else self.y[self.mask])
        size = float(np.abs(y).max(initial=0.0))
        return len(y) * (math.log(size) + math.log(float(np.mean((y / size) ** 2))) / 2) if 0 < size < math.inf else 0.0

    @property
    def is_constant(self) -> bool:
        """Whether there are several observed cells, and the mean explains all of them."""
        return not self.spread and (len(self.y) if self.mask is None else int(_arrays.to_host(self.mask).sum())) > 1

    @property
    def on_host(self) -> bool:
        return isinstance(self.y, np.ndarray)


class Model(NamedTuple):
    """The covariance with its hyperparameters. Without ``noise_kernels`` the noise of different cells is independent."""

    kernels: list[AxisKernel]
    noise_kernels: list[AxisKernel]
    noise: Array  # (1,) NumPy if it is learnt, or (N,) on the device of the data
    variance: float
    learns_noise: bool

    @classmethod
    def starts(cls, kernels: Kernels, noise_kernels: Kernels, noise: Any, variance: Any, data: Data, label: str) -> list[Model]:
        """Initial models of a search; if a kernel has no scale, one for each of several fractions of the axes' lengths."""
        shares = _SHARES if any(isinstance(k, Unscaled) for k in (*kernels, *noise_kernels)) else _SHARES[:1]

        def scaled(kernels: Kernels, share: float) -> list[AxisKernel]:
            return [k.on(x, share) if isinstance(k, Unscaled) else k for k, x in zip(kernels, data.axes)]

        return [cls.checked(scaled(kernels, s), scaled(noise_kernels, _NOISE_SHARE * s), noise, variance, data, label) for s in shares]

    @classmethod
    def checked(
        cls, kernels: list[AxisKernel], noise_kernels: list[AxisKernel], noise: Any, variance: Any, data: Data, label: str
    ) -> Model:
        unit = data.variance
        if (noise is None or variance is None) and not 0 < unit < math.inf:
            raise ValueError(f"{label}: the variance of Y is outside the range of float64; scale Y")
        noise, variance = (_NOISE * unit if noise is None else noise), (unit if variance is None else variance)
        per_cell = bool(np.ndim(noise) if _arrays.kind(noise) is None else noise.ndim)
        if noise_kernels and (per_cell or not data.on_host):
            what = "noise has one value per cell" if per_cell else f"Y is on {_arrays.device(data.y)}"
            raise ValueError(f"{label}: {what}, but noise_kernels require a single noise and arrays on the host")
        if per_cell:
            s = _arrays.double(_arguments.host_array(noise, label, "noise", device="keep", convert=True)).reshape(-1)
            if s.shape != data.y.shape:
                raise ValueError(f"{label}: noise has {s.shape[0]} values, expected one, or {data.y.shape[0]}, one per cell")
            check_location(label, "noise", s, "axes[0]", data.y)
            s = owned(s)
        else:
            s = np.full(1, _arguments.number(noise, label, "noise", positive=True))
        return cls(kernels, noise_kernels, s, _arguments.number(variance, label, "variance", positive=True), not per_cell)

    @property
    def names(self) -> list[str]:
        """The names of the entries of theta."""
        both = {"kernels": self.kernels, "noise_kernels": self.noise_kernels}
        of_kernels = [f"{name} of {which}[{i}]" for which, kernels in both.items() for i, k in enumerate(kernels) for name in k.names]
        return ["variance", *of_kernels, *(["noise"] if self.learns_noise else [])]

    @property
    def _all(self) -> list[AxisKernel]:
        return self.kernels + self.noise_kernels

    def factor_rows(self, data: Data) -> int:
        """The size of the Cholesky factor for an exact likelihood; 0 for a full grid."""
        N = len(data.y)
        count = N if data.mask is None else int(_arrays.to_host(data.mask).sum())
        return min(count, N - count) if self.learns_noise else count

    def noise_at(self, data: Data) -> Array:
        """The noise on the device of the data."""
        return _arrays.to_device_of(self.noise, data.y) if isinstance(self.noise, np.ndarray) else self.noise

    @property
    def theta(self) -> np.ndarray:
        own = [np.log([self.variance]), *[k.theta for k in self._all]]
        return np.concatenate(own + ([np.log(self.noise)] if self.learns_noise else []))

    def units(self, data: Data) -> np.ndarray:
        """Units of theta: steps of this size change the covariance about equally, for any units of the axes."""
        own = [np.ones(1), *[k.units(x) for k, x in zip(self._all, itertools.cycle(data.axes))]]
        return np.concatenate(own + ([np.ones(1)] if self.learns_noise else []))

    def bounds(self, data: Data) -> np.ndarray:
        """Bounds of theta for a search from this model."""
        own = [np.log(self.variance) + np.array([_VARIANCE_BOUNDS]), *[k.bounds for k in self._all]]
        if self.learns_noise:  # rounding dominates below the lower bound
            start = float(self.noise[0])
            own.append(np.log([[_MIN_NOISE * min(start, data.variance), _MAX_NOISE * start]]))
        return np.concatenate(own)

    def at(self, theta: np.ndarray) -> Model:
        kernels, begin, count = [], 1, len(self.kernels)
        for k in self._all:
            end = begin + len(k.theta)
            kernels.append(k.at(theta[begin:end]))
            begin = end
        noise = np.exp(theta[begin:]) if self.learns_noise else self.noise
        return Model(kernels[:count], kernels[count:], noise, float(np.exp(theta[0])), self.learns_noise)

    def thinned(self, cells: np.ndarray) -> Model:
        """The model for some cells of the data, by index."""
        return self if self.learns_noise else self._replace(noise=self.noise[cells])

    def factors(self, data: Data) -> list[Array]:
        """The covariances of the axes; the first includes the variance."""
        factors = [k(x) for k, x in zip(self.kernels, data.axes)]
        factors[0] = self.variance * factors[0]
        return factors

    def covariance(self, factors: Sequence[Array], data: Data, how: Any) -> Covariance:
        """The covariance of the data, from ``factors``."""
        structure = {"noise_factors": [k(x) for k, x in zip(self.noise_kernels, data.axes)]} if self.noise_kernels else {}
        return covariance_of("GridGP", factors, self.noise_at(data), data.mask, *how, **structure)

    def gradient(self, data: Data, factors: Sequence[Array], grads: Sequence[Array], dnoise: Array) -> np.ndarray:
        """The gradient of the negative log-likelihood with respect to theta, from the gradients of factors and noise; on the host."""
        parts, scales = [_arrays.to_host((grads[0] * factors[0]).sum().reshape(1))], {0: self.variance}
        if self.noise_kernels:
            scales |= dict.fromkeys(range(len(factors), len(grads)), float(self.noise[0]))
        for i, (k, x, G) in enumerate(zip(self._all, itertools.cycle(data.axes), grads)):
            parts.append(k.gradient(x, G * scales[i] if i in scales else G))
        return np.concatenate(parts + ([_arrays.to_host(dnoise.reshape(1)) * self.noise] if self.learns_noise else []))


def _table(Y: Any, label: str) -> Array:
    """Y as real numbers, with NaN for masked entries."""
    if not _arrays.is_masked(Y):
        return _arguments.host_array(Y, label, "Y", device="keep", convert=True)
    return np.where(np.ma.getmaskarray(Y), np.nan, _arguments.points_like(Y.data, label, "Y"))


def _observed(y: Array, mask: Any, axis: Array, label: str) -> Array | None:
    """A mask of the cells that are observed and not NaN; None if all are."""
    nan = namespace(y).isnan(y)
    if not _is_any(nan):
        nan = None
    if mask is not None:
        mask = mask_of(mask, label)
        if tuple(mask.shape) != tuple(y.shape):
            raise ValueError(f"{label}: mask has shape {tuple(mask.shape)}, expected {tuple(y.shape)}")
        check_location(label, "mask", mask, "axes[0]", axis)
    if nan is None:
        return mask
    seen = ~nan if mask is None else mask & ~nan
    if not _is_any(seen) and (mask is None or _is_any(mask)):
        raise ValueError(f"{label}: Y is NaN in all observed cells, expected numbers")
    return seen


def axes_of(axes: Any, like: Sequence[Array] | None, label: str, kinds: Sequence[str] = ()) -> list[Array]:
    """Check axes (n,) or (n, p) and return them in double precision. ``kinds``: their expected kinds, if known."""
    arrays = _arguments.sequence(axes, f"{label}: axes")
    checked: list[Array] = []
    for k, x in enumerate(arrays):
        numbers = _arrays.double(coordinate(x, label, f"axes[{k}]", kinds[k] if k < len(kinds) else None))
        if numbers.ndim not in (1, 2) or (like is not None and k < len(like) and tuple(numbers.shape[1:]) != tuple(like[k].shape[1:])):
            expected = "(n,) or (n, p)" if like is None else f"(n{''.join(f', {p}' for p in like[k].shape[1:]) or ','})"
            raise ValueError(f"{label}: axes[{k}] has shape {tuple(numbers.shape)}, expected {expected}")
        _arguments.finite(numbers, label, f"axes[{k}]")
        check_location(label, f"axes[{k}]", numbers, "axes[0]", checked[0] if checked else numbers)
        checked.append(numbers)
    if like is not None and len(checked) != len(like):
        raise ValueError(f"{label}: got {len(checked)} axes, expected {len(like)}, as in fit; pass points as an array, np.asarray(X)")
    return checked


def _is_any(a: Array) -> bool:
    return bool(_arrays.to_host(namespace(a).any(a.reshape(1, -1), axis=1))[0])


def cells_of(X: Any, y: Any, label: str) -> tuple[list[Array], Array, Array | None]:
    """Points (P, d) of a grid, one column per axis, and their values (P,) -> axes, values on the grid, and the mask of observed cells."""
    parts, y = columns(X, label), _arguments.host_array(y, label, "y", convert=True)
    if not parts or parts[0].ndim != 1 or not len(parts[0]):
        shape = (len(parts[0]), *parts[0].shape[1:], len(parts)) if parts else np.shape(X)
        raise ValueError(f"{label}: X has shape {shape}, expected (P, d) with P at least 1: points of a grid, one column per axis")
    if y.shape != (len(parts[0]),):
        raise ValueError(f"{label}: y has shape {y.shape}, expected {(len(parts[0]),)}, one number per point")
    X = _arrays.to_host(stacked(parts, label))
    axes, index = zip(*(np.unique(_arrays.to_host(part), return_inverse=True) for part in parts))
    shape = tuple(map(len, axes))
    if math.prod(shape) > _MAX_CELLS * len(X):
        raise ValueError(f"{label}: {len(X)} points span a grid of {' x '.join(map(str, shape))} cells, so they are not on a grid")
    cells = np.ravel_multi_index([p.reshape(-1) for p in index], shape)
    mask = np.zeros(shape, bool)
    mask.flat[cells] = True
    if mask.sum() < len(X):
        order = np.argsort(cells, kind="stable")
        first = int(np.flatnonzero(np.diff(cells[order]) == 0)[0])
        raise ValueError(f"{label}: X[{order[first]}] and X[{order[first + 1]}] are the same point, expected one value per cell")
    Y = np.zeros(shape, y.dtype)
    Y.flat[cells] = y
    return list(axes), Y, None if mask.all() else mask


def columns_of(X: Any, axes: Sequence[Array], names: Sequence[str], label: str, kinds: Sequence[str]) -> list[Array]:
    """Points (P, columns of all axes) -> the columns of each axis."""
    parts, widths = columns(X, label), [math.prod(a.shape[1:]) for a in axes]
    if len(parts) != sum(widths) or parts[0].ndim != 1:
        shape = tuple(getattr(X, "shape", np.shape(X)))
        expected = f"(P, {sum(widths)}), one row per point, or a list of axes, [{', '.join(names)}]"
        raise ValueError(f"{label}: X has shape {shape}, expected {expected}")
    numbers = stacked(parts, label, [kind for kind, width in zip(kinds, widths) for _ in range(width)])
    ends = np.cumsum(widths)
    of_axes = [numbers[:, e - w] if a.ndim == 1 else numbers[:, e - w : e] for a, w, e in zip(axes, widths, map(int, ends))]
    return [np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x for x in of_axes]


def mask_of(mask: Any, label: str) -> Array:
    """Convert a mask, or an array-like, to an array of bool."""
    if _arrays.kind(mask) is None:
        _arguments.reject_masked(mask, label, "mask")
        mask = np.asarray(mask)
    if _arrays.dtype_name(mask) != "bool":
        raise TypeError(
            f"{label}: mask has dtype {_arrays.dtype_name(mask)}, expected bool, True where observed; convert it: mask.astype(bool)"
        )
    if not _arrays.on_host(mask):
        return mask
    _arguments.array(mask, label, "mask", dtypes=("bool",))
    return _arrays.to_host(mask)
