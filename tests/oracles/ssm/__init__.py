from .convolution import fft_conv
from .kernel import log_vandermonde, log_vandermonde_transpose, s4d_kernel
from .layer import s4d_conv
from .scan import linear_scan

__all__ = ["fft_conv", "linear_scan", "log_vandermonde", "log_vandermonde_transpose", "s4d_conv", "s4d_kernel"]
from .s5 import s5_apply
__all__ = ["fft_conv", "linear_scan", "s5_apply"]
from .kalmanet import gka
__all__ = ["fft_conv", "gka", "linear_scan"]
from .mamba import causal_conv1d_fn, selective_scan_fn
__all__ = ["causal_conv1d_fn", "fft_conv", "linear_scan", "selective_scan_fn"]
