"""DeltaNet: the gated delta rule without decays, a drop-in for flash-linear-attention's."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, overload

from ..._spec import Op
from ..._typing import AnyArray, Array, Backend, T
from .gated_delta_rule import GATED_DELTA_RULE, gated_delta_rule
from .sequences import recurrent

_CHUNK = GATED_DELTA_RULE.titled("chunk_delta_rule")


def _delta_rule(op: Op, q: Any, k: Any, v: Any, beta: Any = None, *others: Any, **options: Any) -> tuple[Any, Any]:
    """The gated rule without a gate; ``others`` and ``options`` are those of ``gated_delta_rule``."""
    return gated_delta_rule(op, q, k, v, None, beta, *others, **options)


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

    Arguments, results, errors, cost and gradients are those of ``chunk_gated_delta_rule``. Names and order are those of
    ``fla.ops.delta_rule`` (Yang, Wang, Zhang, Shen, Kim, arXiv 2406.06484).

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
    return _delta_rule(
        _CHUNK, q, k, v, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


fused_recurrent_delta_rule = recurrent(chunk_delta_rule, partial(_delta_rule, GATED_DELTA_RULE.titled("fused_recurrent_delta_rule")))
