from .convolution import fft_conv
from .s5 import s5_apply
from .scan import linear_scan

__all__ = ["fft_conv", "linear_scan", "s5_apply"]
