"""Boundary values and sources: numbers, Fourier series, sums of Gaussians, values at vertices, functions."""

from __future__ import annotations

import importlib.util
import math
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arrays
from .polygon import Ball, Polygon, as_numpy, check_finite

Array = Any
Boundary = Polygon | Ball
NONE, NUMBER, FOURIER, PER_VERTEX, GAUSSIANS, CALLBACK = range(6)  # as in csrc/wos/args.hpp


class Fourier:
    """g = a0 + sum_m a_m cos(m theta) + b_m sin(m theta), theta = atan2(y - center_y, x - center_x). Two dimensions.

    Parameters
    ----------
    coefficients : (K,) or (B, K), K odd
        [a0, a1, b1, a2, b2, ...].
    center : two real numbers
    """

    def __init__(self, coefficients: Array, center: Any = (0.0, 0.0)) -> None:
        c = as_numpy(coefficients, "Fourier", "coefficients", differentiable=True)
        if c.ndim not in (1, 2) or c.shape[-1] % 2 == 0:
            raise ValueError(f"Fourier: coefficients has shape {c.shape}, expected (K,) or (B, K) with K odd: a0, a1, b1, ...")
        check_finite(c, "Fourier", "coefficients")
        self.coefficients = coefficients
        self.center = tuple(float(x) for x in center)
        if len(self.center) != 2 or not all(math.isfinite(x) for x in self.center):
            raise ValueError(f"Fourier: center is {center}, expected two finite numbers")

    def modes(self, X: np.ndarray) -> np.ndarray:
        """(..., 2) -> (..., K): the functions that the coefficients multiply."""
        theta = np.arctan2(X[..., 1] - self.center[1], X[..., 0] - self.center[0])[..., None]
        K = as_numpy(self.coefficients, "Fourier", "coefficients", differentiable=True).shape[-1]
        m = np.arange(1, (K + 1) // 2)
        waves = np.stack([np.cos(m * theta), np.sin(m * theta)], axis=-1).reshape(*X.shape[:-1], K - 1)
        return np.concatenate([np.ones_like(theta), waves], axis=-1)


class PerVertex:
    """Values at the vertices of a polygon, linear along its segments.

    Parameters
    ----------
    values : (M,) or (B, M), or a list of B arrays (M_b,) where the polygons differ in M
        Outer ring first, then the holes.
    """

    def __init__(self, values: Array | list[Array]) -> None:
        for b, v in enumerate(values if isinstance(values, (list, tuple)) else [values]):
            a = as_numpy(v, "PerVertex", "values" if v is values else f"values[{b}]", differentiable=True)
            if a.ndim not in ((1,) if isinstance(values, (list, tuple)) else (1, 2)):
                raise ValueError(f"PerVertex: values has shape {a.shape}, expected (M,) or (B, M)")
            check_finite(a, "PerVertex", "values")
        self.values = values


class Gaussians:
    """sum_j amplitude_j exp(-|x - center_j|^2 / width_j^2).

    Parameters
    ----------
    amplitude : (J,) or (B, J)
    center : (J, d) or (B, J, d)
    width : number, (J,) or (B, J)
        Positive.
    """

    def __init__(self, amplitude: Array, center: Array, width: float | Array) -> None:
        a, c = as_numpy(amplitude, "Gaussians", "amplitude"), as_numpy(center, "Gaussians", "center")
        w = np.asarray(float(width)) if isinstance(width, (int, float)) else as_numpy(width, "Gaussians", "width")
        if a.ndim not in (1, 2) or c.ndim not in (2, 3) or c.shape[-2] != a.shape[-1] or (w.ndim and w.shape[-1] != a.shape[-1]):
            raise ValueError(
                f"Gaussians: amplitude {a.shape}, center {c.shape}, width {w.shape}; expected (J,), (J, d) and (J,), with B first or not"
            )
        for name, array in (("amplitude", a), ("center", c), ("width", w)):
            check_finite(array, "Gaussians", name)
        if not (w > 0).all():
            raise ValueError("Gaussians: width must be positive")
        self.amplitude, self.center, self.width = amplitude, center, width

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, c = as_numpy(self.amplitude, "Gaussians", "amplitude"), as_numpy(self.center, "Gaussians", "center")
        w = np.asarray(float(self.width)) if isinstance(self.width, (int, float)) else as_numpy(self.width, "Gaussians", "width")
        return a.astype(np.float64), c.astype(np.float64), w.astype(np.float64)


@dataclass
class Packed:
    """Data as the walks need it. ``numbers`` holds ``width`` numbers an instance, ``stride`` apart, in scaled coordinates."""

    kind: int
    batch: int | None = None
    numbers: np.ndarray | None = None
    width: int = 0
    stride: int = 0
    function: Any = None  # f(instance, X (n, d)) -> (n,) float64
    compiled: Any = None  # a numba.cfunc that must live as long as this
    given: Any = None

    def native(self) -> tuple[Any, ...]:
        target = self.function if self.compiled is None else int(self.compiled.address)
        return self.kind, self.numbers, self.width, self.stride, target

    def evaluate(self, instance: int, scaled: np.ndarray, absolute: np.ndarray, segment: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The same values by NumPy: at ``scaled`` (n, d), or on global segments at ``place``."""
        if self.kind == CALLBACK:
            out: np.ndarray = self.function(instance, absolute)
            return out
        assert self.numbers is not None
        if self.kind == PER_VERTEX:
            pair = self.numbers[segment]
            return np.asarray(pair[:, 0] + place * (pair[:, 1] - pair[:, 0]))
        p = self.numbers.reshape(-1)[instance * self.stride :][: self.width]
        if self.kind == NUMBER:
            return np.full(len(scaled), p[0])
        if self.kind == FOURIER:
            return np.asarray(Fourier(p[2:], p[:2]).modes(scaled) @ p[2:])
        bells = p.reshape(-1, scaled.shape[1] + 2)
        r2 = ((scaled[:, None, :] - bells[:, 1:-1]) ** 2).sum(axis=-1)
        return np.asarray(np.exp(-r2 * bells[:, -1]) @ bells[:, 0])


class _Function:
    """A user's function, called with the points' dtype; its shape is checked at every call."""

    def __init__(self, function: Callable[..., Any], dimension: int, dtype: np.dtype, name: str) -> None:
        self.function, self.dimension, self.dtype, self.name = function, dimension, dtype, name

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        values = self.function(X.astype(self.dtype, copy=False))
        shape = getattr(values, "shape", None)
        if shape != (len(X),):
            got = repr(values) if shape is None else f"shape {shape}"
            raise ValueError(f"solve: {self.name}(X) with X of shape {X.shape} gave {got}, expected shape {(len(X),)}")
        return np.ascontiguousarray(values, np.float64)


class _OneEach:
    """B data of several kinds, one an instance."""

    def __init__(self, parts: list[Packed], boundary: Boundary) -> None:
        self.parts, self.boundary, self.dimension = parts, boundary, boundary.dimension

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        b = self.boundary
        at = instance if b.count > 1 else 0
        scaled = (X - b.centre[at]) / b.extent[at]
        return np.ascontiguousarray(self.parts[instance].evaluate(instance, scaled, X, np.zeros(0, np.int64), np.zeros(0)))


_compiled: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()


def _compile(function: Any, dimension: int) -> Any:
    """An njit function behind ``void(int64 n, const double* x, double* out)``, once for every dimension."""
    import numba
    from numba import carray, cfunc, types

    known = _compiled.setdefault(function, {})
    if dimension not in known:
        pointer = types.CPointer(types.float64)

        def block(n: Any, x: Any, out: Any) -> None:
            values = function(carray(x, (n, dimension)))
            given = carray(out, (n,))
            for i in range(n):
                given[i] = values[i]

        assert numba is not None
        known[dimension] = cfunc(types.void(types.int64, pointer, pointer))(block)
    return known[dimension]


def _is_njit(f: Any) -> bool:
    numba = sys.modules.get("numba")
    return numba is not None and isinstance(f, numba.core.dispatcher.Dispatcher)


def _is_cfunc(f: Any) -> bool:
    numba = sys.modules.get("numba")
    return numba is not None and isinstance(f, numba.core.ccallback.CFunc)


def pack(given: Any, boundary: Boundary, points: np.ndarray, points_kind: str, name: str) -> Packed:
    """Check one of solve's data against the boundary and the points."""
    if given is None:
        return Packed(NONE)
    if isinstance(given, (list, tuple)):
        packed = _pack_list(list(given), boundary, points, points_kind, name)
    elif isinstance(given, Fourier):
        packed = _pack_fourier(given, boundary, points, points_kind, name)
    elif isinstance(given, PerVertex):
        packed = _pack_per_vertex(given, boundary, points, points_kind, name)
    elif isinstance(given, Gaussians):
        packed = _pack_gaussians(given, boundary, points, points_kind, name)
    elif isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        packed = Packed(NUMBER, numbers=np.array([float(given)]), width=1)
    elif _arrays.kind(given) is not None:
        array = _parameters(given, points, points_kind, name)
        if array.ndim > 1:
            raise ValueError(f"solve: {name} has shape {array.shape}, expected a number or (B,) numbers")
        batch = None if array.ndim == 0 else len(array)
        packed = Packed(NUMBER, batch, np.ascontiguousarray(array.reshape(-1), np.float64), 1, 0 if batch is None else 1)
    elif callable(given) or _is_cfunc(given):
        packed = _pack_function(given, boundary, points, name)
    else:
        raise TypeError(
            f"solve: {name} is {type(given).__name__}, expected a number, Fourier, Gaussians, PerVertex, a function, or a list of them"
        )
    if packed.numbers is not None and packed.kind == NUMBER:
        check_finite(packed.numbers, "solve", name)
    packed.given = given
    return packed


def _parameters(array: Array, points: np.ndarray, points_kind: str, name: str) -> np.ndarray:
    values = as_numpy(array, "solve", name, differentiable=name.startswith(("dirichlet.coefficients", "dirichlet.values")))
    if _arrays.kind(array) != points_kind:
        raise TypeError(
            f"solve: {name} is a {_arrays.kind(array)} array but points is a {points_kind} array; all arrays of a call must be of one kind"
        )
    if values.dtype != points.dtype:
        raise TypeError(f"solve: {name} has dtype {values.dtype} but points has {points.dtype}; convert one of them")
    return values


def _batched(array: np.ndarray, inner: int) -> tuple[int | None, np.ndarray]:
    return (None, array[None]) if array.ndim == inner else (len(array), array)


def _pack_fourier(given: Fourier, boundary: Boundary, points: np.ndarray, kind: str, name: str) -> Packed:
    if boundary.dimension != 2:
        raise ValueError(f"solve: {name} is Fourier data, which needs two dimensions; the boundary has {boundary.dimension}")
    batch, c = _batched(_parameters(given.coefficients, points, kind, name + ".coefficients"), 1)
    centre = (np.array(given.center) - boundary.centre) / boundary.extent[:, None]
    rows = max(len(c), len(centre))
    numbers = np.concatenate([np.broadcast_to(centre, (rows, 2)), np.broadcast_to(c, (rows, c.shape[1]))], axis=1)
    return Packed(FOURIER, batch, np.ascontiguousarray(numbers), numbers.shape[1], numbers.shape[1] if rows > 1 else 0)


def _pack_gaussians(given: Gaussians, boundary: Boundary, points: np.ndarray, kind: str, name: str) -> Packed:
    for part in ("amplitude", "center", "width"):
        if _arrays.kind(getattr(given, part)) is not None:
            _parameters(getattr(given, part), points, kind, f"{name}.{part}")
    a, c, w = given.arrays()
    if c.shape[-1] != boundary.dimension:
        raise ValueError(f"solve: {name}.center has {c.shape[-1]} coordinates, the boundary {boundary.dimension}")
    J = a.shape[-1]
    w = np.broadcast_to(w, (J,)) if w.ndim == 0 else w
    parts = [_batched(a, 1), _batched(c, 2), _batched(w, 1)]
    batches = {n for n, _ in parts if n is not None}
    if len(batches) > 1:
        raise ValueError(f"solve: {name} has parameters of {sorted(batches)} instances")
    batch = batches.pop() if batches else None
    rows = max(batch or 1, boundary.count)
    scaled = (np.broadcast_to(parts[1][1], (rows, *c.shape[-2:])) - boundary.centre[:, None]) / boundary.extent[:, None, None]
    extent2 = (boundary.extent**2)[:, None]
    bells = np.concatenate(
        [
            np.broadcast_to(parts[0][1], (rows, J))[..., None],
            scaled,
            np.broadcast_to(extent2 / parts[2][1] ** 2, (rows, J))[..., None],
        ],
        axis=-1,
    )
    numbers = np.ascontiguousarray(bells.reshape(rows, -1))
    return Packed(GAUSSIANS, batch, numbers, numbers.shape[1], numbers.shape[1] if rows > 1 else 0)


def _pack_per_vertex(given: PerVertex, boundary: Boundary, points: np.ndarray, kind: str, name: str) -> Packed:
    if not isinstance(boundary, Polygon) or name != "dirichlet":
        raise ValueError(f"solve: {name} is PerVertex data, which only a polygon's dirichlet can be")
    sizes = np.diff(boundary.first_vertex)
    if isinstance(given.values, (list, tuple)):
        rows = [_parameters(v, points, kind, f"{name}.values[{b}]") for b, v in enumerate(given.values)]
        batch: int | None = len(rows)
    else:
        batch, table = _batched(_parameters(given.values, points, kind, name + ".values"), 1)
        rows = list(table) if batch is not None or boundary.batch is None else [table[0]] * boundary.count
    shared = boundary.batch is None
    if not shared and batch is not None and len(rows) != boundary.count:
        raise ValueError(f"solve: {name}.values has {len(rows)} instances, the boundary {boundary.count}")
    for b, row in enumerate(rows):
        M = int(sizes[0 if shared else b])
        if len(row) != M:
            raise ValueError(f"solve: {name}.values[{b}] has shape {row.shape}, but polygon {b} has {M} vertices: expected ({M},)")
    if shared:
        pairs = np.array([np.asarray(r, np.float64)[boundary.pairs] for r in rows]).reshape(-1, 2)
        return Packed(PER_VERTEX, batch, np.ascontiguousarray(pairs), 0, len(boundary.pairs) if batch is not None else 0)
    flat = np.concatenate([np.asarray(r, np.float64) for r in rows]) if rows else np.empty(0)
    return Packed(PER_VERTEX, batch, np.ascontiguousarray(flat[boundary.pairs]))


def _pack_function(given: Any, boundary: Boundary, points: np.ndarray, name: str) -> Packed:
    if importlib.util.find_spec("numba") and (_is_njit(given) or _is_cfunc(given)):
        d = boundary.dimension
        if _is_cfunc(given):
            return Packed(CALLBACK, function=_Pointer(given, d), compiled=given)
        check = _Function(given, d, np.dtype(np.float64), name)
        probe = boundary.centre[0] + boundary.extent[0] * np.array([[0.1] * d, [-0.1] * d, [0.05] * d])
        check(0, np.ascontiguousarray(probe))  # compiled code cannot raise: a wrong shape shows here
        return Packed(CALLBACK, function=check, compiled=_compile(given, d))
    return Packed(CALLBACK, function=_Function(given, boundary.dimension, points.dtype, name))


class _Pointer:
    """A numba.cfunc, called from NumPy."""

    def __init__(self, compiled: Any, dimension: int) -> None:
        self.compiled, self.dimension = compiled, dimension

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        X, out = np.ascontiguousarray(X, np.float64), np.empty(len(X))
        import ctypes

        pointer = ctypes.POINTER(ctypes.c_double)
        self.compiled.ctypes(len(X), X.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        return out


def _pack_list(given: list[Any], boundary: Boundary, points: np.ndarray, kind: str, name: str) -> Packed:
    if boundary.batch is not None and len(given) != boundary.count:
        raise ValueError(f"solve: {name} is a list of {len(given)}, the boundary has {boundary.count} instances")
    if any(isinstance(g, PerVertex) for g in given):
        if not all(isinstance(g, PerVertex) for g in given):
            raise ValueError(f"solve: {name} mixes PerVertex with other data; give functions instead")
        return _pack_per_vertex(PerVertex([g.values for g in given]), boundary, points, kind, name)
    parts = []
    for b, g in enumerate(given):
        part = pack(g, boundary, points, kind, f"{name}[{b}]")
        if part.batch is not None:
            raise ValueError(f"solve: {name}[{b}] has instances of its own")
        if part.kind == NONE:
            raise TypeError(f"solve: {name}[{b}] is None")
        parts.append(part)
    if all(p.kind == NUMBER for p in parts):
        return Packed(NUMBER, len(parts), np.array([p.numbers[0] for p in parts if p.numbers is not None]), 1, 1)
    return Packed(CALLBACK, len(parts), function=_OneEach(parts, boundary))
