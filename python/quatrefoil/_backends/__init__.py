"""The backends, and the choice among them. A backend is a module with ``reason()`` and ``kernel(op)``."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any, cast

from .._spec import Op
from .._typing import Backend
from .._warnings import warn
from . import array, cuda, native, numba

_MODULES: dict[Backend, ModuleType] = {"native": native, "cuda": cuda, "array": array, "numba": numba}
_HOST_BACKENDS = ("native", "numba")
_FORCED: Backend | None = None  # from QUATREFOIL_BACKEND, read at import
CHOSEN: ContextVar[Backend | None] = ContextVar("quatrefoil_backend", default=None)  # by use_backend, for this thread or task


@contextlib.contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Use this backend for every call in the block, in this thread or task.

    ``name`` is "native", "cuda", "array" or "numba".

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
    """The backend of the current ``use_backend`` block."""
    return CHOSEN.get()


def check_name(name: str, where: str) -> None:
    """Raise ValueError if the backend does not exist or is not available."""
    if name not in _MODULES:
        raise ValueError(f"{where}: unknown backend {name!r}, expected {', '.join(_MODULES)}")
    if reason(name):
        raise ValueError(
            f"{where}: backend {name!r} is not available: {reason(name)}; available: {', '.join(n for n in _MODULES if not reason(n))}"
        )


def reason(name: Backend) -> str | None:
    """Why this backend is not available; None if it is."""
    return cast(str | None, _MODULES[name].reason())


def default() -> Backend:
    """The default backend of calls on host arrays."""
    return _FORCED or host_default()


def host_default() -> Backend:
    """The default backend of host arrays if QUATREFOIL_BACKEND is not set."""
    return "numba" if native.reason() else "native"


def kernel(op: Op, backend: str | None, device: str = "cpu", arrays: Sequence[Any] = ()) -> tuple[Backend, Callable[..., Any]]:
    """The backend that runs ``op`` on the given flat arrays on ``device``, and its kernel (inputs, outputs, options, extras, num_threads),
    or for "array" its composition. If no backend can run it, the error gives the reason for each backend."""
    wanted: Any = backend or _FORCED  # checked below
    if device != "cpu" and wanted in _HOST_BACKENDS:
        where = f"the arrays are on {device}, but backend {wanted!r} runs only on the host"
        raise TypeError(f"{op.label}: {where}; omit backend=, or move the arrays to the host")
    if backend is not None:
        check_name(backend, op.label)
    tried = []
    usual: list[Backend] = ["native", "numba"] if device == "cpu" else ["cuda", "array"]
    for name in [wanted] if wanted else usual:
        module = _MODULES[name]
        why = module.reason() or (name == "cuda" and _not_on_device(op, device, arrays, bool(wanted))) or None
        kernel = None if why else _find(op, name)
        if kernel is not None:
            if name == "numba" and wanted is None and native.reason():
                warn_of_failure()
            if name == "array" and wanted is None and cuda.has_kernel(op) and cuda.lacks(device):
                warn_of_composing()
            return name, kernel
        tried.append(f"{name}: {why or 'has no kernel for it'}")
    raise NotImplementedError(f"{op.label}: no backend can run this call ({'; '.join(tried)})")


def _find(op: Op, name: Backend) -> Callable[..., Any] | None:
    """The kernel of an op on a backend. On "numba", a method without loops runs its composition with NumPy."""
    kernel: Callable[..., Any] | None = (_host_kernel(op, name) if name in _HOST_BACKENDS else None) or _MODULES[name].kernel(op)
    if name != "numba":
        return kernel
    kernel = kernel or array.as_kernel(op)
    return _checked(op, kernel) if kernel and op.policy.check_values else kernel


def _checked(op: Op, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that first checks values, as compiled kernels do themselves."""
    check, after_inputs, after_options = op.policy.check_values, len(op.inputs), -1 - len(op.extras)
    assert check is not None

    def run(*arguments: Any) -> None:
        check(op.label, arguments[:after_inputs], arguments[after_options - len(op.options) : after_options])
        kernel(*arguments)

    return run


def _not_on_device(op: Op, device: str, arrays: Sequence[Any], is_wanted: bool) -> str | None:
    """Why a call with these arrays on this device does not use a GPU kernel."""
    return cuda.lacks(device) or _lacks_precision(op, arrays) or (None if is_wanted else _declined(op, arrays))


def _lacks_precision(op: Op, arrays: Sequence[Any]) -> str | None:
    doubled = op.policy.float32_on_gpus and any(str(a.dtype).endswith("float64") for a in arrays if a is not None)
    return "its kernel supports only single precision; backend 'array' computes in float64" if doubled else None


def _declined(op: Op, arrays: Sequence[Any]) -> str | None:
    if op.policy.prefers_library is None or not arrays:
        return None
    shapes = op.split([None if a is None else tuple(a.shape) for a in arrays])
    return "leaves arrays of these shapes to the array library's own functions" if op.policy.prefers_library(shapes) else None


def _host_kernel(op: Op, name: str) -> Callable[..., Any] | None:
    """The Python kernel of an op, which calls other ops on that backend; None if the op has none."""
    compute = op.policy.python_kernel

    def kernel(*arguments: Any) -> None:
        compute(*arguments, backend=name)  # type: ignore[misc]

    return kernel if compute else None


@functools.cache
def warn_of_failure() -> None:
    """Warn once per process if the build of the compiled kernels failed, unless Numba was requested, at installation or now."""
    failure = native.build_failure()
    if failure:
        warn(
            f"quatrefoil runs on Numba, because its compiled kernels could not be built: {failure}\n"
            "Fix the error and reinstall (pip install --force-reinstall --no-cache-dir); QUATREFOIL_BACKEND=numba silences this warning."
        )


@functools.cache
def warn_of_composing() -> None:
    """Warn once per process if an operation on a device does not use its GPU kernel."""
    warn(
        f"quatrefoil has GPU kernels that this call does not use: {cuda.reason() or 'this device cannot run them'}\n"
        "It uses functions of the array library instead, which is slower; qf.use_backend('array') silences this warning."
    )


def takes_tensors(kernel: Callable[..., Any]) -> bool:
    """Whether a kernel reads torch tensors; otherwise it receives NumPy views of the same memory."""
    return native.owns(kernel)


def read_environment() -> None:
    """Read QUATREFOIL_BACKEND and QUATREFOIL_ISA; raise ValueError if a choice is not available."""
    global _FORCED
    isa = os.environ.get("QUATREFOIL_ISA") or ""
    wanted = os.environ.get("QUATREFOIL_BACKEND") or None
    native.choose_isa(isa)
    if native.unusable() and wanted is None:
        warn(f"quatrefoil runs on Numba: {native.reason()}. QUATREFOIL_BACKEND=numba silences this warning.")
    if wanted is not None:
        if wanted not in _MODULES:
            raise ValueError(f"QUATREFOIL_BACKEND={wanted} is unknown; available: {', '.join(_MODULES)}")
        if wanted != "cuda":  # checked by the first call, which looks for a device
            check_name(wanted, f"QUATREFOIL_BACKEND={wanted}")
    _FORCED = wanted


def choice() -> tuple[str, str]:
    """The default backend, and the reason for it."""
    name = default()
    if _FORCED:
        return name, f"QUATREFOIL_BACKEND={_FORCED}"
    if name == "numba":
        return name, f"no compiled kernels: {native.reason()}"
    built, runs = (", ".join(isas) for isas in (native.isas_built(), native.isas()))
    return name, f"compiled kernels for {native.isa()} (built: {built}; supported by this processor: {runs})"
