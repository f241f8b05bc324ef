"""Walk on Spheres, a folder a noun. Notation: csrc/wos/README.md."""

from __future__ import annotations

from .._spec import Family
from . import media as _media
from . import query as _query
from . import stars as _stars
from . import walk as _walk
from .data import Fourier, Gaussians, GridField, PerVertex, Polynomial
from .labels import NeuralOperatorLabels
from .mesh import TriangleMesh
from .polygon import Ball, Polygon
from .query import closest_point, contains, signed_distance
from .solid import SDF, Box
from .star import Star
from .walk import expansion as _expansion
from .walk.result import Result
from .walk.solve import solve, solve_vjp
from .walk.state import State

__all__ = [
    "SDF",
    "Ball",
    "Box",
    "Fourier",
    "Gaussians",
    "GridField",
    "NeuralOperatorLabels",
    "PerVertex",
    "Polygon",
    "Polynomial",
    "Result",
    "Star",
    "State",
    "TriangleMesh",
    "closest_point",
    "contains",
    "signed_distance",
    "solve",
    "solve_vjp",
]

OPS = Family(__name__, _query.OPS, _walk.OPS, _expansion.OPS, _stars.OPS, _media.OPS)


def __dir__() -> list[str]:
    return __all__
