"""The methods of Tucker decomposition, on float64 arrays. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..transform import mode_product
from .sketch import by_sketch, of_rank
from .unfolding import EPS, Narrowed, by_triangle, principal

Parts = tuple[np.ndarray, list[np.ndarray]]

MIN, MAX = 1e-200, 1e200  # limits of the sum of squares; outside, individual squares may exceed the range of float64
MAX_SWEEPS = 50
GAIN = 1e-3  # iteration stops after a sweep that reduces the squared error by a smaller fraction


def decompose(C: np.ndarray, tol: float | None, ranks: Sequence[int], method: str) -> Parts | None:
    """Core and factors; None if C has NaN or infinity.

    Without ``tol`` the ranks are exact, otherwise upper bounds. An axis of rank 0 is not changed and has a factor (n, 0).
    """
    axes = [k for k, r in enumerate(ranks) if r]
    core = np.ascontiguousarray(C, dtype=np.float64)
    total, scale = _square(core), 1.0
    if not MIN < total < MAX:
        scale = float(np.abs(core).max())
        if not math.isfinite(scale):
            return None
        if scale == 0:
            ranks = ranks if tol is None else [min(r, 1) for r in ranks]
            return np.zeros([r or n for n, r in zip(core.shape, ranks)]), [np.eye(n, r) for n, r in zip(core.shape, ranks)]
        core = core / scale
        total = _square(core)
    budget = 0.0 if tol is None else tol * tol * total / len(axes)
    basis = of_rank if method == "rsvd" else by_sketch if budget else principal
    small, factors = _sequential(core, axes, ranks, budget, total, basis)
    if method == "hooi":
        small, factors = _hooi(core, axes, small, factors, total)
    with np.errstate(over="ignore"):  # the caller checks
        return signed(small * scale, axes, factors)


@np.errstate(all="ignore")
def _square(core: np.ndarray) -> float:
    """The squared norm; NaN or infinite if entries are, or are too large."""
    return float(np.vdot(core, core))


def _sequential(
    core: np.ndarray, axes: Sequence[int], ranks: Sequence[int], budget: float, total: float, basis: Callable[..., Narrowed]
) -> Parts:
    """One axis at a time (1): first the one that shrinks most, then outer axes, because the first and the last unfold without a copy.

    Bases with too many columns are truncated when all axes are small.
    """
    d, factors = core.ndim, [np.zeros((n, 0)) for n in core.shape]
    left: list[float | None] = [None] * core.ndim
    order = sorted(axes, key=lambda k: (-core.shape[k] / (1 if budget else ranks[k]), min(k, d - 1 - k), k))
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


def _hooi(core: np.ndarray, axes: Sequence[int], small: np.ndarray, factors: list[np.ndarray], total: float) -> Parts:
    """Sweeps of (5), starting from a sequential truncation, until one gains little."""
    energy = float(np.vdot(small, small))
    for _ in range(MAX_SWEEPS):
        small = sweep(core, axes, factors)
        before, energy = energy, float(np.vdot(small, small))
        if energy - before <= GAIN * max(0.0, total - energy) + 4 * EPS * total:
            break
    return small, factors


def sweep(core: np.ndarray, axes: Sequence[int], factors: list[np.ndarray]) -> np.ndarray:
    """Replace the factors of these axes by one sweep of (5), and return the small core."""
    small = core
    for axis in axes:
        others = core
        for k in sorted(axes, key=lambda k: -factors[k].shape[0] / factors[k].shape[1]):
            if k != axis:
                others = mode_product(others, factors[k].T, k)
        r = factors[axis].shape[1]
        U, small, left = principal(others, axis, r, 0.0, _square(others))
        factors[axis], small = _truncated(U, small, axis, r, left)
    return small


def signed(core: np.ndarray, axes: Sequence[int], factors: list[np.ndarray]) -> Parts:
    """Make the largest entry of every column positive, so that signs are unique."""
    for axis in axes:
        U = factors[axis]
        signs = np.where(U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])] < 0, -1.0, 1.0)
        factors[axis] = U * signs
        core = core * signs.reshape([-1 if k == axis else 1 for k in range(core.ndim)])
    return core, factors
