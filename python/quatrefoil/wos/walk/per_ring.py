"""Boundary values that differ from ring to ring of one polygon, as ``dirichlet_per_ring`` of ``solve`` gives them.

Numbers and values at vertices become values at all vertices, exact on every segment and differentiable. Other data become a function of
boundary points, which are first assigned to the ring of the closest segment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import is_number, number
from ..._call import call
from ..data import PerRing, PerVertex
from ..polygon import Polygon
from ..query import NEAREST

NAME = "dirichlet_per_ring"
Array = Any


class ByRing:
    """f(instance, X) in absolute coordinates: the part of the ring that each point is closest to."""

    def __init__(self, polygon: Polygon, parts: Sequence[Any]) -> None:
        self.polygon, self.parts = polygon, parts  # functions, or PerVertex

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        X, b = np.ascontiguousarray(_arrays.to_host(X)), self.polygon
        rows = np.concatenate([b._centre, b._extent[:, None]], axis=1)
        inputs = (X, rows, *b._arrays_of("numpy"))
        # on one thread: a walk's threads are all busy
        _, _, segment, weights = (x[0] for x in call(NEAREST, inputs, (False, True, True, True), (b._memo_of("numpy"),), None, None, 1))
        ends, first = b._pairs[segment], first_vertices(b)
        ring = np.searchsorted(first, ends[:, 0], side="right") - 1
        values = np.empty(len(X))
        for r in np.unique(ring):
            here, part = ring == r, self.parts[r]
            at_vertices = isinstance(part, PerVertex)
            values[here] = (part.values[ends[here] - first[r]] * weights[here]).sum(axis=1) if at_vertices else part(instance, X[here])
        return values


def first_vertices(b: Polygon) -> np.ndarray:
    """(R + 1,): where the vertices of each ring begin."""
    return np.cumsum([0, *map(len, b._rings[0])])


def rings_of(given: PerRing, boundary: Any) -> tuple[Polygon, np.ndarray]:
    """The polygon and where its rings begin; ValueError where the data do not fit."""
    if not isinstance(boundary, Polygon) or boundary._batch is not None:
        raise ValueError(
            f"solve: {NAME} is for the rings of one Polygon, boundary is {boundary!r}; give PerVertex data, or solve one by one"
        )
    first = first_vertices(boundary)
    if len(given.values) != len(first) - 1:
        rings = f"{len(first) - 1} rings, the outline and {len(first) - 2} holes"
        raise ValueError(
            f"solve: {NAME} has {len(given.values)} entries, but the polygon has {rings}: expected one per ring, outline first"
        )
    return boundary, first


def expected_for(boundary: Any) -> str:
    """What to type as boundary values."""
    rings = len(boundary._rings[0]) if isinstance(boundary, Polygon) and boundary._batch is None else 1
    per_ring = f", or {NAME}={[0] + [1] * (rings - 1)} for the outline, then each hole" if rings > 1 else ""
    return f"dirichlet=0.0, or a function such as dirichlet=lambda X: X[:, 0]{per_ring}"


def is_at_vertices(given: PerRing) -> bool:
    """Whether every ring has a number or values at its vertices."""
    return not isinstance(given.values, list) or all(
        isinstance(g, PerVertex) or is_number(g) or (_arrays.kind(g) is not None and g.ndim == 0) for g in given.values
    )


def of_ring(given: PerVertex, m: int, target: Any, name: str) -> Array:
    """(m,) float64 of the vertices of one ring."""
    several = isinstance(given.values, list)
    values = given.values if several else target.parameter(given.values, f"{name}.values")
    if several or tuple(values.shape) != (m,):
        shape = f"is a list of {len(values)}" if several else f"has shape {tuple(values.shape)}"
        raise ValueError(f"solve: {name}.values {shape}, but the ring has {m} vertices: expected ({m},)")
    return values


def values_at_vertices(given: PerRing, first: np.ndarray, target: Any) -> Array:
    """(M,) float64 of all vertices, under the gradients of the entries."""
    rings: Any = given.values if isinstance(given.values, list) else target.parameter(given.values, NAME)
    parts = []
    for r, (g, m) in enumerate(zip(rings, np.diff(first).tolist())):
        if isinstance(g, PerVertex):
            parts.append(of_ring(g, m, target, f"{NAME}[{r}]"))
            continue
        if is_number(g):
            g = target.array(np.array(number(g, "solve", f"{NAME}[{r}]", negative=True)))
        elif rings is given.values:
            g = target.parameter(g, f"{NAME}[{r}]")
        parts.append(target.namespace.broadcast_to(g, (m,)))
    return target.namespace.concatenate(parts)


def pulled(g: np.ndarray, given: PerRing, first: np.ndarray, as_given: Callable[[np.ndarray, Any], Any]) -> Any:
    """The gradient in the values at all vertices (M,) as one in the entries."""
    parts = [g[a:b] for a, b in pairwise(first)]
    if not isinstance(given.values, list):
        return as_given(np.array([part.sum() for part in parts]), given.values)
    found = []
    for entry, part in zip(given.values, parts):
        if isinstance(entry, PerVertex):
            found.append(as_given(part, entry.values))
        else:
            found.append(float(part.sum()) if is_number(entry) else as_given(part.sum(), entry))
    return found
