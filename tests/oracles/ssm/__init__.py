from .convolution import fft_conv
from .dplr import cauchy_mult, s4_kernel
from .kernel import log_vandermonde, log_vandermonde_transpose, s4d_kernel
from .scan import linear_scan

__all__ = ["cauchy_mult", "fft_conv", "linear_scan", "log_vandermonde", "log_vandermonde_transpose", "s4_kernel", "s4d_kernel"]
