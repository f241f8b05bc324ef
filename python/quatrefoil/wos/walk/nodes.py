"""Nodes of the dyadic tree over walk indices, which any cut into runs leads to: csrc/wos/walk/README.md (5), (6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any


class Nodes(NamedTuple):
    """K nodes of samples, of every row the mean and the sum of squared deviations; and what was counted on the way."""

    starts: list[int]
    sizes: list[int]  # powers of two; starts are their multiples
    mean: Array  # (rows, K)
    m2: Array
    counts: Array


def schedule(first: int, walks: int) -> tuple[list[int], list[int]]:
    """(5) The range [first, first + walks) as aligned powers of two: starts and sizes, in order."""
    starts, sizes = [], []
    at, end = first, first + walks
    while at < end:
        size = (at & -at) or 1 << (end - at).bit_length() - 1
        while at + size > end:
            size >>= 1
        starts.append(at)
        sizes.append(size)
        at += size
    return starts, sizes


def of_values(first: int, values: np.ndarray, counts: np.ndarray) -> Nodes:
    """(rows, samples) of one channel -> their nodes; mean and m2 without an axis of channels."""
    starts, sizes = schedule(first, values.shape[1])
    nodes = []
    for start, size in zip(starts, sizes):
        mean = values[:, start - first : start - first + size]
        m2 = np.zeros_like(mean)
        half = 1
        while half < size:
            _, _, mean, m2 = merge_equal((0, half, mean[:, ::2], m2[:, ::2]), (0, half, mean[:, 1::2], m2[:, 1::2]))
            half *= 2
        nodes.append((mean[:, 0], m2[:, 0]))
    return Nodes(starts, sizes, np.stack([n[0] for n in nodes], axis=1), np.stack([n[1] for n in nodes], axis=1), counts)


def merge_equal(a: tuple[int, int, Array, Array], b: tuple[int, int, Array, Array]) -> tuple[int, int, Array, Array]:
    """(6) for nodes of one size: the bits of merge_equal in csrc/wos/walk/formula.hpp, fused or not."""
    n = a[1]
    with np.errstate(invalid="ignore", over="ignore"):  # what a NaN or an infinity of the data becomes
        delta = b[2] - a[2]
        return a[0], 2 * n, a[2] + delta * 0.5, (a[3] + b[3]) + (delta * delta) * (n * 0.5)
