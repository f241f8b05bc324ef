"""Factorisations of the square factors of a ``KroneckerOperator``: eigenvalues, eigenvectors and LU, in double precision, cached.

If the noise is None, LU factors are used. On the host a singular factor raises an error. On a device values are not read: the result is
NaN, or the array library raises its own error. Equation numbers refer to csrc/kron/product/README.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._array_tools import cholesky, double, nan_unless
from ..product.composition import product
from ..product.dense import (
    FIX,
    exponent,
    factorised,
    log_determinant,
    namespace,
    not_negative,
    outer,
    product_of,
    products,
    require_symmetric,
    singular_axis,
)
from ..product.eigen import Eigen, clamped, eigen, negligible, symmetric
from ..product.packed import PackedFactors

Array = Any
_LABEL = "KroneckerOperator"


class Factorisation:
    """Factorisations of square factors (..., n_k, n_k) in array-API terms, whose results are NaN where the host raises errors.

    The leading axes of the factors broadcast to B. Rows are then (*B, c, N), and the noise and determinants (*B,).
    """

    def __init__(self, factors: Sequence[Array], kernel: tuple[Any, Any]) -> None:
        self.xp, self._factors, self._kernel = namespace(factors[0]), factors, kernel
        self._sizes, self._batch_axes = [f.shape[-1] for f in factors], max(f.ndim for f in factors) - 2

    def eigen(self, label: str) -> tuple[Array, list[tuple[Array, Array]]]:
        """Eigenvalues (N,) in the order of the grid, and (l_k, Q_k) of every factor (7); NaN if one is not symmetric or not finite."""
        return nan_unless(self.xp, self._valid[..., None], outer([p.values for p in self._parts])), self._pairs

    @property
    def _pairs(self) -> list[tuple[Array, Array]]:
        return [(p.values, p.vectors) for p in self._parts]

    @functools.cached_property
    def _parts(self) -> list[Eigen]:
        return [eigen(self.xp, f) for f in self._factors]

    @functools.cached_property
    def _valid(self) -> Array:
        return functools.reduce(lambda a, b: a & b, [p.valid for p in self._parts])

    @functools.cached_property
    def _vectors(self) -> PackedFactors:
        return PackedFactors([p.vectors for p in self._parts], *self._kernel)

    def filtered(self, values: Array, rows: Array) -> Array:
        """Q diag(values) Qᵀ x for rows x (..., N)."""
        values = values[..., None, :] if self._batch_axes else values
        return self._in_basis(values * self._in_basis(rows, True), False)

    def _in_basis(self, rows: Array, transpose: bool) -> Array:
        """Transforms rows to the eigenbasis with ``transpose``, else back."""
        if not self._batch_axes:
            return self._vectors(rows, transpose)
        return product(self.xp, [p.vectors[..., None, :, :] for p in self._parts], rows, transpose)

    def _with_noise(self, noise: Any) -> tuple[Array, list[Array]]:
        """Eigenvalues (N,) of K + noise I, and those of every factor; NaN if K + noise I is singular or K has a negative eigenvalue."""
        xp, values = self.xp, [clamped(self.xp, p.values) for p in self._parts]
        regular = functools.reduce(lambda a, b: a & b, [p.not_negative for p in self._parts]) & self._valid
        limit = negligible(xp, values, float(xp.finfo(self._factors[0].dtype).eps), self._factors[0])
        regular = regular & (noise > limit) & (noise >= 0)
        return nan_unless(xp, regular[..., None], outer(values) + (noise[..., None] if getattr(noise, "ndim", 0) else noise)), values

    @functools.cached_property
    def _plain(self) -> list[tuple[Array, Array]]:
        """Every factor (..., n, n), and whether it is finite and regular to its own precision."""
        xp, pairs = self.xp, []
        for f in self._factors:
            K, right = double(xp, f), xp.ones(f.shape[:-2], dtype=xp.bool, device=f.device)
            if f.shape[-1]:
                finite = xp.all(xp.isfinite(K), axis=(-2, -1))
                K = xp.where(finite[..., None, None], K, xp.eye(f.shape[-1], dtype=K.dtype, device=K.device))
                sizes = [xp.max(xp.sum(xp.abs(a), axis=-2), axis=-1) for a in (K, xp.linalg.inv(K))]
                right = finite & (sizes[0] * sizes[1] <= 1 / float(xp.finfo(f.dtype).eps))
            pairs.append((K, right))
        return pairs

    def solved(self, rows: Array, noise: Any, transpose: bool = False) -> Array:
        """(K + noise I)⁻¹ x for rows x (..., N): (8), or (9) with noise. Without noise, each call factorises, at the cost of a product."""
        if noise is not None:
            return self.filtered(1 / self._with_noise(noise)[0], rows)
        xp, sizes, x, axes = self.xp, self._sizes, rows, self._batch_axes
        batch, order = rows.shape[:axes], (*range(axes), axes + 1, axes, axes + 2)
        for k, (K, right) in enumerate(self._plain):
            before, after = math.prod(rows.shape[axes:-1]) * math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
            if not before * sizes[k] * after:
                return rows
            along = xp.permute_dims(xp.reshape(x, (*batch, before, sizes[k], after)), order)
            along = xp.reshape(along, (*batch, sizes[k], before * after))
            back = nan_unless(xp, right[..., None, None], xp.linalg.solve(xp.matrix_transpose(K) if transpose else K, along))
            x = xp.reshape(xp.permute_dims(xp.reshape(back, (*batch, sizes[k], before, after)), order), rows.shape)
        return x

    def logdet(self, noise: Any) -> Array:
        """log det(K + noise I) (10); NaN if the determinant is not positive."""
        xp = self.xp
        if noise is not None:
            return xp.sum(xp.log(self._with_noise(noise)[0]), axis=-1)
        N = math.prod(self._sizes)
        total = xp.zeros((), dtype=xp.float64, device=self._factors[0].device)
        sign = total + 1
        for K, right in self._plain if N else ():
            others = N // K.shape[-1]
            of_factor, size = xp.linalg.slogdet(K)
            total = total + nan_unless(xp, right, others * size)
            sign = sign * (of_factor if others % 2 else of_factor * of_factor)
        return nan_unless(xp, sign > 0, total)

    def logdet_gradient(self, noise: Any) -> tuple[list[Array], Any]:
        """Gradients of ``logdet`` with respect to the factors and the noise (16)."""
        if noise is None:
            N = math.prod(self._sizes)
            return [N // max(n, 1) * self.xp.matrix_transpose(inverse) for n, inverse in zip(self._sizes, self.inverses())], None
        values, parts = self._with_noise(noise)
        return _logdet_gradient(self.xp, parts, [p.vectors for p in self._parts], 1 / values)

    def inverses(self) -> list[Array]:
        """The inverses of the factors (8)."""
        return [nan_unless(self.xp, right[..., None, None], self.xp.linalg.inv(K)) for K, right in self._plain]

    def choleskys(self, label: str) -> list[Array]:
        """The lower Cholesky factors of the factors (17)."""
        parts = [symmetric(self.xp, f) for f in self._factors]
        return [nan_unless(self.xp, valid, cholesky(self.xp, K)[0]) if K.shape[0] else K for K, valid in parts]


def _logdet_gradient(xp: Any, values: Sequence[Array], vectors: Sequence[Array], inverse: Array) -> tuple[list[Array], Array]:
    """(16) from the eigenvalues and eigenvectors of every factor; ``inverse`` (..., N) are 1 / eigenvalues of K + noise I."""
    dfactors, sizes, batch = [], [l.shape[-1] for l in values], inverse.shape[:-1]
    for k, Q in enumerate(vectors):
        t = inverse
        for i in reversed(range(k + 1, len(sizes))):
            t = (xp.reshape(t, (*batch, math.prod(sizes[:i]), sizes[i])) @ values[i][..., None])[..., 0]
        for i in range(k):
            t = (values[i][..., None, :] @ xp.reshape(t, (*batch, sizes[i], math.prod(sizes[i + 1 : k + 1]))))[..., 0, :]
        dfactors.append((Q * t[..., None, :]) @ xp.matrix_transpose(Q))
    return dfactors, xp.sum(inverse, axis=-1)


class HostFactorisation(Factorisation):
    """Factorisations of read-only NumPy factors (n_k, n_k), with errors instead of NaN."""

    def eigen(self, label: str) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        self._require_symmetric(label)
        return self._values, self._pairs

    @functools.cached_property
    def _eps(self) -> float:
        return float(np.finfo(self._factors[0].dtype).eps)

    def _require_symmetric(self, label: str) -> None:
        self._require_finite(label)
        for i, f in enumerate(self._factors):
            require_symmetric(f, self._eps, f"{label}: factors[{i}]", "symmetrise it or use noise=0")

    @functools.cached_property
    def _values(self) -> np.ndarray:
        return products([p.values for p in self._parts])

    def filtered(self, values: Array, rows: Array) -> Array:
        """As in the base class, for NumPy arrays, or for tensors, which may have gradients."""
        vectors = self._vectors
        if not isinstance(rows, np.ndarray):  # new tensors in each call, as torch.func requires
            vectors = PackedFactors([_arrays.of_kind("torch", p.vectors) for p in self._parts], *self._kernel)
        return vectors(values * vectors(rows, True))

    @functools.cached_property
    def _semidefinite(self) -> tuple[np.ndarray, list[np.ndarray], float]:
        """Nonnegative eigenvalues (N,), those of every factor, and the noise up to which K + noise I is singular to working precision."""
        self.eigen(f"{_LABEL}.solve or logdet with noise")
        values = [not_negative(l, self._eps, f"{_LABEL}: factors[{i}]") for i, (l, _) in enumerate(self._pairs)]
        is_singular = singular_axis(values, self._eps) is not None
        return products(values), values, self._eps * product_of([l.max(initial=0.0) for l in values]) if is_singular else -1.0

    def _with_noise(self, noise: Any) -> tuple[np.ndarray, list[np.ndarray]]:
        noise = _arguments.number(noise, _LABEL, "noise")
        values, parts, limit = self._semidefinite
        if noise <= limit:
            raise np.linalg.LinAlgError(
                f"{_LABEL}: a factor is singular to working precision and the noise is {noise:.3g}, expected more than eps times "
                f"the largest eigenvalue of the product, {limit:.3g}; {FIX}"
            )
        return values + noise, parts

    def solved(self, rows: np.ndarray, noise: Any, transpose: bool = False) -> np.ndarray:
        rows = np.ascontiguousarray(rows)
        if noise is None:
            return self._by_lu(rows, transpose)
        return self._vectors(self._vectors(rows, True) / self._with_noise(noise)[0])

    def logdet(self, noise: Any) -> float:
        if noise is not None:
            return log_determinant(self._with_noise(noise)[1], float(noise))
        N = math.prod(map(len, self._factors))
        total, negative = 0.0, False
        for f, (lu, pivots) in zip(self._factors, self._lu) if N else ():
            others = N // len(f)
            diagonal = np.diagonal(lu)
            total += others * float(np.log(np.abs(diagonal)).sum())
            swaps = int(np.count_nonzero(pivots != np.arange(len(f))))
            negative ^= bool((swaps + np.count_nonzero(diagonal < 0)) * others % 2)
        if negative:
            raise np.linalg.LinAlgError(f"{_LABEL}.logdet: the determinant is negative, expected a positive one")
        return total

    def inverses(self) -> list[np.ndarray]:
        return [np.linalg.inv(f.astype(np.float64)) for f, _ in zip(self._factors, self._lu)]

    @functools.cached_property
    def _lu(self) -> list[tuple[Any, Any]]:
        self._require_finite(f"{_LABEL}.solve or logdet")
        return [factorised(f, i) for i, f in enumerate(self._factors)]

    def choleskys(self, label: str) -> list[np.ndarray]:
        self._require_symmetric(label)
        return [self._cholesky(f, i) for i, f in enumerate(self._factors)]

    def _cholesky(self, f: np.ndarray, i: int) -> np.ndarray:
        try:
            return np.linalg.cholesky(f.astype(np.float64))
        except np.linalg.LinAlgError:
            raise np.linalg.LinAlgError(f"{_LABEL}.cholesky: factors[{i}] is not positive definite; {FIX}") from None

    def _by_lu(self, rows: np.ndarray, transpose: bool) -> np.ndarray:
        if rows.size == 0:
            return rows
        from scipy.linalg import lu_solve

        x, lead = rows.reshape(*rows.shape[:-1], *map(len, self._factors)), rows.ndim - 1
        exponents = list(map(exponent, self._factors))
        far = sum(map(abs, exponents)) > 500  # intermediate results might exceed the range of float64
        for k, (lu, pivots) in enumerate(self._lu):
            front = np.moveaxis(x, lead + k, 0)
            own = pivots.copy()  # SciPy shifts the indices in place, and other threads may read them
            front = np.ldexp(front, exponents[k]) if far else front
            solved = lu_solve((lu, own), front.reshape(len(front), -1), trans=int(transpose), check_finite=False)
            x = np.moveaxis(solved.reshape(front.shape), 0, lead + k)
        return np.ldexp(x, -sum(exponents)).reshape(rows.shape) if far else x.reshape(rows.shape)

    def _require_finite(self, label: str) -> None:
        for i, f in enumerate(self._factors):
            if not np.isfinite(f).all():
                raise ValueError(f"{label}: factors[{i}] contains NaN or infinity")


def factorisation(factors: Sequence[Array], kernel: tuple[Any, Any]) -> Factorisation:
    """The factorisation for NumPy factors, or for factors on a device."""
    return (HostFactorisation if isinstance(factors[0], np.ndarray) else Factorisation)(factors, kernel)
