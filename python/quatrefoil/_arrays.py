"""Kinds of arrays, and how to create another array of the same kind. NumPy is the only library imported here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

_ndarray = np.ndarray
REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
HALF = ("float16", "bfloat16")
ALLOWED = {"real": REAL, "complex": COMPLEX, "any": REAL + COMPLEX, "int": ("int64",), "bool": ("bool",), "double": ("float64",)}


def in_precision(dtype: str, wanted: str) -> str:
    """The dtype of kind ``wanted`` ("real", "complex", "any") in the precision of ``dtype``; other kinds have a fixed dtype."""
    double = dtype in ("float64", "complex128")
    return dtype if wanted == "any" else ALLOWED[wanted][double and len(ALLOWED[wanted]) > 1]


def wide(dtype: str) -> str:
    """The dtype in which arrays of this dtype are processed."""
    return "float32" if dtype in HALF else dtype


def namespace_of(kind: str) -> Any:
    """The library whose functions accept arrays of that kind or location: numpy, torch, cupy, jax.numpy."""
    return np if kind == "numpy" else sys.modules["jax.numpy" if kind == "jax" else kind.partition("@")[0]]


def namespace(array: Any) -> Any:
    """The library whose functions accept this array."""
    return namespace_of(str(kind(array)))


def on_host(array: Any) -> bool:
    """Whether an array is in host memory, or a meta tensor."""
    return array.__class__ is _ndarray or device(array) in ("cpu", "meta")


def location(array: Any) -> str:
    """An array's kind and, if it is not on the host, its device after an @: "numpy", "torch", "torch@cuda:0", "cupy@cuda:1"."""
    if array.__class__ is _ndarray:
        return "numpy"
    return str(kind(array)) if on_host(array) else f"{kind(array)}@{device(array)}"


def of_kind(kind: str, array: np.ndarray) -> Any:
    """Convert a NumPy array to that kind or location; no copy if the result is on the host."""
    if kind == "numpy":
        return array
    kind, _, device = kind.partition("@")
    library = namespace_of(kind)
    if kind == "torch":
        return library.from_numpy(array).to(device or "cpu")
    with library.cuda.Device(int(device.rpartition(":")[2])) if device else contextlib.nullcontext():
        return library.asarray(array)


def to_device_of(array: np.ndarray, like: Any) -> Any:
    """Convert a NumPy array to the kind and device of ``like``; no copy if the result is on the host."""
    return of_kind(location(like), array).to(like.device) if is_meta(like) else of_kind(location(like), array)


def _create_on_device_of(like: Any, function: str, *arguments: Any, **options: Any) -> Any:
    if kind(like) == "torch":
        options["device"] = like.device
    with like.device if kind(like) == "cupy" else contextlib.nullcontext():  # CuPy allocates on the current device
        return getattr(namespace(like), function)(*arguments, **options)


def zeros_on_device_of(like: Any, shape: Sequence[int]) -> Any:
    """Zeros of the kind and dtype of ``like``, on its device."""
    return _create_on_device_of(like, "zeros", tuple(shape), dtype=like.dtype)


def arange_on_device_of(like: Any, n: int) -> Any:
    """0, 1, ..., n - 1, an array of the kind of ``like`` on its device."""
    return _create_on_device_of(like, "arange", n)


def to_host(array: Any) -> np.ndarray:
    """Convert any array to a NumPy array, without its gradient. Host arrays are not copied; for others it waits for the device."""
    if isinstance(array, _ndarray):
        return array
    if kind(array) != "torch":
        return np.asarray(array) if kind(array) == "jax" else cast(np.ndarray, namespace(array).asnumpy(array))
    return cast(np.ndarray, array.detach().cpu().resolve_conj().resolve_neg().numpy())


empty = np.empty  # allocates every NumPy result; the tests fill it with NaN
LARGE = 256 << 10  # bytes
large: Callable[[Any, Any], Any] = np.empty  # allocates large results; the native backend reuses the memory of freed ones


def kind(array: Any) -> str | None:
    """ "numpy", "torch", "cupy", "jax", or None for anything else, and for masked arrays, whose mask would be lost."""
    if array.__class__ is _ndarray:
        return "numpy"
    if isinstance(array, _ndarray):
        return None if is_masked(array) else "numpy"
    for base in type(array).__mro__:
        if base.__module__ == "torch" and base.__name__ == "Tensor":
            return "torch"
        if base.__module__.partition(".")[0] == "cupy" and base.__name__ == "ndarray":
            return "cupy"
    return "jax" if isinstance(array, getattr(sys.modules.get("jax"), "Array", ())) else None


class Untyped(np.ndarray):
    """float64 values from a list or from integers, which have no dtype of their own: they adapt to any dtype and kind of array."""


def is_traced(array: Any) -> bool:
    """Whether JAX traces this array, which then has a shape and a dtype but no values."""
    return isinstance(array, getattr(getattr(sys.modules.get("jax"), "core", None), "Tracer", ()))


def is_masked(array: Any) -> bool:
    """Whether this is a masked array. Does not import ``numpy.ma``: a forked child could inherit the import lock while it is held."""
    return isinstance(array, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))


def describe(array: Any) -> str:
    """A description of an argument for error messages."""
    if kind(array) is not None:
        return f"a {kind(array)} array of {dtype_name(array)}"
    name = type(array).__name__
    return "a masked array" if is_masked(array) else f"a {type(array).__module__.partition('.')[0]} {name}" if is_table(array) else name


def is_table(value: Any) -> bool:
    """Whether this is a Series, DataFrame or DataArray from pandas, xarray or a similar library."""
    return hasattr(value, "to_numpy")


def converted(value: Any, name: str, dtype: str, like: str | None = None) -> str:
    """The code that converts ``value`` to an array of that dtype: of the same kind if it is an array, otherwise of the kind ``like``."""
    if is_masked(value):
        return f"{name}.filled()"
    if kind(value) is not None:
        if is_complex(value) and dtype in REAL:
            return f"{name}.real"
        return f"{name}.to(torch.{dtype})" if kind(value) == "torch" else f"{name}.astype(np.{dtype})"
    if like == "torch":
        return f"torch.as_tensor({name}, dtype=torch.{dtype})"
    ways = {"to_numpy": f"{name}.to_numpy()", "toarray": f"{name}.toarray()", "__dlpack__": f"np.from_dlpack({name})"}
    return next((way for method, way in ways.items() if hasattr(value, method)), f"{moved(name, str(like))[:-1]}, np.{dtype})")


def expected_like(value: Any, name: str, like: Any, other: str) -> str:
    """Error text for a value that is not of the kind of ``like``, the argument called ``other``, with the code that converts it."""
    wanted, dtype = (f"an array like {other}, {describe(like)}", dtype_name(like)) if kind(like) else ("an array of floats", "float64")
    fix = converted(value, name, dtype, kind(like)) if kind(value) is None else moved(name, str(kind(like)))
    return f"{name} is {describe(value)}, expected {wanted}; convert it: {fix}"


def moved(name: str, kind: str) -> str:
    """The code that converts an array to that kind."""
    ways = {"torch": "torch.as_tensor", "cupy": "cupy.asarray", "jax": "jax.numpy.asarray"}
    return f"{ways.get(kind, 'np.asarray')}({name})"


def is_complex(array: Any) -> bool:
    return "complex" in str(getattr(array, "dtype", ""))


def is_meta(array: Any) -> bool:
    """Whether this is a meta tensor, which has a shape and a dtype but no values."""
    return getattr(getattr(array, "device", None), "type", None) == "meta"


def device(array: Any) -> str:
    """The device of an array: "cpu", "cuda:0", "meta"."""
    if isinstance(array, np.ndarray):
        return "cpu"
    if kind(array) == "jax":  # a traced array is on the device of its program
        at = None if is_traced(array) else next(iter(array.devices()))  # if there are several devices, they share one platform
        return "cpu" if at is None or at.platform == "cpu" else str(at)
    return f"cuda:{array.device.id}" if hasattr(array.device, "id") else str(array.device)  # CuPy's devices have an id


_DTYPE_NAMES: dict[Any, str] = {}  # NumPy takes microseconds to build a name


def layout(array: Any) -> str:
    """ "strided", or "sparse_coo", "sparse_csr", "_mkldnn", "nested" for tensors that are not strided. The attribute ``layout`` means
    something else in other libraries, such as older releases of JAX."""
    if kind(array) != "torch":
        return "strided"
    return "nested" if array.is_nested else str(array.layout).removeprefix("torch.")


def dtype_name(array: Any) -> str:
    """ "float32", ...; a non-native byte order is part of the name."""
    dtype = array.dtype
    if not isinstance(dtype, np.dtype):
        return str(dtype).removeprefix("torch.")  # no cache: if torch.compile traces this, it guards every value that it reads
    name = _DTYPE_NAMES.get(dtype)
    if name is None:
        name = _DTYPE_NAMES[dtype] = dtype.name if dtype.isnative else dtype.str
    return name


def is_half(array: Any) -> bool:
    return array is not None and str(getattr(array, "dtype", "")).removeprefix("torch.") in HALF


def double(array: Any) -> Any:
    """Convert any real dtype to float64; a float64 array is not copied."""
    return array.double() if kind(array) == "torch" else array.astype(np.float64, copy=False)


def contiguous(array: Any) -> Any:
    """A NumPy array in C order; any other array unchanged."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array


def widen(array: Any) -> Any:
    """Convert float16 or bfloat16 to float32; any other array, or None, unchanged."""
    if not is_half(array):
        return array
    return array.float() if kind(array) == "torch" else array.astype(np.float32)


def narrow(array: Any, like: Any) -> Any:
    """``array`` in the half type of ``like``; unchanged if ``like`` has none."""
    if array is None or not is_half(like):
        return array
    return array.to(like.dtype) if kind(array) == "torch" else array.astype(like.dtype)


def signature(arrays: Sequence[Any]) -> Any:
    """All properties that a call's plan depends on: type, dtype, shape, device and a tensor's state. Raises an error for non-arrays."""
    return tuple(
        None if a is None else (a.__class__, a.dtype, tuple(a.shape), a.__class__ is not np.ndarray and array_state(a)) for a in arrays
    )


def array_state(a: Any) -> Any:
    """(device, layout, is contiguous, requires grad, has a pending negation, has a pending conjugation) for a tensor; the device for any
    other array."""
    if hasattr(a, "requires_grad"):
        return a.device, a.layout, a.is_contiguous(), a.requires_grad, a.is_neg(), a.is_conj()
    return device(a)


def sum_to_shape(array: Any, shape: Sequence[int]) -> Any:
    """The sum over the axes that broadcasting added or stretched. NumPy sums on one thread in a fixed order, so the bits never change."""
    extra = array.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1))
    return array.sum(axis=axes, keepdims=True).reshape(shape) if axes else array.reshape(shape)


def dense(x: Any) -> Any:
    """A contiguous NumPy array, or None. NumPy and BLAS add strided elements in a different order, which rounds differently."""
    return None if x is None else np.require(x, requirements=["C", "A"])
