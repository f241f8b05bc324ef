"""Mamba-2's scan, compatible with mamba-ssm.

B batch items, length L, H heads of P channels, N states, G groups of heads, S sequences. Equation numbers: csrc/ssm/ssd/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, overload

from ... import _arguments
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from ..selective.index_arrays import ends_check, ends_of

NO_LIMIT = (0.0, math.inf)  # mamba-ssm's default: step sizes are not negative


def _check(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    x, B, cuts = shapes[0], shapes[3], shapes[10]
    if x is not None and B is not None and (B[2] < 1 or x[2] % B[2]):
        raise ValueError(f"{label}: B has shape {B}, expected (B, L, G, N), where G divides the number of heads of x, {x[2]}")
    if cuts is None and options[-1]:
        raise ValueError(f"{label}: return_varlen_states=True requires cu_seqlens, (S + 1,) integers that mark where sequences begin")
    if cuts is not None and x is not None and x[0] != 1:
        raise ValueError(f"{label}: x has shape {x} with cu_seqlens, expected one item that contains all sequences")


CHUNK_SCAN = Op(
    __name__, "mamba_chunk_scan_combined",
    inputs=(
        Arg("x", "B L H P", half=True),
        Arg("dt", "B L H", half=True),
        Arg("A", "H", half=True),
        Arg("B", "B L G N", half=True),
        Arg("C", "B L G N", half=True),
        Arg("D", "H P or H", optional=True, half=True),
        Arg("z", "B L H P", optional=True, half=True),
        Arg("dt_bias", "H", optional=True, half=True),
        Arg("initial_states", "B H P N", optional=True, half=True),
        Arg("seq_idx", "B L", optional=True, dtype="int"),
        Arg("cu_seqlens", "S+1", optional=True, dtype="int"),
    ),
    outputs=(
        Arg("out", "B L H P", half=True),
        Arg("final_states", "B H P N", only_if="return_final_states"),
        Arg("varlen_states", "S H P N", only_if="return_varlen_states"),
    ),
    options=(
        Option("chunk_size", int), Option("dt_softplus", bool), Option("dt_min", float), Option("dt_max", float),
        Option("return_final_states", bool), Option("return_varlen_states", bool),
    ),
    check=_check,
    policy=Policy(check_values=ends_check(10, 1, "must start with 0, never decrease, and end with the length"), float32_on_gpus=True),
    tolerance=1e-6,
)  # fmt: skip


# fmt: off
@overload
def mamba_chunk_scan_combined(
    x: Array[T], dt: Array[T], A: AnyArray, B: Array[T], C: Array[T], chunk_size: int, D: AnyArray | None = None,
    z: Array[T] | None = None, dt_bias: AnyArray | None = None, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    cu_seqlens: AnyArray | None = None, dt_softplus: bool = False, dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: Literal[False] = False, return_varlen_states: Literal[False] = False, *,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def mamba_chunk_scan_combined(
    x: Array[T], dt: Array[T], A: AnyArray, B: Array[T], C: Array[T], chunk_size: int, D: AnyArray | None = None,
    z: Array[T] | None = None, dt_bias: AnyArray | None = None, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    cu_seqlens: AnyArray | None = None, dt_softplus: bool = False, dt_limit: tuple[float, float] = NO_LIMIT,
    *, return_final_states: Literal[True], return_varlen_states: Literal[False] = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def mamba_chunk_scan_combined(
    x: Array[T], dt: Array[T], A: AnyArray, B: Array[T], C: Array[T], chunk_size: int, D: AnyArray | None = None,
    z: Array[T] | None = None, dt_bias: AnyArray | None = None, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    cu_seqlens: AnyArray | None = None, dt_softplus: bool = False, dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: Literal[False] = False, *, return_varlen_states: Literal[True],
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def mamba_chunk_scan_combined(
    x: Array[T], dt: Array[T], A: AnyArray, B: Array[T], C: Array[T], chunk_size: int, D: AnyArray | None = None,
    z: Array[T] | None = None, dt_bias: AnyArray | None = None, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    cu_seqlens: AnyArray | None = None, dt_softplus: bool = False, dt_limit: tuple[float, float] = NO_LIMIT,
    *, return_final_states: Literal[True], return_varlen_states: Literal[True],
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T, T]: ...
@overload
def mamba_chunk_scan_combined(
    x: Array[T], dt: Array[T], A: AnyArray, B: Array[T], C: Array[T], chunk_size: int, D: AnyArray | None = None,
    z: Array[T] | None = None, dt_bias: AnyArray | None = None, initial_states: AnyArray | None = None, seq_idx: AnyArray | None = None,
    cu_seqlens: AnyArray | None = None, dt_softplus: bool = False, dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: bool = False, return_varlen_states: bool = False, *,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, T] | tuple[T, T, T]: ...
# fmt: on
def mamba_chunk_scan_combined(
    x: Array[T],
    dt: Array[T],
    A: AnyArray,
    B: Array[T],
    C: Array[T],
    chunk_size: int,
    D: AnyArray | None = None,
    z: Array[T] | None = None,
    dt_bias: AnyArray | None = None,
    initial_states: AnyArray | None = None,
    seq_idx: AnyArray | None = None,
    cu_seqlens: AnyArray | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: bool = False,
    return_varlen_states: bool = False,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, T] | tuple[T, T, T]:
    """Mamba-2's scan: h_t = e^{dt_t A} h_{t-1} + dt_t x_t B_t^T, y_t = h_t C_t + D x_t, times silu(z_t), for every head (1), (2), (6).

    Parameters
    ----------
    x, z : (B, L, H, P)
        Input and gate, H heads of P channels; z is optional.
    dt : (B, L, H)
        Step sizes, before ``dt_bias``, ``dt_softplus`` and ``dt_limit``.
    A : (H,)
        Rates; the state decays where dt A < 0.
    B, C : (B, L, G, N)
        Shared by the H / G consecutive heads of a group.
    chunk_size : int
        Maximum number of steps per chunk, at least 1. Changes the result only by rounding.
    D : (H, P) or (H,), optional
        Skip connection.
    dt_bias : (H,), optional
        Added to dt before the softplus.
    initial_states : (B, H, P, N), optional
        The state before the first step; zeros if absent.
    seq_idx : (B, L) int32 or int64, optional
        Several sequences packed into one: the state restarts from zeros where the index changes.
    cu_seqlens : (S + 1,) int32 or int64, optional
        The start of every sequence in a single item (B = 1), followed by L. The state also restarts at these steps.
    dt_softplus : bool
        Replace dt by log(1 + e^dt).
    dt_limit : (dt_min, dt_max)
        Limits of dt, applied last. With the default, negative dt are replaced by 0.
    return_final_states, return_varlen_states : bool
        Also return the states after the last step, (B, H, P, N), and at the end of every sequence of ``cu_seqlens``, (S, H, P, N).
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` only if one array is returned.

    Returns
    -------
    out : (B, L, H, P), in the dtype of x; or a tuple of out and the requested states, in this order. The state of an empty sequence is 0.
    States are float32 if x has half precision.

    Raises
    ------
    ValueError, TypeError
        Inconsistent shapes, groups that do not divide the heads, a chunk size below 1, limits in the wrong order, cu_seqlens that do not
        ascend from 0 to L (not checked on a device, where results are NaN); mixed float32 and float64. Half precision, also mixed with
        float32, is computed in float32.

    Notes
    -----
    Same signature and meaning as ``mamba_ssm.ops.triton.ssd_combined.mamba_chunk_scan_combined`` (Dao and Gu, arXiv 2405.21060).
    Differentiable in all real arrays, also through the states. Cost: 2 N P + c P / 2 multiply-adds per step and head in chunks of c <= 32
    steps, about 5 N P for the gradient. Additional memory: at most the size of the result, plus one state per thread. Gradients need three
    states per chunk and thread. They sum the heads in parts, which need at most the size of two results, plus c numbers per step and part.
    A NaN in x affects only its channel, and a NaN in dt only its head, from its time step on within its sequence. In compositions and on
    GPUs it reaches its whole chunk and all later ones.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, dt, B = np.ones((1, 4, 1, 1)), np.full((1, 4, 1), np.log(2)), np.ones((1, 4, 1, 1))
    >>> y = qf.ssm.mamba_chunk_scan_combined(x, dt, np.array([-1.0]), B, B, chunk_size=64)  # h_t = h_{t-1} / 2 + log 2
    >>> np.round(y.ravel() / np.log(2), 12)
    array([1.   , 1.5  , 1.75 , 1.875])
    """
    name = "mamba_chunk_scan_combined"
    options = _options(name, chunk_size, dt_softplus, dt_limit, return_final_states, return_varlen_states)
    seq_idx, cuts = _arguments.integer_array(seq_idx, f"ssm.{name}", "seq_idx"), ends_of(cu_seqlens, f"ssm.{name}", x, 1)
    arrays = (x, dt, A, B, C, D, z, dt_bias, initial_states, seq_idx, cuts)
    y, *states = call(CHUNK_SCAN, arrays, options, (), out, backend, num_threads)
    states = [s for s, requested in zip(states, (return_final_states, return_varlen_states)) if requested]
    return (y, *states) if states else y


def mamba_chunk_scan_combined_vjp(
    *inputs_and_grad: InputOrGrad[T],
    chunk_size: int,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: bool = False,
    return_varlen_states: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``mamba_chunk_scan_combined`` with respect to its real inputs (8)-(15).

    Arguments: ``(x, dt, A, B, C[, D[, z[, dt_bias[, initial_states[, seq_idx[, cu_seqlens]]]]]], grad)``. ``grad`` is the gradient of out,
    (B, L, H, P), or a tuple of it and the gradients of the requested states. The gradient of a dt outside the limits is 0.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x, dt, A = np.ones((1, 3, 1, 2)), np.ones((1, 3, 1)), -np.ones(1)
    >>> B = C = np.ones((1, 3, 1, 1))
    >>> dx, *others = qf.ssm.mamba_chunk_scan_combined_vjp(x, dt, A, B, C, np.ones((1, 3, 1, 2)), chunk_size=64)
    >>> dx[0, :, 0, 0].round(4)
    array([1.5032, 1.3679, 1.    ])
    """
    name = "mamba_chunk_scan_combined_vjp"
    options = _options(name, chunk_size, dt_softplus, dt_limit, return_final_states, return_varlen_states)
    arrays: list[Any] = list(inputs_and_grad)
    if len(arrays) > 10:
        arrays[9] = _arguments.integer_array(arrays[9], f"ssm.{name}", "seq_idx")
    if len(arrays) > 11:
        arrays[10] = ends_of(arrays[10], f"ssm.{name}", arrays[0], 1)
    if isinstance(arrays[-1], (tuple, list)) and return_varlen_states and not return_final_states:
        arrays[-1] = (arrays[-1][0], None, *arrays[-1][1:])
    return call_vjp(CHUNK_SCAN, arrays, options, (), backend, num_threads)


def _options(name: str, chunk_size: Any, dt_softplus: Any, dt_limit: Any, final: Any, varlen: Any) -> tuple[Any, ...]:
    label = f"ssm.{name}"
    size = _arguments.integer(chunk_size, label, "chunk_size", 1)
    return (size, bool(dt_softplus), *limits(name, dt_limit), bool(final), bool(varlen))


def limits(name: str, dt_limit: Any) -> tuple[float, float]:
    """``dt_limit`` as two numbers, dt_min <= dt_max; both may be infinite."""
    label = f"ssm.{name}"
    if not isinstance(dt_limit, (tuple, list)) or len(dt_limit) != 2:
        raise TypeError(f"{label}: dt_limit is {dt_limit!r}, expected two numbers (lower, upper)")
    dt_min, dt_max = (_arguments.real(v, label, f"dt_limit[{i}]") for i, v in enumerate(dt_limit))
    if not dt_min <= dt_max:
        raise ValueError(f"{label}: dt_limit is {(dt_min, dt_max)}, expected (lower, upper) with lower <= upper")
    return dt_min, dt_max
