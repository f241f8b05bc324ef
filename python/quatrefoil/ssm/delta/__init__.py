"""The gated delta rule, DeltaNet and gated linear attention, drop-ins for flash-linear-attention's functions."""

from .gated_delta_rule import (
    GATED_DELTA_RULE,
    chunk_delta_rule,
    chunk_gated_delta_rule,
    chunk_gated_delta_rule_vjp,
    fused_recurrent_delta_rule,
    fused_recurrent_gated_delta_rule,
)
from .simple_gla import SIMPLE_GLA, chunk_simple_gla, chunk_simple_gla_vjp, fused_recurrent_simple_gla

OPS = (GATED_DELTA_RULE, SIMPLE_GLA)

__all__ = [
    "chunk_delta_rule",
    "chunk_gated_delta_rule",
    "chunk_gated_delta_rule_vjp",
    "chunk_simple_gla",
    "chunk_simple_gla_vjp",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_simple_gla",
]
