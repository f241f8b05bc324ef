"""The ways to a Tucker decomposition, on float64 arrays. Equation numbers are those of csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..transform import mode_product
from .sketch import by_sketch, of_rank
from .unfolding import EPS, Narrowed, by_triangle, principal

Parts = tuple[np.ndarray, list[np.ndarray]]

LEAST, MOST = 1e-200, 1e200  # of the sum of squares: beyond, squares of some of its terms leave the range of float64
MOST_SWEEPS = 50
GAIN = 1e-3  # of the error's square: a sweep that brings less is the last


def decompose(C: np.ndarray, tol: float | None, ranks: Sequence[int], method: str) -> Parts | None:
    """Core and factors; None where C has NaN or infinity. ``tol`` None: exactly these ranks, else at most."""
    core = np.ascontiguousarray(C, dtype=np.float64)
    total, scale = _square(core), 1.0
    if not LEAST < total < MOST:
        scale = float(np.abs(core).max())
        if not math.isfinite(scale):
            return None
        if scale == 0:
            return _nothing(core.shape, ranks if tol is None else [1] * core.ndim)
        core = core / scale
        total = _square(core)
    budget = 0.0 if tol is None else tol * tol * total / core.ndim
    basis = of_rank if method == "rsvd" else by_sketch if budget else principal
    small, factors = _sequential(core, ranks, budget, total, basis)
    if method == "hooi":
        small, factors = _hooi(core, small, factors, total)
    with np.errstate(over="ignore"):  # the caller sees it
        return _signed(small * scale, factors)


@np.errstate(all="ignore")
def _square(core: np.ndarray) -> float:
    """Of the norm; NaN or infinite where the tensor has such entries, or too large ones."""
    return float(np.vdot(core, core))


def _nothing(shape: Sequence[int], ranks: Sequence[int]) -> Parts:
    return np.zeros(tuple(ranks)), [np.eye(n, r) for n, r in zip(shape, ranks)]


def _sequential(core: np.ndarray, ranks: Sequence[int], budget: float, total: float, basis: Callable[..., Narrowed]) -> Parts:
    """Axis after axis (1): what shrinks most first; the outer ones, whose unfoldings are matrices in memory, before the others. Bases that
    are larger than need be are truncated when all axes are small."""
    d, factors = core.ndim, [np.zeros((0, 0))] * core.ndim
    left: list[float | None] = [None] * core.ndim
    order = sorted(range(d), key=lambda k: (-core.shape[k] / (1 if budget else ranks[k]), min(k, d - 1 - k), k))
    for axis in order:
        factors[axis], core, left[axis] = basis(core, axis, ranks[axis], budget, total)
        total = _square(core)
    for axis in order:
        factors[axis], core = _truncated(factors[axis], core, axis, ranks[axis], left[axis])
    return core, factors


def _truncated(U: np.ndarray, core: np.ndarray, axis: int, rank: int, left: float | None) -> tuple[np.ndarray, np.ndarray]:
    if left is None:
        return U, core
    W, core = by_triangle(core, axis, rank, left)
    return U @ W, core


def _hooi(core: np.ndarray, small: np.ndarray, factors: list[np.ndarray], total: float) -> Parts:
    """Sweeps of (5) from what a sequential truncation has found, until one brings next to nothing."""
    energy = float(np.vdot(small, small))
    for _ in range(MOST_SWEEPS):
        for axis in range(core.ndim):
            others = core
            for k in sorted(range(core.ndim), key=lambda k: -factors[k].shape[0] / factors[k].shape[1]):
                if k != axis:
                    others = mode_product(others, factors[k].T, k)
            r = factors[axis].shape[1]
            U, small, left = principal(others, axis, r, 0.0, _square(others))
            factors[axis], small = _truncated(U, small, axis, r, left)
        before, energy = energy, float(np.vdot(small, small))
        if energy - before <= GAIN * max(0.0, total - energy) + 4 * EPS * total:
            break
    return small, factors


def _signed(core: np.ndarray, factors: list[np.ndarray]) -> Parts:
    """The largest entry of a column positive, so that results compare."""
    for axis, U in enumerate(factors):
        signs = np.where(U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])] < 0, -1.0, 1.0)
        factors[axis] = U * signs
        core = core * signs.reshape([-1 if k == axis else 1 for k in range(core.ndim)])
    return core, factors
