"""Which backends there are, which one is in use and why. A backend is a module with ``reason()`` and ``kernel(op)``."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from .._spec import Op
from .._typing import Backend
from . import array, cuda, native, numba

_MODULES: dict[Backend, ModuleType] = {"native": native, "cuda": cuda, "array": array, "numba": numba}
_OF_THE_HOST = ("native", "numba")
_FORCED: Backend | None = None  # by QUATREFOIL_BACKEND, read at import
CHOSEN: ContextVar[Backend | None] = ContextVar("quatrefoil_backend", default=None)  # by use_backend, for this thread or task


@contextlib.contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Within the block, in this thread or task, every call takes this backend.

    "native", "cuda", "array" or "numba".

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> with qf.use_backend("array"):
    ...     y = qf.ssm.linear_scan(np.full(3, 0.5), np.ones(3))
    >>> y
    array([1.  , 1.5 , 1.75])
    """
    check_name(name, "use_backend")
    token = CHOSEN.set(name)
    try:
        yield
    finally:
        CHOSEN.reset(token)


def chosen() -> Backend | None:
    """What ``use_backend`` says here and now."""
    return CHOSEN.get()


def check_name(name: str, where: str) -> None:
    """ValueError where there is no such backend, or it cannot be used here."""
    if name not in _MODULES:
        raise ValueError(f"{where}: unknown backend {name!r}, expected {', '.join(_MODULES)}")
    if reason(name):
        raise ValueError(
            f"{where}: backend {name!r} is not available: {reason(name)}; available: {', '.join(n for n in _MODULES if not reason(n))}"
        )


def reason(name: Backend) -> str | None:
    """Why this backend cannot be used here; None where it can."""
    why: str | None = _MODULES[name].reason()
    return why


def default() -> Backend:
    """The backend of calls on host arrays that name none."""
    return _FORCED or of_host()


def of_host() -> Backend:
    """The backend of host arrays, whatever was asked for."""
    return "numba" if native.reason() else "native"


def kernel(op: Op, backend: str | None, device: str = "cpu", arrays: Sequence[Any] = ()) -> tuple[Backend, Callable[..., Any]]:
    """The backend that runs ``op`` on those flat arrays of that device, and its kernel: (inputs, outputs, options, extras, num_threads); of
    "array" its composition. A miss raises with every reason."""
    wanted: Any = backend or _FORCED  # one of ours, as is checked below
    if device != "cpu" and wanted in _OF_THE_HOST:
        where = f"the arrays are on {device}, where backend {wanted!r} does not run"
        raise TypeError(f"{op.label}: {where}; leave the choice of a backend out, or move the arrays to the host")
    if backend is not None:
        check_name(backend, op.label)
    tried = []
    usual: list[Backend] = ["native", "numba"] if device == "cpu" else ["cuda", "array"]
    for name in [wanted] if wanted else usual:
        module = _MODULES[name]
        why = module.reason() or (name == "cuda" and (_lacks_precision(op, arrays) or (not wanted and _declined(op, arrays)))) or None
        found = None if why else _find(op, name)
        if found is not None:
            if name == "numba" and wanted is None and native.reason():
                warn_of_failure()
            return name, found
        tried.append(f"{name}: {why or 'has no such kernel'}")
    raise NotImplementedError(f"{op.label}: no backend can run this ({'; '.join(tried)})")


def _find(op: Op, name: Backend) -> Callable[..., Any] | None:
    """The kernel of an op on a backend. Without a compiler, a method that has no loops for Numba runs its composition over NumPy."""
    found: Callable[..., Any] | None = (_host_kernel(op, name) if name in _OF_THE_HOST else None) or _MODULES[name].kernel(op)
    if name != "numba":
        return found
    found = found or array.as_kernel(op)
    return _checked(op, found) if found and op.policy.check_values else found


def _checked(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel after the check of values that compiled kernels do themselves."""
    check, after_inputs, after_options = op.policy.check_values, len(op.inputs), -1 - len(op.extras)
    assert check is not None

    def run(*given: Any) -> None:
        options = given[after_options - len(op.options) : after_options]
        check(op.label, given[:after_inputs], options)
        kernel(*given)

    return run


def _lacks_precision(op: Op, arrays: Sequence[Any]) -> str | None:
    doubled = op.policy.float32_on_gpus and any(str(a.dtype).endswith("float64") for a in arrays if a is not None)
    return "its kernel is of single precision; backend 'array' computes in float64" if doubled else None


def _declined(op: Op, arrays: Sequence[Any]) -> str | None:
    if op.policy.prefers_library is None or not arrays:
        return None
    shapes = op.split([None if a is None else tuple(a.shape) for a in arrays])
    return "leaves arrays of these shapes to the library's own functions" if op.policy.prefers_library(shapes) else None


def composed(op: Op, kernel: Any, kind: str, layout: Any, options: Any) -> Callable[[Any, Any], list[Any]]:
    """The composition that ``kernel`` has found, as (flat arrays, extras) -> flat results, which may be views of anything."""
    return array.bind(op, kernel, kind, layout, options)


def _host_kernel(op: Op, name: str) -> Callable[..., Any] | None:
    """The array code of an op, which calls other ops on that backend."""
    host = op.policy.python_kernel

    def kernel(*arguments: Any) -> None:
        host(*arguments, backend=name)  # type: ignore[misc]

    return kernel if host else None


@functools.cache
def warn_of_failure() -> None:
    """One warning a process where the native part was wanted and could not be built; none where Numba was asked for, then or now."""
    failure = native.build_failure()
    if failure:
        _warn(
            f"quatrefoil runs on Numba, because its native part could not be built: {failure}\n"
            "Fix that and reinstall (pip install --force-reinstall --no-cache-dir); QUATREFOIL_BACKEND=numba silences this warning."
        )


def _warn(message: str) -> None:
    """A warning at the line of the caller's own that calls quatrefoil, or imports it."""
    frame, level = sys._getframe(), 0
    while frame.f_back:
        importing = "importlib._bootstrap" in frame.f_code.co_filename  # which `warn` does not count
        if not importing and frame.f_globals.get("__name__", "").partition(".")[0] != "quatrefoil":
            break
        frame, level = frame.f_back, level + (not importing)
    warnings.warn(message, RuntimeWarning, stacklevel=level + 1)


def takes_tensors(kernel: Callable[..., Any]) -> bool:
    """Whether a kernel reads torch tensors as they are; if not, it gets NumPy views of the same memory."""
    return native.owns(kernel)


def read_environment() -> None:
    """QUATREFOIL_BACKEND and QUATREFOIL_ISA; an unavailable choice is a ValueError."""
    global _FORCED
    isa = os.environ.get("QUATREFOIL_ISA") or ""
    wanted = os.environ.get("QUATREFOIL_BACKEND") or None
    native.choose_isa(isa)
    if native.unusable() and wanted is None:
        _warn(f"quatrefoil runs on Numba: {native.reason()}. QUATREFOIL_BACKEND=numba silences this warning.")
    if wanted is not None:
        if wanted not in _MODULES:
            raise ValueError(f"QUATREFOIL_BACKEND={wanted} is unknown; available: {', '.join(_MODULES)}")
        if wanted != "cuda":  # whether there is a device shows at the first call
            check_name(wanted, f"QUATREFOIL_BACKEND={wanted}")
    _FORCED = wanted


def choice() -> tuple[str, str]:
    """(the default backend, why it is that one)."""
    name = default()
    if _FORCED:
        return name, f"QUATREFOIL_BACKEND={_FORCED}"
    if name == "numba":
        return name, f"no compiled kernels: {native.reason()}"
    return (
        name,
        f"compiled kernels for {native.isa()} (built: {', '.join(native.isas_built())}; this processor runs: {', '.join(native.isas())})",
    )
