"""Versions, threads and the report that ``show_config`` prints."""

from __future__ import annotations

import os
from typing import Any

from . import _arguments, _backends
from ._backends import cuda, native

_OPTIONAL = ("numpy", "scipy", "numba", "torch", "jax", "cupy", "array-api-compat", "distributed", "matplotlib", "PyWavelets")
_num_threads = 1


def _quota() -> int | None:
    """The number of processors that the cgroup allows, rounded up."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as f:
            limit, period = f.read().split()
        return None if limit == "max" else max(1, -(-int(limit) // int(period)))
    except (OSError, ValueError):
        return None


def default_threads() -> int:
    """QUATREFOIL_NUM_THREADS or, if it is not set, the number of processors that this process may use, limited by OMP_NUM_THREADS."""
    own = os.environ.get("QUATREFOIL_NUM_THREADS")
    if own:
        threads = _threads_of(own)
        if threads is None:
            raise ValueError(f"QUATREFOIL_NUM_THREADS={own} is not valid; expected a whole number from 1 to {_arguments.MAX_THREADS}")
        return threads
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _quota() or count, _threads_of(os.environ.get("OMP_NUM_THREADS", "")) or count)


def _threads_of(text: str) -> int | None:
    """The number of threads in an environment variable; None if it is not valid."""
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdigit() and 1 <= len(digits) <= len(str(_arguments.MAX_THREADS))):
        return None
    return int(digits) if int(digits) <= _arguments.MAX_THREADS else None


def set_num_threads(n: int) -> None:
    """Set the number of threads of later calls without ``num_threads``.

    The bits of results do not depend on it.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> before = qf.get_num_threads()
    >>> qf.set_num_threads(1)
    >>> qf.get_num_threads()
    1
    >>> qf.set_num_threads(before)
    """
    global _num_threads
    threads = _arguments.threads(n, "set_num_threads")
    native.set_num_threads(threads)
    _num_threads = threads


def get_num_threads() -> int:
    """The number of threads of a call without ``num_threads``.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> qf.get_num_threads() >= 1
    True
    """
    return _num_threads


def version() -> str:
    """The installed version of quatrefoil."""
    import importlib.metadata  # takes 15 ms, too long for `import quatrefoil`

    return importlib.metadata.version("quatrefoil")


def _package_version(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def config() -> dict[str, Any]:
    """The configuration in use, and the reasons for it, as plain values for json.dumps.

    Keys: version, backend, reason, isa, isas, isas_built, num_threads, cuda {archs, device, reason}, packages {name: version or None}.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> qf.config()["backend"] in ("native", "numba")
    True
    """
    backend, why = _backends.choice()
    return {
        "version": version(),
        "backend": backend,
        "reason": why,
        "isa": native.isa() if backend == "native" else None,
        "isas": native.isas(),
        "isas_built": native.isas_built(),
        "num_threads": _num_threads,
        "cuda": {"archs": cuda.archs(), "device": cuda.device(), "reason": cuda.reason()},
        "packages": {name: _package_version(name) for name in _OPTIONAL},
    }


def show_config() -> None:
    """Print ``config()``, one line per entry.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> qf.show_config()  # doctest: +ELLIPSIS
    version: ...
    backend: ...
    """
    for key, value in config().items():
        if isinstance(value, dict):
            for name, item in value.items():
                print(f"{key}.{name}: {(', '.join(item) if isinstance(item, list) else item) or '-'}")
        else:
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")


def read_environment() -> None:
    """Read QUATREFOIL_BACKEND, QUATREFOIL_ISA and QUATREFOIL_NUM_THREADS; an invalid value raises an error."""
    _backends.read_environment()
    set_num_threads(default_threads())
