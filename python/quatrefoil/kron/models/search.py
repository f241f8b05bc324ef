"""Searches for the hyperparameters of a ``GridGP``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def minimised(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, bounds: np.ndarray, ftol: float) -> Any:
    """By SciPy's L-BFGS-B, first with the objective divided by the length of its gradient at the start.

    Where all variables have bounds, its first step is the whole gradient, often to a corner of the bounds where an evaluation takes long.
    """
    from scipy.optimize import minimize

    def search(start: np.ndarray, first: tuple[float, np.ndarray], size: float) -> Any:
        def divided(t: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = first if np.array_equal(t, start) else objective(t)
            return value / size, gradient / size

        result = minimize(divided, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": ftol, "gtol": 1e-5 / size})
        result.fun, result.jac = result.fun * size, result.jac * size
        return result

    first = objective(start)
    size = float(np.linalg.norm(first[1]))
    if not size > 1:
        return search(start, first, 1.0)
    rough = search(start, first, size)
    result = search(rough.x, (rough.fun, rough.jac), 1.0)
    result.success |= rough.success  # at a minimum of an estimate the second search may find no lower value
    return result


def drawn_start(first: np.ndarray, bounds: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform in the bounds; without bounds, ``first`` with normal numbers added."""
    bounded = np.isfinite(bounds).all(axis=1)
    low, high = np.where(bounded[:, None], bounds, 0.0).T
    return np.where(bounded, rng.uniform(low, high), first + units * rng.standard_normal(len(first)))
