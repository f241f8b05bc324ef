from .convolution import fft_conv
from .kalmanet import gka
from .scan import linear_scan

__all__ = ["fft_conv", "gka", "linear_scan"]
