"""The covariance of a full grid, K = K_1 ⊗ ... ⊗ K_d, through the eigendecompositions of its factors: README (2) to (4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ..product.dense import products
from ..product.packed import Packed


class Grid:
    """Symmetric factors, in double precision. ``values`` of each factor ascend and are not negative; ``vectors`` are orthogonal."""

    def __init__(self, factors: Sequence[np.ndarray], label: str, backend: str | None = None, num_threads: int | None = None) -> None:
        self.label, self.shape = label, tuple(len(f) for f in factors)
        self.size = math.prod(self.shape)
        self.factors = [np.array(f, np.float64, order="C") for f in factors]
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        for i, given in enumerate(factors):
            same = next((k for k in range(i) if factors[k] is given), None)  # one axis more often, as images have it
            parts.append(_eigen(self.factors[i], np.finfo(given.dtype).eps, f"{label}: factors[{i}]") if same is None else parts[same])
        self.values, vectors = [l for l, _ in parts], [q for _, q in parts]
        self.vectors = Packed(vectors, backend, num_threads)
        self.kernel = backend, num_threads

    @functools.cached_property
    def eigenvalues(self) -> np.ndarray:
        """(N,), in the order of the grid."""
        return products(self.values)

    @functools.cached_property
    def product(self) -> Packed:
        return Packed(self.factors, *self.kernel)

    def to_basis(self, rows: np.ndarray) -> np.ndarray:
        """Qᵀ x for every row x."""
        found: np.ndarray = self.vectors(rows, transpose=True)
        return found

    def from_basis(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.vectors(rows)
        return found

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
        lam = self.eigenvalues
        if noise > 1e-280 and np.isfinite(lam).all():
            return float(np.log(lam + noise).sum())
        with np.errstate(divide="ignore"):  # the eigenvalues leave the range of float64, their logarithms do not
            logs = functools.reduce(lambda a, b: (a[:, None] + b).reshape(-1), list(map(np.log, self.values)))
        return float(np.logaddexp(logs, math.log(noise)).sum())

    def _refuse_singular(self) -> None:
        for i, l in enumerate(self.values):
            if self.size and l[0] <= len(l) * np.finfo(np.float64).eps * l[-1]:
                raise np.linalg.LinAlgError(
                    f"{self.label}: factors[{i}] is singular to working precision (its least eigenvalue is {l[0]:.3g}, its largest "
                    f"{l[-1]:.3g}) and there is no noise; add noise, or jitter to its diagonal"
                )

    def diagonal_of(self, values: np.ndarray) -> np.ndarray:
        """The diagonal of Q diag(values) Qᵀ, for values (..., N)."""
        found: np.ndarray = Packed([q * q for q in self.vectors.factors], *self.kernel)(values)
        return found

    # ---- sums over all axes but one

    def traces(self, inverse: np.ndarray) -> list[np.ndarray]:
        """R_k with tr(Q diag(inverse) Qᵀ (K_1 ⊗ ... dK_k ... ⊗ K_d)) = <R_k, dK_k>: README (3)."""
        sums: list[np.ndarray] = [inverse] * len(self.shape)  # (n_1 ... n_k,), the axes behind k summed
        for k in range(len(self.shape) - 1, 0, -1):
            sums[k - 1] = sums[k].reshape(math.prod(self.shape[:k]), self.shape[k]) @ self.values[k]
        t = [_outer(self.values[:k]) @ sums[k].reshape(math.prod(self.shape[:k]), n) for k, n in enumerate(self.shape)]
        return [(q * t[k]) @ q.T for k, q in enumerate(self.vectors.factors)]

    def grams(self, left: np.ndarray, right: np.ndarray | None = None) -> list[np.ndarray]:
        """The symmetric part of A_k = sum over rows of Q_k l_(k) [⊗ of the other Λ] r_(k)ᵀ Q_kᵀ, for rows (B, N) in the basis of
        eigenvectors: README (4). ``right`` is ``left`` where it is not given."""
        found = []
        for k, q in enumerate(self.vectors.factors):
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


def _eigen(f: np.ndarray, eps: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, not negative, and eigenvectors of a factor that came with that precision."""
    if not np.isfinite(f).all():
        raise ValueError(f"{name} has NaN or infinity in it")
    n, skew, size = len(f), np.abs(f - f.T).max(initial=0.0), np.abs(f).max(initial=0.0)
    if skew > max(n, 8) * eps * size:
        raise ValueError(f"{name} is not symmetric (entries differ from their mirrors by {skew:.3g}); symmetrise it")
    values, vectors = np.linalg.eigh(f)
    lowest = values.min(initial=0.0)
    if lowest < -n * eps * np.abs(values).max(initial=0.0):
        raise np.linalg.LinAlgError(f"{name} is not positive semidefinite (it has the eigenvalue {lowest:.3g}); add jitter to its diagonal")
    return np.maximum(values, 0.0), vectors  # what is left below 0 is rounding of a 0
