"""Quatrefoil's functions as a kernel of Hugging Face's ``kernels``; the compiled code comes from the installed package."""

from quatrefoil.ssm import (
    causal_conv1d_fn,
    causal_conv1d_update,
    chunk_gated_delta_rule,
    chunk_kda,
    fused_recurrent_gated_delta_rule,
    fused_recurrent_kda,
    mamba_chunk_scan_combined,
    selective_scan_fn,
    selective_state_update,
)

from . import layers

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "chunk_gated_delta_rule",
    "chunk_kda",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_kda",
    "layers",
    "mamba_chunk_scan_combined",
    "selective_scan_fn",
    "selective_state_update",
]
