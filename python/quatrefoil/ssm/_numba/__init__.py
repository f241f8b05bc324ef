"""The state-space kernels in plain loops, for machines without a compiler: one module for each header of csrc/ssm."""

from .convolution import fft_conv, fft_conv_vjp
from .kalmanet import gka, gka_vjp
from .scan import linear_scan, linear_scan_vjp

__all__ = ["fft_conv", "fft_conv_vjp", "gka", "gka_vjp", "linear_scan", "linear_scan_vjp"]
