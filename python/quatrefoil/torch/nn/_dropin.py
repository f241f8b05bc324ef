"""Small layers with the names and signatures of other packages, provided to them by ``quatrefoil.ssm.install``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import ssm
from ..._arguments import MAX_NUMBERS, choice, integer
from ..._arrays import narrow, widen
from ._block import GatedRMSNorm, convolved, sequence_numbers
from ._layer import Layer


class FusedRMSNormGated(GatedRMSNorm):
    """flash-linear-attention's layer: scales rows to root mean square 1, then multiplies by ``weight`` and by the activation of a gate."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        activation: str = "swish",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, eps, device=device, dtype=dtype)
        self.activation = choice(activation, "FusedRMSNormGated", "activation", ("swish", "silu", "sigmoid"))
        if not elementwise_affine:
            self.register_parameter("weight", None)

    def forward(self, x: Tensor, g: Tensor | None = None) -> Tensor:
        """x, g (..., hidden_size) -> (..., hidden_size)."""
        return super().forward(x, g)


class ShortConvolution(torch.nn.Conv1d):  # type: ignore[misc]
    """flash-linear-attention's layer: a causal convolution of every channel over ``kernel_size`` samples, then ``activation``."""

    def __init__(
        self,
        hidden_size: int,
        kernel_size: int,
        bias: bool = False,
        activation: str | None = "silu",
        backend: str | None = "triton",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options: dict[str, Any] = {"groups": hidden_size, "padding": kernel_size - 1, "bias": bias, "device": device, "dtype": dtype}
        super().__init__(hidden_size, hidden_size, kernel_size, **options)
        if activation is not None:
            choice(activation, "ShortConvolution", "activation", ("silu", "swish"))
        self.hidden_size, self.activation = hidden_size, activation

    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
        **ignored: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, T, D) and ``cache`` (N, D, W), the last samples -> y (B, T, D), and the cache after x if ``output_final_state``.

        With ``cu_seqlens``, the N sequences are packed in one item, and each continues from its row of the cache.
        """
        if mask is not None:
            if cu_seqlens is not None:
                raise ValueError("ShortConvolution: mask and cu_seqlens cannot be combined (packed sequences have no padding); omit one")
            x = x * mask[..., None]
        rows = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
        if cu_seqlens is not None and cache is not None:
            y, after = self._packed_after(x, cache, cu_seqlens)
        else:
            before = x.new_zeros(rows, self.hidden_size, self.kernel_size[0]) if cache is None and output_final_state else cache
            numbers = None if cu_seqlens is None else sequence_numbers(x.shape[1], cu_seqlens)[None].int()
            y, after = convolved(x.mT, self, before, numbers, cu_seqlens, self.activation)
            y = y.mT
        return y if residual is None else y + residual, after if output_final_state else None

    def step(
        self, x: Tensor, residual: Tensor | None, cache: Tensor, output_final_state: bool = False, cu_seqlens: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """One token for each of N sequences, x (N, 1, D), or (1, N, D) with ``cu_seqlens``; ``cache`` (N, D, W) is updated in place."""
        y = ssm.causal_conv1d_update(x.flatten(0, 1), cache, self.weight[:, 0], self.bias, self.activation).view(x.shape)
        return y if residual is None else y + residual, cache if output_final_state else None

    def _packed_after(self, x: Tensor, cache: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
        """Packed sequences x (1, T, D), each continuing its row of ``cache`` (N, D, W) -> the outputs and the last samples of each."""
        N, _, W = cache.shape
        rows = torch.arange(N, device=x.device)
        order = torch.cat((rows.repeat_interleave(W), sequence_numbers(x.shape[1], cu_seqlens))).argsort(stable=True)
        longer = torch.cat((cache.mT.flatten(0, 1).to(x.dtype), x[0]))[order]
        bounds = cu_seqlens + W * torch.arange(N + 1, device=x.device)
        numbers = sequence_numbers(len(longer), bounds)[None].int()
        y, _ = convolved(longer.mT[None], self, None, numbers, None, self.activation)
        last = longer[bounds[1:, None] + torch.arange(-W, 0, device=x.device)]
        return y.mT[:, order.argsort()[N * W :]], last.mT.to(cache.dtype)


class FlashFFTConv(Layer):
    """FlashFFTConv's long convolution: causal for inputs of up to half of ``seqlen`` samples, circular over ``seqlen`` for longer ones.

    ``seqlen`` may be any length, and inputs may also be float32. ``dtype`` and ``use_32_butterfly`` are ignored, for compatibility.
    """

    def __init__(self, seqlen: int, dtype: torch.dtype | None = None, use_32_butterfly: bool = True) -> None:
        super().__init__()
        self.seqlen = integer(seqlen, "FlashFFTConv", "seqlen", 1, MAX_NUMBERS)

    def forward(self, u: Tensor, k: Tensor, pregate: Tensor | None = None, postgate: Tensor | None = None) -> Tensor:
        """u (B, H, L), k (H, Lk) -> postgate * conv(pregate * u, k) (B, H, L); the gates have the shape of u."""
        L, size = u.shape[-1], self.seqlen
        if max(L, k.shape[-1]) > size:
            raise ValueError(f"FlashFFTConv: u has {L} samples and k has {k.shape[-1]}, expected at most seqlen = {size}; increase seqlen")
        x = widen(u if pregate is None else u * pregate)
        if size >= 2 * L:
            y = ssm.fft_conv(x, k.to(x.dtype))
        else:  # two periods: the second includes the contributions of all of the first
            padded = torch.nn.functional.pad(x, (0, size - L))
            y = ssm.fft_conv(torch.cat((padded, padded), -1), k.to(x.dtype))[..., size : size + L]
        y = narrow(y, u)
        return y if postgate is None else y * postgate
