"""The layer Mamba2: how the suite makes it, and what it refuses."""

import torch

from quatrefoil.torch import nn

LAYERS = {
    "Mamba2": (lambda: nn.Mamba2(6, d_state=3, headdim=4, ngroups=3), (2, 7, 6)),
    "Mamba2-parts": (lambda: nn.Mamba2(6, d_state=3, headdim=2, d_ssm=8, ngroups=2, D_has_hdim=True, norm_before_gate=True), (2, 7, 6)),
    "Mamba2-bare": (lambda: nn.Mamba2(4, d_state=2, headdim=4, rmsnorm=False, bias=True, dt_limit=(0.01, 0.05)), (2, 7, 4)),
}
BAD = [
    (lambda: nn.Mamba2(0), ValueError, "Mamba2: d_model is 0, expected at least 1"),
    (lambda: nn.Mamba2(6), ValueError, r"Mamba2: d_ssm .* is 12, expected a multiple of headdim ngroups = 64; headdim=4 would do"),
    (lambda: nn.Mamba2(6, headdim=2, d_ssm=14), ValueError, "Mamba2: d_ssm is 14, expected at most 12"),
    (lambda: nn.Mamba2(64, A_init_range=(0, 1)), ValueError, r"Mamba2: A_init_range is \(0, 1\)"),
    (lambda: nn.Mamba2(64, process_group=object()), ValueError, "Mamba2: process_group was given"),
    (lambda: nn.Mamba2(64, dt_max=0.0001), ValueError, "Mamba2: dt_min and dt_max are 0.001 and 0.0001"),
    (lambda: nn.Mamba2(64).step(torch.zeros(2, 3, 64), None, None), ValueError, r"Mamba2\.step: hidden_states has shape \(2, 3, 64\)"),
    (lambda: nn.Mamba2(64)(torch.zeros(2, 3, 64), cu_seqlens=torch.tensor([0, 3])), ValueError, "with cu_seqlens, expected one item"),
]
