"""DeltaNet: the gated delta rule without decays, a drop-in for flash-linear-attention's."""

from __future__ import annotations

from typing import Literal, overload

from ..._typing import AnyArray, Array, Backend, T
from .gated_delta_rule import GATED_DELTA_RULE, gated_delta_rule

_CHUNK, _RECURRENT = (GATED_DELTA_RULE.titled(name) for name in ("chunk_delta_rule", "fused_recurrent_delta_rule"))


# fmt: off
@overload
def chunk_delta_rule(
    q: Array[T], k: Array[T], v: Array[T], beta: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, *, output_final_state: Literal[True],
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: AnyArray | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def chunk_delta_rule(
    q: Array[T], k: Array[T], v: Array[T], beta: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: AnyArray | None = None, *,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T | None]: ...
# fmt: on
def chunk_delta_rule(
    q: Array[T],
    k: Array[T],
    v: Array[T],
    beta: Array[T] | None = None,
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: AnyArray | None = None,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """DeltaNet: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T, o_t = scale S_t^T q_t: ``chunk_gated_delta_rule`` without decays.

    Arguments, results, errors, cost and gradients are those of ``chunk_gated_delta_rule``, where they are described. Names and order are
    those of ``fla.ops.delta_rule`` (Yang, Wang, Zhang, Shen, Kim, arXiv 2406.06484).

    Parameters
    ----------
    q, k, v, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens
        As in ``chunk_gated_delta_rule``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> k = np.array([1.0, 0.0])[None, None, None].repeat(3, axis=1)  # one key three times, (1, 3, 1, 2)
    >>> v = np.array([[1.0], [2.0], [3.0]])[None, :, None]
    >>> qf.ssm.chunk_delta_rule(k, k, v, scale=1.0)[0].ravel()  # what the key was last told
    array([1., 2., 3.])
    """
    arrays = (q, k, v, None, beta, initial_state)
    return gated_delta_rule(_CHUNK, arrays, cu_seqlens, scale, use_qk_l2norm_in_kernel, output_final_state, out, backend, num_threads)


# fmt: off
@overload
def fused_recurrent_delta_rule(
    q: Array[T], k: Array[T], v: Array[T], beta: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, *, output_final_state: Literal[True],
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: AnyArray | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def fused_recurrent_delta_rule(
    q: Array[T], k: Array[T], v: Array[T], beta: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: AnyArray | None = None, *,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T | None]: ...
# fmt: on
def fused_recurrent_delta_rule(
    q: Array[T],
    k: Array[T],
    v: Array[T],
    beta: Array[T] | None = None,
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: AnyArray | None = None,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """``chunk_delta_rule`` by the name that single steps and short sequences have: sizes alone say how a sequence is computed.

    Parameters
    ----------
    q, k, v, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens
        As in ``chunk_delta_rule``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> k, v = np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 2.0)
    >>> o, state = qf.ssm.fused_recurrent_delta_rule(k, k, v, output_final_state=True)
    >>> o.item(), state.item()
    (2.0, 2.0)
    """
    arrays = (q, k, v, None, beta, initial_state)
    return gated_delta_rule(_RECURRENT, arrays, cu_seqlens, scale, use_qk_l2norm_in_kernel, output_final_state, out, backend, num_threads)
