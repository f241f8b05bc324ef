from .convolution import fft_conv
from .dplr import cauchy_mult, s4_kernel
from .kalmanet import gka
from .kernel import log_vandermonde, log_vandermonde_transpose, s4d_kernel
from .layer import s4d_conv
from .mamba import causal_conv1d_fn, selective_scan_fn
from .s5 import s5_apply
from .scan import linear_scan

__all__ = [
    "cauchy_mult",
    "causal_conv1d_fn",
    "fft_conv",
    "gka",
    "linear_scan",
    "log_vandermonde",
    "log_vandermonde_transpose",
    "s4_kernel",
    "s4d_conv",
    "s4d_kernel",
    "s5_apply",
    "selective_scan_fn",
]
