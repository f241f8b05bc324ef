"""The state-space kernels in plain loops, for machines without a compiler: one module for each header of csrc/ssm."""

from .convolution import fft_conv, fft_conv_vjp
from .mamba import causal_conv1d_fn, causal_conv1d_fn_vjp, selective_scan_fn, selective_scan_fn_vjp
from .scan import linear_scan, linear_scan_vjp

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "fft_conv",
    "fft_conv_vjp",
    "linear_scan",
    "linear_scan_vjp",
    "selective_scan_fn",
    "selective_scan_fn_vjp",
]
