"""Posterior means and variances of Gaussian processes on grids. Equation numbers are those of csrc/kron/gp/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._typing import AnyArray, Array, Backend, T
from ..product import matvec
from . import noise_of, solve_and_keep
from .device import Posterior
from .device import variance as variance_there
from .grid import Grid
from .iterative import Iterative
from .missing import Cells
from .nll import exact, parts
from .points import GridPoints, explained
from .sample import gp_posterior_sample
from .validation import fitting, plain_numbers, takes_grids, there

_LABEL = "kron.gp_posterior"


@takes_grids(_LABEL)
def gp_posterior(
    factors: Sequence[Array[T]],
    cross_factors: Sequence[Array[T]],
    y: Array[T],
    noise: float | Array[T],
    *,
    mask: AnyArray | None = None,
    variance: bool | str = True,
    prior_diag: float | Array[T] | Sequence[Array[T]] | None = None,
    prior_factors: Sequence[Array[T]] | None = None,
    samples: int = 64,
    rng: int | np.random.Generator | None = None,
    tol: float = 1e-10,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:
    """Posterior of a Gaussian process on a grid, at a grid of points: means, error bars (6), (7), (17).

    Mean K* α and variance of the latent function.

    Parameters
    ----------
    factors, y, noise, mask
        As in ``gp_nll``.
    cross_factors : list or tuple of (m_k, n_k)
        Covariance of the points, axis by axis, with the axes of the grid: M = prod m_k points.
    variance : bool or "samples"
        True: exact, by a Cholesky factor of the cells that are missing or of those observed, whichever are fewer. "samples": from
        ``samples`` posterior samples; each variance then has a relative standard error of sqrt(2 / samples). False: the mean alone.
    prior_diag : float, (M,), or list of (m_k,), optional
        Prior variance of the points; a list: the factors of it. Left out: the product of the factors' diagonals, where each is constant.
    prior_factors, samples, rng
        For variance="samples", as in ``gp_posterior_sample``.
    tol : float
        As in ``gp_solve``.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    mean : (..., M), or (..., m_1, ..., m_d) if y is a table
    var : (M,) or (m_1, ..., m_d), with variance
        (..., M) where mask has a row for each of y, or with "samples". No noise is added. Rounding below 0 counts as 0.

    Raises
    ------
    ValueError, TypeError, numpy.linalg.LinAlgError, MemoryError
        As ``gp_nll``; a diagonal that is not constant and no prior_diag.

    Notes
    -----
    The mean is differentiable in factors, cross_factors, y and noise; the variance is not, and asking is a NotImplementedError. Cost of the
    mean: ``gp_solve`` and one product; of the variance 2 M sum n_k operations on a full grid; c missing (or observed) cells cost
    c^3 / 3 + c (2 N sum n_k + M c) more. On a device nothing is read back: the exact variance takes a matrix of all N cells where some
    are missing or noises differ, N^3 operations and 8 N^2 bytes a mask; what the host raises because of numbers is NaN there.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> mean, var = qf.kron.gp_posterior([K, K], [K[:1], K], np.array([1.0, 0.0, 0.0, 1.0]), 1.0)
    >>> np.round(mean, 4), np.round(var, 4)
    (array([0.4462, 0.2462]), array([0.4374, 0.4374]))
    """
    if variance not in (True, False, "samples"):
        raise ValueError(f"{_LABEL}: variance is {variance!r}, expected True, False or 'samples'")
    cross = _arguments.sequence(cross_factors, f"{_LABEL}: cross_factors")
    sizes = fitting(_LABEL, factors, cross, y)
    alpha, solved = solve_and_keep(factors, y, noise, mask, None, tol, None, None, backend, num_threads, keep=variance is True)
    mean = matvec(cross, alpha, backend=backend, num_threads=num_threads)
    if not variance:
        return mean
    if not _arrays.on_host(y):
        how: Any = {"prior_factors": prior_factors, "size": samples, "rng": rng, "tol": tol, "backend": backend, "num_threads": num_threads}
        return mean, _variance_there(factors, cross, y, noise, mask, mean if variance == "samples" else None, prior_diag, sizes, how)
    plain, noise_numbers, mask_numbers = plain_numbers(_LABEL, factors, noise, mask)
    points = [_arguments.numbers_of(c, _LABEL, f"cross_factors[{k}]") for k, c in enumerate(cross)]
    kernel: Any = {"backend": backend, "num_threads": num_threads}
    if variance == "samples":
        count = _arguments.integer(samples, _LABEL, "samples", 2)
        numbers = _arguments.numbers_of(y, _LABEL, "y")
        drawn = gp_posterior_sample(
            plain, points, numbers, noise_numbers, mask=mask_numbers, prior_factors=prior_factors, size=count, rng=rng, tol=tol, **kernel
        )
        center = mean.detach().numpy() if not isinstance(mean, np.ndarray) else mean
        var = ((drawn - center) ** 2).mean(axis=0, dtype=np.float64)
    else:
        grid = solved.grid if solved is not None else Grid(plain, _LABEL, backend, num_threads)
        known = solved.parts[0].solver if solved is not None and len(solved.parts) == 1 else None

        def solver(cells: Cells) -> Any:
            shared = mask_numbers is None or mask_numbers.ndim == 1
            return known if shared and known is not None and not isinstance(known, Iterative) else exact(grid, noise_numbers, cells)

        prior, where = _prior(prior_diag, grid, sizes), GridPoints(points)
        rows = 1 if mask_numbers is None or mask_numbers.ndim == 1 else math.prod(mask_numbers.shape[:-1])
        var = np.empty((rows, len(prior)))
        for part in parts(grid, noise_numbers, mask_numbers, rows, solver):
            if len(part.rows):
                var[part.rows] = np.maximum(prior - explained(part.solver, where), 0)
        var = var.reshape(*([] if mask_numbers is None else mask_numbers.shape[:-1]), len(prior))
    kind = str(_arrays.kind(y))
    return mean, _arrays.of_kind(kind, var.astype(plain[0].dtype))


def _variance_there(
    factors: Sequence[Any], cross: Sequence[Any], y: Any, noise: Any, mask: Any, center: Any, prior_diag: Any, sizes: Sequence[int],
    how: dict[str, Any],
) -> Any:  # fmt: skip
    """On a device; by samples around their ``center`` where there is one."""
    if center is not None:
        _arguments.integer(how["size"], _LABEL, "samples", 2)
        drawn = gp_posterior_sample(factors, cross, y, noise, mask=mask, **how)
        return ((drawn - center) ** 2).mean(0)
    there(_LABEL, "factors", factors, y)
    points = there(_LABEL, "cross_factors", cross, y)
    lead = () if mask is None else tuple(mask.shape[:-1])
    posterior = Posterior(factors, noise_of(noise, y, _LABEL), mask, (how["backend"], how["num_threads"]))
    found = variance_there(_LABEL, posterior, GridPoints(points), prior_diag, sizes, lead)
    return found if _arrays.dtype_name(y) == "float64" else posterior.xp.astype(found, y.dtype)


def _prior(given: Any, grid: Grid, sizes: Sequence[int]) -> np.ndarray:
    M = math.prod(sizes)
    if given is None:
        value = 1.0
        for k, f in enumerate(grid.factors):
            diagonal = f.diagonal()
            if len(f) and np.ptp(diagonal) > 1e-5 * np.abs(diagonal).max():
                raise ValueError(f"{_LABEL}: the diagonal of factors[{k}] is not constant; give prior_diag, the points' prior variance")
            value *= diagonal[0] if len(f) else 0.0
        return np.full(M, value)
    if isinstance(given, (list, tuple)):
        vectors = [_arguments.numbers_of(v, _LABEL, f"prior_diag[{k}]") for k, v in enumerate(given)]
        if [v.shape for v in vectors] != [(m,) for m in sizes]:
            raise ValueError(f"{_LABEL}: prior_diag has shapes {[v.shape for v in vectors]}, expected {[(m,) for m in sizes]}")
        found = np.ones(1)
        for v in vectors:
            found = np.multiply.outer(found, v.astype(np.float64)).reshape(-1)
        return found
    if _arrays.kind(given) is not None and given.ndim:
        vector = _arguments.numbers_of(given, _LABEL, "prior_diag")
        if vector.shape != (M,):
            raise ValueError(f"{_LABEL}: prior_diag has shape {vector.shape}, expected ({M},)")
        return vector.astype(np.float64)
    return np.full(M, _arguments.number(given, _LABEL, "prior_diag"))
