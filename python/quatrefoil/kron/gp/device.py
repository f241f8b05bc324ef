"""The covariance of a grid whose arrays are on a device, in array-API terms and double precision.

Errors that depend on values become NaN, and nothing is read back. A full grid with a single noise has a closed form; otherwise a matrix of
all cells is formed. Equation numbers refer to csrc/kron/gp/README.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ..._array_tools import chunk_slices, nan_unless
from ..product.dense import namespace, outer
from ..product.eigen import clamped
from ..product.packed import PackedFactors
from .composition import System, blocks, gp_solve, has_closed_form, inverse_of, system_of
from .covariance import GridCovariance
from .points import squared_product

Array = Any


class DeviceCovariance:
    """The part of ``GridCovariance`` that predictions and samples need, for arrays on one device."""

    def __init__(
        self, label: str, factors: Sequence[Array], noise: Array, mask: Array | None, backend: Any = None, num_threads: Any = None
    ) -> None:
        self.xp, self.kernel = namespace(noise), (backend, num_threads)
        self._factors, self._noise, self._mask = list(factors), noise, mask

    @functools.cached_property
    def _system(self) -> System:
        return system_of(self.xp, self._factors, self._noise, self._mask)

    @property
    def factors(self) -> list[Array]:
        return self._system.factors

    @property
    def noise(self) -> Array:
        return clamped(self.xp, self._noise)

    def noise_of(self, normal: Array) -> Array:
        """Noise on the grid, from normal numbers (..., N)."""
        return normal * self.noise**0.5

    def sampled(self, normal: Array, noise: Any) -> Array:
        """Samples of N(0, K + noise I) on the full grid, from normal numbers (..., N) (8)."""
        eigenvalues = nan_unless(self.xp, self._system.valid, outer(self._system.values))
        return PackedFactors(self._system.vectors, *self.kernel)(normal * (eigenvalues + noise) ** 0.5)

    def solved(self, y: Array, tol: float) -> Array:
        """C⁻¹ y in double precision; the precision of the factors decides what is treated as rounding."""
        mask = self._mask
        if mask is not None and mask.ndim > 1:  # if there are more rows than masks, masks repeat
            mask = self.xp.broadcast_to(mask, y.shape)
        return gp_solve(self.xp, self._factors, y, self._noise, mask, None, tol)

    @functools.cached_property
    def _inverses(self) -> list[tuple[Array, Array]]:
        """Per block of masks: the masks (b, N) as 1 and 0, and the inverses of the covariances of their observed cells, (b, N, N)."""
        xp, N = self.xp, math.prod(f.shape[0] for f in self._factors)
        every = blocks(xp, self._system, self._mask, N)
        return [(b.seen, nan_unless(xp, b.regular[:, None, None], xp.linalg.inv(b.C))) for b in every]

    def explained(self, points: Any) -> Array:
        """diag(K* C⁻¹ K*ᵀ), (masks, M) (7), (17)."""
        xp, system = self.xp, self._system
        if has_closed_form(system.noise, self._mask):
            rotated = [m @ q for m, q in zip(points.matrices, system.vectors)]
            variances = squared_product(xp, points, rotated, inverse_of(xp, system), self.kernel)[None]
        else:
            variances = xp.concat([self._of_masks(points, seen, inverse) for seen, inverse in self._inverses], axis=0)
        return nan_unless(xp, system.regular, variances)

    def _of_masks(self, points: Any, seen: Array, inverse: Array) -> Array:
        xp, variances = self.xp, []
        for part in chunk_slices(points.size, math.prod(seen.shape)):
            K = points.covariances(part.start, part.stop) * seen[:, None, :]
            variances.append(xp.sum(xp.matmul(K, inverse) * K, axis=-1))
        return xp.concat(variances, axis=-1)


Covariance: TypeAlias = GridCovariance | DeviceCovariance


def covariance_of(label: str, factors: Sequence[Array], noise: Array, mask: Array | None, *setting: Any, **structure: Any) -> Covariance:
    """The covariance for NumPy arrays, or for arrays on one device."""
    kind = GridCovariance if isinstance(noise, np.ndarray) else DeviceCovariance
    return kind(label, factors, noise, mask, *setting, **structure)
