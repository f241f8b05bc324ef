"""Checks of arguments other than a kernel's arrays. Errors name the function, the argument, its value and the expected one."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import operator
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar, cast, overload

import numpy as np

from . import _arrays

P = ParamSpec("P")
R = TypeVar("R")
_NUMBERS = ("float", "int", "bfloat")  # prefixes of real dtypes
MAX_INT64 = 2**63 - 1  # largest int64, the type of indices in kernels
MAX_NUMBERS = MAX_INT64 // 16  # elements in an array: the byte offset of any complex128 element fits an int64
MAX_THREADS = 2**31 - 1


def integer(value: Any, label: str, name: str, minimum: int | None = None, maximum: int | None = MAX_INT64) -> int:
    """An integer from ``minimum`` to ``maximum``, not a bool."""
    try:
        n = operator.index(value)
    except TypeError:
        raise TypeError(f"{label}: {name} is {value!r}, expected an integer") from None
    if isinstance(value, bool):
        raise TypeError(f"{label}: {name} is {value!r}, expected an integer")
    if minimum is not None and n < minimum:
        raise ValueError(f"{label}: {name} is {n}, expected at least {minimum}")
    if maximum is not None and n > maximum:
        raise ValueError(f"{label}: {name} is {n}, expected at most {maximum}")
    return n


def integers(
    value: Any, count: int | None, label: str, name: str, minimum: int | None = None, maximum: int | None = MAX_INT64
) -> tuple[int, ...]:
    """Return the integers of a sequence, or repeat one integer ``count`` times. Without ``count``, a sequence may have any length."""
    if is_sequence(value, label, name):
        if count is not None and len(value) != count:
            raise ValueError(f"{label}: {name} has {len(value)} entries, expected {count}, one per axis")
        return tuple(integer(n, label, f"{name}[{i}]", minimum, maximum) for i, n in enumerate(value))
    return (integer(value, label, name, minimum, maximum),) * (1 if count is None else count)


def is_sequence(value: Any, label: str, name: str) -> bool:
    """Whether a value is a sequence of integers; a 0-d array is treated as one integer."""
    reject_masked(value, label, name)
    return isinstance(value, Sequence) and not isinstance(value, str) if not isinstance(value, np.ndarray) else value.ndim > 0


def threads(n: Any, label: str) -> int:
    return integer(n, label, "num_threads", 1, MAX_THREADS)


def is_number(value: Any) -> bool:
    """Whether a value is a Python or NumPy real number, not a bool or an array."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def number(value: Any, label: str, name: str, *, positive: bool = False, negative: bool = False) -> float:
    """A finite number: nonnegative by default, above 0 if ``positive``, of any sign if ``negative``. Accepts anything that converts to a
    float, such as a 0-d array."""
    x = real(value, label, name)
    if not (x > 0 if positive else negative or x >= 0) or not -math.inf < x < math.inf:
        what = "positive number" if positive else "number" if negative else "nonnegative number"
        raise ValueError(f"{label}: {name} is {x}, expected a finite {what}")
    return x


def real(value: Any, label: str, name: str) -> float:
    """A number as a float; it may be infinite or NaN."""
    if isinstance(value, float):  # may be symbolic if torch.compile traces with dynamic=True; then only float() works
        return float(value)
    if _arrays.is_masked(value):
        raise TypeError(f"{label}: {name} is a masked array, expected a real number")
    is_array = hasattr(value, "dtype")
    if (
        (is_array and not _arrays.dtype_name(value).lstrip("u").startswith(_NUMBERS))
        or isinstance(value, (bool, complex))
        or not hasattr(value, "__float__")
        or getattr(value, "ndim", 0) != 0
    ):
        raise TypeError(f"{label}: {name} is {value!r}, expected a real number")
    if is_array and not isinstance(value, (np.generic, np.ndarray)):
        _plain(value, label, name)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{label}: {name} is too large for a float, expected a finite number") from None


def point(value: Any, label: str, name: str) -> tuple[float, ...]:
    """Coordinates: a list or tuple of finite numbers, or an array (d,) of them."""
    if _arrays.kind(value) is None and not isinstance(value, (list, tuple)):
        if _arrays.is_masked(value) or not hasattr(value, "__array__"):
            raise TypeError(f"{label}: {name} is {_arrays.describe(value)}, expected a list or array of numbers")
        value = array_like(value, label, name)
    shape = tuple(getattr(value, "shape", (len(value),) if isinstance(value, (list, tuple)) else ()))
    if len(shape) != 1:
        raise ValueError(f"{label}: {name} has shape {shape}, expected (d,), one number per coordinate")
    if hasattr(value, "dtype") and not _arrays.dtype_name(value).lstrip("u").startswith(_NUMBERS):
        raise TypeError(f"{label}: {name} has dtype {_arrays.dtype_name(value)}, expected real numbers")
    if hasattr(value, "requires_grad"):
        _plain(value, label, name)
    return tuple(number(x, label, f"{name}[{i}]", negative=True) for i, x in enumerate(value))


def reject_masked(value: Any, label: str, name: str) -> None:
    """Raise TypeError for a masked array, whose mask would be lost."""
    if _arrays.is_masked(value):
        raise TypeError(f"{label}: {name} is a masked array, whose mask would be lost; pass {name}.filled(...)")


def _plain(value: Any, label: str, name: str) -> None:
    """Raise an error for an array on a device, a traced array, or one that requires a gradient."""
    if _arrays.is_traced(value):
        raise TypeError(f"{label}: {name} is traced by JAX, but its values must be read; compute it outside the traced function")
    if getattr(value, "requires_grad", False):
        _reject_gradient(label, name)
    _reject_device(value, label, name)


def _reject_device(value: Any, label: str, name: str) -> None:
    if _arrays.kind(value) == "torch" and value.device.type != "cpu":
        raise RuntimeError(f"{label}: {name} is on {value.device}; move it to the CPU")


def _reject_gradient(label: str, name: str) -> NoReturn:
    raise NotImplementedError(f"{label} has no gradient with respect to {name}, which requires grad; pass {name}.detach()")


def choice(value: Any, label: str, name: str, choices: Sequence[str | None]) -> Any:
    if (value is None or isinstance(value, str)) and value in choices:
        return value
    raise ValueError(f"{label}: {name} is {value!r}, expected {'one of ' if len(choices) > 1 else ''}{', '.join(map(repr, choices))}")


def generator(rng: Any, label: str) -> np.random.Generator:
    """``rng`` as in ``help(qf.conventions)``: None, a seed, or a generator."""
    return np.random.default_rng(rng if rng is None or isinstance(rng, np.random.Generator) else seed(rng, label))


def seed(rng: Any, label: str, expected: str = "None, an int or a numpy.random.Generator") -> int:
    """A seed: a nonnegative 64-bit integer."""
    try:
        return integer(rng, label, "rng", 0, 2**64 - 1)
    except TypeError:
        raise TypeError(f"{label}: rng is {type(rng).__name__}, expected {expected}") from None


def drawn_seed(rng: Any, label: str) -> int:
    """A 64-bit seed from ``rng``: the seed itself, the next number of a generator, or a random seed for None."""
    if rng is None or isinstance(rng, np.random.Generator):
        return int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))
    return seed(rng, label)


def sequence(value: Any, label: str) -> Sequence[Any]:
    """A list or tuple of arrays, at least one."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{label}: expected a list or tuple of arrays, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{label}: expected at least one array, got none")
    return value


def array(value: Any, label: str, name: str, *, dtypes: Sequence[str] = _arrays.REAL, torch: bool = True) -> str:
    """The kind of a host array for a function without a kernel: "numpy", or "torch" if the function accepts tensors."""
    kind = _arrays.kind(value)
    if kind == "numpy" and _arrays.dtype_name(value) in dtypes:
        return kind
    named = " or ".join(dtypes)
    if kind is None or (kind == "torch" and not torch):
        what = "NumPy or PyTorch" if torch else "NumPy"
        fix = f"{name}.numpy()" if kind == "torch" else _arrays.converted(value, name, dtypes[-1])
        raise TypeError(f"{label}: {name} is {_arrays.describe(value)}, expected a {what} array of {named}; convert it: {fix}")
    dtype = _arrays.dtype_name(value)
    if dtype not in dtypes:
        fix = _arrays.converted(value, name, dtypes[-1])
        raise TypeError(f"{label}: {name} has dtype {dtype}, expected {named}; convert it: {fix}")
    if kind == "cupy":
        raise TypeError(f"{label}: {name} is a CuPy array, which this function does not accept; move it to the host")
    if kind == "jax":
        raise TypeError(f"{label}: {name} is a JAX array, which this function does not accept; pass numpy.asarray({name})")
    _reject_device(value, label, name)
    return kind


def writeable(value: Any, label: str, name: str) -> None:
    """Raise an error if an array cannot be updated in place."""
    if _arrays.kind(value) == "jax":
        raise TypeError(f"{label}: {name} is a JAX array, which is immutable, but it is updated in place; pass a NumPy array")
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        raise ValueError(f"{label}: {name} is read-only, but it is updated in place; pass a writeable array")


def integer_array(value: Any, label: str, name: str) -> Any:
    """Convert an int32 or int64 array to int64. None, and JAX arrays, which have no int64 by default, are returned unchanged."""
    if value is None:
        return None
    if _arrays.kind(value) is None or _arrays.dtype_name(value) not in ("int32", "int64"):
        fix = _arrays.converted(value, name, "int64")
        raise TypeError(f"{label}: {name} is {_arrays.describe(value)}, expected an array of int32 or int64; convert it: {fix}")
    if _arrays.dtype_name(value) == "int64" or _arrays.kind(value) == "jax":
        return value
    return value.long() if _arrays.kind(value) == "torch" else value.astype(np.int64)


def array_like(value: Any, label: str, name: str) -> Any:
    """Convert lists, integers and other objects to an array of real numbers; a real array is returned unchanged.

    Integers become float64. The result for Python numbers and NumPy integers is ``Untyped``. Masked arrays, bools, complex numbers and
    values that are not numbers raise a TypeError. Tensors and arrays of other libraries keep their kind.
    """
    kind = _arrays.kind(value)
    if kind not in (None, "numpy"):
        is_integer = _arrays.dtype_name(value).lstrip("u").startswith("int") and kind != "jax"
        return _arrays.double(value) if is_integer else value
    if kind == "numpy" and _arrays.dtype_name(value) in _arrays.REAL:
        return value
    has_dtype = _check_parts(value, label, name)
    try:
        read = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as reason:  # such as lists of unequal lengths
        raise ValueError(f"{label}: {name} is not an array of numbers: {reason}") from None
    if read.dtype.kind not in "iuf" or (read.dtype.kind == "f" and read.dtype.itemsize not in (4, 8)):
        raise TypeError(f"{label}: {name} has dtype {read.dtype}, expected real numbers: float32, float64 or integers; convert it")
    if read.dtype.kind == "f" and has_dtype:
        return read.astype(read.dtype.newbyteorder("="), copy=False)
    numbers = read.astype(np.float64)
    if read.dtype.kind in "iu" and np.abs(numbers).max(initial=0) > 2.0**53:
        raise ValueError(f"{label}: {name} has integers above 2**53, which float64 cannot represent exactly; scale them")
    return numbers.view(_arrays.Untyped)


def _check_parts(value: Any, label: str, name: str) -> bool:
    """Raise TypeError for values that NumPy would convert lossily or not at all. Returns whether any part is an array with axes."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and not hasattr(value, "__array__"):
        return any([_check_parts(part, label, name) for part in value])
    reject_masked(value, label, name)
    kind = _arrays.kind(value)
    if kind not in (None, "numpy"):
        raise TypeError(f"{label}: {name} is a list of {kind} arrays; stack them into one array")
    if isinstance(value, (bool, np.bool_)) or not (is_number(value) or isinstance(value, complex) or hasattr(value, "__array__")):
        what = f"{value!r}" if isinstance(value, (bool, np.bool_, str, bytes, type(None))) else f"{type(value).__name__}"
        raise TypeError(f"{label}: {name} is {what}, expected a list or array of numbers")
    return not is_number(value) and getattr(value, "ndim", 1) > 0


def ndim(value: Any) -> int:
    """The number of axes of an array, or of nested lists."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return 0
    return 1 + ndim(value[0]) if len(value) else 1


def points_like(value: Any, label: str, name: str) -> Any:
    """``array_like`` for points: float64 if they have no dtype."""
    points = array_like(value, label, name)
    return np.asarray(points) if isinstance(points, _arrays.Untyped) else points


def arrays_like(values: Sequence[Any], label: str, names: Sequence[str]) -> list[Any]:
    """``array_like`` for several values: those without a dtype get the kind, dtype and device of the first array that has one."""
    arrays = [None if v is None else array_like(v, label, name) for v, name in zip(values, names)]
    like = next((a for a in arrays if a is not None and not isinstance(a, _arrays.Untyped)), np.empty(0))
    dtype = _arrays.dtype_name(like) if _arrays.dtype_name(like) in _arrays.REAL else "float64"
    return [_arrays.to_device_of(np.asarray(a, dtype), like) if isinstance(a, _arrays.Untyped) else a for a in arrays]


@overload
def host_array(value: Any, label: str, name: str, *, device: Literal["keep"], convert: bool = ..., differentiable: bool = ...) -> Any: ...
@overload
def host_array(
    value: Any, label: str, name: str, *, device: Literal["reject", "copy"] = ..., convert: bool = ..., differentiable: bool = ...
) -> np.ndarray: ...
def host_array(value: Any, label: str, name: str, *, device: str = "reject", convert: bool = False, differentiable: bool = False) -> Any:
    """A real array as a NumPy array, whose values can be read.

    ``device``: an array on a device raises an error ("reject"), is copied to the host ("copy"), or is returned unchanged, because its
    values are not needed ("keep"). ``convert`` accepts what ``points_like`` does. An array that requires a gradient raises an error unless
    ``differentiable``.
    """
    if convert:
        value = points_like(value, label, name)
    if device == "reject" or value.__class__ is np.ndarray or _arrays.kind(value) is None or _arrays.on_host(value):
        return _host_values(value, label, name, differentiable)
    real_array(value, label, name)
    if getattr(value, "requires_grad", False) and not differentiable:
        _reject_gradient(label, name)
    return value if device == "keep" else _arrays.to_host(value)


def _host_values(value: Any, label: str, name: str, differentiable: bool) -> np.ndarray:
    if array(value, label, name) == "numpy":
        return cast(np.ndarray, value)
    reject_tracing(label)
    plain = value.detach() if differentiable else value
    _plain(plain, label, name)
    plain = plain.resolve_neg() if plain.is_neg() else plain
    try:
        return cast(np.ndarray, plain.numpy())
    except RuntimeError:
        if plain.device.type == "meta":
            raise
        try:
            return np.from_dlpack(plain)  # the only way to read an unwrapped tensor inside torch.func
        except RuntimeError:
            raise NotImplementedError(
                f"{label}: {name} is a tensor inside torch.func (grad, vjp, jvp, vmap, ...), whose values cannot be read; call {label} "
                "outside it, and compute gradients with backward or torch.autograd.grad"
            ) from None


def reject_tracing(label: str) -> None:
    """Raise NotImplementedError if torch.compile traces a function that must read values."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.compiler.is_compiling():
        raise NotImplementedError(
            f"{label}: torch.compile cannot trace it, because it reads the values of its arrays; call it outside the compiled function, "
            "or in a function under torch.compiler.disable and without fullgraph=True"
        )


def real_array(value: Any, label: str, name: str) -> None:
    """Raise TypeError unless the value is a real array, on the host or a device."""
    if value.__class__ is np.ndarray or _arrays.kind(value) is None or _arrays.on_host(value):
        array(value, label, name)
    elif (dtype := _arrays.dtype_name(value)) not in _arrays.REAL:
        fix = _arrays.converted(value, name, "float64")
        raise TypeError(f"{label}: {name} has dtype {dtype}, expected {' or '.join(_arrays.REAL)}; convert it: {fix}")


def finite(values: np.ndarray | None, label: str, name: str, *, positive: bool = False, nonnegative: bool = False) -> None:
    """Raise ValueError with the index of the first NaN, infinity or number out of bounds; arrays on devices are not read."""
    if not isinstance(values, np.ndarray):
        return
    bad = ~np.isfinite(values) | (values <= 0 if positive else values < 0 if nonnegative else False)
    if bad.any():
        at = np.unravel_index(int(bad.argmax()), values.shape)
        index = f"[{', '.join(map(str, at))}]" if at else ""
        expected = f"finite {'positive ' if positive else 'nonnegative ' if nonnegative else ''}numbers"
        raise ValueError(f"{label}: {name}{index} is {values[at]:g}, expected {expected}")


def keywords(label: str, positional: str = "", *, missing: str = "", **hints: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that TypeErrors for unknown, missing or too many arguments say how to fix the call.

    ``hints``: hints for names that other libraries use. A valid call is not inspected.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(function).parameters.values())
        is_method = parameters[0].name in ("self", "cls")
        known = [p.name for p in parameters[is_method:]]
        positionals = [p.name for p in parameters[is_method:] if p.kind is p.POSITIONAL_OR_KEYWORD]
        required = [p.name for p in parameters[is_method:] if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        open_ended = any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters)

        def error_text(count: int, options: Collection[str]) -> str | None:
            """The error in a call with ``count`` positional arguments and these keywords; None if the call is valid."""
            for name in options:
                if name not in known:
                    return f"{label} has no argument {name!r}; {hints.get(name) or 'expected ' + ', '.join(known)}"
            if open_ended:
                return None
            if count > len(positionals):
                keyword_only = ", ".join(f"{name}=" for name in known[len(positionals) :])
                fix = positional or (f"pass by keyword: {keyword_only}" if keyword_only else f"expected at most {len(positionals)}")
                return f"{label} takes {', '.join(positionals) or 'nothing'} by position, got {count} argument{'s' * (count != 1)}; {fix}"
            absent = [name for name in required if name not in options and name not in positionals[: max(count, 0)]]
            if not absent:
                return None
            fix = missing or next((hints[name] for name in absent if name in hints), f"expected {', '.join(known)}")
            return f"{label}: {', '.join(absent)} {'are' if len(absent) > 1 else 'is'} missing; {fix}"

        @functools.wraps(function)
        def called(*args: P.args, **options: P.kwargs) -> R:
            try:
                return function(*args, **options)
            except TypeError:
                text = error_text(len(args) - is_method, options)
                if text is None:
                    raise
                raise TypeError(text) from None

        return called

    return decorate
