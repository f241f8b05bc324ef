"""Runs the walks of all points in batches of limited size, and computes their nodes: csrc/wos/walk/README.md (5) to (7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from types import SimpleNamespace
from typing import Any

from ..._array_tools import added, chunk_slices, double, items_per_chunk, nan_unless, zeros
from ..._spec import Op
from ..data.composition import Points
from .composition_domain import Domain, HalfDiscs
from .composition_philox import Lanes
from .nodes import Node, nodes_of, push, schedule

LANE = 64  # approximate number of array elements per walk, without parameters and the distances of all segments


class WalkBatch:
    """The P walks of a group of points, point by point. ``valid`` (P,): whether the point is in the domain."""

    def __init__(self, walks: Walks, rows: slice, first_walk: int, count: int) -> None:
        xp, (_, N, d), like = walks.xp, walks.shape, walks.frame
        self.xp, self.count, self.height, self.pairs, self.sobol = xp, count, rows.stop - rows.start, walks.pairs, walks.sobol
        point = xp.arange(rows.start, rows.stop, dtype=xp.int64, device=like.device)
        self.of_row = xp.reshape(xp.broadcast_to(point[:, None], (self.height, count)), (self.height * count,))
        self.numbers = xp.arange(self.height * count, dtype=xp.int64, device=like.device)
        number = xp.arange(first_walk, first_walk + count, dtype=xp.int64, device=like.device)
        walk = xp.reshape(xp.broadcast_to(number, (self.height, count)), (self.height * count,))
        row = self.of_row // N
        self.lanes = Lanes(walk, walks.first_point + self.of_row % N, walks.first_instance + row, walks.seed)
        x, frame = xp.take(walks.flat, self.of_row, axis=0), xp.take(like, row, axis=0)
        self.valid = xp.all(xp.isfinite(x), axis=1)
        self.epsilon, self.extent = frame[:, d + 1], frame[:, d]
        spans, homes = [], []
        for b in range(rows.start // N, (rows.stop - 1) // N + 1):
            low, high = max(rows.start, b * N), min(rows.stop, (b + 1) * N)
            some = slice((low - rows.start) * count, (high - rows.start) * count)
            spans.append((walks.first_instance + b, some))
            k = xp.argmax(xp.astype(self.valid[some], xp.int64), keepdims=True)
            homes.append(xp.broadcast_to(xp.take(x[some, :], k, axis=0), x[some, :].shape))
        x = xp.where(self.valid[:, None], x, xp.concat(homes, axis=0))  # invalid walks start at a valid point of their instance
        x = xp.where(xp.isfinite(x), x, xp.zeros_like(x))
        self.at = Points(x, row, frame[:, :d], self.extent, spans, home=x)
        self.domain, self.half_discs = walks.domain(self), None
        if walks.laplace:
            pays = HalfDiscs.pay(xp, walks.ends, walks.first, self.at, self.epsilon)
            self.half_discs = None if pays is None else HalfDiscs(xp, self.domain, pays, self.epsilon)

    def only(self, kept: Any) -> WalkBatch:
        """The walks with these indices, for the steps of ``walk_paths``: the number per point may vary."""
        xp, part = self.xp, copy(self)
        for name in ("of_row", "valid", "epsilon", "numbers", "extent"):
            setattr(part, name, xp.take(getattr(self, name), kept, axis=0))
        walk, point, instance = (xp.take(a, kept, axis=0) for a in self.lanes[:3])
        part.lanes = Lanes(walk, point, instance, self.lanes.seed)
        part.at, part.domain = self.at.only(xp, kept), self.domain.only(kept)
        if self.half_discs is not None:
            part.half_discs = HalfDiscs(xp, part.domain, xp.take(self.half_discs.pays, kept, axis=0), part.epsilon)
        return part

    def tallied(self, marks: Any) -> Any:
        """Sums (rows, k) of ``marks`` (P, k) over the walks of each point."""
        xp = self.xp
        marks = xp.where(self.valid[:, None], xp.astype(marks, xp.int64), 0 * xp.astype(marks, xp.int64))
        return xp.sum(xp.reshape(marks, (self.height, self.count, marks.shape[1])), axis=1)


def named(op: Op, inputs: Sequence[Any], options: Sequence[Any], **more: Any) -> SimpleNamespace:
    """The arguments of an op by name."""
    names = [*(arg.name for arg in op.inputs), *(option.name for option in op.options)]
    return SimpleNamespace(**dict(zip(names, (*inputs, *options), strict=True)), **more)


class Walks:
    """Walks [first_walk, first_walk + walks) of every point, for an op with these arguments."""

    def __init__(self, xp: Any, label: str, args: SimpleNamespace, lane: int = LANE) -> None:
        self.xp, self.label, self.frame, self.ends, self.first = xp, label, args.frame, args.ends, args.first
        self.shape = B, N, d = args.start.shape
        self.flat = xp.reshape(double(xp, args.start), (B * N, d))
        self.seed, self.first_walk, self.count, self.pairs = args.seed, args.first_walk, args.walks, args.gradient
        self.first_instance, self.first_point, self.group = args.first_instance, args.first_point, 2 if args.gradient else 1
        self.outside, self.reach = getattr(args, "outside", False), getattr(args, "reach", 0.0)
        self.sobol = getattr(args, "sobol", False)
        plain = not hasattr(args, "walls") and not hasattr(args, "bounds")
        self.laplace = plain and args.source_kind == "none" and args.screening == 0 and not self.outside
        self.lane = lane if d < 4 else 4 * lane  # (4c) draws several attempts at once

    def domain(self, batch: WalkBatch) -> Domain:
        several = self.first is not None and self.first.shape[0] > 2
        low, high = (self.xp.take(a, batch.at.row, axis=0) for a in (self.first[:-1], self.first[1:])) if several else (None, None)
        reach = self.reach / batch.at.extent if self.outside else 0.0
        return Domain(self.xp, self.label, self.ends, low, high, self.outside, reach)

    def rows(self, numbers: int) -> list[slice]:
        """Split all instances' points into slices that fit into memory, with ``numbers`` elements per point."""
        count = self.shape[0] * self.shape[1]
        return chunk_slices(count, numbers) if count else []

    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of walks that fit into a batch, split at nodes: (first walk, number of walks)."""
        limit = items_per_chunk(self.group * self.lane)
        chunk = 1 << (limit.bit_length() - 1)
        begin, end, result = self.first_walk // self.group, (self.first_walk + self.count) // self.group, []
        while begin < end:
            stop = end if end - begin <= chunk and begin == self.first_walk // self.group else min(end, (begin // chunk + 1) * chunk)
            result.append((self.group * begin, self.group * (stop - begin)))
            begin = stop
        return result

    def batches(self) -> list[tuple[slice, list[tuple[int, int]]]]:
        ranges = self.ranges()
        return [(rows, ranges) for rows in self.rows(self.lane * max(count for _, count in ranges))]

    def nodes(self, channels: int, k: int, compute: Callable[[WalkBatch], tuple[Any, Any]]) -> tuple[Any, Any, Any]:
        """(5) mean and m2 (B, N, K, channels), and sums of marks (B, N, k). ``compute`` returns values (P, channels) and marks (P, k)."""
        xp, (B, N, _), means, spreads, counts = self.xp, self.shape, [], [], []
        for rows, ranges in self.batches():
            nodes: list[Node] = []
            total: Any = None
            for first_walk, count in ranges:
                batch = WalkBatch(self, rows, first_walk, count)
                values, marks = compute(batch)
                values = xp.reshape(nan_unless(xp, batch.valid[:, None], values), (batch.height, count, channels))
                samples = (values[:, ::2, :] + values[:, 1::2, :]) * 0.5 if self.group == 2 else values
                for node in nodes_of(xp, samples, first_walk // self.group):
                    push(nodes, node)
                total = added(total, batch.tallied(marks))
            means.append(xp.stack([node[2] for node in nodes], axis=1))
            m2 = xp.stack([node[3] for node in nodes], axis=1)
            spreads.append(nan_unless(xp, xp.isfinite(self.flat[rows, :1])[:, :, None], m2))  # NaN outside, even for a single walk
            counts.append(total)
        K = len(schedule(self.first_walk // self.group, self.count // self.group)[0])
        if not means:
            none = zeros(xp, (B, N, K, channels), self.frame)
            return none, none, zeros(xp, (B, N, k), self.frame, xp.int64)
        mean, m2 = (xp.reshape(xp.concat(parts, axis=0), (B, N, K, channels)) for parts in (means, spreads))
        return mean, m2, xp.reshape(xp.concat(counts, axis=0), (B, N, k))

    def replay(self, grad: Any, compute: Callable[[WalkBatch, Any], None]) -> None:
        """(7) Pass every batch to ``compute`` again, with its walks' shares (P, channels) of ``grad``.

        ``grad`` (B, N, K, channels) is the gradient with respect to the nodes' means.
        """
        xp, (B, N, K, C) = self.xp, grad.shape
        grad = xp.reshape(double(xp, grad), (B * N, K, C))
        starts, sizes = (
            xp.asarray(x, dtype=xp.int64, device=grad.device) for x in schedule(self.first_walk // self.group, self.count // self.group)
        )
        for rows, ranges in self.batches():
            for first_walk, count in ranges:
                batch = WalkBatch(self, rows, first_walk, count)
                number = xp.arange(first_walk, first_walk + count, dtype=xp.int64, device=grad.device) // self.group
                node = xp.searchsorted(starts, number, side="right") - 1
                size = xp.astype(xp.take(sizes, node, axis=0) * self.group, xp.float64)
                share = xp.take(grad[rows, :, :], node, axis=1) / size[:, None]
                share = xp.reshape(share, (batch.height * count, C))
                compute(batch, xp.where(batch.valid[:, None], share, xp.zeros_like(share)))
