"""The layer Mamba: how the suite makes it, and what it refuses."""

import torch

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
