"""What makes a step: Adam on all parameters, or on the hyperparameters of the solution that is best for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .component import Component
from .loss import Loss, Params
from .pde import edges

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8  # Adam's, as published
_BLOCK = 64  # columns that LAPACK's QR takes at a time


class Moments(NamedTuple):
    """Adam's memory, and how many steps it is of."""

    first: np.ndarray
    second: np.ndarray
    steps: int

    @classmethod
    def none(cls, size: int) -> Moments:
        return cls(np.zeros(size), np.zeros(size), 0)

    def step(self, x: np.ndarray, gradient: np.ndarray, rate: float) -> tuple[np.ndarray, Moments]:
        """x after a step down, and the memory of it."""
        steps = self.steps + 1
        first = _FIRST * self.first + (1 - _FIRST) * gradient
        second = _SECOND * self.second + (1 - _SECOND) * gradient**2
        down = (first / (1 - _FIRST**steps)) / (np.sqrt(second / (1 - _SECOND**steps)) + _EPSILON)
        return x - rate * down, Moments(first, second, steps)


class Adam:
    """On all parameters: the authors' way."""

    def prepare(self, component: Component, x: np.ndarray) -> np.ndarray:
        """x before the first step."""
        return x

    def step(self, component: Component, x: np.ndarray, moments: Moments, rate: float) -> tuple[float, np.ndarray, Moments]:
        """(loss at x, x after a step, the memory of it)."""
        value, gradients = component.loss(component.named(x))
        return value, *moments.step(x, component.flat(gradients), rate)


class Projection(Adam):
    """Variable projection, for one axis: U is always the best for the hyperparameters, which take Adam's steps (12), (13)."""

    def prepare(self, component: Component, x: np.ndarray) -> np.ndarray:
        params = component.named(x)
        return component.flat({**params, "U": best_solution(component.loss, params)})

    def step(self, component: Component, x: np.ndarray, moments: Moments, rate: float) -> tuple[float, np.ndarray, Moments]:
        value, gradients = component.loss(component.named(x))
        gradients["U"] = np.zeros_like(gradients["U"])  # so that Adam leaves it alone
        x, moments = moments.step(x, component.flat(gradients), rate)
        return value, self.prepare(component, x), moments


OPTIMIZERS = {"adam": Adam(), "projection": Projection()}


def best_solution(loss: Loss, params: Params) -> np.ndarray:
    """The U of least loss at given hyperparameters on one axis, (N,), the reaction linear about the U that is given: README (12)."""
    from scipy.linalg.blas import dtrsm
    from scipy.linalg.lapack import dgels

    loss.set_axes(params)
    (axis,), (c, *_), n = loss.axes, loss.pde.coefficients, len(params["U"])
    lower = np.tril(axis.lower)
    slopes = dtrsm(c, axis.lower, axis.apply(np.eye(n)), lower=1).T  # c D L^-T
    target = loss.pde.source.copy()
    below, whole = np.zeros(n), params["U"]
    if loss.held is not None:
        target -= loss.held.terms
        below, whole = loss.held.u, whole + loss.held.u
    if (reaction := loss.pde.reaction(whole)) is not None:
        value, slope = reaction
        slopes = slopes + slope[:, None] * lower
        target += slope * params["U"] - value
    on_edges, on_equation = np.sqrt(loss.weight * np.exp(params["log_tau"])), np.sqrt(np.exp(params["log_v"]))
    matrix = np.concatenate([on_edges * lower[[0, -1]], on_equation * slopes, np.eye(n)])  # large rows first, for QR
    rhs = np.concatenate([on_edges * (edges(loss.pde.boundary) - edges(below)), on_equation * target, np.zeros(n)])
    _, z, info = dgels(matrix, rhs, lwork=_BLOCK * 2 * n)
    if info or not np.isfinite(z[:n]).all():
        raise FloatingPointError("GPHM: the best solution for these hyperparameters is not finite; give a smaller learning_rate")
    best: np.ndarray = lower @ z[:n]
    return best
