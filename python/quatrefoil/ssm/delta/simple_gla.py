"""Linear attention with one decay per head and token, or one per head, compatible with flash-linear-attention.

Equation numbers: csrc/ssm/delta/README.md.
"""

from __future__ import annotations

from typing import Any, Literal, overload

from ... import _arrays
from ..._spec import Op
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .sequences import HEADS, attend, attention, drop_in, gradients, recurrent, warn_of

SIMPLE_GLA = attention(__name__, "chunk_simple_gla", {"g": HEADS}, (), optional=True)


# fmt: off
@overload
def chunk_simple_gla(
    q: Array[T], k: Array[T], v: Array[T], g: Array[T] | None = None, g_gamma: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, *, output_final_state: Literal[True],
    cu_seqlens: AnyArray | None = None, state_v_first: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def chunk_simple_gla(
    q: Array[T], k: Array[T], v: Array[T], g: Array[T] | None = None, g_gamma: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, output_final_state: bool = False,
    cu_seqlens: AnyArray | None = None, *, state_v_first: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T | None]: ...
# fmt: on
@drop_in(SIMPLE_GLA)
def chunk_simple_gla(
    op: Op,
    q: Array[T],
    k: Array[T],
    v: Array[T],
    g: Array[T] | None = None,
    g_gamma: Array[T] | None = None,
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    cu_seqlens: AnyArray | None = None,
    *,
    state_v_first: bool = False,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """Gated linear attention with one decay per head: S_t = e^{g_t} S_{t-1} + k_t v_t^T, o_t = scale S_t^T q_t (3).

    Parameters
    ----------
    q, k : (B, T, H, K)
    v : (B, T, HV, V)
    g : (B, T, HV), optional
        Logarithm of the decay of each token, 0 if absent.
    g_gamma : (HV,), optional
        One log-decay per head for all tokens, instead of g.
    scale, initial_state, output_final_state, cu_seqlens, state_v_first
        As in ``chunk_gated_delta_rule``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    o, final_state
        As in ``chunk_gated_delta_rule``.

    Raises
    ------
    ValueError, TypeError
        As for ``chunk_gated_delta_rule``; also if both g and g_gamma are passed.

    Notes
    -----
    Same names and order as in ``fla.ops.simple_gla``. Differentiable in all real arrays. Cost: about 2 K V + 8 (K + V) multiply-adds
    per token and head.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> ones = np.ones((1, 3, 1, 1))
    >>> qf.ssm.chunk_simple_gla(ones, ones, ones, g_gamma=np.log([0.5]))[0].ravel()
    array([1.  , 1.5 , 1.75])
    """
    warn_of(q, g_gamma if g is None else g, initial_state, op.label)
    return attend(
        op, (q, k, v, _decays(g, g_gamma, v, op.label)), scale, initial_state, output_final_state, cu_seqlens, (), state_v_first,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def chunk_simple_gla_vjp(
    *inputs_and_grad: InputOrGrad[T],
    scale: float | None = None,
    output_final_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``chunk_simple_gla`` with respect to its real inputs (10)-(18).

    Arguments: ``(q, k, v[, g[, initial_state[, cu_seqlens]]], grad)``. ``grad`` is the gradient of o, (B, T, HV, V); with
    ``output_final_state``, a tuple (gradient of o, gradient of final_state).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> q = k = v = np.ones((1, 3, 1, 2))
    >>> dq, dk, dv = qf.ssm.chunk_simple_gla_vjp(q, k, v, np.ones((1, 3, 1, 2)), scale=1.0)
    >>> dq[0, :, 0, 0]  # the sum of all keys so far
    array([2., 4., 6.])
    """
    return gradients(SIMPLE_GLA, inputs_and_grad, scale, (bool(output_final_state),), backend, num_threads)


fused_recurrent_simple_gla = recurrent(SIMPLE_GLA, chunk_simple_gla)


def _decays(g: Any, g_gamma: Any, v: Any, label: str) -> Any:
    """g, or g_gamma for every token."""
    if g_gamma is None:
        return g
    if g is not None:
        raise ValueError(f"{label}: got both g and g_gamma, expected one of them")
    of_v: tuple[int, ...]
    kinds, of_v = (_arrays.kind(g_gamma), _arrays.kind(v)), tuple(getattr(v, "shape", ()))
    if kinds[0] is None:
        raise TypeError(f"{label}: g_gamma is {_arrays.describe(g_gamma)}, expected an array (HV,)")
    if kinds[0] != kinds[1] or len(of_v) != 4:
        return g_gamma  # the call reports errors in v
    if tuple(g_gamma.shape) != (of_v[2],):
        raise ValueError(f"{label}: g_gamma has shape {tuple(g_gamma.shape)}, expected (HV,) = ({of_v[2]},), like v")
    return _arrays.namespace(g_gamma).broadcast_to(g_gamma, of_v[:3])
