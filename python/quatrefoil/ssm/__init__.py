"""State-space models and linear attention: convolutions, recurrences, kernels and initialisations.

Start with ``s4d_conv``, ``fft_conv`` or ``linear_scan``, or with the PyTorch layers of ``quatrefoil.torch.nn``. ``mamba`` and ``fla`` are
drop-ins for mamba-ssm and flash-linear-attention. Functions, gradients (such as ``fft_conv_vjp``) and return types of all methods can be
imported from here. Equation numbers: csrc/ssm/README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import missing, public_dir
from .._spec import Family
from . import arma, convolution, delta, fla, init, kalmanet, mamba, modes, s4, s4d, s5, scan, selective, ssd
from .arma import arma_filter
from .arma import arma_filter_vjp as arma_filter_vjp
from .convolution import fft_conv
from .convolution import fft_conv_vjp as fft_conv_vjp
from .delta.dplr import chunk_dplr_delta_rule_vjp as chunk_dplr_delta_rule_vjp
from .delta.gated_delta_rule import chunk_gated_delta_rule_vjp as chunk_gated_delta_rule_vjp
from .delta.kda import chunk_gdn2_vjp as chunk_gdn2_vjp
from .delta.kda import chunk_kda_vjp as chunk_kda_vjp
from .delta.simple_gla import chunk_simple_gla_vjp as chunk_simple_gla_vjp
from .fla import chunk_delta_rule as chunk_delta_rule
from .fla import chunk_dplr_delta_rule as chunk_dplr_delta_rule
from .fla import chunk_gated_delta_rule as chunk_gated_delta_rule
from .fla import chunk_gdn2 as chunk_gdn2
from .fla import chunk_kda as chunk_kda
from .fla import chunk_rwkv7 as chunk_rwkv7
from .fla import chunk_simple_gla as chunk_simple_gla
from .fla import fused_recurrent_delta_rule as fused_recurrent_delta_rule
from .fla import fused_recurrent_dplr_delta_rule as fused_recurrent_dplr_delta_rule
from .fla import fused_recurrent_gated_delta_rule as fused_recurrent_gated_delta_rule
from .fla import fused_recurrent_gdn2 as fused_recurrent_gdn2
from .fla import fused_recurrent_kda as fused_recurrent_kda
from .fla import fused_recurrent_simple_gla as fused_recurrent_simple_gla
from .init import PTD as PTD
from .init import discretize, dplr_legs, hippo_legs, ptd_init, s4d_init, transfer_function
from .kalmanet import gka
from .kalmanet import gka_vjp as gka_vjp
from .mamba import causal_conv1d_fn as causal_conv1d_fn
from .mamba import causal_conv1d_update as causal_conv1d_update
from .mamba import causal_conv1d_varlen_states as causal_conv1d_varlen_states
from .mamba import mamba_chunk_scan_combined as mamba_chunk_scan_combined
from .mamba import mamba_inner_fn as mamba_inner_fn
from .mamba import mamba_split_conv1d_scan_combined as mamba_split_conv1d_scan_combined
from .mamba import selective_scan_fn as selective_scan_fn
from .mamba import selective_state_step as selective_state_step
from .mamba import selective_state_update as selective_state_update
from .models.dropin import Installation as Installation
from .models.dropin import install, uninstall
from .models.exponential import exponential_integrator
from .models.mamba2_block import mamba_split_conv1d_scan_combined_vjp as mamba_split_conv1d_scan_combined_vjp
from .models.toeplitz import hankel_matmul, toeplitz_matmul
from .models.toeplitz import hankel_matmul_vjp as hankel_matmul_vjp
from .models.toeplitz import toeplitz_matmul_vjp as toeplitz_matmul_vjp
from .modes import log_vandermonde, log_vandermonde_transpose
from .modes import log_vandermonde_transpose_vjp as log_vandermonde_transpose_vjp
from .modes import log_vandermonde_vjp as log_vandermonde_vjp
from .s4 import cauchy_mult, s4_kernel
from .s4 import cauchy_mult_vjp as cauchy_mult_vjp
from .s4 import s4_kernel_vjp as s4_kernel_vjp
from .s4d import s4d_conv, s4d_kernel, s4d_step
from .s4d import s4d_conv_vjp as s4d_conv_vjp
from .s4d import s4d_kernel_vjp as s4d_kernel_vjp
from .s5 import s5_apply
from .s5 import s5_apply_vjp as s5_apply_vjp
from .scan import linear_scan
from .scan import linear_scan_vjp as linear_scan_vjp
from .selective.causal_conv1d import causal_conv1d_fn_vjp as causal_conv1d_fn_vjp
from .selective.selective_scan import selective_scan_fn_vjp as selective_scan_fn_vjp
from .selective.state_update import selective_state_step_vjp as selective_state_step_vjp
from .selective.varlen_states import causal_conv1d_varlen_states_vjp as causal_conv1d_varlen_states_vjp
from .ssd.chunk_scan import mamba_chunk_scan_combined_vjp as mamba_chunk_scan_combined_vjp

__all__ = [
    "arma_filter",
    "cauchy_mult",
    "discretize",
    "dplr_legs",
    "exponential_integrator",
    "fft_conv",
    "fla",
    "gka",
    "hankel_matmul",
    "hippo_legs",
    "init",
    "install",
    "linear_scan",
    "log_vandermonde",
    "log_vandermonde_transpose",
    "mamba",
    "ptd_init",
    "s4_kernel",
    "s4d_conv",
    "s4d_init",
    "s4d_kernel",
    "s4d_step",
    "s5_apply",
    "toeplitz_matmul",
    "transfer_function",
    "uninstall",
]

OPS = Family(__name__, *[method.OPS for method in (scan, convolution, arma, modes, s4d, s4, s5, selective, kalmanet, delta, ssd)])

__dir__ = public_dir(__name__)
if not TYPE_CHECKING:  # otherwise type checkers would accept any attribute
    __getattr__ = missing(
        __name__,
        **dict.fromkeys(("long_conv", "fftconv", "causal_conv", "convolve"), "use fft_conv"),
        lfilter="use arma_filter",
        associative_scan="use linear_scan",
    )
