"""Searches for the hyperparameters of a ``GridGP``."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .gridfit import Fit
from .gridmodel import Model

_FTOL, _SHARE = 2.2e-9, 0.1  # changes where a search ends: of the likelihood, as in SciPy, or of its standard error if it is estimated
_ESTIMATED_MAXLS = 6  # evaluations on a line: the gradient of an estimate is not that of its error, so that more may find no lower value
_FLAT = 0.03  # of the length of the gradient at the start: where an estimate without a lower value on a line is at its minimum
_FEW_CELLS = 100_000  # of a thinned grid, on which a search of many cells begins: an evaluation takes a few seconds
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def learnt(fit: Fit, models: Sequence[Model], optimizer: Any, restarts: int, rng: np.random.Generator) -> Model:
    """The best of several searches, the first from the best of ``models``; warns of a hyperparameter at a bound.

    An estimated likelihood of many cells is first maximised on a thinned grid, whose evaluations are cheap; where that finds a maximum
    inside the bounds, one search with all cells goes on from there.
    """
    bounds = None
    if fit.how.logdet == "lanczos" and fit.data.on_host and len(fit.data.y) > _FEW_CELLS:
        data, cells = fit.data.thinned(_FEW_CELLS)
        few = fit.on(data)
        theta, limits, _ = _best(few, [m.thinned(cells) for m in models], None, optimizer, restarts, rng)
        fit.evaluations = few.evaluations
        if not _at_bounds(theta, limits).any():
            models, bounds, restarts = [models[0].at(theta)], limits, 0
    theta, bounds, complaint = _best(fit, models, bounds, optimizer, restarts, rng)
    model = models[0].at(theta)
    ended = [
        f"{name} at {'its least' if i == 0 else 'its largest'}, {np.exp(bound):.3g}"
        for name, both, reached in zip(model.names, bounds, _at_bounds(theta, bounds))
        for i, bound in enumerate(both)
        if reached[i]
    ]
    if ended:  # the likelihood is flat there, so that a search may end in any way
        what = "the data hardly determine it; another start moves the bound"
        complaint = f"the search ended with {' and '.join(ended)}: {what}"
    if complaint:
        warnings.warn(f"GridGP.fit: {complaint}", RuntimeWarning, stacklevel=3)
    return model


def _at_bounds(theta: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether a variable has reached its lower or its upper bound, (variables, 2)."""
    reached: np.ndarray = np.isclose(theta[:, None], bounds)
    return reached


def _best(
    fit: Fit, models: Sequence[Model], bounds: np.ndarray | None, optimizer: Any, restarts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, str]:
    """(theta, its bounds, what to warn of) of the best search; the bounds are those of its start if None."""
    known: dict[bytes, tuple[float, np.ndarray]] = {}  # at the starts

    def value(model: Model) -> float:
        evaluated = _evaluated(fit, model)
        known[model.theta.tobytes()] = evaluated
        return evaluated[0]

    fit.model = model = min(models, key=value) if len(models) > 1 else models[0]
    units = model.units(fit.data)
    bounds = model.bounds(fit.data) if bounds is None else bounds
    starts = [model.theta, *(_drawn_start(model.theta, bounds, units, rng) for _ in range(restarts))]
    theta, _, complaint = min([_searched(fit, optimizer, start, bounds, units, known) for start in starts], key=lambda result: result[1])
    return theta, bounds, complaint


def _evaluated(fit: Fit, model: Model) -> tuple[float, np.ndarray]:
    """The negative log-likelihood and its gradient; infinite if it does not exist."""
    with contextlib.suppress(np.linalg.LinAlgError), np.errstate(all="ignore"):
        value, gradient = fit.objective(model)
        if math.isfinite(value) and np.isfinite(gradient).all():
            return value, gradient
    return math.inf, np.zeros(len(model.theta))


def _searched(
    fit: Fit, optimizer: Any, start: np.ndarray, bounds: np.ndarray, units: np.ndarray, known: dict[bytes, tuple[float, np.ndarray]]
) -> tuple[np.ndarray, float, str]:
    """(theta, value, what to warn of)"""
    highest = -math.inf

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal highest
        key = theta.tobytes()
        value, gradient = known.pop(key) if key in known else _evaluated(fit, fit.model.at(theta))
        if value < math.inf:
            highest = max(highest, value)
        elif highest > -math.inf:  # too far: worse than all so far, by one nat per cell, and the line search comes back
            value = highest + len(fit.data.y)
        return value, gradient

    if callable(optimizer):
        theta, value = optimizer(objective, start, bounds)
        return np.array(theta, np.float64), float(value), ""
    shift = fit.data.log_unit

    def scaled(t: np.ndarray) -> tuple[float, np.ndarray]:  # of data without a unit: the search stops at a share of the value
        value, gradient = objective(t * units)
        return value - shift, gradient * units

    result = _minimised(scaled, start / units, bounds / units[:, None], lambda: fit.error)
    complaint = "" if result.success else f"the optimiser did not converge: {result.message}"
    return result.x * units, float(result.fun) + shift, complaint


def _minimised(objective: Objective, start: np.ndarray, bounds: np.ndarray, error: Callable[[], float]) -> Any:
    """By SciPy's L-BFGS-B, first with the objective divided by the length of its gradient at the start. ``error`` is its last value's.

    Where all variables have bounds, its first step is the whole gradient, often to a corner of the bounds where an evaluation takes long.
    """
    from scipy.optimize import minimize

    def search(start: np.ndarray, first: tuple[float, np.ndarray], size: float) -> Any:
        def divided(t: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = first if np.array_equal(t, start) else objective(t)
            return value / size, gradient / size

        result = minimize(divided, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options | {"gtol": 1e-5 / size})
        result.fun, result.jac = result.fun * size, result.jac * size
        return result

    first = objective(start)
    size, is_estimate = float(np.linalg.norm(first[1])), error() > 0
    options = {"ftol": max(_FTOL, _SHARE * error() / max(abs(first[0]), 1)), **({"maxls": _ESTIMATED_MAXLS} if is_estimate else {})}
    rough = search(start, first, max(size, 1.0))
    if is_estimate:
        rough.success |= bool(np.linalg.norm(rough.jac) <= _FLAT * size)
    if is_estimate or not size > 1:
        return rough
    result = search(rough.x, (rough.fun, rough.jac), 1.0)
    result.success |= rough.success
    return result


def _drawn_start(first: np.ndarray, bounds: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform in the bounds; without bounds, ``first`` with normal numbers added."""
    bounded = np.isfinite(bounds).all(axis=1)
    low, high = np.where(bounded[:, None], bounds, 0.0).T
    return np.where(bounded, rng.uniform(low, high), first + units * rng.standard_normal(len(first)))
