"""A problem at its points, scaled and packed for the ops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import _arrays, _backends
from ..._arguments import host_array, is_number
from ..._call import call
from ..._typing import Backend
from ..._warnings import warn
from ..data.pack import pack
from ..data.packed import NOTHING, PackedData, Target, detached
from ..data.per_vertex import on_facets
from ..media.bound import Bound, bound_of, slopes
from ..media.derivatives import with_curvature
from ..mesh import Boundary, TriangleMesh
from ..polygon import Polygon
from ..region import Frame
from ..rings import crossings
from ..solid import SDF
from ..stars.exchange import MAX_RISE, Exchange, exchange_of, rise
from ..stars.tables import Tables
from ..walk import PLACE
from .chunk import GEOMETRY, METHODS, Chunk, Window
from .composed import for_dimension, is_composed
from .settings import Settings
from .statement import Statement, common_batch
from .units import in_units

Array = Any
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_SINGLE_EXTENT = 1e15
_FEW = 8  # vertices of a polygon; with so few, a list of numbers may be meant for the vertices or for separate problems
_MAX_SEARCHED = 1024  # polygons with more segments are not searched for crossings
_SINGLE_FROM = 1e-5  # relative epsilon below which float32 cannot distinguish the shell from the boundary


class Sizes(NamedTuple):
    """B instances of N points, and the shape of the results."""

    B: int
    N: int
    shape: tuple[int, ...]


class Prepared(NamedTuple):
    """The data (divided by their units), starts of walks and geometry, in the array type and the precision of a call."""

    statement: Statement
    settings: Settings
    target: Target
    sizes: Sizes
    data: tuple[PackedData, ...]  # in the order of ``statement._names``
    units: np.ndarray | None  # (B,) exponents of the units of u
    bound: Bound | None  # rate bound of a medium
    exchange: Exchange | None  # walls in a medium
    start: Array  # (B, N, d), in the precision of the walks; one row with ``shared_walks``
    frame: Array
    outside: Array | None  # (B N,) bool; None if no point is known to be outside
    backend: Backend | None  # backend of the walks
    place_backend: Backend | None  # backend of all other work

    @property
    def boundary(self) -> Boundary:
        return self.statement._shared_boundary

    @property
    def geometry(self) -> Boundary | Tables:
        """The boundary in the form that walks use."""
        if self.exchange is not None:
            return self.exchange.tables
        r = self.statement._reflecting
        return self.boundary if r is None or self.statement._method == "jumps" else r.tables

    @property
    def kind(self) -> str:
        """The array type, with the device."""
        return self.target.kind

    @property
    def on_host(self) -> bool:
        return "@" not in self.target.kind

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the results."""
        return self.target.dtype

    @property
    def calls(self) -> bool:
        """Whether any of the data are functions."""
        return any(data.function is not None for data in self.data)

    @property
    def linear(self) -> tuple[PackedData, ...]:
        """The data in which u is linear."""
        return self.data[:4] if self.statement._reflecting is not None else self.data[:2]

    @property
    def row_units(self) -> np.ndarray | None:
        """The exponents of the units of all points, instance by instance."""
        return None if self.units is None else np.repeat(self.units, self.sizes.N)

    def cast(self, array: Array) -> Array:
        """Convert float64 results to the dtype of the points."""
        return array if self.dtype is _DOUBLE else _cast(array, self.dtype)

    def host_inputs(self, count: int) -> tuple[list[Any], Any]:
        """The first inputs of the op as NumPy arrays, and the boundary's cached grids, or None for other array types."""
        memo = self.geometry._memo_of(self.kind) if self.kind == "numpy" else None
        return [None if x is None else np.asarray(x) for x in self.as_chunk().inputs[:count]], memo

    def as_chunk(self, gradient: bool = False) -> Chunk:
        """All points in one chunk. ``gradient`` adds ∇u even if the settings do not request it."""
        return self.chunk(Window(0, self.sizes.B, 0, self.sizes.N), gradient=gradient)

    def chunk(self, window: Window, geometry: Boundary | Tables | None = None, gradient: bool = False) -> Chunk:
        """The points of a window, with differentiable data. ``geometry``: the boundary of these instances, if available."""
        s, settings = self.statement, self.settings
        b, end, n, n_end = window
        part = self.geometry if (b, end) == (0, self.sizes.B) else geometry or self.geometry._part_of(b, end)
        names, own = s._names, slice(0, 1) if settings.shared_walks else slice(b, end)
        arrays = {
            "start": self.start[own, n:n_end], "frame": self.frame[own],
            **dict(zip(GEOMETRY, part._arrays_of(self.kind))),
            **{name: data.of_instances(b, end) for name, data in zip(names, self.data)},
        }  # fmt: skip
        options = {
            **{f"{name}_kind": data.kind for name, data in zip(names, self.data)},
            "seed": settings.signed_seed, "max_steps": settings.max_steps, "gradient": gradient or settings.gradient,
            "screening": s._rate, "rate": s._rate, "varies": s._varies, "first_instance": b, "first_point": n,
            "outside": s.exterior, "reach": s._reach,
            "endless": s._reflecting is not None and s._reflecting.endless, "nrhs": end - b if settings.shared_walks else 1,
            "sobol": settings.sobol,
        }  # fmt: skip
        extras = (part._memo_of(self.kind), *(data.function for data in self.data))
        units = None if self.units is None else self.units[b:end]
        if self.bound is not None:
            arrays["bounds"] = _arrays.of_kind(self.kind, self.bound.rows[own])
            if self.exchange is not None:
                first = self.exchange.tables.rows[3]
                rows = slice(None) if len(first) == 2 else slice(first[b], first[end])
                arrays["exchange"] = _arrays.of_kind(self.kind, self.exchange.rest[rows])
            if options["gradient"] and s._varies:
                alpha = self.data[names.index("diffusion")]
                arrays["slopes"] = slopes(
                    alpha.kind, arrays["diffusion"], alpha.function, b, arrays["start"], arrays["frame"], arrays["bounds"]
                )
        return Chunk(s._method, arrays, options, extras, self.backend, settings.num_threads, units, s._interfaces)


def prepare(statement: Statement, points: Array, settings: Settings) -> Prepared:
    """Prepare the problem at points (N, d) or (B, N, d), or (d,) for a single point."""
    at = points if points.ndim > 1 else points[None]
    target = _target(statement, at)
    if statement._method == "jumps":
        _check_jumps(target)
    packed = _pack(statement, target)
    sizes = _sizes(statement, points)
    if settings.shared_walks:
        _check_shared(statement, points, settings)
    if settings.sobol:
        _check_sobol(statement, settings)
    backend, place_backend = _backends_of(statement, settings, target, packed)
    frame = statement._shared_boundary._frame(settings.epsilon, settings.relative)
    if frame.swallows and not statement.exterior:
        warn("solve: epsilon is as large as the domain: every value is that of dirichlet at the nearest boundary point")
    rows = frame.of_kind(target.kind, 1 if settings.shared_walks else sizes.B)
    bound, exchange = _bounds(statement, packed, rows, points, settings, backend)
    precision = _precision(statement, frame, bound)
    start, outside = _place(statement, at, rows, target, precision, place_backend, settings)
    if settings.shared_walks and outside is not None:
        outside = _arrays.namespace(outside).tile(outside, (sizes.B,))
    data, units = packed, None
    if "@" not in target.kind:
        scaled = packed[: 2 if statement._reflecting is None else 4] if statement._method == "jumps" else packed
        data, units = in_units(scaled, target.boundary, sizes.B, bound.largest if bound and statement._varies else None)
        data += packed[len(scaled) :]
    return Prepared(statement, settings, target, sizes, data, units, bound, exchange, start, rows, outside, backend, place_backend)


def _check_jumps(target: Target) -> None:
    """Raise an error for arrays that walks through a diffusion with jumps do not support."""
    if "@" in target.kind:
        what = "a diffusion of Regions is not supported"
        raise NotImplementedError(f"solve: {what} for points on a device, because NumPy chooses sides between legs; move them to the host")


def _check_shared(s: Statement, points: Array, settings: Settings) -> None:
    own = "omit shared_walks, so that each instance has its own walks"
    s._check_shared("solve: shared_walks", own)
    if s._shared_boundary._batch is not None or (points.ndim == 3 and len(points) != 1):
        raise ValueError(f"solve: shared_walks requires a single boundary and a single set of points (N, d); {own}")
    if settings.cache is not None:
        raise ValueError("solve: cache requires a single instance, and shared_walks is for several; omit one of them")


def _check_sobol(s: Statement, settings: Settings) -> None:
    medium = "a diffusion, or a screening that is not a number"
    what = {"stars": "neumann or robin", "media": medium, "jumps": "a diffusion of Regions"}.get(s._method)
    if settings.cache is not None:
        what = "cache"
    elif s.boundary.dimension > 3:
        what = "more than three dimensions"
    if what is not None:
        raise NotImplementedError(f"solve: sampling='sobol' is not available yet with {what}; omit sampling")


def _target(statement: Statement, at: Array) -> Target:
    """The target for packing data. Raises an error for points that do not match the boundary."""
    numbers, d = host_array(at, "solve", "points", device="keep", differentiable=True), statement.boundary.dimension
    dtype = _SINGLE if _arrays.dtype_name(numbers) == "float32" else _DOUBLE
    if numbers.ndim not in (2, 3) or numbers.shape[-1] != d:
        raise ValueError(f"solve: points has shape {tuple(numbers.shape)}, expected (N, {d}) or (B, N, {d}), or ({d},) for one point")
    return Target(statement._shared_boundary, _arrays.location(at), dtype)


def _pack(statement: Statement, target: Target) -> tuple[PackedData, ...]:
    """Pack the data of the walks: fluxes on reflecting walls, boundary values on the other facets."""
    packed = {name: pack(statement._argument(name), target, name) for name in statement._names}
    if (r := statement._reflecting) is not None and statement._method != "jumps":
        d, (_, first, _, first_wall, *_) = target.boundary.dimension, r.tables.rows
        packed["dirichlet"] = on_facets(packed["dirichlet"], d, r.absorbing, None, first)
        for name in ("neumann", "robin"):
            packed[name] = on_facets(packed[name], d, r.reflecting, r.flipped, first_wall)
    if statement._varies:
        packed["diffusion"] = with_curvature(packed["diffusion"], target, slopes=statement._method == "stars")
    return tuple(packed.values())


def _sizes(s: Statement, points: Array) -> Sizes:
    """The common number of instances of points, boundary and data."""
    N, batch = points.shape[-2] if points.ndim > 1 else 1, s.boundary._batch
    tail = (N,) if points.ndim > 1 else ()
    batches = {"points": len(points) if points.ndim == 3 else None, "boundary": batch, **s._batches}
    batches = {name: n for name, n in batches.items() if n is not None}
    if not batches:
        return Sizes(1, N, tail)
    b = s._shared_boundary
    lists = [name for name in batches if _is_like_rings(s, name)]
    at_vertices = isinstance(b, (Polygon, TriangleMesh)) and batches == {"dirichlet": b._first_vertex[-1]} and b._batch is None
    if at_vertices and not lists:
        count = batches["dirichlet"] or 0
        what = f"dirichlet has {count} numbers, as many as the boundary has vertices"
        if isinstance(b, TriangleMesh) or count > _FEW:
            raise ValueError(f"solve: {what}; pass PerVertex(dirichlet) for values at vertices, or points[None] for {count} problems")
        warn(f"solve: {what}; they are taken as {count} separate problems. For values at vertices pass PerVertex(dirichlet)")
    if lists and len(lists) == len(batches):
        rings = "For the rings of one polygon pass dirichlet_per_ring. " if lists[0] == "dirichlet" else ""
        rings = "For values at vertices pass PerVertex(dirichlet). " + rings if at_vertices else rings
        raise ValueError(
            f"solve: {lists[0]} is a list, but no other argument has a leading B. {rings}For B problems pass an array (B,), "
            "data with a leading B, or points (B, N, d), such as points[None]"
        )
    B = common_batch(dict(batches), "solve")
    assert B is not None
    return Sizes(B, N, (B, *tail))


def _is_like_rings(s: Statement, name: str) -> bool:
    """Whether data are a list that may be meant for the rings of one polygon: a list of numbers, or any list if the polygon has holes."""
    if name not in ("dirichlet", "source", "screening", "diffusion"):
        return False
    value, b = getattr(s, name), s._shared_boundary
    has_holes = isinstance(b, Polygon) and b._batch is None and len(b._rings[0]) > 1
    return isinstance(value, (list, tuple)) and (has_holes or all(map(is_number, value)))


def _backends_of(s: Statement, settings: Settings, target: Target, packed: tuple[PackedData, ...]) -> tuple[Backend | None, Backend | None]:
    """The backends of the walks and of other work. Device kernels cannot call functions; compositions can."""
    wanted, device = settings.backend, target.kind.partition("@")[2]
    if not device:
        return wanted, wanted
    op, d = METHODS[s._method], s.boundary.dimension
    without_kernel = is_composed(op, d, s.exterior) or (s.exterior and (d == 2 or s._reach > 0 or isinstance(s.boundary, SDF)))
    composed = any(data.function is not None for data in packed) or without_kernel
    walks = _backends.kernel(op, wanted or ("array" if composed else None), device)[0]
    place = "array" if is_composed(PLACE, d, s.exterior) else None if wanted == "cuda" else wanted
    return walks, _backends.kernel(PLACE, place, device)[0]


def _bounds(
    s: Statement, packed: tuple[PackedData, ...], rows: Array, points: Array, settings: Settings, backend: Backend | None
) -> tuple[Bound | None, Exchange | None]:
    """The rate bound, and the conditions of walls, if the diffusion or the screening varies."""
    if not s._varies and (s._method != "jumps" or "screening" not in s._names):
        return None, None
    of_host, frame = backend if _arrays.on_host(points) else _backends.host_default(), _arrays.to_host(rows)
    bound = bound_of(packed[-2] if s._varies else NOTHING, packed[-1], s._shared_boundary, frame, points, of_host, settings.num_threads)
    if s._reflecting is None or not s._varies:
        return bound, None
    walls = packed[-2], s._reflecting.tables, frame, bound.rows[:, 1], points
    if not s._warned:
        s._warned.append(True)
        if (most := rise(s._shared_boundary, *walls)) > MAX_RISE:
            warn(
                f"solve: diffusion increases by a factor of {most:.3g} towards a reflecting wall; beyond about {MAX_RISE:.0f} the variance "
                "of walks may be infinite and stderr too small: compare the values of several seeds"
            )
    return bound, exchange_of(*walls)


def _precision(s: Statement, frame: Frame, bound: Bound | None) -> np.dtype:
    """float32 if it can represent epsilon, the squared extent (which multiplies sources), and screening times squared extent."""
    rate = s._rate if bound is None else float(bound.rows[:, 0].max(initial=0.0))
    smallest, largest = frame.extents
    fits = smallest > 1 / _SINGLE_EXTENT and largest < _SINGLE_EXTENT and rate * largest * largest < _SINGLE_EXTENT**2
    return _SINGLE if frame.min_epsilon >= _SINGLE_FROM and fits else _DOUBLE


def _place(
    s: Statement, at: Array, rows: Array, target: Target, precision: np.dtype, backend: Backend | None, settings: Settings
) -> tuple[Array, Array | None]:
    """The starts of walks, and a mask of points outside, which have no walks. Points less than epsilon outside start on the boundary."""
    points = detached(at)
    points = points[0] if points.ndim == 3 and len(points) == 1 else points
    # scaled in the higher of the two precisions: float32 points are converted before scaling, and float64 starts are rounded after it
    points = points if target.dtype is precision or precision is _SINGLE else _cast(points, precision)
    b = s._shared_boundary
    closed = b.watertight if isinstance(b, TriangleMesh) else True
    inputs = points, rows, *b._arrays_of(target.kind)
    op = for_dimension(PLACE, b.dimension, s.exterior)
    start = call(op, inputs, (closed, s.exterior), (b._memo_of(target.kind),), None, backend, settings.num_threads)
    outside = (start[:, :, 0] != start[:, :, 0]).reshape(-1)
    if "@" not in target.kind:
        outside = outside if outside.any() else None
        if outside is not None:
            _warn_of_outside(s, int(outside.sum()), len(outside))
    return start if target.dtype is precision else _cast(start, precision), outside


def _warn_of_outside(s: Statement, count: int, of: int) -> None:
    b, side = s._shared_boundary, "inside" if s.exterior else "outside"
    crossed = ""
    if isinstance(b, Polygon) and b._count == 1 and len(b._ends) <= _MAX_SEARCHED:
        pairs = b._pairs[crossings(b._scaled_ends())[:1], 0]
        crossed = "".join(f"; segments {i} and {j} of the polygon cross" for i, j in pairs)
    fix = f"{crossed}; for the exterior domain pass exterior=True" if not s.exterior and count == of else crossed
    what = "1 point lies" if count == 1 else f"{count} points lie"
    warn(f"solve: {what} {side} the boundary; values there are NaN{fix}")


def _cast(array: Array, dtype: np.dtype) -> Array:
    return array.to(getattr(_arrays.namespace(array), dtype.name)) if hasattr(array, "detach") else array.astype(dtype)
