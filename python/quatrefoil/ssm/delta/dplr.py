"""Recurrences with a diagonal plus rank-one transition, as in RWKV-7, compatible with flash-linear-attention.

Equation numbers: csrc/ssm/delta/README.md.
"""

from __future__ import annotations

from ..._spec import Op
from ..._typing import AnyArray, Array, Backend, InputOrGrad, T
from .sequences import CHANNELS, attend, attention, drop_in, gradients, recurrent, warn_of

DPLR = attention(__name__, "chunk_dplr_delta_rule", {"a": CHANNELS, "b": CHANNELS, "gk": CHANNELS}, ())


@drop_in(DPLR)
def chunk_dplr_delta_rule(
    op: Op,
    q: Array[T],
    k: Array[T],
    v: Array[T],
    a: Array[T],
    b: Array[T],
    gk: Array[T],
    scale: float | None = None,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    cu_seqlens: AnyArray | None = None,
    *,
    lower_bound: float | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """Diagonal plus rank one: S_t = diag(e^{gk_t}) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T, o_t = scale S_t^T q_t (25).

    Parameters
    ----------
    q, k : (B, T, H, K)
    v : (B, T, HV, V)
    a, b : (B, T, HV, K)
        a reads the state before its decay; the result is written at b.
    gk : (B, T, HV, K)
        Logarithms of the decays, of any magnitude.
    scale, initial_state, output_final_state, cu_seqlens
        As in ``chunk_gated_delta_rule``.
    lower_bound : float, optional
        Lets flash-linear-attention use faster kernels; it has no effect on this function.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    o, final_state
        As in ``chunk_gated_delta_rule``.

    Raises
    ------
    ValueError, TypeError
        As in ``chunk_kda``.

    Notes
    -----
    Same names and order as in ``fla.ops.generalized_delta_rule``. Differentiable in all real arrays. If gk <= 0, |a| = 1 and
    b = -c e^gk a with c in [0, 2], the state does not grow.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> one = np.ones((1, 3, 1, 1))
    >>> o, _ = qf.ssm.fla.chunk_dplr_delta_rule(one, one, one, one, -0.5 * one, 0 * one, scale=1.0)  # S = S - S / 2 + 1
    >>> o.ravel()
    array([1.  , 1.5 , 1.75])
    """
    warn_of(q, gk, initial_state, op.label)
    return attend(
        op, (q, k, v, a, b, gk), scale, initial_state, output_final_state, cu_seqlens, (), False,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip


def chunk_dplr_delta_rule_vjp(
    *inputs_and_grad: InputOrGrad[T],
    scale: float | None = None,
    output_final_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``chunk_dplr_delta_rule`` with respect to its real inputs (23)-(25).

    Arguments: ``(q, k, v, a, b, gk[, initial_state[, cu_seqlens]], grad)``. ``grad`` is the gradient of o, (B, T, HV, V); with
    ``output_final_state``, a tuple (gradient of o, gradient of final_state).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.ones((1, 3, 1, 2)) / np.sqrt(2)
    >>> da = qf.ssm.chunk_dplr_delta_rule_vjp(x, x, x, -x, x, 0 * x, x)[3]
    >>> bool((da[0, 0] == 0).all())  # there was nothing to read
    True
    """
    return gradients(DPLR, inputs_and_grad, scale, (bool(output_final_state),), backend, num_threads)


fused_recurrent_dplr_delta_rule = recurrent(DPLR, chunk_dplr_delta_rule)


@drop_in(DPLR.titled("chunk_rwkv7"))
def chunk_rwkv7(
    op: Op,
    r: Array[T],
    w: Array[T],
    k: Array[T],
    v: Array[T],
    a: Array[T],
    b: Array[T],
    scale: float = 1.0,
    initial_state: AnyArray | None = None,
    output_final_state: bool = False,
    cu_seqlens: AnyArray | None = None,
    *,
    lower_bound: float | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, T | None]:
    """RWKV-7: ``chunk_dplr_delta_rule`` with q named r, gk named w, w as the second argument, and scale 1 by default.

    The layer passes a = -kappa, b = kappa a' with kappa = k / |k| and rates a' in [0, 1] (arXiv 2503.14456).

    Parameters
    ----------
    r, w, k, v, a, b
        q, gk, k, v, a and b of ``chunk_dplr_delta_rule``.
    scale, initial_state, output_final_state, cu_seqlens, lower_bound
        As in ``chunk_dplr_delta_rule``; the scale is 1 if absent.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> one = np.ones((1, 3, 1, 1))
    >>> qf.ssm.fla.chunk_rwkv7(one, 0 * one, one, one, -one, 0.5 * one)[0].ravel()
    array([1.  , 1.5 , 1.75])
    """
    warn_of(r, w, initial_state, op.label)
    return attend(
        op, (r, k, v, a, b, w), scale, initial_state, output_final_state, cu_seqlens, (), False,
        out=out, backend=backend, num_threads=num_threads,
    )  # fmt: skip
