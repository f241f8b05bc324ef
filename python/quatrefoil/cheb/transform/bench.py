"""Values to coefficients compared with SciPy's fast cosine transform and with a product with the cosine matrix in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import cheb
from ...bench._problem import Problem, Work

SIZES = ((33, 33, 33), (65, 65, 65), (97, 97, 97), (129, 129, 129), (300, 513), (300, 1000), (100, 1025), (4097,), (10007,))
DENSE_UP_TO = 300
GOALS = ((33, 33, 33), (65, 65, 65), (129, 129, 129))


def problems() -> Iterator[Problem]:
    for shape in SIZES:
        yield _transform(shape)
    yield _transform((129, 129, 129), "float32")


def by_scipy(V: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """c = (2/N) E D E R v, README (2)."""
    from scipy import fft

    for axis in axes:
        V = fft.dct(np.flip(V, axis), type=1, axis=axis)
        V /= V.shape[axis] - 1
        np.moveaxis(V, axis, 0)[[0, -1]] *= 0.5
    return V


def by_matrix(V: np.ndarray, axes: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    for axis in axes:
        rows = V.reshape(*V.shape[:axis], len(matrix), -1)
        V = np.matmul(matrix, rows).reshape(V.shape)
    return V


def _matrix(n: int, dtype: str) -> Any:
    """The matrix of README (2), in extended precision."""
    N, pi = n - 1, np.arccos(np.longdouble(-1))
    ends = np.ones(n, np.longdouble)
    ends[[0, -1]] = 0.5
    angles = np.outer(np.arange(n), np.arange(n)[::-1]) % (2 * N)
    return (ends[:, None] * np.cos(pi * angles.astype(np.longdouble) / N) * ends * 2 / N).astype(dtype)


def _transform(shape: tuple[int, ...], dtype: str = "float64") -> Problem:
    """Along all axes if they have the same length, else along the last."""
    V, n = np.random.default_rng(0).standard_normal(shape).astype(dtype), shape[-1]
    axes = tuple(range(len(shape))) if len(set(shape)) == 1 else (len(shape) - 1,)
    peers = {"scipy.fft.dct": partial(by_scipy, V, axes)}
    if n <= DENSE_UP_TO:
        peers["np.matmul"] = partial(by_matrix, V, axes, _matrix(n, dtype))

    def truth() -> np.ndarray:
        if n <= DENSE_UP_TO:
            return by_matrix(V.astype(float), axes, _matrix(n, "float64"))
        return by_scipy(V.astype(np.longdouble), axes).astype(float)

    size = f"{'x'.join(map(str, shape))} {dtype}"
    ours = partial(cheb.vals2coeffs, V, axes)
    goals = {"scipy.fft.dct": 2.0 if shape in GOALS and dtype == "float64" else 1.0}
    work = Work(int(2 * len(axes) * V.size * np.log2(n)), 2 * len(axes) * V.nbytes, dtype)
    return Problem("cheb", "vals2coeffs", size, ours, peers, truth, 4e-15 if dtype == "float64" else 2e-6, goals, work=work)
