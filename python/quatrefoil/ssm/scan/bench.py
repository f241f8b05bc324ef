"""Linear recurrences against NumPy step by step, SciPy's filter and the Numba backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, Work


def problems() -> Iterator[Problem]:
    yield _scan((8, 256, 1024), axis=-1)
    yield _scan((1024, 2048), axis=0, goal=2)
    yield _scan((512, 2048), axis=0, dtype=np.complex64, goal=1.2)
    yield _scan((2048, 512), axis=-1, dtype=np.complex64)
    yield _long(1 << 20)


def _inputs(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 0.99, shape), rng.standard_normal(shape)
    if np.issubdtype(dtype, np.complexfloating):
        a, b = a * np.exp(1j * rng.uniform(-3, 3, shape)), b + 1j * rng.standard_normal(shape)
    return a.astype(dtype), b.astype(dtype)


def _stepwise(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    x, y = np.moveaxis(a, axis, 0), np.moveaxis(b.copy(), axis, 0)
    for t in range(1, len(y)):
        y[t] += x[t] * y[t - 1]
    return np.moveaxis(y, 0, axis)


def _scan(shape: tuple[int, ...], axis: int, dtype: Any = np.float32, goal: float | None = None) -> Problem:
    a, b = _inputs(shape, dtype)
    double = np.result_type(dtype, np.float64)
    peers: dict[str, Run] = {
        "numpy, step by step": lambda: _stepwise(a, b, axis),
        "numba backend": lambda: ssm.linear_scan(a, b, axis=axis, backend="numba"),
    }
    goals = {} if goal is None else {"numpy, step by step": goal}
    work = Work((8 if a.dtype.kind == "c" else 2) * a.size, 3 * a.nbytes)
    size = f"{shape} axis {axis} {np.dtype(dtype)}"
    ours = lambda: ssm.linear_scan(a, b, axis=axis)  # noqa: E731
    truth = lambda: _stepwise(a.astype(double), b.astype(double), axis)  # noqa: E731
    return Problem("ssm", "linear_scan", size, ours, peers, truth, 1e-6, goals, work=work)


def _long(length: int) -> Problem:
    """A single scan, against SciPy's filter, whose coefficient must be constant."""
    from scipy.signal import lfilter

    a, b = np.full((), 0.9, np.float32), _inputs((length,), np.float32)[1]
    peers: dict[str, Run] = {
        "scipy lfilter": lambda: lfilter(np.ones(1, np.float32), np.array([1, -a], np.float32), b),
        "numba backend": lambda: ssm.linear_scan(a, b, backend="numba"),
    }
    truth = lambda: lfilter([1.0], [1.0, -float(a)], b.astype(float))  # noqa: E731
    work = Work(2 * length, 2 * b.nbytes)
    return Problem("ssm", "linear_scan", f"({length},) float32", lambda: ssm.linear_scan(a, b), peers, truth, 1e-6, work=work)
