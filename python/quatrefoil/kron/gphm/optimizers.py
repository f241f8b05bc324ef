"""What makes a step: Adam on all parameters, or on the hyperparameters of the solution that is best for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .component import Component
from .inverse import Cholesky, Inverse, Spectrum
from .projection import Projected

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8  # Adam's, as published
_HALF = 100  # steps after which those of Projection are half as long


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


class Step(NamedTuple):
    loss: float  # before it
    residual: float  # of the equation before it, root mean square; NaN where the optimizer does not go by it
    x: np.ndarray
    moments: Moments


class Adam:
    """On all parameters: the authors' way."""

    form: type[Inverse] = Cholesky
    jitter, rate, steps = 1e-6, 0.01, 10_000  # where a user gives none
    resolved = np.inf  # frequencies begin within this share of those that the grid resolves

    def prepare(self, component: Component, x: np.ndarray) -> np.ndarray:
        """x before the first step."""
        return x

    def step(self, component: Component, x: np.ndarray, moments: Moments, rate: float) -> Step:
        value, gradients = component.loss(component.named(x))
        return Step(value, np.nan, *moments.step(x, component.flat(gradients), rate))


class Projection(Adam):
    """U is always the solution that the hyperparameters leave, which take Adam's steps, shorter ones by and by: README (13)-(18)."""

    form = Spectrum
    jitter, rate, steps = 1e-12, 0.1, 100
    resolved = 0.9

    def prepare(self, component: Component, x: np.ndarray) -> np.ndarray:
        params = component.named(x)
        with np.errstate(all="ignore"):
            return component.flat({**params, "U": Projected.at(component.loss, params).solution(params["U"])})

    def step(self, component: Component, x: np.ndarray, moments: Moments, rate: float) -> Step:
        params = component.named(x)
        with np.errstate(all="ignore"):
            value, gradients, residual = Projected.at(component.loss, params).evaluate(params["U"])
        x, moments = moments.step(x, component.flat(gradients), rate / (1 + moments.steps / _HALF))
        return Step(value, residual, self.prepare(component, x), moments)


OPTIMIZERS = {"adam": Adam(), "projection": Projection()}
