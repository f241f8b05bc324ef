"""The kernels of ``quatrefoil._cuda``, where that was asked for when this installation was made (QUATREFOIL_CUDA=1)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from .._spec import Op


@functools.cache
def _module() -> Any:
    """The extension module, imported when a device is first asked about; None where there is none."""
    return importlib.import_module("quatrefoil._cuda") if importlib.util.find_spec("quatrefoil._cuda") else None


@functools.cache
def reason() -> str | None:
    if _module() is None:
        return "built without CUDA: QUATREFOIL_CUDA=1 pip install . builds its kernels, with nvcc; on a device backend 'array' runs"
    missing = _module().why_no_device()
    return f"no device can be used: {missing}" if missing else None


def kernel(op: Op) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = getattr(getattr(_module(), op.family, None), op.name, None)
    return found


def archs() -> list[str]:
    """The GPUs that there is machine code for, as CMake says it: "90-real"; without "-real" PTX for later ones too."""
    return _module().archs.split() if _module() else []


def device() -> str | None:
    """The first device, by name; None where none can be used."""
    return None if reason() else _module().device_name(0)
