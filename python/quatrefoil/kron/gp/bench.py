"""Gaussian processes on grids against linear_operator, the same formulas in NumPy, and SciPy's conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Run, installed
from ..product.bench import by_matmul
from . import bench_latent, bench_predictions
from .basis import Axis

NOISE, SCALE, TOL, EPS = 0.1, 0.05, 1e-8, float(np.finfo(np.float64).eps)


def problems() -> Iterator[Problem]:
    for shape, goal in (((64, 64, 64), 7.0), ((128, 128, 128), 6.0), ((256, 256), 3.0), ((1024, 1024), None)):
        yield _likelihood(shape, goal)
    yield _missing((256, 256), "70 % seen", 15.0)
    yield _missing((256, 256), "a hole", 5.0)
    yield _missing((64, 64, 64), "70 % seen", 10.0)
    yield from bench_latent.problems()
    yield from bench_predictions.problems()


def _factors(shape: Sequence[int]) -> list[np.ndarray]:
    axes = [np.linspace(0, 1, n) for n in shape]
    return [np.exp(-0.5 * (x[:, None] - x) ** 2 / SCALE**2) for x in axes]


def _likelihood(shape: tuple[int, ...], goal: float | None) -> Problem:
    """The value and all gradients. Compares the value, because linear_operator's gradients with respect to the entries are off by 1 %."""
    factors, y = _factors(shape), np.random.default_rng(0).standard_normal(math.prod(shape))
    value = partial(by_numpy, factors, y)
    size = f"{'x'.join(map(str, shape))} float64"
    peers: dict[str, Run] = {"NumPy": value, **_linear_operator(factors, y)}
    goals = {"linear_operator": goal} if goal else {}
    parts = {"the factors' eigendecompositions": lambda: [Axis(f, EPS, "factor") for f in factors]}

    def ours() -> Any:
        return kron.gp_nll(factors, y, NOISE, grad=True)[0]

    return Problem("kron", "gp_nll, gradients", size, ours, peers, value, 1e-11, goals, peer_tolerance=1e-6, parts=parts)


def by_numpy(factors: Sequence[np.ndarray], y: np.ndarray) -> float:
    """README (1) to (5) with tensordot: computes the gradients, too, and returns the value."""
    shape, d = tuple(map(len, factors)), len(factors)
    parts = [np.linalg.eigh(f) for f in factors]
    D = reduce(np.multiply.outer, [np.maximum(l, 0) for l, _ in parts]) + NOISE
    z = by_matmul([q.T for _, q in parts], y).reshape(shape)
    a = z / D
    for k, (_, q) in enumerate(parts):
        w = reduce(np.multiply.outer, [np.maximum(l, 0) if m != k else np.ones(len(l)) for m, (l, _) in enumerate(parts)])
        axes = tuple(m for m in range(d) if m != k)
        A = np.tensordot(a * w, a, (axes, axes))
        _ = q @ (np.diag((w / D).sum(axis=axes)) - A) @ q.T / 2  # with respect to factor k
    _ = ((1 / D).sum() - np.sum(a * a)) / 2  # with respect to the noise
    return float(np.sum(z * a) + np.log(D).sum() + y.size * np.log(2 * np.pi)) / 2


def _linear_operator(factors: Sequence[np.ndarray], y: np.ndarray) -> dict[str, Run]:
    if not installed("linear_operator"):
        return {}
    import torch
    from linear_operator.operators import ConstantDiagLinearOperator, DenseLinearOperator, KroneckerProductLinearOperator

    target = torch.from_numpy(y)

    def run() -> float:
        leaves = [torch.from_numpy(f).requires_grad_() for f in factors]
        noise = torch.tensor([NOISE], dtype=torch.float64, requires_grad=True)
        K = KroneckerProductLinearOperator(*[DenseLinearOperator(f) for f in leaves])
        C = K + ConstantDiagLinearOperator(noise, diag_shape=y.size)
        fit, logdet = C.inv_quad_logdet(target[:, None], logdet=True)
        nll = (fit + logdet + y.size * math.log(2 * math.pi)) / 2
        nll.backward()
        return float(nll.item())

    return {"linear_operator": run}


def _missing(shape: tuple[int, ...], kind: str, goal: float) -> Problem:
    """α on the observed cells; both solvers iterate to a residual of TOL. Compares K α, because predictions use it."""
    factors, seen = _factors(shape), np.random.default_rng(1).random(math.prod(shape)) < 0.7
    if kind == "a hole":
        grid = np.ones(shape, bool)
        grid[tuple(slice(n // 4, n // 2) for n in shape)] = False
        seen = grid.reshape(-1)
    y = np.where(seen, np.random.default_rng(0).standard_normal(seen.size), 0.0)

    def ours() -> Any:
        return by_matmul(factors, kron.gp_solve(factors, y, NOISE, mask=seen, tol=TOL))

    def peer(tol: float = TOL) -> Any:
        return by_matmul(factors, by_scipy(factors, y, seen, tol))

    size, name = f"{'x'.join(map(str, shape))} {kind} float64", "scipy cg, np.matmul"
    return Problem("kron", "gp_solve", size, ours, {name: peer}, partial(peer, 1e-12), 1e-5, {name: goal})


def by_scipy(factors: Sequence[np.ndarray], y: np.ndarray, seen: np.ndarray, tol: float) -> Any:
    """Conjugate gradients on the covariance of the observed cells."""
    from scipy.sparse.linalg import LinearOperator, cg

    def covariance(v: np.ndarray) -> np.ndarray:
        v = np.where(seen, v, 0.0)
        return np.where(seen, by_matmul(factors, v) + NOISE * v, 0.0)

    return cg(LinearOperator((y.size, y.size), matvec=covariance, dtype=np.float64), y, rtol=tol)[0]
