"""Sums of exponentials and their transposes, as in state-spaces/s4. N terms, length L. Equation numbers: csrc/ssm/modes/README.md."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from ... import _arrays
from ..._arguments import integer
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option
from ..._typing import AnyArray, Array, Backend, T, Z
from .broadcast import BROADCAST_ROWS, broadcast_rows, gradient_of_rows

_V, _X = Arg("v", "M... ... N", dtype="complex"), Arg("x", "... N", dtype="complex")


def _op(name: str, inputs: tuple[Arg, ...], output: Arg) -> Op:
    """One of the two ops behind each function, for real or for complex rows; with the tolerance of ``s4d_kernel``."""
    title = name.removesuffix("_complex")
    return Op(__name__, name, inputs=inputs, outputs=(output,), options=(Option("L", int),), tolerance=2e-6, title=title)


LOG_VANDERMONDE, LOG_VANDERMONDE_COMPLEX = (
    _op(name, (_V, _X), Arg("y", "M... ... L", dtype=dtype))
    for name, dtype in (("log_vandermonde", "real"), ("log_vandermonde_complex", "complex"))
)
LOG_VANDERMONDE_TRANSPOSE, LOG_VANDERMONDE_TRANSPOSE_COMPLEX = (
    _op(name, (Arg("u", "M... ... L", dtype=dtype), _V, _X), Arg("y", "M... ... N", dtype="complex"))
    for name, dtype in (("log_vandermonde_transpose", "real"), ("log_vandermonde_transpose_complex", "complex"))
)
OPS = (LOG_VANDERMONDE, LOG_VANDERMONDE_COMPLEX, LOG_VANDERMONDE_TRANSPOSE, LOG_VANDERMONDE_TRANSPOSE_COMPLEX, BROADCAST_ROWS)


def _sum(conj: bool) -> Op:
    return LOG_VANDERMONDE if conj else LOG_VANDERMONDE_COMPLEX


# fmt: off
@overload  # NumPy's array types include the dtype, but v is complex and the sum is real
def log_vandermonde(
    v: np.ndarray, x: np.ndarray, L: int, *, conj: bool = True,
    out: np.ndarray | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> np.ndarray: ...
@overload
def log_vandermonde(
    v: Array[T], x: Array[T], L: int, *, conj: bool = True,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
# fmt: on
def log_vandermonde(
    v: AnyArray,
    x: AnyArray,
    L: int,
    *,
    conj: bool = True,
    out: AnyArray | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:
    """Sums of exponentials, y_l = 2 Re sum_n v_n exp(l x_n), l < L (6).

    Parameters
    ----------
    v : (..., N) complex
        Weights. The last axes match those of x, which is shared along additional leading axes.
    x : (..., N) complex
        Logarithms of the poles.
    L : int
        Length.
    conj : bool
        If True, v and x stand for conjugate pairs. Otherwise y is the complex sum, y_l = sum_n v_n exp(l x_n).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., L)
        Has the batch axes of v; real, or complex without ``conj``.

    Notes
    -----
    Differentiable in v and x. Cost, error and the effect of NaN are as in ``s4d_kernel``. The complex sum costs twice as much.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> v, x = np.array([0.5 + 0j]), np.log(np.array([0.5 + 0j]))
    >>> qf.ssm.log_vandermonde(v, x, 4).round(12)  # 2 Re 0.5 * 0.5^l
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    return call(_sum(conj), (v, x), (integer(L, LOG_VANDERMONDE.label, "L", 0),), (), out, backend, num_threads)


def log_vandermonde_vjp(
    *inputs_and_grad: Array[T] | None, L: int, conj: bool = True, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``log_vandermonde`` (8): ``(v, x, grad)`` -> (dv, dx), grad like y.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> v, x = np.array([0.5 + 0j]), np.log(np.array([0.5 + 0j]))
    >>> dv, dx = qf.ssm.log_vandermonde_vjp(v, x, np.ones(4), L=4)  # of the sum of y
    >>> dv.real.round(12)
    array([3.75])
    """
    return call_vjp(_sum(conj), inputs_and_grad, (integer(L, f"{LOG_VANDERMONDE.label}_vjp", "L", 0),), (), backend, num_threads)


def log_vandermonde_transpose(
    u: AnyArray,
    v: Array[Z],
    x: Array[Z],
    L: int,
    *,
    out: Array[Z] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Z:
    """Exponential moments, y_n = v_n sum_l u_l exp(l x_n), the transpose of the complex sum (8).

    Parameters
    ----------
    u : (..., L)
        Real or complex.
    v : (..., N) complex
        Weights. The batch axes of u and v broadcast; the last ones match those of x, which is shared along additional leading axes.
    x : (..., N) complex
        Logarithms of the poles.
    L : int
        Length of u.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., N) complex

    Notes
    -----
    Differentiable in u, v, x. Cost: 8 N operations per real element of u, which is read once; a complex element counts twice.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> v, x = np.array([1 + 0j]), np.log(np.array([0.5 + 0j]))
    >>> qf.ssm.log_vandermonde_transpose(np.ones(4), v, x, 4).real.round(12)  # 1 + 1/2 + 1/4 + 1/8
    array([1.875])
    """
    options = (integer(L, LOG_VANDERMONDE_TRANSPOSE.label, "L", 0),)
    u, v = broadcast_rows(u, v)
    y: Z = call(_transpose(u), (u, v, x), options, (), out, backend, num_threads)
    return y


def log_vandermonde_transpose_vjp(
    *inputs_and_grad: Array[T] | None, L: int, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``log_vandermonde_transpose``: ``(u, v, x, grad)`` -> (du, dv, dx), grad like y.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> v, x = np.array([1 + 0j]), np.log(np.array([0.5 + 0j]))
    >>> du, dv, dx = qf.ssm.log_vandermonde_transpose_vjp(np.ones(4), v, x, np.array([1 + 0j]), L=4)
    >>> du.round(12)
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    options = (integer(L, f"{LOG_VANDERMONDE_TRANSPOSE.label}_vjp", "L", 0),)
    arguments: list[Any] = list(inputs_and_grad)
    if len(arguments) == 4:
        arguments[:2] = broadcast_rows(*arguments[:2])
    gradients: Any = call_vjp(_transpose(arguments[0] if arguments else None), arguments, options, (), backend, num_threads)
    return (*map(gradient_of_rows, inputs_and_grad[:2], gradients), *gradients[2:])


def _transpose(u: Any) -> Op:
    return LOG_VANDERMONDE_TRANSPOSE_COMPLEX if _arrays.is_complex(u) else LOG_VANDERMONDE_TRANSPOSE
