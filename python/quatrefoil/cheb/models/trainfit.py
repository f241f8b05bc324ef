"""Tensor trains from few samples: regularised least squares over trains of fixed ranks. Equation numbers: csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..transform import chebpts, mode_product, vals2coeffs
from . import regression
from .train import TensorTrain, centres, leading, left_orthogonal, right_orthogonal

QUICK = 0.05  # fraction of the full sparse regression that is run to find a start
RANKS = 8  # largest rank that is tried
MORE = 4  # additional degrees per axis for the first fit, and half as many for each later fit
ROUGH = 0.3  # an axis gets more degrees if its last coefficients exceed this fraction of the largest; same for ranks, by singular values
PATIENCE = 2  # the search ends after this many larger ranks without a smaller error
BACK = 2  # a fit with more degrees starts this number of penalties before the best one
PRIORS = (2.0, 1.5)
RIDGES = 10.0 ** -np.arange(3.0, 15.0)  # successive penalties relative to the mean square of the columns
STEPS = 4  # Gauss-Newton steps per penalty
HALVINGS = 6  # maximum number of halvings of a step that does not reduce the objective
SETTLED = 0.98  # ratio of successive objectives above which the next penalty follows
WORSE = 2  # successive penalties without a smaller error after which the search ends
DENSE = 0.9  # ratio of unknowns to samples at which the search also ends
MAX_UNKNOWNS = 1500
BETTER = 0.97  # factor by which a larger rank must reduce the error
PREFERRED = 0.5  # a train is used if its error is below this factor times that of the sparse fit
CERTAIN = 1e-8  # error of a train below which the sparse regression is not continued


class Fit(NamedTuple):
    """A train of coefficients, its leave-one-out error relative to the standard deviation of the samples, and the index of its penalty."""

    cores: list[np.ndarray]
    error: float
    at: int


def best(tables: Sequence[np.ndarray], y: np.ndarray) -> tuple[np.ndarray | None, Any, float]:
    """Return the sparse sum or the train, whichever predicts held-out samples better, and its error relative to std(y): degrees (K, d)
    and coefficients (K,), or None and a train."""
    for share in (QUICK, 1.0):
        degrees, coefficients, error = regression.sparse(tables, y, share)
        if len(tables) < 3 or error <= regression.EQUAL:
            continue
        train, missed = fitted(tables, y, degrees, coefficients)
        if missed < (PREFERRED * error if share == 1 else CERTAIN):
            return None, train, missed
    return degrees, coefficients, error


def fitted(tables: Sequence[np.ndarray], y: np.ndarray, degrees: np.ndarray, coefficients: np.ndarray) -> tuple[TensorTrain, float]:
    """Return the train with the smallest leave-one-out error among growing ranks and degrees (25), and that error relative to std(y).

    tables: values (P, n) of orthonormal polynomials of each input; degrees (K, d) and coefficients (K,): a sparse fit as the start.
    """
    scale, spread = float(np.sqrt(np.mean(y**2))), float(y.std())
    limits = [table.shape[1] for table in tables]
    sizes = [min(int(m) + 1 + MORE, n) for m, n in zip(degrees.max(axis=0), limits)]
    start = _sparse_train(degrees, coefficients / scale, sizes)
    lowest = [1] * (len(tables) - 1)
    chosen = Fit(_cut(start, lowest), math.inf, 0)
    for prior in PRIORS:
        best, ranks, worse = Fit([], math.inf, 0), lowest, 0
        while worse < PATIENCE and max(ranks) <= RANKS:
            result = _weighted(_cut(start, ranks), tables, y / scale, prior, 0)
            best, worse = (result, 0) if result.error < BETTER * best.error else (best, worse + 1)
            smallest = [float(np.linalg.svd(G.reshape(-1, G.shape[2]), compute_uv=False)[-1]) for G in [*centres(result.cores)][:-1]]
            ranks = [rank + (sigma >= ROUGH * max(smallest)) for rank, sigma in zip(ranks, smallest)]
        while best.cores:
            tails = [float(np.linalg.norm(G[:, -2:])) for G in centres(best.cores)]
            rough = [tail >= ROUGH * max(tails) for tail in tails]
            longer = [_padded(G, min(G.shape[1] + (MORE // 2 if more else 0), n)) for G, n, more in zip(best.cores, limits, rough)]
            result = _weighted(longer, tables, y / scale, prior, max(0, best.at - BACK))
            if result.error > BETTER * best.error:
                break
            best = result
        if best.error < chosen.error:
            chosen = best
    return TensorTrain([chosen.cores[0] * scale, *chosen.cores[1:]]), chosen.error * scale / spread


def of_samples(points: Sequence[np.ndarray], y: np.ndarray) -> tuple[TensorTrain, list[np.ndarray], float]:
    """Return ``best`` as a train: core, Chebyshev factors and error relative to std(y), from samples; points: d arrays (P,) on [-1, 1]."""
    n = regression.MAX_DEGREE + 1

    def legendre(t: np.ndarray) -> np.ndarray:
        return np.polynomial.legendre.legvander(t, n - 1) * np.sqrt(2 * np.arange(n) + 1)

    tables = [legendre(t) for t in points]
    degrees, train, error = best(tables, y)
    if degrees is not None:  # with zeros at the end, because error estimates use the decay
        train = TensorTrain(_sparse_train(degrees, train, np.minimum(degrees.max(axis=0) + 1 + MORE, n).tolist()))
    to_chebyshev = vals2coeffs(legendre(chebpts(n)), 0)
    return train, [np.ascontiguousarray(to_chebyshev[:r, :r]) for r in train.shape], error


def _padded(G: np.ndarray, n: int) -> np.ndarray:
    return np.pad(G, ((0, 0), (0, n - G.shape[1]), (0, 0)))


def _weighted(cores: Sequence[np.ndarray], tables: Sequence[np.ndarray], y: np.ndarray, prior: float, at: int) -> Fit:
    """``_along_ridges`` with polynomials scaled by the expected size of their coefficients."""
    weights = [(1.0 + np.arange(G.shape[1])) * prior ** np.arange(G.shape[1]) for G in cores]
    scaled = [G * w[:, None] for G, w in zip(cores, weights)]
    result = _along_ridges(scaled, [table[:, : w.size] / w for table, w in zip(tables, weights)], y, at)
    return result._replace(cores=[G / w[:, None] for G, w in zip(result.cores, weights)])


def _along_ridges(cores: list[np.ndarray], tables: Sequence[np.ndarray], y: np.ndarray, first: int) -> Fit:
    """Return the best of fits with decreasing penalties, each started from the one before; too many unknowns give an infinite error."""
    from scipy.linalg import cho_factor, cho_solve, solve_triangular

    best, since = Fit(cores, math.inf, first), 0
    point = _Point(cores, tables, y)
    if point.J.shape[1] > MAX_UNKNOWNS:
        return best
    unit = float((point.J**2).sum()) / point.J.shape[1]
    for at, ridge in enumerate(RIDGES[first:] * unit, start=first):
        for _ in range(STEPS):
            gradient = point.J.T @ point.residual - ridge * point.own
            step = cho_solve(cho_factor(_damped(point.J, ridge)), gradient)
            after = _searched(point, step, ridge)
            if after is None:
                break
            before, point = point, after
            if point.objective(ridge) > SETTLED * before.objective(ridge):
                break
        rows = solve_triangular(np.linalg.cholesky(_damped(point.J, ridge)), point.J.T, lower=True)
        influence = (rows**2).sum(axis=0)
        error = float(np.sqrt(np.mean((point.residual / np.maximum(1 - influence, 0.01)) ** 2)))
        since += 1
        if error < best.error:
            best, since = Fit(point.cores, error, at), 0
        if since >= WORSE or influence.sum() > DENSE * y.size:
            break
    return best


def _damped(J: np.ndarray, ridge: float) -> np.ndarray:
    H: np.ndarray = J.T @ J
    H[np.diag_indices_from(H)] += max(ridge, 1e-15 * float(np.trace(H)))
    return H


def _searched(point: _Point, step: np.ndarray, ridge: float) -> _Point | None:
    """Return the point after the longest step, halved a few times, that reduces the objective."""
    for halving in range(HALVINGS):
        after = _Point(point.moved(step * 0.5**halving), point.tables, point.y)
        if after.objective(ridge) < point.objective(ridge):
            return after
    return None


class _Point:
    """A train, its residual at the samples, and its tangent space: sums of trains that differ from it in one core (25).

    Cores before and after that core are orthonormal, and its columns are orthogonal to those of the train's own core, so that norms of
    tangents are norms of their coordinates. J (P, K): the tangents at the samples.
    """

    def __init__(self, cores: Sequence[np.ndarray], tables: Sequence[np.ndarray], y: np.ndarray) -> None:
        self.tables, self.y = tables, y
        self.cores, self.right = left_orthogonal(cores), right_orthogonal(cores)
        d, P = len(cores), y.size
        rights = [np.ones((P, 1))] * d
        for k in reversed(range(1, d)):
            rights[k - 1] = np.einsum("par,pr->pa", np.tensordot(tables[k], self.right[k], (1, 1)), rights[k])
        left = np.ones((P, 1))
        self.complements, columns = [], []
        for k, G in enumerate(self.cores):
            R, n, S = G.shape
            rows = (left[:, :, None] * tables[k][:, None, :]).reshape(P, R * n)
            complement = np.linalg.qr(G.reshape(R * n, S), mode="complete")[0][:, S:] if k < d - 1 else np.eye(R * n)
            self.complements.append(complement)
            columns.append(((rows @ complement)[:, :, None] * rights[k][:, None, :]).reshape(P, -1))
            left = rows @ G.reshape(R * n, S)
        self.widths = [part.shape[1] for part in columns]
        self.J = np.concatenate(columns, axis=1)
        self.residual = y - left[:, 0]
        self.own = np.zeros(self.J.shape[1])  # coordinates of the train itself
        self.own[-self.cores[-1].size :] = self.cores[-1].ravel()

    def objective(self, ridge: float) -> float:
        return float(self.residual @ self.residual + ridge * (self.own @ self.own))

    def moved(self, step: np.ndarray) -> list[np.ndarray]:
        """Return the train after a step in its tangent space, truncated to its ranks."""
        parts = np.split(self.own + step, np.cumsum(self.widths)[:-1])
        cores, last = [], len(self.cores) - 1
        for k, (part, complement, U, V) in enumerate(zip(parts, self.complements, self.cores, self.right)):
            S = 1 if k == last else self.right[k + 1].shape[0]
            D = (complement @ part.reshape(-1, S)).reshape(U.shape[0], U.shape[1], S)
            if k == last:
                cores.append(np.concatenate([D, V], axis=0))
            elif k == 0:
                cores.append(np.concatenate([U, D], axis=2))
            else:
                below = np.concatenate([np.zeros((V.shape[0], *U.shape[1:])), V], axis=2)
                cores.append(np.concatenate([np.concatenate([U, D], axis=2), below], axis=0))
        return _cut(cores, [G.shape[2] for G in self.cores[:-1]])


def _cut(cores: Sequence[np.ndarray], ranks: Sequence[int]) -> list[np.ndarray]:
    """Truncate the train to at most these ranks between axes."""
    rest = left_orthogonal(cores)
    for k in reversed(range(1, len(rest))):
        R, n, S = rest[k].shape
        Q, B = leading(rest[k].reshape(R, n * S).T, 0.0)
        rest[k] = Q[:, : ranks[k - 1]].T.reshape(-1, n, S)
        rest[k - 1] = mode_product(rest[k - 1], B[: ranks[k - 1]], 2)
    return rest


def _sparse_train(degrees: np.ndarray, coefficients: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Convert a sum of a few products to a train exactly."""
    left, tails, cores = coefficients[None, :], degrees, []  # (R, K): coefficients of the products of the remaining axes
    for n in sizes[:-1]:
        rest, at = np.unique(tails[:, 1:], axis=0, return_inverse=True)
        unfolding: Any = np.zeros((len(left), n, len(rest)))
        unfolding[:, tails[:, 0], at.ravel()] = left
        Q, left = leading(unfolding.reshape(-1, len(rest)), 1e-14 * float(np.linalg.norm(coefficients)))
        cores.append(Q.reshape(-1, n, Q.shape[1]))
        tails = rest
    last = np.zeros((len(left), sizes[-1], 1))
    last[:, tails[:, 0], 0] = left
    return [*cores, last]
