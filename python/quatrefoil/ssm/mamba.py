"""Drop-ins for mamba-ssm and causal-conv1d, under the names that they have there. The equations are in csrc/ssm/selective/README.md."""

from .._public import surface
from .models.mamba2_block import mamba_split_conv1d_scan_combined
from .models.mamba_block import mamba_inner_fn
from .selective import (
    causal_conv1d_fn,
    causal_conv1d_update,
    causal_conv1d_varlen_states,
    selective_scan_fn,
    selective_state_step,
    selective_state_update,
)
from .ssd import mamba_chunk_scan_combined

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
    "mamba_chunk_scan_combined",
    "mamba_inner_fn",
    "mamba_split_conv1d_scan_combined",
    "selective_scan_fn",
    "selective_state_step",
    "selective_state_update",
]

__dir__ = surface(__name__)
