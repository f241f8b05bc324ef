"""Queries and tables shared by all boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple

import numpy as np

from .. import _arrays
from .._arguments import keywords
from .._backends import native
from .._memo import Memo
from .._typing import Array, Backend, Points, T
from .plot import plot_boundary

_POINTS = "pass points as one array (..., d)"


class ClosestPoint(NamedTuple, Generic[T]):
    """The result of ``closest_point``, which documents the fields.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> qf.wos.closest_point(qf.wos.Ball([0, 0], 1), [[0.5, 0.0]]).distance
    array([0.5])
    """

    distance: T
    point: T
    primitive: Any
    barycentric: T | None


def inward_normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals (M, d) of facets (M, d, d), to the left of segments, or to the side from which a triangle's corners are clockwise."""
    sides = corners[:, 1:] - corners[:, :1]
    n = np.stack([-sides[:, 0, 1], sides[:, 0, 0]], axis=1) if corners.shape[2] == 2 else np.cross(sides[:, 1], sides[:, 0])
    return np.asarray(n / np.sqrt((n**2).sum(axis=1, keepdims=True)))


@dataclass(frozen=True)
class Frame:
    """Boxes of the instances, and the distance from the boundary at which a walk ends."""

    rows: np.ndarray  # (count, d + 2): the box's centre and extent, epsilon in units of the extent
    min_epsilon: float  # smallest epsilon in units of a box's diagonal; infinite without instances
    swallows: bool  # whether some domain lies entirely within epsilon of its boundary
    extents: tuple[float, float]  # smallest and largest extent; infinite and 0 without instances

    def of_kind(self, kind: str, B: int) -> Any:
        """One row for each of B instances."""
        rows = self.rows if len(self.rows) == B else np.array(np.broadcast_to(self.rows, (B, self.rows.shape[1])))
        return _arrays.of_kind(kind, rows)


class Tables:
    """A boundary's tables in the form that walks use, with caches. Pickles omit the caches."""

    def __init__(self) -> None:
        self._arrays: dict[str, tuple[Any, ...]] = {}  # one entry per kind of array and device
        self._memos: dict[str, Memo] = {}

    def _tables(self) -> tuple[np.ndarray | None, ...]:
        """Scaled corners of segments or triangles and the first row of each instance, or a solid's row.

        Subclasses may append further tables.
        """
        raise NotImplementedError

    def _compiled(self, ends: np.ndarray, first: np.ndarray) -> Any:
        """The object in which native code caches its grids."""
        raise NotImplementedError

    def _arrays_of(self, kind: str) -> tuple[Any, ...]:
        """The tables as arrays of that kind or device. Always returns the same arrays."""
        arrays = self._arrays.get(kind)
        if arrays is None:  # threads must share one set of arrays, because memos belong to these objects
            arrays = self._arrays.setdefault(kind, tuple(x if x is None else _arrays.of_kind(kind, x) for x in self._tables()))
        return arrays

    def _memo_of(self, kind: str) -> Any:
        """The cached grids, for calls that pass the first two arrays of ``_arrays_of(kind)`` as arguments 2 and 3.

        None on a device and without native code.
        """
        if "@" in kind or native.core() is None:
            return None
        if kind not in self._memos:
            grids = self._memos["numpy"].value if "numpy" in self._memos else self._compiled(*self._arrays_of("numpy")[:2])
            for each in {"numpy", kind}:
                self._memos[each] = Memo(grids, "native", self._arrays_of(each)[:2], at=2)
        return self._memos[kind]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_memos": {}}


class Region(Tables):
    """A boundary and its interior: ``_count`` instances, each with its box, in float64."""

    dimension: int
    _batch: int | None  # leading axis of the constructor's arguments
    _centre: np.ndarray  # (count, d)
    _extent: np.ndarray  # (count,)
    _diagonal: np.ndarray
    _half_width: np.ndarray  # no ball inside is larger
    _queries: ClassVar[dict[str, Callable[..., Any]]] = {}  # set by the module ``query``, which imports this one

    def __init__(self) -> None:
        super().__init__()
        self._frames: dict[Any, Frame] = {}

    @keywords("contains", positional=_POINTS)
    def contains(self, points: Array[T] | Points, *, backend: Backend | None = None, num_threads: int | None = None) -> Any:
        """Which points are inside: ``qf.wos.contains(self, points)``."""
        return self._queries["contains"](self, points, backend=backend, num_threads=num_threads)

    @keywords("signed_distance", positional=_POINTS)
    def signed_distance(
        self, points: Array[T] | Points, *, gradient: bool = False, backend: Backend | None = None, num_threads: int | None = None
    ) -> Any:
        """The distance to the boundary, negative inside: ``qf.wos.signed_distance(self, points)``."""
        return self._queries["signed_distance"](self, points, gradient=gradient, backend=backend, num_threads=num_threads)

    @keywords("closest_point", positional=_POINTS)
    def closest_point(
        self, points: Array[T] | Points, *, backend: Backend | None = None, num_threads: int | None = None
    ) -> ClosestPoint[T]:
        """The closest points of the boundary: ``qf.wos.closest_point(self, points)``."""
        closest: ClosestPoint[T] = self._queries["closest_point"](self, points, backend=backend, num_threads=num_threads)
        return closest

    @property
    def _count(self) -> int:
        raise NotImplementedError

    def _part_of(self, begin: int, end: int) -> Any:
        """The boundary of instances [begin, end), or this one if all instances share it."""
        return self

    def _frame(self, epsilon: float, relative: bool) -> Frame:
        frame = self._frames.get((epsilon, relative))
        if frame is None:
            absolute = epsilon * self._diagonal if relative else np.full(self._count, epsilon)
            rows = np.concatenate([self._centre, self._extent[:, None], (absolute / self._extent)[:, None]], axis=1)
            extents = float(self._extent.min(initial=math.inf)), float(self._extent.max(initial=0.0))
            min_epsilon = float((absolute / self._diagonal).min(initial=math.inf))
            frame = Frame(np.ascontiguousarray(rows), min_epsilon, bool((absolute >= self._half_width).any()), extents)
            self._frames.clear()  # only the last one is cached
            self._frames[epsilon, relative] = frame
        return frame

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_frames": {}}

    def _outline(self, instance: int) -> np.ndarray:
        """The lines (lines, 2, d) that ``plot`` draws."""
        raise NotImplementedError

    def plot(self, ax: Any = None, *, instance: int = 0, **style: Any) -> Any:
        """Draw the outline, or the edges of a mesh, with matplotlib, into ``ax`` or a new figure.

        ``instance`` selects one of B polygons. ``style`` is passed on to the lines. Returns the Axes.
        """
        return plot_boundary(self, ax, instance=instance, **style)


def check_boundary(boundary: Any, label: str, points: Any = None) -> None:
    """Raise TypeError for anything except a boundary."""
    if not isinstance(boundary, Region):
        if isinstance(points, Region):
            raise TypeError(f"{label}: the boundary must come first: {label}(boundary, points)")
        fix = "; pass Polygon(boundary)" if isinstance(boundary, (list, tuple, np.ndarray)) else ""
        fix = "; pass TriangleMesh(boundary)" if hasattr(boundary, "vertices") and hasattr(boundary, "faces") else fix
        raise TypeError(f"{label}: boundary is {type(boundary).__name__}, expected a Polygon, TriangleMesh, Ball, Box or SDF{fix}")
