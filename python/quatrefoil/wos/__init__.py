"""Walk on Spheres, a folder a noun. Equation numbers are those of csrc/wos/README.md."""

from __future__ import annotations

from .._spec import Family
from .data import Fourier, Gaussians, PerVertex
from .polygon import Ball, Polygon
from .walk import solve, solve_vjp
from .walk.result import Result, State

__all__ = ["Ball", "Fourier", "Gaussians", "PerVertex", "Polygon", "Result", "State", "solve", "solve_vjp"]

OPS = Family(__name__)


def __dir__() -> list[str]:
    return __all__
