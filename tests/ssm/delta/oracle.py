from itertools import pairwise

import numpy as np

wide = np.longdouble


def recurrence(q, k, v, decay, step, initial_state, cu_seqlens, scale=None, output_final_state=False, use_qk_l2norm_in_kernel=False):
    """One token at a time for all heads of a sequence, in extended precision.

    ``step(S, k, decay, at)`` returns the state after the token at ``at`` = (item, token), from the state before it, the keys of all heads,
    and the decays (HV, K or 1).
    """
    q, k, v, decay = (x.astype(wide) for x in (q, k, v, decay))
    if use_qk_l2norm_in_kernel:
        q, k = (x / np.sqrt((x * x).sum(-1, keepdims=True) + wide(1e-6)) for x in (q, k))
    B, T, H, K = q.shape
    HV, V = v.shape[2:]
    q, k = (np.repeat(x, HV // H if H else 1, axis=2) for x in (q, k))
    scale = (1 / np.sqrt(wide(K)) if K else wide(1)) if scale is None else wide(scale)
    sequences = [(b, 0, T) for b in range(B)] if cu_seqlens is None else [(0, i, j) for i, j in pairwise(cu_seqlens)]
    o, states = np.zeros((B, T, HV, V), wide), np.zeros((len(sequences), HV, K, V), wide)
    for n, (b, begin, end) in enumerate(sequences):
        S = np.zeros((HV, K, V), wide) if initial_state is None else initial_state[n].astype(wide)
        for t in range(begin, end):
            S = step(S, k[b, t], decay[b, t], (b, t))
            o[b, t] = scale * read(S, q[b, t])
        states[n] = S
    return (o, states) if output_final_state else o


def read(S, x):
    """S^T x for every head."""
    return (S * x[:, :, None]).sum(1)


def outer(k, x):
    return k[:, :, None] * x[:, None]


def log_decays(g, v):
    return np.zeros((*v.shape[:3], 1)) if g is None else g[..., None] if g.ndim == 3 else g


def chunk_gated_delta_rule(q, k, v, g=None, beta=None, initial_state=None, cu_seqlens=None, **options):
    beta = np.ones(v.shape[:3]) if beta is None else beta

    def step(S, k, decay, at):
        S = decay[..., None] * S
        return S + outer(k, beta[at][:, None] * (v[at] - read(S, k)))

    return recurrence(q, k, v, np.exp(log_decays(g, v).astype(wide)), step, initial_state, cu_seqlens, **options)


chunk_kda = chunk_gated_delta_rule  # with a decay per channel


def chunk_simple_gla(q, k, v, g=None, initial_state=None, cu_seqlens=None, **options):
    def step(S, k, decay, at):
        return decay[..., None] * S + outer(k, v[at])

    return recurrence(q, k, v, np.exp(log_decays(g, v).astype(wide)), step, initial_state, cu_seqlens, **options)


def chunk_gdn2(q, k, v, g, b, w, initial_state=None, cu_seqlens=None, **options):
    """Per channel, b scales the keys used for erasing, and w scales the values."""

    def step(S, k, decay, at):
        S = decay[..., None] * S
        return S + outer(k, w[at].astype(wide) * v[at] - read(S, b[at] * k))

    return recurrence(q, k, v, np.exp(g.astype(wide)), step, initial_state, cu_seqlens, **options)


def chunk_dplr_delta_rule(q, k, v, a, b, gk, initial_state=None, cu_seqlens=None, **options):
    """The state is read with a before it decays, and the result is written with b."""

    def step(S, k, decay, at):
        return decay[..., None] * S + outer(b[at], read(S, a[at])) + outer(k, v[at])

    return recurrence(q, k, v, np.exp(gk.astype(wide)), step, initial_state, cu_seqlens, **options)
