"""The covariance of a full grid whose noise is correlated along axes, K + s S with S = S_1 ⊗ ... ⊗ S_d: README (23)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..product.dense import not_negative
from ..product.packed import PackedFactors
from ..twoterm import pencil
from .basis import Axis
from .grid import Grid


class StructuredAxis(Axis):
    """K V = S V diag(values), Vᵀ S V = I. ``vectors`` are V, ``duals`` V^-ᵀ, ``root`` is the Cholesky factor of S."""

    def __init__(self, K: np.ndarray, S: np.ndarray, label: str, i: int) -> None:
        both = pencil(K, S, (f"factors[{i}]", f"noise_kernels[{i}]"), label)
        self.vectors, self.root, self.logdet = both.V, both.L, both.logdet
        self.parts, self.duals = [both.V], S @ both.V
        rounding = float(np.finfo(np.float64).eps * np.linalg.norm(K) * np.linalg.norm(both.V) ** 2)
        largest = np.abs(both.w).max(initial=0.0) or 1.0
        self.values = not_negative(both.w, rounding / largest, f"{label}: factors[{i}]")


class StructuredGrid(Grid):
    """A ``Grid`` in the basis V = V_1 ⊗ ... ⊗ V_d. ``traces`` and ``grams`` return results for the factors, then for S_1..S_d."""

    is_orthogonal = False
    floored = None  # the pass over the spectrum lacks the gradients with respect to S

    def __init__(self, factors: Sequence[np.ndarray], noise_factors: Sequence[np.ndarray], label: str, *kernel: Any) -> None:
        self._begin(factors, label, kernel)
        self.terms.append([np.array(f, np.float64, order="C") for f in noise_factors])
        axes = [StructuredAxis(K, S, label, i) for i, (K, S) in enumerate(zip(*self.terms))]
        self._noise = object.__new__(Grid)  # S = V^-ᵀ I V^-1: in the basis V, its eigenvalues are all 1
        self._noise.shape, self._noise.kernel, self._noise.values = self.shape, self.kernel, [np.ones(n) for n in self.shape]
        self._set_axes(axes)
        self.duals = [a.duals for a in axes]
        self._coefficients = PackedFactors(self.duals, *self.kernel)
        self._noise_product = PackedFactors(self.terms[1], *self.kernel)
        self._noise_root = PackedFactors([a.root for a in axes], *self.kernel)
        self._logdet = sum(self.size // len(a.values) * a.logdet for a in axes if len(a.values))

    def coefficients(self, rows: np.ndarray) -> Any:
        return self._coefficients(rows, True)

    def noise_product(self, rows: np.ndarray) -> Any:
        return self._noise_product(rows)

    def noise_root(self, rows: np.ndarray) -> Any:
        return self._noise_root(rows)

    def logdet(self, noise: float) -> float:
        return super().logdet(noise) + self._logdet

    def traces(self, inverse: np.ndarray) -> list[np.ndarray]:
        return super().traces(inverse) + self._noise.traces(inverse)

    def grams(self, left: np.ndarray, right: np.ndarray | None = None) -> list[np.ndarray]:
        return super().grams(left, right) + self._noise.grams(left, right)
