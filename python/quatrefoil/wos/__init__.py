"""Walk on Spheres, a folder a noun. Notation: csrc/wos/README.md."""

from __future__ import annotations

from .._spec import Family
from . import stars as _stars
from . import walk as _walk
from .data import Fourier, Gaussians, PerVertex
from .polygon import Ball, Polygon
from .walk.result import Result
from .walk.solve import solve, solve_vjp
from .walk.state import State

__all__ = ["Ball", "Fourier", "Gaussians", "PerVertex", "Polygon", "Result", "State", "solve", "solve_vjp"]

OPS = Family(__name__, _walk.OPS, _stars.OPS)


def __dir__() -> list[str]:
    return __all__
