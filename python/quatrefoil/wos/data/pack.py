"""Checks the data arguments of ``solve`` against a boundary and packs them for kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array_like, finite, host_array, number
from ..region import Region
from .functions import PerInstance, is_function, wrap
from .packed import NOTHING, Array, DataClass, PackedData, Target, any_requires_grad, as_given
from .per_vertex import PerVertex

KINDS = "a number, Fourier, PerVertex, Gaussians, Polynomial, GridField, a function, or a list of them"


def is_varying(data: Any) -> bool:
    """Whether ``data`` is a function of position, or has one number per instance, and so is not a single number."""
    if data is None or data.__class__ is float:
        return False
    return isinstance(data, (DataClass, list, tuple)) or _arrays.kind(data) is not None or is_function(data)


def check(data: Any, boundary: Region, label: str, name: str) -> int | None:
    """The number of instances of data, or None without a leading B. Raises an error if they do not match the boundary."""
    if data.__class__ is float or data.__class__ is int or isinstance(data, (np.integer, np.floating)):
        number(data, label, name, negative=True)
        return None
    if data is None:
        return None
    if isinstance(data, (list, tuple)):
        return _check_list(list(data), boundary, label, name)
    if isinstance(data, DataClass):
        return data._check(boundary, label, name)
    if _arrays.kind(data) is not None:
        array = array_like(data, label, name)
        if array.ndim > 1:
            raise ValueError(
                f"{label}: {name} has shape {tuple(array.shape)}, expected a number or (B,) numbers; "
                "for values on a grid pass GridField(values, box)"
            )
        finite(host_array(array, label, name, device="keep", differentiable=True), label, name)
        return None if array.ndim == 0 else len(array)
    if not is_function(data):
        raise TypeError(f"{label}: {name} is {type(data).__name__}, expected {KINDS}")
    return None


def _check_list(data: list[Any], boundary: Region, label: str, name: str) -> int:
    if boundary._batch is not None and len(data) not in (1, boundary._count):
        raise ValueError(f"{label}: {name} is a list of length {len(data)}, but the boundary has {boundary._count} instances")
    for i, g in enumerate(data):
        if g is None:
            raise TypeError(f"{label}: {name}[{i}] is None, expected data of one instance")
        if any(getattr(x, "ndim", axes) > axes for x, axes in _parameters(g, boundary.dimension)):
            raise ValueError(f"{label}: {name}[{i}] has several instances, expected data of one instance")
    if any(isinstance(g, PerVertex) for g in data):
        if not all(isinstance(g, PerVertex) for g in data):
            raise ValueError(f"{label}: {name} mixes PerVertex with other data; pass functions instead")
        PerVertex([g.values for g in data])._check(boundary, label, name)
    else:
        for i, g in enumerate(data):
            check(g, boundary, label, f"{name}[{i}]")
    return len(data)


def _parameters(data: Any, d: int) -> list[tuple[Array, int]]:
    """Each array of data, and how many axes it has for one instance in d dimensions."""
    if isinstance(data, DataClass):
        return data._parameters(d)
    return [(data, 0)] if _arrays.kind(data) is not None else []


def pack(data: Any, target: Target, name: str) -> PackedData:
    """Pack data for a call's arrays. Call ``check`` first."""
    if data is None:
        return NOTHING
    if data.__class__ is float or data.__class__ is int or isinstance(data, (np.integer, np.floating)):
        return PackedData("number", numbers=target.array(np.array([[float(data)]])), pull=lambda g: {}, user_data=data)
    if isinstance(data, (list, tuple)):
        if len(data) == 1:
            return pack(data[0], target, f"{name}[0]")._replace(batch=1, pull=None)
        packed = _pack_list(list(data), target, name)
    elif isinstance(data, DataClass):
        packed = data._pack([data], target, name)
    elif _arrays.kind(data) is not None:
        packed = _pack_numbers(data, target, name)
    else:
        packed = PackedData("function", function=wrap(data, target.boundary, target.dtype, name))
    return packed._replace(user_data=data)


def _pack_numbers(data: Array, target: Target, name: str) -> PackedData:
    data = array_like(data, "solve", name)
    array = target.parameter(data, name)
    batch = None if array.ndim == 0 else len(array)
    return PackedData("number", batch, array.reshape(-1, 1), pull=lambda g: {"value": as_given(g[:, 0], data)})


def _pack_list(data: list[Any], target: Target, name: str) -> PackedData:
    kinds = {type(g) for g in data}
    if len(kinds) == 1 and issubclass(kind := kinds.pop(), DataClass):
        packed = kind._pack(data, target, name)
        return packed if kind is PerVertex else packed._replace(pull=None)
    parts = [pack(g, target, f"{name}[{i}]") for i, g in enumerate(data)]
    if all(p.kind == "number" for p in parts):
        numbers = [p.numbers for p in parts]
        return PackedData("number", len(parts), target.namespace.concatenate(numbers) if parts else target.array(np.zeros((0, 1))))
    for i, g in enumerate(data):
        if any_requires_grad(g):
            raise NotImplementedError(f"solve: {name}[{i}] requires grad, but a list of different kinds of data has no gradient; detach it")
    if "@" in target.kind and any(p.kind != "function" for p in parts):
        raise NotImplementedError(f"solve: {name} is a list of different kinds of data, which is not supported on a device; pass functions")
    return PackedData("function", len(parts), function=PerInstance([as_function(p) for p in parts]))


def as_function(packed: PackedData) -> Callable[[int, np.ndarray], np.ndarray]:
    """f(instance, X) in absolute coordinates for any data except values at vertices."""
    if packed.kind == "function":
        function: Callable[[int, np.ndarray], np.ndarray] = packed.function
        return function
    if packed.kind == "number":
        value = float(packed.numbers[0, 0])  # type: ignore[index]
        return lambda instance, X: np.full(len(X), value)
    return lambda instance, X: np.asarray(packed.user_data(X), np.float64)
