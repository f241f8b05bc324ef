"""State-space convolution, one module a noun. Equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

from .._spec import Family
from .convolution import FFT_CONV, fft_conv, fft_conv_vjp
from .kalmanet import GKA, gka, gka_vjp
from .scan import LINEAR_SCAN, linear_scan, linear_scan_vjp

__all__ = ["fft_conv", "fft_conv_vjp", "gka", "gka_vjp", "linear_scan", "linear_scan_vjp"]

OPS = Family(FFT_CONV, GKA, LINEAR_SCAN)
