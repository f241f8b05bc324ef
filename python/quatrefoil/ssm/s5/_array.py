"""S5 as array operations: two projections and a scan in between, some sequences at a time."""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import complex_of, in_pieces, pieces, zeros
from ..scan._array import scan, scan_adjoint


def _real_rows(xp: Any, x: Any) -> Any:
    """Complex (..., P) -> real (..., 2P): with ``_real_columns`` a product of real matrices gives Re sum x c."""
    return xp.concat([xp.real(x), xp.imag(x)], axis=-1)


def _real_columns(xp: Any, c: Any) -> Any:
    return xp.concat([xp.real(c), -xp.imag(c)], axis=-1)


def _projected(xp: Any, u: Any, b: Any) -> Any:
    """Real u (..., H) by complex b (P, H), as one product of real matrices -> (..., P)."""
    P = b.shape[0]
    both = xp.matmul(u, xp.matrix_transpose(xp.concat([xp.real(b), xp.imag(b)], axis=0)))
    return complex_of(xp, both[..., :P], both[..., P:])


def _halves(C: Any, P: int, bidirectional: bool) -> list[tuple[Any, bool]]:
    """The outputs of either direction, and whether it is the reverse one."""
    return [(C[:, :P], False), (C[:, P:], True)] if bidirectional else [(C, False)]


def _three(xp: Any, x: Any) -> Any:
    return xp.reshape(x, (math.prod(x.shape[:-2]), *x.shape[-2:]))


def _start(xp: Any, given: Any, u: Any, poles: Any) -> Any:
    B = math.prod(u.shape[:-2])
    return zeros(xp, (B, poles.shape[0]), poles) if given is None else xp.reshape(given, (B, poles.shape[0]))


def s5_apply(
    xp: Any, u: Any, Lambda_bar: Any, B_bar: Any, C: Any, D: Any, initial_state: Any, conj_sym: bool, bidirectional: bool,
    return_state: bool,
) -> tuple[Any, Any]:  # fmt: skip
    u3, start, (L, H), P = _three(xp, u), _start(xp, initial_state, u, Lambda_bar), u.shape[-2:], Lambda_bar.shape[0]
    if u3.shape[0] == 0:
        return u, start if return_state and initial_state is None else initial_state if return_state else None

    def compute(items: slice) -> tuple[Any, Any]:
        b = _projected(xp, u3[items, ...], B_bar)
        y, last = zeros(xp, u3[items, ...].shape, u) if D is None else D * u3[items, ...], start[items, :]
        for c, reverse in _halves(C, P, bidirectional):
            x = scan(xp, Lambda_bar, b, start[items, :], 1, reverse)
            y = y + (1 + conj_sym) * xp.matmul(_real_rows(xp, x), xp.matrix_transpose(_real_columns(xp, c)))
            last = x[:, L - 1, :] if L else last
        return y, last

    y, last = in_pieces(xp, compute, u3.shape[0], L * (16 * P + 2 * H))
    return xp.reshape(y, u.shape), xp.reshape(last, (*u.shape[:-2], P)) if return_state else None


def s5_apply_vjp(
    xp: Any, u: Any, Lambda_bar: Any, B_bar: Any, C: Any, D: Any, initial_state: Any, grad: Any, grad_last: Any, conj_sym: bool,
    bidirectional: bool, return_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    u3, g3, start, (L, H), P = _three(xp, u), _three(xp, grad), _start(xp, initial_state, u, Lambda_bar), u.shape[-2:], Lambda_bar.shape[0]
    last = None if grad_last is None else xp.reshape(grad_last, start.shape)
    dpoles, dB, dC = (zeros(xp, x.shape, x) for x in (Lambda_bar, B_bar, C))
    of_items = []
    for items in pieces(u3.shape[0], L * (32 * P + 2 * H)):
        rows, grads = u3[items, ...], g3[items, ...]
        b = _projected(xp, rows, B_bar)
        du, dstart, of_C = zeros(xp, rows.shape, rows) if D is None else D * grads, 0.0, []
        for c, reverse in _halves(C, P, bidirectional):
            into = (1 + conj_sym) * _projected(xp, grads, xp.conj(xp.matrix_transpose(c)))
            if last is not None and L:
                into = xp.concat([into[:, : L - 1, :], into[:, L - 1 :, :] + last[items, None, :]], axis=1)
            x, da, mu, at_start = scan_adjoint(xp, Lambda_bar, b, start[items, :], into, 1, reverse)
            dpoles = dpoles + xp.sum(da, axis=(0, 1))
            dB = dB + _outer(xp, mu, rows)
            of_C.append((1 + conj_sym) * xp.conj(xp.matrix_transpose(_outer(xp, x, grads))))
            du = du + xp.matmul(_real_rows(xp, mu), _real_rows_of(xp, B_bar))
            dstart = dstart + (at_start if L else zeros(xp, at_start.shape, start) if last is None else last[items, :])
        dC = dC + xp.concat(of_C, axis=-1)
        of_items.append((du, dstart))
    du, dstart = (xp.concat(list(x), axis=0) for x in zip(*of_items)) if of_items else (u3, start)
    return (
        xp.reshape(du, u.shape), dpoles, dB, dC, None if D is None else xp.sum(u3 * g3, axis=(0, 1)),
        None if initial_state is None else xp.reshape(dstart, initial_state.shape),
    )  # fmt: skip


def _outer(xp: Any, x: Any, rows: Any) -> Any:
    """The sum over sequences and times of complex x (B, L, P) by real rows (B, L, H) -> (P, H)."""
    flat, P = xp.reshape(x, (x.shape[0] * x.shape[1], x.shape[2])), x.shape[2]
    both = xp.matmul(xp.matrix_transpose(_real_rows(xp, flat)), xp.reshape(rows, (rows.shape[0] * rows.shape[1], rows.shape[2])))
    return complex_of(xp, both[:P, :], both[P:, :])


def _real_rows_of(xp: Any, b: Any) -> Any:
    """(P, H) -> (2P, H): real rows of x times this are Re sum x conj(b)."""
    return xp.concat([xp.real(b), xp.imag(b)], axis=0)
