"""``gp_nll`` and ``gp_solve`` on the host: the functions of arrays in the op table, over ``GridCovariance``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy as np

from ... import _arrays
from ..._memo import Memo
from .covariance import GridCovariance, Likelihood, Solution
from .validation import check_numbers


class SharedState(Memo):
    """What a value computes, for its gradient: ``compute(backend, *arrays)`` by the first kernel of the host that is called."""

    __slots__ = ("_compute",)

    def __init__(self, compute: Callable[..., Any]) -> None:
        self._compute, self.backend, self._held, self.made = compute, "", (), None

    def made_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        if backend not in ("native", "numba"):
            return None
        if self.made is None:
            self.backend, self._held = backend, tuple(arrays)
            self.made = self._compute(backend, *[None if a is None else _arrays.to_host(a) for a in arrays])
            return self.made
        return self.made if backend == self.backend and all(map(is_, self._held, arrays)) else None


def solution(tol: float, progress: Any, num_threads: int | None, backend: Any, *arrays: Any) -> Solution:
    """α for the arrays of ``gp_solve``: factors, y, noise, mask and start."""
    covariance, rows, start = _problem("kron.gp_solve", num_threads, backend, arrays)
    return covariance.solve(rows, tol, start, progress)


def likelihood(options: Sequence[Any], num_threads: int | None, backend: Any, *arrays: Any) -> Likelihood:
    """The same for ``gp_nll``, with its options."""
    logdet, probes, seed, tol, _ = options
    covariance, rows, start = _problem("kron.gp_nll", num_threads, backend, arrays)
    return covariance.likelihood(rows, tol, start, logdet, probes, seed)


def _problem(label: str, num_threads: int | None, backend: Any, arrays: Sequence[Any]) -> tuple[GridCovariance, np.ndarray, Any]:
    *factors, y, noise, mask, start = arrays
    check_numbers(label, y, noise, mask)
    covariance = GridCovariance(label, factors, noise, mask, backend, num_threads or None)
    return covariance, covariance.rows(y), None if start is None else covariance.rows(start)


# ---- kernels: inputs, results, and then options, extras and num_threads


def gp_solve(factors: Any, y: Any, noise: Any, mask: Any, start: Any, alpha: Any, *setting: Any, backend: str) -> None:
    tol, solved, progress, num_threads = setting
    if solved is None:
        solved = solution(tol, progress, num_threads, backend, *factors, y, noise, mask, start)
    alpha[...] = solved.alpha.reshape(alpha.shape)


def gp_solve_vjp(
    factors: Any, y: Any, noise: Any, mask: Any, start: Any, grad: Any, dfactors: Any, dy: Any, dnoise: Any, *setting: Any, backend: str
) -> None:
    _, _, tol, solved, _, num_threads = setting
    if solved is None:
        solved = solution(tol, None, num_threads, backend, *factors, y, noise, mask, start)
    of_factors, of_y, dnoise[...] = solved.vjp(grad)
    for d, a in zip(dfactors, of_factors):
        d[...] = a
    dy[...] = of_y.reshape(dy.shape)


def gp_nll(factors: Any, y: Any, noise: Any, mask: Any, start: Any, nll: Any, error: Any, *setting: Any, backend: str) -> None:
    *options, found, num_threads = setting
    if found is None:
        found = likelihood(options, num_threads, backend, *factors, y, noise, mask, start)
    nll[...] = found.values.reshape(nll.shape)
    if error is not None:
        error[...] = found.errors.reshape(error.shape)


def gp_nll_vjp(
    factors: Any, y: Any, noise: Any, mask: Any, start: Any, grad: Any, dfactors: Any, dy: Any, dnoise: Any, *setting: Any, backend: str
) -> None:
    _, _, *options, found, num_threads = setting
    if found is None:
        found = likelihood(options, num_threads, backend, *factors, y, noise, mask, start)
    weights = grad.astype(np.float64).reshape(-1)
    dy[...] = (found.solution.alpha * weights[:, None]).reshape(dy.shape)
    of_factors, dnoise[...] = found.solution.nll_gradients(weights)
    for d, a in zip(dfactors, of_factors):
        d[...] = a
