"""The components of ``SlimKL``'s covariance, from factors in one dimension: csrc/kron/README.md, "Mixture weights", (7) and (8).

In array-API terms, for the host and devices. Cosines and sines are stored for each distinct frequency of each dimension. Their products
are formed for a chunk of components at a time, and matrices for a tile of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import _arrays
from ..._array_tools import zeros
from ..product.dense import namespace

Array = Any
EPS = float(np.finfo(np.float64).eps)
_TILE = 1 << 16  # numbers in a tile on the host, half a MiB; a device takes all rows together
_CHUNK, _ROWS = 1 << 18, 512  # numbers of V per chunk, or this many rows if that is more; at least one component
_PASSES, _EXPONENTIAL = 200, 500  # cost of a group and of its envelope, per pair of points, in flops of a matrix product


class Components:
    """K_i = E ∘ (U U^T) ∘ (V V^T) (7) at points x (n, P) for components (A, P), without a matrix for each component."""

    def __init__(self, x: Array, means: np.ndarray, std: np.ndarray) -> None:
        self._xp, self._n, means = namespace(x), x.shape[0], np.abs(means)
        order = np.argsort([len(np.unique(m)) for m in means.T], kind="stable")  # dimensions with few distinct frequencies first
        distinct = [np.unique(means[:, p], return_inverse=True) for p in order]
        self._x, self._used = [x[:, int(p)] for p in order], means[:, order] != 0
        self._waves = [self._cosine_and_sine(column, f) for column, (f, _) in zip(self._x, distinct)]
        self._std, width = np.unique(std[:, order], axis=0, return_inverse=True)
        self._ids = np.stack([width.reshape(-1), *(which for _, which in distinct)], axis=1)  # of a width, and of a frequency per dimension
        self._rank, self._factor = self._envelope_factors()
        self._dense = self._rank == 0
        rows = max(32, _TILE // self._n) if self._xp is np else self._n
        self._tiles = [(i, min(i + rows, self._n)) for i in range(0, self._n, rows)]
        self._chunks: tuple[np.ndarray | None, int, list[np.ndarray]] = None, 0, []
        self._envelopes: dict[int, Array] = {}

    def total(self, weights: np.ndarray) -> Array:
        """sum_i weights_i K_i (n, n); on the host only its lower triangle."""
        total = zeros(self._xp, (self._n, self._n), self._x[0])
        for components, V, tiles in self._parts(np.flatnonzero(weights)):
            W = V * self._on_device(weights[components])[:, None]
            for begin, end, G in tiles:
                part = self._xp.matmul(W[:, begin:end].T, V[:, :end])
                part *= G
                total[begin:end, :end] += part
        return total

    def products(self, inverse: Array, a: Array, on: np.ndarray) -> tuple[np.ndarray, Array, Array]:
        """Terms of tr(inverse K_i) and of a^T K_i a for i in ``on``: the component i of each term, (S,), and both terms, (S,) each."""
        xp, parts = self._xp, [(on[:0], a[:0], a[:0])]
        both = [xp.stack([inverse[begin:end, :end], a[begin:end, None] * a[:end]]) for begin, end in self._tiles]
        for (begin, _), pair in zip(self._tiles, both):
            pair[:, :, :begin] *= 2  # includes the part above the diagonal
        for components, V, tiles in self._parts(on):
            t = q = 0.0
            for (begin, end, G), pair in zip(tiles, both):
                left = xp.matmul(V[:, :end], xp.reshape(pair * G, (-1, end)).T)
                V_rows = V[:, begin:end]
                t = t + xp.sum(left[:, : end - begin] * V_rows, axis=1)
                q = q + xp.sum(left[:, end - begin :] * V_rows, axis=1)
            parts.append((components, t, q))
        whose, traces, squares = zip(*parts)
        return np.concatenate(whose), xp.concat(traces), xp.concat(squares)

    def _parts(self, on: np.ndarray) -> Iterator[tuple[np.ndarray, Array, Iterator[tuple[int, int, Array]]]]:
        """Yields the component of each row of V, V (S, n), and tiles (begin, end, E ∘ (U U^T)) of the lower triangle, chunk by chunk."""
        known, leading, chunks = self._chunks
        if known is None or not np.array_equal(on, known):
            leading, chunks = self._grouped(on)
            self._chunks = on, leading, chunks
        for which in chunks:
            components, V = self._products_of_waves(which, range(leading, len(self._x)), with_envelope=True)
            yield components, V, self._leading_tiles(which[:1], leading)

    def _leading_tiles(self, one: np.ndarray, leading: int) -> Iterator[tuple[int, int, Array]]:
        U, width = self._products_of_waves(one, range(leading))[1], int(self._ids[one[0], 0])
        for begin, end in self._tiles:
            tile = self._envelope(width, begin, end) if self._dense[width] else 1.0
            if leading:
                waves = self._xp.matmul(U[:, begin:end].T, U[:, :end])
                waves *= tile
                tile = waves
            yield begin, end, tile

    def _grouped(self, on: np.ndarray) -> tuple[int, list[np.ndarray]]:
        """(8): the number of leading dimensions, and chunks of components that share an envelope and leading frequencies."""
        ids, rank = self._ids[on], np.maximum(self._rank, 1)[self._ids[on, 0]]
        ids[:, 0] = np.where(self._dense[ids[:, 0]], ids[:, 0], -1)
        groups = [np.unique(ids[:, : 1 + h], axis=0, return_inverse=True)[1].reshape(-1) for h in range(ids.shape[1])]
        rows = [rank * 2 ** self._used[on, h:].sum(axis=1) for h in range(ids.shape[1])]
        flops = [(_PASSES + 4 * 2**h) * len(np.unique(group)) + 6 * r.sum() for h, (group, r) in enumerate(zip(groups, rows))]
        h = int(np.argmin(flops))
        size = max(1, max(_ROWS, _CHUNK // self._n) // int(rows[h].max(initial=1)))
        members = np.split(on[np.argsort(groups[h], kind="stable")], np.cumsum(np.bincount(groups[h]))[:-1])
        return h, [group[i : i + size] for group in members for i in range(0, len(group), size)]

    def _products_of_waves(self, which: np.ndarray, dims: range, with_envelope: bool = False) -> tuple[np.ndarray, Array]:
        """The component of each row, (S,), and the nonzero products (S, n) of cosines, sines and the envelope's factor."""
        xp, n, width = self._xp, self._n, self._ids[which, 0]
        if with_envelope:
            V = xp.take(self._factor, self._on_device(width), axis=0)
            live = np.arange(V.shape[1]) < np.maximum(self._rank, 1)[width, None]
        else:
            V, live = zeros(xp, (len(which), 1, n), self._x[0]) + 1, np.ones((len(which), 1), bool)
        for p in dims:
            if (used := self._used[which, p]).any():  # the sine of frequency 0 is 0
                at = self._on_device(self._ids[which, 1 + p])
                V = xp.concat([V * xp.take(wave, at, axis=0)[:, None, :] for wave in self._waves[p]], axis=1)
                live = np.concatenate([live, live & used[:, None]], axis=1)
        V = xp.reshape(V, (live.size, n))
        return which[np.nonzero(live)[0]], V if live.all() else xp.take(V, self._on_device(np.flatnonzero(live)), axis=0)

    def _cosine_and_sine(self, x: Array, frequencies: np.ndarray) -> tuple[Array, Array]:
        """Cosines and sines (F, n), for points relative to their centre, because phases may reach hundreds of turns."""
        xp = self._xp
        turns = (x - (xp.max(x) + xp.min(x)) / 2) * self._on_device(frequencies)[:, None]
        angle = 2 * np.pi * (turns - xp.round(turns))
        return xp.cos(angle), xp.sin(angle)

    def _envelope(self, width: int, begin: int, end: int) -> Array:
        """A tile of E for one row of widths; tiles are cached if there is only one such row."""
        if begin in self._envelopes:
            return self._envelopes[begin]
        exponent = zeros(self._xp, (end - begin, end), self._x[0])
        for x, s in zip(self._x, self._std[width]):
            exponent += ((x[begin:end, None] - x[:end]) * float(s)) ** 2
        tile = self._xp.exp(-2 * np.pi**2 * exponent)
        if self._dense.sum() == 1:
            self._envelopes[begin] = tile
        return tile

    def _envelope_factors(self) -> tuple[np.ndarray, Array]:
        """(ranks, F): the rank r of each E = F^T F if, on the host, multiplying V by F beats using E, else 0; F (widths, max r, n)."""
        S, xp = len(self._std), self._xp
        rank = np.where(self._std.any(axis=1), 0, 1)
        if xp is not np:
            return rank, zeros(xp, (S, 1, self._n), self._x[0]) + 1
        rows = np.bincount(self._ids[:, 0], 2.0 ** self._used.sum(axis=1))
        max_rank = 1 + (_PASSES + _EXPONENTIAL * (S > 1)) // (6 * rows)
        factors = [_low_rank(np.stack(self._x, axis=1), std, int(m)) for std, m in zip(self._std, max_rank)]
        rank = np.array([0 if F is None else len(F) for F in factors])
        padded = np.zeros((S, max(1, rank.max()), self._n))
        for F, into in zip(factors, padded):
            into[: 1 if F is None else len(F)] = 1.0 if F is None else F
        return rank, padded

    def _on_device(self, a: np.ndarray) -> Array:
        return _arrays.to_device_of(np.ascontiguousarray(a), self._x[0])


def _low_rank(x: np.ndarray, std: np.ndarray, max_rank: int) -> np.ndarray | None:
    """F (r, n) with F^T F = E at points x (n, P), to n eps, by pivoted Cholesky of r rows; None if r > max_rank."""
    left, rows = np.ones(len(x)), np.empty((min(max_rank, len(x)) + 1, len(x)))
    for r, row in enumerate(rows):
        p = int(left.argmax())
        if left[p] <= len(x) * EPS:
            return rows[:r]
        rest = np.exp(-2 * np.pi**2 * (((x - x[p]) * std) ** 2).sum(axis=1)) - rows[:r, p] @ rows[:r]
        row[:] = rest / np.sqrt(left[p])
        left = np.maximum(left - row**2, 0)
        left[p] = 0
    return None
