"""Bases of unfoldings from random sketches with measured errors. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math

import numpy as np

from ..transform import mode_product
from .unfolding import EPS, NOISE, Narrowed, principal, rank_within

COLUMNS = 64  # columns of the first sketch
OVER = 10  # oversampling columns
WORTH = 4  # a sketch with s numbers per axis is used only if WORTH s <= n
TILE = 8  # a basis has a multiple of this many columns: 24 take 2.5 ms, 23 take 3.2 (129^3, OpenBLAS, one thread of an AMD EPYC)
MAX_KEPT = 0.75  # fraction of an axis; a basis with more vectors saves nothing
SHORT = 96  # up to this length a Gram matrix is faster than a sketch: it takes 0.4 ms for 65^3 numbers, as long as the sketch's SVD alone
AIM = 1e-3  # fraction of the budget that a basis may miss by the sketch's estimate; the true error is 10 to 100 times larger
MAX_MISSED = 0.25  # fraction of the budget; a basis that misses more is not used


def by_sketch(core: np.ndarray, axis: int, rank: int, budget: float, total: float) -> Narrowed:
    """``principal`` by a sketch of the unfolding (2), or by Gram matrices if no sketch is both cheaper and accurate enough."""
    n = core.shape[axis]
    columns = COLUMNS if n > SHORT or budget < NOISE * total else n + 1
    while columns <= min(n, core.size // n) and WORTH * _numbers(core, columns) <= n:
        sketch = sketched(core, axis, columns)
        vectors, values, _ = np.linalg.svd(sketch, full_matrices=False)
        k = rank_within(values**2 / sketch.shape[1], AIM * budget)
        if k > MAX_KEPT * n:
            break
        if k + OVER <= sketch.shape[1]:
            basis = vectors[:, : k + -k % TILE]
            narrow = mode_product(core, basis.T, axis)
            missed = _missed(core, basis, narrow, axis, total, budget)
            if missed <= MAX_MISSED * budget:
                return basis, narrow, budget - missed
        columns *= 2
    return principal(core, axis, rank, budget, total)


def _missed(core: np.ndarray, basis: np.ndarray, narrow: np.ndarray, axis: int, total: float, budget: float) -> float:
    """The squared norm outside the span of a basis: a difference of squares if its rounding does not matter."""
    if budget >= NOISE * total:
        return max(0.0, total - float(np.vdot(narrow, narrow))) + 2 * EPS * total
    rest = mode_product(narrow, basis, axis)
    np.subtract(core, rest, out=rest)
    return float(np.vdot(rest, rest))


def of_rank(core: np.ndarray, axis: int, rank: int, budget: float, total: float) -> Narrowed:
    """``by_sketch`` if there is a tolerance. Otherwise, a basis that, by the sketch's estimate, misses little more than a truncation to
    ``rank``; if singular values decay slowly, one with ``rank`` + OVER columns after a power step (5)."""
    n, wanted = core.shape[axis], rank + OVER
    if budget:
        return by_sketch(core, axis, rank, budget, total)
    columns = max(COLUMNS, 2 * wanted)
    if columns > min(n, core.size // n) or WORTH * _numbers(core, columns) > n:
        return principal(core, axis, rank, budget, total)
    vectors, values, _ = np.linalg.svd(sketched(core, axis, columns), full_matrices=False)
    k = max(rank, rank_within(values**2, AIM * float((values[rank:] ** 2).sum())))
    if k + OVER <= columns:
        basis = vectors[:, : k + -k % TILE]
    else:
        basis = np.linalg.qr(_rows(core, axis) @ _rows(mode_product(core, vectors[:, :wanted].T, axis), axis).T)[0]
    return basis, mode_product(core, basis.T, axis), 0.0


def _rows(core: np.ndarray, axis: int) -> np.ndarray:
    """The unfolding (n, ..); not copied for the outer axes."""
    n = core.shape[axis]
    return core.reshape(-1, n).T if axis == core.ndim - 1 else np.moveaxis(core, axis, 0).reshape(n, -1)


def _numbers(core: np.ndarray, columns: int) -> int:
    """The smallest s with s^(d-1) at least ``columns``."""
    return math.ceil(math.pow(columns, 1 / max(1, core.ndim - 1)) - 1e-9)


def sketched(core: np.ndarray, axis: int, columns: int) -> np.ndarray:
    """The unfolding (n, ..) times products of random matrices, s rows along each other axis; always the same ones."""
    numbers = np.random.Generator(np.random.Philox(key=0))
    s = _numbers(core, columns)
    for k in sorted(set(range(core.ndim)) - {axis}, key=lambda k: (-core.shape[k], -k)):
        core = mode_product(core, numbers.standard_normal((s, core.shape[k])), k)
    return _rows(core, axis)
