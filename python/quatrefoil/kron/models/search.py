"""Searches for the hyperparameters of a ``GridGP``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._warnings import warn
from .gridfit import Fit
from .gridmodel import Model

# A search stops if the likelihood changes by less than this relative amount, as in SciPy, or by less than this share of its standard error.
_FTOL, _SHARE = 2.2e-9, 0.1
_ESTIMATED_MAXLS = 6  # maximum evaluations per line search of an estimated likelihood; its gradient is not exactly that of the estimate
_FLAT = 0.03  # an estimate has converged if the norm of the gradient falls to this fraction of its initial value
_FEW_CELLS = 100_000  # largest grid of the first search; larger data are thinned; an evaluation takes a few seconds
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def best_model(fit: Fit, models: Sequence[Model], optimizer: Any, restarts: int, rng: np.random.Generator) -> Model:
    """The best of several searches. Warns if it did not converge or ended at a bound.

    The first search starts from the best of ``models``. An estimated likelihood of many cells is first maximised on a thinned grid, which
    is cheap. If the maximum is inside the bounds, one search with all cells continues from there.
    """
    bounds = None
    if fit.how.logdet == "lanczos" and fit.data.on_host and len(fit.data.y) > _FEW_CELLS:
        data, cells = fit.data.thinned(_FEW_CELLS)
        few = fit.on(data)
        theta, limits, _ = _best(few, [m.thinned(cells) for m in models], None, optimizer, restarts, rng)
        fit.evaluations = few.evaluations
        if not _at_bounds(theta, limits).any():
            models, bounds, restarts = [models[0].at(theta)], limits, 0
    theta, bounds, warning = _best(fit, models, bounds, optimizer, restarts, rng)
    model = models[0].at(theta)
    ended = [
        f"{name} at its {'lower' if i == 0 else 'upper'} bound, {np.exp(bound):.3g}"
        for name, both, reached in zip(model.names, bounds, _at_bounds(theta, bounds))
        for i, bound in enumerate(both)
        if reached[i]
    ]
    if ended:  # the likelihood is flat at a bound, so the optimiser may report anything
        what = "the data hardly determine a hyperparameter at a bound; the bounds depend on the starting values"
        warning = f"the search ended with {' and '.join(ended)}: {what}"
    if warning:
        warn(f"GridGP.fit: {warning}")
    return model


def _at_bounds(theta: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether a variable has reached its lower or its upper bound, (variables, 2)."""
    return np.isclose(theta[:, None], bounds)


def _best(
    fit: Fit, models: Sequence[Model], bounds: np.ndarray | None, optimizer: Any, restarts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, str]:
    """(theta, its bounds, a warning or "") of the best search. If ``bounds`` is None, uses those of the initial model."""
    fit.model = model = min(models, key=lambda model: _evaluate(fit, model)[0]) if len(models) > 1 else models[0]
    units = model.units(fit.data)
    bounds = model.bounds(fit.data) if bounds is None else bounds
    starts = [model.theta, *(_drawn_start(model.theta, bounds, units, rng) for _ in range(restarts))]
    theta, _, warning = min([_search(fit, optimizer, start, bounds, units) for start in starts], key=lambda result: result[1])
    return theta, bounds, warning


def _evaluate(fit: Fit, model: Model) -> tuple[float, np.ndarray]:
    """The negative log-likelihood, infinite if it does not exist, and its gradient."""
    with contextlib.suppress(np.linalg.LinAlgError), np.errstate(all="ignore"):
        value, gradient = fit.objective(model)
        if math.isfinite(value) and np.isfinite(gradient).all():
            return value, gradient
    return math.inf, np.zeros(len(model.theta))


def _search(fit: Fit, optimizer: Any, start: np.ndarray, bounds: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, float, str]:
    """(theta, value, a warning or "")"""
    highest = -math.inf

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal highest
        value, gradient = _evaluate(fit, fit.model.at(theta))
        if value < math.inf:
            highest = max(highest, value)
        elif highest > -math.inf:  # the step was too long: a value one nat per cell above the highest so far makes the search shorten it
            value = highest + len(fit.data.y)
        return value, gradient

    if callable(optimizer):
        theta, value = optimizer(objective, start, bounds)
        return np.array(theta, np.float64), float(value), ""
    shift = fit.data.log_unit

    def scaled(t: np.ndarray) -> tuple[float, np.ndarray]:  # in dimensionless units, because the stopping criterion is a relative change
        value, gradient = objective(t * units)
        return value - shift, gradient * units

    result = _minimise(scaled, start / units, bounds / units[:, None], lambda: fit.error)
    warning = "" if result.success else f"the optimiser did not converge: {result.message}"
    return result.x * units, float(result.fun) + shift, warning


def _minimise(objective: Objective, start: np.ndarray, bounds: np.ndarray, error: Callable[[], float]) -> Any:
    """Minimise with SciPy's L-BFGS-B, first with the objective divided by the norm of its initial gradient.

    Without this scaling, the first step would be the full gradient if all variables are bounded. It often ends in a corner of the bounds,
    where evaluations are slow. ``error`` returns the standard error of the last value.
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
    """A start drawn uniformly in the bounds; without bounds, ``first`` plus normal draws in ``units``."""
    bounded = np.isfinite(bounds).all(axis=1)
    low, high = np.where(bounded[:, None], bounds, 0.0).T
    return np.where(bounded, rng.uniform(low, high), first + units * rng.standard_normal(len(first)))
