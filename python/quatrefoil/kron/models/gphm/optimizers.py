"""Optimizers: Adam on all parameters, or on the hyperparameters with the best solution for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...._array_tools import size
from .component import Component
from .edges import edges
from .inverse import Cholesky, Inverse, Spectrum
from .projection import Projected
from .units import Units

Array = Any
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8  # Adam's, as published
_HALF = 100  # steps after which those of Projection are half as long


class Moments(NamedTuple):
    """Adam's memory, and how many steps it is of."""

    first: Array
    second: Array
    steps: int

    @classmethod
    def none(cls, x: Array) -> Moments:
        return cls(0 * x, 0 * x, 0)

    def step(self, x: Array, gradient: Array, rate: float) -> tuple[Array, Moments]:
        """x after a step down, and the memory of it."""
        steps = self.steps + 1
        first = _FIRST * self.first + (1 - _FIRST) * gradient
        second = _SECOND * self.second + (1 - _SECOND) * gradient**2
        down = (first / (1 - _FIRST**steps)) / ((second / (1 - _SECOND**steps)) ** 0.5 + _EPSILON)
        return x - rate * down, Moments(first, second, steps)


class Step(NamedTuple):
    loss: float  # before it
    residual: float  # of the equation before it, root mean square; NaN where the optimizer does not go by it
    x: Array
    moments: Moments


class Adam:
    """On all parameters: the authors' way."""

    form: type[Inverse] = Cholesky
    jitter, rate, least_steps, most_steps = 1e-6, 0.01, 10_000, 10_000  # unless a user gives others

    def offset(self, component: Component, units: Units) -> float:
        """The difference of the loss in the arguments' units."""
        pde, log_size = component.loss.pde, float(np.log(units.size))
        weights = component.loss.weight * size(edges(pde.boundary))
        return log_size * (2 * size(pde.source) + weights) + float(np.log(units.rate)) * size(pde.source)

    def prepare(self, component: Component, x: Array) -> Array:
        """x before the first step."""
        return x

    def step(self, component: Component, x: Array, moments: Moments, rate: float) -> Step:
        value, gradients = component.loss(component.named(x))
        return Step(value, np.nan, *moments.step(x, component.flat(gradients), rate))


class Projection(Adam):
    """U is always the solution that the hyperparameters leave, which take Adam's steps, shorter ones by and by: README (13)-(18)."""

    form = Spectrum
    jitter, rate, least_steps, most_steps = 1e-12, 0.1, 100, 2000

    def offset(self, component: Component, units: Units) -> float:
        return float(np.log(units.size)) * size(component.loss.pde.source)

    def prepare(self, component: Component, x: Array) -> Array:
        params = component.named(x)
        with np.errstate(all="ignore"):
            return component.flat({**params, "U": Projected.new(component.loss, params).solution(params["U"])})

    def step(self, component: Component, x: Array, moments: Moments, rate: float) -> Step:
        params = component.named(x)
        with np.errstate(all="ignore"):
            value, gradients, residual = Projected.at(component.loss, params).evaluate(params["U"])
        x, moments = moments.step(x, component.flat(gradients), rate / (1 + moments.steps / _HALF))
        return Step(value, residual, self.prepare(component, x), moments)


OPTIMIZERS = {"adam": Adam(), "projection": Projection()}
