"""The layer Mamba2: how the suite makes it, and the scan that it calls as a plain loop in torch, slow and differentiable."""

import itertools

import torch

from quatrefoil.torch import nn
from ssm.mamba.layer import selective_state_update as _step

LAYERS = {
    "Mamba2": (lambda: nn.Mamba2(6, d_state=3, headdim=4, ngroups=3), (2, 7, 6)),
    "Mamba2-parts": (lambda: nn.Mamba2(6, d_state=3, headdim=2, d_ssm=8, ngroups=2, D_has_hdim=True, norm_before_gate=True), (2, 7, 6)),
    "Mamba2-bare": (lambda: nn.Mamba2(4, d_state=2, headdim=4, rmsnorm=False, bias=True, dt_limit=(0.01, 0.05)), (2, 7, 4)),
}
BAD = [
    (lambda: nn.Mamba2(0), ValueError, "Mamba2: d_model is 0, expected at least 1"),
    (lambda: nn.Mamba2(6, headdim=5), ValueError, r"Mamba2: d_ssm .* is 12, expected a multiple of headdim ngroups = 5"),
    (lambda: nn.Mamba2(6, headdim=2, d_ssm=14), ValueError, "Mamba2: d_ssm is 14, expected at most 12"),
    (lambda: nn.Mamba2(64, A_init_range=(0, 1)), ValueError, r"Mamba2: A_init_range is \(0, 1\)"),
    (lambda: nn.Mamba2(64, process_group=object()), ValueError, "Mamba2: process_group was given"),
    (lambda: nn.Mamba2(64, dt_max=0.0001), ValueError, "Mamba2: dt_min and dt_max are 0.001 and 0.0001"),
    (lambda: nn.Mamba2(64).step(torch.zeros(2, 3, 64), None, None), ValueError, r"Mamba2\.step: hidden_states has shape \(2, 3, 64\)"),
    (lambda: nn.Mamba2(64)(torch.zeros(2, 3, 64), cu_seqlens=torch.tensor([0, 3])), ValueError, "with cu_seqlens, expected one item"),
]


def mamba_chunk_scan_combined(
    x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, initial_states=None, seq_idx=None, cu_seqlens=None,
    dt_softplus=False, dt_limit=(0.0, float("inf")), return_final_states=False, return_varlen_states=False,
):  # fmt: skip
    batch, length, heads, channels = x.shape
    state = torch.zeros(batch, heads, channels, B.shape[-1], dtype=x.dtype) if initial_states is None else initial_states
    dt = dt if dt_bias is None else dt + dt_bias
    dt = (torch.nn.functional.softplus(dt) if dt_softplus else dt).clamp(*dt_limit)
    skip = None if D is None else D if D.ndim == 2 else D[:, None]
    ys, ends = [], {0: torch.zeros_like(state)}
    for t in range(length):
        goes_on = torch.ones(batch, dtype=torch.bool) if seq_idx is None or t == 0 else seq_idx[:, t] == seq_idx[:, t - 1]
        state = state * goes_on[:, None, None, None]
        gate = None if z is None else z[:, t]
        steps = dt[:, t, :, None].expand(-1, -1, channels)
        if cu_seqlens is not None and t in cu_seqlens.tolist():
            state = torch.zeros_like(state)
        ys.append(_step(state, x[:, t], steps, A[:, None, None], B[:, t], C[:, t], skip, gate))
        ends[t + 1] = state.clone()
    y = torch.stack(ys, 1) if ys else torch.zeros_like(x)
    if return_varlen_states:
        cuts = cu_seqlens.tolist()
        return y, torch.cat([ends[b] if b > a else torch.zeros_like(state) for a, b in itertools.pairwise(cuts)])
    return (y, state) if return_final_states else y
