"""Domains: boxes of intervals in the forms that callers may pass, and the map of an interval to [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._arguments import arrays_like, is_number, real, reject_masked

Domain = Sequence[Any]  # (lo, hi), one such pair per axis, or 2 * d numbers in one sequence

_PLAIN = (int, float)
_LARGEST = 1e300  # so that no width overflows
UNIT = (-1, 1)  # the default, recognised by identity


def flat_domain(domain: Any, d: int, label: str) -> tuple[float, ...]:
    """Convert a caller's domain to (lo_1, hi_1, lo_2, hi_2, ...)."""
    if domain is UNIT:
        return (-1.0, 1.0) * d
    if type(domain) is tuple and len(domain) == 2:  # one pair for all axes, the common case
        lo, hi = domain
        if type(lo) in _PLAIN and type(hi) in _PLAIN and -_LARGEST < lo < hi < _LARGEST:
            return (float(lo), float(hi)) * d
    return _flat_domain(_frozen(domain), d, label)


def axes_of(domain: Any) -> int | None:
    """The number of axes of a domain; None if it is one pair for all axes."""
    frozen = _frozen(domain)
    if isinstance(frozen, tuple) and frozen and all(isinstance(pair, tuple) for pair in frozen):
        return len(frozen)
    return len(frozen) // 2 if isinstance(frozen, tuple) and len(frozen) > 2 else None


def box_of(X: np.ndarray) -> tuple[float, ...]:
    """The bounding box of points (P, d) as a flat domain; a coordinate that is the same at all points gets an interval around its value."""
    if not len(X):
        return (-1.0, 1.0) * int(X.shape[1])
    lo, hi = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    width = np.where(lo < hi, 0, np.where(lo == 0, 1, abs(lo)))
    return tuple(np.stack([lo - width, hi + width], axis=1).ravel().tolist())


def _frozen(value: Any) -> Any:
    if type(value) is tuple and all(type(x) in _PLAIN for x in value):
        return value
    reject_masked(value, "cheb", "domain")
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _flat_domain(domain: Any, d: int, label: str) -> tuple[float, ...]:
    expected = f"expected (lo, hi) or {d} such pairs"
    if not isinstance(domain, tuple):
        raise TypeError(f"{label}: domain is {type(domain).__name__}, {expected}")
    flat: list[Any] = []
    for entry in domain:
        flat += entry if isinstance(entry, tuple) else (entry,)
    if not all(map(is_number, flat)):
        raise TypeError(f"{label}: domain is {domain!r}, expected real numbers")
    if len(domain) == 2 and all(isinstance(entry, tuple) and len(entry) > 2 for entry in domain):
        raise ValueError(f"{label}: domain is {domain!r}, two corners, expected one pair per axis; pass list(zip(lo, hi))")
    pairs = all(isinstance(entry, tuple) and len(entry) == 2 for entry in domain)
    if len(flat) == 2 and not pairs:
        flat *= d
    if len(flat) != 2 * d or not (pairs or not any(isinstance(entry, tuple) for entry in domain)):
        raise ValueError(f"{label}: domain is {domain!r}, {expected}")
    numbers = tuple(real(x, label, "an entry of domain") for x in flat)
    for k in range(d):
        lo, hi = numbers[2 * k : 2 * k + 2]
        if not -_LARGEST < lo < hi < _LARGEST:
            raise ValueError(f"{label}: the domain of axis {k} is [{lo}, {hi}], expected finite numbers lo < hi, one pair per axis")
    return numbers


def interval(lo: float, hi: float, eps: float) -> tuple[float, float, float, float]:
    """lo + hi and its rounding error (Knuth's two-sum), hi - lo, and how far |t| may exceed 1."""
    total = lo + hi
    part = total - lo
    error = (lo - (total - part)) + (hi - part)
    width = hi - lo
    return total, error, width, 48 * eps * max(abs(lo), abs(hi)) / (width / 2)


def to_reference(x: Any, lo: float, hi: float) -> Any:
    """Map float64 points of [lo, hi], in any kind of array, to [-1, 1] (1)."""
    total, error, width, _ = interval(lo, hi, 0.0)
    return ((2 * x - total) - error) / width


def reference(x: np.ndarray, axis: int, pair: tuple[float, float], label: str) -> np.ndarray:
    """Points of one axis mapped to [-1, 1], with the checks of ``tucker_eval``."""
    lo, hi = pair
    t: np.ndarray = to_reference(x.astype(np.float64), lo, hi)
    bad = ~(np.abs(t) <= 1 + interval(lo, hi, float(np.finfo(x.dtype).eps))[3])
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{label}: point {i} of axis {axis} is {x[i]}, expected a number within the domain [{lo}, {hi}]")
    return np.clip(t, -1, 1)


def number_text(x: float) -> str:
    """The shortest text that identifies a number, as in error messages of kernels."""
    return repr(float(x)).removesuffix(".0")


def points_of(coordinates: Sequence[Any], core: Any, d: int, label: str) -> tuple[Any, tuple[int, ...]]:
    """Points (P, d) in the array type of ``core``, from one array (..., d) or d arrays of coordinates; and the shape of values at them."""
    if len(coordinates) == 1:
        X = coordinates[0]
        if hasattr(X, "dtype") and X.dtype == core.dtype and len(X.shape) == 2 and (d > 1 or X.shape[1] == 1):
            return X, tuple(X.shape[:1])  # the common case
        X = _alike(core, coordinates, label, ["X"])[0]
        shape = tuple(X.shape)
        if len(shape) == 2 and (d > 1 or shape[1] == 1):
            return X, shape[:1]
        if d == 1 and len(shape) < 2:
            return X.reshape(-1, 1), shape
        if not shape or shape[-1] != d:
            fix = "; pass arrays of coordinates as *X" if shape[:1] == (d,) and len(shape) > 2 else ""
            raise ValueError(f"{label}: X has shape {shape}, expected (P, {d}), ({d},) for one point, or {d} arrays of coordinates{fix}")
        return X.reshape(-1, d), shape[:-1]
    if len(coordinates) != d:
        raise TypeError(
            f"{label}: got {len(coordinates)} arrays of coordinates, expected {d}, one per axis, or an array of points (P, {d})"
        )
    parts = _alike(core, coordinates, label, ["x", "y", "z"] if d <= 3 else [f"x{k}" for k in range(d)])
    xp = _arrays.namespace(parts[0])
    try:
        parts = xp.broadcast_arrays(*parts) if _arrays.kind(parts[0]) != "torch" else xp.broadcast_tensors(*parts)
    except (ValueError, RuntimeError):
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise ValueError(f"{label}: the coordinates have shapes {shapes}, expected shapes that broadcast") from None
    return xp.stack(list(parts), -1).reshape(-1, d), tuple(parts[0].shape)


def _alike(core: Any, values: Sequence[Any], label: str, names: Sequence[str]) -> list[Any]:
    """Convert ``values`` to arrays; TypeError if their array type or dtype differs from that of ``core``."""
    arrays = arrays_like((core, *values), label, ("core", *names))[1:]
    for a, name in zip(arrays, names):
        if _arrays.kind(a) != (kind := _arrays.kind(core)):
            fix = moved_core(a, core) or f"convert it: {_arrays.moved(name, str(kind))}"
            raise TypeError(f"{label}: {name} is {_arrays.describe(a)}, but core is {_arrays.describe(core)}; {fix}")
        if a.dtype != core.dtype:
            dtypes = f"{_arrays.dtype_name(a)}, but core has {_arrays.dtype_name(core)}"
            raise TypeError(f"{label}: {name} has dtype {dtypes}; convert it: {_arrays.converted(a, name, _arrays.dtype_name(core))}")
    return arrays


def moved_core(points: Any, core: Any) -> str | None:
    """A hint for an error message if points are tensors and the core is a NumPy array."""
    if _arrays.kind(points) != "torch" or _arrays.kind(core) != "numpy":
        return None
    return f"convert the ChebTucker: ct = ct.to({points.dtype})"


def shaped(values: Any, shape: tuple[int, ...]) -> Any:
    """Values (P, ...) with the axes of the points reshaped to ``shape``; a NumPy scalar instead of a 0-d array."""
    result = values.reshape((*shape, *values.shape[1:]))
    return result[()] if isinstance(result, np.ndarray) and not result.ndim else result
