"""A case of the GPU benchmarks. A size is a tuple of integers, which the case names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._spec import Op
from ._problem import Work

Size = tuple[int, ...]


class Draw:
    """Random tensors of one precision on a device."""

    def __init__(self, torch: Any, device: Any, seed: int, dtype: str) -> None:
        self.torch, self.device, self.dtype = torch, device, getattr(torch, dtype)
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Any:
        return self.torch.randn(shape, generator=self.generator, device=self.device, dtype=self.dtype)

    def uniform(self, lo: float, hi: float, *shape: int) -> Any:
        return lo + (hi - lo) * self.torch.rand(shape, generator=self.generator, device=self.device, dtype=self.dtype)


class Sizes(NamedTuple):
    checked: tuple[Size, Size, Size]  # sizes at which values are checked: small and odd; not a multiple of the tile; large
    timed: Size
    dry: Size


@dataclass(frozen=True)
class Case:
    """``rows``: the arguments that share the first axis of the result, so that the last rows of a large problem can be checked alone.
    ``check`` replaces the comparison with float64: (case, size, inputs, result, peer=whether the result is a peer's) -> (name of the
    measure, its value, its limit)."""

    op: Op
    names: str
    inputs: Callable[[Draw, Size], list[Any]]
    run: Callable[..., Any]  # (size, inputs, **out)
    work: Callable[[Size, int], Work]  # (size, bytes per number)
    sizes: Sizes
    rows: tuple[int, ...]
    peers: Mapping[str, Callable[[Size, Sequence[Any]], Any]] = field(default_factory=dict)
    tolerance: float = 1e-5  # in float32, relative to the norm; 1e-12 in float64
    precisions: tuple[str, ...] = ("float32",)  # timed
    takes_out: bool = True
    check: Callable[..., tuple[str, float, float]] | None = None

    def named(self, size: Size) -> str:
        return " ".join(f"{name}{n}" for name, n in zip(self.names.split(), size))
