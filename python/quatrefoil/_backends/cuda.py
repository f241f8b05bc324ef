"""The kernels of ``quatrefoil._cuda``, if this installation was built with QUATREFOIL_CUDA=1."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, cast

from .._spec import Op


@functools.cache
def _module() -> Any:
    """The extension module, imported at the first use; None if it was not built."""
    return importlib.import_module("quatrefoil._cuda") if importlib.util.find_spec("quatrefoil._cuda") else None


@functools.cache
def reason() -> str | None:
    if _module() is None:
        return "built without CUDA: QUATREFOIL_CUDA=1 pip install . builds its kernels, with nvcc; on a device backend 'array' runs"
    missing = _module().why_no_device()
    return f"no device can be used: {missing}" if missing else None


def kernel(op: Op) -> Callable[..., Any] | None:
    return cast(Callable[..., Any] | None, getattr(getattr(_module(), op.family, None), op.name, None))


def archs() -> list[str]:
    """The GPUs with machine code, in CMake's notation: "90-real"; without "-real" also PTX for later ones."""
    return _module().archs.split() if _module() else []


def device() -> str | None:
    """The name of the first device; None if none can be used."""
    return None if reason() else _module().device_name(0)
