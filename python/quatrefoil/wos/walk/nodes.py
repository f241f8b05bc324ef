"""Nodes of the dyadic tree over walk indices. They do not depend on the split into runs: csrc/wos/walk/README.md (5), (6)."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
Node = tuple[int, int, Array, Array]  # start, size, mean, m2


def schedule(first: int, walks: int) -> tuple[list[int], list[int]]:
    """(5) Split the range [first, first + walks) into aligned powers of two: starts and sizes, in order."""
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


def nodes_of(xp: Any, values: Array, first: int) -> list[Node]:
    """The nodes of samples (rows, samples, ...) with indices from ``first`` on."""
    nodes = []
    for start, size in zip(*schedule(first, values.shape[1])):
        mean = values[:, start - first : start - first + size, ...]
        m2, n = xp.zeros_like(mean), 1
        while n < size:
            even, odd = ((start, n, mean[:, i::2, ...], m2[:, i::2, ...]) for i in (0, 1))
            _, n, mean, m2 = merge_equal(even, odd)
        nodes.append((start, size, mean[:, 0, ...], m2[:, 0, ...]))
    return nodes


def merge_equal(a: Node, b: Node) -> Node:
    """(6) for nodes of equal size. The same bits as merge_equal in csrc/wos/walk/formula.hpp, with or without fused multiply-add."""
    n = a[1]
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity in the data
        delta = b[2] - a[2]
        return a[0], 2 * n, a[2] + delta * 0.5, (a[3] + b[3]) + (delta * delta) * (n * 0.5)


def push(nodes: list[Node], node: Node) -> None:
    """Append a node. Merge it with the previous one as long as the two are halves of a larger node."""
    while nodes and nodes[-1][1] == node[1] and nodes[-1][0] + node[1] == node[0] and nodes[-1][0] % (2 * node[1]) == 0:
        node = merge_equal(nodes.pop(), node)
    nodes.append(node)
