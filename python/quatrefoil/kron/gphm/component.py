"""One Gaussian process of the solution: its parameters, its loss, and its prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .axis import Covariance, axis
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

    def held(self, params: Mapping[str, np.ndarray]) -> Held:
        """Its solution, for components on top of it."""
        self.loss.set_axes(params)
        return Held(params["U"].copy(), self.loss.terms(self.loss.solved(params["U"])))

    def predict(self, params: Mapping[str, np.ndarray], new: Sequence[np.ndarray]) -> np.ndarray:
        """k* K⁻¹ U, axis by axis (11)."""
        self.loss.set_axes(params)
        axes = self.loss.axes
        kernels = [a.predictor(x) for a, x in zip(axes, new)]
        found = kernels[0] @ self.loss.solved(params["U"])[0].T  # (M_1, N_2), or (M_1, 1)
        if len(axes) == 1:
            predicted: np.ndarray = found[:, 0]
        else:
            predicted = axes[1].solve(np.ascontiguousarray(found)) @ kernels[1].T
        return predicted


def mixture(pde: PDE, axes: Sequence[np.ndarray], covariance: Covariance, count: int, freq_scale: float, weight: float) -> Component:
    """The component that finds the frequencies; it starts at 0 with all frequencies up to ``freq_scale`` alike."""
    initial: Params = {"U": np.zeros(pde.source.shape), "log_tau": np.zeros(()), "log_v": np.zeros(())}
    for k in range(len(axes)):
        initial[f"log_weights_{k}"] = np.full(count, -np.log(count))
        initial[f"log_scales_{k}"] = np.zeros(count)
        initial[f"freqs_{k}"] = np.linspace(0, 1, count) * freq_scale
    return Component(Loss(pde, _axes(axes, covariance), weight, {}, None), initial)


def smooth(below: Component, params: Mapping[str, np.ndarray]) -> Component:
    """A Matern-5/2 process on top of a solution: one student_t component whose frequency stays 0."""
    pde, old = below.loss.pde, below.loss.axes
    initial: Params = {"U": np.zeros(pde.source.shape), "log_tau": params["log_tau"].copy(), "log_v": np.zeros(())}
    fixed = {}
    for k in range(len(old)):
        initial[f"log_weights_{k}"], initial[f"log_scales_{k}"], fixed[f"freqs_{k}"] = np.zeros(1), np.zeros(1), np.zeros(1)
    covariance = old[0].covariance._replace(kind="student_t")
    axes = [type(a)(a.x, covariance, a.name) for a in old]
    return Component(Loss(pde, axes, below.loss.weight, fixed, below.held(params)), initial)


def _axes(axes: Sequence[np.ndarray], covariance: Covariance) -> list[Any]:
    return [axis(x, covariance, f"axes[{k}]") for k, x in enumerate(axes)]
