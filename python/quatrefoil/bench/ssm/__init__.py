"""State-space benchmarks, one module a noun."""

from __future__ import annotations

from collections.abc import Iterator

from .._problem import Problem
from . import convolution, kalmanet, kernel, layer, mamba, s5, scan


def problems() -> Iterator[Problem]:
    for module in (convolution, kalmanet, kernel, layer, mamba, s5, scan):
        yield from module.problems()
