"""The loss of GP-HM and its gradient: README (4)-(7). Equation numbers are those of csrc/kron/gphm/README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .... import _arrays
from ...._array_tools import size
from ...pde import PDE
from ...product.dense import namespace
from .axis import Axis, Hyper
from .edges import add_to_edges, edges
from .inverse import Cholesky, Inverse

Array = Any
Params = dict[str, Array]


class Held(NamedTuple):
    """A solution that further components are added to."""

    u: Array
    terms: Array  # the linear part of the equation


class Loss:
    """A function of parameters on one grid; ``fixed`` holds those that are not learnt. All arrays are where the equation's are.

    Besides its axes' workspace and a memo of ``Projected`` it has no state. A loss or gradient that is not finite is a FloatingPointError.
    """

    def __init__(self, pde: PDE, axes: Sequence[Axis], boundary_weight: float, fixed: Params, held: Held | None) -> None:
        self.pde, self.axes, self.weight, self.fixed, self.held = pde, axes, boundary_weight, fixed, held
        self.xp = namespace(pde.source)
        self.memo: Any = None

    def __call__(self, params: Mapping[str, Array]) -> tuple[float, Params]:
        with np.errstate(all="ignore"):
            value, gradients, () = checked(*self._evaluate(params))
            return value, gradients

    def set_axes(self, params: Mapping[str, Array], form: type[Inverse] = Cholesky) -> None:
        for k, axis in enumerate(self.axes):
            axis.at(self._hyper(params, k), form)

    def is_at(self, params: Mapping[str, Array]) -> bool:
        """Whether the axes' hyperparameters are these."""
        theirs = [a for axis in self.axes for a in axis.hyper]
        given = [a for k in range(len(self.axes)) for a in self._hyper(params, k)]
        return bool(np.equal(*np.split(_arrays.to_host(self.xp.concat(theirs + given)), 2)).all())

    def _hyper(self, params: Mapping[str, Array], k: int) -> Hyper:
        return Hyper(*({**self.fixed, **params}[f"{name}_{k}"] for name in Hyper._fields))

    def solved(self, u: Array) -> list[Array]:
        """K_k⁻¹ u along every axis, as rows of that axis (4)."""
        return [axis.solve(self._rows(u, k)) for k, axis in enumerate(self.axes)]

    def terms(self, u: Array, solved: Sequence[Array]) -> Array:
        """The equation's linear part (4)."""
        parts = [self._grid(axis.apply(A), k) for k, (axis, A) in enumerate(zip(self.axes, solved))]
        found = self.xp.asarray(parts[0], copy=True) if len(parts) == 1 else _added(*parts)
        if self.pde.coefficient_of_u:
            found += self.pde.coefficient_of_u * u
        return found

    def _evaluate(self, params: Mapping[str, Array]) -> tuple[float, Params]:
        xp, u, log_tau, log_v = self.xp, params["U"], params["log_tau"], params["log_v"]
        self.set_axes(params)
        A = self.solved(u)
        e, slope = self.residual(u, A)
        E = xp.exp(log_v) * e
        off = edges(u if self.held is None else u + self.held.u) - edges(self.pde.boundary)
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
        """The negative logarithm of the prior of u, without its 2 pi; A as of ``solved``."""
        value = 0.5 * self.xp.sum(self._others(u, A)[0] * self._grid(A[0], 0))
        return value + sum(0.5 * (size(u) // len(axis.x)) * axis.logdet for axis in self.axes)

    def pull(self, u: Array, A: Sequence[Array], E: Array) -> tuple[Array, Params]:
        """The gradient of ``prior`` + <E, terms> by u and by the hyperparameters (6), (7). A was the last that ``terms`` took."""
        parts, gradients = [], Params()
        others = self._others(u, A)
        for k, axis in enumerate(self.axes):
            weighed = self._rows(E, k)
            X = axis.solve(0.5 * self._rows(others[k], k) + axis.adjoint(weighed))
            parts.append(self._grid(X, k))
            hyper = axis.gradient(size(u) // len(axis.x), X, A[k], weighed)
            found = {f"{name}_{k}": g for name, g in hyper._asdict().items()}
            gradients |= {name: g for name, g in found.items() if name not in self.fixed}
        of_u = _added(parts[0], 0.5 * A[0][0, :] if u.ndim == 1 else parts[1])
        if self.pde.coefficient_of_u:
            of_u += self.pde.coefficient_of_u * E
        return of_u, gradients

    def _others(self, u: Array, A: Sequence[Array]) -> list[Array]:
        """The solves along the other axis, for every axis, as grids."""
        return [u] if u.ndim == 1 else [A[1], A[0].T]

    def residual(self, u: Array, A: Sequence[Array]) -> tuple[Array, Array | None]:
        """e, and the derivative of its reaction by u."""
        e = self.terms(u, A) - self.pde.source
        whole = u
        if self.held is not None:
            e += self.held.terms
            whole = u + self.held.u
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


def _added(a: Array, b: Array) -> Array:
    """Their sum, in C order: one may be transposed."""
    return np.add(a, b, order="C") if isinstance(a, np.ndarray) else a + b


def checked(value: Any, gradients: Params, *others: Any) -> tuple[float, Params, list[float]]:
    """The loss, as a number of the host, and its gradient, if they are finite; and other such numbers. All that is waited for, at once."""
    xp = namespace(gradients["U"])
    numbers = _arrays.to_host(xp.stack([value, *others, *map(xp.sum, gradients.values())]))
    loss, *more = map(float, numbers[: 1 + len(others)])
    if not (np.isfinite(loss) and np.isfinite(numbers[1 + len(others) :]).all()):
        raise FloatingPointError(
            f"GPHM: the loss is {loss} or its gradient is not finite; give a smaller learning_rate, or go back to a state_dict()"
        )
    return loss, gradients, more
