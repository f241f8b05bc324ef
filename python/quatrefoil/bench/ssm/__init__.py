"""State-space benchmarks, one module a noun."""

from __future__ import annotations

from collections.abc import Iterator

from .._problem import Problem
from . import convolution, s5, scan


def problems() -> Iterator[Problem]:
    for module in (convolution, s5, scan):
from . import convolution, mamba, scan
    for module in (convolution, scan, mamba):
        yield from module.problems()
