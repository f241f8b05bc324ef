from itertools import pairwise

import numpy as np


def chunk_gated_delta_rule(
    q, k, v, g=None, beta=None, initial_state=None, cu_seqlens=None, *,
    scale=None, output_final_state=False, use_qk_l2norm_in_kernel=False, corrects=True,
):  # fmt: skip
    """The recurrence, one token at a time over all heads of a sequence, in extended precision."""
    wide = np.longdouble
    q, k, v = (x.astype(wide) for x in (q, k, v))
    if use_qk_l2norm_in_kernel:
        q, k = (x / np.sqrt((x * x).sum(-1, keepdims=True) + wide(1e-6)) for x in (q, k))
    B, T, H, K = q.shape
    HV, V = v.shape[2:]
    q, k = (np.repeat(x, HV // H if H else 1, axis=2) for x in (q, k))
    scale = (1 / np.sqrt(wide(K)) if K else wide(1)) if scale is None else wide(scale)
    decay = np.ones((B, T, HV), wide) if g is None else np.exp(g.astype(wide))
    beta = np.ones((B, T, HV), wide) if beta is None else beta.astype(wide)
    sequences = [(b, 0, T) for b in range(B)] if cu_seqlens is None else [(0, i, j) for i, j in pairwise(cu_seqlens)]
    o, states = np.zeros((B, T, HV, V), wide), np.zeros((len(sequences), HV, K, V), wide)
    for n, (b, begin, end) in enumerate(sequences):
        S = np.zeros((HV, K, V), wide) if initial_state is None else initial_state[n].astype(wide)
        for t in range(begin, end):
            S = decay[b, t, :, None, None] * S
            x = v[b, t]
            if corrects:
                x = beta[b, t, :, None] * (x - (S * k[b, t, :, :, None]).sum(1))
            S = S + k[b, t, :, :, None] * x[:, None]
            o[b, t] = scale * (S * q[b, t, :, :, None]).sum(1)
        states[n] = S
    return (o, states) if output_final_state else o


def chunk_simple_gla(q, k, v, g=None, initial_state=None, cu_seqlens=None, **options):
    """The same without a correction: what is written is v."""
    return chunk_gated_delta_rule(q, k, v, g, None, initial_state, cu_seqlens, corrects=False, **options)
