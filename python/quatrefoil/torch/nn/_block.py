"""Common parts of the Mamba blocks: the short convolution with a state, gated norms, initial step sizes, and caches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ... import ssm
from ..._arguments import MAX_NUMBERS, integer
from ..._arrays import narrow, widen
from ._layer import Layer, initial_log_steps

Cache = tuple[Tensor, Tensor]  # the last inputs of the convolution, and the states of the scan


class GatedRMSNorm(torch.nn.Module):  # type: ignore[misc]
    """RMS norm over groups of channels, with ``weight`` (size,), multiplied by silu of the gate before or after the norm."""

    activation = "silu"  # of the gate

    def __init__(
        self,
        size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps, self.group_size, self.norm_before_gate = eps, group_size or size, norm_before_gate
        self.weight = torch.nn.Parameter(torch.ones(size, device=device, dtype=dtype))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x and its gate z (..., size) -> (..., size)."""
        return gated_rms_norm(x, self.weight, None, z, self.eps, self.group_size, self.norm_before_gate, self.activation)


def gated_rms_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
    activation: str = "silu",
) -> Tensor:
    """mamba-ssm's ``rmsnorm_fn``: scale groups of channels of x (..., D) to root mean square 1, and multiply by silu(z) before or after."""
    wide, gate = widen(x), None  # in half precision, small squares and the gradients of their roots would be lost
    if z is not None:
        gate = torch.sigmoid(widen(z)) if activation == "sigmoid" else F.silu(widen(z))
    if gate is not None and not norm_before_gate:
        wide = wide * gate
    groups = wide.unflatten(-1, (-1, group_size or x.shape[-1]))
    normed = (groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps)).flatten(-2)
    if weight is not None:
        normed = normed * widen(weight)
    if bias is not None:
        normed = normed + widen(bias)
    if gate is not None and norm_before_gate:
        normed = normed * gate
    result: Tensor = narrow(normed, x)
    return result


def initial_dt_bias(
    name: str, size: int, dt_min: float, dt_max: float, floor: float = 0.0, device: Any = None, dtype: torch.dtype | None = None
) -> Tensor:
    """The inverse softplus of step sizes that are log-uniform between dt_min and dt_max."""
    dt = torch.exp(initial_log_steps(name, dt_min, dt_max, size, device=device)).clamp(min=floor)
    bias: Tensor = (dt + torch.log(-torch.expm1(-dt))).to(dtype or torch.get_default_dtype())
    return bias


def sequence_numbers(length: int, cu_seqlens: Tensor) -> Tensor:
    """The sequence number of each of ``length`` packed samples."""
    return torch.searchsorted(cu_seqlens[1:], torch.arange(length, device=cu_seqlens.device, dtype=cu_seqlens.dtype), right=True)


def add_decay(layer: torch.nn.Module, heads: int, steps: int, low: float, high: float) -> None:
    """Add ``A_log``, with rates of the heads between ``low`` and ``high``, and ``dt_bias``, with step sizes between .001 and .1."""
    layer.A_log = torch.nn.Parameter(torch.empty(heads).uniform_(low, high).log())
    layer.dt_bias = torch.nn.Parameter(initial_dt_bias(type(layer).__name__, steps, 1e-3, 0.1))
    layer.A_log._no_weight_decay = layer.dt_bias._no_weight_decay = True


def convolved(
    x: Tensor,
    conv: torch.nn.Conv1d,
    state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    activation: str | None = "silu",
) -> tuple[Tensor, Tensor | None]:
    """x (B, D, L) after ``conv`` and its activation, continuing from ``state`` (B, D, W), and the state after x.

    With ``seq_idx``, ``state`` is the state before the first sequence of an item, and the returned state is the one after the last
    sequence. With ``cu_seqlens``, all sequences are in one item and start from zero: ``state`` has one row per sequence and is not read.
    """
    weight, last = conv.weight[:, 0], x
    if state is not None and cu_seqlens is None:
        before = state[..., 1:].to(x.dtype, copy=True)  # the gradient needs the old state
        tail = last[..., -state.shape[-1] :].to(state.dtype)
        last = torch.cat((state[..., tail.shape[-1] :], tail), -1)
        if seq_idx is None or not x.shape[-1]:
            y: Tensor = ssm.causal_conv1d_fn(x, weight, conv.bias, None, before, activation=activation)
        else:
            x = torch.cat((before, x), -1)
            seq_idx = torch.cat((seq_idx[:, :1].expand(-1, before.shape[-1]), seq_idx), -1)
            y = ssm.causal_conv1d_fn(x, weight, conv.bias, seq_idx, activation=activation)[..., before.shape[-1] :]
            number = torch.cat((seq_idx[:, :1], seq_idx), -1)[:, -last.shape[-1] :]  # the sequence number of each sample in last
            last = last.masked_fill((number != number[:, -1:])[:, None], 0)
        return y, last
    y = ssm.causal_conv1d_fn(x, weight, conv.bias, seq_idx, activation=activation)
    if state is None or cu_seqlens is None:
        return y, None
    return y, ssm.causal_conv1d_varlen_states(last.detach()[0].T, cu_seqlens, state.shape[-1])


class Block(Layer):
    """A block with a cache, which may be in ``inference_params`` as in mamba-ssm."""

    layer_idx: int | None
    d_model: int
    d_conv: int
    state_shape: tuple[int, ...]
    in_proj: torch.nn.Linear
    conv1d: torch.nn.Conv1d
    A_log: torch.nn.Parameter

    def allocate_inference_cache(self, batch_size: int, max_seqlen: int | None = None, dtype: torch.dtype | None = None) -> Cache:
        """The cache before the first token: zeros for conv_state (B, channels of conv1d, W) and ssm_state (B, D, N) or (B, H, P, N).

        Without ``dtype``, ssm_state is float32 or wider. ``max_seqlen`` is ignored: the size does not depend on the number of tokens.
        """
        weight = self.conv1d.weight
        batch_size = integer(batch_size, f"{type(self).__name__}.allocate_inference_cache", "batch_size", 0, MAX_NUMBERS)
        conv_state = weight.new_zeros(batch_size, weight.shape[0], self.d_conv, dtype=dtype or weight.dtype)
        return conv_state, weight.new_zeros(batch_size, *self.state_shape, dtype=dtype or widen(weight).dtype)

    def _rates(self) -> Tensor:
        A: Tensor = -torch.exp(widen(self.A_log))
        return A

    def _cache_in(self, inference_params: Any, batch: int) -> Cache:
        """This layer's cache in ``inference_params.key_value_memory_dict``, allocated if absent and set to zero at the beginning."""
        name = type(self).__name__
        if self.layer_idx is None:
            raise ValueError(f"{name}: layer_idx is None, expected the layer's number, its key in inference_params")
        caches: dict[int, Cache] = inference_params.key_value_memory_dict
        if self.layer_idx not in caches:
            if inference_params.seqlen_offset > 0:
                what = f"its seqlen_offset is {inference_params.seqlen_offset}, so earlier tokens would be lost"
                raise ValueError(f"{name}: inference_params has no states for layer {self.layer_idx}, but {what}")
            caches[self.layer_idx] = self.allocate_inference_cache(batch, inference_params.max_seqlen)
        cache = caches[self.layer_idx]
        if cache[0].shape[0] != batch:
            raise ValueError(f"{name}: inference_params has states of {cache[0].shape[0]} sequences, but the input has {batch}")
        if inference_params.seqlen_offset == 0:
            for state in cache:
                state.zero_()
        return cache

    def _check_one(self, hidden_states: Tensor) -> None:
        self._check_sequence(hidden_states, self.in_proj.weight, self.d_model)
        if hidden_states.shape[1] != 1:
            raise ValueError(
                f"{type(self).__name__}.step: hidden_states has shape {tuple(hidden_states.shape)}, expected (B, 1, d_model); "
                "for several tokens use forward, with cache= if there are earlier ones"
            )
