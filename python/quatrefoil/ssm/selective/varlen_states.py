"""The states of a short convolution at the ends of packed sequences, compatible with causal-conv1d."""

from __future__ import annotations

from typing import Any

from ..._arguments import integer
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option, Policy
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .index_arrays import ends_check, ends_of

VARLEN_STATES = Op(
    __name__, "causal_conv1d_varlen_states",
    inputs=(Arg("x", "T D", half=True), Arg("cu_seqlens", "B+1", dtype="int")),
    outputs=(Arg("states", "B D state_len", half=True),),
    options=(Option("state_len", int),),
    policy=Policy(check_values=ends_check(1, 0, "must stay in [0, T], with T the number of rows of x, and never decrease", whole=False)),
)  # fmt: skip


def causal_conv1d_varlen_states(
    x: Array[T],
    cu_seqlens: AnyArray,
    state_len: int,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """The last ``state_len`` samples of every sequence (14): the conv_state of ``causal_conv1d_update``.

    Parameters
    ----------
    x : (T, D)
        The sequences, one after another.
    cu_seqlens : (B + 1,) int32 or int64
        Sequence b is x[cu_seqlens[b] : cu_seqlens[b + 1]].
    state_len : int
        At least 0; W - 1 or more for a convolution of W taps.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    states : (B, D, state_len), in the dtype of x
        Shorter sequences are padded with zeros at the beginning.

    Raises
    ------
    ValueError, TypeError
        Inconsistent shapes; a negative state_len; unsupported dtypes; cu_seqlens that decrease or leave [0, T] (not checked on a device,
        where the result is NaN).

    Notes
    -----
    Same signature and meaning as the function with this name in causal-conv1d. Differentiable in x. Copies B D state_len elements.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> qf.ssm.causal_conv1d_varlen_states(np.arange(1.0, 6.0)[:, None], np.array([0, 4, 5]), 3)
    array([[[2., 3., 4.]],
    <BLANKLINE>
           [[0., 0., 5.]]])
    """
    label = VARLEN_STATES.label
    arrays = (x, ends_of(cu_seqlens, label, x, 0, whole=False))
    states: T = call(VARLEN_STATES, arrays, (integer(state_len, label, "state_len", 0),), (), out, backend, num_threads)
    return states


def causal_conv1d_varlen_states_vjp(
    *inputs_and_grad: InputOrGrad[T], state_len: int, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """The gradient of ``causal_conv1d_varlen_states``: ``(x, cu_seqlens, grad)`` -> (dx,), with grad (B, D, state_len).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, ends = np.arange(1.0, 6.0)[:, None], np.array([0, 4, 5])
    >>> (dx,) = qf.ssm.causal_conv1d_varlen_states_vjp(x, ends, np.ones((2, 1, 3)), state_len=3)
    >>> dx[:, 0]  # which samples are in a state
    array([0., 1., 1., 1., 1.])
    """
    label = f"{VARLEN_STATES.label}_vjp"
    arrays: list[Any] = list(inputs_and_grad)
    if len(arrays) == 3:
        arrays[1] = ends_of(arrays[1], label, arrays[0], 0, whole=False)
    return call_vjp(VARLEN_STATES, arrays, (integer(state_len, label, "state_len", 0),), (), backend, num_threads)
