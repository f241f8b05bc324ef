"""The covariance of a full grid, K = K_1 ⊗ ... ⊗ K_d, through the eigendecompositions of its factors: README (2) to (4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ..product.dense import log_determinant, products
from ..product.packed import Packed
from .basis import Axis, Basis


class Grid:
    """Symmetric factors, in double precision. ``values`` are the eigenvalues of each, not negative, in the order of ``basis``."""

    def __init__(self, factors: Sequence[np.ndarray], label: str, backend: str | None = None, num_threads: int | None = None) -> None:
        self.label, self.shape = label, tuple(len(f) for f in factors)
        self.size = math.prod(self.shape)
        self.factors = [np.array(f, np.float64, order="C") for f in factors]
        axes: list[Axis] = []
        for i, given in enumerate(factors):
            same = next((k for k in range(i) if factors[k] is given), None)  # one axis more often, as images have it
            axes.append(Axis(self.factors[i], np.finfo(given.dtype).eps, f"{label}: factors[{i}]") if same is None else axes[same])
        self.kernel = backend, num_threads
        self.values, self.basis = [a.values for a in axes], Basis(axes, self.kernel)

    @functools.cached_property
    def eigenvalues(self) -> np.ndarray:
        """(N,), in the order of the grid."""
        return products(self.values)

    @functools.cached_property
    def product(self) -> Packed:
        return Packed(self.factors, *self.kernel)

    def to_basis(self, rows: np.ndarray) -> np.ndarray:
        """Qᵀ x for every row x."""
        return self.basis(rows, transpose=True)

    def from_basis(self, rows: np.ndarray) -> np.ndarray:
        return self.basis(rows)

    def inverse_eigenvalues(self, noise: float) -> np.ndarray:
        """1 / (λ + noise), (N,)."""
        if noise == 0:
            self._refuse_singular()
        return 1 / (self.eigenvalues + noise)

    def logdet(self, noise: float) -> float:
        """log det(K + noise I), nothing clamped."""
        if noise == 0:
            self._refuse_singular()
            return sum(self.size // len(f) * 2 * float(np.log(np.linalg.cholesky(f).diagonal()).sum()) for f in self.factors if len(f))
        return log_determinant(self.values, noise)

    def _refuse_singular(self) -> None:
        for i, l in enumerate(self.values):
            if self.size and l.min() <= len(l) * np.finfo(np.float64).eps * l.max():
                raise np.linalg.LinAlgError(
                    f"{self.label}: factors[{i}] is singular to working precision (its least eigenvalue is {l.min():.3g}, its largest "
                    f"{l.max():.3g}) and there is no noise; add noise, or jitter to its diagonal"
                )

    def diagonal_of(self, values: np.ndarray) -> np.ndarray:
        """The diagonal of Q diag(values) Qᵀ, for values (..., N)."""
        found: np.ndarray = Packed([q * q for q in self.basis.matrices], *self.kernel)(values)
        return found

    # ---- sums over all axes but one

    def traces(self, inverse: np.ndarray) -> list[np.ndarray]:
        """R_k with tr(Q diag(inverse) Qᵀ (K_1 ⊗ ... dK_k ... ⊗ K_d)) = <R_k, dK_k>: README (3)."""
        sums: list[np.ndarray] = [inverse] * len(self.shape)  # (n_1 ... n_k,), the axes behind k summed
        for k in range(len(self.shape) - 1, 0, -1):
            sums[k - 1] = sums[k].reshape(math.prod(self.shape[:k]), self.shape[k]) @ self.values[k]
        t = [_outer(self.values[:k]) @ sums[k].reshape(math.prod(self.shape[:k]), n) for k, n in enumerate(self.shape)]
        return [(q * t[k]) @ q.T for k, q in enumerate(self.basis.matrices)]

    def grams(self, left: np.ndarray, right: np.ndarray | None = None) -> list[np.ndarray]:
        """The symmetric part of A_k = sum over rows of Q_k l_(k) [⊗ of the other Λ] r_(k)ᵀ Q_kᵀ, for rows (B, N) in the basis of
        eigenvectors: README (4). ``right`` is ``left`` where it is not given."""
        found = []
        for k, q in enumerate(self.basis.matrices):
            weights = np.multiply.outer(_outer(self.values[:k]), _outer(self.values[k + 1 :]))  # (L, R)
            if right is None:
                a = _unfolded(left, k, self.shape, np.sqrt(weights))
                gram = a @ a.T
            else:
                gram = _unfolded(left, k, self.shape, weights) @ _unfolded(right, k, self.shape).T
                gram = (gram + gram.T) / 2
            found.append(q @ gram @ q.T)
        return found


def _outer(vectors: Sequence[np.ndarray]) -> np.ndarray:
    return products(vectors) if vectors else np.ones(1)


def _unfolded(rows: np.ndarray, k: int, shape: Sequence[int], weights: np.ndarray | None = None) -> np.ndarray:
    """(B, N) -> (n_k, B N / n_k): axis k first, times weights (L, R) of the axes before and behind it."""
    L, R = math.prod(shape[:k]), math.prod(shape[k + 1 :])
    x = rows.reshape(len(rows), L, shape[k], R)
    turned = np.empty((shape[k], len(x), L, R))
    turned[...] = x.transpose(2, 0, 1, 3)
    if weights is not None:
        turned *= weights
    return turned.reshape(shape[k], len(rows) * L * R)
