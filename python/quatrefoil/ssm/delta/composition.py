"""The attention variants as array operations. Each class defines what its tokens read and write; ``chunks`` contains the algorithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..._array_tools import in_chunks, zeros
from .chunks import Chunks, Gradients
from .decays import ChannelDecays, HeadDecays, Read
from .tokens import CHUNK, Tokens


class _Rows:
    """Queries or keys in chunks, one set per value head, after the normalisation (2)."""

    def __init__(self, xp: Any, tokens: Tokens, x: Any, group: int, normalizes: bool) -> None:
        self.xp, self.tokens, self.group, self.heads, self.factor = xp, tokens, group, x.shape[2], None
        self.rows = tokens.split(xp.repeat(x, group, axis=2) if group != 1 else x)
        if normalizes:
            self.factor = 1 / xp.sqrt(xp.sum(self.rows * self.rows, axis=-1, keepdims=True) + 1e-6)
            self.rows = self.factor * self.rows

    def backward(self, d: Any) -> Any:
        """The gradient through (2), summed over the value heads that share a row."""
        xp, x = self.xp, self.rows
        if self.factor is not None:
            d = self.factor * (d - x * xp.sum(x * d, axis=-1, keepdims=True))
        d = self.tokens.join(d)
        return xp.sum(xp.reshape(d, (*d.shape[:2], self.heads, self.group, d.shape[3])), axis=3) if self.group != 1 else d


class _DeltaRule:
    """The delta rule: tokens erase what their keys read, and write beta times the values instead. Decays are per head or per channel."""

    erases = True

    def __init__(self, xp: Any, inputs: tuple[Any, ...], cu_seqlens: Any, normalizes: bool = False, channels: bool = False) -> None:
        q, k, v, *gates = inputs
        self.xp, self.tokens = xp, Tokens(xp, q, cu_seqlens, power_of_two=channels)
        self.q, self.k = (_Rows(xp, self.tokens, x, v.shape[2] // q.shape[2], normalizes) for x in (q, k))
        self.v = self.tokens.split(v)
        self.gates: list[Any] = [None if x is None else self.tokens.split(x) for x in gates]
        self.decays = (ChannelDecays if channels else HeadDecays)(xp, self.tokens, gates[self.log_decay], self.k.rows)
        self.chunks = self._chunks()

    log_decay = 0  # index of the logarithms of the decays among the gates

    def _chunks(self) -> Chunks:
        erase = Read(self.k.rows, strict=True) if self.erases else None
        beta = self.gates[1][..., None] if self.erases and self.gates[1] is not None else None
        return Chunks(self.xp, self.tokens, self.decays, Read(self.q.rows), erase, self.k.rows, self.v, beta)

    def backward(self, d: Gradients) -> tuple[Any, ...]:
        """Gradients of the queries, keys and values, and of the gates that are present."""
        of_keys = d.key if d.erase is None else d.key + d.erase
        gates = [x for x, gate in zip((d.logs, d.beta), self.gates) if gate is not None]
        return self.q.backward(d.query), self.k.backward(of_keys), *map(self.tokens.join, (d.values, *gates))


class _Linear(_DeltaRule):
    """Gated linear attention: tokens write their values."""

    erases = False


class _Gdn2(_DeltaRule):
    """GDN-2: tokens erase at b k and write w v, with a gate per channel."""

    def _chunks(self) -> Chunks:
        _, b, w = self.gates
        erase = Read(b * self.k.rows, strict=True)
        return Chunks(self.xp, self.tokens, self.decays, Read(self.q.rows), erase, self.k.rows, w * self.v)

    def backward(self, d: Gradients) -> tuple[Any, ...]:
        _, b, w = self.gates
        others = (w * d.values, d.logs, self.k.rows * d.erase, self.v * d.values)
        return self.q.backward(d.query), self.k.backward(d.key + b * d.erase), *map(self.tokens.join, others)


class _Dplr(_DeltaRule):
    """Diagonal plus low rank (DPLR): each token adds k v^T and b (a^T S) to the state, where S is the state before the decay."""

    log_decay = 2

    def _chunks(self) -> Chunks:
        a, b, _ = self.gates
        erase, known = Read(-a, strict=True, before=True), (self.k.rows, self.v)
        return Chunks(self.xp, self.tokens, self.decays, Read(self.q.rows), erase, b, None, known=known)

    def backward(self, d: Gradients) -> tuple[Any, ...]:
        others = (d.known_values, -d.erase, d.key, d.logs)
        return self.q.backward(d.query), self.k.backward(d.known_key), *map(self.tokens.join, others)


def _first_states(xp: Any, q: Any, v: Any, initial_state: Any, cu_seqlens: Any) -> Any:
    if initial_state is not None:
        return initial_state
    sequences = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return zeros(xp, (sequences, v.shape[2], q.shape[3], v.shape[3]), q)


def _heads_to_axis_2(xp: Any, state: Any) -> Any:
    """Swap axes 1 and 2: (N, HV, K, V) to (N, K, HV, V), with the heads in axis 2 as in q, or back."""
    return xp.permute_dims(state, (0, 2, 1, 3))


def _by_heads(xp: Any, compute: Any, inputs: tuple[Any, ...], states: tuple[Any, ...]) -> list[Any]:
    """Call ``compute(inputs, states)`` for a few key heads and their value heads at a time; results have the heads in axis 2."""
    q, _, v, *_ = inputs
    group = v.shape[2] // q.shape[2]

    def compute_heads(heads: slice) -> tuple[Any, ...]:
        values = slice(group * heads.start, group * heads.stop)
        some = [None if x is None else x[:, :, heads if i < 2 else values, ...] for i, x in enumerate(inputs)]
        results: tuple[Any, ...] = compute(some, [S[:, values, ...] for S in states])
        return results

    chunks, numbers = v.shape[1] // CHUNK + 1, (q.shape[3] + v.shape[3], q.shape[3] * v.shape[3])
    return list(in_chunks(xp, compute_heads, q.shape[2], group * v.shape[0] * max(v.shape[1] * numbers[0], chunks * numbers[1]), axis=2))


def _composed(rule: Callable[..., _DeltaRule], gates: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The composition of an attention variant with that many gates, and its adjoint; calls rule(xp, inputs, cu_seqlens[, normalizes])."""
    count = 3 + gates

    def forward(xp: Any, *arguments: Any) -> tuple[Any, Any]:
        inputs, (initial_state, cu_seqlens, scale, *normalizes, final) = arguments[:count], arguments[count:]
        q, _, v, *_ = inputs
        first = _first_states(xp, q, v, initial_state, cu_seqlens)
        if 0 in (*v.shape, q.shape[3]):
            return xp.zeros_like(v), first if final else None

        def compute(some: list[Any], states: list[Any]) -> tuple[Any, ...]:
            chunks = rule(xp, some, cu_seqlens, *normalizes).chunks
            before, after = chunks.states(states[0])
            o = chunks.tokens.join(scale * chunks.outputs(xp.stack(before, axis=2)))
            return (o, _heads_to_axis_2(xp, chunks.tokens.of_sequences(after, False, states[0]))) if final else (o,)

        o, *last = _by_heads(xp, compute, inputs, (first,))
        return o, _heads_to_axis_2(xp, last[0]) if final else None

    def backward(xp: Any, *arguments: Any) -> tuple[Any, ...]:
        inputs, (initial_state, cu_seqlens, grad, grad_final, scale, *normalizes, _) = arguments[:count], arguments[count:]
        q, _, v, *_ = inputs
        first = _first_states(xp, q, v, initial_state, cu_seqlens)
        last = xp.zeros_like(first) if grad_final is None else grad_final
        if 0 in (*v.shape, q.shape[3]):
            return *(None if x is None else zeros(xp, x.shape, x) for x in inputs), None if initial_state is None else last, None

        def compute(some: list[Any], states: list[Any]) -> tuple[Any, ...]:
            attention = rule(xp, some[:-1], cu_seqlens, *normalizes)
            before, _ = attention.chunks.states(states[0])
            d = attention.chunks.gradients(scale * attention.tokens.split(some[-1]), xp.stack(before, axis=2), states[1])
            return *attention.backward(d), _heads_to_axis_2(xp, d.initial)

        *compact, initial = _by_heads(xp, compute, (*inputs, grad), (first, last))
        remaining = iter(compact)
        gradients = [None if x is None else next(remaining) for x in inputs]
        return *gradients, None if initial_state is None else _heads_to_axis_2(xp, initial), None

    return forward, backward


chunk_gated_delta_rule, chunk_gated_delta_rule_vjp = _composed(_DeltaRule, 2)
chunk_simple_gla, chunk_simple_gla_vjp = _composed(_Linear, 1)
chunk_kda, chunk_kda_vjp = _composed(partial(_DeltaRule, channels=True), 2)
chunk_gdn2, chunk_gdn2_vjp = _composed(partial(_Gdn2, channels=True), 3)
chunk_dplr_delta_rule, chunk_dplr_delta_rule_vjp = _composed(partial(_Dplr, channels=True), 3)
