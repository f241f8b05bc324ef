"""What every boundary can be asked, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._arguments import keywords
from .._typing import Array, Backend, Points, T
from .plot import plot_boundary

_POINTS = "give points as one array (..., d)"


class Region:
    """A boundary and what it encloses: ``_count`` instances with the box of each, in float64."""

    dimension: int
    _batch: int | None  # the leading axis of what it was built from
    _centre: np.ndarray  # (count, d)
    _extent: np.ndarray  # (count,)
    _diagonal: np.ndarray
    _half_width: np.ndarray  # no ball inside is larger
    _queries: ClassVar[dict[str, Callable[..., Any]]] = {}  # filled in by the module ``query``, which comes later

    @keywords("contains", positional=_POINTS)
    def contains(self, points: Array[T] | Points, *, backend: Backend | None = None, num_threads: int | None = None) -> Any:
        """Which points are inside: ``qf.wos.contains(self, points)``."""
        return self._queries["contains"](self, points, backend=backend, num_threads=num_threads)

    @keywords("signed_distance", positional=_POINTS)
    def signed_distance(self, points: Array[T] | Points, *, backend: Backend | None = None, num_threads: int | None = None) -> T:
        """The distance of points to the boundary, negative inside: ``qf.wos.signed_distance(self, points)``."""
        found: T = self._queries["signed_distance"](self, points, backend=backend, num_threads=num_threads)
        return found

    @keywords("closest_point", positional=_POINTS)
    def closest_point(
        self, points: Array[T] | Points, *, backend: Backend | None = None, num_threads: int | None = None
    ) -> tuple[T, T, Any, T | None]:
        """distance, point, primitive and barycentric of the closest boundary point: ``qf.wos.closest_point(self, points)``."""
        found: tuple[T, T, Any, T | None] = self._queries["closest_point"](self, points, backend=backend, num_threads=num_threads)
        return found

    @property
    def _count(self) -> int:
        raise NotImplementedError

    def _outline(self, instance: int) -> np.ndarray:
        """(lines, 2, d): what ``plot`` draws."""
        raise NotImplementedError

    def plot(self, ax: Any = None, *, instance: int = 0, **style: Any) -> Any:
        """Draws the outline, or the edges of a mesh, with matplotlib, into ``ax`` or a new figure, and returns the Axes.

        Of B polygons one is drawn: ``instance``. ``style`` goes to the lines.
        """
        return plot_boundary(self, ax, instance=instance, **style)


def check_boundary(boundary: Any, label: str) -> None:
    """TypeError for what is no boundary."""
    if not isinstance(boundary, Region):
        cure = "; give Polygon(boundary)" if isinstance(boundary, (list, tuple, np.ndarray)) else ""
        raise TypeError(f"{label}: boundary is {type(boundary).__name__}, expected a Polygon, TriangleMesh, Ball, Box or SDF{cure}")
