"""The loss of GP-HM and its gradient: README (4)-(7). Equation numbers are those of csrc/kron/gphm/README.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .axis import Axis, Hyper
from .inverse import Cholesky, Inverse
from .pde import PDE, add_to_edges, edges

Params = dict[str, np.ndarray]


class Held(NamedTuple):
    """A solution that further components are added to."""

    u: np.ndarray
    terms: np.ndarray  # sum_k coefficients_k d^order u / dx_k^order


class Loss:
    """A function of parameters on one grid; ``fixed`` holds those that are not learnt.

    Beside its axes' workspace and a memo of ``Projected`` it has no state. A loss or gradient that is not finite is a FloatingPointError.
    """

    def __init__(self, pde: PDE, axes: Sequence[Axis], boundary_weight: float, fixed: Params, held: Held | None) -> None:
        self.pde, self.axes, self.weight, self.fixed, self.held = pde, axes, boundary_weight, fixed, held
        self.memo: Any = None

    def __call__(self, params: Mapping[str, np.ndarray]) -> tuple[float, Params]:
        with np.errstate(all="ignore"):
            return checked(*self._evaluate(params))

    def set_axes(self, params: Mapping[str, np.ndarray], form: type[Inverse] = Cholesky) -> None:
        for k, axis in enumerate(self.axes):
            axis.at(self._hyper(params, k), form)

    def is_at(self, params: Mapping[str, np.ndarray]) -> bool:
        """Whether the axes' hyperparameters are these."""
        return all(np.array_equal(a, b) for k, axis in enumerate(self.axes) for a, b in zip(axis.hyper, self._hyper(params, k)))

    def _hyper(self, params: Mapping[str, np.ndarray], k: int) -> Hyper:
        return Hyper(*({**self.fixed, **params}[f"{name}_{k}"] for name in Hyper._fields))

    def solved(self, u: np.ndarray) -> list[np.ndarray]:
        """K_k⁻¹ u along every axis, as rows of that axis (4)."""
        return [axis.solve(self._rows(u, k)) for k, axis in enumerate(self.axes)]

    def terms(self, solved: Sequence[np.ndarray]) -> np.ndarray:
        """The equation's derivatives of u (4)."""
        parts = [self._grid(axis.apply(A), k) for k, (axis, A) in enumerate(zip(self.axes, solved))]
        scaled = [part if c == 1 else c * part for part, c in zip(parts, self.pde.coefficients)]
        total: np.ndarray = scaled[0].copy() if len(scaled) == 1 else np.add(*scaled, order="C")
        return total

    def _evaluate(self, params: Mapping[str, np.ndarray]) -> tuple[float, Params]:
        u = params["U"]
        log_tau, log_v = float(params["log_tau"]), float(params["log_v"])
        self.set_axes(params)
        A = self.solved(u)
        e, slope = self.residual(u, A)
        E = np.exp(log_v) * e
        off = edges(u if self.held is None else u + self.held.u) - edges(self.pde.boundary)
        pull = np.exp(log_tau) * off
        of_tau = self.weight * (0.5 * float(off @ pull) - 0.5 * off.size)
        of_v = 0.5 * float(np.vdot(E, e)) - 0.5 * u.size
        value = self.prior(u, A)
        value += self.weight * 0.5 * (float(off @ pull) - off.size * log_tau) + 0.5 * (float(np.vdot(E, e)) - u.size * log_v)

        of_u, hyper = self.pull(u, A, E)
        gradients: Params = {"U": of_u, "log_tau": np.array(of_tau), "log_v": np.array(of_v), **hyper}
        if slope is not None:
            gradients["U"] += slope * E
        add_to_edges(gradients["U"], self.weight * pull)
        return value, gradients

    def prior(self, u: np.ndarray, A: Sequence[np.ndarray]) -> float:
        """The negative logarithm of the prior of u, without its 2 pi; A as of ``solved``."""
        value = 0.5 * float(np.sum(self._others(u, A)[0] * self._grid(A[0], 0)))
        return value + sum(0.5 * (u.size // len(axis.x)) * axis.logdet for axis in self.axes)

    def pull(self, u: np.ndarray, A: Sequence[np.ndarray], E: np.ndarray) -> tuple[np.ndarray, Params]:
        """The gradient of ``prior`` + <E, terms> by u and by the hyperparameters (6), (7). A was the last that ``terms`` took."""
        parts, gradients = [], Params()
        others = self._others(u, A)
        for k, (axis, c) in enumerate(zip(self.axes, self.pde.coefficients)):
            weighed = self._rows(E if c == 1 else c * E, k)
            X = axis.solve(0.5 * self._rows(others[k], k) + axis.adjoint(weighed))
            parts.append(self._grid(X, k))
            hyper = axis.gradient(u.size // len(axis.x), X, A[k], weighed)
            found = {f"{name}_{k}": g for name, g in hyper._asdict().items()}
            gradients |= {name: g for name, g in found.items() if name not in self.fixed}
        of_u: np.ndarray = np.add(parts[0], 0.5 * A[0][0] if u.ndim == 1 else parts[1], order="C")
        return of_u, gradients

    def _others(self, u: np.ndarray, A: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For every axis the solve along the other one, as grids."""
        return [u] if u.ndim == 1 else [A[1], A[0].T]

    def residual(self, u: np.ndarray, A: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """e, and the derivative of its reaction by u."""
        e = self.terms(A) - self.pde.source
        whole = u
        if self.held is not None:
            e += self.held.terms
            whole = u + self.held.u
        reaction = self.pde.reaction(whole)
        if reaction is None:
            return e, None
        e += reaction[0]
        return e, reaction[1]

    def _rows(self, u: np.ndarray, k: int) -> np.ndarray:
        """A grid as rows of axis k, a view."""
        if len(self.axes) == 1:
            return u[None]
        return u.T if k == 0 else u

    def _grid(self, rows: np.ndarray, k: int) -> np.ndarray:
        """The inverse of ``_rows``."""
        grid: np.ndarray = rows[0] if len(self.axes) == 1 else rows.T if k == 0 else rows
        return grid


def checked(value: float, gradients: Params) -> tuple[float, Params]:
    """Both as they are, if they are finite."""
    if not all(map(math.isfinite, (value, *(float(g.sum()) for g in gradients.values())))):
        raise FloatingPointError(
            f"GPHM: the loss is {value} or its gradient is not finite; give a smaller learning_rate, or go back to a state_dict()"
        )
    return value, gradients
