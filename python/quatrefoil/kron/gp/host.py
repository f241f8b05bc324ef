"""``gp_nll`` and ``gp_solve`` on the host, by ``GridCovariance``: the Python kernels of the op table.

Their arguments are inputs, results, and then (``setting``) options, extras and num_threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np

from ..._memo import Memo
from .covariance import GridCovariance
from .validation import check_numbers


class SharedState(Memo):
    """Passes the ``result`` of an evaluation on to its gradient, if the gradient receives the same arrays on the same backend."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.backend, self._arrays, self.result = "", (), None

    def value_for(self, backend: str, arrays: Sequence[Any]) -> Any:
        if not self._arrays:
            self.backend, self._arrays = backend, tuple(arrays)
        return self if backend == self.backend and all(map(is_, self._arrays, arrays)) else None


def gp_solve(factors: Any, y: Any, noise: Any, mask: Any, start: Any, alpha: Any, *setting: Any, backend: Any) -> None:
    tol, state, progress, num_threads = setting
    check_numbers("kron.gp_solve", y, noise, mask)
    covariance = GridCovariance("kron.gp_solve", factors, noise, mask, backend, num_threads or None)
    solution = covariance.solve(covariance.rows(y), tol, None if start is None else covariance.rows(start), progress)
    if state is not None:
        state.result = solution
    alpha[...] = solution.alpha.reshape(alpha.shape)


def gp_solve_vjp(
    factors: Any, y: Any, noise: Any, mask: Any, start: Any, grad: Any, dfactors: Any, dy: Any, dnoise: Any, *setting: Any, backend: Any
) -> None:
    _, _, tol, state, _, num_threads = setting
    if state is None or state.result is None:
        state = SharedState()
        gp_solve(factors, y, noise, mask, start, np.empty_like(y), tol, state, None, num_threads, backend=backend)
    of_factors, of_y, dnoise[...] = state.result.vjp(grad)
    for d, a in zip(dfactors, of_factors):
        d[...] = a
    dy[...] = of_y.reshape(dy.shape)


def gp_nll(factors: Any, y: Any, noise: Any, mask: Any, start: Any, nll: Any, error: Any, *setting: Any, backend: Any) -> None:
    logdet, probes, seed, tol, _, state, num_threads = setting
    check_numbers("kron.gp_nll", y, noise, mask)
    covariance = GridCovariance("kron.gp_nll", factors, noise, mask, backend, num_threads or None)
    begin = None if start is None else covariance.rows(start)
    values, errors, solution = covariance.likelihood(covariance.rows(y), tol, begin, logdet, probes, seed)
    if state is not None:
        state.result = solution
    nll[...] = values.reshape(nll.shape)
    if error is not None:
        error[...] = errors.reshape(error.shape)


def gp_nll_vjp(
    factors: Any, y: Any, noise: Any, mask: Any, start: Any, grad: Any, dfactors: Any, dy: Any, dnoise: Any, *setting: Any, backend: Any
) -> None:
    _, _, *options, state, num_threads = setting
    if state is None or state.result is None:
        state = SharedState()
        gp_nll(factors, y, noise, mask, start, np.empty(y.shape[:-1]), None, *options, state, num_threads, backend=backend)
    weights = grad.astype(np.float64).reshape(-1)
    dy[...] = (state.result.alpha * weights[:, None]).reshape(dy.shape)
    of_factors, dnoise[...] = state.result.nll_gradients(weights)
    for d, a in zip(dfactors, of_factors):
        d[...] = a
