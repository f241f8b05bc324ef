"""Samples of Gaussian processes on grids. Equation numbers are those of csrc/kron/gp/README.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._typing import AnyArray, Array, Backend, T
from ..product import matvec
from ..product.dense import namespace
from . import device, noise_of
from .grid import Grid
from .nll import check_noise, check_numbers, observed_rows, solve_rows
from .validation import fitting, plain_numbers, same_kind, takes_grids, there

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
    if _arrays.kind(given[0]) is not None and not _arrays.on_host(given[0]):
        there_drawn: T = _sampled_there(given, noise, size, rng, (backend, num_threads))
        return there_drawn
    plain = same_kind(_PRIOR, "factors", given)
    N = _cells(given)
    (s,) = same_kind(_PRIOR, "noise", [_noise(noise, given[0], N)])
    check_noise(_PRIOR, s)
    grid = Grid(plain, _PRIOR, backend, num_threads)
    E = _normals(rng, _PRIOR, _arguments.integer(size, _PRIOR, "size", 0), N if len(s) == 1 else 2 * N)
    found = grid.from_basis(E[:, :N] * np.sqrt(grid.eigenvalues + (s if len(s) == 1 else 0)))
    if len(s) > 1:
        found += E[:, N:] * np.sqrt(s)
    samples: T = _arrays.of_kind(str(_arrays.kind(given[0])), found.astype(plain[0].dtype, copy=False))
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


def _sampled_there(given: Sequence[Any], noise: Any, size: Any, rng: Any, kernel: Any) -> Any:
    """Of factors on a device."""
    there(_PRIOR, "factors", given, given[0], "factors[0]")
    N = _cells(given)
    (s,) = there(_PRIOR, "noise", [_noise(noise, given[0], N)], given[0], "factors[0]")
    normals = _normals(rng, _PRIOR, _arguments.integer(size, _PRIOR, "size", 0), N if s.shape[0] == 1 else 2 * N)
    found = device.sample(given, s, normals, kernel)
    return found if _arrays.dtype_name(given[0]) == "float64" else namespace(found).astype(found, given[0].dtype)


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
    if not _arrays.on_host(y):
        wide, points = there(_LABEL, "factors", factors, y), there(_LABEL, "cross_factors", cross, y)
        (numbers,), (s,), m = there(_LABEL, "y", [y], y), there(_LABEL, "noise", [noise_of(noise, y, _LABEL)], y), mask
        roots, new = _roots_there(wide, points, prior_factors, y)

        def solve_there(residual: Any, rows_mask: Any) -> Any:
            return device.solve(factors, residual, s, rows_mask, tol)

        found = _posterior_samples(points, numbers, s, m, roots, new, count, rng, solve_there, kernel)
        there_drawn: T = found if _arrays.dtype_name(y) == "float64" else namespace(found).astype(found, y.dtype)
        return there_drawn
    plain, s, m = plain_numbers(_LABEL, factors, noise, mask)
    points = [_arguments.numbers_of(c, _LABEL, f"cross_factors[{k}]") for k, c in enumerate(cross)]
    numbers = _arguments.numbers_of(y, _LABEL, "y")
    check_numbers(_LABEL, numbers, s, m)
    wide = [a.astype(np.float64) for a in plain]
    points = [p.astype(np.float64) for p in points]
    roots, new = _cell_roots(wide, points) if prior_factors is None else _joint_roots(wide, points, prior_factors)
    s = s.astype(np.float64)
    grid = Grid(plain, _LABEL, backend, num_threads)  # of the factors as they came: their precision says what is rounding

    def solve(residual: np.ndarray, rows_mask: np.ndarray | None) -> np.ndarray:
        alpha = solve_rows(grid, s, rows_mask, observed_rows(residual, rows_mask, grid.size), tol, None, None)[1]
        return alpha.reshape(residual.shape)

    drawn = _posterior_samples(points, numbers, s, m, roots, new, count, rng, solve, kernel)
    samples: T = _arrays.of_kind(str(_arrays.kind(y)), drawn.astype(plain[0].dtype, copy=False))
    return samples


def _posterior_samples(
    points: Sequence[Any], numbers: Any, s: Any, m: Any, roots: Sequence[Any], new: Sequence[Any], count: int, rng: Any,
    solve: Callable[[Any, Any], Any], kernel: dict[str, Any],
) -> Any:  # fmt: skip
    """(18), of arrays anywhere: all in double precision but y. ``solve(y, mask)`` gives C⁻¹ y."""
    xp = _arrays.namespace(numbers)
    N, normals, batch = numbers.shape[-1], math.prod(r.shape[1] for r in roots), tuple(numbers.shape[:-1])
    drawn = _normals(rng, _LABEL, count, normals + N)
    normal = _arrays.beside(numbers, np.ascontiguousarray(drawn[:, :normals]))
    noisy = matvec(roots, normal, **kernel) + _arrays.beside(numbers, np.ascontiguousarray(drawn[:, normals:])) * xp.sqrt(s)
    seen = numbers if m is None else xp.where(m, numbers, xp.zeros_like(numbers))
    residual = seen - noisy.reshape(count, *(1,) * len(batch), N)
    rows_mask = m if m is None or m.ndim == 1 else xp.broadcast_to(m, residual.shape)
    alpha = solve(residual, rows_mask)
    found = matvec(points, alpha, **kernel)
    return found + matvec(new, normal, **kernel).reshape(count, *(1,) * len(batch), found.shape[-1])


def _roots_there(wide: Sequence[Any], points: Sequence[Any], prior_factors: Any, like: Any) -> tuple[list[Any], list[Any]]:
    """What ``_cell_roots`` and ``_joint_roots`` find, on a device."""
    if prior_factors is None:
        roots = [device.root(f) for f in wide]
        return roots, [device.rows_of(f, p, r) for f, p, r in zip(wide, points, roots)]
    given = _arguments.sequence(prior_factors, f"{_LABEL}: prior_factors")
    expected = [(p.shape[0], p.shape[0]) for p in points]
    if [tuple(p.shape) for p in given] != expected:
        raise ValueError(f"{_LABEL}: prior_factors have shapes {[tuple(p.shape) for p in given]}, expected {expected}")
    own, xp = there(_LABEL, "prior_factors", given, like), namespace(wide[0])
    both = []
    for f, c, p in zip(wide, points, own):
        both.append(device.root(xp.concat([xp.concat([f, c.T], axis=1), xp.concat([c, p], axis=1)], axis=0)))
    return [r[: f.shape[0], :] for r, f in zip(both, wide)], [r[f.shape[0] :, :] for r, f in zip(both, wide)]


def _normals(rng: Any, label: str, size: int, count: int) -> np.ndarray:
    """(size, count) normal numbers. Row after row: fewer rows are the first of more, and Ctrl-C comes between them."""
    generator, found = _arguments.generator(rng, label), np.empty((size, count))
    for row in found:
        generator.standard_normal(out=row)
    return found


def _cell_roots(factors: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Roots of the covariance of the grid, and the rows of them that belong to points which are its cells."""
    roots, new = [], []
    for k, (f, p) in enumerate(zip(factors, points)):
        root = _root(f, f"factors[{k}]")
        at = [_row_of(f, row) for row in p]
        if -1 in at:
            raise ValueError(
                f"{_LABEL}: row {at.index(-1)} of cross_factors[{k}] is no row of factors[{k}], so that point is no cell of the grid; "
                "give prior_factors, the points' own covariance on every axis"
            )
        roots.append(root)
        new.append(root[np.array(at, np.intp)])
    return roots, new


def _row_of(f: np.ndarray, row: np.ndarray) -> int:
    """Which row of f this is, but for rounding; -1 for none."""
    if not len(f):
        return -1
    allowed = 1e-6 * np.abs(f).max(initial=0.0)
    largest = int(np.abs(row).argmax())
    near = np.flatnonzero(np.abs(f[:, largest] - row[largest]) <= allowed)
    near = near[(np.abs(f[near] - row) <= allowed).all(axis=1)]
    return int(near[0]) if len(near) else -1


def _joint_roots(
    factors: Sequence[np.ndarray], points: Sequence[np.ndarray], prior_factors: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of every axis a root of the covariance of grid and points together: its rows for either."""
    given = _arguments.sequence(prior_factors, f"{_LABEL}: prior_factors")
    own = same_kind(_LABEL, "prior_factors", given)
    if [p.shape for p in own] != [(len(p), len(p)) for p in points]:
        expected = [(len(p), len(p)) for p in points]
        raise ValueError(f"{_LABEL}: prior_factors have shapes {[p.shape for p in own]}, expected {expected}")
    roots, new = [], []
    for k, (f, c, p) in enumerate(zip(factors, points, own)):
        root = _root(np.block([[f, c.T], [c, p.astype(np.float64)]]), f"the covariance of factors[{k}] and prior_factors[{k}] together")
        roots.append(np.ascontiguousarray(root[: len(f)]))
        new.append(np.ascontiguousarray(root[len(f) :]))
    return roots, new


def _root(a: np.ndarray, name: str) -> np.ndarray:
    """R with R Rᵀ = a, of a matrix that may be singular."""
    values, vectors = np.linalg.eigh(a)
    lowest = values.min(initial=0.0)
    if lowest < -1e-6 * np.abs(values).max(initial=0.0):  # what an axis of smooth covariances in float32 rounds to
        raise np.linalg.LinAlgError(f"{_LABEL}: {name} is not positive semidefinite (it has the eigenvalue {lowest:.3g})")
    found: np.ndarray = vectors * np.sqrt(np.maximum(values, 0))
    return found
