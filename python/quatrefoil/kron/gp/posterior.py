"""Posterior means and variances of Gaussian processes on grids. Equation numbers refer to csrc/kron/gp/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._array_tools import nan_unless
from ..._typing import AnyArray, Array, Backend, T
from ..product import matvec
from ..product.dense import in_form_of, namespace, outer
from ..product.eigen import clamped
from . import solve_with_solution
from .device import covariance_of
from .points import GridPoints
from .sample import gp_posterior_sample
from .validation import cross_sizes, plain_inputs, takes_grids

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
    """Posterior of a Gaussian process on a grid, at a grid of points: means and variances (6), (7), (17).

    The mean is K* α, and the variance refers to the latent function.

    Parameters
    ----------
    factors, y, noise, mask
        As in ``gp_nll``.
    cross_factors : list or tuple of (m_k, n_k)
        Covariance of the points with the grid, axis by axis: M = prod m_k points.
    variance : bool or "samples"
        True: exact, from a Cholesky factor of the missing or of the observed cells, whichever are fewer. "samples": from ``samples``
        posterior samples; each variance then has a relative standard error of sqrt(2 / samples). False: only the mean.
    prior_diag : float, (M,), or list of (m_k,), optional
        Prior variance of the points, or a list of its factors. Default: the product of the factors' diagonals, if each is constant.
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
        (..., M) if mask has a row for each row of y, or with "samples". It does not include the noise. Negative rounding errors become 0.

    Notes
    -----
    Exceptions are as for ``gp_nll``; factors whose diagonals are not constant require prior_diag. The mean is differentiable in factors,
    cross_factors, y and noise; a gradient of the variance raises NotImplementedError. The mean takes ``gp_solve`` and one product. On a
    full grid, the variance takes 2 M sum n_k operations; c missing (or observed) cells take c^3 / 3 + c (2 N sum n_k + M c) more. On a
    device nothing is read back, and errors that depend on values become NaN. If cells are missing or noises differ, the exact variance
    there needs a matrix of all N cells, N^3 operations and 8 N^2 bytes per mask.

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
    sizes = cross_sizes(_LABEL, factors, cross, y)
    alpha, solution = solve_with_solution(factors, y, noise, mask, None, tol, None, None, backend, num_threads)
    mean = matvec(cross, alpha, backend=backend, num_threads=num_threads)
    if not variance:
        return mean
    plain, s, m = plain_inputs(_LABEL, factors, noise, mask, y)
    points = [_arguments.host_array(c, _LABEL, f"cross_factors[{k}]", device="keep") for k, c in enumerate(cross)]
    kernel: Any = {"backend": backend, "num_threads": num_threads}
    if variance == "samples":
        count, numbers = _arguments.integer(samples, _LABEL, "samples", 2), _arguments.host_array(y, _LABEL, "y", device="keep")
        drawn = gp_posterior_sample(plain, points, numbers, s, mask=m, prior_factors=prior_factors, size=count, rng=rng, tol=tol, **kernel)
        center = mean if not _arrays.on_host(mean) else _arrays.to_host(mean)
        var = _arrays.double((drawn - center) ** 2).mean(0)
    else:
        covariance = solution.covariance if solution is not None else covariance_of(_LABEL, plain, s, m, **kernel)
        left = _prior(prior_diag, covariance.factors, sizes) - covariance.explained(GridPoints(points))
        var = clamped(namespace(left), left).reshape(*([] if mask is None else mask.shape[:-1]), math.prod(sizes))
    return mean, in_form_of(y, var)


def _prior(prior_diag: Any, factors: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The prior variance of the points: a number or (M,)."""
    if prior_diag is None:
        value: Any = 1.0
        for k, f in enumerate(factors):
            xp, diagonal = namespace(f), f.diagonal()
            if not f.shape[0]:
                value = 0.0
                continue
            is_constant = xp.max(diagonal) - xp.min(diagonal) <= 1e-5 * xp.max(xp.abs(diagonal))
            if isinstance(f, np.ndarray) and not is_constant:
                raise ValueError(
                    f"{_LABEL}: the diagonal of factors[{k}] is not constant; pass prior_diag, the prior variance of the points"
                )
            value = value * nan_unless(xp, is_constant, diagonal[0])
        return value
    if isinstance(prior_diag, (list, tuple)):
        vectors = [_arguments.host_array(v, _LABEL, f"prior_diag[{k}]", device="keep") for k, v in enumerate(prior_diag)]
        if (shapes := [tuple(v.shape) for v in vectors]) != [(m,) for m in sizes]:
            raise ValueError(f"{_LABEL}: prior_diag has shapes {shapes}, expected {[(m,) for m in sizes]}")
        return outer(list(map(_arrays.double, vectors)))
    if _arrays.kind(prior_diag) is None or not prior_diag.ndim:
        return _arguments.number(prior_diag, _LABEL, "prior_diag")
    vector, M = _arguments.host_array(prior_diag, _LABEL, "prior_diag", device="keep"), math.prod(sizes)
    if tuple(vector.shape) != (M,):
        raise ValueError(f"{_LABEL}: prior_diag has shape {tuple(vector.shape)}, expected ({M},)")
    return _arrays.double(vector)
