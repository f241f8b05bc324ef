"""Posteriors and samples of processes whose arrays lie on a device, in array-API terms and double precision.

Nobody looks at numbers there: what raises on the host is NaN. Sizes choose how a posterior's variance is found, as in ``_array``: all cells
with one noise have the closed form, else there is a matrix of all cells. Equation numbers are those of csrc/kron/gp/README.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._array_tools import nan_unless, pieces
from ..product.dense import namespace, outer
from ..product.eigen import clamped, eigen
from ..product.packed import Packed
from ._array import System, blocks, gp_solve, inverse_of, is_closed, system_of
from .points import squared_product

Array = Any


class Posterior:
    """What variances are made of: factors, noise (1,) or (N,) and a mask, on one device."""

    def __init__(self, factors: Sequence[Array], noise: Array, mask: Array | None, kernel: Any) -> None:
        self.xp, self.mask, self.kernel = namespace(noise), mask, kernel
        self.system: System = system_of(self.xp, factors, noise, mask)

    @functools.cached_property
    def _inverses(self) -> list[tuple[Array, Array]]:
        """Of every mask, or of the one, 1 for the cells that are observed, and the inverse of their covariance."""
        xp, N = self.xp, math.prod(f.shape[0] for f in self.system.factors)
        made = blocks(xp, self.system, self.mask, N)
        return [(b.seen, nan_unless(xp, b.good[:, None, None], xp.linalg.inv(b.C))) for b in made]

    def explained(self, points: Any) -> Array:
        """diag(K* C⁻¹ K*ᵀ), (masks, M): (7), (17)."""
        xp, system = self.xp, self.system
        if is_closed(system.noise, self.mask):
            rotated = [m @ q for m, q in zip(points.matrices, system.vectors)]
            found = squared_product(xp, points, rotated, inverse_of(xp, system), self.kernel)[None]
        else:
            found = xp.concat([self._of_masks(points, seen, inverse) for seen, inverse in self._inverses], axis=0)
        return nan_unless(xp, system.good, found)

    def _of_masks(self, points: Any, seen: Array, inverse: Array) -> Array:
        xp, made = self.xp, []
        for part in pieces(points.size, math.prod(seen.shape)):
            K = points.covariances(part.start, part.stop) * seen[:, None, :]
            made.append(xp.sum(xp.matmul(K, inverse) * K, axis=-1))
        return xp.concat(made, axis=-1)


def variance(label: str, posterior: Posterior, points: Any, given: Any, sizes: Sequence[int], lead: tuple[int, ...]) -> Array:
    """(*lead, M) the latent function's, not below 0, at a grid of points with the prior variance ``given``."""
    xp = posterior.xp
    left = _prior(label, posterior, given, sizes) - posterior.explained(points)
    return xp.reshape(clamped(xp, left), (*lead, points.size))


def _prior(label: str, posterior: Posterior, given: Any, sizes: Sequence[int]) -> Array:
    xp, system, M = posterior.xp, posterior.system, math.prod(sizes)
    if given is None:
        found = xp.ones((), dtype=xp.float64, device=system.noise.device)
        for f in system.factors:
            diagonal = xp.linalg.diagonal(f)
            if f.shape[0]:
                is_constant = xp.max(diagonal) - xp.min(diagonal) <= 1e-5 * xp.max(xp.abs(diagonal))
                found = found * nan_unless(xp, is_constant, diagonal[0])
        return found
    vectors = list(given) if isinstance(given, (list, tuple)) else [given]
    if _arrays.kind(vectors[0]) is None or not vectors[0].ndim:
        return _arguments.number(given, label, "prior_diag")
    for k, v in enumerate(vectors):
        _arguments.numbers_here(v, label, f"prior_diag[{k}]")
    expected = [(m,) for m in sizes] if isinstance(given, (list, tuple)) else [(M,)]
    if [tuple(v.shape) for v in vectors] != expected:
        raise ValueError(f"{label}: prior_diag has shapes {[tuple(v.shape) for v in vectors]}, expected {expected}")
    return outer(list(map(_arrays.double, vectors)))


def solve(factors: Sequence[Array], y: Array, noise: Array, mask: Array | None, tol: float) -> Array:
    """C⁻¹ y in double precision, for factors whose own precision says what is rounding."""
    return gp_solve(namespace(y), list(factors), y, noise, mask, None, tol)


def sample(factors: Sequence[Array], noise: Array, normals: np.ndarray, kernel: Any) -> Array:
    """(8) for rows of normal numbers, in double precision; with noise per cell a row has N more of them, for the noise."""
    xp, N = namespace(factors[0]), math.prod(f.shape[0] for f in factors)
    parts = [eigen(xp, f) for f in factors]
    good = functools.reduce(lambda a, b: a & b, [p.good & p.not_negative for p in parts])
    good, noise = good & xp.all(xp.isfinite(noise) & (noise >= 0)), clamped(xp, noise)
    values, rows = outer([clamped(xp, p.values) for p in parts]), _arrays.beside(factors[0], normals)
    per_cell = noise.shape[0] > 1
    found = Packed([p.vectors for p in parts], *kernel)(rows[:, :N] * xp.sqrt(values if per_cell else values + noise))
    return nan_unless(xp, good, found + rows[:, N:] * xp.sqrt(noise) if per_cell else found)


def root(a: Array) -> Array:
    """R with R Rᵀ = a, of a matrix that may be singular; NaN where it has an eigenvalue below 0."""
    xp = namespace(a)
    if not a.shape[0]:
        return a
    values, vectors = xp.linalg.eigh(a)
    good = values[0] >= -1e-6 * xp.max(xp.abs(values))
    return nan_unless(xp, good, vectors * xp.sqrt(clamped(xp, values)))


def rows_of(f: Array, points: Array, among: Array) -> Array:
    """The rows of ``among`` whose numbers are those of the rows of f that ``points`` are; NaN where one is none of them."""
    xp, made = namespace(f), []
    if not f.shape[0] or not points.shape[0]:
        return xp.zeros((points.shape[0], among.shape[1]), dtype=among.dtype, device=among.device)
    for part in pieces(points.shape[0], f.shape[0] * f.shape[0]):
        off = xp.max(xp.abs(f[None, :, :] - points[part, :][:, None, :]), axis=2)
        near = xp.take(among, xp.argmin(off, axis=1), axis=0)
        made.append(nan_unless(xp, (xp.min(off, axis=1) <= 1e-6 * xp.max(xp.abs(f)))[:, None], near))
    return xp.concat(made, axis=0)
