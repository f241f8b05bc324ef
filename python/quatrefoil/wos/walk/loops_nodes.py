"""Nodes of walks from what they met, and gradients in the numbers of the data: array code for the walks of one instance at a time."""

from typing import NamedTuple

import numpy as np

from ..data.loops import add_gradient, data_values, row_of
from .loops_walked import tallied
from .nodes import of_values, schedule


class Met(NamedTuple):
    """Where walks met data of one kind: scaled points, facets, places on them, weights, walks, and which lie in first balls of pairs."""

    X: np.ndarray
    facet: np.ndarray | None
    place: np.ndarray | None
    weight: np.ndarray
    owner: np.ndarray
    entering: np.ndarray


class Rows:
    """The data of a problem: their kinds, functions, and tables of numbers, with where the facets of each instance begin."""

    def __init__(self, kinds, tables, functions, firsts):
        self.kinds, self.tables, self.functions, self.firsts = kinds, tables, functions, firsts

    def of(self, instance, tables=None):
        """The numbers of one instance, of these tables or of others like them; None for what has no numbers."""
        given = zip(self.kinds, self.tables if tables is None else tables, self.firsts)
        return [None if table is None else row_of(kind, table, instance, first) for kind, table, first in given]


def samples(walked, data, b, instance, frame):
    """(walks, channels): the value, and the gradient of a walk of a pair (13), of what walks met."""
    n, later, here = len(walked.mark), 0.0, 0.0
    for kind, row, function, met in zip(data.kinds, data.of(b), data.functions, walked.met):
        if kind != "none" and len(met.X):
            values = met.weight * data_values(kind, row, function, instance, frame, np.ascontiguousarray(met.X), met.facet, met.place)
            after, first = ~met.entering, met.entering
            later = later + np.bincount(met.owner[after], values[after], minlength=n)
            if first.any():
                here = here + np.bincount(met.owner[first], values[first], minlength=n)
    channels = np.broadcast_to(later, n)[:, None] * walked.along
    return channels if np.ndim(here) == 0 else channels + here[:, None] * walked.toward


def put_nodes(values, marks, first_walk, group, mean, m2, counts):
    """The nodes of one instance from its walks' values (channels, N, walks) and marks (N, walks)."""
    counts[...] = tallied(marks).sum(axis=1)
    for c, of_channel in enumerate(values):
        nodes = of_values(first_walk // group, of_channel if group == 1 else (of_channel[:, ::2] + of_channel[:, 1::2]) * 0.5, counts)
        mean[:, :, c], m2[:, :, c] = nodes.mean, nodes.m2


def shares(grad, point, walk, first_walk, count, group):
    """(walks, channels) of walks of points: their shares of the gradients (N, nodes, channels) in their nodes."""
    starts, sizes = schedule(first_walk // group, count // group)
    node = np.searchsorted(starts, walk // group, side="right") - 1
    return grad[point, node] / (np.array(sizes)[node] * group)[:, None]


def add_gradients(walked, data, b, frame, gradients, along, toward):
    """Adds to ``gradients``, tables like the data's; what walks met counts ``along`` (walks,), in first balls ``toward``."""
    for kind, row, to, met in zip(data.kinds, data.of(b), data.of(b, gradients), walked.met):
        if to is not None and len(met.X):
            share = np.where(met.entering, toward[met.owner], along[met.owner])
            add_gradient(kind, row, met.weight * share, to, frame, met.X, met.facet, met.place)
