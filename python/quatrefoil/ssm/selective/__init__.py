"""The kernels of a Mamba block, compatible with mamba-ssm and causal-conv1d."""

from .causal_conv1d import CAUSAL_CONV, causal_conv1d_fn, causal_conv1d_fn_vjp, causal_conv1d_update
from .selective_scan import SELECTIVE_SCAN, selective_scan_fn, selective_scan_fn_vjp
from .state_update import STATE_STEP, selective_state_step, selective_state_step_vjp, selective_state_update
from .varlen_states import VARLEN_STATES, causal_conv1d_varlen_states, causal_conv1d_varlen_states_vjp

OPS = (CAUSAL_CONV, SELECTIVE_SCAN, VARLEN_STATES, STATE_STEP)

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
    "causal_conv1d_varlen_states_vjp",
    "selective_scan_fn",
    "selective_scan_fn_vjp",
    "selective_state_step",
    "selective_state_step_vjp",
    "selective_state_update",
]
