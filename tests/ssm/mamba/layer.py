"""The layer Mamba: how the suite makes it; and what layers call, as plain loops in torch, slow, differentiable, nothing of quatrefoil."""

import itertools

import torch
from torch.nn import functional as F

from quatrefoil.torch import nn

LAYERS = {
    "Mamba": (lambda: nn.Mamba(6, d_state=3, dt_rank=2), (2, 7, 6)),
    "Mamba-bias": (lambda: nn.Mamba(5, d_state=2, d_conv=1, bias=True, conv_bias=False, dt_init="constant"), (2, 7, 5)),
}
BAD = [
    (lambda: nn.Mamba(0), ValueError, "Mamba: d_model is 0, expected at least 1"),
    (lambda: nn.Mamba(4, d_state=2.5), TypeError, "Mamba: d_state is 2.5, expected an integer"),
    (lambda: nn.Mamba(4, dt_init="ones"), ValueError, "Mamba: dt_init is 'ones', expected one of 'random', 'constant'"),
    (lambda: nn.Mamba(4, dt_min=0.2), ValueError, "Mamba: dt_min and dt_max are 0.2 and 0.1"),
    (lambda: nn.Mamba(4, expand=0), ValueError, "Mamba: expand is 0, expected at least 1 channel"),
    (lambda: nn.Mamba(4, dt_rank=0), ValueError, "Mamba: dt_rank is 0, expected at least 1"),
    (lambda: nn.Mamba(4).step(torch.zeros(2, 3, 4), None, None), ValueError, r"Mamba\.step: hidden_states has shape \(2, 3, 4\)"),
    (lambda: nn.Mamba(4)(torch.zeros(2, 3, 4), object()), ValueError, "Mamba: layer_idx is None, expected the layer's number"),
]


def causal_conv1d_fn(
    x, weight, bias=None, seq_idx=None, initial_states=None, return_final_states=False, *, activation=None
):  # fmt: skip
    W, L = weight.shape[1], x.shape[-1]
    start = torch.zeros(*x.shape[:2], W - 1, dtype=x.dtype) if initial_states is None else initial_states
    whole = torch.cat([start, x], -1)
    y = torch.zeros_like(x)
    for j in range(W):
        tap = whole[..., j : j + L]
        if seq_idx is not None:  # what stands W - 1 - j before counts where it is of the same sequence
            before = F.pad(seq_idx, (W - 1, 0), value=-1)[:, j : j + L]
            tap = tap * (before == seq_idx)[:, None]
        y = y + weight[:, j, None] * tap
    y = y if bias is None else y + bias[:, None]
    y = F.silu(y) if activation in ("silu", "swish") else y
    return (y, whole[..., whole.shape[-1] - (W - 1) :]) if return_final_states else y


def causal_conv1d_varlen_states(x, cu_seqlens, state_len):
    cuts = cu_seqlens.tolist()
    return torch.stack([F.pad(x[a:b], (0, 0, state_len, 0))[-state_len:].T for a, b in itertools.pairwise(cuts)])


def causal_conv1d_update(x, conv_state, weight, bias=None, activation=None):
    before = conv_state[..., conv_state.shape[-1] - weight.shape[1] + 1 :]
    y = causal_conv1d_fn(x[..., None], weight, bias, None, before, activation=activation)
    conv_state.copy_(torch.cat([conv_state, x[..., None]], -1)[..., 1:])
    return y[..., 0]


def selective_state_update(state, x, dt, A, B, C, D=None, z=None, dt_bias=None, dt_softplus=False):
    dt = dt if dt_bias is None else dt + dt_bias
    dt = F.softplus(dt) if dt_softplus else dt
    if state.ndim == 4:  # heads, of which each group shares B and C
        B, C = (v.repeat_interleave(state.shape[1] // v.shape[1], 1)[:, :, None] for v in (B, C))
    else:
        B, C = B[:, None], C[:, None]
    state.copy_(torch.exp(dt[..., None] * A) * state.clone() + (dt * x)[..., None] * B)
    y = (state * C).sum(-1)
    y = y if D is None else y + D * x
    return y if z is None else y * F.silu(z)


def selective_scan_fn(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False, *, initial_state=None
):
    state = torch.zeros(*u.shape[:2], A.shape[1], dtype=A.dtype) if initial_state is None else initial_state
    ys = []
    for t in range(u.shape[-1]):
        state = state.clone()
        gate = None if z is None else z[..., t]
        ys.append(selective_state_update(state, u[..., t], delta[..., t], A, B[..., t], C[..., t], D, gate, delta_bias, delta_softplus))
    y = torch.stack(ys, -1) if ys else torch.zeros_like(u)
    return (y, state) if return_last_state else y
