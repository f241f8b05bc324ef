"""Which kind of array is this, and how to make another of its kind. NumPy is the only library imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
HALF = ("float16", "bfloat16")
ALLOWED = {"real": REAL, "complex": COMPLEX, "any": REAL + COMPLEX, "int": ("int64",), "bool": ("bool",), "double": ("float64",)}


def in_precision(dtype: str, wanted: str) -> str:
    """The dtype of ``wanted`` ("real", "complex"; "any": as it is) with the precision of ``dtype``; others have their own."""
    double = dtype in ("float64", "complex128")
    return dtype if wanted == "any" else ALLOWED[wanted][double and len(ALLOWED[wanted]) > 1]


def wide(dtype: str) -> str:
    """The dtype that one is computed in."""
    return "float32" if dtype in HALF else dtype


def namespace_of(kind: str) -> Any:
    """The library whose functions take arrays of that kind: numpy, torch, cupy."""
    return np if kind == "numpy" else sys.modules[kind]


def namespace(array: Any) -> Any:
    """The library whose functions take this array."""
    return namespace_of(str(kind(array)))


def of_kind(kind: str, array: np.ndarray) -> Any:
    """The numbers of a NumPy array as an array of that kind, in the same memory."""
    return array if kind == "numpy" else namespace_of(kind).from_numpy(array)


empty = np.empty  # where every NumPy result comes from: the tests put NaN into it
LARGE = 256 << 10  # bytes
large: Callable[[Any, Any], Any] = np.empty  # the same for large results; the native backend keeps the memory of those that are gone


def kind(array: Any) -> str | None:
    """ "numpy", "torch", "cupy", or None for anything else, and for masked arrays, whose mask would be lost."""
    if isinstance(array, np.ndarray):
        return None if is_masked(array) else "numpy"
    for base in type(array).__mro__:
        if base.__module__ == "torch" and base.__name__ == "Tensor":
            return "torch"
        if base.__module__.partition(".")[0] == "cupy" and base.__name__ == "ndarray":
            return "cupy"
    return None


def is_masked(array: Any) -> bool:
    """Of NumPy's masked arrays, whose module NumPy imports when it is first asked for: that would take a lock, which a fork may catch."""
    return isinstance(array, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))


def describe(array: Any) -> str:
    """For error messages: what the caller gave."""
    found = kind(array)
    if found is None:
        return "a masked array" if is_masked(array) else f"{type(array).__name__}"
    return f"a {found} array of {dtype_name(array)}"


def is_complex(array: Any) -> bool:
    """Whether this has a complex dtype; nothing without a dtype has."""
    return "complex" in str(getattr(array, "dtype", ""))


def is_meta(array: Any) -> bool:
    """Whether this is a tensor that has a shape and a dtype, and no numbers."""
    return getattr(getattr(array, "device", None), "type", None) == "meta"


_DTYPE_NAMES: dict[Any, str] = {}  # NumPy takes microseconds to make one


def dtype_name(array: Any) -> str:
    """ "float32", ...; a foreign byte order is part of the name."""
    dtype = array.dtype
    if not isinstance(dtype, np.dtype):
        return str(dtype).removeprefix("torch.")  # nothing is kept: torch.compile, which may be tracing this, guards what it has read
    name = _DTYPE_NAMES.get(dtype)
    if name is None:
        name = _DTYPE_NAMES[dtype] = dtype.name if dtype.isnative else dtype.str
    return name


def is_half(array: Any) -> bool:
    return array is not None and str(getattr(array, "dtype", "")).removeprefix("torch.") in HALF


def widen(array: Any) -> Any:
    """float32 from float16 or bfloat16; any other array, or None, as it is."""
    if not is_half(array):
        return array
    return array.astype(np.float32) if isinstance(array, np.ndarray) else array.float()


def narrow(array: Any, like: Any) -> Any:
    """``array`` in the half type of ``like``; as it is where ``like`` has none."""
    if array is None or not is_half(like):
        return array
    return array.astype(like.dtype) if isinstance(array, np.ndarray) else array.to(like.dtype)


def signature(arrays: Sequence[Any]) -> Any:
    """Everything that a call's plan depends on: type, dtype, shape and what a tensor is waiting for. Raises for anything that is not an
    array."""
    return tuple(
        None if a is None else (a.__class__, a.dtype, tuple(a.shape), a.__class__ is not np.ndarray and tensor_state(a)) for a in arrays
    )


def tensor_state(a: Any) -> Any:
    """(device, is contiguous, wants a gradient, has a pending sign, a pending conjugation) of a tensor; False for any other array."""
    return hasattr(a, "requires_grad") and (a.device, a.is_contiguous(), a.requires_grad, a.is_neg(), a.is_conj())


def sum_to_shape(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Sums the axes that broadcasting to ``array.shape`` had added or stretched. In NumPy's order, on one thread: always the same bits."""
    extra = array.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1)
    return array.sum(axis=axes, keepdims=True).reshape(shape) if axes else array.reshape(shape)
