"""A worker's share of the ``SlimKL`` objective. Equation numbers refer to csrc/kron/README.md, "Mixture weights"."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import _arrays
from ..._array_tools import cholesky
from ..product.dense import namespace
from .slimkl_components import Components

Array = Any


class Weighing(NamedTuple):
    """The objective (2) at some weights, and the two parts of its gradient t - q."""

    objective: float
    t: np.ndarray
    q: np.ndarray


class Bound(NamedTuple):
    """(9): a component of at most this weight adds less than ``slack`` / A to the objective, and becomes 0 if it shrinks."""

    weight: float
    slack: float

    @classmethod
    def from_tolerance(cls, tol: float, points: int, noise: float, A: int) -> Bound:
        slack = min(1.0, tol * points)
        return cls(slack * noise / (points * A), slack)


class Worker:
    """Points x (n, P) with values y (n,), on the host or on one device, and the components (A, P).

    Arrays whose size depends only on the number of components are on the host, which decides when to stop.
    """

    def __init__(self, x: Array, y: Array, means: np.ndarray, std: np.ndarray, noise: float) -> None:
        xp = namespace(x)
        reach, square = _arrays.to_host(xp.stack([xp.max(xp.abs(x)), xp.mean(y * y)]))
        if not np.isfinite([reach, square]).all():
            raise ValueError("SlimKL.fit: X or y contains NaN or infinity, expected finite numbers")
        self._components, self._y, self._noise = Components(x, means, std), y, noise
        self._start = np.full(len(means), (float(square) or noise) / len(means))
        self._last: tuple[np.ndarray, bool, Weighing] | None = None

    def start(self) -> np.ndarray:
        """Equal weights, whose sum is the mean square of the data, or the noise if that is 0."""
        return self._start

    def weigh(self, weights: np.ndarray, every: bool = False) -> Weighing:
        """The objective, t and q at these weights, with ``every`` also for components of weight 0. The last result is cached."""
        if self._last is None or self._last[1] != every or not np.array_equal(self._last[0], weights):
            self._last = weights, every, self._weigh(weights, np.arange(len(weights)) if every else np.flatnonzero(weights))
        return self._last[2]

    def _weigh(self, weights: np.ndarray, on: np.ndarray) -> Weighing:
        solved = _on_host if isinstance(self._y, np.ndarray) else _on_device
        inverse, a, objective = solved(self._components.total(weights), self._y, self._noise)
        components, t, q = self._components.products(inverse, a, on)
        numbers = _arrays.to_host(namespace(a).concat([t, q, objective]))  # one transfer
        if not np.isfinite(numbers).all():
            raise np.linalg.LinAlgError(
                f"SlimKL.fit: the covariance is not positive definite in float64 with weights that add up to {weights.sum():.3g}; "
                f"increase the noise, which is {self._noise}"
            )
        t, q, (value,) = np.split(numbers, [len(components), 2 * len(components)])
        t, q = (np.bincount(components, part, len(weights)) for part in (t, q))
        lower_bound = len(self._y) / (len(self._y) * weights.sum() + self._noise)  # tr K_i divided by a bound on the eigenvalues of C
        return Weighing(float(value), np.maximum(t, lower_bound), np.maximum(q, 0))


def _on_host(C: np.ndarray, y: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of C + noise I, from the lower triangle of C; the product of this inverse and y; and the objective (1,). NaN if C + noise
    I is not positive definite."""
    from scipy.linalg import lapack, solve_triangular

    C[np.diag_indices(len(C))] += noise
    R, info = lapack.dpotrf(C.T, lower=0, overwrite_a=1)
    if info:
        return np.full_like(C, np.nan), np.full_like(y, np.nan), np.full(1, np.nan)
    z = solve_triangular(R, y, trans="T", check_finite=False)
    a, value = solve_triangular(R, z, check_finite=False), z @ z + 2 * np.log(np.diagonal(R)).sum()
    half = lapack.dpotri(R, lower=0, overwrite_c=1)[0].T
    return np.tril(half) + np.tril(half, -1).T, a, value[None]


def _on_device(C: Array, y: Array, noise: float) -> tuple[Array, Array, Array]:
    """As ``_on_host``, on a device and without reading values."""
    xp = namespace(y)
    R, inverse = cholesky(xp, C + noise * xp.eye(y.shape[0], dtype=y.dtype, device=y.device))
    z = xp.matmul(inverse, y)
    value = xp.sum(z * z) + 2 * xp.sum(xp.log(xp.linalg.diagonal(R)))
    return xp.matmul(inverse.T, inverse), xp.matmul(inverse.T, z), value[None]
