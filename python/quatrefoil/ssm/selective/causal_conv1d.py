"""The short convolution of a Mamba block, compatible with causal-conv1d.

B batch items, D channels, length L, W taps. Equation numbers: csrc/ssm/selective/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, overload

from ... import _arrays
from ..._arguments import choice, integer_array, writeable
from ..._bind import check_device
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .index_arrays import check_rows, index_list


def _check_taps(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    _, weight, _, seq_idx, initial_states = shapes
    _, return_final_states = options
    if weight is not None and weight[1] < 1:
        raise ValueError(f"{label}: weight has shape {weight}, expected (D, W) with W at least 1")
    if seq_idx is not None and (initial_states is not None or return_final_states):
        raise ValueError(f"{label}: seq_idx cannot be combined with initial_states or final states; omit one of them")


CAUSAL_CONV = Op(
    __name__, "causal_conv1d_fn",
    inputs=(
        Arg("x", "B D L", half=True),
        Arg("weight", "D W", half=True),
        Arg("bias", "D", optional=True, half=True),
        Arg("seq_idx", "B L", optional=True, dtype="int"),
        Arg("initial_states", "B D W-1", optional=True, half=True),
    ),
    outputs=(Arg("out", "B D L", half=True), Arg("final_states", "B D W-1", half=True, only_if="return_final_states")),
    options=(Option("activation", str), Option("return_final_states", bool)),
    check=_check_taps,
    tolerance=1e-6,
)  # fmt: skip


# fmt: off
@overload
def causal_conv1d_fn(
    x: Array[T], weight: Array[T], bias: Array[T] | None = None, seq_idx: AnyArray | None = None,
    initial_states: Array[T] | None = None, return_final_states: Literal[False] = False,
    final_states_out: Array[T] | None = None, activation: str | None = None, *,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def causal_conv1d_fn(
    x: Array[T], weight: Array[T], bias: Array[T] | None = None, seq_idx: AnyArray | None = None,
    initial_states: Array[T] | None = None, *, return_final_states: Literal[True],
    final_states_out: Array[T] | None = None, activation: str | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def causal_conv1d_fn(
    x: Array[T], weight: Array[T], bias: Array[T] | None = None, seq_idx: AnyArray | None = None,
    initial_states: Array[T] | None = None, return_final_states: bool = False,
    final_states_out: Array[T] | None = None, activation: str | None = None, *,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, T]: ...
# fmt: on
def causal_conv1d_fn(
    x: Array[T],
    weight: Array[T],
    bias: Array[T] | None = None,
    seq_idx: AnyArray | None = None,
    initial_states: Array[T] | None = None,
    return_final_states: bool = False,
    final_states_out: Array[T] | None = None,
    activation: str | None = None,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, T]:
    """Short causal convolution of every channel, y_t = bias + sum_j weight_j x_{t-W+1+j}, then an optional silu (10).

    Parameters
    ----------
    x : (B, D, L)
    weight : (D, W)
        Any W >= 1; the last tap multiplies x_t.
    bias : (D,), optional
    seq_idx : (B, L) int32 or int64, optional
        Several sequences packed into one: a tap applies only if its sample has the same seq_idx as the output. Negative values mark
        padding: the output is 0 there, and no other output uses x there. Cannot be combined with states.
    initial_states : (B, D, W - 1), optional
        Samples before x; zeros if absent.
    return_final_states : bool
        Return (out, final_states): the last W - 1 samples of initial_states and x together, (B, D, W - 1).
    final_states_out : (B, D, W - 1), optional
        Array for the final states, written in place and returned.
    activation : None, "silu" or "swish"
        "silu" and "swish" are the same.
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` only if one array is returned.

    Returns
    -------
    out : (B, D, L), in the dtype of x; with ``return_final_states``, a tuple (out, final_states).

    Raises
    ------
    ValueError, TypeError
        Inconsistent shapes, an unknown activation, seq_idx with states, a read-only final_states_out; mixed dtypes, except half precision
        with float32, which is computed in float32 and returned in the dtype of x.

    Notes
    -----
    Same signature and meaning as the function with this name in causal-conv1d, for any strides and any W. Differentiable in all real
    arrays, including through the final states (11)-(13). Reads x once and writes the result once. A NaN affects only its channel.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, weight = np.array([[[1.0, 2.0, 3.0]]]), np.array([[0.5, 1.0]])
    >>> qf.ssm.causal_conv1d_fn(x, weight)  # the last tap multiplies x_t
    array([[[1. , 2.5, 4. ]]])
    """
    name = "causal_conv1d_fn"
    options = (_activation(name, activation), bool(return_final_states) or final_states_out is not None)
    arrays = (x, weight, bias, integer_array(seq_idx, f"ssm.{name}", "seq_idx"), initial_states)
    y, final_states = call(CAUSAL_CONV, arrays, options, (), out, backend, num_threads)
    target: Any = final_states_out
    if target is not None:
        _check_target(name, "final_states_out", target, x)
        if target.shape != final_states.shape:
            shape, expected = tuple(target.shape), tuple(final_states.shape)
            raise ValueError(f"ssm.{name}: final_states_out has shape {shape}, expected (B, D, W - 1) = {expected}")
        _check_same_precision(name, "final_states_out", target, x)
        target[...] = final_states
        final_states = target
    return (y, final_states) if return_final_states else y


def causal_conv1d_fn_vjp(
    *inputs_and_grad: InputOrGrad[T],
    activation: str | None = None,
    return_final_states: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``causal_conv1d_fn`` with respect to its real inputs (11)-(13).

    Arguments: ``(x, weight[, bias[, seq_idx[, initial_states]]], grad)``. ``grad`` is the gradient of out, (B, D, L); with
    ``return_final_states``, a tuple (gradient of out, gradient of final_states).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, weight = np.array([[[1.0, 2.0, 3.0]]]), np.array([[0.5, 1.0]])
    >>> dx, dweight = qf.ssm.causal_conv1d_fn_vjp(x, weight, np.ones((1, 1, 3)))
    >>> dweight
    array([[3., 6.]])
    """
    arrays: list[Any] = list(inputs_and_grad)
    if len(arrays) > 4:
        arrays[3] = integer_array(arrays[3], "ssm.causal_conv1d_fn_vjp", "seq_idx")
    options = (_activation("causal_conv1d_fn_vjp", activation), bool(return_final_states))
    return call_vjp(CAUSAL_CONV, arrays, options, (), backend, num_threads)


def causal_conv1d_update(
    x: Array[T],
    conv_state: Array[T],
    weight: Array[T],
    bias: Array[T] | None = None,
    activation: str | None = None,
    cache_seqlens: AnyArray | None = None,
    conv_state_indices: AnyArray | None = None,
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Continue ``causal_conv1d_fn`` from ``conv_state``, which is **updated in place**.

    Parameters
    ----------
    x : (B, D) or (B, D, L)
    conv_state : (B, D, S), S >= W - 1
        The last S samples before x; afterwards the last S samples of conv_state and x together.
    weight : (D, W)
    bias : (D,), optional
    activation : None, "silu" or "swish"
    cache_seqlens : (B,) int32 or int64, optional
        conv_state is a ring buffer: x is written at cache_seqlens, cache_seqlens + 1, ... modulo S, after the samples before it.
    conv_state_indices : (B,) int32 or int64, optional
        Item b uses row conv_state_indices[b] of conv_state, which may have more rows than the batch. Each row may be used once. Items with
        a negative index are padding: their output is 0, and no state changes.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    out : same shape as x

    Raises
    ------
    ValueError, TypeError
        As in ``causal_conv1d_fn``; conv_state is read-only or too short; a row does not exist or is used twice. On a device and under
        torch.compile, rows are not checked: the second of two items with the same row gets NaN, and its samples are lost.

    Notes
    -----
    Same signature and meaning as the function with this name in causal-conv1d. In PyTorch, gradients flow as for any in-place update.
    A step costs one small convolution and a copy of the state.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> state, weight = np.array([[[1.0, 2.0]]]), np.array([[0.5, 1.0]])
    >>> qf.ssm.causal_conv1d_update(np.array([[3.0]]), state, weight)
    array([[4.]])
    >>> state
    array([[[2., 3.]]])
    """
    name = "causal_conv1d_update"
    samples: Any = x
    target: Any = conv_state
    steps = samples[..., None] if len(getattr(x, "shape", ())) == 2 else samples
    rows = integer_array(conv_state_indices, f"ssm.{name}", "conv_state_indices")
    start = integer_array(cache_seqlens, f"ssm.{name}", "cache_seqlens")
    _check_state(name, steps, conv_state, weight, rows, start)
    before, size, count = weight.shape[1] - 1, target.shape[2], steps.shape[2]
    numbers = None if rows is None else index_list(rows)
    pads = rows is not None and len(rows) and (numbers is None or min(numbers) < 0)
    if pads:
        is_real, rows, writer = _without_padding(rows)
        is_writer = writer == _arrays.arange_on_device_of(rows, len(rows))
    state = old = target if rows is None else target[rows]
    if start is not None:
        state = _rotated(state, start)  # the oldest sample first
    both = _arrays.namespace(state).concatenate((state, steps), axis=2)
    if pads:
        both = _where(is_real, both)
    arrays = (both[..., size:] if pads else steps, weight, bias, None, both[..., size - before : size])
    y, _ = call(CAUSAL_CONV, arrays, (_activation(name, activation), False), (), None, backend, num_threads)
    state = both[..., count:]
    if start is not None:
        state = _rotated(state, -(start + count))
    if pads:
        y = _where(is_real & is_writer, y, _where(is_real, 0 * y + math.nan))  # NaN if an earlier item uses the row
        state = _where(is_real, state, old)
        copies = state[writer]  # in PyTorch only the writer has a gradient; otherwise it would count twice
        state = _where(is_writer, state, copies.detach()) if _arrays.kind(state) == "torch" else copies
    target[... if rows is None else rows] = state
    result: T = y if steps is samples else y[..., 0]
    return result


def _without_padding(rows: Any) -> tuple[Any, Any, Any]:
    """Which items are real; their rows, with padding assigned to the row of the first real item; and the first item with each item's row.

    All items with the same row write the state of the first one, so duplicates write the same values, and no shape depends on values.
    """
    xp = _arrays.namespace(rows)
    is_real = rows >= 0
    writer = xp.where(is_real, xp.argmax((rows[:, None] == rows) * 1, 1), xp.argmax(is_real * 1))
    return is_real, xp.where(is_real, rows, 0 * rows)[writer], writer


def _where(items: Any, a: Any, b: Any = None) -> Any:
    """``a`` for the items where ``items`` is True; for the others ``b``, or 0 if it is None."""
    xp = _arrays.namespace(a)
    return xp.where(items[:, None, None], a, xp.zeros_like(a) if b is None else b)


def _check_state(name: str, x: Any, conv_state: Any, weight: Any, rows: Any, start: Any) -> None:
    label = f"ssm.{name}"
    for argument, array in (("x", x), ("weight", weight)):
        if _arrays.kind(array) is None:
            fix = _arrays.converted(array, argument, "float64")
            raise TypeError(f"{label}: {argument} is {_arrays.describe(array)}, expected an array of floats; convert it: {fix}")
    _check_target(name, "conv_state", conv_state, x)
    if len(x.shape) != 3:
        raise ValueError(f"{label}: x has shape {tuple(x.shape)}, expected (B, D) or (B, D, L)")
    if len(weight.shape) != 2 or weight.shape[0] != x.shape[1] or weight.shape[1] < 1:
        raise ValueError(
            f"{label}: weight has shape {tuple(weight.shape)}, expected (D, W) with D = {x.shape[1]}, like x, and W at least 1"
        )
    shape, min_length = tuple(conv_state.shape), weight.shape[1] - 1
    if len(shape) != 3 or shape[1] != x.shape[1] or shape[2] < min_length or (rows is None and shape[0] != x.shape[0]):
        raise ValueError(
            f"{label}: conv_state has shape {shape}, expected (B, D, S) with B = {x.shape[0]} (or more rows, with conv_state_indices), "
            f"D = {x.shape[1]} and S at least W - 1 = {min_length}"
        )
    _check_same_precision(name, "conv_state", conv_state, x)
    for argument, array in (("conv_state_indices", rows), ("cache_seqlens", start)):
        if array is None:
            continue
        if _arrays.kind(array) != _arrays.kind(x):
            raise TypeError(f"{label}: {argument} is {_arrays.describe(array)} but x is {_arrays.describe(x)}; convert one of them")
        check_device(label, argument, array, "x", x)
        if tuple(array.shape) != (x.shape[0],):
            raise ValueError(f"{label}: {argument} has shape {tuple(array.shape)}, expected (B,) = ({x.shape[0]},)")
    if rows is not None:
        check_rows(label, "conv_state_indices", rows, "conv_state", shape)


def _check_same_precision(name: str, argument: str, target: Any, x: Any) -> None:
    """Raise TypeError if the precision differs from that of x; half precision is treated as single."""
    wide, expected = (_arrays.dtype_name(_arrays.widen(a)) for a in (target, x))
    if wide != expected:
        dtypes = f"{_arrays.dtype_name(target)} but x has {_arrays.dtype_name(x)}"
        raise TypeError(f"ssm.{name}: {argument} has dtype {dtypes}; convert it: {_arrays.converted(target, argument, expected)}")


def _check_target(name: str, argument: str, target: Any, x: Any) -> None:
    """Raise an error unless an array to be written in place is writeable and of the same kind as x."""
    if _arrays.kind(target) is None or _arrays.kind(target) != _arrays.kind(x):
        raise TypeError(f"ssm.{name}: {_arrays.expected_like(target, argument, x, 'x')}")
    check_device(f"ssm.{name}", argument, target, "x", x)
    writeable(target, f"ssm.{name}", argument)


def _activation(name: str, activation: str | None) -> str:
    choice(activation, f"ssm.{name}", "activation", (None, "silu", "swish"))
    return "silu" if activation else "none"


def _rotated(state: Any, by: Any) -> Any:
    """An array with state[b, d, (i + by[b]) mod S] at [b, d, i]."""
    size, xp = state.shape[2], _arrays.namespace(state)
    take = xp.take_along_dim if _arrays.kind(state) == "torch" else xp.take_along_axis
    return take(state, ((_arrays.arange_on_device_of(by, size) + by[:, None]) % max(size, 1))[:, None], 2)
