"""Replacements for loops of PyTorch models: methods and functions that call this library; ``install`` puts them in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import ssm
from ..._arrays import narrow, widen


def pscan(A: Tensor, X: Tensor) -> Tensor:
    """mambapy's scan: A, X (B, L, D, N) -> H (B, L, D, N), H_t = A_t H_{t-1} + X_t."""
    return ssm.linear_scan(A, X, axis=1)


def rglru_scan(
    self: Any, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Tensor | None, acc_dtype: Any = torch.float32
) -> tuple[Tensor, Tensor]:
    """The recurrence of RecurrentGemma's RG-LRU: inputs and gates (B, L, D), ``reset`` (B, L, 1), state (B, D)."""
    gate, x = (recurrent_gate * ~reset).to(acc_dtype), hidden_states.to(acc_dtype)
    states = ssm.linear_scan(gate, x, None if recurrent_states is None else recurrent_states.to(gate), axis=1)
    return states.to(hidden_states.dtype), states[:, -1]


def lightning_attention(
    self: Any, hidden_states: Tensor, position_embeddings: Any, attention_mask: Tensor | None, cache: Any = None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """MiniMax's lightning attention: linear attention with one constant decay per head."""
    cache = kwargs.get("past_key_values") if cache is None else cache
    qkv = self.act_fn(self.qkv_proj(hidden_states))
    if attention_mask is not None and attention_mask.shape[-1] == qkv.shape[1]:  # in 4.57 the mask of a decoding step also covers the past
        qkv = (qkv * attention_mask[:, :, None]).to(qkv.dtype)
    q, k, v = qkv.unflatten(-1, (self.num_attention_heads, -1)).split(self.head_dim, dim=-1)
    before = None if cache is None else cache.get_linear_cache(self.layer_idx)
    y, state = ssm.chunk_simple_gla(
        q, k, v, g_gamma=-widen(self.slope_rate.flatten()), scale=1.0, output_final_state=True,
        initial_state=None if before is None else widen(before),
    )  # fmt: skip
    state = state.to(v.dtype)
    if cache is not None:
        cache.set_linear_cache(self.layer_idx, state)
    y = self.norm(y.flatten(-2))
    return self.out_proj(torch.sigmoid(self.output_gate(hidden_states)) * y), state


def flowstate_s5(self: Any, input_sequences: Tensor, scale_factor: Tensor) -> Tensor:
    """FlowState's S5 block: input (L, B, H), with one factor for the step sizes of each item (B,)."""
    rates, frequencies, log_steps = map(widen, (self.log_Lambda_real, self.Lambda_imag, self.log_Delta))
    poles, steps = torch.complex(-rates.exp(), frequencies), log_steps.exp()
    B, C = (torch.complex(widen(re), widen(im)) for re, im in ((self.B_tilde_r, self.B_tilde_i), (self.C_tilde_r, self.C_tilde_i)))
    rows = input_sequences.transpose(0, 1)
    scales, number = torch.unique(scale_factor, return_inverse=True)
    parts = [
        ssm.s5_apply(rows[number == i].contiguous(), *ssm.discretize(poles, B, scale * steps, "zoh"), C, conj_sym=False)
        for i, scale in enumerate(scales)
    ]
    y = torch.cat(parts)[number.argsort(stable=True).argsort()].transpose(0, 1)
    if self.last:
        begin = min(self.config.min_context, len(y)) - 1
        y, input_sequences = y[begin:], input_sequences[begin:]
    if self.output_gating:
        y = torch.sigmoid(self.output_gate(y)) * y
    return narrow(y + self.D * input_sequences, input_sequences)
