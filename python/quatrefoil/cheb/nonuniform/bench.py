"""Dense coefficients at scattered points compared with finufft and NumPy; plans compared with contractions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from ... import cheb
from ...bench._problem import Problem, Run, installed
from ..scattered.bench import by_cosines, by_numpy, tensor_and_points

POINTS, CHUNK = 40_000, 1024


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


def cosines(x: np.ndarray, degree: int) -> Any:
    """T_0 to T_degree at points of [-1, 1], in extended precision."""
    return np.cos(np.arccos(x.astype(np.longdouble))[:, None] * np.arange(degree + 1)).astype(float)


def contraction(C: np.ndarray, X: np.ndarray, polynomials: Callable[[np.ndarray, int], Any] = cosines) -> np.ndarray:
    """Values by matrix products, CHUNK points at a time."""
    out = np.empty(len(X))
    n = C.shape[0]
    for s in range(0, len(X), CHUNK):
        A, B, D = (polynomials(X[s : s + CHUNK, k], n - 1) for k in range(3))
        t = (D @ C.reshape(-1, n).T).reshape(-1, n, n)
        out[s : s + CHUNK] = ((t @ B[:, :, None])[:, :, 0] * A).sum(axis=1)
    return out


def _even(C: np.ndarray) -> Any:
    """The Fourier coefficients, -n+1 to n-1, of C, as coefficients of an even function of the angles."""
    n = C.shape[0]
    at = np.abs(np.arange(1 - n, n))
    weight = np.where(at == 0, 1.0, 0.5)
    return (C[np.ix_(at, at, at)] * (weight[:, None, None] * weight[:, None] * weight)).astype(complex)


def _angles(X: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(a) for a in np.arccos(X).T]


def _values(n: int, eps: float) -> Problem:
    C, X = _dense(n)
    peers: dict[str, Run] = {}
    if installed("finufft"):
        finufft, even = importlib.import_module("finufft"), _even(C)
        peers["finufft"] = lambda: finufft.nufft3d2(*_angles(X), even, eps=eps, isign=1, nthreads=1).real
    ours = partial(cheb.cheb_eval, C, X, eps=eps)
    goals = {"finufft": 3.0 if eps == 1e-6 else 4.0}
    return Problem("cheb", "cheb_eval", f"n={n} P={POINTS} eps={eps:g}", ours, peers, partial(contraction, C, X), 4 * eps, goals, 20 * eps)


def _moments(n: int, eps: float) -> Problem:
    """finufft computes exponentials of both signs; the peer takes the even part of its result."""
    X = _dense(n)[1]
    q = np.random.default_rng(1).random(POINTS)

    def by_numpy() -> np.ndarray:
        A, B, D = (chebyshev.chebvander(X[:, k], n - 1) for k in range(3))
        return np.stack([(B * (q * A[:, a])[:, None]).T @ D for a in range(n)])

    def by_finufft() -> Any:
        M = importlib.import_module("finufft").nufft3d1(*_angles(X), q.astype(complex), (2 * n - 1,) * 3, eps=eps, isign=1, nthreads=1).real
        for k in range(3):
            M = (M + np.flip(M, k)) / 2
        return M[n - 1 :, n - 1 :, n - 1 :]

    ours = partial(cheb.cheb_moments, X, q, n, eps=eps)
    peers = {"numpy": by_numpy, **({"finufft": by_finufft} if installed("finufft") else {})}
    return Problem("cheb", "cheb_moments", f"n={n} P={POINTS} eps={eps:g}", ours, peers, by_numpy, 4 * eps, {"finufft": 1.5}, 20 * eps)


def _exact(n: int) -> Problem:
    C, X = _dense(n)
    peers = {"numpy": partial(contraction, C, X, chebyshev.chebvander)}
    ours = partial(cheb.cheb_eval, C, X)
    return Problem("cheb", "cheb_eval, no eps", f"n={n} P={POINTS}", ours, peers, partial(contraction, C, X), 1e-13, {}, 1e-11)


def _plan(n: int, r: int, eps: float) -> Problem:
    core, factors, X = tensor_and_points(n, r)
    ct = cheb.ChebTucker(core, factors)
    plan = ct.plan(eps)
    size = f"n={n} r={r} P={POINTS} eps={eps:g}"
    peers = {"numpy": partial(by_numpy, core, factors, X), "contraction": partial(ct, X)}
    goals = {"numpy": 20.0 if eps == 1e-6 else 12.0} if r == 40 else {}
    return Problem("cheb", f"plan by {plan.method}", size, partial(plan, X), peers, partial(by_cosines, core, factors, X), 4 * eps, goals)
