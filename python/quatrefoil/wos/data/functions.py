"""Users' functions in the form that kernels call: f(instance, X (n, d)) -> (n,), or the address of compiled code."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._arguments import is_number, reject_masked


class Function:
    """A user's function, called with the points' dtype.

    Every call checks the shape of the result. Errors name the caller and the argument.
    """

    def __init__(self, function: Callable[..., Any], dtype: np.dtype, name: str, caller: str = "solve") -> None:
        self.function, self.dtype, self.name, self.caller = function, dtype, name, caller

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        X = X.astype(self.dtype, copy=False)
        try:
            values = self.function(X)
        except (TypeError, ValueError, IndexError) as error:
            hint = self._hint(X)
            if hint is None:
                raise
            raise TypeError(f"{self.caller}: {self.name}(X) failed for X of shape {X.shape}: {error}; {hint}") from error
        shape = getattr(values, "shape", None)
        if is_number(values) and values == self.function(X[:1]):  # a constant function
            values, shape = np.full(len(X), float(values)), (len(X),)
        if shape == X.shape[1:] == (len(X),) and np.shape(self.function(np.concatenate([X, X]))) != (2 * len(X),):
            shape = None  # a function of one point, called with as many points as coordinates
        if shape != (len(X),):
            got = f"shape {shape}" if shape is not None else repr(values) if np.isscalar(values) else f"a {type(values).__name__}"
            B = shape[0] if shape is not None and len(shape) == 2 and shape[1] == len(X) else None
            hint = self._hint(X) if B is None else f"for {B} problems pass a list of {B} functions"
            expected = f"expected shape {(len(X),)}" + (f"; {hint}" if hint else "")
            raise ValueError(f"{self.caller}: {self.name}(X) with X of shape {X.shape} returned {got}, {expected}")
        reject_masked(values, self.caller, f"{self.name}(X)")
        dtype = str(getattr(values, "dtype", ""))
        if "complex" in dtype or dtype == "object":
            raise TypeError(f"{self.caller}: {self.name}(X) has dtype {dtype}, expected real numbers")
        return np.ascontiguousarray(values, np.float64)

    def _hint(self, X: np.ndarray) -> str | None:
        """A hint for functions of separate coordinates, of one point, or of tensors."""
        if not len(X):
            return None
        names = ", ".join("xyz"[: X.shape[1]] if X.shape[1] <= 3 else [f"x{k}" for k in range(X.shape[1])])
        two = X[[0, -1]]
        tried: list[tuple[Any, tuple[int, ...], str]] = [
            (two.T.copy(), (2,), f"it takes separate coordinates {names}; pass lambda X: f(*X.T)"),
            (two[0].tolist(), (), f"it takes scalars {names}; pass lambda X: np.array([f(*x) for x in X])"),
            ([two[0].copy()], (), "it takes one point; pass lambda X: np.array([f(x) for x in X])"),
        ]
        if (torch := sys.modules.get("torch")) is not None:
            tried.append(([torch.from_numpy(two)], (2,), "it takes tensors; pass lambda X: f(torch.from_numpy(X))"))
        for arguments, shape, hint in tried:
            try:
                if np.shape(self.function(*arguments)) == shape:
                    return hint
            except Exception:
                continue
        return None


_compiled: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()


def _compile(function: Any, dimension: int) -> Any:
    """Compile an njit function to ``void(int64 n, const double* x, double* out)``, once per dimension."""
    from numba import carray, cfunc, types

    known = _compiled.setdefault(function, {})
    if dimension not in known:
        pointer = types.CPointer(types.float64)

        def block(n: Any, x: Any, out: Any) -> None:
            values = function(carray(x, (n, dimension)))
            results = carray(out, (n,))
            for i in range(n):  # NaN if there are fewer values than points; never reads past the end
                results[i] = values[i] if i < len(values) else math.nan

        known[dimension] = cfunc(types.void(types.int64, pointer, pointer))(block)
    return known[dimension]


def is_njit(f: Any) -> bool:
    return _is_of_numba(f, "dispatcher", "Dispatcher")


def is_cfunc(f: Any) -> bool:
    return _is_of_numba(f, "ccallback", "CFunc")


def _is_of_numba(f: Any, module: str, name: str) -> bool:
    """Whether ``f`` is an instance of a class of numba.core. There are none before Numba has loaded its module."""
    loaded = sys.modules.get(f"numba.core.{module}")
    return loaded is not None and isinstance(f, getattr(loaded, name))


class Compiled:
    """``void(int64 n, const double* x, double* out)``. Native kernels call its address without the GIL; Python can call it too."""

    def __init__(self, compiled: Any) -> None:
        self.compiled, self.address = compiled, int(compiled.address)

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        import ctypes

        X, out = np.ascontiguousarray(X, np.float64), np.empty(len(X))
        pointer = ctypes.POINTER(ctypes.c_double)
        self.compiled.ctypes(len(X), X.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        return out


class PerInstance:
    """B functions of absolute coordinates, one per instance."""

    def __init__(self, parts: Sequence[Callable[[int, np.ndarray], np.ndarray]], first: int = 0) -> None:
        self.parts, self.first = parts, first  # index of the first instance
        # if all functions are compiled, the native kernel calls their addresses, indexed from instance 0
        compiled = [p.address for p in parts if isinstance(p, Compiled)]
        self.addresses = compiled if len(compiled) == len(parts) and not first else None

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.parts[instance - self.first](instance, X), np.float64)


class Scaled:
    """A function in units of 2^exponents, with one exponent for each instance from ``first`` on."""

    def __init__(self, function: Callable[[int, np.ndarray], np.ndarray], exponents: np.ndarray, first: int = 0) -> None:
        self.function, self.exponents, self.first = function, exponents, first

    def scale(self, instance: int, values: Any) -> Any:
        exponent = -int(self.exponents[instance - self.first])
        return values * 2.0 ** (exponent // 2) * 2.0 ** (exponent - exponent // 2)  # float64 can represent both factors

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.scale(instance, self.function(instance, X)))


def _check_signature(f: Any, name: str, caller: str) -> None:
    """Raise TypeError for a cfunc with a different signature, which would access memory out of bounds."""
    from numba import types

    pointer = types.CPointer(types.float64)
    expected = types.void(types.int64, pointer, pointer)
    if (f._sig.args, f._sig.return_type) != (expected.args, expected.return_type):
        raise TypeError(f"{caller}: {name} is a cfunc {f._sig}, expected void(int64 n, const double* x, double* out)")


def _check_results(f: Any, boundary: Any, name: str, caller: str) -> None:
    """Check the shape of the result for a few points, because compiled code cannot raise."""
    check = Function(f, np.dtype(np.float64), name, caller)
    centre, extent = (boundary._centre[0], boundary._extent[0]) if boundary._count else (np.zeros(boundary.dimension), 1.0)
    for shares in ((0.1, -0.1, 0.05), (0.1, -0.1, 0.05, -0.05, 0.02)):
        check(0, centre + extent * np.outer(shares, np.ones(boundary.dimension)))


def is_function(data: Any) -> bool:
    return callable(data) or is_cfunc(data)


def wrap(function: Any, boundary: Any, dtype: np.dtype, name: str, caller: str = "solve") -> Any:
    """Wrap a function for kernels: njit functions and cfuncs as compiled code, other functions with the points' dtype."""
    if is_cfunc(function):
        _check_signature(function, name, caller)
        return Compiled(function)
    if is_njit(function):
        _check_results(function, boundary, name, caller)
        return Compiled(_compile(function, boundary.dimension))
    exact = name.startswith("diffusion")  # float32 second differences would be noise
    return Function(function, np.dtype(np.float64) if exact else dtype, name, caller)
