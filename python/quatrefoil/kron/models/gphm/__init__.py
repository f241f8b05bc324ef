"""Gaussian processes that solve differential equations with high frequencies and many scales. Equations: csrc/kron/gphm/README.md."""

from .solver import GPHM

__all__ = ["GPHM"]
