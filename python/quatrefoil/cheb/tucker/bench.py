"""Tucker decomposition compared with Gram matrices and SVDs in NumPy, and with randomised SVDs and HOOI in tensorly."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ... import cheb
from ...bench._problem import Problem, Run, Work, installed

CHARGES, SOFTNESS = 60, 0.5
LOOSE, TIGHT = 1e-6, 1e-11
GOALS = {LOOSE: {"numpy gram": 1.5, "tensorly randomized": 8.0}, TIGHT: {"numpy svd": 5.0, "tensorly randomized": 8.0}}
EVERY = 16  # results are compared at every 16th coefficient along each axis


def problems() -> Iterator[Problem]:
    for n in (65, 129):
        for tol in (LOOSE, TIGHT):
            yield _tucker(n, tol, "sthosvd")
    for tol in (LOOSE, TIGHT):
        yield _tucker(129, tol, "rsvd")
        yield _tucker(129, tol, "hooi")
    yield _tucker(257, LOOSE, "sthosvd")


@cache
def potential_coefficients(n: int) -> np.ndarray:
    """Chebyshev coefficients of sum_i q_i / sqrt(r_i^2 + SOFTNESS^2) on n points per axis of [-1, 1]^3."""
    rng = np.random.default_rng(0)
    x, values = cheb.chebpts(n), np.zeros((n, n, n))
    for q, a, b, c in zip(rng.uniform(-1, 1, CHARGES), *rng.uniform(-1, 1, (3, CHARGES))):
        r = np.add.outer(np.add.outer((x - a) ** 2, (x - b) ** 2), (x - c) ** 2 + SOFTNESS**2)
        values += q / np.sqrt(r, out=r)
    return cheb.vals2coeffs(values)


def by_numpy(C: np.ndarray, tol: float, *, svd: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """README (1), by the Gram matrix of every unfolding (accurate for tol >= 1e-7) or by its SVD."""
    budget, core, factors = (tol * float(np.linalg.norm(C))) ** 2 / C.ndim, C, []
    for k in range(C.ndim):
        rows = np.moveaxis(core, k, 0).reshape(core.shape[k], -1)
        if svd:
            vectors, values, _ = np.linalg.svd(rows, full_matrices=False)
            squares = values**2
        else:
            squares, vectors = np.linalg.eigh(rows @ rows.T)
            squares, vectors = np.maximum(squares[::-1], 0), vectors[:, ::-1]
        U = vectors[:, : max(1, int((np.cumsum(squares[::-1])[::-1] > budget).sum()))]
        factors.append(U)
        core = np.moveaxis(np.tensordot(U.T, np.moveaxis(core, k, 0), 1), 0, k)
    return core, factors


def _part(core: Any, factors: Any) -> Any:
    """Every 16th coefficient along each axis; the cost is negligible."""
    return np.einsum("abc,ia,jb,kc->ijk", core, *(U[::EVERY] for U in factors), optimize=True)


def _tucker(n: int, tol: float, method: str) -> Problem:
    C = potential_coefficients(n)
    ranks = cheb.tucker(C, tol=tol).core.shape
    svd, by_rank = tol < LOOSE, method == "rsvd"
    peers: dict[str, Run] = {}
    if method != "hooi":
        peers["numpy svd" if svd else "numpy gram"] = lambda: _part(*by_numpy(C, tol, svd=svd))
    if installed("tensorly"):
        theirs = importlib.import_module("tensorly.decomposition").tucker
        options = {"n_iter_max": 1, "svd": "randomized_svd", "random_state": 0} if method != "hooi" else {"n_iter_max": 2, "tol": 0}
        name = "tensorly hooi" if method == "hooi" else "tensorly randomized"
        peers[name] = lambda: _part(*theirs(C, list(ranks), **options))
    # a call with ranks has no goal compared with NumPy, which receives the tolerance
    goals = {name: goal for name, goal in GOALS[tol].items() if n > 65 and (not by_rank or name.startswith("tensorly"))}
    products = 8 + (2 if svd else 1) * ranks[0]  # README (2): a sketch with 8 rows per axis, a projection, its residual if TIGHT
    work = Work(2 * products * n**3, C.nbytes, "float64")
    size = f"{n}^3 {'rank of ' if by_rank else ''}tol={tol:g} ranks {'x'.join(map(str, ranks))}"
    request = {"rank": ranks} if by_rank else {"tol": tol}

    def ours() -> Any:
        return _part(*cheb.tucker(C, method=method, **request))

    loose = 1e3 * tol  # tensorly receives the ranks, not the tolerance
    return Problem("cheb", f"tucker {method}", size, ours, peers, lambda: C[::EVERY, ::EVERY, ::EVERY], 10 * tol, goals, loose, work)
