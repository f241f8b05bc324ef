"""Mamba's selective scan, compatible with mamba-ssm.

B batch items, D channels, N states, length L, G groups. Equation numbers: csrc/ssm/selective/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np

from ... import _arrays
from ..._call import call, call_vjp, is_compiling
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T, Z


def _check_groups(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    channels = shapes[2][0] if shapes[2] else 0
    for name, m in zip("BC", shapes[3:5]):
        if m is not None and len(m) == 4 and (m[1] < 1 or channels % m[1]):
            raise ValueError(f"{label}: {name} has shape {m}, expected (B, G, N, L), where G divides the number of channels, {channels}")


SELECTIVE_SCAN = Op(
    __name__, "selective_scan_fn",
    inputs=(
        Arg("u", "B D L", half=True),
        Arg("delta", "B D L", half=True),
        Arg("A", "D N", dtype="any"),
        Arg("B", "D N or B N L or B G N L", dtype="any", half=True),
        Arg("C", "D N or B N L or B K N L", dtype="any", half=True),
        Arg("D", "D", optional=True),
        Arg("z", "B D L", optional=True, half=True),
        Arg("delta_bias", "D", optional=True),
        Arg("initial_state", "B D N", optional=True, dtype="any"),
    ),
    outputs=(Arg("out", "B D L", half=True), Arg("last_state", "B D N", dtype="any", only_if="return_last_state")),
    options=(Option("delta_softplus", bool), Option("return_last_state", bool)),
    check=_check_groups,
    tolerance=2e-6,
)  # fmt: skip


# fmt: off
@overload
def selective_scan_fn(
    u: Array[T], delta: Array[T], A: Array[Z], B: AnyArray, C: AnyArray, D: AnyArray | None = None, z: Array[T] | None = None,
    delta_bias: AnyArray | None = None, delta_softplus: bool = False, return_last_state: Literal[False] = False, *,
    initial_state: Array[Z] | None = None, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def selective_scan_fn(
    u: Array[T], delta: Array[T], A: Array[Z], B: AnyArray, C: AnyArray, D: AnyArray | None = None, z: Array[T] | None = None,
    delta_bias: AnyArray | None = None, delta_softplus: bool = False, *, return_last_state: Literal[True],
    initial_state: Array[Z] | None = None, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, Z]: ...
@overload
def selective_scan_fn(
    u: Array[T], delta: Array[T], A: Array[Z], B: AnyArray, C: AnyArray, D: AnyArray | None = None, z: Array[T] | None = None,
    delta_bias: AnyArray | None = None, delta_softplus: bool = False, return_last_state: bool = False, *,
    initial_state: Array[Z] | None = None, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, Z]: ...
# fmt: on
def selective_scan_fn(
    u: Array[T],
    delta: Array[T],
    A: Array[Z],
    B: AnyArray,
    C: AnyArray,
    D: AnyArray | None = None,
    z: Array[T] | None = None,
    delta_bias: AnyArray | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Array[Z] | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, Z]:
    """Mamba's selective scan: x_t = e^{delta_t A} x_{t-1} + delta_t u_t B_t, y_t = C_t x_t + D u_t, times silu(z_t) (1)-(3).

    Parameters
    ----------
    u, delta, z : (B, D, L)
        Input, step sizes and gate; z is optional.
    A : (D, N)
        Real or complex. A complex state stands for a conjugate pair: y is 2 Re C x.
    B, C : (B, N, L), (B, G, N, L) or (D, N)
        Shared by all channels, or by the D / G consecutive channels of a group; (D, N) is constant in time. With a complex A, constant ones
        are complex; varying ones are complex or, as in mamba-ssm, real pairs (re, im) along the last axis, (B, N, 2 L).
    D, delta_bias : (D,), optional
        D: skip connection. delta_bias: added to delta before the softplus.
    delta_softplus : bool
        Replace delta by log(1 + e^delta).
    return_last_state : bool
    initial_state : (B, D, N), optional
        The states before the first step, in the dtype of A; zeros if absent. Not in mamba-ssm. A sequence can be computed in chunks, each
        starting from the last state of the previous one.
    out, backend, num_threads
        As in ``help(qf.conventions)``; ``out`` only if one array is returned.

    Returns
    -------
    out : (B, D, L), in the dtype of u; with ``return_last_state``, a tuple (out, last_state), last_state (B, D, N) in the dtype of A.

    Raises
    ------
    ValueError, TypeError
        Inconsistent shapes; dtypes other than float32 and float64. (Half precision in u, delta, z, B, C, with float32 in the others, is
        computed in float32.)

    Notes
    -----
    Same signature and meaning as ``mamba_ssm.ops.selective_scan_interface.selective_scan_fn`` (Gu and Dao, arXiv 2312.00752).
    Differentiable in all arrays, including the initial state, and through the last state (unlike mamba-ssm). Cost: B D L N exponentials.
    The array of all states is never stored: for each 64-byte vector of channels, a thread stores N numbers forwards and N L / 32
    backwards. Error in float32: about 1e-7 of the largest value, more if states remember thousands of steps. A NaN in u, delta or z affects
    only its channel, from its time step on. A NaN in B or C affects only its batch item and group.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> u = delta = np.ones((1, 1, 3))
    >>> A, B, C = -np.ones((1, 1)), np.ones((1, 1, 3)), np.ones((1, 1, 3))
    >>> qf.ssm.selective_scan_fn(u, delta, A, B, C).round(4)  # 1, 1 + 1/e, 1 + 1/e + 1/e^2
    array([[[1.    , 1.3679, 1.5032]]])
    """
    options = (bool(delta_softplus), bool(return_last_state))
    y, last_state = call(
        SELECTIVE_SCAN, (u, delta, A, _paired(A, B), _paired(A, C), D, z, delta_bias, initial_state), options, (), out, backend, num_threads
    )
    return (y, last_state) if return_last_state else y


def selective_scan_fn_vjp(
    *inputs_and_grad: InputOrGrad[T],
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``selective_scan_fn`` (4)-(9): ``(u, delta, A, B, C[, D[, z[, delta_bias[, initial_state]]]], grad)`` -> (du, ...).

    ``grad`` is the gradient of out, (B, D, L); with ``return_last_state``, a tuple (gradient of out, gradient of last_state).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> u = delta = np.ones((1, 1, 3))
    >>> A, B, C = -np.ones((1, 1)), np.ones((1, 1, 3)), np.ones((1, 1, 3))
    >>> du, *others = qf.ssm.selective_scan_fn_vjp(u, delta, A, B, C, np.ones((1, 1, 3)))
    >>> du.round(4)
    array([[[1.5032, 1.3679, 1.    ]]])
    """
    arrays: list[Any] = list(inputs_and_grad)
    for i in (3, 4) if len(arrays) > 5 else ():
        arrays[i] = _paired(arrays[2], arrays[i])
    gradients = list(call_vjp(SELECTIVE_SCAN, arrays, (bool(delta_softplus), bool(return_last_state)), (), backend, num_threads))
    for i in (3, 4):
        if arrays[i] is not inputs_and_grad[i]:
            gradients[i] = _arrays.narrow(_unpaired(gradients[i]), inputs_and_grad[i])
    return tuple(gradients)


def _paired(A: Any, x: Any) -> Any:
    """Varying B or C of a complex scan: (..., 2 L) real pairs -> (..., L) complex. Anything else is returned unchanged.

    An empty array is copied, because NumPy reports it as contiguous for any strides.
    """
    if not _arrays.is_complex(A) or _arrays.kind(x) is None or x.ndim not in (3, 4):
        return x
    x = _arrays.widen(x)
    if _arrays.dtype_name(x) not in _arrays.REAL:
        return x
    if x.shape[-1] % 2:
        raise ValueError(
            f"ssm.selective_scan_fn: B or C has shape {tuple(x.shape)}, expected pairs (re, im) along the last axis, because A is complex"
        )
    if _arrays.kind(x) != "torch":
        plain = x if _arrays.kind(x) == "jax" else _arrays.namespace(x).ascontiguousarray(x) if x.size else x.copy()
        return plain.view(np.result_type(x.dtype, np.complex64))
    import torch

    pairs = x.resolve_neg().unflatten(-1, (x.shape[-1] // 2, 2)).contiguous()
    if is_compiling() or pairs.storage_offset() % 2 or not pairs.numel():  # torch cannot view an odd offset or an empty tensor as complex
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_complex(pairs)


def _unpaired(x: Any) -> Any:
    if _arrays.kind(x) != "torch":
        return x.view(x.real.dtype)
    import torch

    return torch.view_as_real(x).flatten(-2)
