"""Drop-ins for mamba-ssm and causal-conv1d, with the same names. The equations are in csrc/ssm/selective/README.md.

The blocks ``Mamba`` and ``Mamba2`` are layers of ``quatrefoil.torch.nn``, and can also be imported from here.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .._public import missing, public_dir
from .models.mamba2_block import mamba_split_conv1d_scan_combined
from .models.mamba_block import mamba_inner_fn
from .selective.causal_conv1d import causal_conv1d_fn, causal_conv1d_update
from .selective.selective_scan import selective_scan_fn
from .selective.state_update import selective_state_step, selective_state_update
from .selective.varlen_states import causal_conv1d_varlen_states
from .ssd.chunk_scan import mamba_chunk_scan_combined

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

__dir__ = public_dir(__name__)
if not TYPE_CHECKING:  # otherwise type checkers would accept any attribute

    def __getattr__(name: str) -> Any:
        if name in ("Mamba", "Mamba2"):  # needs PyTorch
            return getattr(importlib.import_module("quatrefoil.torch.nn"), name)
        return missing(__name__)(name)
