import itertools

import numpy as np


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, initial_state=None, delta_softplus=False, return_last_state=False
):
    """The recurrence, one step at a time for all channels, in extended precision; B and C are expanded to (B, D, N, L) first."""
    real, wide = np.longdouble, np.clongdouble if np.iscomplexobj(A) else np.longdouble
    items, channels, length = u.shape

    def spread(m):
        if m.ndim == 2:
            return np.broadcast_to(m.astype(wide)[None, :, :, None], (items, *m.shape, length))
        if np.iscomplexobj(A) and not np.iscomplexobj(m):
            m = m[..., ::2] + 1j * m[..., 1::2]
        m = m[:, None] if m.ndim == 3 else m
        return np.repeat(m.astype(wide), channels // m.shape[1], axis=1)

    u, delta, B, C = u.astype(real), delta.astype(real), spread(B), spread(C)
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = np.logaddexp(delta, real(0))
    x = np.zeros((items, channels, A.shape[1]), wide) if initial_state is None else initial_state.astype(wide)
    y = np.zeros_like(u)
    for t in range(length):
        x = np.exp(delta[:, :, t, None] * A) * x + (delta[:, :, t] * u[:, :, t])[..., None] * B[..., t]
        total = (C[..., t] * x).sum(-1)
        y[:, :, t] = 2 * total.real if np.iscomplexobj(A) else total
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * z / (1 + np.exp(-z.astype(real)))
    return (y, x) if return_last_state else y


def causal_conv1d_fn(x, weight, bias=None, seq_idx=None, initial_states=None, return_final_states=False, *, activation=None):
    """A sum over taps of shifted copies; taps from a different sequence are masked."""
    before, length = weight.shape[1] - 1, x.shape[2]
    past = np.zeros((*x.shape[:2], before)) if initial_states is None else initial_states
    both = np.concatenate([past, x], axis=2).astype(np.longdouble)
    y = np.zeros(x.shape, np.longdouble)
    for j in range(before + 1):
        term = weight[:, j, None] * both[:, :, j : j + length]
        if seq_idx is not None:
            lag = before - j
            same = np.zeros(seq_idx.shape, bool)
            same[:, lag:] = (seq_idx[:, lag:] == seq_idx[:, : max(length - lag, 0)]) & (seq_idx[:, lag:] >= 0)
            term = np.where(same[:, None], term, 0)
        y += term
    if bias is not None:
        y += bias[:, None]
    if activation is not None:
        y = y / (1 + np.exp(-y))
    if seq_idx is not None:
        y = np.where(seq_idx[:, None] < 0, 0, y)
    return (y, both[:, :, both.shape[2] - before :]) if return_final_states else y


def causal_conv1d_varlen_states(x, cu_seqlens, state_len):
    """The end of every sequence, with zeros added before it."""
    states = [
        np.concatenate([np.zeros((state_len, x.shape[1]), x.dtype), x[begin:end]])[end - begin :]
        for begin, end in itertools.pairwise(cu_seqlens)
    ]
    return np.array(states).reshape(len(states), state_len, x.shape[1]).swapaxes(1, 2)


def selective_state_step(state, x, dt, A, B, C, D=None, z=None, dt_bias=None, state_batch_indices=None, dt_softplus=False):
    """The formula for every item except padding, with an axis of heads and B and C for every head, in extended precision."""
    real, heads = np.longdouble, state.ndim == 4
    after, out = state.astype(real), np.zeros(x.shape, real)
    rows = np.arange(len(x)) if state_batch_indices is None else state_batch_indices
    for b, row in enumerate(rows):
        if row < 0:
            continue
        delta = dt[b].astype(real) + (0 if dt_bias is None else dt_bias)
        delta = np.logaddexp(delta, real(0)) if dt_softplus else delta
        groups = [np.atleast_2d(m[b]) for m in (B, C)]
        b_each, c_each = (np.repeat(m, A.shape[0] // len(m), axis=0)[:, None] for m in groups) if heads else groups
        h = np.exp(delta[..., None] * A) * after[row] + (delta * x[b])[..., None] * b_each
        y = (c_each * h).sum(-1) + (0 if D is None else D * x[b])
        after[row] = h
        out[b] = y if z is None else y * z[b] / (1 + np.exp(-z[b].astype(real)))
    return out, after
