"""The state-space kernels in plain loops, for machines without a compiler: one module for each header of csrc/ssm."""

from .convolution import fft_conv, fft_conv_vjp
from .s5 import s5_apply, s5_apply_vjp
from .scan import linear_scan, linear_scan_vjp

__all__ = ["fft_conv", "fft_conv_vjp", "linear_scan", "linear_scan_vjp", "s5_apply", "s5_apply_vjp"]
