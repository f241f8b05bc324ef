"""One Gaussian process of the solution: its parameters, its loss, and its prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arrays
from ...._array_tools import size
from ...pde import PDE
from .axis import Axis, Covariance, DeviceAxis, GeneralAxis, ParityAxis, Points, UniformAxis
from .inverse import Inverse
from .loss import BaseSolution, Loss, Params

Array = Any
_BY_PARITY = 400  # points; up to this many, products by parity are faster on a square grid


class Component(NamedTuple):
    """A Gaussian process with its loss. ``initial`` has the initial values of the learnt parameters, in the order of ``flat``."""

    loss: Loss
    initial: Params

    def flat(self, params: Mapping[str, Any]) -> Array:
        xp = self.loss.xp
        return xp.concat([xp.reshape(params[name], (-1,)) for name in self.initial])

    def named(self, flat: Array) -> Params:
        """Views of a vector."""
        params, begin = {}, 0
        for name, value in self.initial.items():
            params[name] = self.loss.xp.reshape(flat[begin : begin + size(value)], tuple(value.shape))
            begin += size(value)
        return params

    @property
    def kind(self) -> str:
        return self.loss.axes[0].covariance.kind

    def as_base(self, params: Mapping[str, Array], form: type[Inverse]) -> BaseSolution:
        """The solution as the base of further components."""
        self.loss.set_axes(params, form)
        u = params["U"]
        return BaseSolution(self.loss.xp.asarray(u, copy=True), self.loss.terms(u, self.loss.solved(u)))

    def predict(self, params: Mapping[str, Array], new: Sequence[Array], form: type[Inverse]) -> Array:
        """k* K⁻¹ U, axis by axis (12)."""
        self.loss.set_axes(params, form)
        return self._through(params, [a.predictor(x) for a, x in zip(self.loss.axes, new)])

    def with_derivatives(self, params: Mapping[str, Array], new: Sequence[Array], form: type[Inverse]) -> tuple[Array, Array]:
        """The solution, and the sum of the equation's derivative terms, at points of every axis."""
        self.loss.set_axes(params, form)
        plain, slopes = ([getattr(a, name)(x) for a, x in zip(self.loss.axes, new)] for name in ("predictor", "slope_predictor"))
        parts = [[*plain[:k], slope, *plain[k + 1 :]] for k, slope in enumerate(slopes)]
        return self._through(params, plain), sum(self._through(params, kernels) for kernels in parts)

    def _through(self, params: Mapping[str, Array], kernels: Sequence[Array]) -> Array:
        axes = self.loss.axes
        values = kernels[0] @ self.loss.solved(params["U"])[0].T  # (M_1, N_2), or (M_1, 1)
        return values[:, 0] if len(axes) == 1 else axes[1].inverse.solve(_arrays.contiguous(values)) @ kernels[1].T


def mixture(pde: PDE, axes: Sequence[Points], covariance: Covariance, count: int, highest: float, weight: float) -> Component:
    """The component that learns frequencies; it starts from U = 0 and equal weights for frequencies up to ``highest``."""
    initial: Params = {"U": np.zeros(tuple(pde.source.shape)), "log_tau": np.zeros(()), "log_v": np.zeros(())}
    for k in range(len(axes)):
        initial[f"log_weights_{k}"] = np.full(count, -np.log(count))
        initial[f"log_scales_{k}"] = np.zeros(count)
        initial[f"freqs_{k}"] = np.linspace(0, 1, count) * highest
    return Component(Loss(pde, _axes(pde, axes, covariance), weight, {}, None), _to_device_of(pde, initial))


def smooth(below: Component, params: Mapping[str, Array], form: type[Inverse]) -> Component:
    """A Matern-5/2 process on top of a solution: student_t with frequency 0 and, at first, the length of the axis as its length-scale."""
    pde, old = below.loss.pde, below.loss.axes
    initial: Params = {"U": np.zeros(tuple(pde.source.shape)), "log_tau": np.zeros(()), "log_v": np.zeros(())}
    fixed: Params = {}
    for k, axis in enumerate(old):
        initial[f"log_weights_{k}"], fixed[f"freqs_{k}"] = np.zeros(1), np.zeros(1)
        initial[f"log_scales_{k}"] = np.full(1, -np.log(abs(axis.x[-1] - axis.x[0])))
    axes = [a.like(a.covariance._replace(kind="student_t")) for a in old]
    initial = _to_device_of(pde, initial) | {"log_tau": below.loss.xp.asarray(params["log_tau"], copy=True)}
    return Component(Loss(pde, axes, below.loss.weight, _to_device_of(pde, fixed), below.as_base(params, form)), initial)


def _to_device_of(pde: PDE, params: Params) -> Params:
    """Host arrays, moved to the device of the equation."""
    return {name: _arrays.to_device_of(value, pde.source) for name, value in params.items()}


def _axes(pde: PDE, axes: Sequence[Points], covariance: Covariance) -> list[Axis]:
    count = math.prod(len(x.host) for x in axes)
    return [_axis(x, covariance._replace(terms=pde.terms(k)), f"axes[{k}]", count // len(x.host)) for k, x in enumerate(axes)]


def _axis(points: Points, covariance: Covariance, name: str, rows: int) -> Axis:
    """``rows`` is the number of rows along this axis in the grid."""
    if not points.uniform:
        return GeneralAxis(points, covariance, name)
    if not isinstance(points.array, np.ndarray):
        return DeviceAxis(points, covariance, name)
    if len(covariance.terms) > 1:
        return GeneralAxis(points, covariance, name)
    return (ParityAxis if rows > 1 and len(points.host) <= _BY_PARITY else UniformAxis)(points, covariance, name)
