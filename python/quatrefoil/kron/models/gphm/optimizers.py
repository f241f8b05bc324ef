"""Optimizers: Adam on all parameters, or only on the hyperparameters, which determine the solution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...._array_tools import size
from .component import Component
from .inverse import Cholesky, Inverse, Spectrum
from .loss import edges
from .projection import Projected
from .units import Units

Array = Any
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8  # Adam's published defaults
_HALF = 100  # steps after which the rate of Projection is halved


class Moments(NamedTuple):
    """Adam's moments and their number of steps."""

    first: Array
    second: Array
    steps: int

    @classmethod
    def zero(cls, x: Array) -> Moments:
        return cls(0 * x, 0 * x, 0)

    def step(self, x: Array, gradient: Array, rate: float) -> tuple[Array, Moments]:
        """x after a step, and the new moments."""
        steps = self.steps + 1
        first = _FIRST * self.first + (1 - _FIRST) * gradient
        second = _SECOND * self.second + (1 - _SECOND) * gradient**2
        down = (first / (1 - _FIRST**steps)) / ((second / (1 - _SECOND**steps)) ** 0.5 + _EPSILON)
        return x - rate * down, Moments(first, second, steps)


class Step(NamedTuple):
    loss: float  # before the step
    residual: float  # of the equation before the step, root mean square; NaN if the optimizer does not use it
    x: Array
    moments: Moments


class Adam:
    """Adam on all parameters, as published."""

    form: type[Inverse] = Cholesky
    jitter, rate, min_steps, max_steps = 1e-6, 0.01, 10_000, 10_000  # defaults

    def offset(self, component: Component, units: Units) -> float:
        """The loss in the units of the arguments minus the loss in scaled units."""
        pde, log_size = component.loss.pde, float(np.log(units.size))
        weights = component.loss.weight * size(edges(pde.boundary))
        return log_size * (2 * size(pde.source) + weights) + float(np.log(units.rate)) * size(pde.source)

    def prepare(self, component: Component, x: Array) -> Array:
        """x as ``step`` needs it: ``Projection`` replaces U by its solution."""
        return x

    def step(self, component: Component, x: Array, moments: Moments, rate: float) -> Step:
        value, gradients = component.loss(component.named(x))
        return Step(value, np.nan, *moments.step(x, component.flat(gradients), rate))


class Projection(Adam):
    """U is the solution that the hyperparameters determine; Adam's steps for them decrease in length: README (13)-(18)."""

    form = Spectrum
    jitter, rate, min_steps, max_steps = 1e-12, 0.1, 100, 2000

    def offset(self, component: Component, units: Units) -> float:
        return float(np.log(units.size)) * size(component.loss.pde.source)

    def prepare(self, component: Component, x: Array) -> Array:
        params = component.named(x)
        with np.errstate(all="ignore"):
            projected = Projected(component.loss, params)
            x = component.flat({**params, "U": projected.solution(params["U"])})
        component.loss.memo = x, projected
        return x

    def step(self, component: Component, x: Array, moments: Moments, rate: float) -> Step:
        params, (last, projected) = component.named(x), component.loss.memo or (None, None)
        with np.errstate(all="ignore"):
            if projected is None or x is not last or not projected.is_present:
                projected = Projected(component.loss, params)
            value, gradients, residual = projected.evaluate(params["U"])
        x, moments = moments.step(x, component.flat(gradients), rate / (1 + moments.steps / _HALF))
        return Step(value, residual, self.prepare(component, x), moments)


OPTIMIZERS = {"adam": Adam(), "projection": Projection()}
