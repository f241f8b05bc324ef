"""Linear recurrences of length L along an axis. Equation numbers: csrc/ssm/scan/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._arguments import integer
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, T


# Shapes are checked here instead of by dims, because ``a`` broadcasts and an option selects the axis that h0 lacks.
def _scan_shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape]:
    a, b, h0 = shapes
    assert a is not None
    assert b is not None
    _, axis = options
    if not b:
        raise ValueError(f"{label}: b has no axes, expected at least one to scan along")
    if not 0 <= axis < len(b):
        raise ValueError(f"{label}: axis is out of range for b of shape {b}")
    if len(a) > len(b) or any(m not in (1, n) for m, n in zip(a[::-1], b[::-1])):
        raise ValueError(f"{label}: a has shape {a}, which does not broadcast to the shape {b} of b")
    start = b[:axis] + b[axis + 1 :]
    if h0 is not None and h0 != start:
        raise ValueError(f"{label}: h0 has shape {h0}, expected {start}, the shape of b without axis {axis}")
    return [b]


LINEAR_SCAN = Op(
    __name__, "linear_scan",
    inputs=(
        Arg("a", "...", broadcast=True, dtype="any"),
        Arg("b", "...", dtype="any"),
        Arg("h0", "...", optional=True, dtype="any"),
    ),
    outputs=(Arg("h", "...", dtype="any"),),
    options=(Option("reverse", bool), Option("axis", int)),
    rule=_scan_shapes,
    tolerance=2e-6,
)  # fmt: skip
OPS = (LINEAR_SCAN,)


def linear_scan(
    a: Array[T],
    b: Array[T],
    h0: Array[T] | None = None,
    *,
    reverse: bool = False,
    axis: int = -1,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """First-order linear recurrence h_t = a_t h_{t-1} + b_t along one axis, in parallel (1).

    Parameters
    ----------
    a : broadcasts to b
        Coefficients, real or complex like b.
    b : (..., L, ...)
        Inputs; float32, float64, complex64 or complex128.
    h0 : shape of b without ``axis``, optional
        State before the first step; 0 if absent.
    reverse : bool
        Compute h_t = a_t h_{t+1} + b_t; h0 is then the state after the last step.
    axis : int
        The time axis.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    h : same shape as b

    Notes
    -----
    Differentiable in a, b, h0. Reads a and b once and writes h once. There is no division, so a = 0 (a reset) and underflow are exact.
    A NaN affects only its own scan, from its time step on.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.ssm.linear_scan(np.full(4, 0.5), np.ones(4))
    array([1.   , 1.5  , 1.75 , 1.875])
    >>> qf.ssm.linear_scan(np.full(4, 0.5), np.zeros(4), np.array(16.0))
    array([8., 4., 2., 1.])
    """
    y: T = call(LINEAR_SCAN, (a, b, h0), (bool(reverse), _axis(axis, b)), (), out, backend, num_threads)
    return y


def linear_scan_vjp(
    *inputs_and_grad: Array[T] | None, reverse: bool = False, axis: int = -1, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``linear_scan`` (2), (3): ``(a, b[, h0], grad)`` -> (da, db[, dh0]).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> da, db = qf.ssm.linear_scan_vjp(np.full(4, 0.5), np.ones(4), np.ones(4))  # of the sum of h
    >>> db
    array([1.875, 1.75 , 1.5  , 1.   ])
    """
    b = inputs_and_grad[1] if len(inputs_and_grad) > 2 else None
    return call_vjp(LINEAR_SCAN, inputs_and_grad, (bool(reverse), _axis(axis, b)), (), backend, num_threads)


def _axis(axis: int, b: Any) -> int:
    at = integer(axis, LINEAR_SCAN.label, "axis")
    return at if at >= 0 else at + len(getattr(b, "shape", ()))
