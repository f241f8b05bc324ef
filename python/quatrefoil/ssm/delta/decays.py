"""The decays inside one chunk, for compositions: README (4), (6), (8) and (17) for one decay per head, (22)-(24) for one per channel.

Arrays are (B, HV, M, C, ...), for M chunks of C tokens. Decays and their gradient are in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._array_tools import arange, crossing_sums, double, exclusive_cumsum, reverse_cumsum, twofold_sums, zeros
from .tokens import Tokens

_MIN = -746.0  # exponentials of smaller numbers are 0


class Read(NamedTuple):
    """Vectors that read the state, one per token."""

    rows: Any  # (..., C, K)
    strict: bool = False  # reads only what earlier tokens have written; otherwise also the token's own key
    before: bool = False  # reads the state before the token's own decay


class HeadDecays:
    """(4): one decay per token. Decays to 0 are counted, not summed, so that later sums of logarithms stay finite."""

    def __init__(self, xp: Any, tokens: Tokens, g: Any, k: Any) -> None:
        self.xp = xp
        i = arange(xp, tokens.C, k, xp.int64)
        self.below, self.not_above = i[:, None] > i, i[:, None] >= i
        if g is None:
            ones = xp.ones_like(k[..., :1])
            self.decay, self._from_start, self.to_end, self.total = xp.astype(self.not_above, k.dtype), ones, ones, ones[..., -1:, :]
            return
        logs = double(xp, tokens.split(g))
        zero = logs < _MIN
        sums, low = twofold_sums(xp, xp.where(zero, xp.zeros_like(logs), logs))
        resets = xp.cumulative_sum(xp.astype(zero, xp.int64), axis=-1)
        same = (resets[..., :, None] == resets[..., None, :]) & self.not_above
        differences = (sums[..., :, None] - sums[..., None, :]) + (low[..., :, None] - low[..., None, :])
        minus_inf = xp.full_like(differences, -xp.inf)
        decay, from_start = xp.exp(xp.where(same, differences, minus_inf)), xp.exp(xp.where(resets == 0, sums, minus_inf[..., 0]))
        self.decay, self._from_start = xp.astype(decay, k.dtype), xp.astype(from_start, k.dtype)[..., None]
        self.to_end, self.total = self.decay[..., -1, :, None], self._from_start[..., -1:, :]

    def from_start(self, read: Read) -> Any:
        """The product of the decays from the start of the chunk to the token that reads the state."""
        return self._from_start

    def _masked(self, read: Read, matrix: Any) -> Any:
        return self.xp.where(self.below if read.strict else self.not_above, matrix, self.xp.zeros_like(matrix))

    def pairs(self, reads: Sequence[Read], keys: Sequence[Any]) -> list[list[Any]]:
        """(6), (8): what each token reads at each token's key."""
        xp = self.xp
        return [[self._masked(read, self.decay * xp.matmul(read.rows, xp.matrix_transpose(k))) for k in keys] for read in reads]

    def backward(self, reads: Sequence[Read], keys: Sequence[Any], pairs: list[list[Any]], d: list[list[Any]]) -> tuple[Any, ...]:
        """(15)-(17): gradients of the reading rows, the keys, and the logarithms of the decays between the tokens of a pair."""
        xp = self.xp
        d = [[self._masked(read, x) for x in row] for read, row in zip(reads, d)]
        weighted = [[self.decay * x for x in row] for row in d]
        of_reads = [sum(xp.matmul(x, k) for x, k in zip(row, keys)) for row in weighted]
        of_keys = [sum(xp.matmul(xp.matrix_transpose(row[n]), read.rows) for row, read in zip(weighted, reads)) for n in range(len(keys))]
        terms = sum(double(xp, x) * double(xp, m) for row, of_row in zip(pairs, d) for m, x in zip(row, of_row))
        return of_reads, of_keys, crossing_sums(xp, terms)

    def of_logs(self, read: Sequence[tuple[Read, Any]], written: Sequence[tuple[Any, Any]], S: Any, R: Any) -> Any:
        """(17): terms from reads of the state before the chunk, from writes to the state after it, and from the decayed state."""
        xp = self.xp
        from_start = sum(_dots(xp, by.rows, x) for by, x in read)
        to_end = sum(_dots(xp, k, x) for k, x in written)
        through = double(xp, self.total)[..., 0] * xp.sum(double(xp, S) * double(xp, R), axis=(-2, -1))[..., None]
        return reverse_cumsum(xp, from_start) + exclusive_cumsum(xp, to_end) + through


class ChannelDecays:
    """(22): one decay per token and key channel.

    The pairs of a chunk are computed by recursive halving. The block of pairs with one token in each half is a product of two matrices: one
    contains the decays from the middle on, the other those up to the middle. Each half is then treated as a chunk, so no exponential of a
    sum is needed.
    """

    def __init__(self, xp: Any, tokens: Tokens, g: Any, k: Any) -> None:
        self.xp, self.C = xp, tokens.C
        decay = xp.exp(double(xp, tokens.split(g)))
        from_start = xp.reshape(decay, (*decay.shape[:-1], 1, decay.shape[-1]))
        to_end = xp.ones_like(from_start)
        self.levels = []  # decays after the middle and up to it, in blocks of 2, 4, 8, ... tokens
        while from_start.shape[-2] < self.C:
            (since0, since1), (until0, until1) = (self._halves(x, from_start.shape[-2]) for x in (from_start, to_end))
            self.levels.append((xp.astype(since1, k.dtype), xp.astype(until0, k.dtype)))
            to_end = xp.concat([until0 * since1[..., -1:, :], until1], axis=-2)
            from_start = xp.concat([since0, since0[..., -1:, :] * since1], axis=-2)
        self._from_start, self.to_end = (xp.astype(xp.reshape(x, decay.shape), k.dtype) for x in (from_start, to_end))
        self.total = xp.matrix_transpose(self._from_start[..., -1:, :])

    def _halves(self, x: Any, h: int) -> tuple[Any, Any]:
        """The first h and the last h tokens of every block of 2 h: (..., blocks, h, K)."""
        x = self.xp.reshape(x, (*x.shape[:3], self.C // (2 * h), 2, h, x.shape[-1]))
        return x[..., 0, :, :], x[..., 1, :, :]

    def _joined(self, first: Any, second: Any) -> Any:
        """The inverse of ``_halves``; None means zeros."""
        xp, like = self.xp, second if first is None else first
        both = [xp.zeros_like(like) if x is None else x for x in (first, second)]
        return xp.reshape(xp.stack(both, axis=-3), (*like.shape[:3], self.C, like.shape[-1]))

    def _shifted(self, read: Read, from_start: Any) -> Any:
        if not read.before:
            return from_start
        return self.xp.concat([self.xp.ones_like(from_start[..., :1, :]), from_start[..., :-1, :]], axis=-2)

    def from_start(self, read: Read) -> Any:
        return self._shifted(read, self._from_start)

    def pairs(self, reads: Sequence[Read], keys: Sequence[Any]) -> list[list[Any]]:
        return [[self._pair(read, k) for k in keys] for read in reads]

    def _pair(self, read: Read, k: Any) -> Any:
        xp = self.xp
        own = xp.zeros_like(k[..., 0]) if read.strict else xp.sum(read.rows * k, axis=-1)
        matrix = own[..., None, None]  # blocks of one token
        for h, (from_start, to_end) in self._by_size():
            across = xp.matmul(
                self._halves(read.rows, h)[1] * self._shifted(read, from_start), xp.matrix_transpose(self._halves(k, h)[0] * to_end)
            )
            first, second = self._halves(matrix, h)
            matrix = xp.concat([xp.concat([first, xp.zeros_like(across)], axis=-1), xp.concat([across, second], axis=-1)], axis=-2)
        return matrix[..., 0, :, :]

    def _by_size(self) -> list[tuple[int, tuple[Any, Any]]]:
        return [(1 << n, level) for n, level in enumerate(self.levels)]

    def backward(self, reads: Sequence[Read], keys: Sequence[Any], pairs: list[list[Any]], d: list[list[Any]]) -> tuple[Any, ...]:
        """(23), (24), by recursive halving, too."""
        xp = self.xp
        own = [[None if read.strict else xp.linalg.diagonal(x)[..., None] for x in row] for read, row in zip(reads, d)]
        of_reads = [sum((x * k for x, k in zip(row, keys) if x is not None), xp.zeros_like(r.rows)) for r, row in zip(reads, own)]
        of_keys = [sum((row[n] * r.rows for r, row in zip(reads, own) if row[n] is not None), xp.zeros_like(k)) for n, k in enumerate(keys)]
        of_logs = zeros(xp, keys[0].shape, keys[0], xp.float64)
        d = [[x[..., None, :, :] for x in row] for row in d]  # one block
        for h, (from_start, to_end) in reversed(self._by_size()):
            late = [self._halves(read.rows, h)[1] * self._shifted(read, from_start) for read in reads]
            early = [self._halves(k, h)[0] * to_end for k in keys]
            across = [[x[..., h:, :h] for x in row] for row in d]
            of_late = [sum(xp.matmul(x, k) for x, k in zip(row, early)) for row in across]
            of_early = [sum(xp.matmul(xp.matrix_transpose(row[n]), x) for row, x in zip(across, late)) for n in range(len(keys))]
            after = sum(self._sums_after(read, x, dx) for read, x, dx in zip(reads, late, of_late))
            before = sum(_along_tokens(xp, exclusive_cumsum, x, dx) for x, dx in zip(early, of_early))
            of_logs = of_logs + self._joined(before, after)
            of_reads = [x + self._joined(None, self._shifted(r, from_start) * dx) for r, x, dx in zip(reads, of_reads, of_late)]
            of_keys = [x + self._joined(to_end * dx, None) for x, dx in zip(of_keys, of_early)]
            d = [[self._diagonal_blocks(x, h) for x in row] for row in d]
        return of_reads, of_keys, of_logs

    def _diagonal_blocks(self, x: Any, h: int) -> Any:
        """(..., blocks, 2 h, 2 h) -> (..., 2 blocks, h, h)."""
        xp = self.xp
        blocks = xp.stack([x[..., :h, :h], x[..., h:, h:]], axis=-3)
        return xp.reshape(blocks, (*x.shape[:3], 2 * x.shape[3], h, h))

    def _sums_after(self, read: Read, x: Any, dx: Any) -> Any:
        """For each token, the sum over all reads that come after its decay."""
        xp = self.xp
        sums = _along_tokens(xp, reverse_cumsum, x, dx)
        return xp.concat([sums[..., 1:, :], xp.zeros_like(sums[..., :1, :])], axis=-2) if read.before else sums

    def of_logs(self, read: Sequence[tuple[Read, Any]], written: Sequence[tuple[Any, Any]], S: Any, R: Any) -> Any:
        xp = self.xp
        from_start = sum(self._sums_after(by, by.rows, x) for by, x in read)
        to_end = sum(_along_tokens(xp, exclusive_cumsum, k, x) for k, x in written)
        through = double(xp, self.total)[..., 0] * xp.sum(double(xp, S) * double(xp, R), axis=-1)
        return from_start + to_end + through[..., None, :]


def _along_tokens(xp: Any, sums: Any, x: Any, dx: Any) -> Any:
    return xp.matrix_transpose(sums(xp, xp.matrix_transpose(double(xp, x) * double(xp, dx))))


def _dots(xp: Any, a: Any, b: Any) -> Any:
    return xp.sum(double(xp, a) * double(xp, b), axis=-1)
