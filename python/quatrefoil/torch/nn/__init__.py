"""Layers with the parameter names of their upstream implementations, so that upstream ``state_dict``s load.

``import quatrefoil`` does not import this module: use ``from quatrefoil.torch import nn``. Equation numbers: csrc/ssm/README.md; for
``PolyLayer`` and ``TrigLayer``, csrc/cheb/layer/README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._public import missing, public_dir
from .delta_net import DeltaNet, GatedDeltaNet, KimiDeltaAttention
from .hankel import HankelLayer
from .kalmanet import GatedKalmaNet
from .mamba import Mamba
from .mamba2 import Mamba2
from .poly_layer import PolyLayer, TrigLayer
from .s4d import S4D, S4DKernel
from .s5 import S5

__all__ = [
    "S4D",
    "S5",
    "DeltaNet",
    "GatedDeltaNet",
    "GatedKalmaNet",
    "HankelLayer",
    "KimiDeltaAttention",
    "Mamba",
    "Mamba2",
    "PolyLayer",
    "S4DKernel",
    "TrigLayer",
]

__dir__ = public_dir(__name__)
if not TYPE_CHECKING:  # otherwise type checkers would accept any name
    __getattr__ = missing(
        __name__,
        S4="use S4D, or quatrefoil.ssm.s4_kernel, the kernel of S4, with quatrefoil.ssm.fft_conv",
        FFTConv="use quatrefoil.ssm.fft_conv with a torch.nn.Parameter as k",
    )
