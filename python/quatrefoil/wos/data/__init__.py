"""Boundary values and sources: numbers, Fourier series, sums of Gaussians, polynomials, values at vertices and on grids, functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..._typing import AnyArray
from .fourier import Fourier as Fourier
from .gaussians import Gaussians as Gaussians
from .grid_field import GridField as GridField
from .grids import Cells as Cells
from .grids import box_of as box_of
from .grids import check_corners as check_corners
from .grids import interpolated as interpolated
from .per_vertex import PerVertex as PerVertex
from .polynomials import Polynomial as Polynomial
from .polynomials import polynomial as polynomial

# what solve accepts for g and f, including a function of points, and a list with one entry per instance
Data: TypeAlias = float | AnyArray | Fourier | PerVertex | Gaussians | Polynomial | GridField | Callable[..., Any] | list[Any]
PerRingData: TypeAlias = AnyArray | Sequence[Data]
