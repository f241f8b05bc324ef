"""If flash-linear-attention is installed, this library's functions become one of its backends, for CPU tensors."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ._upstream import MODULES, resolve

_OPERATIONS = {"chunk_gated_delta_rule": "gated_delta_rule", "chunk_dplr_delta_rule": "generalized_delta_rule.dplr"}  # fla's registries
_active = False


def has_registry() -> bool:
    """Whether flash-linear-attention is installed and accepts backends; ImportError if it cannot be imported, e.g. without Triton."""
    return importlib.util.find_spec("fla") is not None and hasattr(importlib.import_module("fla.backends"), "register")


def register() -> Callable[[], None]:
    """Register all functions; returns a function that restores those of fla."""
    global _active
    _active = True
    replaced: list[tuple[Any, Any]] = []
    for path in [path for path in MODULES if path.startswith("fla.ops.") and importlib.util.find_spec(path)]:
        module = importlib.import_module(path)
        for name, source in MODULES[path].items():
            own = getattr(module, name, None)
            if own is not None and not _registered(name, own, resolve(source)):
                ours = _by_device(own, resolve(source))
                _replace(own, ours)
                replaced.append((own, ours))

    def undo() -> None:
        global _active
        _active = False
        for own, ours in replaced:
            _replace(ours, own)

    return undo


def _registered(name: str, own: Any, ours: Any) -> bool:
    """Register one function with fla, or return False if fla calls it directly."""
    backends = importlib.import_module("fla.backends")
    backend = type("Quatrefoil", (backends.BaseBackend,), {
        "backend_type": "quatrefoil", "priority": -1, "is_available": staticmethod(lambda: _active), name: staticmethod(ours),
    })  # fmt: skip
    try:
        if name in _OPERATIONS:
            backends.register(_OPERATIONS[name], verifier=_verify)(backend)
        else:
            backends.register(own, backend=backend, verifier=_verify)(ours)
    except KeyError:
        return False
    return True


def _verify(*args: Any, **kwargs: Any) -> tuple[bool, str | None]:
    """Whether a call has CPU tensors, and if not, the reason, for fla's log."""
    first = args[0] if args else next(iter(kwargs.values()))
    return (True, None) if first.device.type == "cpu" else (False, f"a tensor on {first.device}; quatrefoil accepts only CPU tensors")


def _by_device(own: Any, ours: Any) -> Any:
    @functools.wraps(own)
    def function(*args: Any, **kwargs: Any) -> Any:
        return (ours if _verify(*args, **kwargs)[0] else own)(*args, **kwargs)

    return function


def _replace(old: Any, new: Any) -> None:
    """Replace a function in all imported modules of fla."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fla" and isinstance(module, ModuleType):
            for key in [key for key, value in vars(module).items() if value is old]:
                setattr(module, key, new)
