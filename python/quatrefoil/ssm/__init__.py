"""State-space convolution, one module a noun. Equation numbers are those of csrc/ssm/README.md."""

from __future__ import annotations

from .._spec import Family
from . import init
from .convolution import FFT_CONV, fft_conv, fft_conv_vjp
from .dplr import CAUCHY_MULT, S4_KERNEL, cauchy_mult, cauchy_mult_vjp, s4_kernel, s4_kernel_vjp
from .init import PTD, discretize, dplr_legs, hippo_legs, ptd_init, s4d_init, transfer_function
from .kalmanet import GKA, gka, gka_vjp
from .kernel import S4D_KERNEL, s4d_kernel, s4d_kernel_vjp
from .layer import S4D_CONV, s4d_conv, s4d_conv_vjp, s4d_step
from .mamba import (
    CAUSAL_CONV,
    SELECTIVE_SCAN,
    causal_conv1d_fn,
    causal_conv1d_fn_vjp,
    causal_conv1d_update,
    selective_scan_fn,
    selective_scan_fn_vjp,
)
from .s5 import S5_APPLY, s5_apply, s5_apply_vjp
from .scan import LINEAR_SCAN, linear_scan, linear_scan_vjp
from .toeplitz import hankel_matmul, hankel_matmul_vjp, toeplitz_matmul, toeplitz_matmul_vjp
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
    "PTD",
    "cauchy_mult",
    "cauchy_mult_vjp",
    "causal_conv1d_fn",
    "causal_conv1d_fn_vjp",
    "causal_conv1d_update",
    "discretize",
    "dplr_legs",
    "fft_conv",
    "fft_conv_vjp",
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

OPS = Family(
    FFT_CONV,
    CAUCHY_MULT, S4_KERNEL,
    GKA,
    S4D_KERNEL,
    S4D_CONV,
    CAUSAL_CONV, SELECTIVE_SCAN,
    S5_APPLY,
    LINEAR_SCAN,
    LOG_VANDERMONDE, LOG_VANDERMONDE_COMPLEX, LOG_VANDERMONDE_TRANSPOSE,
)  # fmt: skip
