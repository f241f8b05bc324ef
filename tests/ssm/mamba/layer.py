"""What the layers call, as plain loops in torch: slow, differentiable, and nothing of quatrefoil."""

import torch
from torch.nn import functional as F


def causal_conv1d_fn(x, weight, bias=None, *, initial_states=None, return_final_states=False, activation=None):
    W = weight.shape[1]
    start = torch.zeros(*x.shape[:2], W - 1, dtype=x.dtype) if initial_states is None else initial_states
    whole = torch.cat([start, x], -1)
    y = sum(weight[:, j, None] * whole[..., j : j + x.shape[-1]] for j in range(W))
    y = y if bias is None else y + bias[:, None]
    y = F.silu(y) if activation in ("silu", "swish") else y
    return (y, whole[..., whole.shape[-1] - (W - 1) :]) if return_final_states else y
