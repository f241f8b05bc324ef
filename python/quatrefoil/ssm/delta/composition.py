"""The gated delta rule as array operations: all chunks at once as far as no state is needed, then one step per chunk.

Arrays are (B, HV, M, C, ...), M chunks of C tokens. Decays and their gradient are in double precision.
"""

from __future__ import annotations

from typing import Any

from ..._array_tools import arange, ascends, double, in_chunks, nan_unless, sums_across, sums_before, sums_from, twofold_sums, zeros

_CHUNK = 64
_MIN = -746.0  # exponentials of numbers below are 0


class _Tokens:
    """The places of the tokens in chunks, each of one sequence and padded with zeros. cu_seqlens is never read on the host."""

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
        self.is_token = (at < xp.take(end, self.owner, axis=0)[:, None]) & (chunk < self.ends[-1:])[:, None]
        self.at = xp.clip(xp.reshape(at, (M * C,)), min=0, max=self.T - 1)
        self.is_first, self.is_last = chunk == of_chunk, chunk + 1 == xp.take(self.ends, self.owner, axis=0)
        token = arange(xp, self.T, cu_seqlens)
        of_token = xp.clip(xp.searchsorted(end, token, side="right"), max=sequences - 1)
        place = xp.take(self.ends - counts, of_token, axis=0) * C + token - xp.take(begin, of_token, axis=0)
        self.place = xp.clip(place, min=0, max=M * C - 1)
        self.valid = ascends(xp, cu_seqlens, self.T)

    def split(self, x: Any) -> Any:
        """(B, T, X, ...) -> (B, X, M, C, ...)."""
        xp = self.xp
        if self.packed:
            x = xp.take(x, self.at, axis=1)
            is_token = xp.reshape(self.is_token, (1, self.M * self.C, *[1] * (x.ndim - 2)))
            x = xp.where(is_token, x, xp.zeros_like(x))
        else:
            x = xp.concat([x, zeros(xp, (x.shape[0], self.M * self.C - self.T, *x.shape[2:]), x)], axis=1)
        x = xp.reshape(x, (x.shape[0], self.M, self.C, *x.shape[2:]))
        return xp.permute_dims(x, (0, 3, 1, 2, *range(4, x.ndim)))

    def join(self, x: Any) -> Any:
        """The inverse of ``split``."""
        xp = self.xp
        x = xp.permute_dims(x, (0, 2, 3, 1, *range(4, x.ndim)))
        x = xp.reshape(x, (x.shape[0], self.M * self.C, *x.shape[3:]))
        return nan_unless(xp, self.valid, xp.take(x, self.place, axis=1)) if self.packed else x[:, : self.T, ...]

    def entering(self, chunk: int, first: bool, states: Any, passed: Any) -> Any:
        """What enters a chunk: ``states`` of its sequence at the first (or else the last) chunk, otherwise what its neighbour passes on."""
        if not self.packed:
            return states if chunk == (0 if first else self.M - 1) else passed
        flags = self.is_first if first else self.is_last
        return self.xp.where(flags[chunk], self.xp.take(states, self.owner[chunk : chunk + 1], axis=0), passed)

    def of_sequences(self, per_chunk: list[Any], first: bool, states: Any) -> Any:
        """The entry of the first (or else the last) chunk of every sequence; for one without tokens that of ``states``."""
        xp = self.xp
        if not self.packed:
            return per_chunk[0 if first else -1]
        at = xp.clip(self.ends - (self.counts if first else 1), min=0, max=self.M - 1)
        chosen = xp.take(xp.concat(per_chunk, axis=0), at, axis=0)
        return nan_unless(xp, self.valid, xp.where((self.counts > 0)[:, None, None, None], chosen, states))


class _Chunks:
    """README (4)-(8), as far as they do not depend on a state."""

    def __init__(self, xp: Any, inputs: tuple[Any, ...], normalizes: bool, corrects: bool) -> None:
        q, k, v, g, beta, cu_seqlens = inputs
        self.xp, self.corrects, self.heads = xp, corrects, q.shape[2]
        self.group = v.shape[2] // self.heads
        self.tokens = tokens = _Tokens(xp, q, cu_seqlens)
        (self.q, self.q_factor), (self.k, self.k_factor) = (self._rows(x, normalizes) for x in (q, k))
        self.values, self.of_state = tokens.split(v), None
        self.beta = None if beta is None else tokens.split(beta)[..., None]
        i = arange(xp, tokens.C, q, xp.int64)
        self.below, self.not_above = i[:, None] > i, i[:, None] >= i
        self._decay(g)
        self.reads = self._weighed(self.q, self.not_above)
        if corrects:
            self.pairs = self._weighed(self.k, self.below)
            eye = xp.eye(tokens.C, dtype=q.dtype, device=q.device)
            both = xp.concat([self.values, self.since * self.k], axis=-1)
            solved = xp.linalg.solve(eye + self.times_beta(self.pairs, True), both)
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
        """(4). Decays to 0 are counted, not summed, so that the sums of logarithms after them stay finite."""
        xp, k = self.xp, self.k
        if g is None:
            within = xp.astype(self.not_above, k.dtype)
            ones = xp.ones_like(k[..., :1])
            self.decay, self.since, self.until, self.total = within, ones, ones, xp.ones_like(k[..., 0, 0])[..., None, None]
            return
        logs = double(xp, self.tokens.split(g))
        zero = logs < _MIN
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
        products = xp.matmul(a, xp.matrix_transpose(self.k))
        return xp.where(mask, self.decay * products, xp.zeros_like(products))

    def times_beta(self, x: Any, columns: bool = False) -> Any:
        if self.beta is None:
            return x
        return x * (self.xp.matrix_transpose(self.beta) if columns else self.beta)

    def states(self, initial: Any) -> tuple[list[Any], list[Any]]:
        """(9): the states before every chunk and after it."""
        xp, before, after = self.xp, [], []
        S = initial if not self.tokens.packed else zeros(xp, (1, *initial.shape[1:]), initial)
        keys = xp.matrix_transpose(self.until * self.k)
        for c in range(self.tokens.M):
            S = self.tokens.entering(c, True, initial, S)
            before.append(S)
            S = _at(self.total, c) * S + xp.matmul(_at(keys, c), self.written(S, c)[1])
            after.append(S)
        return before, after

    def written(self, S: Any, chunk: int | None = None) -> tuple[Any, Any]:
        """(6), (7): u and x of one chunk, or of all, from the states before them."""
        values, of_state, beta = (x if chunk is None or x is None else _at(x, chunk) for x in (self.values, self.of_state, self.beta))
        u = values if of_state is None else values - self.xp.matmul(of_state, S)
        return u, u if beta is None else u * beta


def _at(x: Any, chunk: int) -> Any:
    return x[:, :, chunk, ...]


def _first_states(xp: Any, q: Any, v: Any, initial_state: Any, cu_seqlens: Any) -> Any:
    if initial_state is not None:
        return initial_state
    sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return zeros(xp, (sequences, v.shape[2], q.shape[3], v.shape[3]), q)


def _turned(xp: Any, state: Any) -> Any:
    """(N, HV, K, V) <-> (N, K, HV, V): heads in axis 2, as in q."""
    return xp.permute_dims(state, (0, 2, 1, 3))


def _by_heads(xp: Any, compute: Any, inputs: tuple[Any, ...], states: tuple[Any, ...]) -> list[Any]:
    """``compute(inputs, states)`` piece by piece of the heads of keys, with their heads of values; results have heads in axis 2."""
    q, _, v, *_ = inputs
    group = v.shape[2] // q.shape[2]

    def of(heads: slice) -> tuple[Any, ...]:
        values = slice(group * heads.start, group * heads.stop)
        some = [None if x is None else x[:, :, heads if i < 2 else values, ...] for i, x in enumerate(inputs)]
        results: tuple[Any, ...] = compute(some, [S[:, values, ...] for S in states])
        return results

    chunks, numbers = v.shape[1] // _CHUNK + 1, (q.shape[3] + v.shape[3], q.shape[3] * v.shape[3])
    return list(in_chunks(xp, of, q.shape[2], group * v.shape[0] * max(v.shape[1] * numbers[0], chunks * numbers[1]), axis=2))


def chunk_gated_delta_rule(
    xp: Any, q: Any, k: Any, v: Any, g: Any, beta: Any, initial_state: Any, cu_seqlens: Any, scale: float, use_qk_l2norm_in_kernel: bool,
    output_final_state: bool, corrects: bool = True,
) -> tuple[Any, Any]:  # fmt: skip
    """``corrects`` is False for gated linear attention (3)."""
    first = _first_states(xp, q, v, initial_state, cu_seqlens)
    if 0 in (*v.shape, q.shape[3]):
        return xp.zeros_like(v), first if output_final_state else None

    def compute(inputs: list[Any], states: list[Any]) -> tuple[Any, ...]:
        chunks = _Chunks(xp, (*inputs, cu_seqlens), use_qk_l2norm_in_kernel, corrects)
        before, after = chunks.states(states[0])
        S = xp.stack(before, axis=2)
        _, x = chunks.written(S)
        o = chunks.tokens.join(scale * (xp.matmul(chunks.since * chunks.q, S) + xp.matmul(chunks.reads, x)))
        return (o, _turned(xp, chunks.tokens.of_sequences(after, False, states[0]))) if output_final_state else (o,)

    o, *last = _by_heads(xp, compute, (q, k, v, g, beta), (first,))
    return o, _turned(xp, last[0]) if output_final_state else None


def chunk_gated_delta_rule_vjp(
    xp: Any, q: Any, k: Any, v: Any, g: Any, beta: Any, initial_state: Any, cu_seqlens: Any, grad: Any, grad_final: Any, scale: float,
    use_qk_l2norm_in_kernel: bool, output_final_state: bool, corrects: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    first = _first_states(xp, q, v, initial_state, cu_seqlens)
    last = xp.zeros_like(first) if grad_final is None else grad_final
    inputs = (q, k, v, g, beta, initial_state)
    if 0 in (*v.shape, q.shape[3]):
        return *(None if x is None else last if x is initial_state else zeros(xp, x.shape, x) for x in inputs), None

    def compute(inputs: list[Any], states: list[Any]) -> tuple[Any, ...]:
        c = _Chunks(xp, (*inputs[:5], cu_seqlens), use_qk_l2norm_in_kernel, corrects)
        before, _ = c.states(states[0])
        S = xp.stack(before, axis=2)
        grad = scale * c.tokens.split(inputs[5])
        R, y, z, of_first = _back(xp, c, grad, states[1])
        u, x = c.written(S)
        of_q, of_k, of_g = _gradients(xp, c, grad, S, R, z, x)
        dq, dk = (_of_rows(xp, c, *rows) for rows in ((c.q, c.q_factor, of_q), (c.k, c.k_factor, of_k)))
        gates = ([] if g is None else [of_g]) + ([] if beta is None else [xp.sum(y * u, axis=-1)])
        return dq, dk, c.tokens.join(z), _turned(xp, of_first), *map(c.tokens.join, gates)

    dq, dk, dv, dinitial, *gates = _by_heads(xp, compute, (q, k, v, g, beta, grad), (first, last))
    dg, dbeta = (None if x is None else gates.pop(0) for x in (g, beta))
    return dq, dk, dv, dg, dbeta, None if initial_state is None else _turned(xp, dinitial), None


def _back(xp: Any, c: _Chunks, grad: Any, last: Any) -> tuple[Any, Any, Any, Any]:
    """(12)-(14), (18): gradients of the states after every chunk, y and z of all, and the gradient of the initial states."""
    keys, of_reads = c.until * c.k, xp.matmul(xp.matrix_transpose(c.since * c.q), grad)
    y0 = xp.matmul(xp.matrix_transpose(c.reads), grad)
    if c.corrects:
        eye = xp.eye(c.tokens.C, dtype=grad.dtype, device=grad.device)
        matrix = eye + c.times_beta(xp.matrix_transpose(c.pairs), True)
        solved = xp.linalg.solve(matrix, xp.concat([y0, keys], axis=-1))
        y0, keys = solved[..., : y0.shape[-1]], solved[..., y0.shape[-1] :]
    taken = xp.matrix_transpose(c.since * c.k)
    after, of_states = [], []
    R = last if not c.tokens.packed else zeros(xp, (1, *last.shape[1:]), last)
    for n in range(c.tokens.M - 1, -1, -1):
        R = c.tokens.entering(n, False, last, R)
        after.append(R)
        before = _at(c.total, n) * R + _at(of_reads, n)
        if c.corrects:
            z = _at(y0, n) + xp.matmul(_at(keys, n), R)
            z = z if c.beta is None else z * _at(c.beta, n)
            before = before - xp.matmul(_at(taken, n), z)
        R = before
        of_states.append(R)
    R = xp.stack(after[::-1], axis=2)
    y = y0 + xp.matmul(keys, R)
    return R, y, c.times_beta(y), c.tokens.of_sequences(of_states[::-1], True, last)


def _gradients(xp: Any, c: _Chunks, grad: Any, S: Any, R: Any, z: Any, x: Any) -> tuple[Any, Any, Any]:
    """(15)-(17): the gradients of q and k after (2), and of g."""
    zero = xp.zeros_like(c.reads)
    of_x = xp.matrix_transpose(x)
    dreads = xp.where(c.not_above, xp.matmul(grad, of_x), zero)
    pairs = double(xp, dreads) * double(xp, c.reads)
    read = c.since * xp.matmul(grad, xp.matrix_transpose(S))
    wrote = c.until * xp.matmul(x, xp.matrix_transpose(R))
    weighed = c.decay * dreads
    dq = read + xp.matmul(weighed, c.k)
    dk = wrote + xp.matmul(xp.matrix_transpose(weighed), c.q)
    from_start = _dots(xp, c.q, read)
    if c.corrects:
        dpairs = xp.where(c.below, -xp.matmul(z, of_x), zero)
        pairs = pairs + double(xp, dpairs) * double(xp, c.pairs)
        weighed, missed = c.decay * dpairs, c.since * xp.matmul(z, xp.matrix_transpose(S))
        dk = dk - missed + xp.matmul(weighed + xp.matrix_transpose(weighed), c.k)
        from_start = from_start - _dots(xp, c.k, missed)
    to_end = _dots(xp, c.k, wrote)
    through = double(xp, c.total)[..., 0] * xp.sum(double(xp, S) * double(xp, R), axis=(-2, -1))[..., None]
    return dq, dk, sums_across(xp, pairs) + sums_from(xp, from_start) + sums_before(xp, to_end) + through


def _dots(xp: Any, a: Any, b: Any) -> Any:
    return xp.sum(double(xp, a) * double(xp, b), axis=-1)


def _of_rows(xp: Any, c: _Chunks, x: Any, factor: Any, d: Any) -> Any:
    """The gradient through (2), summed over the heads of values that share a row."""
    if factor is not None:
        d = factor * (d - x * xp.sum(x * d, axis=-1, keepdims=True))
    d = c.tokens.join(d)
    return xp.sum(xp.reshape(d, (*d.shape[:2], c.heads, c.group, d.shape[3])), axis=3) if c.group != 1 else d


def chunk_simple_gla(
    xp: Any, q: Any, k: Any, v: Any, g: Any, initial_state: Any, cu_seqlens: Any, scale: float, output_final_state: bool
) -> tuple[Any, Any]:
    return chunk_gated_delta_rule(xp, q, k, v, g, None, initial_state, cu_seqlens, scale, False, output_final_state, False)


def chunk_simple_gla_vjp(
    xp: Any, q: Any, k: Any, v: Any, g: Any, initial_state: Any, cu_seqlens: Any, grad: Any, grad_final: Any, scale: float,
    output_final_state: bool,
) -> tuple[Any, ...]:  # fmt: skip
    inputs = (q, k, v, g, None, initial_state, cu_seqlens)
    *of_inputs, _, dinitial, _ = chunk_gated_delta_rule_vjp(xp, *inputs, grad, grad_final, scale, False, output_final_state, False)
    return *of_inputs, dinitial, None
