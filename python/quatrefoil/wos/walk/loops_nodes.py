"""Array code around the loops of the walks: nodes, and gradients with respect to the data's parameters."""

import itertools
from typing import NamedTuple

import numpy as np

from ..._arrays import dense
from ..data.composition import Data, Points
from ..data.loops import data_values, row_of
from .loops_paths import CUT_OFF, ESCAPED
from .nodes import nodes_of, schedule

_BLOCK = 1 << 14  # walks at a time; limits the memory of their source points


class Met(NamedTuple):
    """Points where walks evaluate one kind of data.

    Fields: scaled points, facets, weights of the facets' corners, weights, walks, and whether the points are in a pair's first ball.
    """

    X: np.ndarray
    facet: np.ndarray | None
    corner_weights: np.ndarray | None
    weight: np.ndarray
    owner: np.ndarray
    entering: np.ndarray


class Problem:
    """The arguments of a walk op, or of its adjoint, by name.

    ``walked`` is a class: ``walked(problem, b, point, walk, wanted)`` runs walks of instance b. Its attributes are: ``met``, the points for
    each kind of data, if wanted; ``mark``, steps and flags of each walk; ``beyond``, its jumps beyond the bound; ``along`` and ``toward``,
    the factors of contributions to the channels of a sample after the first balls of pairs and in them; and ``firsts``, for each kind of
    data the name of the argument with each instance's first facet. ``skips_unknown``: NaN factors count as 0 in the adjoint.
    """

    nrhs = 1

    def __init__(self, op, inputs, rest, walked, **more):
        names = [part.name for part in (*op.inputs, *op.options, *op.extras)]
        vars(self).update(zip(names, (*map(dense, inputs), *rest)), walked=walked, **more)
        self.names = [option.name.removesuffix("_kind") for option in op.options if option.name.endswith("_kind")]
        self.kinds = [getattr(self, f"{name}_kind") for name in self.names]
        self.tables = [getattr(self, name) for name in self.names]
        self.functions = [getattr(self, extra.name) for extra in op.extras if extra.function]
        self.firsts = [getattr(self, name) for name in walked.firsts]
        self.group = 2 if self.gradient else 1

    def sides(self, b):
        """The right-hand sides of an instance."""
        return range(b * self.nrhs, (b + 1) * self.nrhs)

    def blocks(self, b):
        """Points and walks of one instance, a few thousand walks at a time. Skips points outside."""
        live = np.flatnonzero(~np.isnan(self.start[b, :, 0]))
        for at in range(0, len(live) * self.walks, _BLOCK):
            index = np.arange(at, min(at + _BLOCK, len(live) * self.walks))
            yield live[index // self.walks], self.first_walk + index % self.walks

    def values(self, walked, b, side):
        """The value and, for a pair, the gradient (13) from the data along the walks, (walks, channels)."""
        n, later, here = len(walked.mark), 0.0, 0.0
        for kind, table, function, first, met in zip(self.kinds, self.tables, self.functions, self.firsts, walked.met):
            if kind != "none" and len(met.X):
                X, row = np.ascontiguousarray(met.X), None if table is None else row_of(kind, table, side, first)
                values = met.weight * data_values(
                    kind, row, function, self.first_instance + side, self.frame[b], X, met.facet, met.corner_weights
                )
                after = ~met.entering
                later = later + np.bincount(met.owner[after], values[after], minlength=n)
                if met.entering.any():
                    here = here + np.bincount(met.owner[met.entering], values[met.entering], minlength=n)
        channels = np.broadcast_to(later, n)[:, None] * walked.along
        return channels if np.ndim(here) == 0 else channels + here[:, None] * walked.toward


def first_balls(n, d):
    """The first balls (n, 2 + 2 d), see ``enter``. A pair without steps has the boundary value, and NaN as its gradient."""
    first = np.full((n, 2 + 2 * d), np.nan)
    first[:, 0], first[:, 1] = 1.0, 0.0
    return first


def counters(p, b, point, walk):
    """Walks, points, instance and key of the random words."""
    key = np.uint64(p.seed & 0xFFFFFFFF), np.uint64((p.seed >> 32) & 0xFFFFFFFF)
    return walk.astype(np.uint64), (point + p.first_point).astype(np.uint64), np.uint64(p.first_instance + b), *key


def factors(p, first, frame):
    """Factors (n, channels) of contributions after the first balls of pairs, and of sources in them."""
    if not p.gradient:
        return np.ones((len(first), 1)), np.zeros((len(first), 1))
    d = first.shape[1] // 2 - 1
    first[:, 2:] /= frame[d]
    return first[:, [0, *range(2, 2 + d)]], first[:, [1, *range(2 + d, 2 + 2 * d)]]


def tallied(marks):
    """Steps, 1 for walks that ``max_steps`` cut off, 1 for walks that left the box."""
    return np.stack([marks & (ESCAPED - 1), (marks & CUT_OFF) != 0, (marks & ESCAPED) != 0], axis=-1)


def forward(op, walked, arguments):
    """The nodes of walks [first_walk, first_walk + walks) of every point. Arguments: inputs, outputs, options, extras, threads."""
    n, m = len(op.inputs), len(op.outputs)
    p, (mean, m2, counts, *beyond) = Problem(op, arguments[:n], arguments[n + m :], walked), arguments[n : n + m]
    (B, N, _), C = p.start.shape, mean.shape[3]
    for b in range(B):
        values, marks = np.full((p.nrhs, C, N, p.walks), np.nan), np.zeros((2, N, p.walks), np.int64)
        for point, walk in p.blocks(b):
            some, column = walked(p, b, point, walk, [kind != "none" for kind in p.kinds]), walk - p.first_walk
            marks[0, point, column], marks[1, point, column] = some.mark, some.beyond
            for side, of_side in zip(p.sides(b), values):
                of_side[:, point, column] = p.values(some, b, side).T
        for side, of_side in zip(p.sides(b), values):
            counts[side] = tallied(marks[0]).sum(axis=1)
            for of_jumps in beyond:
                if of_jumps is not None:
                    of_jumps[side] = marks[1].sum(axis=1)
            for c, x in enumerate(of_side):
                samples = x if p.group == 1 else (x[:, ::2] + x[:, 1::2]) * 0.5
                for k, node in enumerate(nodes_of(np, samples, p.first_walk // p.group)):
                    mean[side, :, k, c], m2[side, :, k, c] = node[2:]
            m2[side, np.isnan(p.start[b, :, 0])] = np.nan  # NaN outside, even for a single walk


def record(op, walked, arguments):
    """The ends of walks and the points along them, kind by kind. Arguments: inputs, outputs, options, extras, threads."""
    n, m = len(op.inputs), len(op.outputs)
    p, (exit, weight, counts, beyond, met, point, share) = Problem(op, arguments[:n], arguments[n + m :], walked), arguments[n : n + m]
    live, parts = ~np.isnan(p.start[0, :, 0]), [[] for _ in range(met.shape[2])]
    exit[...], weight[...] = p.start[0][:, None], np.where(live, 0.0, np.nan)[:, None]
    for x in (counts, beyond, met, point, share):
        x[...] = 0
    for at, walk in p.blocks(0):
        some, column = walked(p, 0, at, walk, [kind != "none" for kind in p.kinds]), walk - p.first_walk
        counts[at, column], beyond[at, column] = tallied(some.mark), some.beyond
        ends, *others = some.met
        exit[at[ends.owner], column[ends.owner]], weight[at[ends.owner], column[ends.owner]] = ends.X, ends.weight
        for kind, points in enumerate(others):
            if p.kinds[1 + kind] == "none":
                continue
            met[at, column, kind] = np.bincount(points.owner, minlength=len(at))
            order = np.argsort(points.owner, kind="stable")
            parts[kind].append((points.X[order], points.weight[order]))
    written = 0
    for X, weights in itertools.chain(*parts):
        some = slice(written, written + len(X))
        point[some], share[some] = (x[: len(share[some])] for x in (X, weights))
        written += len(X)


def replay(op, walked, arguments):
    """(7), (8) Gradients by replaying the walks. Arguments: inputs, a gradient, gradients, options, extras, threads."""
    n = len(op.inputs)
    p, grad = Problem(op, arguments[:n], arguments[2 * n + 1 :], walked), arguments[n]
    to = [gradient for part, gradient in zip(op.inputs, arguments[n + 1 :]) if part.name in p.names]
    starts, sizes = map(np.array, schedule(p.first_walk // p.group, p.walks // p.group))
    for gradient in to:
        if gradient is not None:
            gradient[...] = 0
    for b in range(len(p.start)):
        for point, walk in p.blocks(b):
            some = walked(p, b, point, walk, [gradient is not None for gradient in to])
            node = np.searchsorted(starts, walk // p.group, side="right") - 1
            for side in p.sides(b):
                share = grad[side, point, node] / (sizes[node] * p.group)[:, None]
                _add_gradients(p, some, b, side, share, to)


def _add_gradients(p, walked, b, side, share, to):
    """Add to gradients shaped like the data's tables. ``share`` (walks, channels): every walk's share of its node's gradient."""
    along, toward = (
        (share * np.where(np.isnan(x) if walked.skips_unknown else share == 0, 0.0, x)).sum(axis=1) for x in (walked.along, walked.toward)
    )
    for kind, table, first, gradient, met in zip(p.kinds, p.tables, p.firsts, to, walked.met):
        n, d = met.X.shape
        if gradient is None or not n:
            continue
        facet = None if met.facet is None else met.facet + (first[b] if first is not None and len(first) > 2 else 0)
        frame, weights = np.broadcast_to(p.frame[b], (n, d + 2)), () if met.corner_weights is None else met.corner_weights.T
        at = Points(met.X, np.full(n, side), frame[:, :d], frame[:, d], [], facet, weights)
        with np.errstate(all="ignore"):
            of_met = np.where(met.entering, toward[met.owner], along[met.owner])
            gradient += Data(np, "", kind, table, None).gradient(at, met.weight * of_met)
