"""Drop-ins for flash-linear-attention, with the same names. The equations are in csrc/ssm/delta/README.md."""

from typing import TYPE_CHECKING

from .._public import missing, public_dir
from .delta.dplr import chunk_dplr_delta_rule, chunk_rwkv7, fused_recurrent_dplr_delta_rule
from .delta.gated_delta_rule import chunk_delta_rule, chunk_gated_delta_rule, fused_recurrent_delta_rule, fused_recurrent_gated_delta_rule
from .delta.kda import chunk_gdn2, chunk_kda, fused_recurrent_gdn2, fused_recurrent_kda
from .delta.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

__all__ = [
    "chunk_delta_rule",
    "chunk_dplr_delta_rule",
    "chunk_gated_delta_rule",
    "chunk_gdn2",
    "chunk_kda",
    "chunk_rwkv7",
    "chunk_simple_gla",
    "fused_recurrent_delta_rule",
    "fused_recurrent_dplr_delta_rule",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gdn2",
    "fused_recurrent_kda",
    "fused_recurrent_simple_gla",
]

__dir__ = public_dir(__name__)
if not TYPE_CHECKING:  # otherwise type checkers would accept any attribute
    __getattr__ = missing(
        __name__, chunk_gla="gla has one decay per channel; use chunk_simple_gla for one decay per head, or chunk_kda for a delta rule"
    )
