"""Values to coefficients, compared with SciPy's fast cosine transform and a product with the cosine matrix by NumPy's BLAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import cheb
from ...bench._problem import Problem, Work

SIZES = ((33, 33, 33), (65, 65, 65), (97, 97, 97), (129, 129, 129), (300, 513), (300, 1000), (100, 1025), (4097,), (10007,))
DENSE_UP_TO = 300
GOALS = ((33, 33, 33), (65, 65, 65), (129, 129, 129))


def problems() -> Iterator[Problem]:
    for shape in SIZES:
        yield _transform(shape, np.float64)
    yield _transform((129, 129, 129), np.float32)


def by_scipy(V: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """c = (2/N) E D E R v, README (2)."""
    from scipy import fft

    for axis in axes:
        V = fft.dct(np.flip(V, axis), type=1, axis=axis)
        V /= V.shape[axis] - 1
        np.moveaxis(V, axis, 0)[[0, -1]] *= 0.5
    return V


def by_matrix(V: np.ndarray, axes: tuple[int, ...], matrices: dict[int, np.ndarray]) -> np.ndarray:
    for axis in axes:
        n, before = V.shape[axis], V.shape[:axis]
        rows = V.reshape(*before, n, -1)
        V = np.matmul(matrices[n], rows).reshape(V.shape)
    return V


def _matrix(n: int, dtype: Any) -> np.ndarray:
    """The matrix of README (2), computed in extended precision."""
    N, pi = n - 1, np.arccos(np.longdouble(-1))
    ends = np.ones(n, np.longdouble)
    ends[[0, -1]] = 0.5
    angles = np.outer(np.arange(n), np.arange(n)[::-1]) % (2 * N)
    matrix: np.ndarray = (ends[:, None] * np.cos(pi * angles.astype(np.longdouble) / N) * ends * 2 / N).astype(dtype)
    return matrix


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(len(shape))) if len(set(shape)) == 1 else (len(shape) - 1,)


def _transform(shape: tuple[int, ...], dtype: Any) -> Problem:
    V, axes = np.random.default_rng(0).standard_normal(shape).astype(dtype), _axes(shape)
    peers: dict[str, Callable[[], Any]] = {"scipy.fft.dct": lambda: by_scipy(V, axes)}
    n = shape[-1]
    if n <= DENSE_UP_TO:
        matrices = {n: _matrix(n, dtype)}
        peers["np.matmul"] = lambda: by_matrix(V, axes, matrices)

    def truth() -> np.ndarray:
        if n <= DENSE_UP_TO:
            return by_matrix(V.astype(np.float64), axes, {n: _matrix(n, np.float64)})
        return by_scipy(V.astype(np.longdouble), axes).astype(np.float64)

    return Problem(
        "cheb",
        "vals2coeffs",
        f"{'x'.join(map(str, shape))} {np.dtype(dtype).name}",
        lambda: cheb.vals2coeffs(V, axes),
        peers,
        truth,
        4e-15 if dtype == np.float64 else 2e-6,
        {"scipy.fft.dct": 2.0 if shape in GOALS and dtype == np.float64 else 1.0},
        work=Work(int(2 * len(axes) * V.size * np.log2(n)), 2 * len(axes) * V.nbytes, V.dtype.name),
    )
