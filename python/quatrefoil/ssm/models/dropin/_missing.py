"""What a model asks for and does not get: said once, so that nobody takes its own loops for this library's kernels."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ._upstream import TRIED

_said: set[tuple[str, tuple[str, ...]]] = set()


def warn_of(module: ModuleType, names: Iterable[str]) -> None:
    """A RuntimeWarning that names the module, what it looks for and the releases that are known; the second time nothing."""
    wanted = tuple(sorted(names))
    if not wanted or (module.__name__, wanted) in _said:
        return
    _said.add((module.__name__, wanted))
    release = getattr(sys.modules.get("transformers"), "__version__", "of an unknown release")
    known = f"{', '.join(TRIED[:-1])} and {TRIED[-1]}"
    warnings.warn(
        f"ssm.install: {module.__name__} looks for {', '.join(wanted)} where there is no stand-in, and keeps its own code for that; "
        f"transformers is {release}, install was tried with {known}",
        RuntimeWarning,
        stacklevel=2,
    )


def mentioned(module: ModuleType) -> set[str]:
    """The names in the code of a module: globals, and what its functions and methods call, import or look up by a string."""
    found = {name for name in vars(module) if not name.startswith("__")}
    for code in _codes(vars(module).values(), module.__name__):
        found.update(code.co_names)
        found.update(constant for constant in code.co_consts if isinstance(constant, str))
    return found


def _codes(values: Iterable[Any], home: str) -> Iterator[CodeType]:
    for value in values:
        if isinstance(value, type) and value.__module__ == home:
            yield from _codes(vars(value).values(), home)
        elif isinstance(value, FunctionType) and value.__module__ == home:
            yield from _nested(value.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
