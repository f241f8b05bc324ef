"""Gaussian processes on grids: likelihood and solves. The factors K_1..K_d are (n_k, n_k) covariances of the axes; N = prod n_k cells.

Equation numbers refer to csrc/kron/gp/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..._call import call, call_vjp
from ..._dims import Shape
from ..._spec import Arg, Extra, Op, Option, Policy
from ..._typing import AnyArray, Array, Backend, T
from . import host
from .covariance import Solution
from .spectrum import GP_GRAM, GP_SPECTRUM
from .validation import noise_of, takes_grids

_FACTORS, _Y = Arg("factors", "n_ n_", sequence=True), Arg("y", "... n_x")
_NOISE, _MASK = Arg("noise", "S"), Arg("mask", "n_x or ... n_x", optional=True, dtype="bool")
_START = Arg("start", "... n_x", optional=True, constant=True)


def _check(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    y, noise, _, _ = shapes[-4:]
    assert y is not None
    assert noise is not None
    if noise[0] not in (1, y[-1]):
        raise ValueError(f"{label}: noise has shape {noise}, expected (1,) or ({y[-1]},), one variance for all cells or one per cell")


GP_NLL = Op(
    __name__, "gp_nll",
    inputs=(_FACTORS, _Y, _NOISE, _MASK, _START),
    outputs=(Arg("nll", "..."), Arg("error", "...", only_if="return_error", constant=True)),
    options=(Option("logdet", str), Option("probes", int), Option("seed", int), Option("tol", float), Option("return_error", bool)),
    extras=("state",),
    check=_check,
    policy=Policy(python_kernel=host.gp_nll, python_adjoint=host.gp_nll_vjp),
    tolerance=2e-5,  # float64: condition numbers up to about 100
)  # fmt: skip
GP_SOLVE = Op(
    __name__, "gp_solve",
    inputs=(_FACTORS, _Y, _NOISE, _MASK, _START),
    outputs=(Arg("alpha", "... n_x"),),
    options=(Option("tol", float),),
    extras=("state", Extra("progress", function=True)),
    check=_check,
    policy=Policy(python_kernel=host.gp_solve, python_adjoint=host.gp_solve_vjp),
    tolerance=2e-5,  # float64: condition numbers up to about 100
)  # fmt: skip
OPS = (GP_NLL, GP_SOLVE, GP_SPECTRUM, GP_GRAM)


@_arguments.keywords("kron.gp_nll", positional="pass factors as one list: gp_nll([K_1, K_2], y, noise)")
@takes_grids("kron.gp_nll", per_point=False)
def gp_nll(
    factors: Sequence[Array[T]],
    y: Array[T],
    noise: float | Array[T],
    *,
    mask: AnyArray | None = None,
    grad: bool = False,
    start: Array[T] | None = None,
    logdet: str = "exact",
    probes: int = 16,
    rng: int | np.random.Generator | None = None,
    tol: float = 1e-10,
    return_error: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> Any:
    """Negative log-likelihood of a Gaussian process on a grid (1), (10).

    -log N(y; 0, K_1 ⊗ ... ⊗ K_d + S), over the observed cells.

    Parameters
    ----------
    factors : list or tuple of (n_k, n_k)
        Covariances of the axes: symmetric, positive semidefinite. A factor may be a batch, (*B, n_k, n_k). Batches broadcast. y, mask,
        noise (if it is an array) and the results then start with the axes B. The kernel is called once per item.
    y : (..., N) or (..., n_1, ..., n_d)
        Observations, flat in C order or as tables; one problem per row or table.
    noise : float, () or (1,), (N,) or (n_1, ..., n_d)
        Variance of the noise, at least 0: one value, or one per cell; S = diag(noise).
    mask : (N,), (..., N) or (..., n_1, ..., n_d) bool, optional
        True where a cell is observed: one mask for all rows, or one per row. Values of y at other cells are ignored.
    grad : bool
        Also return the gradients of the sum over rows.
    logdet : "exact" or "lanczos"
        With missing cells, "exact" factorises the covariance of the missing or of the observed cells, whichever are fewer. If both exceed
        512, "lanczos" estimates the value and gradients from ``probes`` random vectors of ``rng`` (15).
    start, tol : (..., N) and float, optional
        For "lanczos": start of the iterative solves, and their residual relative to y, as in ``gp_solve``.
    return_error : bool
        Also return the standard error of the estimate, 0 if nothing was estimated.
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    nll : (...)
    error : (...), with return_error
    grad_factors : list of (n_k, n_k), with grad
        Symmetric G_k with d nll = sum_k <G_k, dK_k>.
    grad_noise : as noise, with grad

    Raises
    ------
    ValueError, TypeError
        Incompatible shapes or dtypes; a factor that is not symmetric; NaN or infinity in a factor, the noise or an observed cell.
    numpy.linalg.LinAlgError
        A factor with an eigenvalue below -n eps times its largest, or a singular covariance with noise below eps times its largest.
    MemoryError
        The Cholesky factor does not fit into memory.

    Notes
    -----
    Differentiable in factors, y and noise, even at equal eigenvalues (3). On a full grid, the value takes 10 n_k^3 operations per factor
    and 2 N sum n_k, gradients twice that. c missing (or observed) cells take c^3 / 3 more, plus 4 c N sum n_k for gradients. Backend
    "array" factorises a matrix of all N cells instead, with N^3 operations and 40 N^2 bytes per mask.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K = np.exp(-0.5 * np.subtract.outer(np.arange(3.0), np.arange(3.0)) ** 2)
    >>> nll, factors, noise = qf.kron.gp_nll([K, K], np.ones(9), 0.1, grad=True)
    >>> round(float(nll), 6), round(float(noise), 6)
    (7.932831, 9.405496)
    """
    label = GP_NLL.label
    options = _options(label, logdet, probes, rng, tol, return_error)
    factors = _arguments.sequence(factors, label)
    arrays = (*factors, y, noise_of(noise, y, label), mask, start)
    state = host.SharedState()
    value, error = call(GP_NLL, arrays, options, (state,), None, backend, num_threads)
    results = (value, error) if return_error else (value,)
    if grad:
        dfactors, dnoise = _of_sum(arrays, value, options, state, backend, num_threads)
        results += (dfactors, dnoise.reshape(getattr(noise, "shape", ())))
    return results if len(results) > 1 else value


def _of_sum(arrays: Sequence[Any], value: Any, options: tuple[Any, ...], state: Any, *how: Any) -> Any:
    """Gradients of the sum over rows of nll with respect to the factors and the noise."""
    if state.result is None or not isinstance(value, np.ndarray):
        ones = _arrays.namespace(value).ones_like(value)
        dfactors, _, dnoise = call_vjp(GP_NLL, (list(arrays[:-4]), *arrays[-4:], ones), options, (state,), *how)
        return dfactors, dnoise
    R, of_noise = state.result.nll_gradients(np.ones(value.size))  # skips the gradient with respect to y
    return [a.astype(value.dtype, copy=False) for a in R], np.asarray(of_noise, value.dtype)


def gp_nll_vjp(
    factors: Sequence[Array[T]],
    y: Array[T],
    noise: float | Array[T],
    mask: AnyArray | None,
    start: Array[T] | None,
    grad: Array[T],
    *,
    logdet: str = "exact",
    probes: int = 16,
    rng: int | np.random.Generator | None = None,
    tol: float = 1e-10,
    return_error: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[list[T], T, T]:
    """Gradients of ``gp_nll``.

    ``grad`` (...) is the gradient of nll. Returns the gradients of the factors (a list), of y and of noise (3)-(5), (11), (16).
    The standard error has no gradient.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K, y, noise = [np.eye(2), np.eye(2)], np.ones(4), np.array(1.0)
    >>> dK, dy, dnoise = qf.kron.gp_nll_vjp(K, y, noise, None, None, np.array(1.0))
    >>> dy
    array([0.5, 0.5, 0.5, 0.5])
    """
    label = GP_NLL.label
    options = _options(label, logdet, probes, rng, tol, return_error)
    inputs = (_arguments.sequence(factors, label), y, noise_of(noise, y, label), mask, start, grad)
    dfactors, dy, dnoise = call_vjp(GP_NLL, inputs, options, (), backend, num_threads)
    return dfactors, dy, dnoise.reshape(getattr(noise, "shape", ()))


@_arguments.keywords("kron.gp_solve", positional="pass factors as one list: gp_solve([K_1, K_2], y, noise)")
@takes_grids("kron.gp_solve")
def gp_solve(
    factors: Sequence[Array[T]],
    y: Array[T],
    noise: float | Array[T],
    *,
    mask: AnyArray | None = None,
    start: Array[T] | None = None,
    tol: float = 1e-10,
    progress: Callable[[int, float], Any] | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Solve (K_1 ⊗ ... ⊗ K_d + S) α = y on the observed cells of a grid, for predictions (2), (9).

    Parameters
    ----------
    factors, y, noise, mask
        As in ``gp_nll``.
    start : (..., N), optional
        An approximate α, for example for other hyperparameters, from which iterations start. It has no gradient.
    tol : float
        Largest residual |y - (K + S) α| over the observed cells, relative to |y|, of iterative solves.
    progress : callable, optional
        Called as progress(iteration, relative residual of the iterated system).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    alpha : as y
        0 at missing cells.

    Notes
    -----
    Exceptions are as for ``gp_nll``. Differentiable in factors, y and noise. A full grid takes 4 N sum n_k operations per row. A Cholesky
    factor is used if at most 512 cells are missing or noisier than the cell with the smallest noise, or if at most 512 are observed.
    Otherwise conjugate gradients on the missing cells take 4 N sum n_k operations per iteration: 5 to 30 iterations for scattered gaps,
    about 100 for a hole. The system of the observed cells would take hundreds of iterations (13). Backend "array" factorises a matrix of
    all cells if there are at most 4096. Otherwise it takes 400 iterations, and α is NaN if the residual is then above ``tol``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> qf.kron.gp_solve([np.eye(2), np.eye(2)], np.array([1.0, 2.0, 3.0, np.nan]), 1.0, mask=np.array([True, True, True, False]))
    array([0.5, 1. , 1.5, 0. ])
    """
    return solve_with_solution(factors, y, noise, mask, start, tol, progress, out, backend, num_threads)[0]


def solve_with_solution(
    factors: Sequence[Any], y: Any, noise: Any, mask: Any, start: Any, tol: float, progress: Any, out: Any, backend: str | None,
    num_threads: int | None,
) -> tuple[Any, Solution | None]:  # fmt: skip
    """``gp_solve``; on the host it also returns the ``Solution``, which contains the solvers."""
    label = GP_SOLVE.label
    factors = _arguments.sequence(factors, label)
    arrays = (*factors, y, noise_of(noise, y, label), mask, start)
    options = (_arguments.number(tol, label, "tol", positive=True),)
    state = host.SharedState()
    alpha = call(GP_SOLVE, arrays, options, (state, progress), out, backend, num_threads)
    return alpha, state.result


def gp_solve_vjp(
    factors: Sequence[Array[T]],
    y: Array[T],
    noise: float | Array[T],
    mask: AnyArray | None,
    start: Array[T] | None,
    grad: Array[T],
    *,
    tol: float = 1e-10,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[list[T], T, T]:
    """Gradients of ``gp_solve``.

    ``grad`` (..., N) is the gradient of α. Returns the gradients of the factors (a list), of y and of noise (19).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> K, y, noise = [np.eye(2), np.eye(2)], np.ones(4), np.array(1.0)
    >>> dK, dy, dnoise = qf.kron.gp_solve_vjp(K, y, noise, None, None, np.ones(4))
    >>> dy
    array([0.5, 0.5, 0.5, 0.5])
    """
    label = GP_SOLVE.label
    inputs = (_arguments.sequence(factors, label), y, noise_of(noise, y, label), mask, start, grad)
    dfactors, dy, dnoise = call_vjp(GP_SOLVE, inputs, (_arguments.number(tol, label, "tol", positive=True),), (), backend, num_threads)
    return dfactors, dy, dnoise.reshape(getattr(noise, "shape", ()))


def _options(label: str, logdet: str, probes: int, rng: Any, tol: float, return_error: bool) -> tuple[Any, ...]:
    _arguments.choice(logdet, label, "logdet", ("exact", "lanczos"))
    count, tolerance = _arguments.integer(probes, label, "probes", 2), _arguments.number(tol, label, "tol", positive=True)
    seed = int(_arguments.generator(rng, label).integers(2**62)) if logdet == "lanczos" or rng is not None else 0
    return logdet, count, seed, tolerance, bool(return_error)
