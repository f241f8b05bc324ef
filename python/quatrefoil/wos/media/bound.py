"""The rate bound (7) of walks through media, from points of the domain. Equation numbers refer to csrc/wos/media/README.md."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._call import call
from ..._typing import Backend
from ..data.functions import Function, PerInstance
from ..data.packed import PackedData
from ..mesh import Boundary, TriangleMesh
from ..polygon import Ball
from ..query import closest_point
from ..solid import SDF, Box
from ..walk import PLACE
from .derivatives import derived, rates

Array = Any
STEP = 1e-3  # finite difference step of a function, in units of the diagonal
SAMPLES, ON_BOUNDARY = 4096, 1024  # points in the bounding box (only those inside are used), and points on the boundary
_ALMOST = 0.95  # fraction of the way from a point inside an SDF to its boundary
SPREAD, SLACK = 0.25, 1.01  # margins of the bound: a fraction of the range of values, and a factor


class Bound(NamedTuple):
    """``rows`` (B, 2): bound and finite difference step, in absolute units. ``largest`` (B,): the largest α at the sample points."""

    rows: np.ndarray
    largest: np.ndarray


def bound_of(
    diffusion: PackedData,
    screening: PackedData,
    boundary: Boundary,
    frame: np.ndarray,
    like: Array,
    backend: Backend | None,
    num_threads: int | None,
) -> Bound:
    """The bound for each row of ``frame``. Raises ValueError if α <= 0 or σ < 0. ``like``: an array of the type that functions receive."""
    shared, B = boundary._batch is None and diffusion.batch in (None, 1) and screening.batch in (None, 1), len(frame)
    bounds, largest = np.empty((B, 2)), np.empty(B)
    kinds = diffusion.kind, screening.kind
    numbers = on_host(diffusion.numbers), on_host(screening.numbers)
    functions = as_host_function(diffusion.function, like), as_host_function(screening.function, like)
    for b in range(min(B, 1) if shared else B):
        step = STEP * float(boundary._diagonal[b if len(boundary._diagonal) > 1 else 0])
        X = _samples(boundary, b, frame[b], backend, num_threads)
        alpha, sigma, rate = rates(kinds, numbers, functions, 0, b, frame[b], step, X)
        _check(alpha, alpha > 0, "diffusion", "positive numbers", X, frame[b])
        _check(sigma, sigma >= 0, "screening", "0 or more", X, frame[b])
        _check(rate, np.isfinite(rate), "the second derivative of diffusion", "finite numbers", X, frame[b])
        from_zero = max(rate.max(), 0.0) - min(rate.min(), 0.0)
        bounds[b] = SLACK * from_zero + SPREAD * (rate.max() - rate.min()), step
        largest[b] = alpha.max()
    return Bound(np.repeat(bounds[:1], B, axis=0), np.repeat(largest[:1], B)) if shared else Bound(bounds, largest)


def _check(values: np.ndarray, valid: np.ndarray, name: str, expected: str, X: np.ndarray, frame: np.ndarray) -> None:
    if not valid.all():
        k = int(np.argmin(valid))
        where = ", ".join(f"{x:.6g}" for x in frame[:-2] + frame[-2] * X[k])
        raise ValueError(f"solve: {name} is {values[k]:.6g} at ({where}), expected {expected} in the whole domain")


def _samples(whole: Boundary, b: int, frame: np.ndarray, backend: Backend | None, num_threads: int | None) -> np.ndarray:
    """Scaled points (n, d) of one instance's domain: well-spread points inside, and points on the boundary."""
    part = whole if whole._batch is None else whole._part_of(b, b + 1)
    d = part.dimension
    golden = 2.0
    for _ in range(64):  # x^(d + 1) = x + 1
        golden = (1 + golden) ** (1 / (d + 1))
    u = (0.5 + np.arange(1, SAMPLES + 1)[:, None] * golden ** -np.arange(1.0, d + 1)) % 1
    ends, first = part._arrays_of("numpy")
    outer: np.ndarray | None
    if isinstance(part, Ball):
        low, high, outer = np.full(d, -1.0), np.full(d, 1.0), 2 * u[:ON_BOUNDARY] - 1
        outer = outer / np.sqrt((outer**2).sum(axis=1, keepdims=True))
    elif isinstance(part, Box):
        high, outer = part._row(), 2 * u[:ON_BOUNDARY] - 1
        low, outer = -high, outer / np.abs(outer).max(axis=1, keepdims=True) * high
    elif isinstance(part, SDF):
        low, high, outer = (part.lo - frame[:-2]) / frame[-2], (part.hi - frame[:-2]) / frame[-2], None
    else:
        corners = np.asarray(ends).reshape(-1, d)
        low, high, outer = corners.min(axis=0), corners.max(axis=0), corners[:: max(1, len(corners) // ON_BOUNDARY)]
    closed = part.watertight if isinstance(part, TriangleMesh) else True
    memo = part._memo_of("numpy")

    def inside(X: np.ndarray) -> np.ndarray:
        start = call(PLACE, (X[None], frame[None], ends, first), (closed, False), (memo,), None, backend, num_threads)[0]
        return np.asarray(start[~np.isnan(start[:, 0])])

    X = low + u * (high - low)
    if isinstance(part, Ball) and d > 3:  # most points of the box are outside: shrink the box to the ball
        X = X * np.abs(X).max(axis=1, keepdims=True) / np.sqrt((X**2).sum(axis=1, keepdims=True))
    X = X * frame[-2] + frame[:-2]
    inner = inside(X)
    if outer is None:  # points inside an SDF close to its boundary, because its zeros are known only approximately
        some = (inner if len(inner) else (X - frame[:-2]) / frame[-2])[:ON_BOUNDARY] * frame[-2] + frame[:-2]
        outer = inside(some + _ALMOST * (closest_point(part, some).point - some))
    return np.concatenate([inner, outer])


def slopes(kind: str, numbers: Array, function: Any, first_instance: int, start: Array, frame: Array, bounds: Array) -> Array:
    """The slopes grad α / (2 α) at ``start``, (B, N, d), as an array of the same type."""
    x, rows, steps, row = (on_host(a) for a in (start, frame, bounds, numbers))
    result, host_function = np.zeros(x.shape), as_host_function(function, start)
    for b in range(len(x)):
        live = ~np.isnan(x[b, :, 0])
        if live.any():
            at = x[b, live].astype(np.float64)
            alpha, slope, _ = derived(kind, row, host_function, first_instance, b, rows[b], steps[b, 1], at)
            result[b, live] = slope / (2 * alpha[:, None])
    return _arrays.of_kind(_arrays.location(start), result)


def on_host(array: Array) -> Any:
    return None if array is None else _arrays.to_host(array)


def as_host_function(function: Any, like: Array) -> Any:
    """Convert a user's function of device arrays (on the device of ``like``) to one of NumPy arrays. Returns host functions unchanged."""
    if function is None or _arrays.on_host(like):
        return function

    def on_device(instance: int, X: np.ndarray) -> np.ndarray:
        one = function.parts[instance - function.first] if isinstance(function, PerInstance) else function
        if not isinstance(one, Function):  # compiled code
            return np.asarray(one(instance, X))
        return _arrays.to_host(one.function(_arrays.to_device_of(np.ascontiguousarray(X, one.dtype), like))).astype(np.float64)

    return on_device
