"""Bases of unfoldings from random sketches, whose error is measured. Equation numbers are those of csrc/cheb/README.md."""

from __future__ import annotations

import math

import numpy as np

from ..transform import mode_product
from .unfolding import EPS, NOISE, Narrowed, kept, principal

COLUMNS = 64  # of the first sketch
OVER = 10  # columns beyond those that are wanted
WORTH = 4  # a sketch is taken where it costs less than so small a part of a Gram matrix
TILE = 8  # columns of a basis come in multiples of it: 24 take 2.5 ms where 23 take 3.2 (129^3, OpenBLAS, one thread of an AMD EPYC)
MOST_KEPT = 0.75  # of an axis: with more vectors a basis saves nothing
SHORT = 96  # an axis has its Gram matrix sooner than a sketch: 0.4 ms of 65^3 numbers, its SVD alone 0.4 ms
AIM = 1e-3  # part of what may be dropped that a basis misses by the sketch's own account; in fact 10 to 100 times as much
MOST_MISSED = 0.25  # of it, else the basis is not used


def by_sketch(core: np.ndarray, axis: int, rank: int, budget: float, total: float) -> Narrowed:
    """``principal`` by a sketch of the unfolding (2); by Gram matrices where none is worth it, or good enough."""
    n = core.shape[axis]
    columns = COLUMNS if n > SHORT or budget < NOISE * total else n + 1
    while columns <= min(n, core.size // n) and WORTH * _numbers(core, columns) <= n:
        sketch = sketched(core, axis, columns)
        vectors, values, _ = np.linalg.svd(sketch, full_matrices=False)
        k = kept(values**2 / sketch.shape[1], AIM * budget)
        if k > MOST_KEPT * n:
            break
        if k + OVER <= sketch.shape[1]:
            basis = vectors[:, : k + -k % TILE]
            narrow = mode_product(core, basis.T, axis)
            missed = _missed(core, basis, narrow, axis, total, budget)
            if missed <= MOST_MISSED * budget:
                return basis, narrow, budget - missed
        columns *= 2
    return principal(core, axis, rank, budget, total)


def _missed(core: np.ndarray, basis: np.ndarray, narrow: np.ndarray, axis: int, total: float, budget: float) -> float:
    """The square of what a basis does not span: a difference of squares where their rounding does not matter."""
    if budget >= NOISE * total:
        return max(0.0, total - float(np.vdot(narrow, narrow))) + 2 * EPS * total
    rest = mode_product(narrow, basis, axis)
    np.subtract(core, rest, out=rest)
    return float(np.vdot(rest, rest))


def of_rank(core: np.ndarray, axis: int, rank: int, budget: float, total: float) -> Narrowed:
    """``by_sketch``; where ranks alone are given, a basis that by the sketch's account misses little of what they drop, or else, where
    singular values fall slowly, of few more columns and with a power step (5)."""
    n, wanted = core.shape[axis], rank + OVER
    if budget:
        return by_sketch(core, axis, rank, budget, total)
    columns = max(COLUMNS, 2 * wanted)
    if columns > min(n, core.size // n) or WORTH * _numbers(core, columns) > n:
        return principal(core, axis, rank, budget, total)
    vectors, values, _ = np.linalg.svd(sketched(core, axis, columns), full_matrices=False)
    k = max(rank, kept(values**2, AIM * float((values[rank:] ** 2).sum())))
    if k + OVER <= columns:
        basis = vectors[:, : k + -k % TILE]
    else:
        basis = np.linalg.qr(_rows(core, axis) @ _rows(mode_product(core, vectors[:, :wanted].T, axis), axis).T)[0]
    return basis, mode_product(core, basis.T, axis), 0.0


def _rows(core: np.ndarray, axis: int) -> np.ndarray:
    """The unfolding (n, ..), for the outer axes without a copy."""
    n = core.shape[axis]
    return core.reshape(-1, n).T if axis == core.ndim - 1 else np.moveaxis(core, axis, 0).reshape(n, -1)


def _numbers(core: np.ndarray, columns: int) -> int:
    """s for each of the d - 1 other axes, so that s^(d-1) is at least ``columns``."""
    return math.ceil(math.pow(columns, 1 / max(1, core.ndim - 1)) - 1e-9)


def sketched(core: np.ndarray, axis: int, columns: int) -> np.ndarray:
    """The unfolding (n, ..) times products of random numbers, s by s of them along the other axes. They are always the same."""
    numbers = np.random.Generator(np.random.Philox(key=0))
    s = _numbers(core, columns)
    for k in sorted(set(range(core.ndim)) - {axis}, key=lambda k: (-core.shape[k], -k)):
        core = mode_product(core, numbers.standard_normal((s, core.shape[k])), k)
    return _rows(core, axis)
