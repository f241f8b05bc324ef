"""Drop-ins for flash-linear-attention, under the names that they have there. The equations are in csrc/ssm/delta/README.md."""

from .._public import surface
from .delta import (
    chunk_delta_rule,
    chunk_gated_delta_rule,
    chunk_simple_gla,
    fused_recurrent_delta_rule,
    fused_recurrent_gated_delta_rule,
    fused_recurrent_simple_gla,
)

__all__ = [
    "chunk_delta_rule",
    "chunk_gated_delta_rule",
    "chunk_simple_gla",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_simple_gla",
]

__dir__ = surface(__name__)
