"""Linear recurrences compared with NumPy, step by step, and with the Numba backend."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Work, double

NUMPY = "numpy, step by step"


def problems() -> Iterator[Problem]:
    yield _scan((8, 256, 1024), axis=-1)
    yield _scan((1024, 2048), axis=0, goal=2)
    yield _scan((512, 2048), axis=0, dtype="complex64", goal=1.2)
    yield _scan((2048, 512), axis=-1, dtype="complex64")
    yield _long(1 << 20)


def _inputs(shape: tuple[int, ...], dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 0.99, shape), rng.standard_normal(shape)
    if dtype == "complex64":
        a, b = a * np.exp(1j * rng.uniform(-3, 3, shape)), b + 1j * rng.standard_normal(shape)
    return a.astype(dtype), b.astype(dtype)


def _step_by_step(axis: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y = np.moveaxis(a, axis, 0), np.moveaxis(b.copy(), axis, 0)
    for t in range(1, len(y)):
        y[t] += x[t] * y[t - 1]
    return np.moveaxis(y, 0, axis)


def _scan(shape: tuple[int, ...], axis: int, dtype: str = "float32", goal: float | None = None) -> Problem:
    a, b = _inputs(shape, dtype)
    ours = partial(ssm.linear_scan, a, b, axis=axis)
    peers = {NUMPY: partial(_step_by_step, axis, a, b), "numba backend": partial(ours, backend="numba")}
    work = Work((8 if a.dtype.kind == "c" else 2) * a.size, 3 * a.nbytes)
    goals = {} if goal is None else {NUMPY: goal}
    truth = partial(_step_by_step, axis, *double(a, b))
    return Problem("ssm", "linear_scan", f"{shape} axis {axis} {dtype}", ours, peers, truth, 1e-6, goals, work=work)


def _long(length: int) -> Problem:
    """A single scan compared with SciPy's filter, which requires the same a at every time step."""
    from scipy.signal import lfilter

    a, b = np.full((), 0.9, np.float32), _inputs((length,))[1]
    ours = partial(ssm.linear_scan, a, b)
    peers = {
        "scipy lfilter": partial(lfilter, np.ones(1, np.float32), np.array([1, -a], np.float32), b),
        "numba backend": partial(ours, backend="numba"),
    }
    truth = partial(lfilter, [1.0], [1.0, -float(a)], b.astype(float))
    return Problem("ssm", "linear_scan", f"({length},) float32", ours, peers, truth, 1e-6, work=Work(2 * length, 2 * b.nbytes))
