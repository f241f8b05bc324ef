"""Diagonal state-space models (S4D, DSS): their convolution kernel, and the whole layer with its step."""

from .kernel import S4D_KERNEL, s4d_kernel, s4d_kernel_vjp
from .layer import S4D_CONV, s4d_conv, s4d_conv_vjp, s4d_step

OPS = (S4D_KERNEL, S4D_CONV)

__all__ = ["s4d_conv", "s4d_conv_vjp", "s4d_kernel", "s4d_kernel_vjp", "s4d_step"]
