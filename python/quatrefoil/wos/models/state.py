"""Sums over walks that do not depend on how runs are split and merged: csrc/wos/walk/README.md (5), (6).

Plain array code for NumPy arrays and tensors, with the same bits for both. torch can differentiate it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _arrays
from ..walk.nodes import Node, nodes_of, push

Array = Any
_MANY = 1024  # with more rows, channels are folded one by one
COUNTS = ("steps", "truncated", "escaped")  # columns of State.counts


@dataclass
class State:
    """Means and sums of squared deviations of walks in K nodes, from which results are computed.

    A row is a point of an instance. A sample is a walk or, with a gradient, the mean of a pair of walks (13); its channels are the value
    and the gradient. Problems with very large or small data have a unit, a power of two: ``mean`` is in this unit and ``m2`` in its square.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, x = qf.wos.Ball((0, 0), 1), np.array([[0.5, 0.0]])
    >>> u = qf.wos.solve(disc, x, dirichlet=1.0, walks=100, rng=0)
    >>> u.state.walks, u.state.end  # walks 0 to 99
    (100, 100)
    """

    starts: list[int]  # K first samples
    sizes: list[int]  # powers of two; each start is a multiple of its size
    mean: Array  # (rows, K, channels)
    m2: Array  # (rows, K, channels)
    counts: Array  # (rows, 3): steps, walks cut off at max_steps, walks that left the box; in media a fourth, jumps beyond the bound

    @property
    def samples(self) -> int:
        return sum(self.sizes)

    @property
    def group(self) -> int:
        """Walks per sample."""
        return 1 if self.mean.shape[-1] == 1 else 2

    @property
    def walks(self) -> int:
        return self.group * self.samples

    @property
    def end(self) -> int:
        """The index after the last walk."""
        return self.group * (self.starts[-1] + self.sizes[-1]) if self.starts else 0

    def overlaps(self, other: State) -> bool:
        both = sorted(zip(self.starts + other.starts, self.sizes + other.sizes))
        return any(start + size > after for (start, size), (after, _) in pairwise(both))

    def join(self, other: State) -> State:
        """Concatenate both ranges and merge neighbouring nodes. Gives the same bits for any split and any order."""
        stack: list[Node] = []
        for node in sorted([*self._nodes(), *other._nodes()], key=lambda node: node[0]):
            push(stack, node)
        xp = _arrays.namespace(self.mean)
        return State(
            [n[0] for n in stack], [n[1] for n in stack],
            xp.stack([n[2] for n in stack], axis=1), xp.stack([n[3] for n in stack], axis=1), self.counts + other.counts,
        )  # fmt: skip

    def _nodes(self) -> list[Node]:
        return [(start, size, self.mean[:, k], self.m2[:, k]) for k, (start, size) in enumerate(zip(self.starts, self.sizes))]

    def fold(self) -> tuple[Array, Array]:
        """Mean and M2 of all samples, (rows, channels), merging the nodes in order (6)."""
        (rows, _, C), n, mean, m2 = self.mean.shape, self.sizes[0], self.mean[:, 0], self.m2[:, 0]
        if len(self.sizes) == 1:
            return mean, m2
        if rows > _MANY and C > 1 and self.mean.__class__ is np.ndarray:  # NumPy's inner loops would have length C
            of_each = [State(self.starts, self.sizes, self.mean[..., c, None], self.m2[..., c, None], self.counts).fold() for c in range(C)]
            return np.concatenate([x for x, _ in of_each], axis=1), np.concatenate([x for _, x in of_each], axis=1)
        with np.errstate(invalid="ignore", over="ignore"):  # as in merge_equal
            for k in range(1, len(self.sizes)):
                more = self.sizes[k]
                delta = self.mean[:, k] - mean
                mean = mean + delta * (more / (n + more))
                m2 = (m2 + self.m2[:, k]) + (delta * delta) * (n * more / (n + more))
                n += more
        return mean, m2

    def take(self, rows: np.ndarray) -> State:
        """Select rows by indices or a mask."""
        if rows.dtype != bool and len(rows) == len(self.counts) and bool((rows == np.arange(len(rows))).all()):
            return self
        return State(self.starts, self.sizes, *(taken(x, rows) for x in (self.mean, self.m2, self.counts)))

    def __getstate__(self) -> dict[str, Any]:
        """Omit the graph of a gradient, which cannot be pickled."""
        return {name: x.detach() if hasattr(x, "detach") else x for name, x in self.__dict__.items()}


def of_samples(first: int, samples: np.ndarray, counts: np.ndarray) -> State:
    """The state of samples (rows, samples, channels) with indices from ``first`` on."""
    starts, sizes, mean, m2 = zip(*nodes_of(np, samples, first))
    return State(list(starts), list(sizes), np.stack(mean, axis=1), np.stack(m2, axis=1), counts)


def taken(array: Array, rows: np.ndarray) -> Array:
    return array[_arrays.of_kind(_arrays.location(array), rows)]


def error_bars(samples: Any, m2: Array, steps: Array | None, mean: Array) -> Array:
    """(rows, channels) standard errors: NaN for one sample, 0 for points whose walks made no steps.

    ``m2`` has the sums of squared deviations. Returns a NumPy array, or an array on the device of m2.
    """
    if m2.__class__ is not np.ndarray:
        if not _arrays.on_host(m2):
            return _error_bars_on_device(samples, m2, steps, mean)
        m2, steps, mean = (x if x is None else _arrays.to_host(x) for x in (m2, steps, mean))
    if isinstance(samples, int):
        stderr = np.sqrt(m2 / (samples - 1) / samples) if samples > 1 else np.full(m2.shape, np.nan)
    else:
        n = samples.astype(np.float64)[:, None]
        stderr = np.where(n > 1, np.sqrt(m2 / np.maximum(n - 1, 1) / n), np.nan)
    if steps is not None and not steps.all():  # within epsilon of the boundary every walk ends at its start
        stderr = np.where((steps == 0)[:, None] & np.isfinite(mean), 0.0, stderr)
    return np.asarray(stderr)


def _error_bars_on_device(samples: Any, m2: Array, steps: Array, mean: Array) -> Array:
    """Like ``error_bars``, without branches that depend on device values."""
    xp = _arrays.namespace(m2)
    m2, steps, mean = (x.detach() if hasattr(x, "detach") else x for x in (m2, steps, mean))
    if not isinstance(samples, int):
        samples = _arrays.of_kind(_arrays.location(m2), samples.astype(np.float64)[:, None])
    stderr = xp.sqrt(m2 / (samples - 1) / samples) if not isinstance(samples, int) or samples > 1 else xp.full_like(m2, np.nan)
    return xp.where((steps == 0)[:, None] & xp.isfinite(mean), xp.zeros_like(stderr), stderr)


Part = tuple[np.ndarray, State]  # ascending indices of points among all points, and their walks


@dataclass
class Groups:
    """The state of a result whose points have different numbers of walks. Every point is in one group.

    ``samples``, ``walks`` and ``end`` are arrays (rows,). ``counts`` and ``fold`` are as in State.
    """

    parts: list[Part]

    @property
    def samples(self) -> np.ndarray:
        return self._each("samples")

    @property
    def walks(self) -> np.ndarray:
        return self._each("walks")

    @property
    def end(self) -> np.ndarray:
        return self._each("end")

    @property
    def counts(self) -> Array:
        return self._whole([state.counts for _, state in self.parts])

    def fold(self) -> tuple[Array, Array]:
        folded = [state.fold() for _, state in self.parts]
        return self._whole([mean for mean, _ in folded]), self._whole([m2 for _, m2 in folded])

    def _each(self, name: str) -> np.ndarray:
        return np.asarray(self._whole([np.full(len(rows), getattr(state, name)) for rows, state in self.parts]))

    def _whole(self, arrays: list[Array]) -> Array:
        return whole_of([(rows, array) for (rows, _), array in zip(self.parts, arrays)])


def whole_of(parts: list[tuple[np.ndarray, Array]]) -> Array:
    """Assemble one array of all points, in order, from parts with their indices."""
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    return taken(_joined([array for _, array in parts]), order)


def parts_of(state: State | Groups) -> list[Part]:
    return state.parts if isinstance(state, Groups) else [(np.arange(len(state.counts)), state)]


def gather(parts: Iterable[Part]) -> State | Groups:
    """Combine the parts of all points: a State if all points have the same walks, otherwise Groups."""
    alike: dict[Any, list[Part]] = {}
    for rows, state in parts:
        alike.setdefault((tuple(state.starts), tuple(state.sizes)), []).append((rows, state))
    groups = [_stacked(same) for same in alike.values()]
    return groups[0][1] if len(groups) == 1 else Groups(groups)


def _stacked(parts: list[Part]) -> Part:
    """Stack points with the same walks in the order of their indices."""
    if len(parts) == 1:
        return parts[0]
    rows, first = np.concatenate([r for r, _ in parts]), parts[0][1]
    order = np.argsort(rows)
    mean, m2, counts = (taken(_joined([getattr(s, name) for _, s in parts]), order) for name in ("mean", "m2", "counts"))
    return rows[order], State(first.starts, first.sizes, mean, m2, counts)


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else _arrays.namespace(arrays[0]).concatenate(arrays, 0)


def intersections(a: State | Groups, b: State | Groups) -> list[tuple[np.ndarray, State, State]]:
    """For each pair of groups with common points: these points and their states in a and in b."""
    mine, theirs = parts_of(a), parts_of(b)
    if len(mine) == len(theirs) == 1:
        return [(mine[0][0], mine[0][1], theirs[0][1])]
    (of_a, at_a), (of_b, at_b) = _groups_and_indices(mine), _groups_and_indices(theirs)
    pair = of_a * len(theirs) + of_b
    order = np.argsort(pair, kind="stable")
    result = []
    for rows in np.split(order, np.flatnonzero(np.diff(pair[order])) + 1):
        i, j = divmod(int(pair[rows[0]]), len(theirs))
        result.append((rows, mine[i][1].take(at_a[rows]), theirs[j][1].take(at_b[rows])))
    return result


def _groups_and_indices(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """The group of every point, and the point's index in the group."""
    count = sum(len(rows) for rows, _ in parts)
    group, index = np.empty(count, np.int64), np.empty(count, np.int64)
    for k, (rows, _) in enumerate(parts):
        group[rows], index[rows] = k, np.arange(len(rows))
    return group, index


def overlap(a: State | Groups, b: State | Groups) -> bool:
    """Whether any point has a walk that is in both."""
    return any(x.overlaps(y) for _, x, y in intersections(a, b))


def join(a: State | Groups, b: State | Groups) -> State | Groups:
    """Join the walks of both, point by point."""
    return gather((rows, x.join(y)) for rows, x, y in intersections(a, b))
