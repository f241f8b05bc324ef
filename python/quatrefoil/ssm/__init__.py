"""State-space convolution, a folder a noun. Equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

from .._spec import Family
from . import convolution, delta, init, kalmanet, mamba, modes, s4, s4d, s5, scan
from .convolution import fft_conv, fft_conv_vjp
from .delta import (
    chunk_delta_rule,
    chunk_gated_delta_rule,
    chunk_gated_delta_rule_vjp,
    chunk_simple_gla,
    chunk_simple_gla_vjp,
    fused_recurrent_delta_rule,
    fused_recurrent_gated_delta_rule,
    fused_recurrent_simple_gla,
)
from .init import PTD, discretize, dplr_legs, hippo_legs, ptd_init, s4d_init, transfer_function
from .kalmanet import gka, gka_vjp
from .mamba import causal_conv1d_fn, causal_conv1d_fn_vjp, causal_conv1d_update, selective_scan_fn, selective_scan_fn_vjp
from .modes import log_vandermonde, log_vandermonde_transpose, log_vandermonde_transpose_vjp, log_vandermonde_vjp
from .s4 import cauchy_mult, cauchy_mult_vjp, s4_kernel, s4_kernel_vjp
from .s4d import s4d_conv, s4d_conv_vjp, s4d_kernel, s4d_kernel_vjp, s4d_step
from .s5 import s5_apply, s5_apply_vjp
from .scan import linear_scan, linear_scan_vjp
from .toeplitz import hankel_matmul, hankel_matmul_vjp, toeplitz_matmul, toeplitz_matmul_vjp

__all__ = [
    "PTD",
    "cauchy_mult",
    "cauchy_mult_vjp",
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "causal_conv1d_update",
    "chunk_delta_rule",
    "chunk_gated_delta_rule",
    "chunk_gated_delta_rule_vjp",
    "chunk_simple_gla",
    "chunk_simple_gla_vjp",
    "discretize",
    "dplr_legs",
    "fft_conv",
    "fft_conv_vjp",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_simple_gla",
    "gka",
    "gka_vjp",
    "hankel_matmul",
    "hankel_matmul_vjp",
    "hippo_legs",
    "init",
    "linear_scan",
    "linear_scan_vjp",
    "log_vandermonde",
    "log_vandermonde_transpose",
    "log_vandermonde_transpose_vjp",
    "log_vandermonde_vjp",
    "ptd_init",
    "s4_kernel",
    "s4_kernel_vjp",
    "s4d_conv",
    "s4d_conv_vjp",
    "s4d_init",
    "s4d_kernel",
    "s4d_kernel_vjp",
    "s4d_step",
    "s5_apply",
    "s5_apply_vjp",
    "selective_scan_fn",
    "selective_scan_fn_vjp",
    "toeplitz_matmul",
    "toeplitz_matmul_vjp",
    "transfer_function",
]

OPS = Family(__name__, *[noun.OPS for noun in (scan, convolution, modes, s4d, s4, s5, mamba, kalmanet, delta)])


def __dir__() -> list[str]:
    return __all__
