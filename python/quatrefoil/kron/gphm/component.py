"""One Gaussian process of the solution: its parameters, its loss, and its prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .axis import Covariance, axis
from .inverse import Inverse
from .loss import Held, Loss, Params
from .pde import PDE


class Component(NamedTuple):
    """``initial`` holds what is learnt, in the order in which ``flat`` writes it."""

    loss: Loss
    initial: Params

    def flat(self, params: Mapping[str, Any]) -> np.ndarray:
        return np.concatenate([np.ravel(params[name]) for name in self.initial])

    def named(self, flat: np.ndarray) -> Params:
        """Views of a vector."""
        found, begin = {}, 0
        for name, value in self.initial.items():
            found[name] = flat[begin : begin + value.size].reshape(value.shape)
            begin += value.size
        return found

    def held(self, params: Mapping[str, np.ndarray], form: type[Inverse]) -> Held:
        """Its solution, for components on top of it."""
        self.loss.set_axes(params, form)
        return Held(params["U"].copy(), self.loss.terms(self.loss.solved(params["U"])))

    def predict(self, params: Mapping[str, np.ndarray], new: Sequence[np.ndarray], form: type[Inverse]) -> np.ndarray:
        """k* K⁻¹ U, axis by axis (12)."""
        self.loss.set_axes(params, form)
        axes = self.loss.axes
        kernels = [a.predictor(x) for a, x in zip(axes, new)]
        found = kernels[0] @ self.loss.solved(params["U"])[0].T  # (M_1, N_2), or (M_1, 1)
        if len(axes) == 1:
            predicted: np.ndarray = found[:, 0]
        else:
            predicted = axes[1].solve(np.ascontiguousarray(found)) @ kernels[1].T
        return predicted


def mixture(
    pde: PDE, axes: Sequence[np.ndarray], covariance: Covariance, count: int, freq_scale: float, weight: float, resolved: float
) -> Component:
    """The component that finds the frequencies; it starts at 0 with all of them alike, up to ``freq_scale`` or a share ``resolved`` of the
    highest that the grid has, (N - 1) / (2 length)."""
    initial: Params = {"U": np.zeros(pde.source.shape), "log_tau": np.zeros(()), "log_v": np.zeros(())}
    for k, x in enumerate(axes):
        highest = (len(x) - 1) / (2 * abs(float(x[-1]) - float(x[0])))
        initial[f"log_weights_{k}"] = np.full(count, -np.log(count))
        initial[f"log_scales_{k}"] = np.zeros(count)
        initial[f"freqs_{k}"] = np.linspace(0, 1, count) * min(freq_scale, resolved * highest)
    return Component(Loss(pde, _axes(axes, covariance), weight, {}, None), initial)


def smooth(below: Component, params: Mapping[str, np.ndarray], form: type[Inverse]) -> Component:
    """A Matern-5/2 process on top of a solution: one student_t component whose frequency stays 0."""
    pde, old = below.loss.pde, below.loss.axes
    initial: Params = {"U": np.zeros(pde.source.shape), "log_tau": params["log_tau"].copy(), "log_v": np.zeros(())}
    fixed = {}
    for k in range(len(old)):
        initial[f"log_weights_{k}"], initial[f"log_scales_{k}"], fixed[f"freqs_{k}"] = np.zeros(1), np.zeros(1), np.zeros(1)
    covariance = old[0].covariance._replace(kind="student_t")
    axes = [type(a)(a.x, covariance, a.name) for a in old]
    return Component(Loss(pde, axes, below.loss.weight, fixed, below.held(params, form)), initial)


def _axes(axes: Sequence[np.ndarray], covariance: Covariance) -> list[Any]:
    size = math.prod(map(len, axes))
    return [axis(x, covariance, f"axes[{k}]", size // len(x)) for k, x in enumerate(axes)]
