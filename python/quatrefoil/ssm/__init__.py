"""State-space convolution, one module a noun. Equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

from .._spec import Family
from .convolution import FFT_CONV, fft_conv, fft_conv_vjp
from .mamba import (
    CAUSAL_CONV,
    SELECTIVE_SCAN,
    causal_conv1d_fn,
    causal_conv1d_fn_vjp,
    causal_conv1d_update,
    selective_scan_fn,
    selective_scan_fn_vjp,
)
from .scan import LINEAR_SCAN, linear_scan, linear_scan_vjp

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "causal_conv1d_update",
    "fft_conv",
    "fft_conv_vjp",
    "linear_scan",
    "linear_scan_vjp",
    "selective_scan_fn",
    "selective_scan_fn_vjp",
]

OPS = Family(FFT_CONV, LINEAR_SCAN, SELECTIVE_SCAN, CAUSAL_CONV)
