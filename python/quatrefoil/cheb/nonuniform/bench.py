"""Dense coefficients at scattered points, compared with finufft and NumPy; plans, compared with contractions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from ... import cheb
from ...bench._problem import Problem, installed
from ..scattered.bench import POINTS, _tensor, by_numpy, contracted, truth


def problems() -> Iterator[Problem]:
    for eps in (1e-6, 1e-10):
        yield _values(33, eps)
        yield _moments(33, eps)
    yield _exact(33)
    for n, r in ((33, 8), (65, 16), (129, 40)):
        for eps in (1e-6, 1e-10):
            yield _plan(n, r, eps)


def _dense(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, n, n)), rng.uniform(-1, 1, (POINTS, 3))


def dense_truth(C: np.ndarray, X: np.ndarray) -> np.ndarray:
    return truth(C, [np.eye(len(C))] * 3, X)


def _finufft() -> Any:
    return importlib.import_module("finufft") if installed("finufft") else None


def _even(C: np.ndarray) -> np.ndarray:
    """The Fourier coefficients, -n+1 to n-1, of C as an even function of the angles."""
    n = C.shape[0]
    at = np.abs(np.arange(1 - n, n))
    weight = np.where(at == 0, 1.0, 0.5)
    even: np.ndarray = C[np.ix_(at, at, at)] * (weight[:, None, None] * weight[:, None] * weight)
    return even.astype(complex)


def _values(n: int, eps: float) -> Problem:
    C, X = _dense(n)
    peers: dict[str, Callable[[], Any]] = {}
    finufft = _finufft()
    if finufft:
        even = _even(C)

        def by_finufft() -> Any:
            angles = [np.ascontiguousarray(a) for a in np.arccos(X).T]
            return finufft.nufft3d2(*angles, even, eps=eps, isign=1, nthreads=1).real

        peers["finufft"] = by_finufft
    goals = {"finufft": 3.0 if eps == 1e-6 else 4.0}
    return Problem(
        "cheb", "cheb_eval", f"n={n} P={POINTS} eps={eps:g}", lambda: cheb.cheb_eval(C, X, eps=eps), peers, lambda: dense_truth(C, X),
        4 * eps, goals, 20 * eps,
    )  # fmt: skip


def _moments(n: int, eps: float) -> Problem:
    """finufft computes exponentials of all signs, of which the even part is taken."""
    X = _dense(n)[1]
    q = np.random.default_rng(1).random(POINTS)
    peers: dict[str, Callable[[], Any]] = {}
    finufft = _finufft()
    if finufft:

        def by_finufft() -> Any:
            angles = [np.ascontiguousarray(a) for a in np.arccos(X).T]
            M = finufft.nufft3d1(*angles, q.astype(complex), (2 * n - 1,) * 3, eps=eps, isign=1, nthreads=1).real
            for k in range(3):
                M = (M + np.flip(M, k)) / 2
            return M[n - 1 :, n - 1 :, n - 1 :]

        peers["finufft"] = by_finufft

    def numpy_way() -> Any:
        A, B, D = (chebyshev.chebvander(X[:, k], n - 1) for k in range(3))
        M = np.empty((n, n, n))
        for a in range(n):
            M[a] = (B * (q * A[:, a])[:, None]).T @ D
        return M

    peers["numpy"] = numpy_way
    return Problem(
        "cheb", "cheb_moments", f"n={n} P={POINTS} eps={eps:g}", lambda: cheb.cheb_moments(X, q, n, eps=eps), peers, numpy_way, 4 * eps,
        {"finufft": 1.5}, 20 * eps,
    )  # fmt: skip


def _exact(n: int) -> Problem:
    C, X = _dense(n)

    def numpy_way() -> Any:
        chunks = (X[s : s + 1024] for s in range(0, POINTS, 1024))
        return np.concatenate([contracted(C, *(chebyshev.chebvander(x[:, k], n - 1) for k in range(3))) for x in chunks])

    return Problem(
        "cheb",
        "cheb_eval, no eps",
        f"n={n} P={POINTS}",
        lambda: cheb.cheb_eval(C, X),
        {"numpy": numpy_way},
        lambda: dense_truth(C, X),
        1e-13,
        {},
        1e-11,
    )


def _plan(n: int, r: int, eps: float) -> Problem:
    core, factors, X = _tensor(n, r, np.float64)
    ct = cheb.ChebTucker(core, factors)
    plan = ct.plan(eps)
    goals = {"numpy": 20.0 if eps == 1e-6 else 12.0} if r == 40 else {}
    return Problem(
        "cheb",
        f"plan by {plan.method}",
        f"n={n} r={r} P={POINTS} eps={eps:g}",
        lambda: plan(X),
        {"numpy": lambda: by_numpy(core, factors, X), "contraction": lambda: ct(X)},
        lambda: truth(core, factors, X),
        4 * eps,
        goals,
    )
