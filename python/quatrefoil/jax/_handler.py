"""The function that XLA calls: it reads XLA's structs, wraps buffers as NumPy arrays without copies, and turns exceptions into XLA errors.

The ABI is ``xla/ffi/api/c_api.h`` in ``jax.ffi.include_dir()``, major version 0; every minor version has the fields that are read here.
``struct`` unpacks a whole record at once, which is four times as fast as reading individual ctypes fields.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any

import jax
import numpy as np

from ._site import Buffer, site_of

TARGET = "quatrefoil"
_NEWEST_MINOR = 3  # version of the ABI that was tested


class _Record:
    """A C struct: ``at(address)`` returns a tuple of its fields. Most structs begin with their size and their extensions: N P."""

    def __init__(self, fields: str) -> None:
        self._struct = Struct("@" + fields)
        self.size = self._struct.size
        self._bytes = ctypes.c_char * self.size

    def at(self, address: int) -> tuple[Any, ...]:
        return self._struct.unpack_from(self._bytes.from_address(address))

    def put(self, address: int, *fields: Any) -> None:
        self._struct.pack_into(self._bytes.from_address(address), 0, *fields)


# api, context, stage; count, types and items of the arguments, the results and the attributes, which also have names
_FRAME = _Record("NP PPi NPqPP NPqPP NPqPPP")
_BUFFER = _Record("NP iPqP")  # dtype, data, rank, dims
_SPAN = _Record("PN")  # begin, size
_VERSION = _Record("NP ii")  # major, minor
_API = _Record("NP NPii PP")  # version, internals, the function that creates an error
_ERROR = _Record("NP Pi")  # message, code
_EXTENSION = _Record("Ni PP")  # type, next extension, metadata: its size, then a version to fill in
_POINTER = _Record("P")
_IS_METADATA = 1

_CODES = {ValueError: 3, TypeError: 3, MemoryError: 8, NotImplementedError: 12, KeyboardInterrupt: 1}  # XLA's error codes
_INTERNAL = 13
_make_error = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def _handle(address: int) -> Any:
    """Handle a call from XLA: return None, or the error that XLA raises."""
    _, extension, api, _, _, _, _, inputs, _, arguments, _, _, outputs, _, results, *_, attributes = _FRAME.at(address)
    try:
        if extension and _EXTENSION.at(extension)[1] == _IS_METADATA:
            return _tell_version(_EXTENSION.at(extension)[3], api)
        site = site_of(ctypes.string_at(*_SPAN.at(_POINTER.at(attributes)[0])))
        site.run(_arrays(site.arguments, arguments, inputs), _arrays(site.results, results, outputs))
    except BaseException as error:  # no exception may pass through XLA's frames
        return _error(error, api)
    return None


def _tell_version(metadata: int, api: int) -> None:
    minor = _API.at(api)[5] if api else _minor_in_header()
    _VERSION.put(metadata + ctypes.sizeof(ctypes.c_size_t), _VERSION.size, 0, 0, min(minor, _NEWEST_MINOR))


def _minor_in_header() -> int:
    """The minor version, which older versions of XLA do not pass."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text()
    return int(re.findall(r"#define XLA_FFI_API_MINOR (\d+)", header)[0])


def _error(error: BaseException, api: int) -> Any:
    code = next((n for kind, n in _CODES.items() if isinstance(error, kind)), _INTERNAL)
    message = str(error) if code != _INTERNAL and str(error) else f"{type(error).__name__}: {error}"
    text, record = ctypes.create_string_buffer(message.encode()), ctypes.create_string_buffer(_ERROR.size)
    _ERROR.put(ctypes.addressof(record), _ERROR.size, 0, ctypes.addressof(text), code)
    return _make_error(_API.at(api)[7])(ctypes.addressof(record))


def _arrays(expected: Sequence[Buffer], items: int, count: int) -> list[np.ndarray]:
    """NumPy arrays over the memory of the buffers; their shapes and types must be those of the traced call."""
    if count != len(expected):
        raise RuntimeError(f"quatrefoil: XLA passed {count} buffers, expected {len(expected)}")
    arrays = []
    for i, (shape, dtype, code, sizes, sizes_memory, memory) in enumerate(expected):
        _, _, passed_code, data, rank, dims = _BUFFER.at(_POINTER.at(items + i * _POINTER.size)[0])
        if passed_code != code or rank != len(shape) or (rank and sizes_memory.from_address(dims).raw != sizes):
            raise RuntimeError(f"quatrefoil: XLA passed a buffer with {rank} axes and type {passed_code}, expected {shape} of {dtype}")
        arrays.append(np.ndarray(shape, dtype, memory.from_address(data)) if memory else np.empty(shape, dtype))
    return arrays


_handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(_handle)  # ctypes acquires the GIL
jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(ctypes.cast(_handler, ctypes.c_void_p).value), platform="cpu")
