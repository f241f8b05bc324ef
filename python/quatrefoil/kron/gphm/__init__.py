"""Gaussian processes that solve differential equations with high frequencies and many scales. Equations: csrc/kron/gphm/README.md."""

from .pde import Advection, AllenCahn, Poisson
from .solver import GPHM

__all__ = ["GPHM", "Advection", "AllenCahn", "Poisson"]
