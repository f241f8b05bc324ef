"""Gated KalmaNet as array operations, in double precision.

Tokens are processed in chunks: a scan computes the states (1), and all systems of a chunk are solved at once. The gradient processes the
chunks in reverse order. States are (B, T, H, D, D).
"""

from __future__ import annotations

import math
from typing import Any

from ..._array_tools import chunk_slices, double, zeros
from ..scan.composition import scan


class _Solver:
    """x ~ (H + ridge |H| I)^-1 q for every token of a chunk."""

    def __init__(self, xp: Any, H: Any, ridge: float, num_iter: int, solver: str) -> None:
        self.xp, self.H, self.steps = xp, H, num_iter
        self.exact, self.copies = solver == "exact", solver != "exact" and num_iter <= 0
        self.F = xp.sqrt(xp.sum(H * H, axis=(-2, -1)))
        self.is_zero = self.F == 0
        self.safe = xp.where(self.is_zero, xp.ones_like(self.F), self.F)
        self.ridge = ridge

    def __call__(self, q: Any) -> Any:
        xp = self.xp
        if self.copies:
            return q
        if self.exact:
            eye = xp.eye(q.shape[-1], dtype=q.dtype, device=q.device)
            matrix = self.H + (self.ridge * self.F + xp.astype(self.is_zero, q.dtype))[..., None, None] * eye
            x = xp.linalg.solve(matrix, q[..., None])[..., 0]
        else:
            x = self._chebyshev(q)
        return xp.where(self.is_zero[..., None], 0 * x, x)

    def _chebyshev(self, q: Any) -> Any:
        """The Chebyshev iteration; README (4)-(7) evaluate the same polynomial with fewer products. All tokens share its weights."""
        ridge = self.ridge
        s = 2 / (2 * ridge + 1) / self.safe[..., None]
        lam = ridge * self.safe[..., None]
        rho, w = (1 / (2 * ridge + 1) / 2) ** 2, 2.0
        x, before = s * q, 0 * q
        for _ in range(self.steps):
            w = 1 / (1 - rho * w)
            Hx = self.xp.matmul(self.H, x[..., None])[..., 0]
            x, before = w * x - (s * w * (Hx + lam * x - q) + (w - 1) * before), x
        return x

    def norm_slope(self, w: Any, x: Any) -> Any:
        """c_t of (12): the gradient with respect to H contains c_t H, because the ridge is proportional to the norm of H."""
        c = -self.ridge * self.xp.sum(w * x, axis=-1) / self.safe
        return 0 * c if self.copies else self.xp.where(self.is_zero, 0 * c, c)


def _gate(xp: Any, x: Any, like: Any, value: float) -> Any:
    return zeros(xp, like.shape[:3], like, xp.float64) + value if x is None else double(xp, x)


class _Tokens:
    """Inputs in double precision, with defaults for absent ones, and the chunks of the tokens."""

    def __init__(self, xp: Any, inputs: tuple[Any, ...], H0: Any, U0: Any, *solver: Any) -> None:
        self.xp, self.solver = xp, solver
        q, k, v, alpha, g, gk = inputs
        self.q, self.k, self.v = (double(xp, x) for x in (q, k, v))
        self.alpha = _gate(xp, alpha, q, 1.0)[..., None]
        self.e_U, self.e_H = (xp.exp(_gate(xp, x, q, 0.0))[..., None, None] for x in (g, gk))
        B, T, heads, D = q.shape
        self.scale = 1 / math.sqrt(D)
        zero_state = zeros(xp, (B, heads, D, D), q, xp.float64)
        self.H0 = zero_state if H0 is None else _symmetric(xp, double(xp, H0))
        self.U0 = zero_state if U0 is None else double(xp, U0)
        self.chunks = chunk_slices(T, 12 * B * heads * D * D, xp) if T else []

    def states(self, chunk: slice, H: Any, U: Any) -> tuple[Any, Any]:
        """(1): H and U after every token of the chunk."""
        k, v = self.k[:, chunk, ...], self.v[:, chunk, ...]
        after_H, after_U = (
            scan(self.xp, e[:, chunk, ...], x[..., :, None] * k[..., None, :], before, 1)
            for e, x, before in ((self.e_H, k, H), (self.e_U, v, U))
        )
        return after_H, after_U

    def mixed(self, chunk: slice, x: Any) -> Any:
        """x~ = q + alpha (x - q)."""
        alpha = self.alpha[:, chunk, ...]
        return (1 - alpha) * self.q[:, chunk, ...] + alpha * x


def _symmetric(xp: Any, x: Any) -> Any:
    return (x + xp.matrix_transpose(x)) / 2


def gka(
    xp: Any, q: Any, k: Any, v: Any, alpha: Any, g: Any, gk: Any, H0: Any, U0: Any, ridge_strength: float, num_iter: int, solver: str,
    output_final_state: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    if 0 in (q.shape[0], *q.shape[2:]):
        B, _, heads, D = q.shape
        state = zeros(xp, (B, heads, D, D), q) if output_final_state else None
        return q, state, state
    tokens = _Tokens(xp, (q, k, v, alpha, g, gk), H0, U0, ridge_strength, num_iter, solver)
    H, U, y = tokens.H0, tokens.U0, []
    for chunk in tokens.chunks:
        states, values = tokens.states(chunk, H, U)
        x = _Solver(xp, states, *tokens.solver)(tokens.q[:, chunk, ...])
        y.append(tokens.scale * xp.matmul(values, tokens.mixed(chunk, x)[..., None])[..., 0])
        H, U = states[:, -1, ...], values[:, -1, ...]
    result = xp.concat(y, axis=1) if y else q
    return (result, H, U) if output_final_state else (result, None, None)


def gka_vjp(
    xp: Any, q: Any, k: Any, v: Any, alpha: Any, g: Any, gk: Any, H0: Any, U0: Any, grad_y: Any, grad_H: Any, grad_U: Any,
    ridge_strength: float, num_iter: int, solver: str, output_final_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    inputs = (q, k, v, alpha, g, gk, H0, U0)
    if 0 in (q.shape[0], *q.shape[2:]):
        return tuple(None if x is None else zeros(xp, x.shape, x) for x in inputs)
    tokens = _Tokens(xp, inputs[:6], H0, U0, ridge_strength, num_iter, solver)
    before = [(tokens.H0, tokens.U0)]
    for chunk in tokens.chunks[:-1]:
        states, values = tokens.states(chunk, *before[-1])
        before.append((states[:, -1, ...], values[:, -1, ...]))
    zero_state = zeros(xp, tokens.H0.shape, tokens.H0)
    into_H = zero_state if grad_H is None else _symmetric(xp, double(xp, grad_H))
    into_U = zero_state if grad_U is None else double(xp, grad_U)
    grads, parts = double(xp, grad_y), []
    for chunk, (H, U) in zip(reversed(tokens.chunks), reversed(before)):
        part, into_H, into_U = _chunk_backward(xp, tokens, chunk, H, U, grads[:, chunk, ...], into_H, into_U)
        parts.append(part)
    along = [xp.concat(list(reversed(column)), axis=1) for column in zip(*parts)] if parts else [zeros(xp, x.shape, x) for x in (q, k, v)]
    along += [zeros(xp, q.shape[:3], q)] * (6 - len(along))
    gradients = (*along, _symmetric(xp, into_H), into_U)
    return tuple(None if x is None else gradient for x, gradient in zip(inputs, gradients))


def _chunk_backward(
    xp: Any, tokens: _Tokens, chunk: slice, H: Any, U: Any, grad: Any, into_H: Any, into_U: Any
) -> tuple[tuple[Any, ...], Any, Any]:
    """(11)-(17) for one chunk: gradients of q, k, v, alpha, g, gk, and of the states before it. ``into_H``: gradient of H after it."""
    q, k, v, alpha, e_H, e_U = (x[:, chunk, ...] for x in (tokens.q, tokens.k, tokens.v, tokens.alpha, tokens.e_H, tokens.e_U))
    states, values = tokens.states(chunk, H, U)
    solve = _Solver(xp, states, *tokens.solver)
    x = solve(q)
    u = tokens.scale * xp.matmul(xp.matrix_transpose(values), grad[..., None])[..., 0]
    w = solve(alpha * u)
    dq, dalpha = (1 - alpha) * u + w, xp.sum(u * (x - q), axis=-1)
    if solve.copies:
        w = 0 * w
    product = w[..., :, None] * x[..., None, :]
    of_H = solve.norm_slope(w, x)[..., None, None] * states - _symmetric(xp, product)
    of_U = tokens.scale * grad[..., :, None] * tokens.mixed(chunk, x)[..., None, :]
    R_H, R_U = (_backward(xp, e, local, after) for e, local, after in ((e_H, of_H, into_H), (e_U, of_U, into_U)))
    dk = 2 * xp.matmul(R_H, k[..., None])[..., 0] + xp.matmul(xp.matrix_transpose(R_U), v[..., None])[..., 0]
    dv = xp.matmul(R_U, k[..., None])[..., 0]
    gates, starts = [], []
    for e, R, start, after in ((e_U, R_U, U, values), (e_H, R_H, H, states)):
        before = xp.concat([start[:, None, ...], after[:, :-1, ...]], axis=1)
        gates.append(xp.sum(e * R * before, axis=(-2, -1)))
        starts.append(e[:, 0, ...] * R[:, 0, ...])
    return (dq, dk, dv, dalpha, *gates), starts[1], starts[0]


def _backward(xp: Any, e: Any, local: Any, after: Any) -> Any:
    """(13): R_t = local_t + e_{t+1} R_{t+1}; ``after`` is e R of the next chunk's first token."""
    ones = xp.ones_like(e[:, :1, ...])
    return scan(xp, xp.concat([e[:, 1:, ...], ones], axis=1), local, after, 1, reverse=True)
