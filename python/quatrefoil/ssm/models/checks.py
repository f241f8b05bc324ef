"""Checks for functions composed of ops: of arrays that no op receives, and of ``out=``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import _arrays
from ..._bind import check_device
from ..._call import is_compiling


def check_kind(label: str, name: str, array: Any, first: str, leader: Any) -> None:
    """Raise TypeError unless ``array`` has the library and device of ``leader``, the first argument."""
    if _arrays.kind(array) is None or _arrays.kind(array) != _arrays.kind(leader):
        raise TypeError(f"{label}: {_arrays.expected_like(array, name, leader, first)}")
    check_device(label, name, array, first, leader)


def put(label: str, out: Any, result: Any, inputs: Mapping[str, Any]) -> Any:
    """The result, copied to ``out`` unless that is None."""
    if out is None:
        return result
    kind, dtype = _arrays.kind(result), _arrays.dtype_name(result)
    if kind == "jax":
        raise TypeError(f"{label}: out= does not accept JAX arrays, which are immutable; omit it")
    if _arrays.kind(out) != kind:
        raise TypeError(f"{label}: out is {_arrays.describe(out)}, expected {_arrays.describe(result)}")
    if _arrays.dtype_name(out) != dtype:
        raise TypeError(f"{label}: out has dtype {_arrays.dtype_name(out)}, expected {dtype}")
    check_device(label, "out", out, *next(iter(inputs.items())))
    if _arrays.is_half(result):
        raise TypeError(f"{label}: out= does not support half-precision results; omit it")
    if tuple(out.shape) != tuple(result.shape):
        raise ValueError(f"{label}: out has shape {tuple(out.shape)}, expected {tuple(result.shape)}")
    if kind == "torch":
        if is_compiling() or result.requires_grad or out.requires_grad:
            raise RuntimeError(f"{label}: out= does not work with automatic differentiation or tracing; omit it")
        contiguous, writeable = out.is_contiguous(), True
    else:
        contiguous, writeable = out.flags.c_contiguous, getattr(out.flags, "writeable", True)
    if not contiguous or not writeable:
        raise ValueError(f"{label}: out must be C-contiguous and writeable")
    for name, array in inputs.items():
        if array is not None and _share_memory(out, array):
            raise ValueError(f"{label}: out shares memory with {name}; pass a separate array")
    out[...] = result
    return out


def _share_memory(a: Any, b: Any) -> bool:
    if _arrays.kind(a) == "torch":
        return bool(a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr())
    return bool(_arrays.namespace(a).may_share_memory(a, b))
