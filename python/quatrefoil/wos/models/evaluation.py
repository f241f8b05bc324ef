"""Evaluates data with NumPy at points in absolute coordinates, one data set at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import host_array, is_number, number
from ..data import PerVertex
from ..data.functions import Compiled, Function, is_cfunc, is_function, is_njit
from ..data.pack import KINDS
from ..data.packed import DataClass, with_arrays

_POINTS = 1 << 15  # points evaluated together


def sets_of(data: Any, d: int, label: str, name: str) -> tuple[int | None, list[Any]]:
    """The leading B of ``data`` in d dimensions, or None, and the data of each instance. Raises TypeError for anything that is not data."""
    if isinstance(data, (list, tuple)):
        parts = [sets_of(part, d, label, f"{name}[{i}]") for i, part in enumerate(data)]
        if any(batch is not None for batch, _ in parts):
            raise ValueError(f"{label}: {name} is a list whose entries have several instances, expected data of one instance each")
        return len(parts), [one for _, (one,) in parts]
    if is_number(data):
        return None, [number(data, label, name, negative=True)]
    if isinstance(data, DataClass):
        return _sets_of_class(data, d)
    if _arrays.kind(data) is not None:
        values = host_array(data, label, name)
        if values.ndim > 1:
            raise ValueError(f"{label}: {name} has shape {values.shape}, expected a number or (B,) numbers")
        return None if values.ndim == 0 else len(values), values.reshape(-1).tolist()
    if not is_function(data):
        raise TypeError(f"{label}: {name} is {type(data).__name__}, expected {KINDS}")
    return None, [data]


def _sets_of_class(data: DataClass, d: int) -> tuple[int | None, list[Any]]:
    if isinstance(data, PerVertex) and isinstance(data.values, list):
        return len(data.values), [PerVertex(v) for v in data.values]
    arrays = [x for x, axes in data._parameters(d) if getattr(x, "ndim", 0) > axes]
    if not arrays:
        return None, [data]
    batch = max(map(len, arrays))

    def one(b: int) -> Any:
        own = {id(x): x[b if len(x) > 1 else 0] for x in arrays}
        return with_arrays(data, lambda x: own.get(id(x), x))

    return batch, [one(b) for b in range(batch)]


def at_points(data: Any, X: np.ndarray, label: str, name: str) -> np.ndarray:
    """Float64 values (n,) of one data set, except PerVertex, at points (n, d) in absolute coordinates."""
    if isinstance(data, float):
        return np.full(len(X), data)
    if isinstance(data, PerVertex):
        raise ValueError(f"{label}: {name} is PerVertex data, which is defined only on the boundary of a polygon or mesh")
    function: Any = data if isinstance(data, DataClass) else _called(data, label, name)
    parts = [np.asarray(function(X[at : at + _POINTS]), np.float64) for at in range(0, len(X), _POINTS)]
    return np.concatenate([np.zeros(0), *parts])


def _called(function: Any, label: str, name: str) -> Callable[[np.ndarray], np.ndarray]:
    if is_cfunc(function):
        compiled = Compiled(function)
        return lambda X: compiled(0, X)
    if is_njit(function):
        return lambda X: np.asarray(function(X))
    checked = Function(function, np.dtype(np.float64), name, label)
    return lambda X: checked(0, X)
