"""The error of a solution: an estimate from the residual, and warnings of too few points or too low frequencies."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import _arrays
from ...._warnings import warn
from ...pde import PDE
from .differences import Differences
from .inverse import Inverse
from .state import State
from .units import HIGHEST

Array = Any
RESOLVED = 0.9  # highest initial frequency, relative to the highest that the grid resolves
_LOST = 0.5  # share of a source's energy at unresolved frequencies above which there is a warning
# Relative to the highest initial frequency; share of the weights above that, which is below 0.001 if no higher frequencies are needed.
_NEAR_THE_END, _PILED = 0.9, 0.05
_BAD = 1.0  # residual above which there may be a warning, in inner units, in which second derivatives reach 10^4


def estimated(state: State, pde: PDE, grid_pde: PDE, axes: Sequence[Array], form: type[Inverse], at: Sequence[np.ndarray]) -> np.ndarray:
    """Approximately abs(error) on the grid of points ``at``; ``grid_pde`` is the equation on the grid of axes."""
    from scipy.interpolate import RegularGridInterpolator

    units, grid = state.units, [np.asarray(_arrays.to_host(x), np.float64) for x in axes]
    if pde.is_known_between_points:
        grid = [np.interp(np.arange(2 * len(x) - 1) / 2, np.arange(len(x)), x) for x in grid]
        grid_pde = pde.on([_arrays.to_device_of(x, axes[0]) for x in grid], "GPHM.error_estimate")
    inner = [units.axis(k, _arrays.to_device_of(x, axes[0])) for k, x in enumerate(grid)]
    equation = units.equation(grid_pde)
    u, derivatives = state.with_derivatives(inner, form)
    reaction = equation.reaction(u) or (0 * u, 0 * u)
    residual = derivatives + equation.coefficient_of_u * u + reaction[0] - equation.source
    lines = [_arrays.to_host(x) for x in inner]
    differences = Differences(lines, [equation.terms(k) for k in range(len(lines))])
    error = np.abs(differences.solve(-_arrays.to_host(residual), equation.coefficient_of_u + _arrays.to_host(reaction[1])))
    on_edges = np.ones(error.shape, bool)
    on_edges[differences.inner] = False
    error += np.abs(_arrays.to_host(equation.boundary - u))[on_edges].max(initial=0.0)
    order = tuple(slice(None, None, 1 if x[-1] > x[0] else -1) for x in grid)
    ascending = [x[o] for x, o in zip(grid, order)]
    points = np.meshgrid(*(np.clip(x, g[0], g[-1]) for x, g in zip(at, ascending)), indexing="ij")
    return units.size * RegularGridInterpolator(ascending, error[order])(np.stack(points, axis=-1))


def highest(x: np.ndarray) -> float:
    """The highest frequency that an axis resolves."""
    return (len(x) - 1) / (2 * abs(float(x[-1]) - float(x[0])))


def warn_of_lost(axes: list[np.ndarray], pde: PDE) -> None:
    """Warns if an axis is too coarse for the source: the equation at its points then does not determine the solution between them."""
    with contextlib.suppress(ValueError, TypeError):  # the source function may accept only these points
        for k, share in enumerate(pde.lost(axes)):
            if share > _LOST:
                what = f"axes[{k}] has {len(axes[k])} points, which do not resolve the source"
                how = f"{share:.0%} of its energy has frequencies above {highest(axes[k]):.3g} cycles per unit of length"
                warn(f"GPHM: {what}: {how}; use more points")


def warn_of_ends(state: State, axes: Sequence[Array], min_steps: int) -> None:
    """Warns if a covariance needs higher frequencies than the initial ones and the grid resolves them."""
    if not (state.learnt.steps >= min_steps and _BAD < state.learnt.residual < np.inf):
        return
    for k, x in enumerate(axes):
        weights, freqs = (_arrays.to_host(state.now[f"{name}_{k}"]) for name in ("log_weights", "freqs"))
        weights = np.exp(weights - weights.max())
        share = weights[np.abs(freqs) > _NEAR_THE_END * HIGHEST].sum() / weights.sum()
        end = HIGHEST / state.units.lengths[k]
        if share > _PILED and end < 0.99 * RESOLVED * highest(_arrays.to_host(x)):
            what = f"{share:.0%} of its weight is above {_NEAR_THE_END * end:.3g} cycles per unit of length, near the initial maximum"
            fix = f"pass a freq_scale above {end:.3g}"
            warn(f"GPHM.fit: axes[{k}] probably needs higher frequencies: {what}; {fix}")
