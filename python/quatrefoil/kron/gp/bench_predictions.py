"""Predictions, samples, and systems of two Kronecker terms, against dense Cholesky factors, linear_operator and SciPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, Run, installed
from ..product.bench import by_matmul

NOISE, SCALE, SAMPLES = 0.1, 0.1, 64


def problems() -> Iterator[Problem]:
    yield _posterior((48, 48), 1.0)
    yield _posterior((48, 48), 0.7)
    yield _posterior((256, 256), 1.0)
    yield _samples((48, 48))
    yield _samples((256, 256))
    yield _posterior_samples((48, 48))
    yield _sum((40, 40))
    yield _sum((300, 300))
    yield _sylvester(300, symmetric=True)
    yield _sylvester(300, symmetric=False)


def _covariances(shape: Sequence[int], points: Sequence[int] | None = None) -> list[np.ndarray]:
    """Matern-5/2 covariances of points with the cells of a grid in the unit cube; by default, the points are the cells."""
    axes = [np.linspace(0, 1, n) for n in shape]
    others = axes if points is None else [np.linspace(0.01, 0.97, n) for n in points]
    return [kron.matern52(a, b, scale=SCALE) for a, b in zip(others, axes)]


class _Dense:
    """The Cholesky factor of the observed cells' covariance, as a dense matrix."""

    def __init__(self, factors: Sequence[np.ndarray], noise: float, seen: np.ndarray | None = None) -> None:
        from scipy.linalg import cho_factor

        C: np.ndarray = reduce(np.kron, factors)
        self.seen = np.arange(len(C)) if seen is None else np.flatnonzero(seen)
        C = C if seen is None else C[np.ix_(self.seen, self.seen)]
        C[np.diag_indices_from(C)] += noise
        self.factor = cho_factor(C, lower=True, overwrite_a=True, check_finite=False)[0]

    def posterior(self, cross: Sequence[np.ndarray], y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean, and L⁻¹ K*ᵀ, which gives variances and covariances."""
        from scipy.linalg import solve_triangular

        K = reduce(np.kron, cross)[:, self.seen]
        both = np.column_stack([y[self.seen], K.T])
        half = solve_triangular(self.factor, both, lower=True, overwrite_b=True, check_finite=False)
        return half[:, 1:].T @ half[:, 0], half[:, 1:]


def _posterior(shape: tuple[int, ...], share: float) -> Problem:
    rng, points = np.random.default_rng(0), tuple(n - 7 for n in shape)
    factors, cross, N = _covariances(shape), _covariances(shape, points), math.prod(shape)
    seen = None if share == 1 else rng.random(N) < share
    y = rng.standard_normal(N)

    def dense() -> np.ndarray:
        mean, half = _Dense(factors, NOISE, seen).posterior(cross, y)
        return np.array([mean, 1 - (half * half).sum(axis=0)])

    def by_numpy() -> np.ndarray:
        """README (6), (7)."""
        parts = [np.linalg.eigh(f) for f in factors]
        D = reduce(np.multiply.outer, [l for l, _ in parts]).reshape(-1) + NOISE
        rotated = [c @ q for c, (_, q) in zip(cross, parts)]
        mean = by_matmul(rotated, by_matmul([q.T for _, q in parts], y) / D)
        return np.array([mean, 1 - by_matmul([r * r for r in rotated], 1 / D)])

    peers = {**({"dense Cholesky": dense} if N <= 4096 else {}), **({"NumPy": by_numpy} if seen is None else {})}
    size = f"{'x'.join(map(str, shape))} float64{'' if share == 1 else f' {share:.0%} seen'}"
    ours = partial(kron.gp_posterior, factors, cross, y, NOISE, mask=seen)
    return Problem("kron", "gp_posterior, variances", size, ours, peers, dense if N <= 4096 else by_numpy, 1e-9)


def _moments(samples: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The variance, and the covariance of neighbouring cells along either axis."""
    x = samples.reshape(-1, *shape)
    return np.array([np.mean(x * x), np.mean(x[:, 1:] * x[:, :-1]), np.mean(x[..., 1:] * x[..., :-1])])


def _samples(shape: tuple[int, int]) -> Problem:
    """Compares moments, whose standard error is a few percent."""
    factors, N, rng = _covariances(shape), math.prod(shape), np.random.default_rng(0)
    truth = np.array([1.0, factors[0][0, 1], factors[1][0, 1]])
    peers: dict[str, Run] = {}
    if N <= 4096:
        peers["dense Cholesky"] = lambda: _moments(rng.standard_normal((SAMPLES, N)) @ np.tril(_Dense(factors, 1e-8).factor).T, shape)
    if installed("linear_operator"):
        import torch
        from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator

        def theirs() -> np.ndarray:
            K = KroneckerProductLinearOperator(*[DenseLinearOperator(torch.from_numpy(f)) for f in factors])
            return _moments(K.zero_mean_mvn_samples(SAMPLES).numpy(), shape)

        peers["linear_operator"] = theirs

    def ours() -> np.ndarray:
        return _moments(kron.gp_sample(factors, size=SAMPLES, rng=rng), shape)

    size = f"{'x'.join(map(str, shape))} B{SAMPLES} float64"
    return Problem("kron", "gp_sample", size, ours, peers, lambda: truth, 0.2)


def _posterior_samples(shape: tuple[int, ...]) -> Problem:
    """Compares the mean at every point, whose standard error is an eighth of the posterior's standard deviation."""
    rng, points = np.random.default_rng(0), tuple(n - 7 for n in shape)
    factors, cross, N = _covariances(shape), _covariances(shape, points), math.prod(shape)
    prior: list[np.ndarray] = [kron.matern52(np.linspace(0.01, 0.97, n), scale=SCALE) for n in points]
    y = 3 * by_matmul([np.linalg.cholesky(f + 1e-10 * np.eye(len(f))) for f in factors], rng.standard_normal(N))

    def dense() -> Any:
        mean, half = _Dense(factors, NOISE).posterior(cross, y)
        C: np.ndarray = np.asarray(reduce(np.kron, list(prior))) - half.T @ half
        C[np.diag_indices_from(C)] += 1e-8
        return (mean + rng.standard_normal((SAMPLES, len(mean))) @ np.linalg.cholesky(C).T).mean(axis=0)

    def ours() -> Any:
        return kron.gp_posterior_sample(factors, cross, y, NOISE, prior_factors=prior, size=SAMPLES, rng=rng).mean(axis=0)

    def truth() -> Any:
        return _Dense(factors, NOISE).posterior(cross, y)[0]

    size = f"{'x'.join(map(str, shape))} B{SAMPLES} float64"
    return Problem("kron", "gp_posterior_sample", size, ours, {"dense Cholesky": dense}, truth, 0.1)


def _positive(rng: np.random.Generator, n: int) -> Any:
    a = rng.standard_normal((n, 2 * n)) / (2 * n) ** 0.5
    return a @ a.T


def _sum(shape: tuple[int, int]) -> Problem:
    rng = np.random.default_rng(0)
    K1, K2, S1, S2 = (_positive(rng, n) for n in (*shape, *shape))
    B = rng.standard_normal(shape)

    def by_eigh() -> Any:
        from scipy.linalg import eigh

        (w, V), (u, U) = eigh(K1, S1), eigh(K2, S2)
        return V @ ((V.T @ B @ U) / (np.multiply.outer(w, u) + 1)) @ U.T

    def dense() -> Any:
        from scipy.linalg import solve

        return solve(np.kron(K1, K2) + np.kron(S1, S2), B.reshape(-1), assume_a="pos").reshape(shape)

    solvers: dict[str, Run] = {"quatrefoil": partial(kron.sum_solve, K1, K2, S1, S2, B), "SciPy eigh": by_eigh}
    if B.size <= 4096:
        solvers["dense Cholesky"] = dense
    if installed("linear_operator"):
        import torch
        from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator

        first, second = ([DenseLinearOperator(torch.from_numpy(a)) for a in pair] for pair in ((K1, K2), (S1, S2)))

        def by_linear_operator() -> Any:
            C = KroneckerProductLinearOperator(*first) + KroneckerProductLinearOperator(*second)
            return C.solve(torch.from_numpy(B.reshape(-1, 1))).numpy().reshape(shape)

        solvers["linear_operator"] = by_linear_operator

    def applied(solve: Run) -> Any:
        """The left-hand side at the solution, to compare with B."""
        X = solve()
        return K1 @ X @ K2 + S1 @ X @ S2

    peers = {name: partial(applied, solve) for name, solve in solvers.items()}
    size = f"{'x'.join(map(str, shape))} float64"
    return Problem("kron", "sum_solve", size, peers.pop("quatrefoil"), peers, lambda: B, 1e-9, peer_tolerance=1e-4)


def _sylvester(n: int, symmetric: bool) -> Problem:
    from scipy.linalg import solve_sylvester

    rng = np.random.default_rng(0)
    A, B = (_positive(rng, n) if symmetric else rng.standard_normal((n, n)) / n**0.5 + 2 * np.eye(n) for _ in "AB")
    C = rng.standard_normal((n, n))

    def applied(solve: Any) -> Any:
        """The left-hand side at the solution, to compare with C."""
        X = solve(A, B, C)
        return A @ X + X @ B

    size = f"{n}x{n} {'symmetric' if symmetric else 'general'} float64"
    peers = {"scipy solve_sylvester": partial(applied, solve_sylvester)}
    return Problem("kron", "sylvester_solve", size, partial(applied, kron.sylvester_solve), peers, lambda: C, 1e-9)
