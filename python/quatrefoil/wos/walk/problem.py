"""One boundary value problem with its points and its seed: what a Result needs to draw more walks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ... import _arrays, _backends
from ..._arguments import is_number, numbers_here, points_like
from ..._call import call
from ..._typing import Backend
from ..mesh import Boundary, TriangleMesh
from ..polygon import Polygon, Solid
from ..rings import crossings
from ..solid import SDF
from . import MAX_WALKS, METHODS, PLACE
from .facets import mixed_mesh
from .fingerprint import NotComparable, fingerprint
from .medium import Medium, bounds, is_data, pack_medium
from .packing import NOTHING, Packed, Target, on_pieces, pack, with_arrays
from .piece import Piece, Window, copied, cut_out, to_numpy
from .units import choose, times
from .walls import Mixed, Tables, conditions, mixed

Array = Any
DATA = ("dirichlet", "source", "neumann", "robin")
_MEDIUM = ("diffusion", "screening")
_OPTIONS = ("epsilon", "relative", "max_steps", "backend", "gradient", "screening", "cache", "exterior")
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_SINGLE_EXTENT = 1e15
_MOST_LOOKED_AT = 1024  # segments of a polygon, for those that cross
_SINGLE_FROM = 1e-5  # relative epsilon: below it float32 cannot tell the shell from the boundary


@dataclass
class Problem:
    """What the caller gave, arrays copied: what is written to them later is not of this problem. Pickles without what was made of it."""

    boundary: Boundary
    points: Array
    dirichlet: Any
    source: Any
    epsilon: float
    relative: bool
    max_steps: int
    seed: int
    backend: Backend | None  # None on a device: what that has
    gradient: bool = False
    screening: Any = 0.0
    cache: str | None = None
    num_threads: int | None = None
    neumann: Any = None  # (where, h)
    robin: Any = None  # (where, mu, h)
    diffusion: Any = None
    exterior: bool = False
    _ready: Any = field(default=None, repr=False, compare=False)
    one_point: bool = field(default=False, init=False)  # points is (d,), and so results have no axis for them
    _functions: Any = field(default=None, repr=False, compare=False)  # what ``_of_functions`` says of dirichlet and source

    def __post_init__(self) -> None:
        self.points = points_like(self.points, "solve", "points")
        self.one_point = self.points.ndim == 1
        self.points = self.points[None] if self.one_point else self.points
        for name in ("points", *DATA, *_MEDIUM):
            setattr(self, name, with_arrays(getattr(self, name), copied))

    def __getstate__(self) -> dict[str, Any]:
        """Without the graph of a gradient, which cannot be pickled."""
        data = {name: with_arrays(getattr(self, name), _detached) for name in ("points", *DATA, *_MEDIUM)}
        return {**self.__dict__, **data, "_ready": None}

    @property
    def ready(self) -> Prepared:
        if self._ready is None:
            self._ready = Prepared(self)
        made: Prepared = self._ready
        return made

    @property
    def whole(self) -> Piece:
        """All of it."""
        p = self.ready
        self.remember_functions()
        return cut_out(p, Window(0, p.B, 0, p.N))

    def remember_functions(self) -> None:
        """What the functions are now: they may be others by the time of a merge."""
        if self._functions is None:
            self._functions = [_of_functions(data) for data in self.ready.data]

    def slope(self, first: int, walks: int, rows: np.ndarray | None = None) -> Array:
        """(rows, d) an estimate of the gradient in all points or some, by those walks in pairs (13): with one more at an odd end."""
        p = self.ready
        even, end = first - first % 2, first + walks + (first + walks) % 2
        check_range("solve", even, end - even)
        mean, _ = replace(self.whole, gradient=True).run(even, end - even, rows).fold()
        return times(_detached(mean)[:, 1:], self.whole.units_of(np.arange(p.B * p.N) if rows is None else rows))

    @property
    def signed_seed(self) -> int:
        """The same 64 bits."""
        return self.seed - (self.seed >> 63 << 64)

    def differs_from(self, other: Problem) -> list[str]:
        """What two problems do not share, by name: results may be merged where there is nothing. ValueError where nobody can tell."""
        for name, of_functions in (*zip(self.ready.names, self._functions), *zip(other.ready.names, other._functions)):
            if isinstance(of_functions, NotComparable):
                raise ValueError(f"merge: {name} depends on {of_functions}, which cannot be compared; resume one result instead")
        try:
            mine, others = self._fingerprints(), other._fingerprints()
        except NotComparable as error:
            raise ValueError(f"merge: boundary depends on {error}, which cannot be compared; resume one result instead") from None
        return [name for name in {**mine, **others} if mine.get(name) != others.get(name)]

    def _fingerprints(self) -> dict[str, Any]:
        p, b = self.ready, self.boundary
        shape = (b._row(), getattr(b, "function", None)) if isinstance(b, Solid) else (b._ends,)
        found: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        found |= {
            "boundary": [fingerprint(x) for x in (b._centre, b._extent, *shape)],
            "points": fingerprint(self.points),
        }
        if p.mixed is not None:
            found["neumann and robin"] = [fingerprint(x) for x in (p.mixed.tables.rows[2], p.mixed.absorbing, p.mixed.reflecting)]
        for name, data, of_functions in zip(p.names, p.data, self._functions):
            numbers = to_numpy(data.numbers)
            found[name] = data.kind, fingerprint(numbers), of_functions, fingerprint(p.units)
        return found


def check_range(label: str, first: int, walks: int) -> None:
    """The random words of a point are those of 2^32 walks."""
    if first + walks > MAX_WALKS:
        raise ValueError(f"{label}: walks up to {first + walks} were asked for, expected at most {MAX_WALKS} of a point")


def check_on_host(label: str, name: str, problem: Problem) -> None:
    """What was asked for there is not on a device."""
    if not problem.ready.on_host:
        where = f"points is on {_arrays.device(problem.points)}, which it does not go with"
        raise NotImplementedError(f"{label}: {name} is given, but {where}; leave {name} out, or move the arrays to the host")


def _detached(array: Array) -> Array:
    return array.detach() if hasattr(array, "detach") else array


def _of_functions(data: Packed) -> bytes | NotComparable | None:
    """The fingerprint of data that holds functions; None for numbers, which are compared as the walks see them."""
    if data.function is None:
        return None
    try:
        return fingerprint(data.given)
    except NotComparable as error:
        return error


class Prepared:
    """A problem checked, scaled and packed: the arrays of ``walk``."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        b = self.boundary = problem.boundary._shared() if isinstance(problem.boundary, Polygon) else problem.boundary
        points = numbers_here(problem.points, "solve", "points", graded=True)
        self.kind = _arrays.place(problem.points)  # and device
        self.on_host = "@" not in self.kind
        self.dtype = _SINGLE if _arrays.dtype_name(points) == "float32" else _DOUBLE
        d = b.dimension
        if points.ndim not in (2, 3) or points.shape[-1] != d:
            raise ValueError(f"solve: points has shape {tuple(points.shape)}, expected (N, {d}) or (B, N, {d}), or ({d},) for one point")
        if problem.exterior:
            _check_exterior(problem)
        target = Target(b, self.kind, self.dtype)
        self.dirichlet = pack(problem.dirichlet, target, "dirichlet")
        self.source = NOTHING if problem.source is None else pack(problem.source, target, "source")
        self.data = [self.dirichlet, self.source]
        self.mixed: Mixed | None = None
        self.medium: Medium | None = None
        self.names = DATA
        varies = problem.diffusion is not None or is_data(problem.screening)
        if varies:
            self._fill(target)
        elif problem.neumann is not None or problem.robin is not None:
            self._mix(target)
        self.screening = 0.0 if varies else float(problem.screening)
        self.op = METHODS["media" if varies else "walk" if self.mixed is None else "stars"]
        self.kinds = tuple(data.kind for data in self.data)
        self.cover: Any = None  # of harmonic caching
        self.backend, self.backend_beside = problem.backend, problem.backend  # of the walks, and of what is done beside them
        if not self.on_host:
            self._choose_backends()
        self._batches(points)
        self._place(points)

    @property
    def geometry(self) -> Boundary | Tables:
        """What walks see."""
        return self.boundary if self.mixed is None else self.mixed.tables

    @property
    def calls(self) -> bool:
        """Whether some of the data are functions."""
        return any(data.function is not None for data in self.data)

    @property
    def row_units(self) -> np.ndarray | None:
        """The exponents of the units of all points, instance after instance."""
        return None if self.units is None else np.repeat(self.units, self.N)

    def corners_of(self, k: int) -> np.ndarray | None:
        """Where the segments of each polygon begin whose values at vertices data k has in one row; None for other data."""
        if self.data[k].kind != "per_vertex" or not isinstance(self.boundary, Polygon) or self.boundary._count == 1:
            return None
        first: np.ndarray = self.boundary._first if self.mixed is None else self.mixed.tables.rows[1 if k == 0 else 3]
        return first

    def _choose_backends(self) -> None:
        """On a device: kernels call no functions, which are data of compositions."""
        wanted, device = self.problem.backend, self.kind.partition("@")[2]
        self.backend = _backends.kernel(self.op, wanted or ("array" if self.calls else None), device)[0]
        self.backend_beside = _backends.kernel(PLACE, None if wanted == "cuda" else wanted, device)[0]

    def _mix(self, target: Target) -> None:
        """Walls, what flows through them, and the boundary values of the rest."""
        p = self.problem
        code, mu = conditions(self.boundary, p.neumann, p.robin, "solve")
        if not (code > 0).any():
            return
        b = self.boundary
        assert not isinstance(b, Solid)
        m = mixed_mesh(b, code, p.screening, "solve") if isinstance(b, TriangleMesh) else mixed(b, code, mu, p.screening, "solve")
        self.mixed = m
        self.dirichlet = on_pieces(self.dirichlet, b.dimension, m.absorbing, None)
        self.data[0] = self.dirichlet
        for name, given in (("neumann", p.neumann), ("robin", p.robin)):
            nothing = given is None or (type(given[-1]) in (int, float) and given[-1] == 0)  # no point of the walls is asked for
            h = NOTHING if nothing else pack(given[-1], target, name)
            self.data.append(on_pieces(h, b.dimension, m.reflecting, m.turned))

    def _fill(self, target: Target) -> None:
        """The domain with what it is made of."""
        if self.problem.neumann is not None or self.problem.robin is not None:
            raise ValueError("solve: diffusion, and a screening that is no number, do not go with neumann or robin; leave one out")
        self.data += pack_medium(self.problem, target)
        self.names = ("dirichlet", "source", *_MEDIUM)

    def _batches(self, points: np.ndarray) -> None:
        self.N = points.shape[-2]
        self.shape: tuple[int, ...]
        batch = self.problem.boundary._batch
        if points.ndim == 2 and batch is None and all(data.batch is None for data in self.data):
            self.B, self.shape = 1, (self.N,)[self.problem.one_point :]
            return
        sizes = {
            "points": len(points) if points.ndim == 3 else None,
            "boundary": batch,
            **{name: data.batch for name, data in zip(self.names, self.data)},
        }
        found = {name: n for name, n in sizes.items() if n is not None}
        lists = [name for name in found if self._is_like_rings(name)]
        b = self.boundary
        at_vertices = isinstance(b, (Polygon, TriangleMesh)) and found == {"dirichlet": b._first_vertex[-1]} and b._batch is None
        if at_vertices and not lists:
            what = f"dirichlet has {self.dirichlet.batch} numbers, as many as vertices: {self.dirichlet.batch} problems"
            warnings.warn(f"solve: {what}; for values at vertices give PerVertex(dirichlet)", RuntimeWarning, stacklevel=6)
        if lists and len(lists) == len(found):
            rings = "give dirichlet_per_ring for the rings of one polygon; " if lists[0] == "dirichlet" else ""
            rings = "give PerVertex(dirichlet) for values at vertices; " + rings if at_vertices else rings
            raise ValueError(
                f"solve: {lists[0]} is a list, but nothing else has a leading B: {rings}for B problems give an array of (B,) numbers "
                "or data with a leading B, or the list with points (B, N, d), such as points[None]"
            )
        several = {n for n in found.values() if n != 1}  # one serves all
        if len(several) > 1:
            raise ValueError(f"solve: different numbers of instances: {', '.join(f'{name} {n}' for name, n in found.items())}")
        self.B = several.pop() if several else 1
        self.shape = (self.B, self.N)[: 2 - self.problem.one_point]

    def _is_like_rings(self, name: str) -> bool:
        """Whether data are a list that may be meant for the rings of one polygon: of numbers, or for a polygon with holes."""
        if name not in ("dirichlet", "source", "screening", "diffusion"):
            return False
        given, b = getattr(self.problem, name), self.boundary
        has_holes = isinstance(b, Polygon) and b._batch is None and len(b._rings[0]) > 1
        return isinstance(given, (list, tuple)) and (has_holes or all(map(is_number, given)))

    def _place(self, points: np.ndarray) -> None:
        """Where walks start. Points outside get none; those within epsilon outside start from the boundary."""
        b, p = self.boundary, self.problem
        frame = b._frame(p.epsilon, p.relative)
        if frame.swallows and not p.exterior:
            warnings.warn("solve: epsilon is as large as the domain: every answer is g at the nearest point", RuntimeWarning, stacklevel=6)
        rows = frame.of_kind(self.kind, self.B)
        if self.op is METHODS["media"]:
            diffusion, screening = self.data[2:]
            self.medium = Medium(diffusion, screening, *bounds(self, diffusion, screening, to_numpy(rows)))
        precision = _SINGLE if frame.least >= _SINGLE_FROM and self._fits_single(*frame.extents) else _DOUBLE
        # walks in float64 start from points in float64, before anything is rounded; the others are rounded last
        points = _detached(p.points)
        points = points[0] if points.ndim == 3 and len(points) == 1 else points
        given = points if self.dtype is precision or precision is _SINGLE else _cast(points, precision)
        ends, first = b._arrays_of(self.kind)
        memo, closed = b._memo_of(self.kind), b.watertight if isinstance(b, TriangleMesh) else True
        start = call(PLACE, (given, rows, ends, first), (closed, p.exterior), (memo,), None, self.backend_beside, p.num_threads)
        outside = start[:, :, 0] != start[:, :, 0]
        self.outside: Any = outside.reshape(-1) if not self.on_host or outside.any() else None
        if self.on_host and self.outside is not None:
            count = int(self.outside.sum())
            side = "inside" if p.exterior else "outside"
            segments = b._scaled_ends() if isinstance(b, Polygon) and b._count == 1 else np.empty((0, 4))
            pairs = crossings(segments)[:1] if len(segments) <= _MOST_LOOKED_AT else ()
            crossed = "".join(f"; segments {i} and {j} of the polygon cross" for i, j in pairs)
            could = b.dimension == 3 and not isinstance(b, SDF) and not p.exterior and count == outside.size
            cure = f"{crossed}; for the domain outside give exterior=True" if could else crossed
            warnings.warn(f"solve: {count} points lie {side} the boundary: their values are NaN{cure}", RuntimeWarning, stacklevel=6)
        start = start if self.dtype is precision else _cast(start, precision)
        if self.mixed is not None:
            memo = self.mixed.tables._memo_of(self.kind)
        self.units = choose(self)  # walks know u divided by 2^units
        self.dirichlet, self.source = self.data[:2]
        if self.medium is not None:
            self.medium.diffusion, self.medium.screening = self.data[2:]
        self.inputs = (start, rows, *self.geometry._arrays_of(self.kind), *(data.numbers for data in self.data))
        self.extras = (memo, *(data.function for data in self.data))

    def _fits_single(self, smallest: float, largest: float) -> bool:
        """Whether float32 holds the square of the extent, by which sources count, and that of the radius that a screening allows."""
        rate = self.screening if self.medium is None else float(self.medium.bounds[:, 0].max(initial=0.0))
        return smallest > 1 / _SINGLE_EXTENT and largest < _SINGLE_EXTENT and rate * largest * largest < _SINGLE_EXTENT**2

    def cast(self, array: Array) -> Array:
        """float64 results in the dtype of the points."""
        return array if self.dtype is _DOUBLE else _cast(array, self.dtype)


def _check_exterior(p: Problem) -> None:
    """Outside u is harmonic and tends to 0."""
    b = p.boundary
    if b.dimension != 3 or isinstance(b, SDF):
        raise ValueError(f"solve: exterior=True with {b!r}; it needs a Ball, a Box or a TriangleMesh in three dimensions")
    if p.source is not None or is_data(p.screening) or p.screening > 0:
        raise ValueError("solve: exterior=True goes without a source and a screening: u is harmonic outside and tends to 0")
    if p.neumann is not None or p.robin is not None:
        raise ValueError("solve: exterior=True does not go with neumann or robin")


def _cast(array: Array, dtype: np.dtype) -> Array:
    return array.to(getattr(_arrays.namespace(array), dtype.name)) if hasattr(array, "detach") else array.astype(dtype)


def resolve(backend: Backend | None, points: Any) -> Backend | None:
    """The backend that a problem's walks take, now and when it is resumed; on a device None for the best that it has."""
    name = backend or _backends.chosen()
    if points.__class__ is np.ndarray or _arrays.kind(points) is None or _arrays.on_host(points):
        name = name or _backends.default()
        _backends.check_name(name, "solve")
        if name == "cuda":
            where = "points is on the host, where backend 'cuda' does not run"
            raise TypeError(f"solve: {where}; move the arrays to a GPU, or leave the choice of a backend out")
        return name
    if name is not None:
        _backends.check_name(name, "solve")
        if name in ("native", "numba"):
            where = f"points is on {_arrays.device(points)}, where backend {name!r} does not run"
            raise TypeError(f"solve: {where}; leave the choice of a backend out, or move the arrays to the host")
    return name
