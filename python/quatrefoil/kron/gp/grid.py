"""The covariance of a full grid, K = K_1 ⊗ ... ⊗ K_d, through the eigendecompositions of its factors: README (2) to (4)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..._typing import Backend
from ..product.dense import log_determinant, product_of, products, singular_axis
from ..product.packed import PackedFactors
from .basis import Axis, Basis
from .spectrum import cross_gram, gp_gram

_MIN = 1e-30  # lower bound on eigenvalues relative to an axis's largest: smaller ones are rounding errors, and sums are divided by them


class Grid:
    """Symmetric factors, in double precision. ``values`` are the nonnegative eigenvalues of each, in the order of ``basis``.

    ``terms``: the factors of K and, if the noise is structured, of S. ``duals`` are the inverses of the transposed ``basis.matrices``.
    """

    is_orthogonal = True

    def __init__(self, factors: Sequence[np.ndarray], label: str, backend: Backend | None = None, num_threads: int | None = None) -> None:
        self._begin(factors, label, (backend, num_threads))
        axes: list[Axis] = []
        for i, factor in enumerate(factors):
            same = next((k for k in range(i) if factors[k] is factor), None)  # axes may share a factor, as in images
            axes.append(Axis(self.factors[i], np.finfo(factor.dtype).eps, f"{label}: factors[{i}]") if same is None else axes[same])
        self._set_axes(axes)
        self.duals = self.basis.matrices

    def _begin(self, factors: Sequence[np.ndarray], label: str, kernel: tuple[Backend | None, int | None]) -> None:
        self.label, self.shape, self.kernel = label, tuple(len(f) for f in factors), kernel
        self.size = math.prod(self.shape)
        self.factors = [np.array(f, np.float64, order="C") for f in factors]
        self.terms, self.eps = [self.factors], max(float(np.finfo(f.dtype).eps) for f in factors)

    def _set_axes(self, axes: Sequence[Axis]) -> None:
        self.axes, self.values, self.basis = axes, [a.values for a in axes], Basis(axes, self.kernel)

    @functools.cached_property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues (N,), in the order of the grid."""
        return products(self.values)

    @functools.cached_property
    def product(self) -> PackedFactors:
        return PackedFactors(self.factors, *self.kernel)

    def to_basis(self, rows: np.ndarray) -> np.ndarray:
        """Qᵀ x for every row x."""
        return self.basis(rows, transpose=True)

    def from_basis(self, rows: np.ndarray) -> np.ndarray:
        return self.basis(rows)

    def coefficients(self, rows: np.ndarray) -> np.ndarray:
        """The coefficients a with Q a = x, for every row x."""
        return self.to_basis(rows)

    def noise_product(self, rows: np.ndarray) -> np.ndarray:
        """S x for every row x, S the noise covariance for variance 1."""
        return rows

    def noise_root(self, rows: np.ndarray) -> np.ndarray:
        """S^(1/2) x: noise of variance 1 from standard normal draws."""
        return rows

    def inverse_eigenvalues(self, noise: float) -> np.ndarray:
        """1 / (λ + noise), (N,)."""
        self.reject_singular(noise)
        return 1 / (self.eigenvalues + noise)

    def logdet(self, noise: float) -> float:
        """log det(K + noise I), without the lower bound that ``relative`` puts on eigenvalues."""
        self.reject_singular(noise)
        if noise == 0:
            return sum(self.size // len(f) * 2 * float(np.log(np.linalg.cholesky(f).diagonal()).sum()) for f in self.factors if len(f))
        return log_determinant(self.values, noise)

    def is_negligible(self, noise: float) -> bool:
        """Whether the noise is 0, or K is singular and the noise is below the rounding error of its eigenvalues."""
        return noise == 0 or (self._singular is not None and noise <= self.eps * product_of(self.scales))

    @functools.cached_property
    def _singular(self) -> int | None:
        return singular_axis(self.values, self.eps) if self.size else None

    def reject_singular(self, noise: float) -> None:
        """Raise LinAlgError if K + noise I is singular to working precision."""
        if self._singular is None or not self.is_negligible(noise):
            return
        i, l = self._singular, self.values[self._singular]
        raise np.linalg.LinAlgError(
            f"{self.label}: factors[{i}] is singular to working precision (its smallest eigenvalue is {l.min():.3g}, its largest "
            f"{l.max():.3g}) and the noise is {noise:.3g}, expected more than eps times the largest eigenvalue of the covariance, "
            f"{self.eps * product_of(self.scales):.3g}; add noise, or jitter to its diagonal"
        )

    def diagonal_of(self, values: np.ndarray, steps: Sequence[int] = ()) -> np.ndarray:
        """The diagonal of P = Q diag(values) Qᵀ, for values (..., N), in their precision. With ``steps`` [k], the entries of P between a
        cell and its predecessor along axis k; with [j, k], between its predecessor along j and the one along k. 0 without a predecessor."""
        matrices = [axis.squares(k in steps).astype(values.dtype, copy=False) for k, axis in enumerate(self.axes)]
        diagonal: np.ndarray = PackedFactors(matrices, *self.kernel)(values)
        lead, sizes = math.prod(values.shape[:-1]), list(map(len, matrices))
        for k, axis in enumerate(self.axes):
            if len(axis.parts) == 2:
                diagonal = axis.mirrored(diagonal.reshape(lead, sizes[k], math.prod(sizes[k + 1 :])), k in steps)
            lead *= self.shape[k]
        return diagonal.reshape(values.shape)

    # ---- sums over all axes but one

    @functools.cached_property
    def scales(self) -> list[float]:
        """The largest eigenvalue of every axis."""
        return [float(l.max(initial=0.0)) for l in self.values]

    @functools.cached_property
    def relative(self) -> list[np.ndarray]:
        """``values`` divided by their scale and bounded away from 0, so that products over all axes can be divided by the values of one.

        An axis of zeros has the scale 0 and relative values of 1.
        """
        return [np.maximum(l / c, _MIN) if c else np.ones(len(l)) for l, c in zip(self.values, self.scales)]

    @functools.cached_property
    def floored(self) -> list[np.ndarray] | None:
        """``relative`` times the scales; None if their products are 0 or may exceed the range of float64."""
        if not all(self.scales) or sum(abs(math.frexp(c)[1]) for c in self.scales) > 900:
            return None
        return [c * l for l, c in zip(self.relative, self.scales)]

    def _others(self, k: int) -> float:
        """The product of the scales of all axes but k."""
        return product_of(self.scales[:k] + self.scales[k + 1 :])

    @functools.cached_property
    def _weights(self) -> np.ndarray:
        return products(self.relative)

    def traces(self, inverse: np.ndarray) -> list[np.ndarray]:
        """Return T_k with tr(Q diag(inverse) Qᵀ (K_1 ⊗ ... dK_k ... ⊗ K_d)) = <Q_k T_k Q_kᵀ, dK_k>: README (3)."""
        shares = (self._weights * inverse).reshape(self.shape)
        sums: list[np.ndarray] = [shares] * len(self.shape)  # (n_1, ..., n_k), the axes after k summed
        for k in range(len(self.shape) - 1, 0, -1):
            sums[k - 1] = sums[k].sum(axis=-1)
        return [
            np.diag(sums[k].reshape(-1, n).sum(axis=0) / l * self._others(k)) if n else np.zeros((0, 0))
            for k, (n, l) in enumerate(zip(self.shape, self.relative))
        ]

    def grams(self, left: np.ndarray, right: np.ndarray | None = None) -> list[np.ndarray]:
        """The symmetric part of the sum of left_(k) diag(⊗_{m != k} l_m) right_(k)ᵀ over rows (B, N) in the eigenbasis: README (4).
        ``right`` defaults to ``left``."""
        root = np.sqrt(self._weights)
        sums = self.weighted_grams(left * root, None if right is None else right * root, self.relative)
        return [a * self._others(k) for k, a in enumerate(sums)]

    def weighted_grams(self, a: np.ndarray, b: np.ndarray | None, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """``grams`` of rows already multiplied by the square root of the product of ``values``, arrays (n_k,)."""
        backend, num_threads = self.kernel
        grams = []
        for k, l in enumerate(values):
            unfolded = len(a) * math.prod(self.shape[:k]), self.shape[k], math.prod(self.shape[k + 1 :])
            if b is None:
                sums = gp_gram(a.reshape(unfolded), backend=backend, num_threads=num_threads)
            else:
                sums = cross_gram(a.reshape(unfolded), b.reshape(unfolded))
                sums = (sums + sums.T) / 2
            root = np.sqrt(l)
            sums /= root
            sums /= root[:, None]
            grams.append(sums)
        return grams

    def rotated(self, matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Q_k M Q_kᵀ of symmetric M; bitwise symmetric."""
        return [axis.rotated(m) for axis, m in zip(itertools.cycle(self.axes), matrices)]
