"""The solution that the equation and its boundary values determine in the space of the covariances, and its prior: README (13)-(17).

U has coordinates C, U = V_1 C V_2ᵀ. In one dimension the second axis has one point. Equation numbers refer to
csrc/kron/gphm/README.md.

Arrays are on the device of the equation. The host makes decisions, and runs GMRES except for its products. It also solves Sylvester's
equation for two axes, because array libraries lack Schur forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arrays
from ...._array_tools import zeros
from ...product.dense import namespace
from .axis import Axis
from .inverse import Spectrum
from .loss import Loss, Params, checked

Array = Any
_NEWTON, _HALVINGS = 20, 6  # largest number of steps, and of lengths tried per step
_SOLVED = 1e-10  # the residual of the equation, relative to its right-hand side
_KRYLOV, _WITHIN = 60, 1e-8  # vectors of GMRES, and its relative residual


class Space(NamedTuple):
    """The eigenvectors of an axis whose eigenvalues are well above the jitter: r of N."""

    values: Array  # (r,), ascending
    vectors: Array  # (N, r)
    edges: list[int]  # indices of the points with boundary values
    inner: Array  # (r, m) orthonormal: coordinates of functions that are 0 at the ends
    lift: Array  # (r, edges): coordinates of the functions with the smallest prior term that are 1 at one edge and 0 at the other
    slope: Array  # (r, r): D K⁻¹ in these coordinates

    @classmethod
    def from_axis(cls, axis: Axis, edges: list[int], coefficient_of_u: float = 0.0) -> Space:
        spectrum = axis.inverse
        assert isinstance(spectrum, Spectrum)
        w, V = spectrum.values, spectrum.vectors
        xp = namespace(V)
        slope = V.T @ (axis.apply(_arrays.contiguous(V.T)).T / w)
        if coefficient_of_u:
            slope = slope + coefficient_of_u * xp.eye(V.shape[1], dtype=V.dtype, device=V.device)
        if not edges:
            return cls(w, V, edges, xp.eye(V.shape[1], dtype=V.dtype, device=V.device), zeros(xp, (V.shape[1], 0), V), slope)
        at = rows_at(V, edges)
        lift = (w[:, None] * at.T) @ xp.linalg.pinv((at * w) @ at.T)
        return cls(w, V, edges, xp.linalg.qr(at.T, mode="complete")[0][:, len(edges) :], lift, slope)

    @classmethod
    def point(cls, like: Array) -> Space:
        """An axis of one point."""
        nothing = zeros(namespace(like), (1, 1), like)
        return cls(nothing[0, :] + 1, nothing + 1, [], nothing + 1, nothing[:, :0], nothing)


def rows_at(a: Array, indices: Sequence[int]) -> Array:
    """The rows or entries at these indices, 0 or -1."""
    return namespace(a).stack([a[i, ...] for i in indices]) if indices else a[:0, ...]


class Sylvester:
    """S_1 Y + Y S_2ᵀ = F, from Schur forms of both matrices, or from LU factors if S_2 is a number.

    ``takes_host``: whether F and Y must be on the host, where the Schur forms are.
    """

    def __init__(self, S1: Array, S2: Array) -> None:
        from scipy.linalg import lu_factor, schur

        self.plain = tuple(S2.shape) == (1, 1)
        self.takes_host = not self.plain or isinstance(S1, np.ndarray)
        if self.plain:
            xp = namespace(S1)
            S1 = S1 + S2 * xp.eye(S1.shape[0], dtype=S1.dtype, device=S1.device)
        if not self.takes_host:
            self.S1 = S1
        elif self.plain:
            self.factors = lu_factor(S1, check_finite=False)
        else:
            (self.T1, self.Q1), (self.T2, self.Q2) = (schur(_arrays.to_host(S), check_finite=False) for S in (S1, S2))

    def solve(self, F: Array, transposed: bool) -> Array:
        """Y, or with ``transposed`` the solution of S_1ᵀ Y + Y S_2 = F."""
        from scipy.linalg import lu_solve
        from scipy.linalg.lapack import dtrsyl

        if not self.takes_host:
            return namespace(F).linalg.solve(self.S1.T if transposed else self.S1, F)
        if self.plain:
            return lu_solve(self.factors, F, trans=int(transposed), check_finite=False)
        Y, scale, _ = dtrsyl(self.T1, self.T2, self.Q1.T @ F @ self.Q2, **{"trana" if transposed else "tranb": "T"})
        return self.Q1 @ (Y / scale) @ self.Q2.T


class Projected:
    """A loss's axes at one set of hyperparameters, and the solutions for them."""

    def __init__(self, loss: Loss, params: Mapping[str, Array]) -> None:
        self.loss, pde = loss, loss.pde
        loss.set_axes(params, Spectrum)
        first, *others = loss.axes
        self.first = Space.from_axis(first, given_ends(first.x, pde.terms(0)), pde.coefficient_of_u)
        self.second = Space.from_axis(others[0], given_ends(others[0].x, pde.terms(1))) if others else Space.point(pde.source)
        self.xp, self.inverse = loss.xp, Sylvester(*(s.inner.T @ s.slope @ s.inner for s in (self.first, self.second)))
        self.hyper = [axis.hyper for axis in loss.axes]

    @property
    def is_present(self) -> bool:
        """Whether the axes still have these hyperparameters."""
        return all(axis.hyper is hyper for axis, hyper in zip(self.loss.axes, self.hyper))

    # ---- coordinates

    def down(self, F: Array) -> Array:
        """The coefficients of a function on the grid, (m_1, m_2)."""
        return self.first.inner.T @ self._coordinates(F) @ self.second.inner

    def _coordinates(self, F: Array) -> Array:
        return self.first.vectors.T @ self._matrix(F) @ self.second.vectors

    def _matrix(self, F: Array) -> Array:
        """A function on the grid as a matrix."""
        return self.xp.reshape(F, (self.first.vectors.shape[0], -1))

    def _grid(self, C: Array) -> Array:
        return self.xp.reshape(self.first.vectors @ C @ self.second.vectors.T, tuple(self.loss.pde.source.shape))

    def up(self, Y: Array) -> Array:
        """The adjoint of ``down``."""
        return self._grid(self.first.inner @ Y @ self.second.inner.T)

    # ---- the solution

    def _on_edges(self) -> Array:
        """Coordinates of a function with the boundary values (14)."""
        one, two, base = self.first, self.second, self.loss.base
        g = self.loss.pde.boundary - (0 if base is None else base.u)
        g = self._matrix(g)
        columns = one.vectors.T @ rows_at(g.T, two.edges).T
        corners = rows_at(one.vectors, one.edges) @ columns
        return one.lift @ (rows_at(g, one.edges) @ two.vectors - corners @ two.lift.T) + columns @ two.lift.T

    def _solved(self, F: Array, transposed: bool = False) -> Array:
        """Solves Sylvester's equation, or its transpose, on the device of F."""
        solve = self.inverse.solve
        return _arrays.to_device_of(solve(_arrays.to_host(F), transposed), F) if self.inverse.takes_host else solve(F, transposed)

    def solution(self, start: Array) -> Array:
        """U (13)-(15); with a reaction by Newton's method from ``start``."""
        loss, one, two = self.loss, self.first, self.second
        C = self._on_edges()
        f = loss.pde.source if loss.base is None else loss.pde.source - loss.base.terms
        rhs = self.down(f) - one.inner.T @ (one.slope @ C + C @ two.slope.T) @ two.inner
        if loss.pde.reaction(start) is None:
            return self._grid(C + one.inner @ self._solved(rhs) @ two.inner.T)
        S1, S2 = (s.inner.T @ s.slope @ s.inner for s in (one, two))

        def at(Y: Array) -> tuple[float, Array, Array, Array]:
            """(norm of the residual, the residual, the reaction's derivative, U)."""
            u = self._grid(C + one.inner @ Y @ two.inner.T)
            reaction = loss.pde.reaction(u if loss.base is None else u + loss.base.u)
            assert reaction is not None
            residual = rhs - S1 @ Y - Y @ S2.T - self.down(reaction[0])
            return norm(residual), residual, reaction[1], u

        Y = one.inner.T @ (self._coordinates(start) - C) @ two.inner
        now, small = at(Y), _SOLVED * norm(rhs)
        for _ in range(_NEWTON):
            if not now[0] > small:
                break
            step = self._through(False, now[2], now[1])
            for _ in range(_HALVINGS):
                if (then := at(Y + step))[0] < now[0]:
                    break
                step = 0.5 * step
            else:  # no decrease, or only rounding is left
                break
            Y, now = Y + step, then
        return now[3]

    def _through(self, transposed: bool, slope: Array, F: Array) -> Array:
        """Solves the linearised equation, or its transpose, by GMRES with Sylvester's equation as right preconditioner.

        ``slope`` is the derivative of the reaction.
        """
        from scipy.sparse.linalg import LinearOperator, gmres

        solve, shape = self.inverse.solve, tuple(F.shape)

        def solved(y: np.ndarray) -> Array:
            Y = y.reshape(shape)
            if self.inverse.takes_host:
                return _arrays.to_device_of(solve(Y, transposed), F)
            return solve(_arrays.to_device_of(Y, F), transposed)

        def product(y: np.ndarray) -> np.ndarray:
            return y + _arrays.to_host(self.down(slope * self.up(solved(y)))).reshape(-1)

        rhs = _arrays.to_host(F).reshape(-1)
        y, _ = gmres(LinearOperator((rhs.size, rhs.size), product, dtype=np.float64), rhs, rtol=_WITHIN, restart=_KRYLOV, maxiter=1)
        return solved(y)

    # ---- the prior of the solution, as a function of the hyperparameters

    def evaluate(self, u: Array) -> tuple[float, Params, float]:
        """The negative log-prior of the solution u; its gradient with respect to the hyperparameters (16), (17), 0 for other parameters;
        and the root mean square of the residual (4) on the grid."""
        loss, one, two = self.loss, self.first, self.second
        C = self._coordinates(u)
        A = [(one.vectors @ (C / one.values[:, None]) @ two.vectors.T).T]
        if u.ndim == 2:
            A.append(one.vectors @ (C / two.values) @ two.vectors.T)
        e, reaction_slope = loss.residual(u, A)
        rhs = -(one.inner.T @ (C / one.values[:, None] / two.values) @ two.inner)
        if reaction_slope is None:
            multiplier = self._solved(rhs, True)
        else:
            multiplier = self._through(True, reaction_slope, rhs)
        nothing = {name: zeros(self.xp, shape, u) for name, shape in (("U", u.shape), ("log_tau", ()), ("log_v", ()))}
        gradients = nothing | loss.pull(u, A, self.up(multiplier))[1]
        value, gradients, (square,) = checked(loss.prior(u, A), gradients, self.xp.mean(e * e))
        return value, gradients, math.sqrt(square)


def norm(F: Array) -> float:
    return math.sqrt(float(_arrays.to_host(namespace(F).sum(F * F)[None])[0]))


def given_ends(x: np.ndarray, terms: Sequence[tuple[int, float]]) -> list[int]:
    """The ends of an axis with boundary values: both, or for a first derivative only the inflow end."""
    order, c = terms[-1]
    if order == 2:
        return [0, -1]
    return [] if c == 0 else [0] if (c > 0) == (x[-1] > x[0]) else [-1]
