"""Mamba-2's scan as array operations: linear attention in chunks, with values dt x, keys B, queries C and logarithms of decays dt A.

A NaN reaches its whole chunk and all later ones.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..._array_tools import arange, double, in_chunks, sigmoid, silu, silu_slope, softplus, zeros
from ..delta.chunks import Chunks
from ..delta.decays import HeadDecays, Read
from ..delta.tokens import Tokens


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


def _transposed(xp: Any, states: Any) -> Any:
    """(..., P, N) <-> (..., N, P); None is unchanged."""
    return None if states is None else xp.matrix_transpose(states)


class _Sequences:
    """Where sequences begin and end. States are (S, H, N, P): one per item, or one per sequence of ``cuts``."""

    def __init__(self, xp: Any, inputs: _Inputs) -> None:
        self.xp, self.inputs, (items, L, *_) = xp, inputs, inputs.x.shape
        self.tokens, self.restarts, cuts = Tokens(xp, inputs.x, inputs.cuts), None, inputs.cuts
        if inputs.seq_idx is not None:
            self.restarts = xp.concat([inputs.seq_idx[:, :1], inputs.seq_idx[:, : L - 1]], axis=1) != inputs.seq_idx
        self.count = items
        if cuts is None:
            return
        self.count = cuts.shape[0] - 1
        self.has_steps = (cuts[1:] > cuts[:-1])[:, None, None, None]
        self.opens = (cuts[:-1] == 0)[:, None, None, None] & self.has_steps
        self.last = xp.clip(xp.searchsorted(cuts[1:], arange(xp, 1, cuts) + L - 1, side="right"), max=max(self.count - 1, 0))
        self.closes = (arange(xp, self.count, cuts) == self.last)[:, None, None, None]

    def spread(self, states: Any, where: str) -> Any:
        """States of the items (B, H, P, N), assigned to the sequences that open or close them; zeros for all other sequences."""
        xp, x, states = self.xp, self.inputs.x, _transposed(self.xp, states)
        if states is None:
            return zeros(xp, (self.count, x.shape[2], self.inputs.B.shape[3], x.shape[3]), x)
        return states if self.inputs.cuts is None else xp.where(getattr(self, where), states, xp.zeros_like(states))


class _Scan:
    """(1)-(6) for some heads."""

    def __init__(self, xp: Any, inputs: _Inputs, sequences: _Sequences, options: tuple[Any, ...], head_slice: slice) -> None:
        use_softplus, dt_min, dt_max = options
        self.xp, self.inputs, self.sequences, self.tokens, self.head_slice = xp, inputs, sequences, sequences.tokens, head_slice
        self.x = inputs.x[:, :, head_slice, :]
        self.D = None if inputs.D is None else inputs.D[head_slice, :] if inputs.D.ndim == 2 else inputs.D[head_slice, None]
        raw = inputs.dt[:, :, head_slice] if inputs.dt_bias is None else inputs.dt[:, :, head_slice] + inputs.dt_bias[head_slice]
        step = softplus(xp, raw) if use_softplus else raw
        outside = (step < dt_min) | (step > dt_max)
        self.slope = xp.where(outside, xp.zeros_like(raw), sigmoid(xp, raw) if use_softplus else xp.ones_like(raw))
        step = xp.where(step < dt_min, xp.full_like(step, dt_min), step) if dt_min > -math.inf else step
        self.dt = xp.where(step > dt_max, xp.full_like(step, dt_max), step) if dt_max < math.inf else step
        self.A = inputs.A[head_slice]
        logs = double(xp, self.dt) * double(xp, self.A)
        if sequences.restarts is not None:  # a decay to 0
            logs = xp.where(sequences.restarts[:, :, None], xp.full_like(logs, -math.inf), logs)
        split = self.tokens.split
        B, C = (split(m if m.shape[2] == 1 else xp.take(m, self.group(), axis=2)) for m in (inputs.B, inputs.C))
        self.chunks = Chunks(xp, self.tokens, HeadDecays(xp, self.tokens, logs, B), Read(C), None, B, split(self.dt[..., None] * self.x))
        before, self.after = self.chunks.states(sequences.spread(inputs.initial, "opens")[:, head_slice, ...])
        self.before = xp.stack(before, axis=2)

    def group(self) -> Any:
        index = arange(self.xp, self.head_slice.stop - self.head_slice.start, self.inputs.x, self.xp.int64) + self.head_slice.start
        return index // (self.inputs.x.shape[2] // self.inputs.B.shape[2])

    def output(self) -> Any:
        """The outputs before the gate."""
        y = self.tokens.join(self.chunks.outputs(self.before))
        return y if self.D is None else y + self.D * self.x

    def states(self, final: bool, varlen: bool) -> list[Any]:
        """The requested states, (B, H, P, N) and (S, H, P, N)."""
        xp, q = self.xp, self.sequences
        last = self.tokens.of_sequences(self.after, False, xp.zeros_like(self.after[0]))
        both = (last if q.inputs.cuts is None else xp.take(last, q.last, axis=0)) if final else None, last if varlen else None
        return [_transposed(xp, states) for states in both if states is not None]


def mamba_chunk_scan_combined(xp: Any, *arguments: Any) -> tuple[Any, Any, Any]:
    inputs, (_, *options, final, varlen) = _Inputs(*arguments[:11]), arguments[11:]
    (items, L, heads, P), N = inputs.x.shape, inputs.B.shape[3]
    if 0 in inputs.x.shape:
        last = zeros(xp, (items, heads, P, N), inputs.x) if inputs.initial is None else inputs.initial
        sequence_states = zeros(xp, (inputs.cuts.shape[0] - 1, heads, P, N), inputs.x) if varlen else None
        return inputs.x, last if final else None, sequence_states
    sequences = _Sequences(xp, inputs)

    def compute(head_slice: slice) -> tuple[Any, ...]:
        s = _Scan(xp, inputs, sequences, tuple(options), head_slice)
        out = s.output()
        out = out if inputs.z is None else out * silu(xp, inputs.z[:, :, head_slice, :])
        return xp.permute_dims(out, (0, 2, 1, 3)), *s.states(final, varlen)

    out, *states = in_chunks(xp, compute, heads, items * L * 4 * (sequences.tokens.C + P + N), axis=1)
    return xp.permute_dims(out, (0, 2, 1, 3)), states.pop(0) if final else None, states.pop(0) if varlen else None


class _Adjoint:
    """(8)-(15) for some heads; ``last`` are gradients of the states after the sequences."""

    def __init__(self, s: _Scan, grad: Any, last: Any) -> None:
        xp, inputs, head_slice, self.s = s.xp, s.inputs, s.head_slice, s
        g = self.dz = grad[:, :, head_slice, :]
        if inputs.z is not None:
            z = inputs.z[:, :, head_slice, :]
            self.dz, g = g * silu_slope(xp, z) * s.output(), g * silu(xp, z)
        d = s.chunks.gradients(s.tokens.split(g), s.before, last[:, head_slice, ...])
        du, self.dB, self.dC, exponent = map(s.tokens.join, (d.values, d.key, d.query, xp.astype(d.logs, g.dtype)))
        self.dx = s.dt[..., None] * du  # (14)
        if s.D is not None:
            self.dx = self.dx + s.D * g
        self.ddt = (xp.sum(s.x * du, axis=-1) + s.A * exponent) * s.slope
        self.dA, self.dD = xp.sum(s.dt * exponent, axis=(0, 1)), xp.sum(g * s.x, axis=(0, 1))
        initial = d.initial
        if inputs.cuts is not None:
            initial = xp.sum(xp.where(s.sequences.opens, initial, xp.zeros_like(initial)), axis=0, keepdims=True)
        self.dinitial = _transposed(xp, initial)

    def sum_groups(self, grad: Any) -> Any:
        """Sums over these heads in each group: (B, L, heads, N) -> (B, L, G, N)."""
        xp, groups = self.s.xp, self.s.inputs.B.shape[2]
        if groups == 1:
            return xp.sum(grad, axis=2, keepdims=True)
        belongs = arange(xp, groups, grad, xp.int64)[:, None] == self.s.group()
        return xp.permute_dims(xp.tensordot(xp.astype(belongs, grad.dtype), grad, axes=([1], [2])), (1, 2, 0, 3))


def mamba_chunk_scan_combined_vjp(xp: Any, *arguments: Any) -> tuple[Any, ...]:
    inputs, (grad, grad_final, grad_varlen, _, *options, _, _) = _Inputs(*arguments[:11]), arguments[11:]
    (items, L, heads, P), N = inputs.x.shape, inputs.B.shape[3]
    if 0 in inputs.x.shape:
        *others, dinitial = (None if x is None else zeros(xp, x.shape, x) for x in inputs[:9])
        return *others, dinitial if dinitial is None or grad_final is None else grad_final, None, None
    sequences = _Sequences(xp, inputs)
    last, mixing = sequences.spread(grad_final, "closes"), [0, 0]
    if grad_varlen is not None:
        last = last + _transposed(xp, grad_varlen)

    def compute(head_slice: slice) -> tuple[Any, ...]:
        a = _Adjoint(_Scan(xp, inputs, sequences, tuple(options), head_slice), grad, last)
        for i, m in enumerate((a.dB, a.dC)):
            mixing[i] = mixing[i] + a.sum_groups(m)
        by_heads = [xp.permute_dims(y, (0, 2, 1, 3)) for y in (a.dx, a.ddt[..., None], a.dz)]
        return (*by_heads, a.dA[None, :], a.dD[None, ...], a.dinitial)

    *by_heads, dA, dD, dinitial = in_chunks(xp, compute, heads, items * L * 8 * (sequences.tokens.C + P + N), axis=1)
    dx, ddt, dz = (xp.permute_dims(y, (0, 2, 1, 3)) for y in by_heads)
    dD = dD[0, ...]
    return (
        dx, ddt[..., 0], dA[0, :], *mixing, None if inputs.D is None else dD if inputs.D.ndim == 2 else xp.sum(dD, axis=1),
        None if inputs.z is None else dz, None if inputs.dt_bias is None else xp.sum(ddt, axis=(0, 1, 3)),
        None if inputs.initial is None else dinitial, None, None,
    )  # fmt: skip
