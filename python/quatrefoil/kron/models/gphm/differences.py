"""The linear part of an equation by finite differences on a grid, to estimate the size of a solution and the error from a residual."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from .projection import given_ends

_KRYLOV, _WITHIN = 60, 1e-3  # vectors of GMRES, and its relative residual, far below the error of finite differences


class _Line:
    """The matrix A of finite differences along one axis, at the points with unknown values; other values are 0."""

    def __init__(self, x: np.ndarray, terms: Sequence[tuple[int, float]]) -> None:
        h, ends = np.diff(x), given_ends(x, terms)
        self.is_symmetric = [order for order, _ in terms] == [2]
        if self.is_symmetric:  # uses the derivative's own eigenvalues, which matter near a resonance
            self.values = -terms[0][1] * (np.arange(1, len(x) - 1) * (np.pi / (x[-1] - x[0]))) ** 2
            terms = [(2, 1.0)]
        self.weights = np.ones(len(x))  # the length per point, up to a factor
        if len(ends) == 2:
            self.points = slice(1, -1)
            before, after, w = h[:-1], h[1:], (h[1:] + h[:-1]) / 2
            self.weights = np.abs(w)
            second = (1 / before / w, 1 / after / w)
            first = (-after / before / w / 2, before / after / w / 2)
            below, above = np.sum([[c * a for a in (second if order == 2 else first)] for order, c in terms], axis=0)
            self.A = np.diag(-(below + above)) + np.diag(below[1:], -1) + np.diag(above[:-1], 1)
        elif ends:  # upwind, from the last point: A is upper triangular
            flow = slice(None, None, -1 if ends == [0] else 1)
            self.points = slice(None, 0, -1) if ends == [0] else slice(None, -1)
            c, h = abs(terms[0][1]), np.abs(h[flow])
            far = h + np.append(h[1:], h[-1])  # distance to the point after the next
            second, third = -c * far / (h * (far - h)), c * h / (far * (far - h))
            second[-1], third[-1] = -c / h[-1], 0.0  # the last point has only one neighbour
            self.A = np.diag(-(second + third)) + np.diag(second[:-1], 1) + np.diag(third[:-2], 2)
        else:
            self.points = slice(None)
            self.A = np.zeros((len(x), len(x)))
        self.weights = self.weights[: len(self.A)]
        self.is_triangular = not np.tril(self.A, -1).any()

    @property
    def matrix(self) -> np.ndarray:
        """A, with the derivative's own eigenvalues if it is symmetric."""
        if not self.is_symmetric:
            return self.A
        T, Q, inverse = self.triangular
        return Q @ T @ inverse

    @functools.cached_property
    def triangular(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """T, Q and Q⁻¹ with A = Q T Q⁻¹, with T upper triangular except for 2 x 2 blocks."""
        from scipy.linalg import eigh_tridiagonal, schur

        if self.is_symmetric:  # after scaling by the weights
            root = np.sqrt(self.weights)
            _, V = eigh_tridiagonal(-self.A.diagonal(), (-self.A.diagonal(1) * root[:-1]) / root[1:])
            return np.diag(self.values), V / root[:, None], V.T * root
        if self.is_triangular:
            return self.A, np.eye(len(self.A)), np.eye(len(self.A))
        T, Q = schur(self.A, check_finite=False)
        return T, Q, Q.T


class Differences:
    """sum_k terms_k u: central differences for second derivatives and accompanying first ones, upwind ones for first derivatives alone."""

    def __init__(self, axes: Sequence[np.ndarray], terms: Sequence[Sequence[tuple[int, float]]]) -> None:
        self.lines = [_Line(x, t) for x, t in zip(axes, terms)]
        self.inner = tuple(line.points for line in self.lines)

    def mean_square(self, f: np.ndarray) -> float:
        """The mean square of the solution."""
        u = self._solved(f[self.inner], 0.0)
        weights = functools.reduce(np.multiply.outer, [line.weights for line in self.lines])
        return float((weights * u**2).sum() / weights.sum())

    def solve(self, f: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """u (N_1, N_2), for the equation with slope * u added to its left-hand side."""
        from scipy.sparse.linalg import LinearOperator, gmres

        u, f, slope = np.zeros(f.shape), f[self.inner], slope[self.inner]
        if len(self.lines) == 1:
            u[self.inner] = np.linalg.solve(self.lines[0].matrix + np.diag(slope), f)
            return u
        middle = float(slope.mean())
        if slope.min() == slope.max():
            u[self.inner] = self._solved(f, middle)
            return u

        def product(y: np.ndarray) -> np.ndarray:
            y = y.reshape(f.shape)
            return (y + (slope - middle) * self._solved(y, middle)).reshape(-1)

        operator = LinearOperator((f.size, f.size), product, dtype=np.float64)
        y, _ = gmres(operator, f.reshape(-1), rtol=_WITHIN, restart=_KRYLOV, maxiter=1)
        u[self.inner] = self._solved(y.reshape(f.shape), middle)
        return u

    def _solved(self, f: np.ndarray, slope: float) -> np.ndarray:
        """The solution at the unknown points."""
        from scipy.linalg.lapack import dtrsyl

        is_symmetric = all(line.is_symmetric for line in self.lines)
        if len(self.lines) == 1 and not (is_symmetric or self.lines[0].is_triangular):  # much faster than a Schur form
            A = self.lines[0].A
            return np.linalg.solve(A + slope * np.eye(len(A)), f)
        T, Q, inverse = self.lines[0].triangular
        F = (inverse @ f).reshape(len(T), -1)
        U, P = np.zeros((1, 1)), np.ones((1, 1))
        if len(self.lines) == 2:
            U, P, other = self.lines[1].triangular
            F = F @ other.T
        if is_symmetric:
            Y = F / (T.diagonal()[:, None] + U.diagonal() + slope)
        else:
            Y, scale, _ = dtrsyl(T + slope * np.eye(len(T)), U, F, tranb="T")
            Y = Y / scale
        return (Q @ Y @ P.T).reshape(f.shape)
