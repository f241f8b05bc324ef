"""Linear recurrences against NumPy's step by step and the Numba backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import ssm
from .._problem import Problem


def problems() -> Iterator[Problem]:
    yield _scan((8, 256, 1024), axis=-1)
    yield _scan((1024, 2048), axis=0)


def _scan(shape: tuple[int, ...], axis: int) -> Problem:
    rng = np.random.default_rng(0)
    a = rng.uniform(0.5, 0.99, shape).astype(np.float32)
    b = rng.standard_normal(shape).astype(np.float32)

    def truth() -> np.ndarray:
        x, y = np.moveaxis(a.astype(float), axis, 0), np.moveaxis(b.astype(float), axis, 0).copy()
        for t in range(1, len(y)):
            y[t] += x[t] * y[t - 1]
        return np.moveaxis(y, 0, axis)

    def stepwise() -> np.ndarray:
        x, y = np.moveaxis(a, axis, 0), np.moveaxis(b.copy(), axis, 0)
        for t in range(1, len(y)):
            y[t] += x[t] * y[t - 1]
        return np.moveaxis(y, 0, axis)

    peers: dict[str, Callable[[], Any]] = {
        "numpy, step by step": stepwise,
        "numba backend": lambda: ssm.linear_scan(a, b, axis=axis, backend="numba"),
    }
    return Problem("ssm", "linear_scan", f"{shape} axis {axis} float32", lambda: ssm.linear_scan(a, b, axis=axis), peers, truth, 1e-6)
