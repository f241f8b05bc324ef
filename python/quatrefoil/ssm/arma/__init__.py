"""Rational filters, linear recurrences of any order: what autoregressive and moving average models are made of.

Equation numbers are those of csrc/ssm/arma/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from ..._dims import Shape
from ..._dispatch import call, call_vjp
from ..._spec import Arg, Op, Option
from ..._typing import Array, Given, T


def _check_orders(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    b, a, _, zi = shapes[:4]
    assert b is not None
    assert a is not None
    for name, shape in (("b", b), ("a", a)):
        if shape[-1] < 1:
            raise ValueError(f"{label}: {name} has shape {shape}, expected at least one coefficient")
    order = max(b[-1], a[-1]) - 1
    if zi is not None and zi[-1] != order:
        raise ValueError(f"{label}: zi has shape {zi}, expected (..., {order}), the larger number of coefficients less one")
    if (zi is None) == options[0]:
        raise ValueError(f"{label}: zi is {'missing' if zi is None else 'given'}, expected it with the final states and only then")


ARMA_FILTER = Op(

    __name__, "arma_filter",
    inputs=(
        Arg("b", "Q or ... Q", half=True),
        Arg("a", "P or ... P", half=True),
        Arg("x", "... L", half=True),
        Arg("zi", "... Z", optional=True, half=True),
    ),
    outputs=(Arg("y", "... L", half=True, like="x"), Arg("zf", "... Z", half=True, like="zi", when="return_state")),
    options=(Option("return_state", bool),),
    check=_check_orders,
    tolerance=2e-6,
)  # fmt: skip
OPS = (ARMA_FILTER,)


# fmt: off
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: None = None, *,
    out: Array[T] | None = None, backend: str | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: Array[T], *,
    out: None = None, backend: str | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
# fmt: on
def arma_filter(
    b: Array[T],
    a: Array[T],
    x: Array[T],
    zi: Array[T] | None = None,
    *,
    out: Array[T] | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, T]:
    """The rational filter a_0 y_t = sum_i b_i x_{t-i} - sum_{i>0} a_i y_{t-i} along the last axis (1), as ``scipy.signal.lfilter``.

    Parameters
    ----------
    b : (Q,) or (..., Q)
        Coefficients of the moving average, for all rows or for each.
    a : (P,) or (..., P)
        Those of the autoregression. a_0 is not 0; b and a are divided by it.
    x : (..., L)
        float32 or float64, as all arrays; or float16 or bfloat16, computed in float32 and returned in the type of x.
    zi : (..., Z), Z = max(P, Q) - 1, optional
        The states before the first step, those of lfilter (2); zeros if absent.
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` for the call without zi.

    Returns
    -------
    y : (..., L); with zi a tuple of it and zf (..., Z), the states after the last step

    Raises
    ------
    ValueError
        Shapes that do not fit; no coefficients; an a_0 that is 0, which gives infinite or NaN results where looking for it would wait for
        a device.
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in b, a, x and zi (4)-(7). Cost: 2 Z + 1 multiply-adds a sample, in double precision whatever the dtype, since a filter
    whose poles are near the unit circle magnifies its rounding errors; rows go side by side in vector registers. Gradients keep the states
    of every 256th sample, and take five times as long. Error: some 1e-16 of the largest y, times what the poles
    make of it; in float32 6e-8.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> qf.ssm.arma_filter(np.array([1.0]), np.array([1.0, -0.5]), np.array([1.0, 0.0, 0.0, 1.0]))
    array([1.   , 0.5  , 0.25 , 1.125])
    """
    y, zf = call(ARMA_FILTER, (b, a, x, zi), (zi is not None,), (), out, backend, num_threads)
    return y if zi is None else (y, zf)


def arma_filter_vjp(*inputs_and_grad: Given[T], backend: str | None = None, num_threads: int | None = None) -> tuple[T, ...]:
    """Gradients of ``arma_filter``: ``(b, a, x[, zi], grad)`` -> those of the arrays given (4)-(7).

    ``grad`` (..., L), or with zi a tuple of it and that of zf, (..., Z).
    """
    with_state = len(inputs_and_grad) > 4 and inputs_and_grad[3] is not None
    return call_vjp(ARMA_FILTER, inputs_and_grad, (with_state,), (), backend, num_threads)
