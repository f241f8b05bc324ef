"""Rational filters, the linear recurrences of ARMA models. Equation numbers: csrc/ssm/arma/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from ..._arguments import keywords
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, InputOrGrad, T


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> Sequence[Shape | None]:
    b, a, x, zi = shapes[:4]
    assert b is not None
    assert a is not None
    assert x is not None
    if not x:
        raise ValueError(f"{label}: x has shape {x}, expected (..., L)")
    lead = x[:-1]
    for name, shape in (("b", b), ("a", a)):
        if not shape or shape[:-1] not in ((), lead):
            raise ValueError(f"{label}: {name} has shape {shape}, expected one axis, or the batch axes {lead} of x followed by one axis")
        if shape[-1] < 1:
            raise ValueError(f"{label}: {name} has shape {shape}, expected at least one coefficient")
    states = (*lead, max(b[-1], a[-1]) - 1)
    if zi is not None and zi != states:
        raise ValueError(f"{label}: zi has shape {zi}, expected {states}, whose last axis is one shorter than the longer of b and a")
    return [x, states if options[0] else None]


def _check_divisor(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    if (inputs[1][..., 0] == 0).any():
        raise ValueError(f"{label}: a[..., 0] is 0, expected a nonzero number")


ARMA_FILTER = Op(
    __name__, "arma_filter",
    inputs=(
        Arg("b", "Q or ... Q", half=True),
        Arg("a", "P or ... P", half=True),
        Arg("x", "... L", half=True),
        Arg("zi", "... Z", optional=True, half=True),
    ),
    outputs=(Arg("y", "... L", half=True, half_type_of="x"), Arg("zf", "... Z", half=True, half_type_of="x", only_if="return_state")),
    options=(Option("return_state", bool),),
    rule=_shapes,
    policy=Policy(check_values=_check_divisor),
    tolerance=2e-6,
)  # fmt: skip
OPS = (ARMA_FILTER,)


# fmt: off
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: None = None, *, return_state: Literal[False] | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: Array[T] | None = None, *, return_state: Literal[False],
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: Array[T], *, return_state: Literal[True] | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: Array[T] | None = None, *, return_state: Literal[True],
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def arma_filter(
    b: Array[T], a: Array[T], x: Array[T], zi: Array[T] | None = None, *, return_state: bool | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, T]: ...
# fmt: on
@keywords(
    "ssm.arma_filter",
    axis="time must be the last axis; use swapaxes",
    sos="apply the sections one after the other, with b = sos[k, :3] and a = sos[k, 3:]",
)
def arma_filter(
    b: Array[T],
    a: Array[T],
    x: Array[T],
    zi: Array[T] | None = None,
    *,
    return_state: bool | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, T]:
    """The rational filter a_0 y_t = sum_i b_i x_{t-i} - sum_{i>0} a_i y_{t-i} along the last axis (1), like ``scipy.signal.lfilter``.

    Parameters
    ----------
    b : (Q,) or (..., Q)
        Moving average coefficients, shared by all rows or one set per row.
    a : (P,) or (..., P)
        Autoregressive coefficients. b and a are divided by a_0, which must not be 0.
    x : (..., L)
        Input; float32 or float64, like all arrays. float16 and bfloat16 are accepted too; results have the dtype of x.
    zi : (..., Z), Z = max(P, Q) - 1, optional
        The state before the first step, as in lfilter (2); zeros if absent.
    return_state : bool, optional
        Return (y, zf); by default, only if zi is passed, as in lfilter.
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` only if one array is returned.

    Returns
    -------
    y : (..., L), or (y, zf), where zf (..., Z) is the state after the last step

    Raises
    ------
    ValueError
        There are no coefficients, or a_0 = 0. On a device, a_0 = 0 gives infinite or NaN results instead.

    Notes
    -----
    Differentiable in b, a, x and zi (4)-(7). Cost: 2 Z + 1 multiply-adds per sample, in double precision for any dtype, because poles near
    the unit circle amplify rounding errors. Gradients store the states of every 256th sample and take seven times as long. Error: a few
    1e-16 of the largest y (6e-8 in float32), amplified by the poles.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.ssm.arma_filter(np.array([1.0]), np.array([1.0, -0.5]), np.array([1.0, 0.0, 0.0, 1.0]))
    array([1.   , 0.5  , 0.25 , 1.125])
    """
    with_state = zi is not None if return_state is None else bool(return_state)
    y, zf = call(ARMA_FILTER, (b, a, x, zi), (with_state,), (), out, backend, num_threads)
    return (y, zf) if with_state else y


def arma_filter_vjp(
    *inputs_and_grad: InputOrGrad[T], return_state: bool | None = None, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``arma_filter``: ``(b, a, x[, zi], grad)`` -> (db, da, dx[, dzi]) (4)-(7).

    ``grad`` is the gradient of y, (..., L); if the call returns zf, a tuple (gradient of y, gradient of zf).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> b, a, x = np.array([1.0, 0.5]), np.array([1.0]), np.array([1.0, 2.0, 3.0])
    >>> db, da, dx = qf.ssm.arma_filter_vjp(b, a, x, np.ones(3))  # of the sum of y
    >>> db, dx
    (array([6., 3.]), array([1.5, 1.5, 1. ]))
    """
    with_zi = len(inputs_and_grad) > 4 and inputs_and_grad[3] is not None
    with_state = with_zi if return_state is None else bool(return_state)
    return call_vjp(ARMA_FILTER, inputs_and_grad, (with_state,), (), backend, num_threads)
