"""The kernels of a Mamba block, drop-ins for mamba-ssm and causal-conv1d."""

from .causal_conv1d import CAUSAL_CONV, causal_conv1d_fn, causal_conv1d_fn_vjp, causal_conv1d_update
from .selective_scan import SELECTIVE_SCAN, selective_scan_fn, selective_scan_fn_vjp

OPS = (CAUSAL_CONV, SELECTIVE_SCAN)

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "causal_conv1d_update",
    "selective_scan_fn",
    "selective_scan_fn_vjp",
]
