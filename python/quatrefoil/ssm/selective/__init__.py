"""The kernels of a Mamba block, compatible with mamba-ssm and causal-conv1d."""

from .causal_conv1d import CAUSAL_CONV
from .selective_scan import SELECTIVE_SCAN
from .state_update import STATE_STEP
from .varlen_states import VARLEN_STATES

OPS = (CAUSAL_CONV, SELECTIVE_SCAN, VARLEN_STATES, STATE_STEP)
