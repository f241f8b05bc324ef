"""The positions of tokens and sequences in chunks, for compositions."""

from __future__ import annotations

from typing import Any

from ..._array_tools import arange, ascends, nan_unless, zeros

CHUNK = 64


class Tokens:
    """The positions of tokens in zero-padded chunks, each of one sequence. cu_seqlens is never read on the host."""

    def __init__(self, xp: Any, q: Any, cu_seqlens: Any, power_of_two: bool = False) -> None:
        self.xp, self.T = xp, q.shape[1]
        self.packed = cu_seqlens is not None
        sequences = max(cu_seqlens.shape[0] - 1, 1) if self.packed else 1
        C = min(CHUNK, -(-self.T // sequences))
        self.C = C = 1 << (C - 1).bit_length() if power_of_two else C
        self.M = M = (self.T + sequences * (C - 1)) // C
        if not self.packed:
            return
        begin, end = cu_seqlens[:-1], cu_seqlens[1:]
        counts = (end - begin + C - 1) // C
        self.counts, self.ends = counts, xp.cumulative_sum(counts)
        chunk, within = arange(xp, M, cu_seqlens), arange(xp, C, cu_seqlens)
        self.owner = xp.clip(xp.searchsorted(self.ends, chunk, side="right"), max=sequences - 1)
        first_chunk = xp.take(self.ends - counts, self.owner, axis=0)
        at = (xp.take(begin, self.owner, axis=0) + (chunk - first_chunk) * C)[:, None] + within
        self.is_token = (at < xp.take(end, self.owner, axis=0)[:, None]) & (chunk < self.ends[-1:])[:, None]
        self.at = xp.clip(xp.reshape(at, (M * C,)), min=0, max=self.T - 1)
        self.is_first, self.is_last = chunk == first_chunk, chunk + 1 == xp.take(self.ends, self.owner, axis=0)
        token = arange(xp, self.T, cu_seqlens)
        of_token = xp.clip(xp.searchsorted(end, token, side="right"), max=sequences - 1)
        position = xp.take(self.ends - counts, of_token, axis=0) * C + token - xp.take(begin, of_token, axis=0)
        self.position = xp.clip(position, min=0, max=M * C - 1)
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
        return nan_unless(xp, self.valid, xp.take(x, self.position, axis=1)) if self.packed else x[:, : self.T, ...]

    def entering(self, chunk: int, first: bool, states: Any, passed: Any) -> Any:
        """The state that enters a chunk: from ``states`` at its sequence's first chunk (last if not ``first``), otherwise ``passed``."""
        if not self.packed:
            return states if chunk == (0 if first else self.M - 1) else passed
        flags = self.is_first if first else self.is_last
        return self.xp.where(flags[chunk], self.xp.take(states, self.owner[chunk : chunk + 1], axis=0), passed)

    def of_sequences(self, per_chunk: list[Any], first: bool, states: Any) -> Any:
        """The entry of each sequence's first chunk (last if not ``first``); for a sequence without tokens, its entry in ``states``."""
        xp = self.xp
        if not self.packed:
            return per_chunk[0 if first else -1]
        at = xp.clip(self.ends - (self.counts if first else 1), min=0, max=self.M - 1)
        chosen = xp.take(xp.concat(per_chunk, axis=0), at, axis=0)
        return nan_unless(xp, self.valid, xp.where((self.counts > 0)[:, None, None, None], chosen, states))
