"""The state-space kernels in plain loops, for machines without a compiler: one module for each header of csrc/ssm."""

from .convolution import fft_conv, fft_conv_vjp
from .dplr import cauchy_mult, cauchy_mult_vjp, s4_kernel, s4_kernel_vjp
from .kalmanet import gka, gka_vjp
from .kernel import s4d_kernel, s4d_kernel_vjp
from .layer import s4d_conv, s4d_conv_vjp
from .mamba import causal_conv1d_fn, causal_conv1d_fn_vjp, selective_scan_fn, selective_scan_fn_vjp
from .s5 import s5_apply, s5_apply_vjp
from .scan import linear_scan, linear_scan_vjp
from .vandermonde import (
    log_vandermonde,
    log_vandermonde_complex,
    log_vandermonde_complex_vjp,
    log_vandermonde_transpose,
    log_vandermonde_transpose_vjp,
    log_vandermonde_vjp,
)

__all__ = [
    "cauchy_mult",
    "cauchy_mult_vjp",
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "fft_conv",
    "fft_conv_vjp",
    "gka",
    "gka_vjp",
    "linear_scan",
    "linear_scan_vjp",
    "log_vandermonde",
    "log_vandermonde_complex",
    "log_vandermonde_complex_vjp",
    "log_vandermonde_transpose",
    "log_vandermonde_transpose_vjp",
    "log_vandermonde_vjp",
    "s4_kernel",
    "s4_kernel_vjp",
    "s4d_conv",
    "s4d_conv_vjp",
    "s4d_kernel",
    "s4d_kernel_vjp",
    "s5_apply",
    "s5_apply_vjp",
    "selective_scan_fn",
    "selective_scan_fn_vjp",
]
