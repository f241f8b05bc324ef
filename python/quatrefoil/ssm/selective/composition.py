"""The kernels of a Mamba block as array operations.

The scan stores all states of a few channels at a time, B x channels x N x L elements.
"""

from __future__ import annotations

from typing import Any

from ..._array_tools import arange, conj, in_chunks, is_complex, nan_unless, real, sigmoid, silu, silu_slope, softplus, zeros
from ..scan.composition import scan, scan_adjoint


class _Mixing:
    """B or C for some channels as (1 or B, channels or 1, N, 1 or L), and its gradient, collected from all channels."""

    def __init__(self, xp: Any, matrix: Any, channels: int) -> None:
        self.xp, self.matrix, self.channels = xp, matrix, channels
        self.groups = matrix.shape[1] if matrix.ndim == 4 else 1
        self.total: Any = zeros(xp, matrix.shape, matrix)
        self.channel_sums: list[Any] = []

    def select(self, channel_slice: slice) -> Any:
        if self.matrix.ndim == 2:
            return self.matrix[None, channel_slice, :, None]
        if self.groups == 1:
            return self.matrix[:, None, ...] if self.matrix.ndim == 3 else self.matrix
        return self.xp.take(self.matrix, self._group(channel_slice), axis=1)

    def _group(self, channel_slice: slice) -> Any:
        index = arange(self.xp, channel_slice.stop - channel_slice.start, self.matrix, self.xp.int64) + channel_slice.start
        return index // (self.channels // self.groups)

    def add(self, grad: Any, channel_slice: slice) -> None:
        """Add the gradient (B, channels, N, L) of these channels."""
        xp = self.xp
        if self.matrix.ndim == 2:
            self.channel_sums.append(xp.sum(grad, axis=(0, 3)))
        elif self.groups == 1:
            self.total = self.total + xp.sum(grad, axis=1, keepdims=self.matrix.ndim == 4)
        else:
            belongs = arange(xp, self.groups, self.matrix, xp.int64)[:, None] == self._group(channel_slice)
            group_sums = xp.tensordot(xp.astype(belongs, self.matrix.dtype), grad, axes=([1], [1]))  # (G, B, N, L)
            self.total = self.total + xp.permute_dims(group_sums, (1, 0, 2, 3))

    def gradient(self) -> Any:
        return self.xp.concat(self.channel_sums, axis=0) if self.channel_sums else self.total


class _Scan:
    """(1)-(3) for some channels: step sizes, coefficients and inputs of the recurrence, and the gate."""

    def __init__(self, xp: Any, inputs: tuple[Any, ...], mixing: list[_Mixing], use_softplus: bool, channel_slice: slice) -> None:
        u, delta, A, D, z, bias = inputs
        self.xp, self.u, self.A = xp, u[:, channel_slice, :], A[None, channel_slice, :, None]
        self.raw = delta[:, channel_slice, :] if bias is None else delta[:, channel_slice, :] + bias[channel_slice, None]
        self.step = softplus(xp, self.raw) if use_softplus else self.raw
        self.B, self.C = (m.select(channel_slice) for m in mixing)
        self.pair = 2 if is_complex(xp, A) else 1
        self.a = xp.exp(self.step[:, :, None, :] * self.A)
        self.b = (self.step * self.u)[:, :, None, :] * self.B
        self.D = None if D is None else D[channel_slice, None]
        self.z = None if z is None else z[:, channel_slice, :]

    def output(self, x: Any) -> Any:
        """y with the skip term, before the gate."""
        y = self.pair * self.xp.sum(real(self.xp, self.C * x), axis=2)
        return y if self.D is None else y + self.D * self.u


def selective_scan_fn(
    xp: Any, u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, delta_bias: Any, initial_state: Any,
    delta_softplus: bool, return_last_state: bool,
) -> tuple[Any, Any]:  # fmt: skip
    (items, channels, L), N = u.shape, A.shape[1]
    if 0 in u.shape:
        last = zeros(xp, (items, channels, N), A) if initial_state is None else initial_state
        return u, last if return_last_state else None
    inputs, mixing = (u, delta, A, D, z, delta_bias), [_Mixing(xp, m, channels) for m in (B, C)]

    def compute(channel_slice: slice) -> tuple[Any, Any]:
        s = _Scan(xp, inputs, mixing, delta_softplus, channel_slice)
        x = scan(xp, s.a, s.b, None if initial_state is None else initial_state[:, channel_slice, :], 3)
        out = s.output(x)
        return out if s.z is None else out * silu(xp, s.z), x[..., L - 1]

    out, last = in_chunks(xp, compute, channels, 8 * items * N * L, axis=1)
    return out, last if return_last_state else None


def selective_scan_fn_vjp(
    xp: Any, u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, delta_bias: Any, initial_state: Any, grad: Any,
    grad_last: Any, delta_softplus: bool, return_last_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """(4)-(9)."""
    (items, channels, L), N = u.shape, A.shape[1]
    if 0 in u.shape:
        *nothing, dinitial = (None if x is None else zeros(xp, x.shape, x) for x in (u, delta, A, B, C, D, z, delta_bias, initial_state))
        return (*nothing, dinitial if dinitial is None or grad_last is None else grad_last)
    inputs, mixing = (u, delta, A, D, z, delta_bias), [_Mixing(xp, m, channels) for m in (B, C)]

    def compute(channel_slice: slice) -> tuple[Any, ...]:
        s = _Scan(xp, inputs, mixing, delta_softplus, channel_slice)
        g = grad[:, channel_slice, :] if s.z is None else grad[:, channel_slice, :] * silu(xp, s.z)
        into = s.pair * g[:, :, None, :] * conj(xp, s.C)
        if grad_last is not None:
            into = xp.concat([into[..., : L - 1], into[..., L - 1 :] + grad_last[:, channel_slice, :, None]], axis=-1)
        start = None if initial_state is None else initial_state[:, channel_slice, :]
        x, da, mu, dstart = scan_adjoint(xp, s.a, s.b, start, into, 3)
        mixing[0].add((s.step * s.u)[:, :, None, :] * mu, channel_slice)
        mixing[1].add(s.pair * g[:, :, None, :] * conj(xp, x), channel_slice)
        m = da * conj(xp, s.a)
        along_A, along_B = (xp.sum(real(xp, conj(xp, w) * v), axis=2) for w, v in ((s.A, m), (s.B, mu)))
        ddelta, du = along_A + s.u * along_B, s.step * along_B
        ddelta = ddelta * sigmoid(xp, s.raw) if delta_softplus else ddelta
        dz = g if s.z is None else grad[:, channel_slice, :] * silu_slope(xp, s.z) * s.output(x)
        dA = xp.sum(s.step[:, :, None, :] * m, axis=(0, 3))
        return du if s.D is None else du + s.D * g, ddelta, dz, dA[None, ...], xp.sum(g * s.u, axis=2), dstart

    du, ddelta, dz, dA, along, dinitial = in_chunks(xp, compute, channels, 20 * items * N * L, axis=1)
    dD, dbias = xp.sum(along, axis=0), xp.sum(ddelta, axis=(0, 2))
    dB, dC = (m.gradient() for m in mixing)
    return (
        du, ddelta, dA[0, ...], dB, dC, None if D is None else dD, None if z is None else dz, None if delta_bias is None else dbias,
        None if initial_state is None else dinitial,
    )  # fmt: skip


class _Conv:
    """(10): the samples with the initial ones, and which of them each tap uses."""

    def __init__(self, xp: Any, x: Any, weight: Any, bias: Any, seq_idx: Any, initial_states: Any) -> None:
        self.xp, self.weight, self.bias = xp, weight, bias
        self.L, self.W = x.shape[2], weight.shape[1]
        before = zeros(xp, (*x.shape[:2], self.W - 1), x) if initial_states is None else initial_states
        self.samples = xp.concat([before, x], axis=2)
        self.seq_idx = seq_idx
        if seq_idx is not None:
            self.sequences = xp.concat([zeros(xp, (x.shape[0], self.W - 1), seq_idx) - 1, seq_idx], axis=1)

    def same_sequence(self, x: Any, j: int) -> Any:
        """x (B, D, L) at the steps whose sample for tap j is in the same sequence, else 0."""
        if self.seq_idx is None:
            return x
        same = self.sequences[:, j : j + self.L] == self.seq_idx
        return self.xp.where(same[:, None, :], x, self.xp.zeros_like(x))

    def masked(self, x: Any) -> Any:
        """x, with padding set to 0."""
        return x if self.seq_idx is None else self.xp.where((self.seq_idx < 0)[:, None, :], self.xp.zeros_like(x), x)

    def shifted(self, j: int) -> Any:
        return self.samples[:, :, j : j + self.L]

    def total(self) -> Any:
        y = self.xp.zeros_like(self.shifted(0))
        y = y if self.bias is None else y + self.bias[:, None]
        for j in range(self.W):
            y = y + self.same_sequence(self.weight[:, j, None] * self.shifted(j), j)
        return y


def _conv_by_channels(xp: Any, compute: Any, x: Any, weight: Any, bias: Any, seq_idx: Any, initial_states: Any, *others: Any) -> Any:
    """Call ``compute(_Conv, *others)`` for a few channels (axis 1 of all results) at a time."""

    def compute_channels(channels: slice) -> Any:
        part, before, *rest = (None if a is None else a[:, channels, ...] for a in (x, initial_states, *others))
        return compute(_Conv(xp, part, weight[channels, :], None if bias is None else bias[channels], seq_idx, before), *rest)

    return in_chunks(xp, compute_channels, x.shape[1], 4 * x.shape[0] * (x.shape[2] + weight.shape[1]), axis=1)


def causal_conv1d_fn(
    xp: Any, x: Any, weight: Any, bias: Any, seq_idx: Any, initial_states: Any, activation: str | None, return_final_states: bool
) -> tuple[Any, Any]:
    def compute(c: _Conv) -> tuple[Any, ...]:
        y = c.total()
        out = c.masked(silu(xp, y) if activation == "silu" else y)
        return (out, c.samples[:, :, c.L :]) if return_final_states else (out,)

    out, *final = _conv_by_channels(xp, compute, x, weight, bias, seq_idx, initial_states)
    return out, final[0] if final else None


def causal_conv1d_fn_vjp(
    xp: Any, x: Any, weight: Any, bias: Any, seq_idx: Any, initial_states: Any, grad: Any, grad_final: Any, activation: str | None,
    return_final_states: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """(11)-(13)."""

    def compute(c: _Conv, grad: Any, grad_final: Any) -> tuple[Any, ...]:
        g = c.masked(grad * silu_slope(xp, c.total()) if activation == "silu" else grad)
        both, of_taps = zeros(xp, c.samples.shape, x), []
        for j in range(c.W):
            part = c.same_sequence(g, j)
            front, back = (zeros(xp, (*g.shape[:2], n), x) for n in (j, c.W - 1 - j))
            both = both + xp.concat([front, c.weight[:, j, None] * part, back], axis=2)
            of_taps.append(xp.sum(c.masked(c.same_sequence(g * c.shifted(j), j)), axis=(0, 2)))
        if grad_final is not None:
            both = both + xp.concat([zeros(xp, g.shape, x), grad_final], axis=2)
        return both[:, :, c.W - 1 :], both[:, :, : c.W - 1], xp.stack(of_taps, axis=0), xp.sum(g, axis=(0, 2))[None, :]

    dx, dinitial, dweight, dbias = _conv_by_channels(xp, compute, x, weight, bias, seq_idx, initial_states, grad, grad_final)
    return dx, dweight.T, None if bias is None else dbias[0, :], None, None if initial_states is None else dinitial


def _nan_unless_valid(xp: Any, x: Any, cu_seqlens: Any, result: Any) -> Any:
    """The result, or NaN if cu_seqlens decrease or leave [0, T]."""
    inside = (cu_seqlens[0] >= 0) & (cu_seqlens[-1] <= x.shape[0])
    return nan_unless(xp, inside & xp.all(cu_seqlens[:-1] <= cu_seqlens[1:]), result)


def causal_conv1d_varlen_states(xp: Any, x: Any, cu_seqlens: Any, state_len: int) -> Any:
    """(14)."""
    if 0 in x.shape:
        return _nan_unless_valid(xp, x, cu_seqlens, zeros(xp, (cu_seqlens.shape[0] - 1, x.shape[1], state_len), x))
    at = cu_seqlens[1:, None] - state_len + arange(xp, state_len, cu_seqlens, xp.int64)  # the row of x for each sample
    in_state = at >= cu_seqlens[:-1, None]
    rows = xp.reshape(xp.where(in_state & (at < x.shape[0]), at, 0 * at), (-1,))
    states = xp.reshape(xp.take(x, rows, axis=0), (*at.shape, x.shape[1]))
    states = xp.permute_dims(xp.where(in_state[..., None], states, 0 * states), (0, 2, 1))
    return _nan_unless_valid(xp, x, cu_seqlens, states)


def causal_conv1d_varlen_states_vjp(xp: Any, x: Any, cu_seqlens: Any, grad: Any, state_len: int) -> tuple[Any, None]:
    """Sample t belongs to the last sequence that does not begin after it."""
    if 0 in grad.shape or 0 in x.shape:
        return _nan_unless_valid(xp, x, cu_seqlens, zeros(xp, x.shape, x)), None
    t = arange(xp, x.shape[0], x, xp.int64)
    before = xp.searchsorted(cu_seqlens, t, side="right")
    item = xp.clip(before - 1, 0, grad.shape[0] - 1)
    slot = t - xp.take(cu_seqlens, item + 1, axis=0) + state_len
    in_state = (before >= 1) & (before <= grad.shape[0]) & (slot >= 0) & (slot < state_len)
    flat = xp.reshape(xp.permute_dims(grad, (0, 2, 1)), (-1, x.shape[1]))
    dx = xp.take(flat, xp.where(in_state, item * state_len + slot, 0 * t), axis=0)
    return _nan_unless_valid(xp, x, cu_seqlens, xp.where(in_state[:, None], dx, 0 * dx)), None


def _is_first(xp: Any, rows: Any) -> Any:
    """For every item, whether no earlier item uses its row."""
    count = rows.shape[0]
    if count == 0:
        return rows >= 0
    same = xp.astype(rows[:, None] == rows[None, :], xp.int64)
    return xp.argmax(same, axis=1) == arange(xp, count, rows, xp.int64)


class _Step:
    """(15); every array broadcasts to (B, H, P, N). Padding is 0, and so are items whose row is absent or used by an earlier item."""

    def __init__(
        self, xp: Any, state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, rows: Any, use_softplus: bool
    ) -> None:
        self.xp, self.shape, self.rows, self.has_heads = xp, state.shape, rows, state.ndim == 4
        self.all = self.with_heads(state)
        self.real = None if rows is None else (rows >= 0) & (rows < state.shape[0]) & _is_first(xp, rows)
        self.state = self.of_items(self.all)
        per_item: list[Any] = [None if v is None else self.masked(self.with_heads(v))[..., None] for v in (x, dt, z)]
        self.x, self.raw, self.z = per_item
        self.A, self.D, bias = (v if v is None or self.has_heads else v[None, ...] for v in (A, D, bias))
        self.groups = B.shape[1] if B.ndim == 3 else 1
        heads = self.all.shape[1]
        group = arange(xp, heads, x, xp.int64) // max(heads // self.groups, 1)
        self.B, self.C = (xp.take(self.masked(m if m.ndim == 3 else m[:, None, :]), group, axis=1)[:, :, None, :] for m in (B, C))
        if bias is not None:
            self.raw = self.raw + bias[..., None]
        self.step = softplus(xp, self.raw) if use_softplus else self.raw
        self.decayed = xp.exp(self.step * self.A) * self.state
        self.next = self.decayed + self.step * self.x * self.B
        y = xp.sum(self.C * self.next, axis=-1, keepdims=True)
        self.y = y if D is None else y + self.D[..., None] * self.x

    def with_heads(self, v: Any) -> Any:
        return v if self.has_heads else self.xp.expand_dims(v, axis=1)

    def of_items(self, states: Any) -> Any:
        """The states of the items, from their rows."""
        if self.rows is None:
            return states
        if states.shape[0] == 0:
            return zeros(self.xp, (self.rows.shape[0], *states.shape[1:]), states)
        return self.masked(self.xp.take(states, self.xp.clip(self.rows, 0, states.shape[0] - 1), axis=0))

    def masked(self, v: Any) -> Any:
        """v, with padding set to 0."""
        if self.real is None:
            return v
        return self.xp.where(self.xp.reshape(self.real, (-1, *[1] * (v.ndim - 1))), v, self.xp.zeros_like(v))

    def group_sums(self, terms: Any, like: Any) -> Any:
        """Sums of (B, H, P, N) terms over P and over the heads of each group, in the shape of ``like``, B or C."""
        xp = self.xp
        total = xp.sum(terms, axis=2)
        per_group = xp.reshape(total, (total.shape[0], self.groups, total.shape[1] // self.groups, total.shape[2]))
        return xp.reshape(xp.sum(per_group, axis=2), like.shape)

    def put(self, items: Any, others: Any) -> Any:
        """States with ``items`` in their rows and ``others`` in all other rows."""
        xp = self.xp
        if self.rows is None:
            return xp.reshape(items, self.shape)
        if 0 in (items.shape[0], self.shape[0]):
            return xp.reshape(others, self.shape)
        match = self.rows[None, :] == arange(xp, self.shape[0], self.rows, self.rows.dtype)[:, None]
        moved = xp.take(items, xp.argmax(xp.astype(match, xp.int64), axis=1), axis=0)
        return xp.reshape(xp.where(xp.any(match, axis=1)[:, None, None, None], moved, others), self.shape)


def selective_state_step(
    xp: Any, state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, dt_bias: Any, rows: Any, dt_softplus: bool
) -> tuple[Any, Any]:
    """(15). An item whose row does not exist or is used by an earlier item gets NaN."""
    s = _Step(xp, state, x, dt, A, B, C, D, z, dt_bias, rows, dt_softplus)
    out = xp.reshape(s.y if z is None else s.y * silu(xp, s.z), x.shape)
    if rows is not None:
        out = nan_unless(xp, xp.reshape(s.real | (rows < 0), (-1, *[1] * (x.ndim - 1))), s.masked(out))
    return out, s.put(s.next, s.all)


def selective_state_step_vjp(
    xp: Any, state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, dt_bias: Any, rows: Any, grad: Any, grad_next: Any,
    dt_softplus: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """(16)-(18)."""
    s = _Step(xp, state, x, dt, A, B, C, D, z, dt_bias, rows, dt_softplus)
    after = s.with_heads(grad_next)
    grad = s.masked(s.with_heads(grad))[..., None]
    g = grad if z is None else grad * silu(xp, s.z)
    mu = g * s.C + s.of_items(after)
    m = mu * s.decayed
    along_A, along_B = (xp.sum(w * v, axis=-1, keepdims=True) for w, v in ((s.A, m), (s.B, mu)))
    ddt = along_A + s.x * along_B
    ddt = ddt * sigmoid(xp, s.raw) if dt_softplus else ddt
    dx = s.step * along_B if D is None else s.step * along_B + s.D[..., None] * g
    dstate = s.put(xp.exp(s.step * s.A) * mu, after)
    return (
        dstate, xp.reshape(dx, x.shape), xp.reshape(ddt, x.shape), xp.reshape(xp.sum(s.step * m, axis=0), A.shape),
        s.group_sums(s.step * s.x * mu, B), s.group_sums(g * s.next, C),
        None if D is None else xp.reshape(xp.sum(g * s.x, axis=0), D.shape),
        None if z is None else xp.reshape(grad * silu_slope(xp, s.z) * s.y, z.shape),
        None if dt_bias is None else xp.reshape(xp.sum(s.masked(ddt), axis=0), dt_bias.shape), None,
    )  # fmt: skip
