"""Samples of Gaussian processes on grids. Equation numbers refer to csrc/kron/gp/README.md."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._array_tools import chunk_slices, nan_unless
from ..._typing import AnyArray, Array, Backend, T
from ..product.dense import in_form_of, namespace
from ..product.eigen import clamped
from ..product.packed import PackedFactors
from .device import Covariance, covariance_of
from .validation import check_noise, check_numbers, cross_sizes, noise_of, plain_inputs, same_kind, takes_grids

_LABEL, _PRIOR = "kron.gp_posterior_sample", "kron.gp_sample"
_BLOCK_BYTES = 32 << 20  # of cells and points in one batch of samples; a solve takes about 15 times as much

_SYNONYMS = {
    **dict.fromkeys(("seed", "random_state", "key"), "use rng"),
    **dict.fromkeys(("n_samples", "num_samples", "n", "samples"), "use size"),
}


@_arguments.keywords("kron.gp_sample", **_SYNONYMS)
@takes_grids(_PRIOR)
def gp_sample(
    factors: Sequence[Array[T]],
    *,
    noise: float | Array[T] = 0.0,
    size: int = 1,
    rng: int | np.random.Generator | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Samples of a Gaussian process on a grid (8).

    Samples of N(0, K_1 ⊗ ... ⊗ K_d + S), as Q sqrt(λ + noise) ε, or with noise per cell as Q sqrt(λ) ε + sqrt(S) ε'.

    Parameters
    ----------
    factors : list or tuple of (n_k, n_k)
        Symmetric, positive semidefinite; they may be singular.
    noise : float, () or (1,), or (N,)
        Variance of the noise, at least 0: one value, or one per cell; S = diag(noise).
    size : int
        Number of samples.
    rng : None, int, or numpy.random.Generator
        Sample i depends only on the seed and i, so a smaller size gives the first samples of a larger one.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    samples : (size, N)

    Notes
    -----
    Exceptions are as for ``gp_nll``. One eigendecomposition per factor and 2 N sum n_k operations per sample; no N x N matrix. Not
    differentiable. Normal numbers are always drawn on the host. On a device, errors that depend on values become NaN.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.gp_sample([np.eye(2), np.ones((3, 3))], size=4, rng=0).shape
    (4, 6)
    """
    factors = _arguments.sequence(factors, _PRIOR)
    plain = same_kind(_PRIOR, "factors", factors)
    N = _cells(factors)
    (s,) = same_kind(_PRIOR, "noise", [_noise(noise, factors[0], N)])
    check_noise(_PRIOR, s)
    covariance, per_cell = covariance_of(_PRIOR, plain, s, None, backend, num_threads), s.shape[0] > 1
    generator, count = _arguments.generator(rng, _PRIOR), _arguments.integer(size, _PRIOR, "size", 0)

    def block(rows: int) -> Any:
        E = _arrays.to_device_of(_normals(generator, rows, 2 * N if per_cell else N), plain[0])
        latent = covariance.sampled(E[:, :N], 0.0 if per_cell else covariance.noise)
        return latent + covariance.noise_of(E[:, N:]) if per_cell else latent

    return in_form_of(factors[0], joined(map(block, _block_sizes(count, N)), count))


def _cells(factors: Sequence[Any]) -> int:
    """The number of cells. Raises ValueError unless all factors are square."""
    for k, f in enumerate(factors):
        if f.ndim != 2 or f.shape[0] != f.shape[1]:
            raise ValueError(f"{_PRIOR}: factors[{k}] has shape {tuple(f.shape)}, expected a square matrix")
    return math.prod(f.shape[0] for f in factors)


def _noise(noise: Any, like: Any, N: int) -> Any:
    """The noise, (1,) or (N,), of the kind and precision of ``like``."""
    array = noise_of(noise, like, _PRIOR)
    if _arrays.describe(array) != _arrays.describe(like):
        raise TypeError(f"{_PRIOR}: noise is {_arrays.describe(array)} but factors[0] is {_arrays.describe(like)}")
    if tuple(array.shape) not in ((1,), (N,)):
        raise ValueError(
            f"{_PRIOR}: noise has shape {tuple(array.shape)}, expected (1,) or ({N},), one variance for all cells or one per cell"
        )
    return array


@_arguments.keywords("kron.gp_posterior_sample", **_SYNONYMS)
@takes_grids(_LABEL)
def gp_posterior_sample(
    factors: Sequence[Array[T]],
    cross_factors: Sequence[Array[T]],
    y: Array[T],
    noise: float | Array[T],
    *,
    mask: AnyArray | None = None,
    prior_factors: Sequence[Array[T]] | None = None,
    size: int = 1,
    rng: int | np.random.Generator | None = None,
    tol: float = 1e-10,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Joint samples of the posterior at all points of a grid, by Matheron's rule (18).

    f* + K* (K + S)^-1 (y - f - ε), with (f, f*) from the prior.

    Parameters
    ----------
    factors, y, noise, mask
        As in ``gp_nll``; y is (N,) or (..., N).
    cross_factors : list or tuple of (m_k, n_k)
        Covariance of the points with the grid. Without prior_factors the points must be cells: each row is a row of the factor.
    prior_factors : list or tuple of (m_k, m_k), optional
        Covariance of the points with each other, axis by axis; required unless the points are cells.
    size : int
        Number of samples.
    rng : None, int, or numpy.random.Generator
        Sample i depends only on the seed and i, so a smaller size gives the first samples of a larger one.
    tol : float
        As in ``gp_solve``.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    samples : (size, ..., M), or (size, ..., m_1, ..., m_d) if y is a table
        Of the latent function, without noise.

    Notes
    -----
    Exceptions are as for ``gp_nll``. One solve and three products per sample, all samples together; no M x M matrix. Mean and covariance
    agree with ``gp_posterior``, up to tol. On a device, the notes of ``gp_sample`` apply. Source: Wilson et al., Efficiently sampling
    functions from Gaussian process posteriors, ICML 2020.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> qf.kron.gp_posterior_sample([K, K], [K, K], np.zeros(4), 1e-8, size=3, rng=0).round(3).shape
    (3, 4)
    """
    cross = _arguments.sequence(cross_factors, f"{_LABEL}: cross_factors")
    cross_sizes(_LABEL, factors, cross, y)
    count = _arguments.integer(size, _LABEL, "size", 0)
    plain, s, m = plain_inputs(_LABEL, factors, noise, mask, y)
    points = same_kind(_LABEL, "cross_factors", cross)
    numbers = _arguments.host_array(y, _LABEL, "y", device="keep")
    check_numbers(_LABEL, numbers, s, m)
    # factors in their own precision, which limits accuracy
    covariance = covariance_of(_LABEL, plain, _arrays.double(s), m, backend, num_threads)
    sampler = PosteriorSampler(covariance, plain, points, numbers, m, prior_factors, tol)
    return in_form_of(y, joined(sampler.blocks(count, rng), count))


def joined(blocks: Iterator[Any], count: int) -> Any:
    """Concatenates blocks that have ``count`` rows in all."""
    first = next(blocks)
    if len(first) == count:
        return first
    if not isinstance(first, np.ndarray):
        return namespace(first).concat([first, *blocks], axis=0)
    samples, end = np.empty((count, *first.shape[1:])), 0
    for block in itertools.chain([first], blocks):
        samples[end : end + len(block)] = block
        end += len(block)
    return samples


def _block_sizes(count: int, numbers: int) -> list[int]:
    """The sizes of the blocks for ``count`` samples of ``numbers`` numbers each; at least one block, which may be empty."""
    step = max(1, _BLOCK_BYTES // (8 * max(1, numbers)))
    return [min(step, count - begin) for begin in range(0, max(count, 1), step)]


class PosteriorSampler:
    """Posterior samples at a grid of points, in blocks, so that memory does not grow with the number of samples.

    ``covariance`` belongs to the data y (..., N), and ``factors`` are its factors. ``points`` and ``prior_factors`` are the cross_factors
    and prior_factors of ``gp_posterior_sample``.
    """

    def __init__(
        self, covariance: Covariance, factors: Sequence[Any], points: Sequence[Any], y: Any, mask: Any, prior_factors: Any, tol: float
    ) -> None:
        self._covariance, self._tol = covariance, tol
        factors, self._points = list(map(_arrays.double, factors)), list(map(_arrays.double, points))
        if prior_factors is None:
            self._roots, self._new_roots = _cell_roots(factors, self._points)
        else:
            self._roots, self._new_roots = _joint_roots(factors, self._points, prior_factors)
        self._y = y if mask is None else namespace(y).where(mask, y, namespace(y).zeros_like(y))

    def blocks(self, count: int, rng: Any) -> Iterator[Any]:
        """Yields ``count`` samples in double precision, in blocks (b, ..., M); at least one block, which may be empty."""
        y, generator = self._y, _arguments.generator(rng, _LABEL)
        cells = y.shape[-1] + math.prod(p.shape[0] for p in self._points)
        for rows in _block_sizes(count, math.prod(y.shape[:-1]) * cells):
            yield self._block(rows, generator)

    def _block(self, count: int, generator: np.random.Generator) -> Any:
        y, kernel = self._y, self._covariance.kernel
        N, normals, batch = y.shape[-1], math.prod(r.shape[1] for r in self._roots), tuple(y.shape[:-1])
        M = math.prod(p.shape[0] for p in self._points)
        drawn = _normals(generator, count, normals + N)
        normal = _arrays.to_device_of(np.ascontiguousarray(drawn[:, :normals]), y)
        noise = self._covariance.noise_of(_arrays.to_device_of(np.ascontiguousarray(drawn[:, normals:]), y))
        prior = PackedFactors(self._roots, *kernel)(normal) + noise
        residual = y - prior.reshape(count, *(1,) * len(batch), N)
        alpha = self._covariance.solved(residual, self._tol)
        rows = alpha.reshape(count * math.prod(batch), N)
        samples = PackedFactors(self._points, *kernel)(rows).reshape(count, *batch, M)
        return samples + PackedFactors(self._new_roots, *kernel)(normal).reshape(count, *(1,) * len(batch), M)


def _normals(generator: np.random.Generator, rows: int, count: int) -> np.ndarray:
    """Normal numbers (rows, count), drawn row by row, so that the first rows do not depend on ``rows``, and Ctrl-C can interrupt."""
    normals = np.empty((rows, count))
    for row in normals:
        generator.standard_normal(out=row)
    return normals


def _cell_roots(factors: Sequence[Any], points: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Roots of the grid's covariance, and their rows for points that are cells of the grid."""
    roots = [_root(f, f"factors[{k}]") for k, f in enumerate(factors)]
    rows_of_root = _rows_of if isinstance(factors[0], np.ndarray) else _device_rows_of
    return roots, [rows_of_root(f, p, root, k) for k, (f, p, root) in enumerate(zip(factors, points, roots))]


def _rows_of(f: np.ndarray, points: np.ndarray, roots: np.ndarray, k: int) -> np.ndarray:
    """The rows of ``roots`` for ``points``, each of which is a row of factor k."""
    at = [_row_of(f, row) for row in points]
    if -1 in at:
        raise ValueError(
            f"{_LABEL}: row {at.index(-1)} of cross_factors[{k}] is not a row of factors[{k}], so that point is not a cell of the grid; "
            "pass prior_factors, the covariance of the points with each other on every axis"
        )
    return roots[np.array(at, np.intp)]


def _row_of(f: np.ndarray, row: np.ndarray) -> int:
    """The index of a row in f, up to rounding; -1 if absent."""
    if not len(f):
        return -1
    allowed = 1e-6 * np.abs(f).max(initial=0.0)
    largest = int(np.abs(row).argmax())
    near = np.flatnonzero(np.abs(f[:, largest] - row[largest]) <= allowed)
    near = near[(np.abs(f[near] - row) <= allowed).all(axis=1)]
    return int(near[0]) if len(near) else -1


def _device_rows_of(f: Any, points: Any, roots: Any, k: int) -> Any:
    """As ``_rows_of``, by comparing every point with every row of f; NaN for a point that is not a cell."""
    xp, rows = namespace(f), []
    if not f.shape[0] or not points.shape[0]:
        return xp.zeros((points.shape[0], roots.shape[1]), dtype=roots.dtype, device=roots.device)
    for part in chunk_slices(points.shape[0], f.shape[0] * f.shape[0]):
        off = xp.max(xp.abs(f[None, :, :] - points[part, :][:, None, :]), axis=2)
        near = xp.take(roots, xp.argmin(off, axis=1), axis=0)
        rows.append(nan_unless(xp, (xp.min(off, axis=1) <= 1e-6 * xp.max(xp.abs(f)))[:, None], near))
    return xp.concat(rows, axis=0)


def _joint_roots(factors: Sequence[Any], points: Sequence[Any], prior_factors: Any) -> tuple[list[Any], list[Any]]:
    """Roots of the joint covariance of grid and points on each axis: the rows of the grid, and the rows of the points."""
    matrices = _arguments.sequence(prior_factors, f"{_LABEL}: prior_factors")
    own, xp = same_kind(_LABEL, "prior_factors", matrices), namespace(factors[0])
    expected = [(p.shape[0], p.shape[0]) for p in points]
    if (shapes := [tuple(p.shape) for p in own]) != expected:
        raise ValueError(f"{_LABEL}: prior_factors have shapes {shapes}, expected {expected}")
    roots, new = [], []
    for k, (f, c, p) in enumerate(zip(factors, points, map(_arrays.double, own))):
        both = xp.concat([xp.concat([f, c.T], axis=1), xp.concat([c, p], axis=1)], axis=0)
        root = _root(both, f"the covariance of factors[{k}] and prior_factors[{k}] together")
        roots.append(root[: f.shape[0], :])
        new.append(root[f.shape[0] :, :])
    return roots, new


def _root(a: Any, name: str) -> Any:
    """Return R with R Rᵀ = a, where a may be singular; on a device NaN if a has a negative eigenvalue."""
    if not a.shape[0]:
        return a
    xp = namespace(a)
    values, vectors = xp.linalg.eigh(a)
    semidefinite = values[0] >= -1e-6 * xp.max(xp.abs(values))  # rounding of a smooth covariance in float32
    root = vectors * xp.sqrt(clamped(xp, values))
    if not isinstance(a, np.ndarray):
        return nan_unless(xp, semidefinite, root)
    if not semidefinite:
        raise np.linalg.LinAlgError(f"{_LABEL}: {name} is not positive semidefinite (it has the eigenvalue {values[0]:.3g})")
    return root
