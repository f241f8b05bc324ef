"""The solution that the equation and the edges leave in the space of the covariances, and its prior: README (13)-(17).

U is C in coordinates, U = V_1 C V_2ᵀ. One dimension is two, the second axis with one point. Equation numbers are those of
csrc/kron/gphm/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .axis import Axis
from .inverse import Spectrum
from .loss import Loss, Params, checked

_NEWTON, _HALVINGS = 20, 6  # steps at most, and lengths of one that are tried
_SOLVED = 1e-10  # the residual of the equation, relative to its right-hand side
_KRYLOV, _WITHIN = 60, 1e-8  # vectors of GMRES, and what it leaves of the residual


class Space(NamedTuple):
    """What the covariance of an axis has clear of its jitter, r of its N eigenvectors."""

    values: np.ndarray  # (r,), ascending
    vectors: np.ndarray  # (N, r)
    edges: list[int]  # indices of those points whose values are given
    inner: np.ndarray  # (r, m) orthonormal: coordinates of what is 0 there
    lift: np.ndarray  # (r, edges): coordinates of what is 1 at one of them, of least prior
    slope: np.ndarray  # (r, r): of c D K⁻¹

    @classmethod
    def of(cls, axis: Axis, c: float, edges: list[int]) -> Space:
        from scipy.linalg import qr

        spectrum = axis.inverse
        assert isinstance(spectrum, Spectrum)
        w, V = spectrum.values, spectrum.vectors
        slope = c * (V.T @ (axis.apply(np.ascontiguousarray(V.T)).T / w))
        at = V[edges]
        lift = w[:, None] * at.T @ np.linalg.pinv(at * w @ at.T)
        return cls(w, V, edges, qr(at.T)[0][:, len(edges) :], lift, slope)

    @classmethod
    def point(cls) -> Space:
        """An axis of one point."""
        one = np.ones((1, 1))
        return cls(one[0], one, [], one, np.empty((1, 0)), np.zeros((1, 1)))


class Sylvester:
    """S_1 Y + Y S_2ᵀ = F, by Schur's forms of both; where S_2 is 0, by LU."""

    def __init__(self, S1: np.ndarray, S2: np.ndarray) -> None:
        from scipy.linalg import lu_factor, schur

        self.plain = S2.size == 1
        if self.plain:
            self.factors = lu_factor(S1, check_finite=False)
        else:
            (self.T1, self.Q1), (self.T2, self.Q2) = (schur(S, check_finite=False) for S in (S1, S2))

    def solve(self, F: np.ndarray) -> np.ndarray:
        return self._solve(F, False)

    def adjoint(self, F: np.ndarray) -> np.ndarray:
        """S_1ᵀ Y + Y S_2 = F."""
        return self._solve(F, True)

    def _solve(self, F: np.ndarray, transposed: bool) -> np.ndarray:
        from scipy.linalg import lu_solve
        from scipy.linalg.lapack import dtrsyl

        if self.plain:
            found: np.ndarray = lu_solve(self.factors, F, trans=int(transposed), check_finite=False)
            return found
        Y, scale, _ = dtrsyl(self.T1, self.T2, self.Q1.T @ F @ self.Q2, **{"trana" if transposed else "tranb": "T"})
        found = self.Q1 @ (Y / scale) @ self.Q2.T
        return found


class Projected:
    """A loss's axes at given hyperparameters, and the solutions there."""

    def __init__(self, loss: Loss, params: Mapping[str, np.ndarray]) -> None:
        self.loss, pde = loss, loss.pde
        loss.set_axes(params, Spectrum)
        spaces = [Space.of(a, c, _given(a, c, pde.order)) for a, c in zip(loss.axes, pde.coefficients)]
        self.first, self.second = spaces if len(spaces) == 2 else (spaces[0], Space.point())
        self.inverse = Sylvester(*(s.inner.T @ s.slope @ s.inner for s in (self.first, self.second)))
        self.hyper = [axis.hyper for axis in loss.axes]

    @classmethod
    def at(cls, loss: Loss, params: Mapping[str, np.ndarray]) -> Projected:
        """The last one, if the axes are still where it left them."""
        last: Projected | None = loss.memo
        if last is None or any(a.hyper is not h for a, h in zip(loss.axes, last.hyper)) or not loss.is_at(params):
            last = loss.memo = cls(loss, params)
        return last

    # ---- coordinates

    def down(self, F: np.ndarray) -> np.ndarray:
        """What the space tests of a grid's function, (m_1, m_2)."""
        found: np.ndarray = self.first.inner.T @ self._coordinates(F) @ self.second.inner
        return found

    def _coordinates(self, F: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.first.vectors.T @ F.reshape(len(self.first.vectors), -1) @ self.second.vectors
        return found

    def _grid(self, C: np.ndarray) -> np.ndarray:
        found: np.ndarray = (self.first.vectors @ C @ self.second.vectors.T).reshape(self.loss.pde.source.shape)
        return found

    def up(self, Y: np.ndarray) -> np.ndarray:
        """The adjoint of ``down``."""
        return self._grid(self.first.inner @ Y @ self.second.inner.T)

    # ---- the solution

    def _on_edges(self) -> np.ndarray:
        """Coordinates of a function that has the given values (14)."""
        one, two, held = self.first, self.second, self.loss.held
        g = self.loss.pde.boundary - (0 if held is None else held.u)
        g = g.reshape(len(one.vectors), -1)
        columns = one.vectors.T @ g[:, two.edges]
        corners = one.vectors[one.edges] @ columns
        found: np.ndarray = one.lift @ (g[one.edges] @ two.vectors - corners @ two.lift.T) + columns @ two.lift.T
        return found

    def solution(self, start: np.ndarray) -> np.ndarray:
        """U (13)-(15); for a reaction by Newton's steps from ``start``."""
        loss, one, two = self.loss, self.first, self.second
        C = self._on_edges()
        f = loss.pde.source if loss.held is None else loss.pde.source - loss.held.terms
        rhs = self.down(f) - one.inner.T @ (one.slope @ C + C @ two.slope.T) @ two.inner
        if loss.pde.reaction(start) is None:
            return self._grid(C + one.inner @ self.inverse.solve(rhs) @ two.inner.T)
        S1, S2 = (s.inner.T @ s.slope @ s.inner for s in (one, two))

        def at(Y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
            """(norm of the residual, the residual, the reaction's derivative, U)."""
            u = self._grid(C + one.inner @ Y @ two.inner.T)
            reaction, slope = self._reaction(u)
            residual = rhs - S1 @ Y - Y @ S2.T - self.down(reaction)
            return float(np.linalg.norm(residual)), residual, slope, u

        Y = one.inner.T @ (self._coordinates(start) - C) @ two.inner
        now = at(Y)
        for _ in range(_NEWTON):
            if not now[0] > _SOLVED * np.linalg.norm(rhs):
                break
            step = self._through(self.inverse.solve, now[2], now[1])
            for _ in range(_HALVINGS):
                if (then := at(Y + step))[0] < now[0]:
                    break
                step = 0.5 * step
            else:  # no way down, or the residual's roundings
                break
            Y, now = Y + step, then
        return now[3]

    def _reaction(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = self.loss.pde.reaction(u if self.loss.held is None else u + self.loss.held.u)
        assert found is not None
        return found

    def _through(self, inverse: Callable[[np.ndarray], np.ndarray], slope: np.ndarray, F: np.ndarray) -> np.ndarray:
        """Solves with the derivative of a reaction on top, by GMRES with ``inverse`` on the right."""
        from scipy.sparse.linalg import LinearOperator, gmres

        def product(y: np.ndarray) -> np.ndarray:
            Y = y.reshape(F.shape)
            found: np.ndarray = (Y + self.down(slope * self.up(inverse(Y)))).reshape(-1)
            return found

        operator = LinearOperator((F.size, F.size), product, dtype=np.float64)
        y, _ = gmres(operator, F.reshape(-1), rtol=_WITHIN, restart=_KRYLOV, maxiter=1)
        return inverse(y.reshape(F.shape))

    # ---- the prior of the solution, by the hyperparameters

    def evaluate(self, u: np.ndarray) -> tuple[float, Params, float]:
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
            multiplier = self.inverse.adjoint(rhs)
        else:
            multiplier = self._through(self.inverse.adjoint, reaction_slope, rhs)
        gradients: Params = {"U": np.zeros_like(u), "log_tau": np.zeros(()), "log_v": np.zeros(())}
        value, gradients = checked(loss.prior(u, A), gradients | loss.pull(u, A, self.up(multiplier))[1])
        return value, gradients, float(np.sqrt(np.mean(e * e)))


def _given(axis: Axis, c: float, order: int) -> list[int]:
    """Both ends, for a first derivative the one that c u_x comes in by."""
    if order == 2:
        return [0, -1]
    return [] if c == 0 else [0] if (c > 0) == (axis.x[-1] > axis.x[0]) else [-1]
