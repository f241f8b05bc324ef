"""The compiled kernels. Every op of a family is a function of the family's submodule. Arguments are checked before the call."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Kernel: TypeAlias = Callable[..., None]  # (*inputs, *outputs, *options, *extras, num_threads)

version: str
isas_built: tuple[str, ...]

def choose_isa(name: str) -> None: ...
def isa() -> str: ...
def isas() -> list[str]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def call(
    plans: dict[Any, Any], planner: Any, op: Any, options: Any, backend: Any, arrays: Sequence[Any], extras: Any, out: Any, threads: int, /
) -> Any: ...
def empty(shape: Any, dtype: Any, /) -> np.ndarray: ...

class _Ops:
    def __getattr__(self, op: str) -> Kernel: ...

class _Kron(_Ops):
    class Plan:
        """Packed factors."""

        def __init__(self, factors: list[Any], transpose: bool) -> None: ...

class _Cheb(_Ops):
    class Packed:
        """A packed core and factors."""

        def __init__(self, core: Any, factors: list[Any]) -> None: ...

class _Wos(_Ops):
    class Polygons:
        """Grids of distance bounds."""

        def __init__(self, ends: np.ndarray, first: np.ndarray, closed: bool = True) -> None: ...

    class Mesh:
        """Trees of boxes over triangles, and grids of distance bounds."""

        def __init__(self, corners: np.ndarray) -> None: ...

ssm: _Ops
kron: _Kron
cheb: _Cheb
wos: _Wos
