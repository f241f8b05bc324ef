"""Tucker decomposition to a tolerance. Equation numbers are those of csrc/cheb/README.md."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple

import numpy as np

from .. import _arguments
from .._dims import Shape
from .._dispatch import call
from .._spec import Arg, Op, Option
from .._typing import Array, T
from .transform import mode_product

METHODS = ("sthosvd",)

# The eigenvalues of a Gram matrix carry an error of eps sigma_1^2: singular values below 1e-8 of the largest are noise in them.
GRAM_FROM = 1e-7
BLOCK_ROWS = 4096  # of the transposed unfolding at a time: 4 MB for n = 129
SAFE_SCALE = 1e100  # beyond it, and below its inverse, squares leave the range of float64


class TuckerTensor(NamedTuple, Generic[T]):
    """core (r_1, ..., r_d) and factors, factors[k] (n_k, r_k): the tensor core x_1 factors[0] ... x_d factors[d-1]."""

    core: T
    factors: list[T]


def tucker(
    C: Array[T],
    *,
    tol: float | None = None,
    rank: int | Sequence[int] | None = None,
    method: str = "sthosvd",
    backend: str | None = None,
) -> TuckerTensor[T]:
    """Tucker decomposition C ~ core x_1 U_1 ... x_d U_d with orthonormal factors, so that ||C - result|| <= tol ||C|| (1).

    Parameters
    ----------
    C : (n_1, ..., n_d)
        Any tensor, of coefficients or of values; float32 or float64.
    tol : float, optional
        Relative, in the Frobenius norm. Met down to 1e-12 in float64. Below 4 eps of the dtype it is raised to that, with a warning.
    rank : int, or one per axis, optional
        Exact ranks; together with ``tol`` an upper bound.
    method : "sthosvd"
        Sequentially truncated higher-order SVD: at most sqrt(d) times the best error.
    backend
        As in ``help(qf.conventions)``. On the host all do the same: LAPACK works, on as many threads as it is set to.

    Returns
    -------
    TuckerTensor(core (r_1, ..., r_d), factors)
        factors[k] (n_k, r_k) has orthonormal columns whose largest entry is positive. A zero tensor has ranks 1.

    Raises
    ------
    ValueError
        Neither tol nor rank; tol < 0 or NaN; a rank < 1 or > n; NaN or infinity in C (the index is named); an unknown method.
    TypeError
        Other dtypes.
    NotImplementedError
        A tensor that requires a gradient: truncation has none.

    Notes
    -----
    Cost: 2 n N flops for the first axis (N numbers, the largest n / r first), less for each one after it. From tol = 1e-7 on by Gram
    matrices, below by blocked QR of the transposed unfolding, which is never copied as a whole. float32 is worked on in float64.
    Vannieuwenhoven, Vandebril and Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027.
    """
    label = "cheb.tucker"
    _arguments.choice(method, label, "method", METHODS)
    host = _arguments.numbers_of(C, label, "C")
    if host.ndim == 0 or host.size == 0:
        raise ValueError(f"{label}: C has shape {host.shape}, expected at least one axis and no axis without entries")
    _arguments.finite(host, label, "C")
    if tol is None and rank is None:
        raise ValueError(f"{label}: neither tol nor rank is given, expected one of them or both")
    if tol is not None:
        tol = _raised(_arguments.number(tol, label, "tol"), host.dtype, label)
    ranks = host.shape if rank is None else _arguments.integers(rank, host.ndim, label, "rank", 1)
    for r, n in zip(ranks, host.shape):
        if r > n:
            raise ValueError(f"{label}: rank {ranks} is larger than C's shape {host.shape}")
    core, factors, found = call(_TUCKER, (C,), (-1.0 if tol is None else tol, tuple(ranks)), (), None, backend)
    kept = tuple(map(int, found))
    ends = np.cumsum([n * n for n in host.shape])
    matrices = [factors[end - n * n : end].reshape(n, n)[:, :r] for n, r, end in zip(host.shape, kept, ends)]
    return TuckerTensor(_own(core[tuple(map(slice, kept))]), list(map(_own, matrices)))


def _own(part: Any) -> Any:
    """A part of a result in memory of its own."""
    return part.copy() if isinstance(part, np.ndarray) else part.contiguous().clone()


def _raised(tol: float, dtype: np.dtype[Any], label: str) -> float:
    least = 4 * float(np.finfo(dtype).eps)
    if tol < least:
        warnings.warn(f"{label}: tol = {tol} is below what {dtype} can hold, taken as {least:.1e}", RuntimeWarning, stacklevel=3)
    return max(tol, least)


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    (shape,) = shapes
    assert shape is not None
    return [shape, (sum(n * n for n in shape),), (len(shape),)]


def _kernel(
    C: np.ndarray, core: np.ndarray, factors: np.ndarray, found: np.ndarray, tol: float, ranks: Any, num_threads: int, *, backend: str
) -> None:
    """What is kept stands at the beginning of core and, column by column, of every (n, n) matrix in factors; the rest is 0."""
    kept, matrices = _sthosvd(C, None if tol < 0 else tol, ranks)
    core[...] = factors[...] = 0
    core[tuple(map(slice, kept.shape))] = kept
    at = 0
    for U in matrices:
        n, r = U.shape
        factors[at : at + n * n].reshape(n, n)[:, :r] = U
        at += n * n
    found[...] = kept.shape


# How many columns are kept shows when they are computed: so results have the size of C, and the ranks come with them.
_TUCKER = Op(
    __name__, "tucker",
    inputs=(Arg("C", "..."),),
    outputs=(Arg("core", "..."), Arg("factors", "numbers"), Arg("ranks", "d", dtype="int")),
    options=(Option("tol", float), Option("ranks", "ints")),
    rule=_shapes,
    differentiable=False,
    host=_kernel,
)  # fmt: skip


def _sthosvd(C: np.ndarray, tol: float | None, ranks: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    d = C.ndim
    core = C.astype(np.float64, copy=False)
    largest = float(np.abs(core).max())
    scale = largest if largest and not 1 / SAFE_SCALE < largest < SAFE_SCALE else 1.0
    if scale != 1.0:
        core = core / scale
    budget = 0.0 if tol is None else (tol * float(np.linalg.norm(core))) ** 2 / d
    factors: list[Any] = [None] * d
    for axis in sorted(range(d), key=lambda k: -C.shape[k] / ranks[k] if tol is None else -C.shape[k]):
        vectors, squares = _by_gram(core, axis) if tol is not None and tol >= GRAM_FROM else _by_qr(core, axis)
        r = ranks[axis] if tol is None else min(ranks[axis], _kept(squares, budget))
        U = vectors[:, :r]
        U = U * np.where(U[np.abs(U).argmax(axis=0), np.arange(r)] < 0, -1.0, 1.0)
        core = mode_product(core, U.T, axis)
        factors[axis] = U
    return core * scale, factors


def _kept(squares: np.ndarray, budget: float) -> int:
    """How many of the descending squares stay when the sum of the dropped ones is at most the budget."""
    dropped = np.cumsum(squares[::-1])
    return max(1, int(squares.size - np.searchsorted(dropped, budget, side="right")))


def _unfolded(core: np.ndarray, axis: int) -> Iterator[np.ndarray]:
    """The unfolding along an axis, transposed, in blocks of rows (rows, n)."""
    n = core.shape[axis]
    moved = np.moveaxis(core, axis, -1)
    if moved.ndim == 1:
        yield moved[None]
        return
    step = max(1, BLOCK_ROWS // max(1, math.prod(moved.shape[1:-1])))
    for i in range(0, moved.shape[0], step):
        yield moved[i : i + step].reshape(-1, n)


def _by_gram(core: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors and squared singular values of an unfolding, good to eps sigma_1^2."""
    n = core.shape[axis]
    gram = np.zeros((n, n))
    for block in _unfolded(core, axis):
        gram += block.T @ block
    squares, vectors = np.linalg.eigh(gram)
    return vectors[:, ::-1], np.maximum(squares[::-1], 0)


def _by_qr(core: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, good to eps sigma_1: the triangle of the transposed unfolding, block after block, then its SVD."""
    n = core.shape[axis]
    triangle: Any = np.zeros((0, n))
    for block in _unfolded(core, axis):
        triangle = np.linalg.qr(np.concatenate([triangle, block]), mode="r")
    vectors, values, _ = np.linalg.svd(triangle.T, full_matrices=True)
    squares = np.zeros(n)
    squares[: values.size] = values**2
    return vectors, squares
