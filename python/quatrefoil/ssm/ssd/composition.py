"""Mamba-2's scan as array operations: all chunks at once, their states by a linear scan.

A NaN reaches all of its chunk and all later ones.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..._array_tools import (
    arange,
    ascends,
    double,
    in_chunks,
    nan_unless,
    sigmoid,
    silu,
    silu_slope,
    softplus,
    sums_across,
    sums_at,
    sums_before,
    sums_from,
    twofold_sums,
    zeros,
)
from ..scan.composition import scan, scan_adjoint

LONGEST = 64  # steps of a chunk
FAR = 2.0**20  # exponents of one step are clipped here, far beyond 0 and infinity, so that their sums stay finite


class _Inputs(NamedTuple):
    x: Any
    dt: Any
    A: Any
    B: Any
    C: Any
    D: Any
    z: Any
    dt_bias: Any
    initial: Any
    seq_idx: Any
    cuts: Any


def _in_chunks(xp: Any, y: Any, size: int) -> Any:
    """(B, L, H, ...) -> (B, H, K, size, ...), padded with zeros."""
    y = xp.permute_dims(y, (0, 2, 1, *range(3, y.ndim)))
    short = -y.shape[2] % size
    if short:
        y = xp.concat([y, zeros(xp, (*y.shape[:2], short, *y.shape[3:]), y)], axis=2)
    return xp.reshape(y, (*y.shape[:2], y.shape[2] // size, size, *y.shape[3:]))


def _in_rows(xp: Any, y: Any, L: int) -> Any:
    """The inverse: (B, H, K, size, ...) -> (B, L, H, ...)."""
    y = xp.reshape(y, (*y.shape[:2], y.shape[2] * y.shape[3], *y.shape[4:]))[:, :, :L, ...]
    return xp.permute_dims(y, (0, 2, 1, *range(3, y.ndim)))


def _dot(xp: Any, a: Any, b: Any) -> Any:
    return xp.sum(a * b, axis=-1)


class _Sequences:
    """The number of every step's sequence, (B, 1, K, size), and for those of ``cuts`` the chunk and step of their end."""

    def __init__(self, xp: Any, inputs: _Inputs, size: int) -> None:
        items, L = inputs.x.shape[:2]
        time = arange(xp, L, inputs.x, xp.int64)
        starts = zeros(xp, (items, L), inputs.x, xp.int64)
        if inputs.seq_idx is not None:
            same = xp.concat([inputs.seq_idx[:, :1], inputs.seq_idx[:, : L - 1]], axis=1) == inputs.seq_idx
            starts = xp.astype(~same, xp.int64)
        if inputs.cuts is not None:
            begins = xp.any(inputs.cuts[:, None] == time[None, :], axis=0) & (time > 0)
            starts = xp.where(begins[None, :], xp.ones_like(starts), starts)
            first, last = inputs.cuts[:-1], inputs.cuts[1:]
            self.has_steps = last > first
            end = xp.clip(last - 1, min=0, max=L - 1)
            self.chunk, self.step = end // size, end % size
        number = xp.cumulative_sum(starts, axis=1)
        short = -L % size
        number = xp.concat([number, xp.broadcast_to(number[:, L - 1 :], (items, short))], axis=1)
        self.number = xp.reshape(number, (items, 1, number.shape[1] // size, size))
        before = xp.concat([self.number[:, :, :1, 0], self.number[:, :, :-1, size - 1]], axis=2)
        self.reached = self.number == before[..., None]  # by the state before the chunk
        self.reaching = self.number == self.number[..., size - 1 :]  # the state after it
        steps = arange(xp, size, inputs.x, xp.int64)
        self.pairs = (steps[:, None] >= steps[None, :]) & (self.number[..., :, None] == self.number[..., None, :])


class _Scan:
    """(1)-(7) for some heads."""

    def __init__(self, xp: Any, inputs: _Inputs, sequences: _Sequences, options: tuple[Any, ...], piece: slice) -> None:
        size, softens, least, most = options
        self.xp, self.inputs, self.sequences, self.piece, self.size = xp, inputs, sequences, piece, size
        self.L, self.P, self.N, self.groups = inputs.x.shape[1], inputs.x.shape[3], inputs.B.shape[3], inputs.B.shape[2]
        self.x = inputs.x[:, :, piece, :]
        self.D = None if inputs.D is None else inputs.D[piece, :] if inputs.D.ndim == 2 else inputs.D[piece, None]
        raw = inputs.dt[:, :, piece] if inputs.dt_bias is None else inputs.dt[:, :, piece] + inputs.dt_bias[piece]
        step = softplus(xp, raw) if softens else raw
        outside = (step < least) | (step > most)
        self.slope = xp.where(outside, xp.zeros_like(raw), sigmoid(xp, raw) if softens else xp.ones_like(raw))
        step = xp.where(step < least, xp.full_like(step, least), step) if least > -math.inf else step
        self.dt = xp.where(step > most, xp.full_like(step, most), step) if most < math.inf else step
        self.A = inputs.A[piece]
        self.u = _in_chunks(xp, self.dt[..., None] * self.x, size)
        B, C = (m if self.groups == 1 else xp.take(m, self.group(), axis=2) for m in (inputs.B, inputs.C))
        self.B, self.C = (_in_chunks(xp, m, size) for m in (B, C))
        self._decays(_in_chunks(xp, double(xp, self.dt) * double(xp, self.A), size))
        self.inner = xp.matmul(self.C, xp.matrix_transpose(self.B))
        self.triangle = self.inner * self.pairs
        self.start = None if inputs.initial is None else inputs.initial[:, piece, :, :]
        self.after = after = scan(xp, self.all[..., None, None], self.added(), self.start, 2)
        start = zeros(xp, (*after.shape[:2], self.P, self.N), after) if self.start is None else self.start
        self.before = xp.concat([start[:, :, None, :, :], after[:, :, :-1, :, :]], axis=2)

    def group(self) -> Any:
        """The group of every head."""
        index = arange(self.xp, self.piece.stop - self.piece.start, self.inputs.x, self.xp.int64) + self.piece.start
        return index // (self.inputs.x.shape[2] // self.groups)

    def _decays(self, exponents: Any) -> None:
        """(3), from sums in double precision and in two numbers: the error of a difference is a rounding of its own size."""
        xp, q, dtype, last = self.xp, self.sequences, self.inputs.x.dtype, self.size - 1
        high, low = twofold_sums(xp, xp.clip(exponents, min=-FAR, max=FAR))
        total = high + low
        to_end = (high[..., last:] - high) + (low[..., last:] - low)
        between = (high[..., :, None] - high[..., None, :]) + (low[..., :, None] - low[..., None, :])

        def decay(where: Any, exponent: Any) -> Any:
            return xp.astype(xp.exp(xp.where(where, exponent, xp.full_like(exponent, -math.inf))), dtype)

        self.pairs = decay(q.pairs, between)
        self.from_start = decay(q.reached, total)
        self.to_end = decay(q.reaching, to_end)
        self.all = decay((q.reached & q.reaching)[..., last], total[..., last])

    def added(self) -> Any:
        """(7) The sum that each chunk adds to the state, (B, H, K, P, N)."""
        return self.xp.matmul(self.xp.matrix_transpose(self.u * self.to_end[..., None]), self.B)

    def output(self) -> Any:
        """(5), (6) before the gate, (B, L, H, P)."""
        xp = self.xp
        y = self.from_start[..., None] * xp.matmul(self.C, xp.matrix_transpose(self.before)) + xp.matmul(self.triangle, self.u)
        y = _in_rows(xp, y, self.L)
        return y if self.D is None else y + self.D * self.x

    def at_ends(self, of_chunks: Any) -> Any:
        """(1, H, K, ...) -> (S, H, ...): the chunks in which the sequences end."""
        return self.xp.permute_dims(self.xp.take(of_chunks[0, ...], self.sequences.chunk, axis=1), (1, 0, *range(2, of_chunks.ndim - 1)))

    def end_weights(self) -> tuple[Any, Any]:
        """The decays to the ends of the sequences: of the steps of their chunks (S, H, size), and of the states before these (S, H)."""
        xp, q = self.xp, self.sequences
        here = arange(xp, self.size, self.inputs.x, xp.int64)[None, :] == q.step[:, None]  # (S, size)
        here = xp.astype(here & q.has_steps[:, None], self.inputs.x.dtype)
        steps = xp.sum(self.at_ends(self.pairs) * here[:, None, :, None], axis=2)
        return steps, xp.sum(self.at_ends(self.from_start) * here[:, None, :], axis=2)

    def varlen(self) -> Any:
        xp = self.xp
        steps, state = self.end_weights()
        added = xp.matmul(xp.matrix_transpose(self.at_ends(self.u) * steps[..., None]), self.at_ends(self.B))
        return state[..., None, None] * self.at_ends(self.before) + added


def _nan_unless_ascending(xp: Any, inputs: _Inputs, results: tuple[Any, ...]) -> tuple[Any, ...]:
    if inputs.cuts is None:
        return results
    valid = ascends(xp, inputs.cuts, inputs.x.shape[1])
    return tuple(None if r is None else nan_unless(xp, valid, r) for r in results)


def mamba_chunk_scan_combined(xp: Any, *arguments: Any) -> tuple[Any, ...]:
    inputs = _Inputs(*arguments[:11])
    return _nan_unless_ascending(xp, inputs, _forward(xp, inputs, *arguments[11:]))


def mamba_chunk_scan_combined_vjp(xp: Any, *arguments: Any) -> tuple[Any, ...]:
    inputs = _Inputs(*arguments[:11])
    return _nan_unless_ascending(xp, inputs, _backward(xp, inputs, *arguments[11:]))


def _forward(
    xp: Any, inputs: _Inputs, chunk_size: int, softens: bool, least: float, most: float, final: bool, varlen: bool
) -> tuple[Any, Any, Any]:
    (items, L, heads, P), N = inputs.x.shape, inputs.B.shape[3]
    if 0 in inputs.x.shape:
        last = zeros(xp, (items, heads, P, N), inputs.x) if inputs.initial is None else inputs.initial
        of_sequences = zeros(xp, (inputs.cuts.shape[0] - 1, heads, P, N), inputs.x) if varlen else None
        return inputs.x, last if final else None, of_sequences
    size = min(chunk_size, LONGEST, L)
    sequences = _Sequences(xp, inputs, size)

    def compute(piece: slice) -> tuple[Any, ...]:
        s = _Scan(xp, inputs, sequences, (size, softens, least, most), piece)
        out = s.output()
        out = out if inputs.z is None else out * silu(xp, inputs.z[:, :, piece, :])
        states = ([s.after[:, :, -1, :, :]] if final else []) + ([s.varlen()] if varlen else [])
        return xp.permute_dims(out, (0, 2, 1, 3)), *states

    out, *states = in_chunks(xp, compute, heads, items * L * (4 * size + 4 * P + 4 * N), axis=1)
    return xp.permute_dims(out, (0, 2, 1, 3)), states.pop(0) if final else None, states.pop(0) if varlen else None


class _Adjoint:
    """(8)-(15) for some heads."""

    def __init__(self, s: _Scan, grad: Any, grad_final: Any, grad_varlen: Any) -> None:
        xp, inputs, piece = s.xp, s.inputs, s.piece
        self.xp, self.s = xp, s
        g = grad[:, :, piece, :]
        self.dz = g
        if inputs.z is not None:
            z = inputs.z[:, :, piece, :]
            self.dz, g = g * silu_slope(xp, z) * s.output(), g * silu(xp, z)
        self.g = g
        self.rows = _in_chunks(xp, g, s.size)
        into = xp.matmul(xp.matrix_transpose(self.rows * s.from_start[..., None]), s.C)  # (13) of the states before the chunks
        if grad_varlen is not None:
            self._take_ends(grad_varlen[:, piece, :, :])
            into = into + self.end_before
        none = zeros(xp, (*s.before.shape[:2], 1, s.P, s.N), s.before)
        last = none if grad_final is None else grad_final[:, piece, None, :, :]
        # the gradient of the state after a chunk is that of the state before the next chunk
        after = xp.concat([into[:, :, 1:, :, :], last], axis=2)
        _, over, mu, self.dinitial = scan_adjoint(xp, s.all[..., None, None] + 0 * s.before, s.added(), s.start, after, 2)
        if s.start is not None:
            self.dinitial = self.dinitial + into[:, :, 0, :, :]
        self.mu, self.over = mu, s.all * xp.sum(over, axis=(-2, -1))
        self._gradients()

    def _take_ends(self, grad: Any) -> None:
        """The gradients that the states at the ends of sequences give to the chunks in which these end."""
        xp, s = self.xp, self.s
        steps, state = s.end_weights()
        u, B = s.at_ends(s.u), s.at_ends(s.B)
        to_u, to_B = steps[..., None] * xp.matmul(B, xp.matrix_transpose(grad)), xp.matmul(u * steps[..., None], grad)
        through = state * xp.sum(s.at_ends(s.before) * grad, axis=(-2, -1))  # over the decays from the start of the chunk to the end
        step = arange(xp, s.size, s.inputs.x, xp.int64)
        upto = xp.astype(step[None, :] <= s.sequences.step[:, None], u.dtype)[:, None, :]
        exponents = upto * (through[..., None] + sums_before(xp, _dot(xp, to_u, u)))
        parts = [to_u, xp.broadcast_to(to_B, (*to_u.shape[:3], s.N)), exponents, state[..., None, None] * grad]
        K, sums = s.u.shape[2], []
        for part in parts:
            flat = xp.reshape(part, (part.shape[0], math.prod(part.shape[1:])))
            whole = xp.reshape(sums_at(xp, s.sequences.chunk, flat, K), (1, K, *part.shape[1:]))
            sums.append(xp.permute_dims(whole, (0, 2, 1, *range(3, whole.ndim))))
        self.end_u, self.end_B, self.end_exponents, self.end_before = sums

    def _gradients(self) -> None:
        xp, s, g = self.xp, self.s, self.rows
        turned = xp.matrix_transpose
        to_triangle = xp.matmul(g, turned(s.u)) * s.pairs  # (9)
        crossing = to_triangle * s.inner
        states = s.to_end[..., None] * xp.matmul(s.B, turned(self.mu))  # (10)
        du = states + xp.matmul(turned(s.triangle), g)
        by_state = s.from_start[..., None] * xp.matmul(g, s.before)
        dB = xp.matmul(turned(to_triangle), s.C) + s.to_end[..., None] * xp.matmul(s.u, self.mu)  # (11)
        dC = xp.matmul(to_triangle, s.B) + by_state
        # (12)
        exponent = sums_across(xp, crossing) + sums_from(xp, _dot(xp, by_state, s.C))
        exponent = exponent + sums_before(xp, _dot(xp, states, s.u)) + self.over[..., None]
        if hasattr(self, "end_u"):
            du, dB, exponent = du + self.end_u, dB + self.end_B, exponent + self.end_exponents
        du, self.dB, self.dC, exponent = (_in_rows(xp, y, s.L) for y in (du, dB, dC, exponent))
        self.dx = s.dt[..., None] * du  # (14)
        if s.D is not None:
            self.dx = self.dx + s.D * self.g
        self.ddt = (_dot(xp, s.x, du) + s.A * exponent) * s.slope
        self.dA = xp.sum(s.dt * exponent, axis=(0, 1))
        self.dD = xp.sum(self.g * s.x, axis=(0, 1))

    def of_groups(self, grad: Any) -> Any:
        """(B, L, heads, N) -> (B, L, G, N): sums over the heads of this piece."""
        xp, groups = self.xp, self.s.groups
        if groups == 1:
            return xp.sum(grad, axis=2, keepdims=True)
        belongs = arange(xp, groups, grad, xp.int64)[:, None] == self.s.group()
        return xp.permute_dims(xp.tensordot(xp.astype(belongs, grad.dtype), grad, axes=([1], [2])), (1, 2, 0, 3))


def _backward(
    xp: Any,
    inputs: _Inputs,
    grad: Any,
    grad_final: Any,
    grad_varlen: Any,
    chunk_size: int,
    softens: bool,
    least: float,
    most: float,
    *_: bool,
) -> tuple[Any, ...]:
    (items, L, heads, P), N = inputs.x.shape, inputs.B.shape[3]
    if 0 in inputs.x.shape:
        *others, dinitial = (None if x is None else zeros(xp, x.shape, x) for x in inputs[:9])
        return *others, dinitial if dinitial is None or grad_final is None else grad_final, None, None
    size = min(chunk_size, LONGEST, L)
    sequences = _Sequences(xp, inputs, size)
    mixing: list[Any] = [0, 0]

    def compute(piece: slice) -> tuple[Any, ...]:
        a = _Adjoint(_Scan(xp, inputs, sequences, (size, softens, least, most), piece), grad, grad_final, grad_varlen)
        for i, m in enumerate((a.dB, a.dC)):
            mixing[i] = mixing[i] + a.of_groups(m)
        by_heads = [xp.permute_dims(y, (0, 2, 1, 3)) for y in (a.dx, a.ddt[..., None], a.dz)]
        return (*by_heads, a.dA[None, :], a.dD[None, ...], a.dinitial)

    *by_heads, dA, dD, dinitial = in_chunks(xp, compute, heads, items * L * (8 * size + 8 * P + 8 * N), axis=1)
    dx, ddt, dz = (xp.permute_dims(y, (0, 2, 1, 3)) for y in by_heads)
    dD = dD[0, ...]
    return (
        dx, ddt[..., 0], dA[0, :], *mixing, None if inputs.D is None else dD if inputs.D.ndim == 2 else xp.sum(dD, axis=1),
        None if inputs.z is None else dz, None if inputs.dt_bias is None else xp.sum(ddt, axis=(0, 1, 3)),
        None if inputs.initial is None else dinitial, None, None,
    )  # fmt: skip
