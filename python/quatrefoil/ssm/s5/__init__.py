"""S5: a multi-input, multi-output diagonal system. Length L, H channels, P states. Equation numbers: csrc/ssm/s5/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, InputOrGrad, T, Z


def _check_state(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    _, bidirectional, return_state = options
    start = shapes[-1] is not None
    if bidirectional and (start or return_state):
        what = "initial_state" if start else "return_state"
        raise ValueError(f"{label}: got {what} and bidirectional=True, which has no state; omit one of them")


S5_APPLY = Op(
    __name__, "s5_apply",
    inputs=(
        Arg("u", "... L H", half=True),
        Arg("Lambda_bar", "P", dtype="complex"),
        Arg("B_bar", "P H", dtype="complex"),
        Arg("C", "H 2P if bidirectional else H P", dtype="complex"),
        Arg("D", "H", optional=True, half=True),
        Arg("initial_state", "... P", optional=True, dtype="complex"),
    ),
    outputs=(Arg("y", "... L H", half=True), Arg("last_state", "... P", dtype="complex", only_if="return_state")),
    options=(Option("conj_sym", bool), Option("bidirectional", bool), Option("return_state", bool)),
    check=_check_state,
    tolerance=1e-6,
)  # fmt: skip
OPS = (S5_APPLY,)


# fmt: off
@overload
def s5_apply(
    u: Array[T], Lambda_bar: Array[Z], B_bar: Array[Z], C: Array[Z], D: Array[T] | None = None, *, conj_sym: bool = True,
    bidirectional: bool = False, initial_state: Array[Z] | None = None, return_state: Literal[False] = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def s5_apply(
    u: Array[T], Lambda_bar: Array[Z], B_bar: Array[Z], C: Array[Z], D: Array[T] | None = None, *, conj_sym: bool = True,
    bidirectional: bool = False, initial_state: Array[Z] | None = None, return_state: Literal[True],
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, Z]: ...
@overload
def s5_apply(
    u: Array[T], Lambda_bar: Array[Z], B_bar: Array[Z], C: Array[Z], D: Array[T] | None = None, *, conj_sym: bool = True,
    bidirectional: bool = False, initial_state: Array[Z] | None = None, return_state: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, Z]: ...
# fmt: on
def s5_apply(
    u: Array[T],
    Lambda_bar: Array[Z],
    B_bar: Array[Z],
    C: Array[Z],
    D: Array[T] | None = None,
    *,
    conj_sym: bool = True,
    bidirectional: bool = False,
    initial_state: Array[Z] | None = None,
    return_state: bool = False,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, Z]:
    """The S5 layer: one system with many inputs and outputs, by a scan over its diagonal states (1), (2).

    x_t = Lambda_bar x_{t-1} + B_bar u_t, y_t = 2 Re(C x_t) + D u_t.

    Parameters
    ----------
    u : (..., L, H)
        Input, time before channels as in S5. Real; float16 and bfloat16 are computed in float32 and returned in their own dtype.
    Lambda_bar : (P,) complex
        Discrete poles. Any value is allowed; a growing system is exact while its powers are finite.
    B_bar : (P, H) complex
        Discrete input matrix.
    C : (H, P) complex, or (H, 2P) if ``bidirectional``
        Output matrix.
    D : (H,), optional
        Feedthrough; 0 if absent.
    conj_sym : bool
        Each state also stands for its conjugate, hence the factor 2. If False, y_t = Re(C x_t) + D u_t.
    bidirectional : bool
        The second half of C reads a scan from the end, x'_t = Lambda_bar x'_{t+1} + B_bar u_t, which includes u_t too, as in
        lindermanlab/S5.
    initial_state : (..., P) complex, optional
        The state before the first step; 0 if absent.
    return_state : bool
        Return (y, last_state), with the state after the last step, (..., P).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., L, H), or (y, last_state)

    Raises
    ------
    ValueError
        A state together with ``bidirectional``.

    Notes
    -----
    Differentiable in all arrays, including through the returned state. Cost: 8 L H P flops per sequence and direction, in two real matrix
    products with the scan between them. The states of about a hundred steps are stored at a time. A NaN in u affects only its sequence,
    from its time step on. A NaN in a row of C or in D affects only its channel; a NaN in Lambda_bar or B_bar reaches every channel.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda_bar, B_bar, C = np.array([0.5 + 0j]), np.array([[0.5 + 0j]]), np.array([[1 + 0j]])
    >>> qf.ssm.s5_apply(np.ones((4, 1)), Lambda_bar, B_bar, C)[:, 0]
    array([1.   , 1.5  , 1.75 , 1.875])
    """
    options = (bool(conj_sym), bool(bidirectional), bool(return_state))
    y, last_state = call(S5_APPLY, (u, Lambda_bar, B_bar, C, D, initial_state), options, (), out, backend, num_threads)
    return (y, last_state) if return_state else y


def s5_apply_vjp(
    *inputs_and_grad: InputOrGrad[T],
    conj_sym: bool = True,
    bidirectional: bool = False,
    return_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``s5_apply`` (3)-(6).

    ``(u, Lambda_bar, B_bar, C[, D[, initial_state]], grad)`` -> one gradient for each input that is present. ``grad`` is the gradient of y;
    with ``return_state``, a tuple (gradient of y, gradient of the last state).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda_bar, B_bar, C = np.array([0.5 + 0j]), np.array([[0.5 + 0j]]), np.array([[1 + 0j]])
    >>> du, dLambda, dB, dC = qf.ssm.s5_apply_vjp(np.ones((4, 1)), Lambda_bar, B_bar, C, np.ones((4, 1)))
    >>> du[:, 0]
    array([1.875, 1.75 , 1.5  , 1.   ])
    """
    options = (bool(conj_sym), bool(bidirectional), bool(return_state))
    return call_vjp(S5_APPLY, inputs_and_grad, options, (), backend, num_threads)
