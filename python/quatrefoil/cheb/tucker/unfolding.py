"""Leading left singular vectors of an unfolding: from one Gram matrix, from two, or from the triangle of a QR decomposition.

Equation numbers refer to csrc/cheb/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..transform import mode_product

EPS = float(np.finfo(np.float64).eps)
NOISE = 1e-13  # a Gram matrix gives squared singular values to about eps times their sum; not used below this fraction of the sum (3)
MISSED = 1e-2  # fraction of the budget that the eigenvalues omitted by ``leading`` may use
FEW = 3  # if more than n / FEW vectors are needed, all are computed
BLOCK_ROWS = 4096  # rows of the transposed unfolding at a time: 4 MB for n = 129

Narrowed = tuple[np.ndarray, np.ndarray, float | None]
"""Orthonormal columns (n, k) of an axis, the core projected onto them, and the budget that ``by_triangle`` may still use to drop columns;
None instead of a budget if the columns are final."""


def principal(core: np.ndarray, axis: int, rank: int, budget: float, total: float) -> Narrowed:
    """Orthonormal columns by Gram matrices (3), or by a QR decomposition for an axis longer than the product of the others.

    The dropped squares sum to at most ``budget``, but there are at most ``rank`` columns, and exactly ``rank`` for a budget of 0.
    ``total``: the squared norm.
    """
    if core.shape[axis] ** 2 > core.size:
        return *_of_tall(core, axis, rank, budget), None
    square = gram(core, axis)
    noise = NOISE * total
    exact = budget < noise
    vectors, squares = leading(square, noise if exact else MISSED * budget)
    if exact and not (rank <= squares.size and total - float(squares[:rank].sum()) >= noise):
        return _refined(core, axis, rank, budget, vectors[:, squares > noise])
    missed = max(0.0, total - float(squares.sum())) + 2 * EPS * total
    U = vectors[:, : min(rank, rank_within(squares, max(0.0, budget - missed))) if budget else rank]
    return U, mode_product(core, U.T, axis), None


def _refined(core: np.ndarray, axis: int, rank: int, budget: float, coarse: np.ndarray) -> Narrowed:
    """``principal`` below the accuracy of a Gram matrix: the part outside ``coarse`` has its own Gram matrix."""
    n, k = coarse.shape
    part = mode_product(core, coarse.T, axis)
    rest = mode_product(part, coarse, axis)
    np.subtract(core, rest, out=rest)
    square = gram(rest, axis)
    left = float(np.trace(square))
    finer, _ = leading(square, MISSED * budget, max(1, rank - k if budget == 0 else 1))
    if k + finer.shape[1] <= n // 2:
        finer = np.linalg.qr(np.concatenate([coarse, finer], axis=1))[0][:, k:]
        second = mode_product(rest, finer.T, axis)
        missed = max(0.0, left - float(np.vdot(second, second))) + 2 * EPS * left
        if missed <= budget / 2 or budget == 0:
            return np.concatenate([coarse, finer], axis=1), np.concatenate([part, second], axis=axis), max(0.0, budget - missed)
    return *by_triangle(core, axis, rank, budget), None


def _of_tall(core: np.ndarray, axis: int, rank: int, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """``by_triangle`` of an unfolding (n, m) with m < n, using n max(m, rank) numbers; columns beyond m complete the basis."""
    n = core.shape[axis]
    rows = np.moveaxis(core, axis, 0).reshape(n, -1)
    m = rows.shape[1]
    Q, R = np.linalg.qr(np.concatenate([rows, np.eye(n, 0 if budget else max(0, rank - m))], axis=1))
    narrow = np.moveaxis(R[:, :m].reshape(-1, *np.delete(core.shape, axis)), 0, axis)
    W, narrow = by_triangle(np.ascontiguousarray(narrow), axis, rank, budget)
    return Q @ W, narrow


def by_triangle(core: np.ndarray, axis: int, rank: int, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Leading left singular vectors of an unfolding, exact to eps sigma_1, and the core projected onto them.

    Computed from the triangle of the transposed unfolding (4). rank and budget as for ``principal``.
    """
    n = core.shape[axis]
    triangle: Any = np.zeros((0, n))
    for block in unfolded(core, axis):
        triangle = np.linalg.qr(np.concatenate([triangle, block]), mode="r")
    vectors, values, _ = np.linalg.svd(triangle.T, full_matrices=True)
    squares = np.zeros(n)
    squares[: values.size] = values**2
    U = vectors[:, : min(rank, rank_within(squares, budget)) if budget else rank]
    return U, mode_product(core, U.T, axis)


def rank_within(squares: np.ndarray, budget: float) -> int:
    """The number of descending squares to keep so that the dropped ones sum to at most the budget."""
    dropped = np.cumsum(squares[::-1])
    return max(1, int(squares.size - np.searchsorted(dropped, budget, side="right")))


def leading(square: np.ndarray, dropped: float, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors and descending eigenvalues of a Gram matrix: at least ``count``. The omitted ones sum to at most about ``dropped``.

    Computed from the SVD of a pivoted Cholesky factor that stops at small pivots.
    """
    from scipy.linalg import lapack

    n = len(square)
    smallest = max(dropped / n, 4 * EPS * float(square.diagonal().max()))
    L, order, k, _ = lapack.dpstrf(square.T, lower=1, tol=smallest)
    if count <= k <= n // FEW:
        rows = np.zeros((n, k))
        rows[order - 1] = np.tril(L[:, :k])
        vectors, values, _ = np.linalg.svd(rows, full_matrices=False)
        return vectors, values**2
    squares, vectors = np.linalg.eigh(square)
    return vectors[:, ::-1], np.maximum(squares[::-1], 0)


@np.errstate(all="ignore")
def gram(core: np.ndarray, axis: int) -> np.ndarray:
    """The Gram matrix (n, n) of an unfolding."""
    n = core.shape[axis]
    if axis == 0:
        rows = core.reshape(n, -1)
        return np.asarray(rows @ rows.T)
    if axis == core.ndim - 1:
        rows = core.reshape(-1, n)
        return np.asarray(rows.T @ rows)
    square = np.zeros((n, n))
    for block in unfolded(core, axis):
        square += block.T @ block
    return square


def unfolded(core: np.ndarray, axis: int) -> Iterator[np.ndarray]:
    """The unfolding along an axis, transposed, in blocks of rows (rows, n)."""
    n = core.shape[axis]
    moved = np.moveaxis(core, axis, -1)
    if moved.ndim == 1:
        yield moved[None]
        return
    step = max(1, BLOCK_ROWS // max(1, math.prod(moved.shape[1:-1])))
    for i in range(0, moved.shape[0], step):
        yield moved[i : i + step].reshape(-1, n)
