"""Whatever ``solve`` takes as data, checked against a boundary and packed for kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array_like, finite, number, numbers_here
from ..region import Region
from .functions import OneEach, is_function, wrap
from .packed import NOTHING, Array, DataClass, PackedData, Target, as_given
from .per_vertex import PerVertex


def is_varying(given: Any) -> bool:
    """Whether it is a function of the place, or one number per instance, and not one number."""
    if given is None or given.__class__ is float:
        return False
    return isinstance(given, (DataClass, list, tuple)) or _arrays.kind(given) is not None or is_function(given)


def check(given: Any, boundary: Region, label: str, name: str) -> int | None:
    """The number of instances that data have, None without a leading B; an error if they are no data for that boundary."""
    if given.__class__ is float or given.__class__ is int or isinstance(given, (np.integer, np.floating)):
        number(given, label, name, negative=True)
        return None
    if given is None:
        return None
    if isinstance(given, (list, tuple)):
        return _check_list(list(given), boundary, label, name)
    if isinstance(given, DataClass):
        return given._check(boundary, label, name)
    if _arrays.kind(given) is not None:
        array = array_like(given, label, name)
        if array.ndim > 1:
            raise ValueError(
                f"{label}: {name} has shape {tuple(array.shape)}, expected a number or (B,) numbers; on a grid give GridField(values, box)"
            )
        finite(numbers_here(array, label, name, graded=True), label, name)
        return None if array.ndim == 0 else len(array)
    if not is_function(given):
        kinds = "a number, Fourier, PerVertex, Gaussians, Polynomial, GridField, a function, or a list of them"
        raise TypeError(f"{label}: {name} is {type(given).__name__}, expected {kinds}")
    return None


def _check_list(given: list[Any], boundary: Region, label: str, name: str) -> int:
    if boundary._batch is not None and len(given) not in (1, boundary._count):
        raise ValueError(f"{label}: {name} is a list of {len(given)}, the boundary has {boundary._count} instances")
    for i, g in enumerate(given):
        if g is None:
            raise TypeError(f"{label}: {name}[{i}] is None")
        if any(getattr(x, "ndim", axes) > axes for x, axes in _parameters(g, boundary.dimension)):
            raise ValueError(f"{label}: {name}[{i}] has instances of its own")
    if any(isinstance(g, PerVertex) for g in given):
        if not all(isinstance(g, PerVertex) for g in given):
            raise ValueError(f"{label}: {name} mixes PerVertex with other data; give functions instead")
        PerVertex([g.values for g in given])._check(boundary, label, name)
    else:
        for i, g in enumerate(given):
            check(g, boundary, label, f"{name}[{i}]")
    return len(given)


def _parameters(given: Any, d: int) -> list[tuple[Array, int]]:
    """The arrays of one of the data, and how many axes each has for one instance of d dimensions."""
    if isinstance(given, DataClass):
        return given._parameters(d)
    return [(given, 0)] if _arrays.kind(given) is not None else []


def requires_grad(given: Any, d: int) -> bool:
    return any(getattr(x, "requires_grad", False) for x, _ in _parameters(given, d))


def pack(given: Any, target: Target, name: str) -> PackedData:
    """Data that ``check`` has passed, for a call's arrays."""
    if given is None:
        return NOTHING
    if given.__class__ is float or given.__class__ is int or isinstance(given, (np.integer, np.floating)):
        return PackedData("number", numbers=target.array(np.array([[float(given)]])), pull=lambda g: {}, given=given)
    if isinstance(given, (list, tuple)):
        if len(given) == 1:
            return pack(given[0], target, f"{name}[0]")._replace(batch=1, pull=None)
        packed = _pack_list(list(given), target, name)
    elif isinstance(given, DataClass):
        packed = given._pack([given], target, name)
    elif _arrays.kind(given) is not None:
        packed = _pack_numbers(given, target, name)
    else:
        packed = PackedData("function", function=wrap(given, target.boundary, target.dtype, name))
    return packed._replace(given=given)


def _pack_numbers(given: Array, target: Target, name: str) -> PackedData:
    given = array_like(given, "solve", name)
    array = target.parameter(given, name)
    batch = None if array.ndim == 0 else len(array)
    return PackedData("number", batch, array.reshape(-1, 1), pull=lambda g: {"value": as_given(g[:, 0], given)})


def _pack_list(given: list[Any], target: Target, name: str) -> PackedData:
    kinds = {type(g) for g in given}
    if len(kinds) == 1 and issubclass(kind := kinds.pop(), DataClass):
        packed = kind._pack(given, target, name)
        return packed if kind is PerVertex else packed._replace(pull=None)
    parts = [pack(g, target, f"{name}[{i}]") for i, g in enumerate(given)]
    if all(p.kind == "number" for p in parts):
        numbers = [p.numbers for p in parts]
        return PackedData("number", len(parts), target.namespace.concatenate(numbers) if parts else target.array(np.zeros((0, 1))))
    for i, g in enumerate(given):
        if requires_grad(g, target.boundary.dimension):
            raise NotImplementedError(f"solve: {name}[{i}] requires grad, but a list of data of several kinds has no gradient; detach it")
    if "@" in target.kind and any(p.kind != "function" for p in parts):
        raise NotImplementedError(f"solve: {name} is a list of data of several kinds, which a device does not take; give functions")
    return PackedData("function", len(parts), function=OneEach([as_function(p) for p in parts]))


def as_function(packed: PackedData) -> Callable[[int, np.ndarray], np.ndarray]:
    """f(instance, X) in absolute coordinates of any data but values at vertices."""
    if packed.kind == "function":
        function: Callable[[int, np.ndarray], np.ndarray] = packed.function
        return function
    if packed.kind == "number":
        value = float(packed.numbers[0, 0])  # type: ignore[index]
        return lambda instance, X: np.full(len(X), value)
    return lambda instance, X: np.asarray(packed.given(X), np.float64)
