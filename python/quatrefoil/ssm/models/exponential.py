"""Exponential integrators for semilinear problems, by scans over windows of time. Equation numbers: csrc/ssm/README.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ... import _array_tools, _arrays
from ..._arguments import MAX_NUMBERS, integer, number
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import Array, T
from ..scan import linear_scan

_NEAR, _TERMS = 0.5, 16  # below this |z|, (28) is summed as a series; number of terms (the next one is below 1e-18)

# Only describes the arguments: there is no kernel.
_ETD = Op(
    __name__, "exponential_integrator", inputs=(Arg("rates", "P", dtype="any"), Arg("start", "... P", dtype="any")),
    outputs=(Arg("u", "... P", dtype="any"),),
)  # fmt: skip


def exponential_integrator(
    rates: Array[T],
    nonlinearity: Callable[[Any], Any],
    start: Array[T],
    dt: float,
    steps: int,
    *,
    window: int = 16,
    rtol: float = 1e-10,
    max_iterations: int = 100,
) -> T:
    """Solve u' = rates u + f(u) for modes u by second-order exponential time differencing (27), (28).

    Parameters
    ----------
    rates : (P,)
        Eigenvalues of the linear part, real or complex. They may be stiff, because this part is integrated exactly.
    nonlinearity : callable
        f, which maps states (T, ..., P) to an array of the same shape. It must treat the T states independently.
    start : (..., P)
        The state at time 0, with the dtype of rates; a single state, or a batch such as an ensemble.
    dt : float
        Length of a step.
    steps : int
    window : int
        Number of steps that are solved together.
    rtol : float
        The iteration of a window ends when its change, relative to the largest value in the window, is below rtol.
    max_iterations : int

    Returns
    -------
    u : (steps, ..., P)
        The states after each step.

    Raises
    ------
    RuntimeError
        The iteration does not converge: dt or window is too large for f.

    Notes
    -----
    The error is O(dt^2) if f changes in time, and 0 if it is constant. A step is implicit in f. All steps of a window are iterated together
    until the states no longer change; each iteration takes one call to f and one ``linear_scan``. Fewer than ten iterations suffice if
    window times dt times the Lipschitz constant of f is below 1. Differentiable by autograd. Source: Cox and Matthews, J. Comput. Phys. 176
    (2002).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> u = qf.ssm.exponential_integrator(np.array([1.0]), lambda u: -(u**2), np.array([0.1]), 0.01, 500)  # u' = u (1 - u)
    >>> u[-1].round(3), round(1 / (1 + 9 * np.exp(-5.0)), 3)  # and the exact solution
    (array([0.943]), np.float64(0.943))
    """
    label = _ETD.label
    steps = integer(steps, label, "steps", 0, MAX_NUMBERS)
    window = integer(window, label, "window", 1, MAX_NUMBERS)
    max_iterations = integer(max_iterations, label, "max_iterations", 1, MAX_NUMBERS)
    dt, rtol = number(dt, label, "dt"), number(rtol, label, "rtol")
    check_arrays(_ETD, (rates, start))
    _ETD.infer([tuple(rates.shape), tuple(start.shape)], ())
    if _arrays.is_meta(start):  # the number of iterations would depend on values
        raise RuntimeError(f"{label}: start is on meta; move it to the CPU")
    xp: Any = _arrays.namespace(start)
    u: Any = start
    exponents: Any = rates
    decay, before, after = _weights(xp, exponents * dt, dt)
    f = _values(nonlinearity, u[None])
    done: list[Any] = []
    for first in range(0, steps, window):
        states = xp.broadcast_to(u, (min(window, steps - first), *u.shape))
        for _ in range(max_iterations):
            values = _values(nonlinearity, states)
            drive = before * xp.concatenate([f, values[:-1]]) + after * values
            old, states = states, linear_scan(decay, drive, u, axis=0)
            if _has_settled(xp, states, old, rtol):
                break
        else:
            raise RuntimeError(f"{label}: no convergence in {max_iterations} iterations from step {first}; use a smaller dt or window")
        done.append(states)
        u, f = states[-1], _values(nonlinearity, states[-1:])
    result: T = xp.concatenate(done) if done else _arrays.zeros_on_device_of(start, (0, *start.shape))
    return result


def _weights(xp: Any, z: Any, dt: float) -> tuple[Any, Any, Any]:
    """(28): e^z, and the weights of f before and after a step."""
    near = abs(z) < _NEAR
    small, large = xp.where(near, z, xp.zeros_like(z)), xp.where(near, xp.ones_like(z), z)
    series1 = series2 = xp.zeros_like(z)
    for n in range(_TERMS, -1, -1):
        series1 = series1 * small + 1 / math.factorial(n + 1)
        series2 = series2 * small + 1 / math.factorial(n + 2)
    phi1 = xp.where(near, series1, (xp.exp(large) - 1) / large)
    phi2 = xp.where(near, series2, (phi1 - 1) / large)
    return xp.exp(z), dt * (phi1 - phi2), dt * phi2


def _has_settled(xp: Any, states: Any, old: Any, rtol: float) -> bool:
    """Whether no state has changed by more than rtol times the largest; NaN is ignored."""
    if not math.prod(states.shape):
        return True
    size = abs(states)
    return not _array_tools.is_any(xp, abs(states - old) > rtol * xp.where(size == size, size, xp.zeros_like(size)).max())


def _values(nonlinearity: Callable[[Any], Any], states: Any) -> Any:
    values = nonlinearity(states)
    if tuple(getattr(values, "shape", ())) != tuple(states.shape):
        got = f"shape {tuple(values.shape)}" if hasattr(values, "shape") else f"{_arrays.describe(values)}"
        raise ValueError(f"{_ETD.label}: nonlinearity returned {got} for states {tuple(states.shape)}, expected the same shape")
    return values
