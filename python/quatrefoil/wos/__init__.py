"""Walk on Spheres. Notation: csrc/wos/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._public import missing, public_dir
from .._spec import Family
from . import media as _media
from . import query as _query
from . import stars as _stars
from . import walk as _walk
from .data import Fourier, Gaussians, GridField, PerVertex, Polynomial
from .mesh import TriangleMesh
from .models.labels import NeuralOperatorLabels
from .models.operator import Operator as Operator
from .models.operator import OperatorValues as OperatorValues
from .models.problem import Problem
from .models.result import Result as Result
from .models.settings import Walks
from .models.solve import solve
from .models.solve import solve_vjp as solve_vjp
from .models.state import State as State
from .polygon import Ball, Polygon
from .query import closest_point, contains, signed_distance
from .region import ClosestPoint as ClosestPoint
from .regions import Regions
from .solid import SDF, Box
from .star import Star
from .walk import expansion as _expansion
from .walk import traces as _traces

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
    "Problem",
    "Regions",
    "Star",
    "TriangleMesh",
    "Walks",
    "closest_point",
    "contains",
    "signed_distance",
    "solve",
]

OPS = Family(__name__, _query.OPS, _walk.OPS, _expansion.OPS, _traces.OPS, _stars.OPS, _media.OPS)

__dir__ = public_dir(__name__)
if not TYPE_CHECKING:  # type checkers would take any name for one of ours
    __getattr__ = missing(__name__)
