"""Fingerprints of users' functions: equal bytes for functions that compute the same results, in any process.

The fingerprint of a function covers its code, constants, closures, defaults, attributes and the globals that it reads. That of an object
covers the contents of its pickle. Python and installed packages are identified by name.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from dis import get_instructions
from pathlib import Path
from typing import Any

import numpy as np

from ... import _arrays
from ..data.functions import is_cfunc, is_njit

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_OF_CLASSES = (types.GetSetDescriptorType, types.MemberDescriptorType)  # slots and similar descriptors, identified by name


class NotComparable(Exception):
    """Raised if a value cannot be compared. The message names it."""


def fingerprint(value: Any) -> bytes:
    """32 bytes, equal for values that give the same results. Raises NotComparable if that cannot be decided."""
    try:
        return _Fingerprints().digest(value)
    except RecursionError:
        raise NotComparable(f"{type(value).__name__} nested too deeply") from None


class _Fingerprints:
    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}
        self._alive: list[Any] = []  # keeps objects alive so that no id is reused
        self._begun: dict[int, int] = {}  # depth of each value in progress, for recursive functions

    def digest(self, value: Any) -> bytes:
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return _hash(type(value).__name__, repr(value))  # repr of a float is exact
        key = id(value)
        if key in self._begun:
            return _hash("again", str(self._begun[key]))
        if key not in self._known:
            self._begun[key] = len(self._begun)
            self._alive.append(value)
            try:
                self._known[key] = _hash(*self._parts(value))
            finally:
                del self._begun[key]
        return self._known[key]

    def _parts(self, value: Any) -> Iterator[str | bytes]:
        yield type(value).__qualname__
        if type(value) in (tuple, list):
            yield from map(self.digest, value)
        elif type(value) is dict:
            yield from sorted(self.digest(key) + self.digest(item) for key, item in value.items())
        elif type(value) in (set, frozenset):
            yield from sorted(map(self.digest, value))
        elif isinstance(value, types.ModuleType):
            yield value.__name__
        elif _arrays.kind(value) is not None:
            yield from self._array(value)
        elif is_njit(value):
            yield self.digest(value.py_func)
        elif is_cfunc(value):
            yield self.digest(value.__wrapped__)
        elif isinstance(value, types.CodeType):
            yield from (value.co_code, getattr(value, "co_exceptiontable", b""), " ".join(value.co_names), " ".join(value.co_varnames))
            yield from map(self.digest, value.co_consts)
        elif isinstance(value, (type, types.FunctionType)) and _is_installed(value):
            yield from (value.__module__, value.__qualname__)
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        else:
            yield from self._object(value)

    def _array(self, value: Any) -> Iterator[str | bytes]:
        yield f"{_arrays.dtype_name(value)} {tuple(value.shape)}"
        if _arrays.kind(value) == "cupy":
            yield _arrays.to_host(value).tobytes()
        elif not isinstance(value, np.ndarray):  # NumPy has no bfloat16, so torch provides the bytes
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
            yield plain.reshape(-1).view(sys.modules["torch"].uint8).numpy().tobytes()
        elif value.dtype.hasobject:
            yield from map(self.digest, value.ravel().tolist())
        else:
            yield value.tobytes()

    def _function(self, f: types.FunctionType) -> Iterator[bytes]:
        yield self.digest(f.__code__)
        yield self.digest([_content(cell) for cell in f.__closure__ or ()])
        yield self.digest([f.__defaults__, f.__kwdefaults__, vars(f)])
        parts = list(_nested(f.__code__))
        read = {i.argval for part in parts for i in get_instructions(part) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        names = {name for part in parts for name in part.co_names}
        for name in sorted(read & f.__globals__.keys()):
            item = f.__globals__[name]
            yield self.digest(name)
            yield self.digest(item)
            if isinstance(item, types.ModuleType) and not _is_installed(item):  # attributes of the module that f may read
                yield from (self.digest(getattr(item, n)) for n in sorted(names & vars(item).keys()))

    def _class(self, cls: type) -> Iterator[str | bytes]:
        yield cls.__qualname__
        yield from map(self.digest, cls.__bases__)
        for name, item in sorted(vars(cls).items()):
            inner = getattr(item, "__func__", getattr(item, "func", item))  # unwraps static methods, class methods and cached properties
            if isinstance(item, property):
                inner = (item.fget, item.fset)
            if isinstance(item, _OF_CLASSES) or (name.startswith("__") and not isinstance(inner, types.FunctionType)):
                continue
            yield name
            yield self.digest(inner)

    def _object(self, value: Any) -> Iterator[str | bytes]:
        """The contents of the object's pickle."""
        reduce = copyreg.dispatch_table.get(type(value))
        try:
            parts = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception:
            raise NotComparable(f"an object of class {type(value).__module__}.{type(value).__qualname__}") from None
        if isinstance(parts, str):
            yield from (str(getattr(value, "__module__", "")), parts)
            if hasattr(value, "__wrapped__"):  # functools.lru_cache and similar
                yield self.digest(value.__wrapped__)
            return
        for part in parts:
            yield self.digest(list(part) if isinstance(part, Iterator) else part)


def _hash(*parts: str | bytes) -> bytes:
    h = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        h.update(len(data).to_bytes(8, "little") + data)
    return h.digest()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty cell
        return NotImplemented


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function and of the functions inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _nested(const)


def _is_installed(value: Any) -> bool:
    """Whether a function, class or module belongs to Python or an installed package and can be found by its name."""
    name = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
    if not isinstance(value, types.ModuleType) and "<" in value.__qualname__:  # defined inside a function
        return False
    return isinstance(name, str) and _comes_with_python(name.partition(".")[0])


@functools.cache
def _comes_with_python(package: str) -> bool:
    if package in sys.stdlib_module_names or package == __name__.partition(".")[0]:
        return package != "__main__"
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    own = (sysconfig.get_paths()[where] for where in ("purelib", "platlib"))
    of_numpy = str(Path(np.__file__).parents[1])  # also covers "pip install --target"
    return file.startswith((*own, of_numpy, *site.getsitepackages(), site.getusersitepackages()))
