"""What a ``KroneckerOperator`` does by factorising its factors where these lie on a device, in array-API terms and double precision.

Nobody looks at numbers there: what raises on the host is NaN, or the array library's own error. Equation numbers are those of
csrc/kron/product/README.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._array_tools import double, is_symmetric, nan_unless
from .dense import outer
from .packed import Packed

Array = Any


class Eigen(NamedTuple):
    """K = Q diag(values) Qᵀ: as it is taken, symmetric and finite; whether it was, and whether no eigenvalue is below 0 but by rounding."""

    K: Array
    values: Array
    vectors: Array
    good: Array
    not_negative: Array


def eigen(xp: Any, f: Array) -> Eigen:
    """Of one factor (n, n)."""
    K, eps, n = double(xp, f), float(xp.finfo(f.dtype).eps), f.shape[0]
    if n == 0:
        right = xp.ones((), dtype=xp.bool, device=K.device)
        return Eigen(K, xp.zeros((0,), dtype=K.dtype, device=K.device), K, right, right)
    is_finite = xp.isfinite(K)
    K = xp.where(is_finite, K, xp.zeros_like(K))
    good = xp.all(is_finite) & is_symmetric(xp, K, eps)
    K = (K + K.T) / 2
    values, vectors = xp.linalg.eigh(K)
    return Eigen(K, values, vectors, good, values[0] >= -n * eps * xp.max(xp.abs(values)))


def clamped(xp: Any, values: Array) -> Array:
    """Rounding below 0 counts as 0."""
    return xp.where(values < 0, xp.zeros_like(values), values)


def negligible(xp: Any, values: Sequence[Array], eps: float, like: Array) -> Array:
    """Up to which noise K + noise I counts as singular, an array without axes: -1 for a K that is regular, else eps times its largest
    eigenvalue. ``values`` are the eigenvalues of every axis, ascending and not negative, of factors of that precision."""
    limit = xp.full((), -1.0, dtype=xp.float64, device=like.device)
    if not all(l.shape[0] for l in values):
        return limit
    largest = outer([l[-1:] for l in values])[0]
    for l in values:
        limit = xp.where(l[0] <= l.shape[0] * eps * l[-1], eps * largest, limit)
    return limit


class Factorised:
    """Square factors (n_k, n_k) on one device, and what is kept of them."""

    def __init__(self, xp: Any, factors: Sequence[Array], kernel: tuple[Any, Any]) -> None:
        self.xp, self.factors, self._kernel = xp, list(factors), kernel

    @functools.cached_property
    def parts(self) -> list[Eigen]:
        return [eigen(self.xp, f) for f in self.factors]

    @functools.cached_property
    def good(self) -> Array:
        """Whether all are symmetric and finite."""
        return functools.reduce(lambda a, b: a & b, [p.good for p in self.parts])

    @functools.cached_property
    def values(self) -> Array:
        """(N,) eigenvalues in the order of the grid."""
        return nan_unless(self.xp, self.good, outer([p.values for p in self.parts]))

    @functools.cached_property
    def floored(self) -> Array:
        """(N,) the same, not negative; NaN where one is."""
        good = functools.reduce(lambda a, b: a & b, [p.not_negative for p in self.parts])
        return nan_unless(self.xp, self.good & good, outer(self._clamped))

    @functools.cached_property
    def _clamped(self) -> list[Array]:
        return [clamped(self.xp, p.values) for p in self.parts]

    def with_noise(self, noise: float) -> Array:
        """(N,) eigenvalues of K + noise I, noise > 0; NaN where that is singular."""
        limit = negligible(self.xp, self._clamped, float(self.xp.finfo(self.factors[0].dtype).eps), self.factors[0])
        return nan_unless(self.xp, noise > limit, self.floored + noise)

    @functools.cached_property
    def vectors(self) -> Packed:
        return Packed([p.vectors for p in self.parts], *self._kernel)

    def filtered(self, values: Array, rows: Array) -> Array:
        """Q diag(values) Qᵀ of rows (..., N)."""
        found: Array = self.vectors(values * self.vectors(rows, True))
        return found

    @functools.cached_property
    def _plain(self) -> list[tuple[Array, Array]]:
        """Of every factor (n, n) itself, and whether it is finite and not singular to the precision that it was given in."""
        xp, found = self.xp, []
        for f in self.factors:
            K, right = double(xp, f), xp.ones((), dtype=xp.bool, device=f.device)
            if f.shape[0]:
                finite = xp.all(xp.isfinite(K))
                K = xp.where(finite, K, xp.eye(f.shape[0], dtype=K.dtype, device=K.device))
                sizes = [xp.max(xp.sum(xp.abs(a), axis=0)) for a in (K, xp.linalg.inv(K))]
                right = finite & (sizes[0] * sizes[1] <= 1 / float(xp.finfo(f.dtype).eps))
            found.append((K, right))
        return found

    def solved(self, rows: Array) -> Array:
        """(8) for rows (c, N): an LU factorisation a factor and call, which costs no more than the product of one vector."""
        xp, sizes = self.xp, [f.shape[0] for f in self.factors]
        for k, (K, right) in enumerate(self._plain):
            before, after = rows.shape[0] * math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
            if not before * sizes[k] * after:
                return rows
            along = xp.reshape(xp.permute_dims(xp.reshape(rows, (before, sizes[k], after)), (1, 0, 2)), (sizes[k], before * after))
            back = xp.reshape(xp.linalg.solve(K, along), (sizes[k], before, after))
            rows = nan_unless(xp, right, xp.reshape(xp.permute_dims(back, (1, 0, 2)), rows.shape))
        return rows

    def logdet(self, noise: float) -> Array:
        """(10), an array without axes; NaN where the determinant is not positive."""
        xp = self.xp
        if noise:
            return xp.sum(xp.log(self.with_noise(noise)))
        N = math.prod(f.shape[0] for f in self.factors)
        total = xp.zeros((), dtype=xp.float64, device=self.factors[0].device)
        sign = total + 1
        if not N:
            return total
        for K, right in self._plain:
            others = N // K.shape[0]
            of_factor, size = xp.linalg.slogdet(K)
            total = total + nan_unless(xp, right, others * size)
            sign = sign * (of_factor if others % 2 else of_factor * of_factor)
        return nan_unless(xp, sign > 0, total)
