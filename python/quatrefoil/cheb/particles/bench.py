"""Potentials of charges compared with canonical sums on the grid, neighbour lists, direct sums and a fast multipole method."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import cheb
from ..._backends.numba import jit
from ...bench._problem import Problem, Run, installed

CHUNK = 4096  # particles per matrix product


def problems() -> Iterator[Problem]:
    yield _potential(65, 50_000, {"numpy": 60.0})
    yield _potential(65, 1_000, {"numpy": 2.0})
    yield _potential(129, 1_000, {})
    yield _short(20_000, 65, 1e-6)
    yield _short(20_000, 65, 1e-10)
    for P, n, tol in ((2_000, 33, 1e-6), (20_000, 65, 1e-6), (100_000, 97, 1e-6), (100_000, 129, 1e-9)):
        yield _total(P, n, tol)


def gas(P: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (P, 3)), rng.choice([-1.0, 1.0], P)


def canonical(X: np.ndarray, q: np.ndarray, x: np.ndarray, sog: Any) -> np.ndarray:
    """The long part at the points of a grid: one matrix product per Gaussian and chunk of particles."""
    n = x.size
    V = np.zeros((n, n * n))
    for s in range(0, len(q), CHUNK):
        square = [(x[:, None] - X[s : s + CHUNK, k]) ** 2 for k in range(3)]
        for t, w in zip(sog.t[: sog.n_long], sog.w[: sog.n_long]):
            A, B, C = (np.exp(-(t * t) * a) for a in square)
            V += (A * (w * q[s : s + CHUNK])) @ (B[:, None] * C).reshape(n * n, -1).T
    return V.reshape(n, n, n)


def _potential(n: int, P: int, goals: dict[str, float]) -> Problem:
    """Values on the Chebyshev grid; ``ours`` computes them from the compressed coefficients."""
    X, q = gas(P)
    by_numpy = partial(canonical, X, q, cheb.chebpts(n), cheb.potential(X, q, n=n, domain=(-1, 1), tol=1e-6).sog)

    def ours() -> Any:
        return cheb.coeffs2vals(cheb.potential(X, q, n=n, domain=(-1, 1), tol=1e-6).to_full())

    return Problem("cheb", "potential", f"n={n} P={P} tol=1e-6", ours, {"numpy": by_numpy}, by_numpy, 1e-5, goals)


@jit
def direct_short(X, q, targets, t, w, cutoff):  # type: ignore[no-untyped-def]
    """All pairs, one exponential per Gaussian."""
    f = np.zeros(len(targets))
    for i in range(len(targets)):
        for p in range(len(X)):
            s = (targets[i, 0] - X[p, 0]) ** 2 + (targets[i, 1] - X[p, 1]) ** 2 + (targets[i, 2] - X[p, 2]) ** 2
            if s < cutoff * cutoff:
                long = 0.0
                for k in range(t.size):
                    long += w[k] * np.exp(-t[k] * t[k] * s)
                f[i] += q[p] * ((1 / np.sqrt(s) if s > 0 else 0.0) - long)
    return f


@jit
def direct(X, q, targets):  # type: ignore[no-untyped-def]
    """sum_p q_p / r_p over all pairs of different particles."""
    f = np.zeros(len(targets))
    for i in range(len(targets)):
        for p in range(len(X)):
            s = (targets[i, 0] - X[p, 0]) ** 2 + (targets[i, 1] - X[p, 1]) ** 2 + (targets[i, 2] - X[p, 2]) ** 2
            f[i] += q[p] / np.sqrt(s) if s > 0 else 0.0
    return f


def _short(P: int, n: int, tol: float) -> Problem:
    X, q = gas(P)
    sog = cheb.potential(X, q, n=n, domain=(-1, 1), tol=tol).sog
    t, w = sog.t[: sog.n_long], sog.w[: sog.n_long]

    def by_tree() -> np.ndarray:
        """Pairs from SciPy's k-d tree, each evaluated once for both particles."""
        from scipy.spatial import cKDTree

        i, p = cKDTree(X).query_pairs(sog.cutoff, output_type="ndarray").T
        value = sog.short(np.linalg.norm(X[i] - X[p], axis=1))
        f = np.bincount(i, value * q[p], P) + np.bincount(p, value * q[i], P)
        return np.asarray(f + q * sog.short(0.0))

    by_loops = partial(direct_short, X, q, X, t, w, sog.cutoff)
    size = f"P=N={P} cutoff={sog.cutoff:.2g} tol={tol:g}"
    peers: dict[str, Run] = {"numba, all pairs": by_loops, "scipy's tree": by_tree}
    return Problem("cheb", "short_range", size, partial(cheb.short_range, X, q, X, sog=sog), peers, by_loops, tol)


def _total(P: int, n: int, tol: float) -> Problem:
    """The potential at every charge, from the positions. No goals: a fast multipole method is a different kind of method."""
    X, q = gas(P)

    def ours() -> Any:
        V = cheb.potential(X, q, n=n, domain=(-1, 1), tol=tol)
        return V.plan(tol)(X) + cheb.short_range(X, q, X, sog=V.sog)

    truth = partial(direct, X, q, X)
    peers: dict[str, Run] = {"numba, all pairs": truth} if P <= 20_000 else {}
    if installed("fmm3dpy"):
        fmm, points = importlib.import_module("fmm3dpy"), np.asfortranarray(X.T)
        scale = fmm_scale(fmm)

        def by_fmm(eps: float) -> Any:
            return scale * fmm.lfmm3d(eps=eps, sources=points, charges=q, pg=1).pot

        for eps in (tol, 100 * tol):  # FMM3D's errors decrease in steps: at 100 times the tolerance they are still below ours
            peers[f"fmm3dpy, eps={eps:g}"] = partial(by_fmm, eps)
    return Problem("cheb", "potential + short_range", f"P=N={P} n={n} tol={tol:g}", ours, peers, truth, 10 * tol, {}, 10 * tol)


def fmm_scale(fmm: Any) -> float:
    """The factor that turns potentials of this version of FMM3D into sums of q / r: some versions divide by 4 pi."""
    at = np.asfortranarray([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    is_plain = abs(fmm.lfmm3d(eps=1e-6, sources=at, charges=np.array([1.0, 0.0]), pg=1).pot[1] - 1) < 1e-3
    return 1.0 if is_plain else 4 * np.pi
