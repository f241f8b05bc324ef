"""Layers with the parameter names of their upstream implementations, so that upstream ``state_dict``s load.

Not imported by ``import quatrefoil``: say ``from quatrefoil.torch import nn``. Equation numbers are those of csrc/ssm/README.md,
of ``PolyLayer`` those of csrc/cheb/layer/README.md.
"""

from __future__ import annotations

from ..._public import surface
from .kalmanet import GatedKalmaNet
from .mamba import Mamba
from .mamba2 import Mamba2
from .poly_layer import PolyLayer
from .s4d import S4D, S4DKernel
from .s5 import S5

__all__ = ["S4D", "S5", "GatedKalmaNet", "Mamba", "Mamba2", "PolyLayer", "S4DKernel"]

__dir__ = surface(__name__)
