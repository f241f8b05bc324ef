from .convolution import fft_conv
from .scan import linear_scan

__all__ = ["fft_conv", "linear_scan"]
