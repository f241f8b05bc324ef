"""The compiled kernels of ``quatrefoil._core``."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, cast

from .. import _arrays
from .._spec import Op

# An extension module that exists but does not load is an error, never a fallback, so the code uses find_spec instead of catching
# ImportError. Any processor of its architecture can load it, because only the kernels are compiled for newer processors.
_built: list[str] = []  # the instruction sets of the kernels, best first
_unusable: str | None = None  # why this processor supports none of them
if importlib.util.find_spec("quatrefoil._core"):
    import quatrefoil._core as _core

    _built = list(_core.isas_built)
    if _core.isas():
        _arrays.large = _core.empty
    else:
        _core = None  # type: ignore[assignment]
        _unusable = f"they are for x86-64-{', '.join(_built)}, which this processor does not support"
        if "v2" not in _built:
            _unusable += "; reinstall on this machine: QUATREFOIL_ISAS=all pip install --force-reinstall --no-cache-dir ."
else:
    _core = None  # type: ignore[assignment]

call: Callable[..., Any] | None = _core.call if _core else None  # the entry point in C++, equal to _call.look_up_and_run


@functools.cache
def build_failure() -> str | None:
    """The compiler's error, if the build of the kernels failed at installation (cmake/quatrefoil_build.py)."""
    if _core or not importlib.util.find_spec("quatrefoil._build_failure"):
        return None
    return str(importlib.import_module("quatrefoil._build_failure").error)


def unusable() -> str | None:
    """Why the compiled kernels do not run on this processor, and the remedy. None if they do, or if nothing was compiled."""
    return _unusable


def reason() -> str | None:
    if _core:
        return None
    if _unusable is not None:
        return f"the compiled kernels cannot be used: {_unusable}"
    failure = build_failure()
    return f"their build failed: {failure}" if failure else "not built, as requested by QUATREFOIL_PURE=1"


def core() -> Any:
    """Return the extension module, for objects that are not ops, such as plans and boundaries. Fails if ``reason()`` returns a reason."""
    return _core


def kernel(op: Op) -> Callable[..., Any] | None:
    return cast(Callable[..., Any] | None, getattr(getattr(_core, op.family, None), op.name, None))


def owns(kernel: Callable[..., Any]) -> bool:
    """Whether this is a compiled function of the extension."""
    return not hasattr(kernel, "__code__")


def choose_isa(name: str) -> None:
    if _core:
        _core.choose_isa(name)
    elif name:
        raise ValueError(f"QUATREFOIL_ISA={name} is not available: {reason()}; unset it")


def isa() -> str | None:
    return _core.isa() if _core else None


def isas() -> list[str]:
    """The instruction sets that were built and that this processor supports, best first."""
    return _core.isas() if _core else []


def isas_built() -> list[str]:
    """The instruction sets that were built, best first; this processor may support none of them."""
    return _built


def set_num_threads(n: int) -> None:
    if _core:
        _core.set_num_threads(n)
