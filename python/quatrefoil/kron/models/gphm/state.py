"""The training state of ``GPHM``, a value that is replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arguments, _arrays
from ...product.dense import doubled
from .component import Component
from .inverse import Inverse
from .loss import Params
from .optimizers import Moments, Step
from .units import Units

Array = Any
History = dict[str, list[Any]]


class Learnt(NamedTuple):
    """The part of the state that steps update."""

    x: Array  # parameters of the trained component
    moments: Moments
    steps: int  # of all components
    optimizer: str  # the owner of the moments; "" before the first step
    best: Array  # the x with the smallest residual, if the optimizer uses residuals
    residual: float  # of ``best``; infinite if the optimizer does not use residuals

    @classmethod
    def at(cls, x: Array, steps: int = 0) -> Learnt:
        return cls(x, Moments.zero(x), steps, "", x, np.inf)

    @property
    def chosen(self) -> Array:
        return self.best if self.residual < np.inf else self.x

    def after(self, step: Step) -> Learnt:
        best, residual = (self.x, step.residual) if step.residual < self.residual else (self.best, self.residual)
        return self._replace(x=step.x, moments=step.moments, steps=self.steps + 1, best=best, residual=residual)


class State(NamedTuple):
    """The complete training state. Parameters are in inner units, the history in those of the arguments."""

    units: Units
    components: tuple[Component, ...]
    earlier: tuple[Params, ...]  # parameters of all components except the last
    learnt: Learnt
    history: History

    @classmethod
    def begun(cls, units: Units, component: Component) -> State:
        learnt = Learnt.at(component.flat(component.initial))
        return cls(units, (component,), (), learnt, {"loss": [], "error_step": [], "error": []})

    def under(self, component: Component) -> State:
        """The state with another component, which is trained from now on."""
        learnt = Learnt.at(component.flat(component.initial), self.learnt.steps)
        return self._replace(components=(*self.components, component), earlier=(*self.earlier, self.now), learnt=learnt)

    @property
    def now(self) -> Params:
        """The parameters of the trained component."""
        return self.components[-1].named(self.learnt.chosen)

    def outer(self, number: int) -> Params:
        """Copies of a component's parameters in the arguments' units."""
        return self.units.outer((*self.earlier, self.now)[number], self.components[number].kind)

    def predicted(self, axes: Sequence[Array], form: type[Inverse]) -> Array:
        """The solution at points of every axis, in the arguments' units."""
        inner = [self.units.axis(k, x) for k, x in enumerate(axes)]
        parts = [c.predict(p, inner, form) for c, p in zip(self.components, (*self.earlier, self.now))]
        return self.units.size * sum(parts[1:], parts[0])

    def with_derivatives(self, axes: Sequence[Array], form: type[Inverse]) -> tuple[Array, Array]:
        """The solution, and the sum of the equation's derivative terms, in inner units."""
        parts = [c.with_derivatives(p, axes, form) for c, p in zip(self.components, (*self.earlier, self.now))]
        u, derivatives = map(sum, zip(*parts))
        return u, derivatives

    def saved(self) -> dict[str, np.ndarray]:
        learnt, component = self.learnt, self.components[-1]
        state = {f"units.{name}": np.array(value) for name, value in self.units._asdict().items()}
        state |= {"optimizer": np.array(learnt.optimizer), "steps": np.array(learnt.steps)}
        state |= {"adam.first": _host_copy(learnt.moments.first), "adam.second": _host_copy(learnt.moments.second)}
        state["adam.steps"] = np.array(learnt.moments.steps)
        for i, params in enumerate((*self.earlier, component.named(learnt.x))):
            state |= {f"{i}.{name}": _host_copy(value) for name, value in params.items()}
        if learnt.residual < np.inf:
            state |= {f"best.{name}": _host_copy(value) for name, value in component.named(learnt.best).items()}
            state["best.residual"] = np.array(learnt.residual)
        return state | {f"history.{name}": np.array(values, float) for name, values in self.history.items()}

    def loaded(self, saved: Mapping[str, Any], label: str) -> State:
        """Restores a saved state of the same components."""
        component = self.components[-1]
        x = flat(component, saved, str(len(self.earlier)), label)
        first, second = (np.array(entry(saved, f"adam.{n}", label), np.float64) for n in ("first", "second"))
        if not first.shape == second.shape == tuple(x.shape):
            raise ValueError(f"{label}: adam.first and adam.second have shapes {first.shape} and {second.shape}, expected {tuple(x.shape)}")
        moments = Moments(_arrays.to_device_of(first, x), _arrays.to_device_of(second, x), int(entry(saved, "adam.steps", label)))
        best, residual = x, np.inf
        if "best.residual" in saved:
            best, residual = flat(component, saved, "best", label), float(saved["best.residual"])
        learnt = Learnt(x, moments, int(entry(saved, "steps", label)), str(entry(saved, "optimizer", label)), best, residual)
        history: History = {}
        for name in self.history:
            values = np.asarray(entry(saved, f"history.{name}", label))
            history[name] = [int(v) for v in values] if name == "error_step" else [float(v) for v in values]
        return self._replace(learnt=learnt, history=history)


def units_of(saved: Mapping[str, Any], dims: int, label: str) -> Units:
    origins, lengths, size, rate = (np.array(entry(saved, f"units.{name}", label), np.float64) for name in Units._fields)
    if not (origins.shape == lengths.shape == (dims,) and size.shape == rate.shape == ()):
        raise ValueError(f"{label}: units.origins and units.lengths have shapes {origins.shape} and {lengths.shape}, expected ({dims},)")
    return Units(tuple(map(float, origins)), tuple(map(float, lengths)), float(size), float(rate))


def entry(saved: Mapping[str, Any], name: str, label: str) -> Any:
    if name not in saved:
        raise ValueError(f"{label}: the state has no {name!r}; expected the state_dict() of a GPHM with the same arguments")
    return saved[name]


def flat(component: Component, saved: Mapping[str, Any], prefix: str, label: str) -> Array:
    now = component.initial
    params = {name: fitting(np.asarray(entry(saved, f"{prefix}.{name}", label)), now, label, name) for name in now}
    return component.flat({name: _arrays.to_device_of(value, now[name]) for name, value in params.items()})


def fitting(value: Any, now: Params, label: str, name: str) -> Array:
    """Check a value and return a copy in double precision."""
    numbers = _arguments.host_array(value, label, name, device="keep")
    if tuple(numbers.shape) != tuple(now[name].shape):
        raise ValueError(f"{label}: {name} has shape {tuple(numbers.shape)}, expected {tuple(now[name].shape)}")
    _arguments.finite(numbers, label, name)
    return doubled(numbers)


def _host_copy(a: Array) -> np.ndarray:
    return np.array(_arrays.to_host(a))
