"""Linear attention with decays and delta rules, compatible with flash-linear-attention."""

from .dplr import DPLR, chunk_dplr_delta_rule, chunk_dplr_delta_rule_vjp, chunk_rwkv7, fused_recurrent_dplr_delta_rule
from .gated_delta_rule import (
    GATED_DELTA_RULE,
    chunk_delta_rule,
    chunk_gated_delta_rule,
    chunk_gated_delta_rule_vjp,
    fused_recurrent_delta_rule,
    fused_recurrent_gated_delta_rule,
)
from .kda import GDN2, KDA, chunk_gdn2, chunk_gdn2_vjp, chunk_kda, chunk_kda_vjp, fused_recurrent_gdn2, fused_recurrent_kda
from .simple_gla import SIMPLE_GLA, chunk_simple_gla, chunk_simple_gla_vjp, fused_recurrent_simple_gla

OPS = (GATED_DELTA_RULE, SIMPLE_GLA, KDA, GDN2, DPLR)

__all__ = [
    "chunk_delta_rule",
    "chunk_dplr_delta_rule",
    "chunk_dplr_delta_rule_vjp",
    "chunk_gated_delta_rule",
    "chunk_gated_delta_rule_vjp",
    "chunk_gdn2",
    "chunk_gdn2_vjp",
    "chunk_kda",
    "chunk_kda_vjp",
    "chunk_rwkv7",
    "chunk_simple_gla",
    "chunk_simple_gla_vjp",
    "fused_recurrent_delta_rule",
    "fused_recurrent_dplr_delta_rule",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gdn2",
    "fused_recurrent_kda",
    "fused_recurrent_simple_gla",
]
