"""The solution that the equation and the edges leave in the space of the covariances, and its prior: README (13)-(17).

U is C in coordinates, U = V_1 C V_2ᵀ. One dimension is two, the second axis with one point. Equation numbers are those of
csrc/kron/gphm/README.md.

Arrays are where the equation's are. On a device the host is waited for where it decides, and where it computes: Sylvester's equation of two
axes, whose triangular forms no array library has there, and what GMRES does besides its products.
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
_NEWTON, _HALVINGS = 20, 6  # steps at most, and lengths of one that are tried
_SOLVED = 1e-10  # the residual of the equation, relative to its right-hand side
_KRYLOV, _WITHIN = 60, 1e-8  # vectors of GMRES, and what it leaves of the residual


class Space(NamedTuple):
    """The r of an axis's N eigenvectors whose eigenvalues are clear of the jitter."""

    values: Array  # (r,), ascending
    vectors: Array  # (N, r)
    edges: list[int]  # indices of those points whose values are given
    inner: Array  # (r, m) orthonormal: coordinates of functions that are 0 at the ends
    lift: Array  # (r, edges): coordinates of what is 1 at one of them, of least prior
    slope: Array  # (r, r): of D K⁻¹

    @classmethod
    def of(cls, axis: Axis, edges: list[int], coefficient_of_u: float = 0.0) -> Space:
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
    """Those rows, or entries, first or last ones."""
    return namespace(a).stack([a[i, ...] for i in indices]) if indices else a[:0, ...]


class Sylvester:
    """S_1 Y + Y S_2ᵀ = F, by Schur's forms of both; where S_2 is a number, by LU.

    ``takes_host``: whether F and Y are on the host even if S is not, because the Schur forms are.
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

    def solve(self, F: Array) -> Array:
        return self._solve(F, False)

    def adjoint(self, F: Array) -> Array:
        """S_1ᵀ Y + Y S_2 = F."""
        return self._solve(F, True)

    def _solve(self, F: Array, transposed: bool) -> Array:
        from scipy.linalg import lu_solve
        from scipy.linalg.lapack import dtrsyl

        if not self.takes_host:
            return namespace(F).linalg.solve(self.S1.T if transposed else self.S1, F)
        if self.plain:
            return lu_solve(self.factors, F, trans=int(transposed), check_finite=False)
        Y, scale, _ = dtrsyl(self.T1, self.T2, self.Q1.T @ F @ self.Q2, **{"trana" if transposed else "tranb": "T"})
        return self.Q1 @ (Y / scale) @ self.Q2.T


class Projected:
    """A loss's axes at given hyperparameters, and the solutions for them."""

    def __init__(self, loss: Loss, params: Mapping[str, Array]) -> None:
        self.loss, pde = loss, loss.pde
        loss.set_axes(params, Spectrum)
        first, *others = loss.axes
        self.first = Space.of(first, given_ends(first.x, pde.terms(0)), pde.coefficient_of_u)
        self.second = Space.of(others[0], given_ends(others[0].x, pde.terms(1))) if others else Space.point(pde.source)
        self.xp, self.inverse = loss.xp, Sylvester(*(s.inner.T @ s.slope @ s.inner for s in (self.first, self.second)))
        self.hyper = [axis.hyper for axis in loss.axes]

    @classmethod
    def at(cls, loss: Loss, params: Mapping[str, Array]) -> Projected:
        """The last one, if the axes are still where it left them."""
        last: Projected | None = loss.memo
        if last is None or any(a.hyper is not h for a, h in zip(loss.axes, last.hyper)) or not loss.is_at(params):
            return cls.new(loss, params)
        return last

    @classmethod
    def new(cls, loss: Loss, params: Mapping[str, Array]) -> Projected:
        """A new one, without comparing parameters with those of the last."""
        made = loss.memo = cls(loss, params)
        return made

    # ---- coordinates

    def down(self, F: Array) -> Array:
        """The coefficients of a function on the grid, (m_1, m_2)."""
        return self.first.inner.T @ self._coordinates(F) @ self.second.inner

    def _coordinates(self, F: Array) -> Array:
        return self.first.vectors.T @ self._matrix(F) @ self.second.vectors

    def _matrix(self, F: Array) -> Array:
        """A grid with two axes."""
        return self.xp.reshape(F, (self.first.vectors.shape[0], -1))

    def _grid(self, C: Array) -> Array:
        return self.xp.reshape(self.first.vectors @ C @ self.second.vectors.T, tuple(self.loss.pde.source.shape))

    def up(self, Y: Array) -> Array:
        """The adjoint of ``down``."""
        return self._grid(self.first.inner @ Y @ self.second.inner.T)

    # ---- the solution

    def _on_edges(self) -> Array:
        """Coordinates of a function that has the given values (14)."""
        one, two, held = self.first, self.second, self.loss.held
        g = self.loss.pde.boundary - (0 if held is None else held.u)
        g = self._matrix(g)
        columns = one.vectors.T @ rows_at(g.T, two.edges).T
        corners = rows_at(one.vectors, one.edges) @ columns
        return one.lift @ (rows_at(g, one.edges) @ two.vectors - corners @ two.lift.T) + columns @ two.lift.T

    def _solved(self, F: Array, transposed: bool = False) -> Array:
        """Solves Sylvester's equation, or its transpose, on the device of F."""
        solve = self.inverse.adjoint if transposed else self.inverse.solve
        return _arrays.to_device_of(solve(_arrays.to_host(F)), F) if self.inverse.takes_host else solve(F)

    def solution(self, start: Array) -> Array:
        """U (13)-(15); for a reaction by Newton's steps from ``start``."""
        loss, one, two = self.loss, self.first, self.second
        C = self._on_edges()
        f = loss.pde.source if loss.held is None else loss.pde.source - loss.held.terms
        rhs = self.down(f) - one.inner.T @ (one.slope @ C + C @ two.slope.T) @ two.inner
        if loss.pde.reaction(start) is None:
            return self._grid(C + one.inner @ self._solved(rhs) @ two.inner.T)
        S1, S2 = (s.inner.T @ s.slope @ s.inner for s in (one, two))

        def at(Y: Array) -> tuple[float, Array, Array, Array]:
            """(norm of the residual, the residual, the reaction's derivative, U)."""
            u = self._grid(C + one.inner @ Y @ two.inner.T)
            reaction, slope = self._reaction(u)
            residual = rhs - S1 @ Y - Y @ S2.T - self.down(reaction)
            return norm(residual), residual, slope, u

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
            else:  # no way down, or the residual's roundings
                break
            Y, now = Y + step, then
        return now[3]

    def _reaction(self, u: Array) -> tuple[Array, Array]:
        found = self.loss.pde.reaction(u if self.loss.held is None else u + self.loss.held.u)
        assert found is not None
        return found

    def _through(self, transposed: bool, slope: Array, F: Array) -> Array:
        """Solves with the derivative of a reaction on top, by GMRES with Sylvester's equation, or its transpose, on the right."""
        from scipy.sparse.linalg import LinearOperator, gmres

        inverse, shape = self.inverse.adjoint if transposed else self.inverse.solve, tuple(F.shape)

        def solved(y: np.ndarray) -> Array:
            Y = y.reshape(shape)
            return _arrays.to_device_of(inverse(Y), F) if self.inverse.takes_host else inverse(_arrays.to_device_of(Y, F))

        def product(y: np.ndarray) -> np.ndarray:
            found: np.ndarray = y + _arrays.to_host(self.down(slope * self.up(solved(y)))).reshape(-1)
            return found

        rhs = _arrays.to_host(F).reshape(-1)
        y, _ = gmres(LinearOperator((rhs.size, rhs.size), product, dtype=np.float64), rhs, rtol=_WITHIN, restart=_KRYLOV, maxiter=1)
        return solved(y)

    # ---- the prior of the solution, by the hyperparameters

    def evaluate(self, u: Array) -> tuple[float, Params, float]:
        """-log prior of the solution u, its gradient by the hyperparameters (16), (17), by the other parameters 0; and the root mean square
        of what (4) leaves at all points of the grid."""
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
    """The ends of an axis with boundary values: both, or only the inflow end of a first derivative."""
    order, c = terms[-1]
    if order == 2:
        return [0, -1]
    return [] if c == 0 else [0] if (c > 0) == (x[-1] > x[0]) else [-1]
