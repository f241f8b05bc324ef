"""Covariance functions of one axis with their hyperparameters as a vector: functions of qf.kron, scikit-learn kernels, callables."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import _arrays
from .. import mixture

Array = Any
Kernel = Callable[..., Any] | None

# Functions of qf.kron: their adjoint, the learnable arguments in the order of their gradients, and those learnt as logarithms.
_OURS: dict[Callable[..., Any], tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    mixture.rbf: (mixture.rbf_vjp, ("scale",), ("scale",)),
    mixture.matern12: (mixture.matern12_vjp, ("scale",), ("scale",)),
    mixture.matern32: (mixture.matern32_vjp, ("scale",), ("scale",)),
    mixture.matern52: (mixture.matern52_vjp, ("scale",), ("scale",)),
    mixture.periodic: (mixture.periodic_vjp, ("scale", "period"), ("scale", "period")),
    mixture.rational_quadratic: (mixture.rational_quadratic_vjp, ("scale", "alpha"), ("scale", "alpha")),
    mixture.spectral_mixture: (mixture.spectral_mixture_vjp, ("log_weights", "log_scales", "freqs"), ()),
    mixture.gsmp_kernel: (mixture.gsmp_kernel_vjp, ("weights", "means", "std"), ("weights", "std")),
}
_WAVES = ("freqs", "means")  # in units of 1 / length
_LOG_BOUNDS = (np.log(1e-5), np.log(1e5))  # scikit-learn's, but relative to the initial value, which carries the unit


class AxisKernel:
    """A callable k(x, y=None) -> (n, m). Only subclasses have hyperparameters: ``theta`` is their vector, and ``bounds`` has a row of
    limits for each of them, for a search that starts at ``theta``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @property
    def theta(self) -> np.ndarray:
        return np.zeros(0)

    @property
    def names(self) -> list[str]:
        """The names of the entries of theta."""
        return []

    @property
    def bounds(self) -> np.ndarray:
        return np.zeros((0, 2))

    def units(self, x: Array) -> np.ndarray:
        """Units of theta on the axis x: 1 for logarithms, the reciprocal length of the axis for frequencies."""
        return np.ones(len(self.theta))

    def at(self, theta: np.ndarray) -> AxisKernel:
        return self

    def copied(self) -> AxisKernel:
        """A kernel with copies of the caller's arrays; a callable is not copied."""
        return self

    def __call__(self, x: Array, y: Array | None = None) -> Array:
        """The covariance in double precision, on the device of x."""
        function = self._function_on(x)
        K = function(x) if y is None else function(x, y)
        if isinstance(x, np.ndarray):
            return np.asarray(K, np.float64)
        if _arrays.kind(K) is None or _arrays.location(K) != _arrays.location(x):
            raise TypeError(
                f"GridGP: a kernel of {_arrays.describe(x)} on {_arrays.device(x)} returned {_arrays.describe(K)}, expected the same "
                "library and device"
            )
        return _arrays.double(K)

    def _function_on(self, x: Array) -> Callable[..., Any]:
        """The function, with its hyperparameters on the device of x."""
        return self.function

    def diagonal(self, x: Array) -> Array:
        if not isinstance(x, np.ndarray):
            return self(x).diagonal()
        return np.array([self(x[i : i + 1])[0, 0] for i in range(len(x))])

    def gradient(self, x: np.ndarray, G: np.ndarray) -> np.ndarray:
        """The derivatives of <G, k(x)> with respect to theta."""
        return np.zeros(0)


class OurKernel(AxisKernel):
    """A stationary function such as ``functools.partial(qf.kron.rbf, scale=0.3)``, whose diagonal is constant."""

    def __init__(self, function: functools.partial[Any]) -> None:
        super().__init__(function)
        self._adjoint, names, logarithms = _OURS[function.func]
        self._values = {n: np.asarray(function.keywords[n], np.float64) for n in names}
        self._logarithms = logarithms

    @property
    def theta(self) -> np.ndarray:
        with np.errstate(divide="ignore"):  # a weight may be 0
            parts = [np.log(v) if n in self._logarithms else v for n, v in self._values.items()]
        return np.concatenate([p.reshape(-1) for p in parts])

    @property
    def names(self) -> list[str]:
        return [f"{n}[{i}]" if v.ndim else n for n, v in self._values.items() for i in range(v.size)]

    @property
    def bounds(self) -> np.ndarray:
        rows = []
        for n, v in self._values.items():
            unit = np.where(v > 0, v, v.max(initial=0.0) or 1.0).reshape(-1, 1)  # a weight may be 0
            rows.append(np.log(unit) + _LOG_BOUNDS if n in self._logarithms else np.tile([-np.inf, np.inf], (v.size, 1)))
        return np.concatenate(rows)

    def units(self, x: Array) -> np.ndarray:
        of_waves = 1 / lengths(x)

        def unit(name: str, value: np.ndarray) -> Any:
            if name == "period":  # the last wave moves by one period if log(period) changes by period / length
                return np.minimum(1, value * of_waves)
            return of_waves if name in _WAVES else 1.0

        return np.concatenate([np.broadcast_to(unit(n, v), v.shape).reshape(-1) for n, v in self._values.items()])

    def at(self, theta: np.ndarray) -> OurKernel:
        keywords, begin = dict(self.function.keywords), 0  # type: ignore[attr-defined]
        for name, value in self._values.items():
            part = theta[begin : begin + value.size].reshape(value.shape)
            keywords[name] = np.exp(part) if name in self._logarithms else part
            begin += value.size
        return OurKernel(functools.partial(self.function.func, **keywords))  # type: ignore[attr-defined]

    def copied(self) -> OurKernel:
        keywords = {n: copy.copy(v) for n, v in self.function.keywords.items()}  # type: ignore[attr-defined]
        return OurKernel(functools.partial(self.function.func, **keywords))  # type: ignore[attr-defined]

    def _function_on(self, x: Array) -> Callable[..., Any]:
        if isinstance(x, np.ndarray):
            return self.function
        return functools.partial(self.function, **{n: _arrays.to_device_of(v, x) for n, v in self._values.items()})

    def diagonal(self, x: Array) -> Array:
        if not isinstance(x, np.ndarray):
            return super().diagonal(x) if not len(x) else self(x[:1])[0, 0] + 0 * _columns(x)[:, 0]
        return np.full(len(x), self(x[:1])[0, 0] if len(x) else 0.0)

    def gradient(self, x: np.ndarray, G: np.ndarray) -> np.ndarray:
        others = {n: v for n, v in self.function.keywords.items() if n not in self._values}  # type: ignore[attr-defined]
        gradients = self._adjoint(x, None, *[_arrays.to_device_of(v, x) for v in self._values.values()], G, **others)
        gradients = gradients[-len(self._values) :]  # gradients of x come first
        of_values = map(_arrays.to_host, gradients)
        parts = [g * self._values[n] if n in self._logarithms else g for n, g in zip(self._values, of_values)]
        return np.concatenate([np.asarray(p).reshape(-1) for p in parts])


class SklearnKernel(AxisKernel):
    """A kernel with scikit-learn's ``theta``, ``bounds`` and ``clone_with_theta``, called with points (n, p)."""

    @property
    def theta(self) -> np.ndarray:
        return np.asarray(self.function.theta, np.float64)  # type: ignore[attr-defined]

    @property
    def names(self) -> list[str]:
        of_all = [[p.name] * p.n_elements for p in self.function.hyperparameters if not p.fixed]  # type: ignore[attr-defined]
        return [name for names in of_all for name in names]

    @property
    def bounds(self) -> np.ndarray:
        return np.asarray(self.function.bounds, np.float64).reshape(-1, 2)  # type: ignore[attr-defined]

    def at(self, theta: np.ndarray) -> SklearnKernel:
        return SklearnKernel(self.function.clone_with_theta(theta))  # type: ignore[attr-defined]

    def copied(self) -> SklearnKernel:
        return SklearnKernel(copy.deepcopy(self.function))

    def __call__(self, x: Array, y: Array | None = None) -> Array:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"GridGP: a scikit-learn kernel accepts only NumPy arrays; use a quatrefoil kernel for {_arrays.describe(x)}")
        return super().__call__(_columns(x), None if y is None else _columns(y))

    def diagonal(self, x: np.ndarray) -> np.ndarray:
        return self.function.diag(_columns(x))  # type: ignore[attr-defined]

    def gradient(self, x: np.ndarray, G: np.ndarray) -> np.ndarray:
        _, derivatives = self.function(_columns(x), eval_gradient=True)
        return np.einsum("ij,ijp->p", G, derivatives)


class Unscaled:
    """A function with one length scale, whose initial value depends on the axis."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def on(self, x: Array, share: float) -> OurKernel:
        """The kernel whose scale is this fraction of the length of the axis, per column."""
        return OurKernel(functools.partial(self.function, scale=share * lengths(x)))


def white(x: np.ndarray) -> np.ndarray:
    """The covariance of independent noise."""
    return np.eye(len(x))


def axis_kernels(kernels: Any, count: int, label: str, names: Sequence[Any] = (), argument: str = "kernels") -> list[AxisKernel | Unscaled]:
    """One kernel per axis, from a list, one function or None for all axes, or a dict by names of axes."""
    if isinstance(kernels, Mapping):
        if kernels.keys() != set(names):
            expected = f"one per axis, {', '.join(map(repr, names))}" if names else "a list, because only axes of a table have names"
            raise ValueError(f"{label}: {argument} is a dict with keys {', '.join(map(repr, kernels))}, expected {expected}")
        kernels = [kernels[name] for name in names]
    if kernels is None or callable(kernels) or isinstance(kernels, str):
        kernels = [kernels] * count
    if not isinstance(kernels, (list, tuple)):
        fix = "callables such as functools.partial(qf.kron.rbf, scale=0.3), one per axis or one for all"
        raise TypeError(f"{label}: {argument} is {_arrays.describe(kernels)}, expected {fix}")
    functions: Any = kernels
    if len(functions) != count:
        raise ValueError(f"{label}: got {len(functions)} {argument} for {count} axes, expected one per axis")
    is_noise = argument == "noise_kernels"
    return [
        AxisKernel(white) if is_noise and k == "white" else _axis_kernel(k, f"{label}: {argument}[{i}]") for i, k in enumerate(functions)
    ]


def _axis_kernel(function: Any, label: str) -> AxisKernel | Unscaled:
    if isinstance(function, str):
        known = {f.__name__: f for f in _OURS}
        if function not in known:
            of_scale = ", ".join(repr(name) for name, f in known.items() if _OURS[f][1] == ("scale",))
            raise ValueError(f"{label} is {function!r}, expected {of_scale} or a callable k(x, y=None)")
        function = known[function]
    if function is None:
        return Unscaled(mixture.matern52)
    if isinstance(function, functools.partial) and function.func in _OURS:
        missing = [n for n in _OURS[function.func][1] if n not in function.keywords]
        if not missing and not function.args:
            return OurKernel(function).copied()
        if unknown := set(function.keywords) - inspect.signature(function.func).parameters.keys():
            function.func(**dict.fromkeys(unknown))  # raises an error that names the right arguments
        raise ValueError(f"{label}: pass {', '.join(missing) or 'hyperparameters'} by keyword in the functools.partial")
    if hasattr(function, "clone_with_theta"):
        return SklearnKernel(function).copied()
    if function in _OURS and _OURS[function][1] == ("scale",):
        return Unscaled(function)
    if function in _OURS:
        raise TypeError(f"{label} is {function.__name__} without hyperparameters; pass functools.partial({function.__name__}, ...)")
    if not callable(function):
        raise TypeError(f"{label} is {type(function).__name__}, expected a callable k(x, y=None)")
    return AxisKernel(function)


def lengths(x: Array) -> np.ndarray:
    """The length of an axis per column; if all numbers are equal, their absolute value, or 1 if that is 0."""
    points = _arrays.to_host(x)
    sizes = np.ptp(points, axis=0) if len(points) else np.zeros(points.shape[1:])
    sizes = np.where(sizes > 0, sizes, np.abs(points).max(axis=0, initial=0.0))
    return np.where(sizes > 0, sizes, 1.0)


def _columns(x: np.ndarray) -> np.ndarray:
    return x[:, None] if x.ndim == 1 else x
