"""Delta rules with one decay per key channel: Kimi delta attention and GDN-2, compatible with flash-linear-attention.

Equation numbers: csrc/ssm/delta/README.md.
"""

from __future__ import annotations

from ..._spec import Op, Option
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .gates import fractions, log_decays
from .sequences import CHANNELS, HEADS, VALUES, attend, attention, drop_in, gradients, recurrent, warn_of

_NORMALIZES = (Option("use_qk_l2norm_in_kernel", bool),)
KDA = attention(__name__, "chunk_kda", {"g": CHANNELS, "beta": HEADS}, _NORMALIZES)
GDN2 = attention(__name__, "chunk_gdn2", {"g": CHANNELS, "b": CHANNELS, "w": VALUES}, _NORMALIZES)


@drop_in(KDA)
def chunk_kda(
    op: Op,
    q: Array[T],
    k: Array[T],
    v: Array[T],
    g: Array[T],
    beta: Array[T],
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    *,
    use_gate_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    lower_bound: float | None = None,
    state_v_first: bool = False,
    cu_seqlens: AnyArray | None = None,
    A_log: AnyArray | None = None,
    dt_bias: AnyArray | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """Kimi delta attention: S_t = A_t S_{t-1} + beta_t k_t (v_t - (A_t S_{t-1})^T k_t)^T, A_t = diag(e^{g_t}), o_t = scale S_t^T q_t (20).

    Parameters
    ----------
    q, k : (B, T, H, K)
    v : (B, T, HV, V)
    g : (B, T, HV, K)
        Logarithms of the decays, of any magnitude; -inf clears the channel.
    beta : (B, T, HV)
        With |k| = 1, v replaces this fraction of the value stored at k. If beta |k|^2 exceeds 2, the recurrence grows.
    scale, initial_state, output_final_state, use_qk_l2norm_in_kernel
        As in ``chunk_gated_delta_rule``.
    use_gate_in_kernel : bool
        g contains raw values (26). The decay is e^-r with r = e^A_log softplus(g + dt_bias). With ``lower_bound``, it is
        e^(lower_bound sigmoid(e^A_log (g + dt_bias))), and A_log is optional.
    use_beta_sigmoid_in_kernel, allow_neg_eigval
        As in ``chunk_gated_delta_rule``.
    lower_bound : float, optional
        Lower bound on the log-decays; negative. Used with ``use_gate_in_kernel``.
    state_v_first, cu_seqlens
        As in ``chunk_gated_delta_rule``.
    A_log, dt_bias : HV and HV K numbers, optional
        Parameters of the gate in (26), in any shape; only with ``use_gate_in_kernel``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    o, final_state
        As in ``chunk_gated_delta_rule``.

    Raises
    ------
    ValueError, TypeError
        As for ``chunk_gated_delta_rule``. Also for unsupported arguments of flash-linear-attention (cp_context,
        return_intermediate_states, use_graph).

    Notes
    -----
    Same names and meaning as in ``fla.ops.kda`` (Kimi team, arXiv 2510.26692). Differentiable in all real arrays. Cost: about that of
    ``chunk_gated_delta_rule``, plus K exponentials and about 25 K multiplications per token and head.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> k = v = np.eye(2)[None, :, None]  # two tokens whose keys and values are unit vectors, (1, 2, 1, 2)
    >>> g, beta = np.log([[0.5, 0.25]]).reshape(1, 1, 1, 2).repeat(2, 1), np.ones((1, 2, 1))
    >>> o, state = qf.ssm.fla.chunk_kda(k, k, v, g, beta, scale=1.0, output_final_state=True)
    >>> state[0, 0]  # the first channel has decayed once
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    g = log_decays(op.label, g, use_gate_in_kernel, A_log, dt_bias, lower_bound)
    beta = fractions(op.label, beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)
    warn_of(q, g, initial_state, op.label)
    return attend(
        op, (q, k, v, g, beta), scale, initial_state, output_final_state, cu_seqlens, (bool(use_qk_l2norm_in_kernel),), state_v_first,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def chunk_kda_vjp(
    *inputs_and_grad: InputOrGrad[T],
    scale: float | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    output_final_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``chunk_kda`` with respect to its real inputs (23), (24).

    Arguments: ``(q, k, v, g, beta[, initial_state[, cu_seqlens]], grad)``. ``grad`` is the gradient of o, (B, T, HV, V); with
    ``output_final_state``, a tuple (gradient of o, gradient of final_state). g and beta are as in (20), after any gates.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> q = k = v = np.ones((1, 3, 1, 2)) / np.sqrt(2)
    >>> dg = qf.ssm.chunk_kda_vjp(q, k, v, 0 * q, np.ones((1, 3, 1)), np.ones((1, 3, 1, 2)))[3]
    >>> dg.shape
    (1, 3, 1, 2)
    """
    return gradients(KDA, inputs_and_grad, scale, (bool(use_qk_l2norm_in_kernel), bool(output_final_state)), backend, num_threads)


fused_recurrent_kda = recurrent(KDA, chunk_kda)


@drop_in(GDN2)
def chunk_gdn2(
    op: Op,
    q: Array[T],
    k: Array[T],
    v: Array[T],
    g: Array[T],
    b: Array[T],
    w: Array[T],
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    *,
    use_gate_in_kernel: bool = False,
    lower_bound: float | None = None,
    state_v_first: bool = False,
    cu_seqlens: AnyArray | None = None,
    A_log: AnyArray | None = None,
    dt_bias: AnyArray | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """GDN-2: S_t = A_t S_{t-1} + k_t (w_t v_t - (A_t S_{t-1})^T (b_t k_t))^T, A_t = diag(e^{g_t}), o_t = scale S_t^T q_t (21).

    The gates b (per key channel) and w (per value channel) replace the beta of ``chunk_kda``.

    Parameters
    ----------
    q, k, v, g
        As in ``chunk_kda``.
    b : (B, T, HV, K)
        Erase gate of each key channel.
    w : (B, T, HV, V)
        The fraction of each value that is written.
    scale, initial_state, output_final_state, use_qk_l2norm_in_kernel, use_gate_in_kernel, lower_bound, state_v_first, cu_seqlens
        As in ``chunk_kda``.
    A_log, dt_bias
        As in ``chunk_kda``.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    o, final_state
        As in ``chunk_kda``.

    Raises
    ------
    ValueError, TypeError
        As in ``chunk_kda``.

    Notes
    -----
    Same names and meaning as in ``fla.ops.gdn2`` (arXiv 2605.22791). Differentiable in all real arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> k, v = np.ones((1, 2, 1, 1)), np.array([4.0, 2.0]).reshape(1, 2, 1, 1)
    >>> o, _ = qf.ssm.fla.chunk_gdn2(k, k, v, 0 * k, b=0.5 * k, w=k, scale=1.0)  # erases half of what the key reads
    >>> o.ravel()
    array([4., 4.])
    """
    g = log_decays(op.label, g, use_gate_in_kernel, A_log, dt_bias, lower_bound)
    warn_of(q, g, initial_state, op.label)
    return attend(
        op, (q, k, v, g, b, w), scale, initial_state, output_final_state, cu_seqlens, (bool(use_qk_l2norm_in_kernel),), state_v_first,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def chunk_gdn2_vjp(
    *inputs_and_grad: InputOrGrad[T],
    scale: float | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    output_final_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``chunk_gdn2`` with respect to its real inputs (23), (24).

    Arguments: ``(q, k, v, g, b, w[, initial_state[, cu_seqlens]], grad)``. ``grad`` is the gradient of o, (B, T, HV, V); with
    ``output_final_state``, a tuple (gradient of o, gradient of final_state). g is as in (21), after any gate.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> q = k = v = b = w = np.ones((1, 3, 1, 2)) / np.sqrt(2)
    >>> db = qf.ssm.chunk_gdn2_vjp(q, k, v, 0 * q, b, w, np.ones((1, 3, 1, 2)))[4]
    >>> bool((db[0, 0] == 0).all())  # there was nothing to erase
    True
    """
    return gradients(GDN2, inputs_and_grad, scale, (bool(use_qk_l2norm_in_kernel), bool(output_final_state)), backend, num_threads)


fused_recurrent_gdn2 = recurrent(GDN2, chunk_gdn2)
