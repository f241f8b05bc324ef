"""The public interface: the names that a module exports, and the form of its signatures."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

LAYERS = ("GatedKalmaNet", "Mamba", "Mamba2", "PolyLayer", "S4D", "S4DKernel", "S5")  # in quatrefoil.torch.nn, which needs PyTorch


class _Written(str):
    """An annotation as written in the source: signatures print it without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _functions(member: Any) -> list[FunctionType]:
    """A function as a list, or the methods that a class defines or inherits from quatrefoil's classes."""
    if not isinstance(member, type):
        return [member] if isinstance(member, FunctionType) else []
    members = (m for base in member.__mro__ if base.__module__.startswith("quatrefoil") for m in vars(base).values())
    functions = (getattr(m, "__func__", None) or getattr(m, "fget", None) or m for m in members)
    return [f for f in functions if isinstance(f, FunctionType)]


def readable(member: Any) -> Any:
    """Make ``inspect.signature`` and ``help`` show annotations without quotes, as Python 3.14 does; returns the same function or class."""
    for function in map(inspect.unwrap, _functions(member)):
        notes = {name: getattr(note, "__forward_arg__", note) for name, note in function.__annotations__.items()}
        function.__annotations__.update({name: _Written(note) for name, note in notes.items() if isinstance(note, str)})
    return member


def public_dir(module: str) -> Callable[[], list[str]]:
    """The ``__dir__`` of a public module: its ``__all__``. Makes the signatures of its members readable."""
    names = vars(sys.modules[module])
    for member in names.values():
        if getattr(member, "__module__", "").startswith("quatrefoil"):
            readable(member)
    return lambda: list(names["__all__"])


def missing(module: str, /, **hints: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a public module. Its AttributeError gives a hint for names of other libraries, or suggests similar names."""

    def raised(name: str) -> Any:
        owner, hint = sys.modules[module], hints.get(name)
        if name in LAYERS:
            hint = f"layers are in quatrefoil.torch.nn: from quatrefoil.torch.nn import {name}"
        elif hint is None and name[:1] not in ("", "_"):
            names = exported_names(owner)
            near = difflib.get_close_matches(name, names, 2, 0.7) or [n for n in names if len(name) > 3 and name in n][:2]
            hint = f"did you mean {' or '.join(near)}?" if near else None
        raise AttributeError(f"module {module!r} has no attribute {name!r}" + (f"; {hint}" if hint else ""), name=name, obj=owner)

    return raised


def missing_attribute(label: str, /, **hints: str) -> Callable[[Any, str], Any]:
    """The ``__getattr__`` of a public class. It suggests no similar names, because tracebacks already do."""

    def raised(self: Any, name: str) -> Any:
        if (member := getattr(type(self), name, None)) is not None:
            return member.__get__(self, type(self))  # a property raised AttributeError: evaluate it again to raise that error
        hint = hints.get(name)
        raise AttributeError(f"{label} has no attribute {name!r}" + (f"; {hint}" if hint else ""), name=name, obj=self)

    return raised


def exported_names(module: ModuleType) -> list[str]:
    """All names that a public module exports: ``__all__``, then adjoints, return types and other names of its modules."""
    others = (n for n, member in vars(module).items() if n[0] != "_" and getattr(member, "__module__", "").startswith(module.__name__))
    return list(dict.fromkeys([*module.__all__, *sorted(others)]))
