"""Samples of Gaussian processes on grids. Equation numbers are those of csrc/kron/gp/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._array_tools import nan_unless, pieces
from ..._typing import AnyArray, Array, Backend, T
from ..product import matvec
from ..product.dense import in_form_of, namespace
from ..product.eigen import clamped
from .device import covariance_of
from .validation import check_noise, check_numbers, fitting, noise_of, plain_numbers, same_kind, takes_grids

_LABEL, _PRIOR = "kron.gp_posterior_sample", "kron.gp_sample"


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
    """Samples of a Gaussian process on a grid, of any size that its axes fit (8).

    Of N(0, K_1 ⊗ ... ⊗ K_d + S), as Q sqrt(λ + noise) ε, or with noise per cell as Q sqrt(λ) ε + sqrt(S) ε'.

    Parameters
    ----------
    factors : list or tuple of (n_k, n_k)
        Symmetric, positive semidefinite; they may be singular.
    noise : float, () or (1,), or (N,)
        Variance of the noise, at least 0: one value, or one per cell; S = diag(noise).
    size : int
        Number of samples.
    rng : None, int, or numpy.random.Generator
        Sample i depends on the seed and i alone, so fewer samples are the first of more.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    samples : (size, N)

    Raises
    ------
    ValueError, TypeError, numpy.linalg.LinAlgError
        As ``gp_nll``.

    Notes
    -----
    An eigendecomposition a factor; 2 N sum n_k operations a sample; nothing N x N. No gradient. Normal numbers are drawn on the host, for
    arrays on a device too, where what raises because of numbers is NaN.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.gp_sample([np.eye(2), np.ones((3, 3))], size=4, rng=0).shape
    (4, 6)
    """
    given = _arguments.sequence(factors, _PRIOR)
    plain = same_kind(_PRIOR, "factors", given)
    N = _cells(given)
    (s,) = same_kind(_PRIOR, "noise", [_noise(noise, given[0], N)])
    check_noise(_PRIOR, s)
    covariance, xp = covariance_of(_PRIOR, plain, s, None, backend, num_threads), namespace(s)
    s, per_cell = covariance.noise, s.shape[0] > 1
    E = _normals(rng, _PRIOR, _arguments.integer(size, _PRIOR, "size", 0), 2 * N if per_cell else N)
    values, E = covariance.eigenvalues, _arrays.beside(plain[0], E)
    found = covariance.from_basis(E[:, :N] * xp.sqrt(values if per_cell else values + s))
    samples: T = in_form_of(given[0], found + E[:, N:] * xp.sqrt(s) if per_cell else found)
    return samples


def _cells(factors: Sequence[Any]) -> int:
    """N of factors that must be square."""
    for k, f in enumerate(factors):
        if f.ndim != 2 or f.shape[0] != f.shape[1]:
            raise ValueError(f"{_PRIOR}: factors[{k}] has shape {tuple(f.shape)}, expected a square matrix")
    return math.prod(f.shape[0] for f in factors)


def _noise(noise: Any, like: Any, N: int) -> Any:
    """(1,) or (N,), of the kind and precision of ``like``."""
    found = noise_of(noise, like, _PRIOR)
    if _arrays.describe(found) != _arrays.describe(like):
        raise TypeError(f"{_PRIOR}: noise is {_arrays.describe(found)} but factors[0] is {_arrays.describe(like)}")
    if tuple(found.shape) not in ((1,), (N,)):
        raise ValueError(f"{_PRIOR}: noise has shape {tuple(found.shape)}, expected (1,) or ({N},), a variance for all cells or one each")
    return found


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
    """Samples of the posterior at a grid of points, each consistent in itself, by Matheron's rule (18).

    f* + K* (K + S)^-1 (y - f - ε), (f, f*) from the prior.

    Parameters
    ----------
    factors, y, noise, mask
        As in ``gp_nll``; y is (N,) or (..., N).
    cross_factors : list or tuple of (m_k, n_k)
        Covariance of the points with the grid. Without prior_factors their rows must be rows of the factors: cells of the grid.
    prior_factors : list or tuple of (m_k, m_k), optional
        Covariance of the points among themselves, axis by axis: needed where they are no cells.
    size : int
        Number of samples.
    rng : None, int, or numpy.random.Generator
        Sample i depends on the seed and i alone, so fewer samples are the first of more.
    tol : float
        As in ``gp_solve``.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    samples : (size, ..., M), or (size, ..., m_1, ..., m_d) if y is a table
        Of the latent function: without noise.

    Raises
    ------
    ValueError, TypeError, numpy.linalg.LinAlgError, MemoryError
        As ``gp_nll``; a row of cross_factors that is no cell, without prior_factors.

    Notes
    -----
    One solve and three products a sample, all samples together: no M x M matrix. Mean and covariance are those of ``gp_posterior``, up to
    tol. Of arrays on a device as ``gp_sample``. Source: Wilson et al., Efficiently sampling functions from Gaussian process posteriors,
    ICML 2020.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> qf.kron.gp_posterior_sample([K, K], [K, K], np.zeros(4), 1e-8, size=3, rng=0).round(3).shape
    (3, 4)
    """
    cross = _arguments.sequence(cross_factors, f"{_LABEL}: cross_factors")
    fitting(_LABEL, factors, cross, y)
    count = _arguments.integer(size, _LABEL, "size", 0)
    kernel: Any = {"backend": backend, "num_threads": num_threads}
    plain, s, m = plain_numbers(_LABEL, factors, noise, mask, y)
    points = same_kind(_LABEL, "cross_factors", cross)
    numbers = _arguments.numbers_here(y, _LABEL, "y")
    check_numbers(_LABEL, numbers, s, m)
    wide, points, s = list(map(_arrays.double, plain)), list(map(_arrays.double, points)), _arrays.double(s)
    roots, new = _cell_roots(wide, points) if prior_factors is None else _joint_roots(wide, points, prior_factors)

    xp, N, normals, batch = namespace(numbers), numbers.shape[-1], math.prod(r.shape[1] for r in roots), tuple(numbers.shape[:-1])
    drawn = _normals(rng, _LABEL, count, normals + N)
    normal = _arrays.beside(numbers, np.ascontiguousarray(drawn[:, :normals]))
    noisy = matvec(roots, normal, **kernel) + _arrays.beside(numbers, np.ascontiguousarray(drawn[:, normals:])) * xp.sqrt(s)
    seen = numbers if m is None else xp.where(m, numbers, xp.zeros_like(numbers))
    residual = seen - noisy.reshape(count, *(1,) * len(batch), N)
    rows_mask = m if m is None or m.ndim == 1 else xp.broadcast_to(m, residual.shape)
    alpha = covariance_of(_LABEL, plain, s, rows_mask, **kernel).solved(residual, tol)  # factors as they came: their precision is the limit
    found = matvec(points, alpha, **kernel)
    found = found + matvec(new, normal, **kernel).reshape(count, *(1,) * len(batch), found.shape[-1])
    samples: T = in_form_of(y, found)
    return samples


def _normals(rng: Any, label: str, size: int, count: int) -> np.ndarray:
    """(size, count) normal numbers. Row after row: fewer rows are the first of more, and Ctrl-C comes between them."""
    generator, found = _arguments.generator(rng, label), np.empty((size, count))
    for row in found:
        generator.standard_normal(out=row)
    return found


def _cell_roots(factors: Sequence[Any], points: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Roots of the covariance of the grid, and the rows of them that belong to points which are its cells."""
    roots = [_root(f, f"factors[{k}]") for k, f in enumerate(factors)]
    of = _rows_of if isinstance(factors[0], np.ndarray) else _device_rows_of
    return roots, [of(f, p, root, k) for k, (f, p, root) in enumerate(zip(factors, points, roots))]


def _rows_of(f: np.ndarray, points: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """The rows of ``among`` whose numbers are those of the rows of factor k that ``points`` are."""
    at = [_row_of(f, row) for row in points]
    if -1 in at:
        raise ValueError(
            f"{_LABEL}: row {at.index(-1)} of cross_factors[{k}] is no row of factors[{k}], so that point is no cell of the grid; "
            "give prior_factors, the points' own covariance on every axis"
        )
    return among[np.array(at, np.intp)]


def _row_of(f: np.ndarray, row: np.ndarray) -> int:
    """Which row of f this is, but for rounding; -1 for none."""
    if not len(f):
        return -1
    allowed = 1e-6 * np.abs(f).max(initial=0.0)
    largest = int(np.abs(row).argmax())
    near = np.flatnonzero(np.abs(f[:, largest] - row[largest]) <= allowed)
    near = near[(np.abs(f[near] - row) <= allowed).all(axis=1)]
    return int(near[0]) if len(near) else -1


def _device_rows_of(f: Any, points: Any, among: Any, k: int) -> Any:
    """As ``_rows_of``, by all distances; NaN for a point that is no cell."""
    xp, made = namespace(f), []
    if not f.shape[0] or not points.shape[0]:
        return xp.zeros((points.shape[0], among.shape[1]), dtype=among.dtype, device=among.device)
    for part in pieces(points.shape[0], f.shape[0] * f.shape[0]):
        off = xp.max(xp.abs(f[None, :, :] - points[part, :][:, None, :]), axis=2)
        near = xp.take(among, xp.argmin(off, axis=1), axis=0)
        made.append(nan_unless(xp, (xp.min(off, axis=1) <= 1e-6 * xp.max(xp.abs(f)))[:, None], near))
    return xp.concat(made, axis=0)


def _joint_roots(factors: Sequence[Any], points: Sequence[Any], prior_factors: Any) -> tuple[list[Any], list[Any]]:
    """Of every axis a root of the covariance of grid and points together: its rows for either."""
    given = _arguments.sequence(prior_factors, f"{_LABEL}: prior_factors")
    own, xp = same_kind(_LABEL, "prior_factors", given), namespace(factors[0])
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
    """R with R Rᵀ = a, of a matrix that may be singular; on a device NaN if it has an eigenvalue below 0."""
    if not a.shape[0]:
        return a
    xp = namespace(a)
    values, vectors = xp.linalg.eigh(a)
    good = values[0] >= -1e-6 * xp.max(xp.abs(values))  # what an axis of smooth covariances in float32 rounds to
    root = vectors * xp.sqrt(clamped(xp, values))
    if not isinstance(a, np.ndarray):
        return nan_unless(xp, good, root)
    if not good:
        raise np.linalg.LinAlgError(f"{_LABEL}: {name} is not positive semidefinite (it has the eigenvalue {values[0]:.3g})")
    return root
