"""Polygons and balls. Geometry is stored in float64. For walks it is centred on its bounding box and divided by the box's extent."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arguments import finite, host_array, keywords, ndim, number, point
from .._backends import native
from .._typing import ArrayLike
from .._warnings import warn
from .region import Region
from .rings import check_holes

_SMALLEST, _LARGEST = 1e-70, 1e70  # extents: sources and variances scale with their squares
_MIN_AREA = 1e-12  # in a box of size 1
_SLABS, _LEVEL = 64, 0.381966  # number of measured slabs of a polygon, and the relative height at which each is measured
_MARGIN = 1.25  # for walks outside a polygon, relative to its extent
_MAX_DIMENSION = 1024  # for balls and boxes
_LONG_OUTLINE = 0.2  # length / (M extents); for M vertices on a circle this is 2/pi in random order, and pi/M in order


class Polygon(Region):
    """A closed polygon, with or without holes, or B polygons.

    Parameters
    ----------
    vertices : (M, 2), (B, M, 2), or a list of B arrays (M_b, 2)
        The outer ring in order, in either orientation, without repeating the first vertex. Arrays or lists of numbers. Alternatively a
        shapely polygon, with its holes.
    holes : list of (H, 2), optional
        Rings inside the outer ring, which they may touch. For B polygons, a list of B such lists.

    Attributes
    ----------
    vertices, holes
        float64 copies: the outer ring (M, 2) and a list of the holes. For B polygons, with a leading B.

    Notes
    -----
    Segment k runs from vertex k to k + 1 of its ring. Numbering continues from ring to ring, starting with the outer ring. Segments of
    length 0 are ignored with one RuntimeWarning. Segments may intersect (a point is inside if the number of crossings is odd), except
    reflecting ones. If the outline is so long that its vertices may be out of order, there is a RuntimeWarning. Vertices on a device are
    copied to the host once. Points may be any kind of array, as for every boundary. Can be pickled.

    Raises
    ------
    ValueError
        For NaN or infinite vertices, fewer than 3 vertices, zero area, a wrong last axis, an extent below 1e-70 or above 1e70; for a hole
        that crosses the outer ring or lies outside it.
    TypeError
        For float16, complex values and masked arrays.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> room = qf.wos.Polygon([[0, 0], [3, 0], [3, 3], [0, 3]], holes=[[[1, 1], [2, 1], [2, 2], [1, 2]]])
    >>> qf.wos.contains(room, [[0.5, 0.5], [1.5, 1.5]])
    array([ True, False])
    """

    dimension = 2
    _closed = True  # walks stay inside
    _wide: Polygon | None = None  # last result of ``_with_margin``

    @keywords("Polygon", points="use vertices", coords="use vertices", exterior="use vertices", interiors="use holes", hole="use holes")
    def __init__(self, vertices: ArrayLike | Any, holes: ArrayLike | None = None) -> None:
        label = "Polygon"
        shape: Any = vertices
        if hasattr(shape, "exterior") and holes is None:  # shapely's rings are closed
            vertices, *holes = (np.asarray(ring.coords)[:-1, :2] for ring in (shape.exterior, *shape.interiors))
        count, is_array = ndim(vertices), hasattr(vertices, "shape")
        several = count == 3 or (not is_array and count == 1 and isinstance(vertices, Sequence) and not len(vertices))
        outlines: list[Any] = list(vertices) if several else [vertices]  # type: ignore[arg-type]
        if is_array:
            array = host_array(vertices, label, "vertices", device="copy", convert=True)
            if array.ndim not in (2, 3) or array.shape[-1] != 2:
                raise ValueError(f"{label}: vertices has shape {array.shape}, expected (M, 2) or (B, M, 2)")
            finite(array, label, "vertices")
            outlines = list(array) if several else [array]
        self._batch: int | None = len(outlines) if several else None
        rings = [[_ring(v, label, f"vertices[{b}]" if several and not is_array else "vertices")] for b, v in enumerate(outlines)]
        of_each: Any = [[]] * len(rings) if holes is None else [holes] if self._batch is None else holes
        if not isinstance(of_each, Sequence) or any(ndim(inner) not in (1, 2, 3) for inner in of_each):
            raise TypeError(f"{label}: holes is {type(holes).__name__}, expected a list of arrays (H, 2)")
        if len(of_each) != len(rings):
            raise ValueError(f"{label}: holes has {len(of_each)} lists, expected {len(rings)}, one per polygon")
        for instance, inner in zip(rings, of_each):
            instance += [_ring(h, label, f"holes[{k}]") for k, h in enumerate([inner] if ndim(inner) == 2 else inner)]
        self._rings = rings
        self._pack(rings)
        super().__init__()

    @property
    def vertices(self) -> Any:
        """The outer ring, (M, 2). For B polygons (B, M, 2), or a list if M differs."""
        outlines = [instance[0].copy() for instance in self._rings]
        if self._batch is None:
            return outlines[0]
        return np.array(outlines).reshape(len(outlines), -1, 2) if len(set(map(len, outlines))) < 2 else outlines

    @property
    def holes(self) -> list[Any]:
        """The holes, each (H, 2), or a list with those of each polygon."""
        inner = [[ring.copy() for ring in instance[1:]] for instance in self._rings]
        return inner[0] if self._batch is None else inner

    def _pack(self, rings: list[list[np.ndarray]]) -> None:
        """Collect all instances in one table: segment ends, the vertices that they join, the first row of each instance."""
        label = "Polygon"
        ends, pairs, first, first_vertex = [], [], [0], [0]
        dropped = 0
        box = np.empty((len(rings), 2, 2))
        for b, instance in enumerate(rings):
            a = np.concatenate(instance)
            follower = np.concatenate([np.roll(np.arange(len(r)), -1) + offset for r, offset in zip(instance, offsets(instance))])
            segments = np.concatenate([a, a[follower]], axis=1)
            box[b] = a.min(axis=0), a.max(axis=0)
            keep = (segments[:, :2] != segments[:, 2:]).any(axis=1)
            dropped += int((~keep).sum())
            with np.errstate(over="ignore"):
                size = (box[b, 1] - box[b, 0]).max()
            check_extent(size, f"{label}: polygon {b}")
            centred = (segments - np.tile(box[b].mean(axis=0), 2)) / (size or 1.0)
            outer = len(instance[0])
            if not (_has_area(centred[:outer]) or _has_area(centred)):
                raise ValueError(f"{label}: polygon {b} has zero area")
            if len(instance) > 1:
                check_holes(
                    centred[keep], [int(keep[i : i + len(r)].sum()) for i, r in zip(offsets(instance), instance)], f"{label}: polygon {b}"
                )
            if outer >= 32 and np.hypot(*(centred[:outer, 2:] - centred[:outer, :2]).T).sum() > _LONG_OUTLINE * outer:
                warn(f"{label}: the outline of polygon {b} is so long that its vertices may be out of order")
            ends.append(segments[keep])
            pairs.append(np.stack([np.arange(len(a)), follower], axis=1)[keep] + first_vertex[-1])
            first.append(first[-1] + int(keep.sum()))
            first_vertex.append(first_vertex[-1] + len(a))
        if dropped:
            warn(f"{label}: {dropped} segments of length 0 are ignored")
        self._ends = np.concatenate(ends) if ends else np.empty((0, 4))
        self._pairs = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
        self._first = np.array(first, np.int64)
        self._first_vertex = np.array(first_vertex, np.int64)
        self._centre = box.mean(axis=1)
        self._extent = (box[:, 1] - box[:, 0]).max(axis=1)
        self._diagonal = np.hypot(*(box[:, 1] - box[:, 0]).T)
        self._half_width = 0.5 * (box[:, 1] - box[:, 0]).min(axis=1)  # no disc inside is larger

    @property
    def _count(self) -> int:
        return len(self._first) - 1

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        return self._scaled_ends(), self._first

    def _scaled_ends(self) -> np.ndarray:
        """The segments (M, 4), centred and scaled."""
        sizes = np.diff(self._first)
        centre, extent = np.repeat(self._centre, sizes, axis=0), np.repeat(self._extent, sizes)
        return np.ascontiguousarray((self._ends - np.tile(centre, 2)) / extent[:, None])

    def _outline(self, instance: int) -> np.ndarray:
        """Both ends of every segment of one polygon, (M, 2, 2)."""
        return self._ends[self._first[instance] : self._first[instance + 1]].reshape(-1, 2, 2)

    def _shared(self) -> Polygon:
        """Convert a batch of one to a polygon that any number of instances share. Returns others unchanged."""
        if self._batch != 1:
            return self
        one: Polygon = object.__new__(type(self))  # shares the tables, which copy.copy omits
        one.__dict__.update(self.__dict__, _batch=None)
        return one

    def _with_margin(self) -> Polygon:
        """A copy scaled so that a grid also covers a margin around the box, for walks outside: csrc/wos/solid/README.md, Outside."""
        if self._wide is None:
            wide = copy.copy(self)
            wide._extent, wide._closed = self._extent * _MARGIN, False
            self._wide = wide
        return self._wide

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_wide": None}

    def _repeated(self, count: int) -> Polygon:
        many, b = copy.copy(self), np.arange(count)
        many._batch, many._rings = count, self._rings * count
        many._ends, many._pairs = np.tile(self._ends, (count, 1)), np.concatenate([self._pairs + self._first_vertex[-1] * k for k in b])
        many._first, many._first_vertex = (np.append(0, x[-1] * (b + 1)) for x in (self._first, self._first_vertex))
        for name in ("_centre", "_extent", "_diagonal", "_half_width"):
            setattr(many, name, np.repeat(getattr(self, name), count, axis=0))
        return many

    def _part_of(self, begin: int, end: int) -> Polygon:
        if self._count == 1 or (begin, end) == (0, self._count):
            return self
        some, at = copy.copy(self), self._first[begin]
        some._batch, some._rings = end - begin, self._rings[begin:end]
        some._ends, some._pairs = (x[at : self._first[end]] for x in (self._ends, self._pairs - self._first_vertex[begin]))
        some._first, some._first_vertex = (x[begin : end + 1] - x[begin] for x in (self._first, self._first_vertex))
        for name in ("_centre", "_extent", "_diagonal", "_half_width"):
            setattr(some, name, getattr(self, name)[begin:end])
        return some

    def _compiled(self, ends: np.ndarray, first: np.ndarray) -> Any:
        return native.core().wos.Polygons(ends, first, self._closed)

    def __repr__(self) -> str:
        return f"Polygon({self._count} x {len(self._ends)} segments)" if self._batch is not None else f"Polygon({len(self._ends)} segments)"


class Solid(Region):
    """A boundary without facets, shared by all instances and all kinds of arrays."""

    _batch: int | None = None
    _count = 1

    def _row(self) -> np.ndarray | None:
        """The scaled parameters that describe the boundary to the walks. None for a ball."""
        return None

    def _tables(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        row = self._row()
        return (None, None) if row is None else (row[None], np.array([0, 1]))

    def _memo_of(self, kind: str) -> Any:
        return None


class Ball(Solid):
    """The ball around ``center``; a disc in two dimensions.

    Parameters
    ----------
    center : d real numbers
        d is from 2 to 1024.
    radius : float
        Positive, 1e-70 to 1e70.

    Notes
    -----
    Relative epsilons are multiplied by 2 radius sqrt(d), the diagonal of the bounding box. Points may be any kind of array.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> ball = qf.wos.Ball((0, 0, 0, 0), 2.0)  # in four dimensions
    >>> qf.wos.signed_distance(ball, np.array([[0.0, 0.0, 0.0, 1.5]]))
    array([-0.5])
    """

    @keywords("Ball", **dict.fromkeys(("centre", "c", "origin"), "use center"), r="use radius")
    def __init__(self, center: ArrayLike, radius: float) -> None:
        super().__init__()
        self.center, self.radius = np.array(point(center, "Ball", "center")), number(radius, "Ball", "radius", positive=True)
        self.dimension = len(self.center)
        check_dimension(self.dimension, "Ball", "center")
        check_extent(self.radius, "Ball: the ball")
        self._centre, self._extent = self.center[None], np.array([self.radius])
        self._diagonal = 2 * self._extent * math.sqrt(self.dimension)
        self._half_width = self._extent

    def _outline(self, instance: int) -> np.ndarray:
        """Lines (lines, 2, d): the circle, or meridians and circles of latitude of the sphere."""
        t = np.linspace(0, 2 * np.pi, 97)
        if self.dimension == 2:
            rings = np.stack([np.cos(t), np.sin(t)], axis=-1)[None]
        else:
            turns = np.linspace(0, np.pi, 9)[:-1, None]
            meridians = np.stack([np.cos(turns) * np.cos(t), np.sin(turns) * np.cos(t), 0 * turns + np.sin(t)], axis=-1)
            heights = np.linspace(-np.pi / 2, np.pi / 2, 9)[1:-1, None]
            circles = np.stack([np.cos(heights) * np.cos(t), np.cos(heights) * np.sin(t), np.sin(heights) + 0 * t], axis=-1)
            rings = np.concatenate([meridians, circles])
        x = self.center + self.radius * rings
        return np.stack([x[:, :-1], x[:, 1:]], axis=2).reshape(-1, 2, self.dimension)

    def __repr__(self) -> str:
        return f"Ball({self.center.tolist()}, {self.radius})"


def check_dimension(d: int, label: str, name: str) -> None:
    if not 2 <= d <= _MAX_DIMENSION:
        raise ValueError(f"{label}: {name} has {d} coordinates, expected 2 to {_MAX_DIMENSION}")


def check_extent(extent: float, what: str) -> None:
    """Raise ValueError if fourth powers of the extent overflow or underflow. Accepts 0, which the area check handles."""
    if extent and not _SMALLEST <= extent <= _LARGEST:
        raise ValueError(f"{what} has an extent of {extent:.3g}, expected {_SMALLEST:.0e} to {_LARGEST:.0e}; choose another unit of length")


def _ring(array: Any, label: str, name: str) -> np.ndarray:
    v = host_array(array, label, name, device="copy", convert=True)
    if v.ndim != 2 or v.shape[-1] != 2:
        raise ValueError(f"{label}: {name} has shape {v.shape}, expected (M, 2)")
    if len(v) < 3:
        raise ValueError(f"{label}: {name} has {len(v)} vertices, expected at least 3")
    finite(v, label, name)
    return v.astype(np.float64)


def offsets(rings: list[np.ndarray]) -> np.ndarray:
    """The first vertex of each ring, (R + 1,)."""
    return np.cumsum([0, *map(len, rings)])


def _has_area(sides: np.ndarray) -> bool:
    """Whether rings with sides ax, ay, bx, by in a box of size 1 have an interior: an area where the number of crossings is odd."""
    signed = 0.5 * (sides[:, 0] * sides[:, 3] - sides[:, 1] * sides[:, 2]).sum()
    return bool(abs(signed) > _MIN_AREA) or _odd_area(sides) > _MIN_AREA  # signed areas of loops may cancel


def _odd_area(sides: np.ndarray) -> float:
    """An estimate of the interior's area from one horizontal line in each of the tallest slabs between neighbouring vertex heights."""
    levels = np.unique(sides[:, 1])
    height = np.diff(levels)
    area = 0.0
    for k in np.argsort(-height, kind="stable")[:_SLABS]:
        y = levels[k] + _LEVEL * height[k]
        ax, ay, bx, by = sides[(sides[:, 1] < y) != (sides[:, 3] < y)].T
        x = np.sort(ax + (bx - ax) * ((y - ay) / (by - ay)))
        area += height[k] * float((x[1::2] - x[::2]).sum())
    return area
