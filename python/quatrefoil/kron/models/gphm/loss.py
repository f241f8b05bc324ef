"""The loss of GP-HM and its gradient: README (4)-(7). Equation numbers refer to csrc/kron/gphm/README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arrays
from ...._array_tools import size
from ...pde import PDE
from ...product.dense import namespace
from .axis import Axis, Hyper
from .inverse import Cholesky, Inverse

Array = Any
Params = dict[str, Array]


class BaseSolution(NamedTuple):
    """A fixed solution to which further components are added."""

    u: Array
    terms: Array  # the linear part of the equation


class Loss:
    """The loss of parameters on one grid; ``fixed`` are those that are not learnt. Arrays are on the device of the equation.

    Its state is the workspace of the axes and a memo of ``Projection``. A loss or gradient that is not finite raises a FloatingPointError.
    """

    def __init__(self, pde: PDE, axes: Sequence[Axis], boundary_weight: float, fixed: Params, base: BaseSolution | None) -> None:
        self.pde, self.axes, self.weight, self.fixed, self.base = pde, axes, boundary_weight, fixed, base
        self.xp = namespace(pde.source)
        self.memo: Any = None

    def __call__(self, params: Mapping[str, Array]) -> tuple[float, Params]:
        with np.errstate(all="ignore"):
            value, gradients, () = checked(*self._evaluate(params))
            return value, gradients

    def set_axes(self, params: Mapping[str, Array], form: type[Inverse] = Cholesky) -> None:
        known = {**self.fixed, **params}
        for k, axis in enumerate(self.axes):
            axis.at(Hyper(*(known[f"{name}_{k}"] for name in Hyper._fields)), form)

    def solved(self, u: Array) -> list[Array]:
        """K_k⁻¹ u along every axis, as rows of that axis (4)."""
        return [axis.inverse.solve(self._rows(u, k)) for k, axis in enumerate(self.axes)]

    def terms(self, u: Array, solved: Sequence[Array]) -> Array:
        """The linear part of the equation (4)."""
        parts = [self._grid(axis.apply(A), k) for k, (axis, A) in enumerate(zip(self.axes, solved))]
        total = self.xp.asarray(parts[0], copy=True) if len(parts) == 1 else _added(*parts)
        if self.pde.coefficient_of_u:
            total += self.pde.coefficient_of_u * u
        return total

    def _evaluate(self, params: Mapping[str, Array]) -> tuple[float, Params]:
        xp, u, log_tau, log_v = self.xp, params["U"], params["log_tau"], params["log_v"]
        self.set_axes(params)
        A = self.solved(u)
        e, slope = self.residual(u, A)
        E = xp.exp(log_v) * e
        off = edges(u if self.base is None else u + self.base.u) - edges(self.pde.boundary)
        pull = xp.exp(log_tau) * off
        misfit, rest = xp.sum(off * pull), xp.sum(E * e)
        of_tau, of_v = self.weight * 0.5 * (misfit - size(off)), 0.5 * (rest - size(u))
        value = self.prior(u, A) + self.weight * 0.5 * (misfit - size(off) * log_tau) + 0.5 * (rest - size(u) * log_v)

        of_u, hyper = self.pull(u, A, E)
        gradients: Params = {"U": of_u, "log_tau": xp.asarray(of_tau), "log_v": xp.asarray(of_v), **hyper}
        if slope is not None:
            gradients["U"] += slope * E
        add_to_edges(gradients["U"], self.weight * pull)
        return value, gradients

    def prior(self, u: Array, A: Sequence[Array]) -> Any:
        """The negative log-prior of u, without the constant; A is a result of ``solved``."""
        value = 0.5 * self.xp.sum(self._others(u, A)[0] * self._grid(A[0], 0))
        return value + sum(0.5 * (size(u) // len(axis.x)) * axis.inverse.logdet for axis in self.axes)

    def pull(self, u: Array, A: Sequence[Array], E: Array) -> tuple[Array, Params]:
        """The gradient of ``prior`` + <E, terms> with respect to u and the hyperparameters (6), (7); A as in the last call to ``terms``."""
        parts, gradients = [], Params()
        others = self._others(u, A)
        for k, axis in enumerate(self.axes):
            weighted = self._rows(E, k)
            X = axis.inverse.solve(0.5 * self._rows(others[k], k) + axis.adjoint(weighted))
            parts.append(self._grid(X, k))
            hyper = axis.gradient(size(u) // len(axis.x), X, A[k], weighted)
            named = {f"{name}_{k}": g for name, g in hyper._asdict().items()}
            gradients |= {name: g for name, g in named.items() if name not in self.fixed}
        of_u = _added(parts[0], 0.5 * A[0][0, :] if u.ndim == 1 else parts[1])
        if self.pde.coefficient_of_u:
            of_u += self.pde.coefficient_of_u * E
        return of_u, gradients

    def _others(self, u: Array, A: Sequence[Array]) -> list[Array]:
        """For every axis the solves along the other axis, as grids."""
        return [u] if u.ndim == 1 else [A[1], A[0].T]

    def residual(self, u: Array, A: Sequence[Array]) -> tuple[Array, Array | None]:
        """e, and the derivative of the reaction with respect to u, if there is a reaction."""
        e = self.terms(u, A) - self.pde.source
        whole = u
        if self.base is not None:
            e += self.base.terms
            whole = u + self.base.u
        reaction = self.pde.reaction(whole)
        if reaction is None:
            return e, None
        e += reaction[0]
        return e, reaction[1]

    def _rows(self, u: Array, k: int) -> Array:
        """A grid as rows of axis k, a view."""
        if len(self.axes) == 1:
            return u[None, :]
        return u.T if k == 0 else u

    def _grid(self, rows: Array, k: int) -> Array:
        """The inverse of ``_rows``."""
        return rows[0, :] if len(self.axes) == 1 else rows.T if k == 0 else rows


def edges(u: Array) -> Array:
    """The values on all edges, concatenated; a corner belongs to two edges."""
    parts = [u[:1], u[-1:]] if u.ndim == 1 else [u[0, :], u[-1, :], u[:, 0], u[:, -1]]
    return namespace(u).concat(parts)


def add_to_edges(u: Array, values: Array) -> None:
    """The adjoint of ``edges``, in place."""
    if u.ndim == 1:
        u[:1] += values[:1]
        u[-1:] += values[1:]
        return
    n, m = u.shape
    u[0, :] += values[:m]
    u[-1, :] += values[m : 2 * m]
    u[:, 0] += values[2 * m : 2 * m + n]
    u[:, -1] += values[2 * m + n :]


def _added(a: Array, b: Array) -> Array:
    """The sum in C order, because one array may be transposed."""
    return np.add(a, b, order="C") if isinstance(a, np.ndarray) else a + b


def checked(value: Any, gradients: Params, *others: Any) -> tuple[float, Params, list[float]]:
    """Check that loss and gradient are finite; return the gradient, and the loss and other numbers, read to the host in one transfer."""
    xp = namespace(gradients["U"])
    numbers = _arrays.to_host(xp.stack([value, *others, *map(xp.sum, gradients.values())]))
    loss, *more = map(float, numbers[: 1 + len(others)])
    if not (np.isfinite(loss) and np.isfinite(numbers[1 + len(others) :]).all()):
        raise FloatingPointError(
            f"GPHM: the loss is {loss} or its gradient is not finite; use a smaller learning_rate, or restore an earlier state_dict()"
        )
    return loss, gradients, more
