"""Attributes shared by the classes that ``ChebTucker`` combines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from ..domain import UNIT, Domain

if TYPE_CHECKING:
    from ..._typing import ArrayLike


class TensorParts:
    """Core and factors on a domain, declared for type checkers; ``ChebTucker`` defines them."""

    __slots__ = ()

    if TYPE_CHECKING:
        core: Any
        factors: tuple[Any, ...]
        n_evaluations: int | None
        _domain: tuple[float, ...]
        _measured: float | None

        def __init__(self, core: Any, factors: Sequence[ArrayLike], domain: Domain = UNIT) -> None: ...
        @property
        def domain(self) -> tuple[tuple[float, float], ...]: ...
        @property
        def n(self) -> tuple[int, ...]: ...
        @property
        def error_estimate(self) -> float: ...
        def __call__(self, *X: Any) -> Any: ...
        def __sub__(self, other: Any) -> Self: ...
        def __mul__(self, other: Any) -> Any: ...
        def compose(self, f: Callable[..., Any], *others: Any, tol: float = 1e-10) -> Self: ...
        def diff(self, axis: int, m: int = 1) -> Self: ...
        @classmethod
        def from_function(
            cls, f: Callable[..., Any], domain: Any, *, tol: float = 1e-10, method: Literal["tucker", "tt"] = "tucker"
        ) -> Self: ...
        def _with(self, core: Any, factors: Sequence[Any]) -> Self: ...
        def _contracted(self, weights: dict[int, Any]) -> Any: ...
        def _on_host(self, label: str, differentiable: bool = False) -> Self: ...
