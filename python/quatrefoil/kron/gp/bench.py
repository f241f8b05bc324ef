"""Gaussian processes on grids against linear_operator, the same formulas in NumPy, and SciPy's conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, installed
from ..product.bench import by_matmul
from . import bench_latent, bench_predictions
from .basis import Axis

NOISE, SCALE, TOL, EPS = 0.1, 0.05, 1e-8, float(np.finfo(np.float64).eps)


def problems() -> Iterator[Problem]:
    for shape, goal in (((64, 64, 64), 7.0), ((128, 128, 128), 6.0), ((256, 256), 3.0), ((1024, 1024), None)):
        yield _likelihood(shape, goal)
    yield _missing((256, 256), _scattered, 15.0)
    yield _missing((256, 256), _hole, 5.0)
    yield _missing((64, 64, 64), _scattered, 10.0)
    yield from bench_latent.problems()
    yield from bench_predictions.problems()


def _factors(shape: Sequence[int]) -> list[np.ndarray]:
    axes = [np.linspace(0, 1, n) for n in shape]
    return [np.exp(-0.5 * (x[:, None] - x) ** 2 / SCALE**2) for x in axes]


def _likelihood(shape: tuple[int, ...], goal: float | None) -> Problem:
    """The value and all gradients; the value is compared, for linear_operator's gradients by the entries are off by a percent."""
    factors, y = _factors(shape), np.random.default_rng(0).standard_normal(math.prod(shape))
    peers: dict[str, Callable[[], Any]] = {"NumPy": lambda: by_numpy(factors, y)[0], **_linear_operator(factors, y)}
    goals = {"linear_operator": goal} if goal and "linear_operator" in peers else {}
    size = f"{'x'.join(map(str, shape))} float64"
    return Problem(
        "kron", "gp_nll, gradients", size, lambda: kron.gp_nll(factors, y, NOISE, grad=True)[0], peers,
        lambda: by_numpy(factors, y)[0], 1e-11, goals, peer_tolerance=1e-6,
        parts={"the factors' eigendecompositions": lambda: [Axis(f, EPS, "factor") for f in factors]},
    )  # fmt: skip


def by_numpy(factors: Sequence[np.ndarray], y: np.ndarray) -> tuple[float, list[np.ndarray], float]:
    """README (1) to (5) as one writes them: an eigendecomposition a factor, then tensordot."""
    shape, d = tuple(map(len, factors)), len(factors)
    parts = [np.linalg.eigh(f) for f in factors]
    D = np.array(1.0)
    for l, _ in parts:
        D = np.multiply.outer(D, np.maximum(l, 0))
    D = D + NOISE
    z = by_matmul([q.T for _, q in parts], y).reshape(shape)
    a = z / D
    nll = (np.sum(z * a) + np.log(D).sum() + y.size * np.log(2 * np.pi)) / 2
    gradients = []
    for k, (_, q) in enumerate(parts):
        others = [np.maximum(l, 0) if m != k else np.ones(len(l)) for m, (l, _) in enumerate(parts)]
        w = np.array(1.0)
        for o in others:
            w = np.multiply.outer(w, o)
        axes = [m for m in range(d) if m != k]
        t = (w / D).sum(axis=tuple(axes))
        A = np.tensordot(a * w, a, (axes, axes))
        gradients.append(q @ (np.diag(t) - A) @ q.T / 2)
    return float(nll), gradients, float((1 / D).sum() - np.sum(a * a)) / 2


def _linear_operator(factors: Sequence[np.ndarray], y: np.ndarray) -> dict[str, Callable[[], Any]]:
    if not installed("linear_operator"):
        return {}
    import torch
    from linear_operator.operators import ConstantDiagLinearOperator, DenseLinearOperator, KroneckerProductLinearOperator

    target = torch.from_numpy(y)

    def run() -> float:
        given = [torch.from_numpy(f).requires_grad_() for f in factors]
        noise = torch.tensor([NOISE], dtype=torch.float64, requires_grad=True)
        K = KroneckerProductLinearOperator(*[DenseLinearOperator(f) for f in given])
        C = K + ConstantDiagLinearOperator(noise, diag_shape=y.size)
        fit, logdet = C.inv_quad_logdet(target[:, None], logdet=True)
        nll = (fit + logdet + y.size * math.log(2 * math.pi)) / 2
        nll.backward()
        return float(nll.item())

    return {"linear_operator": run}


def _scattered(shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(1).random(math.prod(shape)) < 0.7


def _hole(shape: Sequence[int]) -> np.ndarray:
    seen = np.ones(shape, bool)
    seen[tuple(slice(n // 4, n // 2) for n in shape)] = False
    return seen.reshape(-1)


def _missing(shape: tuple[int, ...], mask: Callable[[Sequence[int]], np.ndarray], goal: float) -> Problem:
    """α on the cells seen, at a residual of TOL on either side; compared by the fit K α, which is what predictions are."""
    factors, seen = _factors(shape), mask(shape)
    y = np.where(seen, np.random.default_rng(0).standard_normal(seen.size), 0.0)
    size = f"{'x'.join(map(str, shape))} {'70 % seen' if mask is _scattered else 'a hole'} float64"
    return Problem(
        "kron", "gp_solve", size, lambda: by_matmul(factors, kron.gp_solve(factors, y, NOISE, mask=seen, tol=TOL)),
        {"scipy cg, np.matmul": lambda: by_matmul(factors, by_scipy(factors, y, seen, TOL))},
        lambda: by_matmul(factors, by_scipy(factors, y, seen, 1e-12)), 1e-5, {"scipy cg, np.matmul": goal},
    )  # fmt: skip


def by_scipy(factors: Sequence[np.ndarray], y: np.ndarray, seen: np.ndarray, tol: float) -> np.ndarray:
    """Conjugate gradients on the covariance of the cells seen."""
    from scipy.sparse.linalg import LinearOperator, cg

    def covariance(v: np.ndarray) -> np.ndarray:
        v = np.where(seen, v, 0.0)
        return np.where(seen, by_matmul(factors, v) + NOISE * v, 0.0)

    alpha: np.ndarray = cg(LinearOperator((y.size, y.size), matvec=covariance, dtype=np.float64), y, rtol=tol)[0]
    return alpha
