"""Tensor trains: cores with many axes as chains of small arrays. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._array_tools import chunk_slices
from ..._backends.array import namespace
from ..._memo import frozen
from ..domain import Domain
from ..scattered import check_points
from ..scattered.composition import polynomials, reference
from ..transform import derivative, mode_product


class TensorTrain:
    """A tensor (r_1, ..., r_d) as a chain of arrays: the core of a ``ChebTucker`` of many variables.

    Entry (i_1, ..., i_d) is the product of the matrices G_1[:, i_1, :] G_2[:, i_2, :] ... G_d[:, i_d, :] (20).

    Parameters
    ----------
    cores : d arrays (R_(k-1), r_k, R_k), with R_0 = R_d = 1
        float32 or float64. NumPy arrays are copied to read-only memory; tensors keep their graph.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> train = qf.cheb.TensorTrain([np.ones((1, 2, 3)), np.ones((3, 4, 2)), np.ones((2, 5, 1))])
    >>> train.shape, train.ranks
    ((2, 4, 5), (3, 2))
    >>> train.dense()[0, 0, 0]
    np.float64(6.0)
    """

    __slots__ = ("__weakref__", "cores")

    def __init__(self, cores: Sequence[Any]) -> None:
        label = "cheb.TensorTrain"
        values = _arguments.sequence(cores, f"{label}: cores")
        arrays = _arguments.arrays_like(values, label, [f"cores[{k}]" for k in range(len(values))])
        shapes = [tuple(map(int, G.shape)) for G in arrays]
        links = [1, *(shape[-1] if len(shape) == 3 else 0 for shape in shapes)]
        fits = all(len(shape) == 3 and shape[0] == link for shape, link in zip(shapes, links))
        if not arrays or not fits or links[-1] != 1:
            raise ValueError(f"{label}: the cores have shapes {shapes}, expected (1, r_1, R_1), (R_1, r_2, R_2), ..., (R, r_d, 1)")
        if len({(_arrays.kind(G), G.dtype) for G in arrays}) > 1:
            raise TypeError(f"{label}: the cores are {', '.join(map(_arrays.describe, arrays))}, expected the same library and dtype")
        self.cores = tuple(map(frozen, arrays))

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes r_k of the axes."""
        return tuple(int(G.shape[1]) for G in self.cores)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks R_1, ..., R_(d-1) between the axes."""
        return tuple(int(G.shape[2]) for G in self.cores[:-1])

    @property
    def ndim(self) -> int:
        return len(self.cores)

    @property
    def dtype(self) -> Any:
        return self.cores[0].dtype

    @property
    def requires_grad(self) -> bool:
        return any(getattr(G, "requires_grad", False) for G in self.cores)

    def mode_product(self, matrix: Any, axis: int) -> TensorTrain:
        """Return sum_j matrix[i, j] A[..., j, ...] along one axis."""
        return self.replaced({axis: mode_product(self.cores[axis], matrix, 1)})

    def replaced(self, cores: dict[int, Any]) -> TensorTrain:
        """Return the train with some of its arrays replaced."""
        return TensorTrain([cores.get(k, G) for k, G in enumerate(self.cores)])

    def __mul__(self, factor: float) -> TensorTrain:
        return self.replaced({0: self.cores[0] * factor})

    def __truediv__(self, divisor: float) -> TensorTrain:
        return self.replaced({0: self.cores[0] / divisor})

    def __neg__(self) -> TensorTrain:
        return self * -1.0

    def dense(self) -> Any:
        """Return the full tensor (r_1, ..., r_d)."""
        left = self.cores[0]
        for G in self.cores[1:]:
            left = left.reshape(-1, G.shape[0]) @ G.reshape(G.shape[0], -1)
        return left.reshape(self.shape)

    def without(self, axes: Sequence[int]) -> Any:
        """Remove some axes of size 1; return a 0-d array if none is left."""
        left, cores = None, []
        for k, G in enumerate(self.cores):
            if k in axes:
                left = G[:, 0] if left is None else left @ G[:, 0]
            else:
                cores.append(G if left is None else mode_product(G, left, 0))
                left = None
        if not cores:
            return left.reshape(())  # type: ignore[union-attr]
        return TensorTrain(cores if left is None else [*cores[:-1], mode_product(cores[-1], left.T, 2)])

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorTrain, (list(self.cores),)

    def __repr__(self) -> str:
        return f"TensorTrain(shape={self.shape}, ranks={self.ranks})"

    # ------------------------------------------------------------ values

    def values(self, tables: Sequence[Any]) -> Any:
        """Values (P,) of sum_i A[i_1, ..., i_d] prod_k tables[k][:, i_k]; tables[k] (P, r_k): the functions of axis k at P points."""
        left = None
        for table, G in zip(tables, self.cores):
            left = _passed(left, table, G)
        return left[:, 0]  # type: ignore[index]

    def fibres(self, tables: Sequence[Any], axis: int) -> Any:
        """Sums (P, r) as in ``values`` over all axes except one, whose table is not used."""
        left, right = None, None
        for k in range(axis):
            left = _passed(left, tables[k], self.cores[k])
        for k in reversed(range(axis + 1, self.ndim)):
            right = _passed(right, tables[k], _mirrored(self.cores[k]))
        G = self.cores[axis]
        rows = G if left is None else mode_product(G, left, 0)
        return rows[:, :, 0] if right is None else (rows * right[:, None, :]).sum(-1)

    def gradients(self, tables: Sequence[Any], slopes: Sequence[Any], seconds: Sequence[Any] | None = None) -> list[list[Any]]:
        """First derivatives, d arrays (P,). With ``seconds`` also the rows of the upper triangle of the Hessian."""
        d = self.ndim
        rights, lefts = [None] * d, [None] * d
        for k in reversed(range(1, d)):
            rights[k - 1] = _passed(rights[k], tables[k], _mirrored(self.cores[k]))
        for k in range(d - 1):
            lefts[k + 1] = _passed(lefts[k], tables[k], self.cores[k])

        def closed(left: Any, table: Any, k: int) -> Any:
            row = _passed(left, table, self.cores[k])
            return row[:, 0] if k == d - 1 else (row * rights[k]).sum(-1)

        rows = [[closed(lefts[k], slopes[k], k) for k in range(d)]]
        for j in range(d if seconds is not None else 0):
            row, left = [closed(lefts[j], seconds[j], j)], _passed(lefts[j], slopes[j], self.cores[j])  # type: ignore[index]
            for k in range(j + 1, d):
                row.append(closed(left, slopes[k], k))
                left = _passed(left, tables[k], self.cores[k])
            rows.append(row)
        return rows


def _passed(left: Any, table: Any, G: Any) -> Any:
    """Multiply each point's row (P, R), the product of its earlier matrices, by its next matrix: (P, R')."""
    if left is None:
        return table @ G[0]
    R, r, S = G.shape
    return (left[:, :, None] * table[:, None, :]).reshape(-1, R * r) @ G.reshape(R * r, S)


def _mirrored(G: Any) -> Any:
    return G.swapaxes(0, 2) if isinstance(G, np.ndarray) else _arrays.namespace(G).swapaxes(G, 0, 2)


def evaluated(train: TensorTrain, factors: Sequence[Any], X: Any, domain: Domain, order: int, extrapolate: bool, label: str) -> Any:
    """f, (f, g) or (f, g, H) at points X (P, d) (21), differentiable in all arrays."""
    first = train.cores[0]
    if _arrays.kind(X) != _arrays.kind(first) or X.dtype != first.dtype:
        raise TypeError(f"{label}: X is {_arrays.describe(X)}, expected {_arrays.describe(first)}, like the core")
    if len(X.shape) != 2 or X.shape[1] != train.ndim:
        raise ValueError(f"{label}: X has shape {tuple(X.shape)}, expected (P, {train.ndim})")
    if _arrays.on_host(X) and not _arrays.is_meta(X):
        check_points(label, _arrays.to_host(X), domain, extrapolate)
    xp = namespace(str(_arrays.kind(X)))
    double = train if X.dtype == xp.float64 else TensorTrain([xp.astype(G, xp.float64) for G in train.cores])
    tables = [xp.astype(U, xp.float64, copy=False) for U in factors]
    slopes = [derivative(U) * (2 / (hi - lo)) for U, lo, hi in zip(tables, domain[::2], domain[1::2])] if order else []
    seconds = [derivative(U) * (2 / (hi - lo)) for U, lo, hi in zip(slopes, domain[::2], domain[1::2])] if order > 1 else []
    d = train.ndim

    def part(at: slice) -> list[Any]:
        t = reference(xp, X[at], domain, extrapolate)
        T = [polynomials(xp, t[k], len(U)) for k, U in enumerate(tables)]
        F, dF, ddF = ([T[k][: len(U)].T @ U for k, U in enumerate(factors)] for factors in (tables, slopes, seconds))
        results = [double.values(F)]
        if order:
            slopes_of_f, *rows = double.gradients(F, dF, ddF or None)
            results.append(xp.stack(slopes_of_f, axis=-1))
            if order > 1:
                results.append(xp.stack([xp.stack([rows[min(i, j)][abs(i - j)] for j in range(d)], axis=-1) for i in range(d)], axis=1))
        return [xp.astype(a, X.dtype, copy=False) for a in results]

    width = max(sum(len(U) for U in tables), max(G.shape[0] * G.shape[1] for G in train.cores))
    parts = zip(*(part(at) for at in chunk_slices(X.shape[0], width, xp)))
    results = [xp.concat(list(arrays), axis=0) if len(arrays) > 1 else arrays[0] for arrays in parts]
    return tuple(results) if order else results[0]


# ---------------------------------------------------------------- algebra


def added(one: TensorTrain, other: TensorTrain, padded: Any) -> TensorTrain:
    """Add two trains as block-diagonal arrays; ``padded(A, axis, before, after)`` adds zeros."""
    last, cores = one.ndim - 1, []
    for k, (G, H) in enumerate(zip(one.cores, other.cores)):
        sizes = [(G.shape[j], H.shape[j]) for j in range(3)]
        for j in (j for j in range(3) if (j, k) not in ((0, 0), (2, last))):
            G, H = padded(G, j, 0, sizes[j][1]), padded(H, j, sizes[j][0], 0)
        cores.append(G + H)
    return TensorTrain(cores)


def multiplied(one: TensorTrain, other: TensorTrain) -> TensorTrain:
    """Return the train of all products of two entries; the indices of the second vary faster."""
    cores = []
    for G, H in zip(one.cores, other.cores):
        both = G[:, None, :, None, :, None] * H[None, :, None, :, None, :]
        cores.append(both.reshape([m * n for m, n in zip(G.shape, H.shape)]))
    return TensorTrain(cores)


def product(one: TensorTrain, other: TensorTrain) -> Any:
    """Return the inner product of two trains, a 0-d array."""
    left = one.cores[0][:, 0, :1] * 0 + 1
    for G, H in zip(one.cores, other.cores):
        rows = (left.T @ G.reshape(G.shape[0], -1)).reshape(-1, G.shape[2])
        left = rows.T @ H.reshape(-1, H.shape[2])
    return left.reshape(())


# ---------------------------------------------------------------- orthogonal forms (NumPy arrays)


def right_orthogonal(cores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the same train with orthonormal rows (R, r R') in all cores except the first."""
    result = list(cores)
    for k in reversed(range(1, len(result))):
        R, r, S = result[k].shape
        Q, triangle = np.linalg.qr(result[k].reshape(R, r * S).T)
        result[k] = Q.T.reshape(-1, r, S)
        result[k - 1] = mode_product(result[k - 1], triangle, 2)
    return result


def left_orthogonal(cores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the same train with orthonormal columns (R r, R') in all cores except the last."""
    return [G.swapaxes(0, 2) for G in right_orthogonal([G.swapaxes(0, 2) for G in cores[::-1]])][::-1]


def centres(cores: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the core of each axis with all other cores orthonormal, so that its slices have the norms of the tensor's slices."""
    rest = right_orthogonal(cores)
    for k, G in enumerate(rest):
        yield G
        if k + 1 < len(rest):
            triangle = np.linalg.qr(G.reshape(-1, G.shape[2]), mode="r")
            rest[k + 1] = mode_product(rest[k + 1], triangle, 0)


def leading(A: np.ndarray, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Approximate A (m, n) by Q (m, r) B (r, n), Q orthonormal, with a residual norm of at most ``budget``; r is at least 1."""
    Q, sigma, V = np.linalg.svd(A, full_matrices=False)
    left = np.cumsum(sigma[::-1] ** 2)[::-1]
    r = max(1, int((left > budget * budget).sum()))
    return Q[:, :r], sigma[:r, None] * V[:r]


def truncated(train: TensorTrain, tol: float) -> tuple[TensorTrain, list[np.ndarray]]:
    """Truncate the train to ``tol`` of its norm (22); return it with smaller axes, and their orthonormal bases (r_k, r'_k)."""
    rest = left_orthogonal(train.cores)
    d = len(rest)
    budget = tol * float(np.linalg.norm(rest[-1])) / math.sqrt(2 * d - 1)
    bases: list[np.ndarray] = [np.zeros((0, 0))] * d
    for k in reversed(range(d)):
        R, r, S = rest[k].shape
        bases[k], B = leading(np.moveaxis(rest[k], 1, 0).reshape(r, R * S), budget)
        G = np.moveaxis(B.reshape(-1, R, S), 0, 1)
        if k == 0:
            rest[0] = np.ascontiguousarray(G)
            break
        Q, B = leading(G.reshape(R, -1).T, budget)
        rest[k] = np.ascontiguousarray(Q.T.reshape(-1, G.shape[1], S))
        rest[k - 1] = mode_product(rest[k - 1], B, 2)
    return TensorTrain(rest), bases


def permuted(cores: Sequence[np.ndarray], order: Sequence[int], tol: float) -> list[np.ndarray]:
    """Permute the axes by exchanging neighbours, each truncated to ``tol`` of the norm."""
    rest, axes = list(cores), list(range(len(cores)))
    for at, wanted in enumerate(order):
        for k in reversed(range(at, axes.index(wanted))):
            left = left_orthogonal(rest)
            rest = [*left[:k], *right_orthogonal(left[k:])]  # all cores except core k orthonormal
            G, H = rest[k], rest[k + 1]
            both = np.tensordot(G, H, 1).transpose(0, 2, 1, 3)
            Q, B = leading(both.reshape(G.shape[0] * H.shape[1], -1), tol * float(np.linalg.norm(both)))
            rest[k], rest[k + 1] = Q.reshape(G.shape[0], H.shape[1], -1), B.reshape(-1, G.shape[1], H.shape[2])
            axes[k], axes[k + 1] = axes[k + 1], axes[k]
    return rest


# ---------------------------------------------------------------- statistics: trains of coefficients of orthonormal functions


def variance(cores: Sequence[np.ndarray]) -> float:
    """Sum of squares of all entries except the first, without cancellation (23)."""
    total, left = 0.0, np.ones((1, 1))
    for G in right_orthogonal(cores):
        rows = mode_product(G, left, 0)[0]
        total += float((rows[1:] ** 2).sum())
        left = rows[:1]
    return total


def shares(cores: Sequence[np.ndarray], order: Any) -> np.ndarray:
    """Sums of squares of entries (23). Order "total", (d,): per axis, all entries with a nonconstant function of this axis.

    Order 1, (d,): only the entries that are constant in all other axes. Order 2, (d, d): those that vary in exactly two axes.
    """
    d = len(cores)
    if order == "total":
        return np.array([float((G[:, 1:] ** 2).sum()) for G in centres(cores)])
    means = [G[:, 0] for G in cores]
    rights = [np.ones((1, 1))]
    for M in means[:0:-1]:
        rights.insert(0, M @ rights[0])
    sums, left = np.zeros((d, d)), np.ones((1, 1))
    for j, G in enumerate(cores):
        rows = mode_product(G, left, 0)[0]
        sums[j, j] = float(((rows[1:] @ rights[j]) ** 2).sum())
        between = rows[1:]
        for k in range(j + 1, d if order == 2 else 0):
            pairs = np.tensordot(between, mode_product(cores[k], rights[k].T, 2)[:, 1:, 0], 1)
            sums[j, k] = sums[k, j] = float((pairs**2).sum())
            between = between @ means[k]
        left = left @ means[j]
    return np.diagonal(sums).copy() if order == 1 else sums * (1 - np.eye(d))
