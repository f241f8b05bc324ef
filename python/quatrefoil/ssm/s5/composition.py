"""S5 as array operations: projection, scan, projection, a few steps at a time."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import chunk_slices, complex_of, zeros
from ..scan.composition import scan, scan_adjoint


def _real_rows(xp: Any, x: Any) -> Any:
    """Complex (..., P) -> real (..., 2P). Their product with ``_real_columns`` of c is Re sum x c."""
    return xp.concat([xp.real(x), xp.imag(x)], axis=-1)


def _real_columns(xp: Any, c: Any) -> Any:
    return xp.concat([xp.real(c), -xp.imag(c)], axis=-1)


def _projected(xp: Any, u: Any, b: Any) -> Any:
    """Real u (..., H) times the transpose of complex b (P, H), as one real matrix product -> (..., P)."""
    P = b.shape[0]
    both = xp.matmul(u, xp.matrix_transpose(_real_rows_of(xp, b)))
    return complex_of(xp, both[..., :P], both[..., P:])


def _halves(C: Any, P: int, bidirectional: bool) -> list[tuple[Any, bool]]:
    """The output matrix of each direction, and whether it is reversed."""
    return [(C[:, :P], False), (C[:, P:], True)] if bidirectional else [(C, False)]


def _three(xp: Any, x: Any) -> Any:
    return xp.reshape(x, (math.prod(x.shape[:-2]), *x.shape[-2:]))


def _start(xp: Any, state: Any, u: Any, poles: Any) -> Any:
    shape = math.prod(u.shape[:-2]), poles.shape[0]
    return zeros(xp, shape, poles) if state is None else xp.reshape(state, shape)


class _Direction:
    """The scan (1) in one direction, a few steps at a time, because the L P states would not fit in cache."""

    def __init__(self, xp: Any, u: Any, poles: Any, b: Any, c: Any, factor: int, reverse: bool) -> None:
        self.xp, self.u, self.poles, self.b, self.c, self.factor, self.reverse = xp, u, poles, b, c, factor, reverse
        items, L, H = u.shape
        chunks = chunk_slices(L, items * (4 * poles.shape[0] + H), xp) if L else []
        self.chunks = chunks[::-1] if reverse else chunks
        self.last = 0 if reverse else -1  # index of the last step in a chunk

    def states(self, steps: slice, start: Any) -> Any:
        return scan(self.xp, self.poles, _projected(self.xp, self.u[:, steps, :], self.b), start, 1, self.reverse)

    def add_output(self, y: Any, state: Any) -> Any:
        """Add (2) to y; returns the last state."""
        xp = self.xp
        for steps in self.chunks:
            x = self.states(steps, state)
            output = self.factor * xp.matmul(_real_rows(xp, x), xp.matrix_transpose(_real_columns(xp, self.c)))
            y[:, steps, :] = y[:, steps, :] + output
            state = x[:, self.last, :]
        return state

    def add_gradients(self, grad: Any, start: Any, carry: Any, du: Any, sums: list[Any]) -> tuple[Any, Any]:
        """Add to the gradients of u (``du``) and of Lambda and B (``sums``); returns those of C and of the state ``start`` (3)-(6).

        ``carry`` is the gradient of the last state.
        """
        xp, before = self.xp, [start]
        for steps in self.chunks[:-1]:
            before.append(self.states(steps, before[-1])[:, self.last, :])
        dC = zeros(xp, self.c.shape, self.c)
        for steps, state in zip(reversed(self.chunks), reversed(before)):
            rows, grads = self.u[:, steps, :], grad[:, steps, :]
            into = self.factor * _projected(xp, grads, xp.conj(xp.matrix_transpose(self.c)))
            into[:, self.last, :] = into[:, self.last, :] + carry
            x, da, mu, carry = scan_adjoint(xp, self.poles, _projected(xp, rows, self.b), state, into, 1, self.reverse)
            sums[0], sums[1] = sums[0] + xp.sum(da, axis=(0, 1)), sums[1] + _outer(xp, mu, rows)
            dC = dC + self.factor * xp.conj(xp.matrix_transpose(_outer(xp, x, grads)))
            du[:, steps, :] = du[:, steps, :] + xp.matmul(_real_rows(xp, mu), _real_rows_of(xp, self.b))
        return dC, carry


def s5_apply(
    xp: Any, u: Any, Lambda_bar: Any, B_bar: Any, C: Any, D: Any, initial_state: Any, conj_sym: bool, bidirectional: bool,
    return_state: bool,
) -> tuple[Any, Any]:  # fmt: skip
    u3, start, P = _three(xp, u), _start(xp, initial_state, u, Lambda_bar), Lambda_bar.shape[0]
    y = zeros(xp, u3.shape, u) if D is None else D * u3
    for c, reverse in _halves(C, P, bidirectional):
        last = _Direction(xp, u3, Lambda_bar, B_bar, c, 1 + conj_sym, reverse).add_output(y, start)
    return xp.reshape(y, u.shape), xp.reshape(last, (*u.shape[:-2], P)) if return_state else None


def s5_apply_vjp(
    xp: Any, u: Any, Lambda_bar: Any, B_bar: Any, C: Any, D: Any, initial_state: Any, grad: Any, grad_last: Any, conj_sym: bool,
    bidirectional: bool, return_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    u3, g3, start, P = _three(xp, u), _three(xp, grad), _start(xp, initial_state, u, Lambda_bar), Lambda_bar.shape[0]
    last = xp.zeros_like(start) if grad_last is None else xp.reshape(grad_last, start.shape)
    du, sums, of_C = zeros(xp, u3.shape, u) if D is None else D * g3, [zeros(xp, x.shape, x) for x in (Lambda_bar, B_bar)], []
    for c, reverse in _halves(C, P, bidirectional):
        direction = _Direction(xp, u3, Lambda_bar, B_bar, c, 1 + conj_sym, reverse)
        dC, dstart = direction.add_gradients(g3, start, last, du, sums)
        of_C.append(dC)
    return (
        xp.reshape(du, u.shape), *sums, xp.concat(of_C, axis=-1), None if D is None else xp.sum(u3 * g3, axis=(0, 1)),
        None if initial_state is None else xp.reshape(dstart, initial_state.shape),
    )  # fmt: skip


def _outer(xp: Any, x: Any, rows: Any) -> Any:
    """The sum of outer products of complex x (B, L, P) and real rows (B, L, H) over B and L -> (P, H)."""
    flat, P = xp.reshape(x, (x.shape[0] * x.shape[1], x.shape[2])), x.shape[2]
    both = xp.matmul(xp.matrix_transpose(_real_rows(xp, flat)), xp.reshape(rows, (rows.shape[0] * rows.shape[1], rows.shape[2])))
    return complex_of(xp, both[:P, :], both[P:, :])


def _real_rows_of(xp: Any, b: Any) -> Any:
    """(P, H) -> (2P, H): the product of ``_real_rows`` of x with this is Re sum x conj(b)."""
    return xp.concat([xp.real(b), xp.imag(b)], axis=0)
