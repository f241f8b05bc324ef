"""One step of Mamba's selective state, for decoding, compatible with mamba-ssm.

B batch items, H heads of P dims each, N states, G groups. Equation numbers: csrc/ssm/selective/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import integer_array, writeable
from ..._bind import IN_PLACE
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .index_arrays import check_rows


def _check_sizes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    state, x, _, _, B, C, *_, rows = shapes[:10]
    assert state is not None
    assert x is not None
    assert B is not None
    heads = state[1] if len(state) == 4 else 1
    if C != B:
        raise ValueError(f"{label}: C has shape {C}, expected {B}, the shape of B")
    if len(B) == 3 and (B[1] < 1 or heads % B[1]):
        what = f"the number of heads, {heads}" if len(state) == 4 else "1, because state has no heads"
        raise ValueError(f"{label}: B has shape {B}, expected (B, N) or (B, G, N), where G divides {what}")
    if rows is None and state[0] != x[0]:
        where = f"like x, or state_batch_indices that select from the {state[0]} rows"
        raise ValueError(f"{label}: state has shape {state}, expected a first axis of length {x[0]}, {where}")


def _check_rows(label: str, inputs: Sequence[Any], options: tuple[Any, ...]) -> None:
    state, rows = inputs[0], inputs[9]
    if rows is None:
        return
    chosen = rows[rows >= 0]
    if (chosen >= len(state)).any():
        raise ValueError(f"{label}: state_batch_indices must be less than the number of rows of state")
    if len(np.unique(chosen)) < len(chosen):
        raise ValueError(f"{label}: state_batch_indices must not contain a row twice")


STATE_STEP = Op(
    __name__, "selective_state_step",
    inputs=(
        Arg("state", "R H? P N", half=True),
        Arg("x", "B H? P", half=True),
        Arg("dt", "B H? P", half=True),
        Arg("A", "H? P N", half=True),
        Arg("B", "B N or B G N", half=True),
        Arg("C", "B N or B G N", half=True),
        Arg("D", "H? P", optional=True, half=True),
        Arg("z", "B H? P", optional=True, half=True),
        Arg("dt_bias", "H? P", optional=True, half=True),
        Arg("state_batch_indices", "B", optional=True, dtype="int"),
    ),
    outputs=(Arg("out", "B H? P", half=True, half_type_of="x"), Arg("next_state", "R H? P N", half=True, in_place_of="state")),
    options=(Option("dt_softplus", bool),),
    check=_check_sizes,
    policy=Policy(check_values=_check_rows),
    tolerance=2e-6,
)  # fmt: skip
_IN_PLACE = STATE_STEP.titled("selective_state_update")


def selective_state_update(
    state: Array[T],
    x: Array[T],
    dt: Array[T],
    A: Array[T],
    B: Array[T],
    C: Array[T],
    D: Array[T] | None = None,
    z: Array[T] | None = None,
    dt_bias: Array[T] | None = None,
    dt_softplus: bool = False,
    state_batch_indices: AnyArray | None = None,
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """One step of the selective scan from ``state``, which is **updated in place**: h' = e^{dt A} h + dt x B, y = C h' + D x (15).

    Parameters
    ----------
    state : (B, P, N) or, with heads, (B, H, P, N)
        h before the step, overwritten by h'. With ``state_batch_indices`` it may have any number of rows.
    x, dt, z : (B, P) or (B, H, P)
        Input, step size and gate; z is optional.
    A : (P, N) or (H, P, N)
        Real.
    B, C : (B, N) or (B, G, N)
        Shared by all heads, or by the H / G consecutive heads of a group.
    D, dt_bias : (P,) or (H, P), optional
        D: skip connection. dt_bias: added to dt before the softplus.
    dt_softplus : bool
        Replace dt by log(1 + e^dt).
    state_batch_indices : (B,) int32 or int64, optional
        Item b uses row state_batch_indices[b] of state. Each row may be used once. Items with a negative index are padding: their output is
        0, and no state changes.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    out : same shape and dtype as x
        y, or y silu(z).

    Raises
    ------
    ValueError, TypeError
        Inconsistent shapes, groups that do not divide the heads, a read-only state, a row that does not exist or is used twice; mixed
        dtypes, except half precision with float32, which is computed in float32. Rows are not checked on a device: an item whose row does
        not exist or is used by an earlier item gets NaN, and changes no state.

    Notes
    -----
    Same signature and meaning as ``mamba_ssm.ops.triton.selective_state_update`` (Gu and Dao, arXiv 2312.00752; for heads, Dao and
    Gu, arXiv 2405.21060). Arrays with any strides are read without copying. Cost: one exponential per state; only one per dim if A is
    expanded over the states, and one per 64 dims if A, dt and dt_bias are also expanded over the dims. Each state is read and written once.
    A state that is not contiguous, or has half precision, is computed separately and copied back. With PyTorch, gradients flow as
    through any in-place update; ``selective_state_step`` leaves ``state`` unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> state, one = np.zeros((1, 2, 3)), np.ones((1, 2))
    >>> for _ in range(2):
    ...     y = qf.ssm.selective_state_update(state, one, one, np.full((2, 3), -np.log(2)), np.ones((1, 3)), np.ones((1, 3)))
    >>> y
    array([[4.5, 4.5]])
    >>> state[0, 0]
    array([1.5, 1.5, 1.5])
    """
    rows = _rows(_IN_PLACE.label, state_batch_indices, state)
    before: Any = state
    writeable(before, _IN_PLACE.label, "state")
    others = (x, dt, A, B, C, D, z, dt_bias, rows)
    if before.__class__ is not np.ndarray and _wants_gradient((state, *others)):
        before = before.clone()  # autograd needs the previous state
    y: T
    y, after = call(_IN_PLACE, (before, *others), (bool(dt_softplus),), (), IN_PLACE, backend, num_threads)
    if after is not state:
        state[...] = after  # type: ignore[index]
    return y


def selective_state_step(
    state: Array[T],
    x: Array[T],
    dt: Array[T],
    A: Array[T],
    B: Array[T],
    C: Array[T],
    D: Array[T] | None = None,
    z: Array[T] | None = None,
    dt_bias: Array[T] | None = None,
    state_batch_indices: AnyArray | None = None,
    dt_softplus: bool = False,
    *,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T]:
    """``selective_state_update`` without the in-place update: returns (out, all states after the step).

    Same arguments and errors as ``selective_state_update``. backend, num_threads: As in ``help(qf.conventions)``. Differentiable
    in all real arrays (16)-(18). Needs memory for one more array of states.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> state, one = np.full((1, 1, 1), 2.0), np.ones((1, 1))
    >>> out, after = qf.ssm.selective_state_step(state, one, one, -one, one, one)
    >>> out.round(4), state.item()  # 2 / e + 1, and the unchanged state
    (array([[1.7358]]), 2.0)
    """
    rows = _rows(STATE_STEP.label, state_batch_indices, state)
    y, after = call(STATE_STEP, (state, x, dt, A, B, C, D, z, dt_bias, rows), (bool(dt_softplus),), (), None, backend, num_threads)
    return y, after


def selective_state_step_vjp(
    *inputs_and_grad: InputOrGrad[T], dt_softplus: bool = False, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``selective_state_step`` with respect to its real inputs (16)-(18).

    Arguments: ``(state, x, dt, A, B, C[, D[, z[, dt_bias[, state_batch_indices]]]], (grad_out, grad_next_state))``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> state, one = np.full((1, 1, 1), 2.0), np.ones((1, 1))
    >>> dstate, *others = qf.ssm.selective_state_step_vjp(state, one, one, -one, one, one, (one, np.zeros((1, 1, 1))))
    >>> dstate.round(4)
    array([[[0.3679]]])
    """
    arrays: list[Any] = list(inputs_and_grad)
    if len(arrays) > 10:
        arrays[9] = _rows(f"{STATE_STEP.label}_vjp", arrays[9], arrays[0])
    return call_vjp(STATE_STEP, arrays, (bool(dt_softplus),), (), backend, num_threads)


def _wants_gradient(arrays: Sequence[Any]) -> bool:
    """Whether PyTorch will save these arrays for a gradient."""
    enabled = _arrays.kind(arrays[0]) == "torch" and _arrays.namespace(arrays[0]).is_grad_enabled()
    return enabled and any(getattr(a, "requires_grad", False) for a in arrays)


def _rows(label: str, rows: Any, state: Any) -> Any:
    if rows is None:
        return None
    rows = integer_array(rows, label, "state_batch_indices")
    if len(rows.shape) == 1 and len(getattr(state, "shape", ())):
        check_rows(label, "state_batch_indices", rows, "state", state.shape)
    return rows
