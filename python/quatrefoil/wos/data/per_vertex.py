"""Values at the vertices of a polygon or mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array_like, finite, host_array, ndim
from ..._typing import ArrayLike
from ..region import Region
from .packed import Array, DataClass, PackedData, Parameters, Target, as_given


class PerVertex(DataClass):
    """Values at the vertices of a polygon or mesh, linear along segments and on triangles.

    Parameters
    ----------
    values : (M,) or (B, M), or a list of B arrays (M_b,) if M differs between polygons
        The outer ring first, then the holes. For a mesh, one value per row of ``mesh.vertices``.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> square = qf.wos.Polygon(np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]))
    >>> g = qf.wos.PerVertex([0, 1, 1, 0])  # x on the boundary, and so inside
    >>> u = qf.wos.solve(square, np.array([[0.25, 0.5]]), dirichlet=g, walks=10_000, rng=0)
    >>> bool(abs(u.value[0] - 0.25) < 5 * u.stderr[0] + 1e-3)
    True
    """

    def __init__(self, values: ArrayLike) -> None:
        several = isinstance(values, (list, tuple)) and ndim(values) != 1
        parts: Any = values if several else [values]
        rows = [array_like(v, "PerVertex", f"values[{b}]" if several else "values") for b, v in enumerate(parts)]
        for row in rows:
            a = host_array(row, "PerVertex", "values", device="keep", differentiable=True)
            if a.ndim not in ((1,) if several else (1, 2)):
                raise ValueError(f"PerVertex: values has shape {a.shape}, expected (M,) or (B, M)")
            finite(a, "PerVertex", "values")
        self.values: Any = rows if several else rows[0]

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        return [(self.values, 1)]

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        if not hasattr(boundary, "_first_vertex") or name in ("source", "screening", "diffusion"):
            raise ValueError(f"{label}: {name} is PerVertex data, which is defined only on the boundary of a polygon or mesh")
        several = isinstance(self.values, list)
        batch = None if not several and self.values.ndim == 1 else len(self.values)
        if boundary._batch is not None and batch not in (None, 1, boundary._count):
            raise ValueError(f"{label}: {name}.values has {batch} instances, but the boundary has {boundary._count}")
        sizes = np.diff(boundary._first_vertex)
        for i in range(max(1 if batch is None else batch, len(sizes)) if batch != 0 and len(sizes) else 0):
            M, what = int(sizes[i if len(sizes) > 1 else 0]), "the mesh" if boundary.dimension == 3 else f"polygon {i}"
            shape = tuple((self.values[i if len(self.values) > 1 else 0] if several else self.values).shape)[-1:]
            if shape != (M,):
                raise ValueError(f"{label}: {name}.values[{i}] has shape {shape}, but {what} has {M} vertices: expected ({M},)")
        return batch

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """The values at the corners of every segment or triangle, in one row for B polygons."""
        b: Any = target.boundary
        xp, values = target.namespace, data[0].values if len(data) == 1 else [g.values for g in data]
        if isinstance(values, list):
            rows = [target.parameter(v, f"{name}.values[{i}]") for i, v in enumerate(values)]
        else:
            both = target.parameter(values, f"{name}.values")
            rows = list(both) if both.ndim == 2 else [both]
        batch = None if not isinstance(values, list) and values.ndim == 1 else len(rows)
        pairs = target.array(b._pairs)
        if b._batch is None:
            numbers = xp.stack([row[pairs].reshape(-1) for row in rows]) if rows else target.array(np.zeros((0, b._pairs.size)))
        else:
            rows = rows * b._count if len(rows) == 1 else rows
            numbers = (xp.concatenate(rows) if rows else target.array(np.zeros(0)))[pairs].reshape(1, -1)

        def pull(g: np.ndarray) -> Parameters:
            return {"values": _pull_corners(g, b, values)}

        one_row = b.dimension == 2 and b._count != 1
        return PackedData("per_vertex", batch, numbers, pull=pull, first=b._first if one_row else None)


def _pull_corners(g: np.ndarray, b: Any, values: Array) -> Any:
    """The transpose of gathering the values at the corners of every segment or triangle."""
    vertices = int(b._first_vertex[-1])
    rows = [np.bincount(b._pairs.reshape(-1), row, minlength=vertices) for row in g]
    if b._batch is not None:
        rows = np.split(rows[0], b._first_vertex[1:-1]) if len(rows) and b._count else []
        rows = [np.sum(rows, axis=0)] if isinstance(values, list) and len(values) == 1 else rows
    if isinstance(values, list):
        return [as_given(row, v) for row, v in zip(rows, values)]
    return as_given(np.stack(rows) if rows else np.zeros((0, vertices)), values)


def on_facets(packed: PackedData, d: int, chosen: np.ndarray, reversed_rows: np.ndarray | None, first: np.ndarray) -> PackedData:
    """Select values at vertices for some segments or triangles: d values each, with the last two swapped for reversed facets.

    Returns other data unchanged. ``first``: the first segment or triangle of each instance.
    """
    if packed.kind != "per_vertex":
        return packed
    corners = d * chosen[:, None] + np.arange(d)
    if reversed_rows is not None:
        corners = np.where(reversed_rows[:, None], corners[:, [*range(d - 2), d - 1, d - 2]], corners)
    column, numbers, whole = corners.reshape(-1), packed.numbers, packed.pull
    assert numbers is not None
    shape = tuple(numbers.shape)

    def pull(g: np.ndarray) -> Parameters:
        assert whole is not None
        full = np.zeros(shape)
        full[:, column] = g
        return whole(full)

    index = _arrays.of_kind(_arrays.location(numbers), column)
    first_of = None if packed.first is None else first
    return packed._replace(numbers=numbers[:, index], pull=whole and pull, first=first_of)
