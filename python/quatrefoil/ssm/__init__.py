"""State-space convolution, one module a noun. Equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

from .._spec import Family
from .convolution import FFT_CONV, fft_conv, fft_conv_vjp
from .dplr import CAUCHY_MULT, S4_KERNEL, cauchy_mult, cauchy_mult_vjp, s4_kernel, s4_kernel_vjp
from .kernel import S4D_KERNEL, s4d_kernel, s4d_kernel_vjp
from .scan import LINEAR_SCAN, linear_scan, linear_scan_vjp
from .vandermonde import (
    LOG_VANDERMONDE,
    LOG_VANDERMONDE_COMPLEX,
    LOG_VANDERMONDE_TRANSPOSE,
    log_vandermonde,
    log_vandermonde_transpose,
    log_vandermonde_transpose_vjp,
    log_vandermonde_vjp,
)

__all__ = [
    "cauchy_mult",
    "cauchy_mult_vjp",
    "fft_conv",
    "fft_conv_vjp",
    "linear_scan",
    "linear_scan_vjp",
    "log_vandermonde",
    "log_vandermonde_transpose",
    "log_vandermonde_transpose_vjp",
    "log_vandermonde_vjp",
    "s4_kernel",
    "s4_kernel_vjp",
    "s4d_kernel",
    "s4d_kernel_vjp",
]

OPS = Family(FFT_CONV, LINEAR_SCAN, S4D_KERNEL, LOG_VANDERMONDE, LOG_VANDERMONDE_COMPLEX, LOG_VANDERMONDE_TRANSPOSE, CAUCHY_MULT, S4_KERNEL)
