"""The gated delta rule as array operations, in chunks: what needs no state of all chunks at once, then one step a chunk.

Arrays of a chunk are (B, HV, M, C, ...), M chunks of C tokens. Decays and their gradient are in double precision.
"""

from __future__ import annotations

from typing import Any

from ..._array_tools import arange, ascends, double, in_pieces, nan_unless, sums_across, sums_before, sums_from, twofold_sums, zeros

_CHUNK = 64
_LEAST = -746.0  # the exponential of what is below is 0


class _Tokens:
    """Where the tokens of every sequence lie in chunks of its own, behind them zeros. With cu_seqlens all is worked out where they lie."""

    def __init__(self, xp: Any, q: Any, cu_seqlens: Any) -> None:
        self.xp, self.T = xp, q.shape[1]
        self.packed = cu_seqlens is not None
        sequences = max(cu_seqlens.shape[0] - 1, 1) if self.packed else 1
        self.C = C = min(_CHUNK, -(-self.T // sequences))
        self.M = M = (self.T + sequences * (C - 1)) // C
        if not self.packed:
            return
        begin, end = cu_seqlens[:-1], cu_seqlens[1:]
        counts = (end - begin + C - 1) // C
        self.counts, self.ends = counts, xp.cumulative_sum(counts)
        chunk, within = arange(xp, M, cu_seqlens), arange(xp, C, cu_seqlens)
        self.owner = xp.clip(xp.searchsorted(self.ends, chunk, side="right"), max=sequences - 1)
        of_chunk = xp.take(self.ends - counts, self.owner, axis=0)
        at = (xp.take(begin, self.owner, axis=0) + (chunk - of_chunk) * C)[:, None] + within
        self.there = (at < xp.take(end, self.owner, axis=0)[:, None]) & (chunk < self.ends[-1:])[:, None]
        self.at = xp.clip(xp.reshape(at, (M * C,)), min=0, max=self.T - 1)
        self.is_first, self.is_last = chunk == of_chunk, chunk + 1 == xp.take(self.ends, self.owner, axis=0)
        token = arange(xp, self.T, cu_seqlens)
        of_token = xp.clip(xp.searchsorted(end, token, side="right"), max=sequences - 1)
        place = xp.take(self.ends - counts, of_token, axis=0) * C + token - xp.take(begin, of_token, axis=0)
        self.place = xp.clip(place, min=0, max=M * C - 1)
        self.good = ascends(xp, cu_seqlens, self.T)

    def split(self, x: Any) -> Any:
        """(B, T, X, ...) -> (B, X, M, C, ...)."""
        xp = self.xp
        if self.packed:
            x = xp.take(x, self.at, axis=1)
            there = xp.reshape(self.there, (1, self.M * self.C, *[1] * (x.ndim - 2)))
            x = xp.where(there, x, xp.zeros_like(x))
        else:
            x = xp.concat([x, zeros(xp, (x.shape[0], self.M * self.C - self.T, *x.shape[2:]), x)], axis=1)
        x = xp.reshape(x, (x.shape[0], self.M, self.C, *x.shape[2:]))
        return xp.permute_dims(x, (0, 3, 1, 2, *range(4, x.ndim)))

    def join(self, x: Any) -> Any:
        """The way back."""
        xp = self.xp
        x = xp.permute_dims(x, (0, 2, 3, 1, *range(4, x.ndim)))
        x = xp.reshape(x, (x.shape[0], self.M * self.C, *x.shape[3:]))
        return nan_unless(xp, self.good, xp.take(x, self.place, axis=1)) if self.packed else x[:, : self.T, ...]

    def begun(self, chunk: int, states: Any, before: Any) -> Any:
        """The state before a chunk: that of its sequence where it is the first."""
        return self._chosen(chunk, chunk == 0, getattr(self, "is_first", None), states, before)

    def ended(self, chunk: int, states: Any, behind: Any) -> Any:
        """The gradient of the state behind a chunk: that of its sequence's final state where it is the last."""
        return self._chosen(chunk, chunk == self.M - 1, getattr(self, "is_last", None), states, behind)

    def _chosen(self, chunk: int, at_the_end: bool, flags: Any, states: Any, passed: Any) -> Any:
        if not self.packed:
            return states if at_the_end else passed
        of_chunk = self.xp.take(states, self.owner[chunk : chunk + 1], axis=0)
        return self.xp.where(flags[chunk], of_chunk, passed)

    def last_of(self, per_chunk: list[Any], states: Any) -> Any:
        """Of each sequence the last chunk's; of one without tokens that of ``states``."""
        return self._picked(per_chunk, self.ends - 1, states) if self.packed else per_chunk[-1]

    def first_of(self, per_chunk: list[Any], states: Any) -> Any:
        return self._picked(per_chunk, self.ends - self.counts, states) if self.packed else per_chunk[0]

    def _picked(self, per_chunk: list[Any], at: Any, states: Any) -> Any:
        xp = self.xp
        found = xp.take(xp.concat(per_chunk, axis=0), xp.clip(at, min=0, max=self.M - 1), axis=0)
        return nan_unless(xp, self.good, xp.where((self.counts > 0)[:, None, None, None], found, states))


def _transposed(xp: Any, x: Any) -> Any:
    return xp.matrix_transpose(x)


class _Chunks:
    """README (4)-(8): what chunks are before any state comes in."""

    def __init__(self, xp: Any, given: tuple[Any, ...], normalizes: bool, corrects: bool) -> None:
        q, k, v, g, beta, cu_seqlens = given
        self.xp, self.corrects, self.heads = xp, corrects, q.shape[2]
        self.group = v.shape[2] // self.heads
        self.tokens = tokens = _Tokens(xp, q, cu_seqlens)
        (self.q, self.q_factor), (self.k, self.k_factor) = (self._rows(x, normalizes) for x in (q, k))
        self.v = tokens.split(v)
        self.normalizes = normalizes
        self.beta = None if beta is None else tokens.split(beta)[..., None]
        C = tokens.C
        i = arange(xp, C, q, xp.int64)
        self.below, self.not_above = i[:, None] > i, i[:, None] >= i
        self._decay(g)
        self.reads = self._weighed(self.q, self.not_above)
        if corrects:
            self.pairs = self._weighed(self.k, self.below)
            eye = xp.eye(C, dtype=q.dtype, device=q.device)
            both = xp.concat([self.v, self.since * self.k], axis=-1)
            solved = xp.linalg.solve(eye + self._times_beta(self.pairs, True), both)
            self.values, self.of_state = solved[..., : v.shape[3]], solved[..., v.shape[3] :]

    def _rows(self, x: Any, normalizes: bool) -> tuple[Any, Any]:
        """(2), for every head of values."""
        xp = self.xp
        rows = self.tokens.split(xp.repeat(x, self.group, axis=2) if self.group != 1 else x)
        if not normalizes:
            return rows, None
        factor = 1 / xp.sqrt(xp.sum(rows * rows, axis=-1, keepdims=True) + 1e-6)
        return factor * rows, factor

    def _decay(self, g: Any) -> None:
        """(4). A decay to 0 is counted, not summed: what lies behind it has a difference of logarithms still."""
        xp, k = self.xp, self.k
        if g is None:
            within = xp.astype(self.not_above, k.dtype)
            ones = xp.ones_like(k[..., :1])
            self.decay, self.since, self.until, self.total = within, ones, ones, xp.ones_like(k[..., 0, 0])[..., None, None]
            return
        logs = double(xp, self.tokens.split(g))
        zero = logs < _LEAST
        sums, low = twofold_sums(xp, xp.where(zero, xp.zeros_like(logs), logs))
        resets = xp.cumulative_sum(xp.astype(zero, xp.int64), axis=-1)
        same = (resets[..., :, None] == resets[..., None, :]) & self.not_above
        differences = (sums[..., :, None] - sums[..., None, :]) + (low[..., :, None] - low[..., None, :])
        none = xp.full_like(differences, -xp.inf)
        decay, since = xp.exp(xp.where(same, differences, none)), xp.exp(xp.where(resets == 0, sums, none[..., 0]))
        self.decay, self.since = xp.astype(decay, k.dtype), xp.astype(since, k.dtype)[..., None]
        self.until, self.total = self.decay[..., -1, :, None], self.since[..., -1:, :]

    def _weighed(self, a: Any, mask: Any) -> Any:
        xp = self.xp
        products = xp.matmul(a, _transposed(xp, self.k))
        return xp.where(mask, self.decay * products, xp.zeros_like(products))

    def _times_beta(self, x: Any, columns: bool = False) -> Any:
        if self.beta is None:
            return x
        return x * (_transposed(self.xp, self.beta) if columns else self.beta)

    def at(self, x: Any, chunk: int) -> Any:
        return x[:, :, chunk, ...]

    def states(self, initial: Any) -> tuple[list[Any], list[Any]]:
        """(9): the states before every chunk and behind it."""
        xp, before, behind = self.xp, [], []
        S = initial if not self.tokens.packed else zeros(xp, (1, *initial.shape[1:]), initial)
        keys = _transposed(xp, self.until * self.k)
        for c in range(self.tokens.M):
            S = self.tokens.begun(c, initial, S)
            before.append(S)
            S = self.at(self.total, c) * S + xp.matmul(self.at(keys, c), self.at_written(c, S))
            behind.append(S)
        return before, behind

    def at_written(self, c: int, S: Any) -> Any:
        if not self.corrects:
            return self.at(self.v, c)
        u = self.at(self.values, c) - self.xp.matmul(self.at(self.of_state, c), S)
        return u if self.beta is None else u * self.at(self.beta, c)

    def written(self, S: Any) -> tuple[Any, Any]:
        """(6), (7): u and x of all chunks, from the states before them."""
        if not self.corrects:
            return self.v, self.v
        u = self.values - self.xp.matmul(self.of_state, S)
        return u, self._times_beta(u)


def _first_states(xp: Any, q: Any, v: Any, initial_state: Any, cu_seqlens: Any) -> Any:
    if initial_state is not None:
        return initial_state
    sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return zeros(xp, (sequences, v.shape[2], q.shape[3], v.shape[3]), q)


def _turned(xp: Any, state: Any) -> Any:
    """(N, HV, K, V) <-> (N, K, HV, V): heads where tokens have theirs."""
    return None if state is None else xp.permute_dims(state, (0, 2, 1, 3))


def _by_heads(xp: Any, compute: Any, inputs: tuple[Any, ...], states: tuple[Any, ...]) -> list[Any]:
    """``compute(inputs, states)`` of some heads of keys with those of values that share them, whose results have heads in axis 2."""
    q, _, v, *_ = inputs
    group = v.shape[2] // q.shape[2]

    def of(heads: slice) -> tuple[Any, ...]:
        values = slice(group * heads.start, group * heads.stop)
        some = [None if x is None else x[:, :, heads if i < 2 else values, ...] for i, x in enumerate(inputs)]
        made: tuple[Any, ...] = compute(some, [None if S is None else S[:, values, ...] for S in states])
        return made

    chunks, numbers = v.shape[1] // _CHUNK + 1, (q.shape[3] + v.shape[3], q.shape[3] * v.shape[3])
    return list(in_pieces(xp, of, q.shape[2], group * v.shape[0] * max(v.shape[1] * numbers[0], chunks * numbers[1]), axis=2))


def _run(
    xp: Any, q: Any, k: Any, v: Any, g: Any, beta: Any, initial_state: Any, cu_seqlens: Any, scale: float, normalizes: bool, final: bool,
    corrects: bool,
) -> tuple[Any, Any]:  # fmt: skip
    first = _first_states(xp, q, v, initial_state, cu_seqlens)
    if 0 in (*v.shape, q.shape[3]):
        return xp.zeros_like(v), first if final else None

    def compute(inputs: list[Any], states: list[Any]) -> tuple[Any, ...]:
        chunks = _Chunks(xp, (*inputs, cu_seqlens), normalizes, corrects)
        before, behind = chunks.states(states[0])
        S = xp.stack(before, axis=2)
        _, x = chunks.written(S)
        o = chunks.tokens.join(scale * (xp.matmul(chunks.since * chunks.q, S) + xp.matmul(chunks.reads, x)))
        return (o, _turned(xp, chunks.tokens.last_of(behind, states[0]))) if final else (o,)

    o, *last = _by_heads(xp, compute, (q, k, v, g, beta), (first,))
    return o, _turned(xp, last[0]) if final else None


def _run_vjp(
    xp: Any, q: Any, k: Any, v: Any, g: Any, beta: Any, initial_state: Any, cu_seqlens: Any, grad: Any, grad_final: Any, scale: float,
    normalizes: bool, corrects: bool,
) -> tuple[Any, ...]:  # fmt: skip
    first = _first_states(xp, q, v, initial_state, cu_seqlens)
    last = xp.zeros_like(first) if grad_final is None else grad_final
    inputs = (q, k, v, g, beta, initial_state)
    if 0 in (*v.shape, q.shape[3]):
        return tuple(None if x is None else last if x is initial_state else zeros(xp, x.shape, x) for x in inputs)

    def compute(inputs: list[Any], states: list[Any]) -> tuple[Any, ...]:
        c = _Chunks(xp, (*inputs[:5], cu_seqlens), normalizes, corrects)
        before, _ = c.states(states[0])
        S = xp.stack(before, axis=2)
        grad = scale * c.tokens.split(inputs[5])
        R, y, z, of_first = _back(xp, c, grad, states[1])
        u, x = c.written(S)
        made = _gradients(xp, c, grad, S, R, z, x)
        dq, dk = (_of_rows(xp, c, *rows) for rows in ((c.q, c.q_factor, made[0]), (c.k, c.k_factor, made[1])))
        of_beta = [] if beta is None else [c.tokens.join(xp.sum(y * u, axis=-1))]
        return dq, dk, c.tokens.join(z), _turned(xp, of_first), *([] if g is None else [c.tokens.join(made[2])]), *of_beta

    dq, dk, dv, dinitial, *gates = _by_heads(xp, compute, (q, k, v, g, beta, grad), (first, last))
    dg, dbeta = (None if x is None else gates.pop(0) for x in (g, beta))
    return dq, dk, dv, dg, dbeta, None if initial_state is None else _turned(xp, dinitial)


def _back(xp: Any, c: _Chunks, grad: Any, last: Any) -> tuple[Any, Any, Any, Any]:
    """(12)-(14), (18): gradients of the states behind every chunk, y and z of all, and the gradient of the initial states."""
    keys, kept = c.until * c.k, xp.matmul(_transposed(xp, c.since * c.q), grad)
    y0 = xp.matmul(_transposed(xp, c.reads), grad)
    if c.corrects:
        eye = xp.eye(c.tokens.C, dtype=grad.dtype, device=grad.device)
        matrix = eye + c._times_beta(_transposed(xp, c.pairs), True)
        solved = xp.linalg.solve(matrix, xp.concat([y0, keys], axis=-1))
        y0, keys = solved[..., : y0.shape[-1]], solved[..., y0.shape[-1] :]
    taken = _transposed(xp, c.since * c.k)
    behind, of_states = [], []
    R = last if not c.tokens.packed else zeros(xp, (1, *last.shape[1:]), last)
    for n in range(c.tokens.M - 1, -1, -1):
        R = c.tokens.ended(n, last, R)
        behind.append(R)
        before = c.at(c.total, n) * R + c.at(kept, n)
        if c.corrects:
            z = c.at(y0, n) + xp.matmul(c.at(keys, n), R)
            z = z if c.beta is None else z * c.at(c.beta, n)
            before = before - xp.matmul(c.at(taken, n), z)
        R = before
        of_states.append(R)
    R = xp.stack(behind[::-1], axis=2)
    y = y0 + xp.matmul(keys, R)
    return R, y, c._times_beta(y) if c.corrects else y, c.tokens.first_of(of_states[::-1], last)


def _gradients(xp: Any, c: _Chunks, grad: Any, S: Any, R: Any, z: Any, x: Any) -> tuple[Any, Any, Any]:
    """(15)-(17): of q and k as the recurrence sees them, and of g."""
    zero = xp.zeros_like(c.reads)
    of_x = _transposed(xp, x)
    dreads = xp.where(c.not_above, xp.matmul(grad, of_x), zero)
    pairs = double(xp, dreads) * double(xp, c.reads)
    read = c.since * xp.matmul(grad, _transposed(xp, S))
    wrote = c.until * xp.matmul(x, _transposed(xp, R))
    weighed = c.decay * dreads
    dq = read + xp.matmul(weighed, c.k)
    dk = wrote + xp.matmul(_transposed(xp, weighed), c.q)
    from_start = _dots(xp, c.q, read)
    if c.corrects:
        dpairs = xp.where(c.below, -xp.matmul(z, of_x), zero)
        pairs = pairs + double(xp, dpairs) * double(xp, c.pairs)
        weighed, missed = c.decay * dpairs, c.since * xp.matmul(z, _transposed(xp, S))
        dk = dk - missed + xp.matmul(weighed + _transposed(xp, weighed), c.k)
        from_start = from_start - _dots(xp, c.k, missed)
    to_end = _dots(xp, c.k, wrote)
    through = double(xp, c.total)[..., 0] * xp.sum(double(xp, S) * double(xp, R), axis=(-2, -1))[..., None]
    return dq, dk, sums_across(xp, pairs) + sums_from(xp, from_start) + sums_before(xp, to_end) + through


def _dots(xp: Any, a: Any, b: Any) -> Any:
    return xp.sum(double(xp, a) * double(xp, b), axis=-1)


def _of_rows(xp: Any, c: _Chunks, x: Any, factor: Any, d: Any) -> Any:
    """Back through (2), and summed over the heads of values that share a row."""
    if c.normalizes:
        d = factor * (d - x * xp.sum(x * d, axis=-1, keepdims=True))
    d = c.tokens.join(d)
    return xp.sum(xp.reshape(d, (*d.shape[:2], c.heads, c.group, d.shape[3])), axis=3) if c.group != 1 else d


def chunk_gated_delta_rule(
    xp: Any, q: Any, k: Any, v: Any, g: Any, beta: Any, initial_state: Any, cu_seqlens: Any, scale: float, use_qk_l2norm_in_kernel: bool,
    output_final_state: bool,
) -> tuple[Any, Any]:  # fmt: skip
    return _run(xp, q, k, v, g, beta, initial_state, cu_seqlens, scale, use_qk_l2norm_in_kernel, output_final_state, True)


def chunk_gated_delta_rule_vjp(
    xp: Any, q: Any, k: Any, v: Any, g: Any, beta: Any, initial_state: Any, cu_seqlens: Any, grad: Any, grad_final: Any, scale: float,
    use_qk_l2norm_in_kernel: bool, output_final_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    inputs = (q, k, v, g, beta, initial_state, cu_seqlens)
    return *_run_vjp(xp, *inputs, grad, grad_final, scale, use_qk_l2norm_in_kernel, True), None


def chunk_simple_gla(
    xp: Any, q: Any, k: Any, v: Any, g: Any, initial_state: Any, cu_seqlens: Any, scale: float, output_final_state: bool
) -> tuple[Any, Any]:
    return _run(xp, q, k, v, g, None, initial_state, cu_seqlens, scale, False, output_final_state, False)


def chunk_simple_gla_vjp(
    xp: Any, q: Any, k: Any, v: Any, g: Any, initial_state: Any, cu_seqlens: Any, grad: Any, grad_final: Any, scale: float,
    output_final_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    dq, dk, dv, dg, _, dinitial = _run_vjp(xp, q, k, v, g, None, initial_state, cu_seqlens, grad, grad_final, scale, False, False)
    return dq, dk, dv, dg, dinitial, None
