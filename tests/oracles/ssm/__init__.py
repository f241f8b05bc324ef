from .convolution import fft_conv
from .mamba import causal_conv1d_fn, selective_scan_fn
from .scan import linear_scan

__all__ = ["causal_conv1d_fn", "fft_conv", "linear_scan", "selective_scan_fn"]
