"""Data in the form that kernels use: parameters in scaled coordinates, one row per instance or one row for all.

Plain array code for NumPy arrays and tensors, so that torch can differentiate it. ``PackedData.pull`` is its transpose, for NumPy arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._arguments import host_array
from ..region import Region

Array = Any
Parameters = dict[str, Any]  # name -> gradient, with the array type of the parameter
_NAMES = {4: "float32", 8: "float64"}  # by itemsize; asking NumPy for the name takes a microsecond
Pull = Callable[[np.ndarray], Parameters]


class PackedData(NamedTuple):
    """``numbers`` (rows, width) with 1 or B rows, or a ``function``. ``pull`` turns a gradient for ``numbers`` into one for the parameters.

    ``linear``: the columns, or a mask of the numbers, on which the data depend linearly. ``first``: the first segment of each polygon, if
    all polygons share a row.
    """

    kind: str
    batch: int | None = None
    numbers: Array | None = None
    function: Any = None
    pull: Pull | None = None
    user_data: Any = None
    linear: slice | np.ndarray = slice(None)
    first: np.ndarray | None = None

    def of_instances(self, begin: int, end: int) -> Array | None:
        """The parameters of instances [begin, end)."""
        if self.numbers is None or (self.first is None and len(self.numbers) == 1):
            return self.numbers
        return self.numbers[begin:end] if self.first is None else self.numbers[:, 2 * self.first[begin] : 2 * self.first[end]]


NOTHING = PackedData("none")


class Target(NamedTuple):
    """The boundary, the array type (with the device) and the dtype of the arrays of a call."""

    boundary: Region
    kind: str
    dtype: np.dtype

    def parameter(self, array: Array, name: str) -> Array:
        """Convert a parameter to float64 in its own array type, differentiably.

        Raises TypeError if its array type, device or dtype differs from that of the points.
        """
        if isinstance(array, _arrays.Untyped):
            return self.array(np.asarray(array))
        host_array(array, "solve", name, device="keep", differentiable=True)
        kind, location = _arrays.kind(array), _arrays.location(array)
        if location != self.kind:
            mine, _, where = self.kind.partition("@")
            if kind == mine:
                devices = f"{name} is on {_arrays.device(array)} but points is on {where or 'cpu'}"
                raise TypeError(f"solve: {devices}; all arrays of a call must be on one device; move one of them")
            raise TypeError(f"solve: {name} is a {kind} array but points is a {mine} array; all arrays of a call must be from one library")
        if (dtype := _arrays.dtype_name(array)) != _NAMES[self.dtype.itemsize]:
            raise TypeError(f"solve: {name} has dtype {dtype} but points has {self.dtype}; convert one of them")
        return _arrays.double(array)

    def array(self, x: np.ndarray) -> Array:
        return _arrays.of_kind(self.kind, x)

    @property
    def namespace(self) -> Any:
        return _arrays.namespace_of(self.kind)


def describe(data: Any) -> str:
    """A short description: the shape of an array, the name of a function."""
    if _arrays.kind(data) is not None:
        return str(tuple(data.shape))
    if isinstance(data, (list, tuple)):
        inner = f"{', '.join(map(describe, data[:3]))}{', ...' if len(data) > 3 else ''}"
        return f"[{inner}]" if isinstance(data, list) else f"({inner})"
    return getattr(data, "__qualname__", None) or repr(data)


class DataClass:
    """Base class of data other than numbers and functions. Kernels evaluate them from their parameters."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name} {describe(x)}' for name, x in vars(self).items())})"

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        """The arrays, and the number of axes of each for one instance in d dimensions."""
        raise NotImplementedError

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        """The number of instances, or None without a leading B. Raises ValueError if the shapes do not match the boundary."""
        raise NotImplementedError

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """Pack data after ``_check``: one object for all instances or with a leading B, or a sequence with one per instance."""
        raise NotImplementedError


def with_arrays(data: Any, change: Callable[[Array], Array]) -> Any:
    """A copy of the data with changed arrays."""
    if data is None or data.__class__ is float:
        return data
    if isinstance(data, (list, tuple)):
        return (list if isinstance(data, list) else tuple)([with_arrays(g, change) for g in data])
    if isinstance(data, DataClass):
        again = object.__new__(type(data))
        again.__dict__.update({name: x if x.__class__ is tuple else with_arrays(x, change) for name, x in vars(data).items()})
        return again
    return data if _arrays.kind(data) is None else change(data)


def any_requires_grad(data: Any) -> bool:
    flags: list[bool] = []

    def look(array: Array) -> Array:
        flags.append(bool(getattr(array, "requires_grad", False)))
        return array

    with_arrays(data, look)
    return any(flags)


def copied(array: Array) -> Array:
    if isinstance(array, np.ndarray):
        return array.copy() if array.__class__ is np.ndarray else np.array(array, subok=isinstance(array, _arrays.Untyped))
    return array.clone() if hasattr(array, "clone") else array.copy()


def detached(array: Array) -> Array:
    return array.detach() if hasattr(array, "detach") else array


def common(sizes: Sequence[int | None], label: str, name: str) -> int | None:
    """The common number of instances of the parameters; 1 broadcasts."""
    several = {n for n in sizes if n is not None}
    if len(several - {1}) > 1:
        raise ValueError(f"{label}: {name} has parameters for {sorted(several)} instances, expected the same number for all")
    return max(several) if several and 0 not in several else 0 if several else None


def instances(array: Array, axes: int, boundary: Region, label: str, name: str) -> int | None:
    """The length of the leading axis of an array with ``axes`` other axes. Raises ValueError if it does not match the boundary."""
    if array.ndim == axes:
        return None
    if boundary._batch is not None and len(array) not in (1, boundary._count):
        raise ValueError(f"{label}: {name} has shape {tuple(array.shape)}, {len(array)} instances, but the boundary has {boundary._count}")
    return len(array)


def table(head: Sequence[float], rows: Array, target: Target) -> Array:
    """Prepend the same numbers to every row of (rows, ...)."""
    first = target.array(np.tile(np.array(head, np.float64), (len(rows), 1)))
    return target.namespace.concatenate([first, rows.reshape(len(rows), math.prod(rows.shape[1:]))], 1)


def stacked(parts: list[Array], xp: Any) -> Array:
    """Concatenate rows, padded with zeros."""
    width = max(p.shape[1] for p in parts)
    full = [xp.concatenate([p, xp.broadcast_to(xp.zeros_like(p[:, :1]), (len(p), width - p.shape[1]))], 1) for p in parts]
    return full[0] if len(full) == 1 else xp.concatenate(full)


def as_given(gradient: np.ndarray, like: Array) -> Array:
    """A gradient in the parameter's own shape, dtype and array type, summed over the instances that share it."""
    shape = tuple(like.shape)
    summed = _arrays.sum_to_shape(gradient, shape) if gradient.ndim >= len(shape) else gradient.reshape(shape)
    return _arrays.of_kind(_arrays.location(like), np.asarray(summed).reshape(shape).astype(_arrays.dtype_name(like)))
