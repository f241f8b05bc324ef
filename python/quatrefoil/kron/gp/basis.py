"""Eigenvectors of a Kronecker product of symmetric matrices, and products with them; by parity along centrosymmetric axes: README (14)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..product.dense import not_negative, require_symmetric
from ..product.mirror import folded, halves, unfolded, whole
from ..product.packed import PackedFactors

HALVED_FROM = 8  # minimum size of an axis whose eigenvectors are computed by parity
_MIRRORED = 32  # an entry may differ from its mirror image by this many eps: more than rounding in a kernel, less than in eigh
FOLDED_FROM = 256  # minimum size for products by parity; on smaller axes splitting and joining the parts costs more


class Axis:
    """One factor K = Q diag(values) Qᵀ. ``parts``: Q, or the eigenvectors of the even and odd parts of a large centrosymmetric K."""

    def __init__(self, K: np.ndarray, eps: float, name: str) -> None:
        _check(K, eps, name)
        n = len(K)
        self.parts: list[np.ndarray]
        self.vectors: np.ndarray
        if n >= HALVED_FROM and np.abs(K - K[::-1, ::-1]).max() <= _MIRRORED * eps * np.abs(K).max():
            decomposed = [np.linalg.eigh(half) for half in halves(K)]
            values, self.parts = np.concatenate([l for l, _ in decomposed]), [q for _, q in decomposed]
            self.vectors = whole(self.parts, n)
            if n < FOLDED_FROM:
                self.parts = [self.vectors]
        else:
            values, self.vectors = np.linalg.eigh(K)
            self.parts = [self.vectors]
        self.values = not_negative(values, eps, name)

    def squares(self, stepped: bool = False, whole: bool = False) -> np.ndarray:
        """Q∘Q, or with ``stepped`` the product of each row of Q and the row before it, 0 for the first. Unless ``whole``, an axis with two
        parts returns only the rows from which ``mirrored`` restores the others."""
        q, n = self.vectors, len(self.vectors)
        whole = whole or len(self.parts) == 1
        count = n if whole else n // 2 + 1 if stepped else n - n // 2
        products: np.ndarray = np.zeros((count, n))
        if stepped:
            np.multiply(q[1:count], q[: max(count - 1, 0)], out=products[1:])
        else:
            np.square(q[:count], out=products)
        return products

    def mirrored(self, x: np.ndarray, stepped: bool) -> np.ndarray:
        """(L, rows of ``squares``, R) -> (L, n, R)"""
        n = len(self.vectors)
        return np.concatenate([x, (x[:, 1 : n - n // 2] if stepped else x[:, : n // 2])[:, ::-1]], axis=1)

    def rotated(self, M: np.ndarray) -> np.ndarray:
        """Q M Qᵀ for a symmetric M, bitwise symmetric."""
        if len(self.parts) == 1:
            M = self.vectors @ M @ self.vectors.T
        else:
            even, odd = self.parts
            n = len(even)
            across = even @ M[:n, n:] @ odd.T
            above = unfolded(even @ M[:n, :n] @ even.T, across.T, 0)
            M = unfolded(above, unfolded(across, odd @ M[n:, n:] @ odd.T, 0), 1)
            M *= 0.5
        return (M + M.T) / 2


class Basis:
    """Q = Q_1 ⊗ ... ⊗ Q_d of several axes."""

    def __init__(self, axes: Sequence[Axis], kernel: Any) -> None:
        self.kernel, self.matrices = kernel, [a.vectors for a in axes]
        self.shape = tuple(map(len, self.matrices))
        self.folded = [k for k, a in enumerate(axes) if len(a.parts) == 2]
        # for every combination of parts, one per axis: their slices of the coefficients, and their eigenvectors
        self.blocks = [tuple(zip(*block)) for block in itertools.product(*[_slices_and_vectors(a.parts) for a in axes])]
        roots = [0.5 ** (len(a.parts) / 2 - 0.5) for a in axes]  # 1 / sqrt 2 for an axis with two parts
        self._products = [PackedFactors([q * root for q, root in zip(parts, roots)], *kernel) for _, parts in self.blocks]

    def __call__(self, rows: np.ndarray, transpose: bool = False) -> np.ndarray:
        """Q x, or Qᵀ x, for rows (..., N)."""
        if not self.folded:
            return self._products[0](rows, transpose)
        x = rows.reshape(math.prod(rows.shape[:-1]), *self.shape)
        result = np.empty_like(x)
        if transpose:
            for (block, _), product, part in zip(self.blocks, self._products, self.fold(x)):
                result[:, *block] = _multiplied(product, part, True)
        else:
            self.unfold([_multiplied(product, x[:, *block]) for (block, _), product in zip(self.blocks, self._products)], result)
        return result.reshape(rows.shape)

    def fold(self, x: np.ndarray) -> list[np.ndarray]:
        """(B, n_1, ..., n_d) -> its even and odd parts along every folded axis, each times sqrt 2: one contiguous array per block."""
        parts = [x]
        for k in self.folded:
            parts = [half for part in parts for half in folded(part, k + 1)]
        return parts

    def unfold(self, parts: Sequence[np.ndarray], out: np.ndarray) -> None:
        """The transpose of ``fold``."""
        for k in reversed(self.folded[1:]):
            parts = [unfolded(even, odd, k + 1) for even, odd in zip(parts[::2], parts[1::2])]
        unfolded(parts[0], parts[1], self.folded[0] + 1, out)


class Filter:
    """x -> Q diag(values) Qᵀ x for rows (B, N); ``values`` are (R, N), R = 1 or B. ``dtype`` is the precision of the products."""

    def __init__(self, basis: Basis, values: np.ndarray, dtype: Any = np.float64, selected: Sequence[np.ndarray] | None = None) -> None:
        """``selected``: for every axis, which eigenvectors to use; ``values`` are negligible for the others."""
        self._basis = basis
        grid = values.reshape(len(values), *basis.shape) * 0.5 ** len(basis.folded)
        self._products, self._scales = [], []
        for block, parts in basis.blocks:
            scales = grid[:, *block]
            if selected is not None:
                columns = [np.flatnonzero(k[block_slice]) for k, block_slice in zip(selected, block)]
                parts = [q[:, c] for q, c in zip(parts, columns)]
                scales = scales[np.ix_(np.arange(len(grid)), *columns)]
            self._products.append(PackedFactors([q.astype(dtype, order="C", copy=False) for q in parts], *basis.kernel))
            self._scales.append(scales.reshape(len(grid), -1).astype(dtype, copy=False))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        basis = self._basis
        if not basis.folded:
            return self._filtered(0, rows)
        x = rows.reshape(len(rows), *basis.shape)
        result = np.empty_like(x)
        basis.unfold([self._filtered(i, part.reshape(len(part), -1)).reshape(part.shape) for i, part in enumerate(basis.fold(x))], result)
        return result.reshape(rows.shape)

    def _filtered(self, i: int, rows: np.ndarray) -> np.ndarray:
        coefficients = self._products[i](rows, True)
        coefficients *= self._scales[i]
        return self._products[i](coefficients)


def _slices_and_vectors(parts: Sequence[np.ndarray]) -> list[tuple[slice, np.ndarray]]:
    """The slice of coefficients of each part, and its eigenvectors."""
    ends = np.cumsum([len(q) for q in parts])
    return [(slice(int(end) - len(q), int(end)), q) for q, end in zip(parts, ends)]


def _multiplied(product: PackedFactors, part: np.ndarray, transpose: bool = False) -> np.ndarray:
    return product(np.ascontiguousarray(part).reshape(len(part), -1), transpose).reshape(part.shape)


def _check(f: np.ndarray, eps: float, name: str) -> None:
    if not np.isfinite(f).all():
        raise ValueError(f"{name} contains NaN or infinity")
    require_symmetric(f, eps, name)
