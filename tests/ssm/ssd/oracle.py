import numpy as np

from ssm.selective.oracle import causal_conv1d_fn


def mamba_chunk_scan_combined(
    x, dt, A, B, C, D=None, z=None, dt_bias=None, initial_states=None, seq_idx=None, cu_seqlens=None, *, chunk_size,
    dt_softplus=False, dt_limit=(0.0, np.inf), return_final_states=False, return_varlen_states=False,
):  # fmt: skip
    """The recurrence, one step at a time for all heads, in extended precision; B and C are expanded to (B, L, H, N) first."""
    wide = np.longdouble
    items, L, H, P = x.shape
    x, A = x.astype(wide), A.astype(wide)
    B, C = (np.repeat(m.astype(wide), H // m.shape[2], axis=2) for m in (B, C))
    dt = dt.astype(wide) + (0 if dt_bias is None else dt_bias)
    if dt_softplus:
        dt = np.logaddexp(dt, wide(0))
    dt = np.clip(dt, *dt_limit)
    h = np.zeros((items, H, P, B.shape[3]), wide) if initial_states is None else initial_states.astype(wide)
    begins = [] if cu_seqlens is None else list(cu_seqlens[:-1])
    varlen = np.zeros((max(len(begins), 0), *h.shape[1:]), wide)
    y = np.zeros_like(x)
    for t in range(L):
        if t and t in begins:
            h = np.zeros_like(h)
        if t and seq_idx is not None:
            h = np.where((seq_idx[:, t] == seq_idx[:, t - 1])[:, None, None, None], h, 0)
        h = np.exp(dt[:, t] * A)[..., None, None] * h + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        y[:, t] = (h * C[:, t, :, None]).sum(-1)
        for s, (first, last) in enumerate(zip(begins, [] if cu_seqlens is None else cu_seqlens[1:])):
            if first <= t == last - 1:
                varlen[s] = h[0]
    if D is not None:
        y = y + (D if D.ndim == 2 else D[:, None]) * x
    if z is not None:
        y = y * z / (1 + np.exp(-z.astype(wide)))
    states = ([h] if return_final_states else []) + ([varlen] if return_varlen_states else [])
    return (y, *states) if states else y


def mamba_split_conv1d_scan_combined(
    zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D, initial_states=None, seq_idx=None, rmsnorm_weight=None, outproj_weight=None,
    outproj_bias=None, *, chunk_size=1, dt_limit=(0.0, np.inf), return_final_states=False, activation="silu", rmsnorm_eps=1e-6,
    headdim=None, ngroups=1, norm_before_gate=True,
):  # fmt: skip
    """The block written out, one part at a time."""

    def silu(v):
        return v / (1 + np.exp(-v))

    items, L, _ = zxbcdt.shape
    H, P = D.shape if D.ndim == 2 else (len(D), headdim)
    inner = H * P
    N = (conv1d_weight.shape[0] - inner) // (2 * ngroups)
    inputs = zxbcdt.astype(np.longdouble)
    rest = inputs.shape[2] - inner - conv1d_weight.shape[0] - H
    mlp, z, mixed, dt = np.split(inputs, np.cumsum([rest, inner, conv1d_weight.shape[0]]), axis=2)
    conv = causal_conv1d_fn(mixed.swapaxes(1, 2), conv1d_weight, conv1d_bias, seq_idx, activation=activation).swapaxes(1, 2)
    x, B, C = np.split(conv, [inner, inner + ngroups * N], axis=2)
    y, states = mamba_chunk_scan_combined(
        x.reshape(items, L, H, P), dt, A, B.reshape(items, L, ngroups, N), C.reshape(items, L, ngroups, N), D, None, dt_bias,
        initial_states, seq_idx, chunk_size=1, dt_softplus=True, dt_limit=dt_limit, return_final_states=True,
    )  # fmt: skip
    y = y.reshape(items, L, inner)
    if rmsnorm_weight is None:
        y = y * silu(z)
    else:
        y = y if norm_before_gate else y * silu(z)
        groups = y.reshape(items, L, ngroups, inner // ngroups)
        y = (groups / np.sqrt((groups**2).mean(axis=3, keepdims=True) + rmsnorm_eps)).reshape(y.shape)
        y = y * rmsnorm_weight * (silu(z) if norm_before_gate else 1)
    if rest:
        y = np.concatenate([silu(mlp[..., : rest // 2]) * mlp[..., rest // 2 :], y], axis=2)
    if outproj_weight is not None:
        y = y @ outproj_weight.T.astype(np.longdouble) + (0 if outproj_bias is None else outproj_bias)
    return (y, states) if return_final_states else y
