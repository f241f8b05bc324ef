"""Predictions, samples, and systems of two Kronecker terms, against dense Cholesky factors, linear_operator and SciPy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ... import kron
from ...bench._problem import Problem, installed
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
    """Matern-5/2, from points in the unit cube to its grid; without points of the grid itself."""
    axes = [np.linspace(0, 1, n) for n in shape]
    others = axes if points is None else [np.linspace(0.01, 0.97, n) for n in points]
    return [kron.matern52(a, b, scale=SCALE) for a, b in zip(others, axes)]


class _Dense:
    """The observed cells' covariance as a matrix, factorised, as one does without the grid."""

    def __init__(self, factors: Sequence[np.ndarray], noise: float, seen: np.ndarray | None = None) -> None:
        from scipy.linalg import cho_factor

        C: np.ndarray = functools.reduce(np.kron, factors)
        self.seen = np.arange(len(C)) if seen is None else np.flatnonzero(seen)
        C = C if seen is None else C[np.ix_(self.seen, self.seen)]
        C[np.diag_indices_from(C)] += noise
        self.factor = cho_factor(C, lower=True, overwrite_a=True, check_finite=False)[0]

    def posterior(self, cross: Sequence[np.ndarray], y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean, and L⁻¹ K*ᵀ, of which variances and covariances are made."""
        from scipy.linalg import solve_triangular

        K = functools.reduce(np.kron, cross)[:, self.seen]
        both = np.column_stack([y[self.seen], K.T])
        half = solve_triangular(self.factor, both, lower=True, overwrite_b=True, check_finite=False)
        return half[:, 1:].T @ half[:, 0], half[:, 1:]


def _posterior(shape: tuple[int, ...], share: float) -> Problem:
    rng, points = np.random.default_rng(0), tuple(n - 7 for n in shape)
    factors, cross, N = _covariances(shape), _covariances(shape, points), math.prod(shape)
    seen = None if share == 1 else rng.random(N) < share
    y = rng.standard_normal(N)

    def ours() -> np.ndarray:
        return np.array(kron.gp_posterior(factors, cross, y, NOISE, mask=seen))

    def dense() -> np.ndarray:
        mean, half = _Dense(factors, NOISE, seen).posterior(cross, y)
        return np.array([mean, 1 - (half * half).sum(axis=0)])

    peers = {"dense Cholesky": dense} if N <= 4096 else {}
    if seen is None:
        peers["NumPy"] = lambda: _posterior_by_numpy(factors, cross, y)
    truth = dense if N <= 4096 else lambda: _posterior_by_numpy(factors, cross, y)
    size = f"{'x'.join(map(str, shape))} float64{'' if share == 1 else f' {share:.0%} seen'}"
    return Problem("kron", "gp_posterior, variances", size, ours, peers, truth, 1e-9)


def _posterior_by_numpy(factors: Sequence[np.ndarray], cross: Sequence[np.ndarray], y: np.ndarray) -> np.ndarray:
    """README (6), (7)."""
    parts = [np.linalg.eigh(f) for f in factors]
    D = functools.reduce(np.multiply.outer, [l for l, _ in parts]).reshape(-1) + NOISE
    rotated = [c @ q for c, (_, q) in zip(cross, parts)]
    mean = by_matmul(rotated, by_matmul([q.T for _, q in parts], y) / D)
    return np.array([mean, 1 - by_matmul([r * r for r in rotated], 1 / D)])


def _moments(samples: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Variance and the covariance of next cells along either axis."""
    x = samples.reshape(-1, *shape)
    return np.array([np.mean(x * x), np.mean(x[:, 1:] * x[:, :-1]), np.mean(x[..., 1:] * x[..., :-1])])


def _samples(shape: tuple[int, int]) -> Problem:
    """Compared by their moments, whose standard error is a few percent."""
    factors, N, rng = _covariances(shape), math.prod(shape), np.random.default_rng(0)
    truth = np.array([1.0, factors[0][0, 1], factors[1][0, 1]])
    peers: dict[str, Callable[[], Any]] = {}
    if N <= 4096:
        peers["dense Cholesky"] = lambda: _moments(rng.standard_normal((SAMPLES, N)) @ np.tril(_Dense(factors, 1e-8).factor).T, shape)
    if installed("linear_operator"):
        import torch
        from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator

        def theirs() -> np.ndarray:
            K = KroneckerProductLinearOperator(*[DenseLinearOperator(torch.from_numpy(f)) for f in factors])
            return _moments(K.zero_mean_mvn_samples(SAMPLES).numpy(), shape)

        peers["linear_operator"] = theirs
    size = f"{'x'.join(map(str, shape))} B{SAMPLES} float64"
    ours = lambda: _moments(kron.gp_sample(factors, size=SAMPLES, rng=rng), shape)  # noqa: E731
    return Problem("kron", "gp_sample", size, ours, peers, lambda: truth, 0.2)


def _posterior_samples(shape: tuple[int, ...]) -> Problem:
    """Compared by their mean at every point, whose standard error is an eighth of the posterior's deviation."""
    rng, points = np.random.default_rng(0), tuple(n - 7 for n in shape)
    factors, cross, N = _covariances(shape), _covariances(shape, points), math.prod(shape)
    prior: list[np.ndarray] = [kron.matern52(np.linspace(0.01, 0.97, n), scale=SCALE) for n in points]
    y = 3 * by_matmul([np.linalg.cholesky(f + 1e-10 * np.eye(len(f))) for f in factors], rng.standard_normal(N))

    def dense() -> np.ndarray:
        mean, half = _Dense(factors, NOISE).posterior(cross, y)
        C: np.ndarray = np.asarray(functools.reduce(np.kron, list(prior))) - half.T @ half
        C[np.diag_indices_from(C)] += 1e-8
        samples = mean + rng.standard_normal((SAMPLES, len(mean))) @ np.linalg.cholesky(C).T
        average: np.ndarray = samples.mean(axis=0)
        return average

    def ours() -> np.ndarray:
        found = kron.gp_posterior_sample(factors, cross, y, NOISE, prior_factors=prior, size=SAMPLES, rng=rng)
        average: np.ndarray = found.mean(axis=0)
        return average

    size = f"{'x'.join(map(str, shape))} B{SAMPLES} float64"
    truth = lambda: _Dense(factors, NOISE).posterior(cross, y)[0]  # noqa: E731
    return Problem("kron", "gp_posterior_sample", size, ours, {"dense Cholesky": dense}, truth, 0.1)


def _positive(rng: np.random.Generator, n: int) -> np.ndarray:
    a = rng.standard_normal((n, 2 * n)) / (2 * n) ** 0.5
    found: np.ndarray = a @ a.T
    return found


def _sum(shape: tuple[int, int]) -> Problem:
    rng = np.random.default_rng(0)
    K1, K2, S1, S2 = (_positive(rng, n) for n in (*shape, *shape))
    B = rng.standard_normal(shape)

    def dense() -> np.ndarray:
        from scipy.linalg import solve

        found: np.ndarray = solve(np.kron(K1, K2) + np.kron(S1, S2), B.reshape(-1), assume_a="pos").reshape(shape)
        return found

    def applied(X: np.ndarray) -> np.ndarray:
        """The left-hand side, to be compared with B."""
        left: np.ndarray = K1 @ X @ K2 + S1 @ X @ S2
        return left

    peers: dict[str, Callable[[], Any]] = {"SciPy eigh": lambda: applied(_sum_by_scipy(K1, K2, S1, S2, B))}
    if B.size <= 4096:
        peers["dense Cholesky"] = lambda: applied(dense())
    if installed("linear_operator"):
        import torch
        from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator

        first, second = ([DenseLinearOperator(torch.from_numpy(a)) for a in pair] for pair in ((K1, K2), (S1, S2)))

        def theirs() -> np.ndarray:
            C = KroneckerProductLinearOperator(*first) + KroneckerProductLinearOperator(*second)
            return applied(C.solve(torch.from_numpy(B.reshape(-1, 1))).numpy().reshape(shape))

        peers["linear_operator"] = theirs
    size = f"{'x'.join(map(str, shape))} float64"
    return Problem(
        "kron", "sum_solve", size, lambda: applied(kron.sum_solve(K1, K2, S1, S2, B)), peers, lambda: B, 1e-9, peer_tolerance=1e-4
    )


def _sum_by_scipy(K1: np.ndarray, K2: np.ndarray, S1: np.ndarray, S2: np.ndarray, B: np.ndarray) -> np.ndarray:
    from scipy.linalg import eigh

    (w, V), (u, U) = eigh(K1, S1), eigh(K2, S2)
    found: np.ndarray = V @ ((V.T @ B @ U) / (np.multiply.outer(w, u) + 1)) @ U.T
    return found


def _sylvester(n: int, symmetric: bool) -> Problem:
    from scipy.linalg import solve_sylvester

    rng = np.random.default_rng(0)
    A, B = (_positive(rng, n) if symmetric else rng.standard_normal((n, n)) / n**0.5 + 2 * np.eye(n) for _ in "AB")
    C = rng.standard_normal((n, n))

    def applied(X: np.ndarray) -> np.ndarray:
        left: np.ndarray = A @ X + X @ B
        return left

    peers = {"scipy solve_sylvester": lambda: applied(solve_sylvester(A, B, C))}
    size = f"{n}x{n} {'symmetric' if symmetric else 'general'} float64"
    return Problem("kron", "sylvester_solve", size, lambda: applied(kron.sylvester_solve(A, B, C)), peers, lambda: C, 1e-9)
