"""Versions, threads and the report that ``show_config`` prints."""

from __future__ import annotations

import os
from typing import Any

from . import _arguments, _backends
from ._backends import native

_OPTIONAL = ("numpy", "scipy", "numba", "torch", "cupy", "distributed", "matplotlib", "PyWavelets")
_num_threads = 1


def _quota() -> int | None:
    """The cgroup's share of processors, rounded up."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as f:
            limit, period = f.read().split()
        return None if limit == "max" else max(1, -(-int(limit) // int(period)))
    except (OSError, ValueError):
        return None


def default_threads() -> int:
    """The processors this process may use, and no more than QUATREFOIL_NUM_THREADS or OMP_NUM_THREADS allow."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [here, _quota() or here]
    own = os.environ.get("QUATREFOIL_NUM_THREADS")
    if own:
        if not own.isdigit() or int(own) < 1:
            raise ValueError(f"QUATREFOIL_NUM_THREADS={own} cannot be met; possible: a whole number, at least 1")
        return int(own)
    openmp = os.environ.get("OMP_NUM_THREADS", "")
    if openmp.isdigit() and int(openmp) > 0:
        limits.append(int(openmp))
    return min(limits)


def set_num_threads(n: int) -> None:
    """Threads of every later call that gives no ``num_threads``. Results do not depend on it, to the last bit."""
    global _num_threads
    _num_threads = _arguments.threads(n, "set_num_threads")
    native.set_num_threads(_num_threads)


def get_num_threads() -> int:
    """Threads of a call that gives no ``num_threads``."""
    return _num_threads


def version() -> str:
    """The installed version of quatrefoil."""
    import importlib.metadata  # 15 ms, which `import quatrefoil` need not pay

    return importlib.metadata.version("quatrefoil")


def _package_version(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def config() -> dict[str, Any]:
    """What is in use and why, as plain values: json.dumps takes them.

    Keys: version, backend, reason, isa, isas, num_threads, cuda {archs, device, reason}, packages {name: version or None}.
    """
    backend, why = _backends.choice()
    return {
        "version": version(),
        "backend": backend,
        "reason": why,
        "isa": native.isa() if backend == "native" else None,
        "isas": native.isas(),
        "num_threads": _num_threads,
        "cuda": {"archs": [], "device": None, "reason": _backends.reason("cuda")},
        "packages": {name: _package_version(name) for name in _OPTIONAL},
    }


def show_config() -> None:
    """Print ``config()``, a line an entry."""
    for key, value in config().items():
        if isinstance(value, dict):
            for name, item in value.items():
                print(f"{key}.{name}: {item if item not in (None, []) else '-'}")
        else:
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")


def read_environment() -> None:
    """Every QUATREFOIL_* variable; what cannot be met raises here, at import."""
    _backends.read_environment()
    set_num_threads(default_threads())
