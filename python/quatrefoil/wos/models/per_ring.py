"""Boundary values for each ring of one polygon: ``dirichlet_per_ring`` of ``solve``.

Numbers and values at vertices become values at all vertices, exact on every segment and differentiable. Other data become a function of
boundary points, which uses the data of the ring with the closest segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array_like, is_number, number
from ..._call import call
from ..data import PerVertex
from ..data.pack import as_function, check, pack
from ..data.packed import Array, DataClass, PackedData, Parameters, Target, any_requires_grad, as_given
from ..polygon import Polygon, offsets
from ..query import NEAREST
from ..region import Region

NAME = "dirichlet_per_ring"


class PerRing(DataClass):
    """Numbers (R,), or a list of R numbers and data, for the outline and its holes."""

    def __init__(self, values: Any, label: str) -> None:
        is_list = isinstance(values, (list, tuple))
        entries: Any = list(values) if is_list else array_like(values, label, NAME)
        if not is_list and entries.ndim != 1:
            raise ValueError(f"{label}: {NAME} has shape {tuple(entries.shape)}, expected (R,), or a list with one entry per ring")
        self.values = entries

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        return []

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        if not isinstance(boundary, Polygon) or boundary._batch is not None:
            raise ValueError(
                f"{label}: {NAME} requires a single Polygon, but boundary is {boundary!r}; pass PerVertex data, "
                "or solve one polygon at a time"
            )
        sizes = np.diff(offsets(boundary._rings[0])).tolist()
        if len(self.values) != len(sizes):
            rings = f"{len(sizes)} rings, the outline and {len(sizes) - 1} {'hole' if len(sizes) == 2 else 'holes'}"
            raise ValueError(
                f"{label}: {NAME} has {len(self.values)} entries, but the polygon has {rings}: expected one per ring, outline first"
            )
        if isinstance(self.values, list):
            for r, (entry, m) in enumerate(zip(self.values, sizes)):
                if isinstance(entry, PerVertex):
                    _check_ring(entry, m, label, f"{NAME}[{r}]")
                elif entry is None or check(entry, boundary, label, f"{NAME}[{r}]") is not None:
                    what = "None" if entry is None else "data of several instances"
                    raise ValueError(f"{label}: {NAME}[{r}] is {what}, expected a number or data of one instance")
        return None

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """Values at all vertices, or a function."""
        (one,), b = data, target.boundary
        assert isinstance(b, Polygon)
        first = offsets(b._rings[0])
        if not one._is_at_vertices():
            return PackedData("function", function=one._function(b, first, target))
        values = one._at_vertices(first, target)

        def pull(g: np.ndarray) -> Parameters:
            return {"values": one._pull(np.bincount(b._pairs.reshape(-1), g[0], minlength=int(first[-1])), first)}

        return PackedData("per_vertex", None, values[target.array(b._pairs)].reshape(1, -1), pull=pull)

    def _is_at_vertices(self) -> bool:
        """Whether every ring has a number, or values at its vertices."""
        return not isinstance(self.values, list) or all(map(_is_at_vertices, self.values))

    def _at_vertices(self, first: np.ndarray, target: Target) -> Array:
        """Float64 values (M,) at all vertices, differentiable with respect to the entries."""
        rings: Any = self.values if isinstance(self.values, list) else target.parameter(self.values, NAME)
        parts = []
        for r, (g, m) in enumerate(zip(rings, np.diff(first).tolist())):
            if isinstance(g, PerVertex):
                parts.append(target.parameter(g.values, f"{NAME}[{r}].values"))
                continue
            if is_number(g):
                g = target.array(np.array(number(g, "solve", f"{NAME}[{r}]", negative=True)))
            elif rings is self.values:
                g = target.parameter(g, f"{NAME}[{r}]")
            parts.append(target.namespace.broadcast_to(g, (m,)))
        return target.namespace.concatenate(parts)

    def _pull(self, g: np.ndarray, first: np.ndarray) -> Any:
        """The gradient with respect to the entries, from the gradient with respect to the values at all vertices (M,)."""
        parts = [g[a:b] for a, b in pairwise(first)]
        if not isinstance(self.values, list):
            return as_given(np.array([part.sum() for part in parts]), self.values)
        return [
            as_given(part, entry.values)
            if isinstance(entry, PerVertex)
            else float(part.sum())
            if is_number(entry)
            else as_given(part.sum(), entry)
            for entry, part in zip(self.values, parts)
        ]

    def _function(self, b: Polygon, first: np.ndarray, target: Target) -> _ByRing:
        parts: list[Any] = []
        if "@" in target.kind:
            r = next(r for r, g in enumerate(self.values) if not _is_at_vertices(g))
            raise NotImplementedError(f"solve: {NAME}[{r}] is neither a number nor PerVertex, as a device requires")
        for r, g in enumerate(self.values):
            if any_requires_grad(g):
                raise NotImplementedError(f"solve: {NAME}[{r}] requires grad, and some ring has data other than numbers and PerVertex")
            if isinstance(g, PerVertex):
                parts.append(PerVertex(_arrays.to_host(target.parameter(g.values, f"{NAME}[{r}].values"))))
            else:
                parts.append(as_function(pack(g, target, f"{NAME}[{r}]")))
        return _ByRing(b, parts)


class _ByRing:
    """f(instance, X) in absolute coordinates: the data of the ring closest to each point."""

    def __init__(self, polygon: Polygon, parts: Sequence[Any]) -> None:
        self.polygon, self.parts = polygon, parts  # functions, or PerVertex

    def __call__(self, instance: int, X: np.ndarray) -> np.ndarray:
        X, b = np.ascontiguousarray(_arrays.to_host(X)), self.polygon
        rows = np.concatenate([b._centre, b._extent[:, None]], axis=1)
        inputs = (X, rows, *b._arrays_of("numpy"))
        # one thread, because the walks already use all threads
        _, _, segment, weights = (x[0] for x in call(NEAREST, inputs, (False, True, True, True), (b._memo_of("numpy"),), None, None, 1))
        ends, first = b._pairs[segment], offsets(b._rings[0])
        ring = np.searchsorted(first, ends[:, 0], side="right") - 1
        values = np.empty(len(X))
        for r in np.unique(ring):
            here, part = ring == r, self.parts[r]
            at_vertices = isinstance(part, PerVertex)
            values[here] = (part.values[ends[here] - first[r]] * weights[here]).sum(axis=1) if at_vertices else part(instance, X[here])
        return values


def _is_at_vertices(entry: Any) -> bool:
    """Whether an entry is a number, or values at vertices."""
    return isinstance(entry, PerVertex) or is_number(entry) or (_arrays.kind(entry) is not None and entry.ndim == 0)


def _check_ring(ring: PerVertex, m: int, label: str, name: str) -> None:
    several = isinstance(ring.values, list)
    if several or tuple(ring.values.shape) != (m,):
        shape = f"is a list of length {len(ring.values)}" if several else f"has shape {tuple(ring.values.shape)}"
        raise ValueError(f"{label}: {name}.values {shape}, but the ring has {m} vertices: expected ({m},)")


def expected_for(boundary: Any) -> str:
    """Advice on how to write boundary values."""
    rings = len(boundary._rings[0]) if isinstance(boundary, Polygon) and boundary._batch is None else 1
    per_ring = f", or {NAME}={[0] + [1] * (rings - 1)} for the outline, then each hole" if rings > 1 else ""
    return f"dirichlet=0.0, or a function such as dirichlet=lambda X: X[:, 0]{per_ring}"
