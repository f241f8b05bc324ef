"""The gated delta rule, and DeltaNet (the same without decays), compatible with flash-linear-attention.

B batch items, T tokens, H heads of queries and keys, HV heads of values; K and V are their dimensions. Equation numbers:
csrc/ssm/delta/README.md.
"""

from __future__ import annotations

from typing import Literal, overload

from ..._spec import Op, Option
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .gates import fractions, log_decays
from .sequences import HEADS, attend, attention, drop_in, gradients, recurrent, warn_of

GATED_DELTA_RULE = attention(
    __name__, "chunk_gated_delta_rule", {"g": HEADS, "beta": HEADS}, (Option("use_qk_l2norm_in_kernel", bool),), optional=True
)


# fmt: off
@overload
def chunk_gated_delta_rule(
    q: Array[T], k: Array[T], v: Array[T], g: Array[T] | None = None, beta: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, *, output_final_state: Literal[True],
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: AnyArray | None = None, use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False, allow_neg_eigval: bool = False, state_v_first: bool = False,
    A_log: AnyArray | None = None, dt_bias: AnyArray | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T]: ...
@overload
def chunk_gated_delta_rule(
    q: Array[T], k: Array[T], v: Array[T], g: Array[T] | None = None, beta: Array[T] | None = None,
    scale: float | None = None, initial_state: AnyArray | None = None, output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: AnyArray | None = None, *, use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False, allow_neg_eigval: bool = False, state_v_first: bool = False,
    A_log: AnyArray | None = None, dt_bias: AnyArray | None = None,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, T | None]: ...
# fmt: on
@drop_in(GATED_DELTA_RULE)
def chunk_gated_delta_rule(
    op: Op,
    q: Array[T],
    k: Array[T],
    v: Array[T],
    g: Array[T] | None = None,
    beta: Array[T] | None = None,
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: AnyArray | None = None,
    *,
    use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    A_log: AnyArray | None = None,
    dt_bias: AnyArray | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """The gated delta rule: S_t = e^{g_t} S_{t-1} + beta_t k_t (v_t - e^{g_t} S_{t-1}^T k_t)^T, o_t = scale S_t^T q_t (1).

    Parameters
    ----------
    q, k : (B, T, H, K)
        Queries and keys; float32 or float64; half precision is computed in float32.
    v : (B, T, HV, V)
        Values; HV is a multiple of H, and HV / H consecutive heads share a query and key.
    g : (B, T, HV), optional
        Logarithms of the decays, 0 if absent. Below about -745 a decay is 0 and the state is cleared. If g > 0, the state grows.
    beta : (B, T, HV), optional
        With |k| = 1, v replaces this fraction of the value stored at k; 1 if absent. If beta |k|^2 exceeds 2, the recurrence grows.
    scale : float, optional
        Factor of the outputs; 1 / sqrt(K) if absent.
    initial_state : (B, HV, K, V), optional
        S_0, zeros if absent; with cu_seqlens, one for each sequence, (N, HV, K, V).
    output_final_state : bool
        Return S_T too, instead of None.
    use_qk_l2norm_in_kernel : bool
        Divide q and k by (sum of squares + 1e-6)^1/2 first (2).
    cu_seqlens : (N + 1,) int32 or int64, optional
        N sequences packed in a batch of one, from token cu_seqlens[i] to cu_seqlens[i + 1]; they may be empty.
    use_gate_in_kernel : bool
        g contains raw values (26): the decay is e^-r with r = e^A_log softplus(g + dt_bias).
    use_beta_sigmoid_in_kernel, allow_neg_eigval : bool
        beta contains raw values (27): the fraction is their sigmoid, or twice that with ``allow_neg_eigval``.
    state_v_first : bool
        States are (N, HV, V, K).
    A_log, dt_bias : HV numbers each, optional
        Parameters of the gate in (26), in any shape; only with ``use_gate_in_kernel``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    o : (B, T, HV, V), in the dtype of q
    final_state : as initial_state, or None. float32 if q has half precision.

    Raises
    ------
    ValueError
        Shapes do not match, HV is not a multiple of H, cu_seqlens does not ascend from 0 to T or is passed although B is not 1, or a gate
        parameter is missing or unused.
    TypeError
        Unsupported dtypes, or mixed array libraries or dtypes.

    Warns
    -----
    RuntimeWarning
        There are more heads than tokens and no initial_state, as in arrays (B, H, T, K). On the host, it also warns if g > 0 for all of the
        first tokens, as if g contained decays instead of their logarithms.

    Notes
    -----
    The names, order and meaning of the arguments follow ``fla.ops.gated_delta_rule`` (Yang, Kautz, Hatamizadeh, arXiv 2412.06464).
    Differentiable in all real arrays, through the final state as well. Computed in chunks of 16 tokens (4)-(9): 3 K V + 16 (K + V)
    multiply-adds per token and head, and about 3 times as many for the gradient (10)-(18), which stores K / 32 + 1 numbers per element of v
    for the heads being computed. Sequences of up to 8 tokens are processed token by token, in two passes over the state. In float32 errors
    are about 1e-6 of the largest value if beta |k|^2 is at most 1. A NaN affects only its head, from its token on (in gradients: the whole
    head). Without the compiled kernels, and on a GPU, it affects its whole chunk of 64.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> k = v = np.eye(4)[None, :, None]  # four tokens whose keys and values are unit vectors, (1, 4, 1, 4)
    >>> o, state = qf.ssm.chunk_gated_delta_rule(k, k, v, scale=1.0, output_final_state=True)
    >>> bool((o == v).all() and (state[0, 0] == np.eye(4)).all())
    True
    """
    g = log_decays(op.label, g, use_gate_in_kernel, A_log, dt_bias)
    beta = fractions(op.label, beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)
    warn_of(q, g, initial_state, op.label)
    return attend(
        op, (q, k, v, g, beta), scale, initial_state, output_final_state, cu_seqlens, (bool(use_qk_l2norm_in_kernel),), state_v_first,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def chunk_gated_delta_rule_vjp(
    *inputs_and_grad: InputOrGrad[T],
    scale: float | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    output_final_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``chunk_gated_delta_rule`` with respect to its real inputs (10)-(18).

    Arguments: ``(q, k, v[, g[, beta[, initial_state[, cu_seqlens]]]], grad)``. ``grad`` is the gradient of o, (B, T, HV, V); with
    ``output_final_state``, a tuple (gradient of o, gradient of final_state).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> q = k = v = np.ones((1, 3, 1, 2)) / np.sqrt(2)
    >>> dq, dk, dv = qf.ssm.chunk_gated_delta_rule_vjp(q, k, v, np.ones((1, 3, 1, 2)))
    >>> dq.shape
    (1, 3, 1, 2)
    """
    options = (bool(use_qk_l2norm_in_kernel), bool(output_final_state))
    return gradients(GATED_DELTA_RULE, inputs_and_grad, scale, options, backend, num_threads)


fused_recurrent_gated_delta_rule = recurrent(GATED_DELTA_RULE, chunk_gated_delta_rule)


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
@drop_in(GATED_DELTA_RULE.titled("chunk_delta_rule"))
def chunk_delta_rule(
    op: Op,
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

    Arguments, results, errors, cost and gradients are as for ``chunk_gated_delta_rule``. Same names and order as in
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
    >>> qf.ssm.chunk_delta_rule(k, k, v, scale=1.0)[0].ravel()  # the key's last value
    array([1., 2., 3.])
    """
    warn_of(q, None, initial_state, op.label)
    return attend(
        op, (q, k, v, None, beta), scale, initial_state, output_final_state, cu_seqlens, (bool(use_qk_l2norm_in_kernel),), False,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


fused_recurrent_delta_rule = recurrent(GATED_DELTA_RULE, chunk_delta_rule)
