"""State-space convolution, one module a noun. Equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

from .._spec import Family
from .convolution import FFT_CONV, fft_conv, fft_conv_vjp
from .s5 import S5_APPLY, s5_apply, s5_apply_vjp
from .scan import LINEAR_SCAN, linear_scan, linear_scan_vjp

__all__ = ["fft_conv", "fft_conv_vjp", "linear_scan", "linear_scan_vjp", "s5_apply", "s5_apply_vjp"]

OPS = Family(FFT_CONV, LINEAR_SCAN, S5_APPLY)
