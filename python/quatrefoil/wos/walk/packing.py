"""Data as the walks need it: numbers in scaled coordinates, a row an instance or one for all.

Plain array code for NumPy arrays and tensors, so that torch differentiates it; ``Packed.pull`` is its transpose for NumPy users.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array_like, finite, number, numbers_here
from ..data import CLASSES, Fourier, Gaussians, GridField, PerRing, PerVertex, Polynomial
from ..data.functions import OneEach, is_function, wrap
from ..mesh import Boundary, TriangleMesh
from ..polygon import Polygon
from .per_ring import NAME, ByRing, is_at_vertices, of_ring, pulled, rings_of, values_at_vertices
from .recentre import along_axes, shifts

Array = Any
Parameters = dict[str, Any]  # name -> gradient, as the caller gave the parameter


@dataclass
class Packed:
    """``numbers`` (rows, width), rows 1 or B; ``pull`` takes their gradient to those of the parameters."""

    kind: str
    batch: int | None = None
    numbers: Array | None = None
    function: Any = None
    pull: Callable[[np.ndarray], Parameters] | None = None
    given: Any = None


@dataclass
class Target:
    """What data is packed for: a boundary, and the kind, with the device, and the dtype of a call's arrays."""

    boundary: Boundary
    kind: str
    dtype: np.dtype

    def parameter(self, array: Array, name: str) -> Array:
        """The parameter in float64, of its own kind, under its gradient; TypeError where it does not go with the points."""
        if isinstance(array, _arrays.Plain):
            return self.array(np.asarray(array))
        numbers_here(array, "solve", name, graded=True)
        kind, place = _arrays.kind(array), _arrays.place(array)
        if place != self.kind:
            mine, _, where = self.kind.partition("@")
            if kind == mine:
                here = f"{name} is on {_arrays.device(array)} but points is on {where or 'cpu'}"
                raise TypeError(f"solve: {here}; all arrays of a call must be on one device: move one of them")
            raise TypeError(f"solve: {name} is a {kind} array but points is a {mine} array; all arrays of a call must be of one kind")
        if (dtype := _arrays.dtype_name(array)) != self.dtype.name:
            raise TypeError(f"solve: {name} has dtype {dtype} but points has {self.dtype}; convert one of them")
        return array if self.dtype == np.float64 else array.double() if kind == "torch" else array.astype(np.float64)

    def array(self, x: np.ndarray) -> Array:
        return _arrays.of_kind(self.kind, x)

    @property
    def namespace(self) -> Any:
        return _arrays.namespace_of(self.kind)


NOTHING = Packed("none")


def with_arrays(given: Any, change: Callable[[Array], Array]) -> Any:
    """Data like this one of other arrays."""
    if given is None or given.__class__ is float:
        return given
    if isinstance(given, (list, tuple)):
        return (list if isinstance(given, list) else tuple)([with_arrays(g, change) for g in given])
    if isinstance(given, (*CLASSES, PerRing)):
        again = object.__new__(given.__class__)
        again.__dict__.update({name: with_arrays(value, change) for name, value in given.__dict__.items()})
        return again
    return given if _arrays.kind(given) is None else change(given)


def pack(given: Any, target: Target, name: str) -> Packed:
    """One of solve's data, checked against the boundary and the points."""
    if given.__class__ is float or given.__class__ is int:
        return _pack_number(given, target, name)
    if given is None:
        return NOTHING
    if isinstance(given, (list, tuple)):
        packed = _pack_list(list(given), target, name)
        if len(given) == 1:
            return packed  # of what is in it
    elif isinstance(given, PerVertex):
        packed = _pack_per_vertex(given, target, name)
    elif isinstance(given, PerRing):
        packed = _pack_per_ring(given, target)
    elif isinstance(given, CLASSES):
        packed = next(of for kind, of in _TOGETHER.items() if isinstance(given, kind))([given], target, name)
    elif isinstance(given, (np.integer, np.floating)):
        packed = _pack_number(given, target, name)
    elif _arrays.kind(given) is not None:
        packed = _pack_numbers(given, target, name)
    elif is_function(given):
        packed = Packed("function", function=wrap(given, target.boundary, target.dtype, name))
    else:
        raise TypeError(
            f"solve: {name} is {type(given).__name__}, expected a number, {', '.join(c.__name__ for c in CLASSES)}, a function, "
            "or a list of them"
        )
    packed.given = given
    return packed


def _pack_number(given: Any, target: Target, name: str) -> Packed:
    value = number(given, "solve", name, negative=True)
    return Packed("number", numbers=target.array(np.array([[value]])), pull=lambda g: {}, given=given)


def _pack_numbers(given: Array, target: Target, name: str) -> Packed:
    given = array_like(given, "solve", name)
    array = target.parameter(given, name)
    if array.ndim > 1:
        raise ValueError(
            f"solve: {name} has shape {tuple(array.shape)}, expected a number or (B,) numbers; on a grid give GridField(values, box)"
        )
    finite(numbers_here(given, "solve", name, graded=True), "solve", name)
    return Packed(
        "number", None if array.ndim == 0 else len(array), array.reshape(-1, 1), pull=lambda g: {"value": as_given(g[:, 0], given)}
    )


def _pack_fourier(given: list[Fourier], target: Target, name: str) -> Packed:
    """One series, of an instance or of B; or one an instance, filled up with zeros."""
    b, xp = target.boundary, target.namespace
    if b.dimension != 2:
        raise ValueError(f"solve: {name} is Fourier data, which needs two dimensions; the boundary has {b.dimension}")
    parts = [target.parameter(f.coefficients, f"{name}.coefficients") for f in given]
    if len(given) == 1 and parts[0].ndim == 2:
        batch: int | None = _instances(parts[0], target, f"{name}.coefficients")
        c = parts[0]
    else:
        batch = None if len(given) == 1 else len(given)
        c = _rows(parts, xp) if parts else target.array(np.zeros((0, 1)))
    centre = (np.array([f.center for f in given]) - b._centre) / b._extent[:, None]
    rows = len(centre) if len(c) == 1 else len(c)
    if target.kind == "numpy":
        numbers = np.empty((rows, 2 + c.shape[1]))
        numbers[:, :2], numbers[:, 2:] = centre, c
    else:
        numbers = xp.concatenate([target.array(np.array(np.broadcast_to(centre, (rows, 2)))), xp.broadcast_to(c, (rows, c.shape[1]))], 1)

    def pull(g: np.ndarray) -> Parameters:
        return {"coefficients": as_given(g[:, 2:], given[0].coefficients)}

    return Packed("fourier", batch, numbers, pull=pull)


def _rows(parts: list[Array], xp: Any) -> Array:
    """Vectors as the rows of a matrix, filled up with zeros."""
    if len(parts) == 1:
        return parts[0][None]
    width = max((len(p) for p in parts), default=0)
    full = [p if len(p) == width else xp.concatenate([p, xp.zeros_like(p[:1]).repeat(width - len(p))]) for p in parts]
    return xp.stack(full)


def _pack_gaussians(given: list[Gaussians], target: Target, name: str) -> Packed:
    b, xp = target.boundary, target.namespace
    d = b.dimension
    a, c, w = (_gaussian_parts(given, part, target, name) for part in ("amplitude", "center", "width"))
    if c.shape[-1] != d:
        raise ValueError(f"solve: {name}.center has {c.shape[-1]} coordinates, the boundary {d}")
    J = a.shape[-1]
    parts = {"amplitude": (a, 1), "center": (c, 2), "width": (w, 1)}
    sizes = {_instances(x, target, f"{name}.{part}") for part, (x, inner) in parts.items() if x.ndim > inner}
    if len(sizes) > 1:
        raise ValueError(f"solve: {name} has parameters of {sorted(sizes)} instances")
    batch = sizes.pop() if sizes else None
    rows = b._count if batch in (None, 1) else batch
    extent = target.array(b._extent)
    scaled = (xp.broadcast_to(c, (rows, J, d)) - target.array(b._centre)[:, None]) / extent[:, None, None]
    inverse = xp.broadcast_to((extent**2)[:, None] / w**2, (rows, J))
    bells = xp.concatenate([xp.broadcast_to(a, (rows, J))[..., None], scaled, inverse[..., None]], -1)

    def pull(g: np.ndarray) -> Parameters:
        g = g.reshape(rows, J, d + 2)
        of_width = g[..., -1] * -2 * _arrays.to_host(inverse) / _arrays.to_host(w)
        found = {"amplitude": g[..., 0], "center": g[..., 1:-1] / b._extent[:, None, None], "width": of_width}
        arrays = {name: getattr(given[0], name) for name in found}
        return {name: as_given(found[name], like) for name, like in arrays.items() if not isinstance(like, (int, float))}

    return Packed("gaussians", batch, bells.reshape(rows, J * (d + 2)), pull=pull)


def _gaussian_parts(given: list[Gaussians], part: str, target: Target, name: str) -> Array:
    """A parameter of one sum, or of one sum an instance: filled up with bells of amplitude 0."""
    arrays = []
    for g in given:
        x = getattr(g, part)
        arrays.append(target.array(np.asarray(float(x))) if isinstance(x, (int, float)) else target.parameter(x, f"{name}.{part}"))
    if len(given) == 1:
        return arrays[0]
    xp = target.namespace
    most = max(len(g.amplitude) for g in given)
    rows = []
    for g, x in zip(given, arrays):
        if part == "width" and x.ndim == 0:
            x = xp.broadcast_to(x, (len(g.amplitude),))
        fill = xp.ones_like(x[:1]) if part == "width" else xp.zeros_like(x[:1])
        rows.append(xp.concatenate([x, *[fill] * (most - len(x))]))
    return xp.stack(rows)


def _pack_polynomials(given: list[Polynomial], target: Target, name: str) -> Packed:
    """One polynomial, of an instance or of B; or one an instance. In scaled coordinates: a row an instance where boxes differ."""
    b, d, xp = target.boundary, target.boundary.dimension, target.namespace
    batch = None if len(given) == 1 else len(given)
    parts, matrices, sizes = [], [np.zeros((0, 1, 1))], (1,) * d
    for i, g in enumerate(given):
        c = target.parameter(g.coefficients, f"{name}.coefficients")
        if c.ndim not in (d, d + 1) or 0 in c.shape[-d:]:
            axes = ", ".join(f"n{i + 1}" for i in range(d))
            raise ValueError(
                f"solve: {name}.coefficients has shape {tuple(c.shape)}, expected ({axes}) or (B, {axes}): the boundary has {d} dimensions"
            )
        if c.ndim > d:
            batch = _instances(c, target, f"{name}.coefficients")
        sizes = tuple(c.shape[-d:])
        which = slice(None) if len(given) == 1 or b._batch is None else slice(i, i + 1)
        matrices = shifts(sizes, b._centre[which], b._extent[which])
        if not all(np.isfinite(m).all() for m in matrices):
            raise ValueError(f"solve: {name} has powers up to {max(sizes) - 1}, which leave float64 at the boundary's coordinates")
        parts.append(_table(sizes, along_axes(c.reshape(-1, *sizes), [target.array(m) for m in matrices]), target))

    def pull(g: np.ndarray) -> Parameters:
        of_scaled = g[:, d:].reshape(-1, *sizes)
        return {"coefficients": as_given(along_axes(of_scaled, [m.transpose(0, 2, 1) for m in matrices]), given[0].coefficients)}

    return Packed("polynomial", batch, _stacked(parts, xp) if parts else target.array(np.zeros((0, d))), pull=pull)


def _pack_grids(given: list[GridField], target: Target, name: str) -> Packed:
    """One field, of an instance or of B; or one an instance. In absolute coordinates: boundaries may share a row."""
    d, xp = target.boundary.dimension, target.namespace
    batch = None if len(given) == 1 else len(given)
    parts = []
    for g in given:
        v = target.parameter(g.values, f"{name}.values")
        if d > 3:
            raise ValueError(f"solve: {name} is a GridField, which has two or three dimensions; the boundary has {d}: give a function")
        if len(g.box[0]) != d:
            raise ValueError(f"solve: {name} is a GridField in {len(g.box[0])} dimensions, the boundary has {d}")
        if v.ndim > d:
            batch = _instances(v, target, f"{name}.values")
        sizes = tuple(v.shape[-d:])
        parts.append(_table((*sizes, *g.box[0], *g.box[1]), v.reshape(-1, *sizes), target))

    def pull(g: np.ndarray) -> Parameters:
        return {"values": as_given(g[:, 3 * d :].reshape(-1, *given[0].values.shape[-d:]), given[0].values)}

    return Packed("grid", batch, _stacked(parts, xp) if parts else target.array(np.zeros((0, 3 * d))), pull=pull)


def _instances(array: Array, target: Target, name: str) -> int:
    """How many instances an array has; ValueError where the boundary has others."""
    b = target.boundary
    if b._batch is not None and len(array) not in (1, b._count):
        raise ValueError(f"solve: {name} has shape {tuple(array.shape)}, {len(array)} instances, but the boundary has {b._count}")
    return len(array)


def _table(head: Sequence[float], table: Array, target: Target) -> Array:
    """(rows, ...) behind the same numbers in every row."""
    first = target.array(np.tile(np.array(head, np.float64), (len(table), 1)))
    return target.namespace.concatenate([first, table.reshape(len(table), math.prod(table.shape[1:]))], 1)


def _stacked(parts: list[Array], xp: Any) -> Array:
    """Rows below each other, filled up with zeros behind."""
    width = max(p.shape[1] for p in parts)
    full = [xp.concatenate([p, xp.broadcast_to(xp.zeros_like(p[:, :1]), (len(p), width - p.shape[1]))], 1) for p in parts]
    return full[0] if len(full) == 1 else xp.concatenate(full)


def _pack_per_vertex(given: PerVertex, target: Target, name: str) -> Packed:
    b, xp = target.boundary, target.namespace
    if not isinstance(b, (Polygon, TriangleMesh)) or name == "source":
        raise ValueError(f"solve: {name} is PerVertex data, which only what is given on the boundary of a polygon or mesh can be")
    sizes = np.diff(b._first_vertex)
    if isinstance(given.values, (list, tuple)):
        rows = [target.parameter(v, f"{name}.values[{i}]") for i, v in enumerate(given.values)]
        batch: int | None = len(rows)
    else:
        table = target.parameter(given.values, f"{name}.values")
        batch = None if table.ndim == 1 else len(table)
        rows = list(table) if batch is not None else [table]
    shared = b._batch is None
    if not shared and len(rows) == 1:
        rows = rows * b._count
    if not shared and batch is not None and len(rows) != b._count:
        raise ValueError(f"solve: {name}.values has {len(rows)} instances, the boundary {b._count}")
    for i, row in enumerate(rows):
        M, what = int(sizes[0 if shared else i]), "the mesh" if isinstance(b, TriangleMesh) else f"polygon {i}"
        if len(row) != M:
            raise ValueError(f"solve: {name}.values[{i}] has shape {tuple(row.shape)}, but {what} has {M} vertices: expected ({M},)")
    pairs = target.array(b._pairs)
    if shared:
        numbers = xp.stack([row[pairs].reshape(-1) for row in rows]) if rows else target.array(np.zeros((0, b._pairs.size)))
    else:
        numbers = (xp.concatenate(rows) if rows else target.array(np.zeros(0)))[pairs].reshape(1, -1)

    def pull(g: np.ndarray) -> Parameters:
        return {"values": _pull_pairs(g, b, given.values)}

    return Packed("per_vertex", batch, numbers, pull=pull)


def _pack_per_ring(given: PerRing, target: Target) -> Packed:
    b, first = rings_of(given, target.boundary)
    if is_at_vertices(given):
        values = values_at_vertices(given, first, target)

        def pull(g: np.ndarray) -> Parameters:
            return {"values": pulled(np.bincount(b._pairs.reshape(-1), g[0], minlength=int(first[-1])), given, first, as_given)}

        return Packed("per_vertex", None, values[target.array(b._pairs)].reshape(1, -1), pull=pull)
    parts: list[Any] = []
    for r, g in enumerate(given.values):
        if "@" in target.kind or any(getattr(x, "requires_grad", False) for x, _ in _inner_axes(g, 2)):
            what = "requires grad" if "@" not in target.kind else "is neither a number nor PerVertex, which a device does not take"
            raise NotImplementedError(f"solve: {NAME}[{r}] {what}, and some ring has other data than numbers and PerVertex")
        if isinstance(g, PerVertex):
            parts.append(PerVertex(_arrays.to_host(of_ring(g, int(first[r + 1] - first[r]), target, f"{NAME}[{r}]"))))
            continue
        packed = pack(g, target, f"{NAME}[{r}]")
        if packed is NOTHING or packed.batch is not None:
            raise ValueError(f"solve: {NAME}[{r}] is {'None' if g is None else 'of several instances'}, expected one number or data")
        parts.append(as_function(packed))
    return Packed("function", function=ByRing(b, parts))


def _pull_pairs(g: np.ndarray, b: Polygon | TriangleMesh, values: Array) -> Any:
    """The transpose of reading the values at the corners of every segment or triangle."""
    vertices = int(b._first_vertex[-1])
    rows = [np.bincount(b._pairs.reshape(-1), row, minlength=vertices) for row in g]
    if b._batch is not None:
        rows = np.split(rows[0], b._first_vertex[1:-1]) if len(rows) and b._count else []
        rows = [np.sum(rows, axis=0)] if isinstance(values, (list, tuple)) and len(values) == 1 else rows
    if isinstance(values, (list, tuple)):
        return [as_given(row, v) for row, v in zip(rows, values)]
    return as_given(np.stack(rows) if rows else np.zeros((0, vertices)), values)


def on_pieces(packed: Packed, d: int, chosen: np.ndarray, turned: np.ndarray | None) -> Packed:
    """Values at vertices for some of the segments or triangles: d each, the last two exchanged where it is turned. Other data as it is."""
    if packed.kind != "per_vertex":
        return packed
    corners = d * chosen[:, None] + np.arange(d)
    if turned is not None:
        corners = np.where(turned[:, None], corners[:, [*range(d - 2), d - 1, d - 2]], corners)
    column = corners.reshape(-1)
    shape = tuple(packed.numbers.shape)  # type: ignore[union-attr]
    index = _arrays.of_kind(_arrays.place(packed.numbers), column)

    def pull(g: np.ndarray) -> Parameters:
        full = np.zeros(shape)
        full[:, column] = g
        return packed.pull(full)  # type: ignore[misc]

    return dataclasses.replace(packed, numbers=packed.numbers[:, index], pull=packed.pull and pull)  # type: ignore[index]


def _pack_list(given: list[Any], target: Target, name: str) -> Packed:
    b = target.boundary
    if b._batch is not None and len(given) not in (1, b._count):
        raise ValueError(f"solve: {name} is a list of {len(given)}, the boundary has {b._count} instances")
    for i, g in enumerate(given):
        if g is None:
            raise TypeError(f"solve: {name}[{i}] is None")
        if any(getattr(x, "ndim", inner) > inner for x, inner in _inner_axes(g, b.dimension)):
            raise ValueError(f"solve: {name}[{i}] has instances of its own")
    if len(given) == 1:
        return dataclasses.replace(pack(given[0], target, f"{name}[0]"), batch=1, pull=None)
    kinds = {type(g) for g in given}
    if PerVertex in kinds:
        if kinds != {PerVertex}:
            raise ValueError(f"solve: {name} mixes PerVertex with other data; give functions instead")
        return _pack_per_vertex(PerVertex([g.values for g in given]), target, name)
    if len(kinds) == 1 and (together := _TOGETHER.get(kinds.pop())):
        packed = together(given, target, name)
        packed.batch, packed.pull = len(given), None
        return packed
    parts = [pack(g, target, f"{name}[{i}]") for i, g in enumerate(given)]
    if all(p.kind == "number" for p in parts):
        xp = target.namespace
        return Packed("number", len(parts), xp.concatenate([p.numbers for p in parts]) if parts else target.array(np.zeros((0, 1))))
    for i, g in enumerate(given):
        if any(getattr(x, "requires_grad", False) for x, _ in _inner_axes(g, b.dimension)):
            raise NotImplementedError(f"solve: {name}[{i}] requires grad, but a list of data of several kinds has no gradient; detach it")
    if "@" in target.kind and any(p.kind != "function" for p in parts):
        raise NotImplementedError(f"solve: {name} is a list of data of several kinds, which a device does not take; give functions")
    return Packed("function", len(parts), function=OneEach([as_function(p) for p in parts]))


# of a list of one class, instances as rows
_TOGETHER: dict[type, Callable[[list[Any], Target, str], Packed]] = {
    Fourier: _pack_fourier,
    Gaussians: _pack_gaussians,
    Polynomial: _pack_polynomials,
    GridField: _pack_grids,
}


def _inner_axes(given: Any, d: int) -> list[tuple[Array, int]]:
    """The arrays of one data, and how many axes each has for one instance of d dimensions."""
    if isinstance(given, Fourier):
        return [(given.coefficients, 1)]
    if isinstance(given, Gaussians):
        return [(given.amplitude, 1), (given.center, 2), (given.width, 1)]
    if isinstance(given, PerVertex):
        return [(given.values, 1)]
    if isinstance(given, Polynomial):
        return [(given.coefficients, d)]
    if isinstance(given, GridField):
        return [(given.values, len(given.box[0]))]
    return [(given, 0)] if _arrays.kind(given) is not None else []


def as_function(packed: Packed) -> Callable[[int, np.ndarray], np.ndarray]:
    """f(instance, X) in absolute coordinates of any data but values at vertices."""
    if packed.kind == "function":
        function: Callable[[int, np.ndarray], np.ndarray] = packed.function
        return function
    if packed.kind == "number":
        value = float(packed.numbers[0, 0])  # type: ignore[index]
        return lambda instance, X: np.full(len(X), value)
    return lambda instance, X: np.asarray(packed.given(X), np.float64)


def as_given(gradient: np.ndarray, like: Array) -> Array:
    """A gradient in the parameter's own shape, dtype and kind; summed over the instances that shared it."""
    shape = tuple(like.shape)
    summed = _arrays.sum_to_shape(gradient, shape) if gradient.ndim >= len(shape) else gradient.reshape(shape)
    return _arrays.of_kind(_arrays.place(like), np.asarray(summed).reshape(shape).astype(_arrays.dtype_name(like)))
