"""Chunked linear attention as array operations: state-independent work for all chunks at once, then one step per chunk.

Each variant of attention defines what its tokens read from and write to the state. The recurrence of the states, the outputs and the
adjoint are shared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..._array_tools import nan_unless, zeros
from .decays import ChannelDecays, HeadDecays, Read
from .tokens import Tokens


class Gradients(NamedTuple):
    """Gradients of the arguments of ``Chunks``, of the logarithms of the decays, and of the states before the first chunks."""

    query: Any
    erase: Any
    key: Any
    values: Any
    beta: Any
    known_key: Any
    known_values: Any
    logs: Any
    initial: Any


class Chunks:
    """The parts of README (4)-(8) that do not depend on a state.

    Tokens write x at ``key``. If they erase, x = beta (values - what ``erase`` reads from the state); otherwise x = values. ``known`` is a
    second key with values that are written without correction; if it is passed, ``values`` is omitted and counts as 0.
    """

    def __init__(
        self, xp: Any, tokens: Tokens, decays: HeadDecays | ChannelDecays, query: Read, erase: Read | None, key: Any, values: Any,
        beta: Any = None, known: tuple[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        self.xp, self.tokens, self.decays, self.beta, self.known = xp, tokens, decays, beta, known
        self.reads, self.keys = [query] if erase is None else [query, erase], [key] if known is None else [key, known[0]]
        self.values, self.state_coefficients = values, None
        self.pairs = decays.pairs(self.reads, self.keys)
        if erase is None:
            return
        if known is not None:
            values = -xp.matmul(self.pairs[1][1], known[1])
        rhs = xp.concat([values, decays.from_start(erase) * erase.rows], axis=-1)
        solved = self._solved(self.pairs[1][0], rhs)
        self.values, self.state_coefficients = solved[..., : values.shape[-1]], solved[..., values.shape[-1] :]

    def _solved(self, pairs: Any, rhs: Any) -> Any:
        """Solve (I + pairs diag(beta)) x = rhs; NaN in chunks whose pairs are not finite, because pivots may then be 0."""
        xp = self.xp
        pairs = self.times_beta(pairs, True)
        valid = xp.all(xp.isfinite(pairs), axis=(-2, -1), keepdims=True)
        eye = xp.eye(self.tokens.C, dtype=rhs.dtype, device=rhs.device)
        return nan_unless(xp, valid, xp.linalg.solve(eye + xp.where(valid, pairs, xp.zeros_like(pairs)), rhs))

    def times_beta(self, x: Any, columns: bool = False) -> Any:
        if self.beta is None:
            return x
        return x * (self.xp.matrix_transpose(self.beta) if columns else self.beta)

    def states(self, initial: Any) -> tuple[list[Any], list[Any]]:
        """(9): the states before and after every chunk."""
        xp, total, before, after = self.xp, self.decays.total, [], []
        S = initial if not self.tokens.packed else zeros(xp, (1, *initial.shape[1:]), initial)
        keys, *known = (xp.matrix_transpose(self.decays.to_end * k) for k in self.keys)
        added = None if self.known is None else xp.matmul(known[0], self.known[1])
        for c in range(self.tokens.M):
            S = self.tokens.entering(c, True, initial, S)
            before.append(S)
            S = _at(total, c) * S + xp.matmul(_at(keys, c), self.written(S, c)[1])
            S = S if added is None else S + _at(added, c)
            after.append(S)
        return before, after

    def written(self, S: Any, chunk: int | None = None) -> tuple[Any, Any]:
        """(5), (7): u and x of one chunk, or of all chunks, from the states before them."""
        values, state_coefficients, beta = (
            x if chunk is None or x is None else _at(x, chunk) for x in (self.values, self.state_coefficients, self.beta)
        )
        u = values if state_coefficients is None else values - self.xp.matmul(state_coefficients, S)
        return u, u if beta is None else u * beta

    def outputs(self, S: Any) -> Any:
        """The outputs (8), before scaling."""
        xp, query = self.xp, self.reads[0]
        o = xp.matmul(self.decays.from_start(query) * query.rows, S) + xp.matmul(self.pairs[0][0], self.written(S)[1])
        return o if self.known is None else o + xp.matmul(self.pairs[0][1], self.known[1])

    def gradients(self, grad: Any, S: Any, last: Any) -> Gradients:
        """(12)-(18), from ``grad``, the gradient of ``outputs``, and from the gradient of the final states."""
        xp, decays = self.xp, self.decays
        R, y, initial = self._backward(grad, last)
        z, (u, x) = self.times_beta(y), self.written(S)
        sources, values = [grad] if len(self.reads) == 1 else [grad, -z], [x] if self.known is None else [x, self.known[1]]
        d = [[xp.matmul(source, xp.matrix_transpose(value)) for value in values] for source in sources]
        read = [decays.from_start(by) * xp.matmul(source, xp.matrix_transpose(S)) for by, source in zip(self.reads, sources)]
        wrote = [decays.to_end * xp.matmul(value, xp.matrix_transpose(R)) for value in values]
        of_reads, of_keys, of_logs = decays.backward(self.reads, self.keys, self.pairs, d)
        logs = of_logs + decays.of_logs(list(zip(self.reads, read)), list(zip(self.keys, wrote)), S, R)
        of_reads, of_keys = ([a + b for a, b in zip(*both)] for both in ((of_reads, read), (of_keys, wrote)))
        known_values = None
        if self.known is not None:
            known_values = xp.matmul(decays.to_end * self.keys[1], R)
            known_values = known_values + sum(xp.matmul(xp.matrix_transpose(row[1]), source) for row, source in zip(self.pairs, sources))
        beta = None if self.beta is None else xp.sum(y * u, axis=-1)
        erase, known_key = (x[1] if len(x) > 1 else None for x in (of_reads, of_keys))
        return Gradients(of_reads[0], erase, of_keys[0], z, beta, known_key, known_values, logs, initial)

    def _backward(self, grad: Any, last: Any) -> tuple[Any, Any, Any]:
        """(12)-(14), (18): gradients of the states after every chunk, y of all tokens, and the gradient of the initial states."""
        xp, decays, (query, *erase) = self.xp, self.decays, self.reads
        keys, erase_rows = decays.to_end * self.keys[0], None
        of_reads = xp.matmul(xp.matrix_transpose(decays.from_start(query) * query.rows), grad)
        y0 = xp.matmul(xp.matrix_transpose(self.pairs[0][0]), grad)
        if erase:
            solved = self._solved(xp.matrix_transpose(self.pairs[1][0]), xp.concat([y0, keys], axis=-1))
            y0, keys = solved[..., : y0.shape[-1]], solved[..., y0.shape[-1] :]
            erase_rows = xp.matrix_transpose(decays.from_start(erase[0]) * erase[0].rows)
        after, of_states = [], []
        R = last if not self.tokens.packed else zeros(xp, (1, *last.shape[1:]), last)
        for n in range(self.tokens.M - 1, -1, -1):
            R = self.tokens.entering(n, False, last, R)
            after.append(R)
            before = _at(decays.total, n) * R + _at(of_reads, n)
            if erase_rows is not None:
                z = _at(y0, n) + xp.matmul(_at(keys, n), R)
                z = z if self.beta is None else z * _at(self.beta, n)
                before = before - xp.matmul(_at(erase_rows, n), z)
            R = before
            of_states.append(R)
        R = xp.stack(after[::-1], axis=2)
        return R, y0 + xp.matmul(keys, R), self.tokens.of_sequences(of_states[::-1], True, last)


def _at(x: Any, chunk: int) -> Any:
    return x[:, :, chunk, ...]
