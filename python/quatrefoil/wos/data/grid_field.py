"""Values at the nodes of a regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._arguments import array_like, host_array, keywords, points_like
from ..._typing import ArrayLike
from ..region import Region
from .grids import Cells, at_instances, box_of, interpolated
from .packed import Array, DataClass, PackedData, Parameters, Target, as_given, instances, stacked, table


class GridField(DataClass):
    """Values at the nodes of a regular grid, linear along every axis between the nodes.

    Outside the box, the value is taken from the closest point of the box.

    Parameters
    ----------
    values : (n1, ..., nd) or (B, n1, ..., nd)
        The first axis is x. At least two nodes per axis; the first and last are on the faces of the box. A NaN affects only points whose
        walks reach one of its cells.
    box : (lo, hi), each d real numbers
        Two opposite corners in absolute coordinates, not one pair per axis: ((0, 2), (1, 3)) is 0 to 1 in x and 2 to 3 in y.

    Notes
    -----
    ``solve`` is differentiable with respect to ``values``, but not with respect to ``box``. Values and coordinates are float64. Cost: 2^d
    values per point. Equation numbers: csrc/wos/data/README.md (8), (9).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> f = qf.wos.GridField(np.array([[0.0, 1.0], [2.0, 3.0]]), box=((0.0, 0.0), (1.0, 1.0)))  # 2 x + y
    >>> f(np.array([[0.5, 0.25], [9.0, 1.0]]))
    array([1.25, 3.  ])
    >>> square = qf.wos.Polygon(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    >>> result = qf.wos.solve(square, np.array([[0.5, 0.5]]), dirichlet=f, walks=1024, rng=0)
    >>> bool(abs(result.value[0] - 1.5) < 5 * result.stderr[0] + 1e-3)
    True
    """

    @keywords(
        "GridField", positional="pass the box as two corners, (lo, hi)", missing="expected GridField(values, (lo, hi)), with two corners"
    )
    def __init__(self, values: ArrayLike, box: ArrayLike | tuple[ArrayLike, ArrayLike]) -> None:
        self.box, values = box_of(box, "GridField"), array_like(values, "GridField", "values")
        v, d = host_array(values, "GridField", "values", device="keep", differentiable=True), len(self.box[0])
        if v.ndim not in (d, d + 1) or min(v.shape[-d:], default=0) < 2:
            axes = ", ".join(f"n{i + 1}" for i in range(d))
            raise ValueError(f"GridField: values has shape {v.shape}, expected ({axes}) or (B, {axes}) in a box of {d} axes, n >= 2")
        self.values: Any = values

    def __call__(self, X: Any) -> np.ndarray:
        """Evaluate with NumPy. Returns (n,) for points (n, d) in absolute coordinates; with instances, (B, n) for (n, d) or (B, n, d)."""
        X = points_like(X, "GridField", "X")
        v = host_array(self.values, "GridField", "values", differentiable=True)
        d = len(self.box[0])
        if X.shape[-1] != d:
            raise ValueError(f"GridField: X has shape {X.shape}, expected points in {d} dimensions")
        box = np.array(self.box)

        def evaluate(v: np.ndarray, X: np.ndarray) -> np.ndarray:
            cell = Cells(v.shape, box, X.astype(np.float64))
            return interpolated(v, cell.corner, cell.fraction).astype(np.result_type(v, X), copy=False)

        return at_instances(evaluate, v, X, d)

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        return [(self.values, len(self.box[0]))]

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        d = boundary.dimension
        if d > 3:
            raise ValueError(
                f"{label}: {name} is a GridField, which has two or three dimensions, but the boundary has {d}; pass a function"
            )
        if len(self.box[0]) != d:
            raise ValueError(f"{label}: {name} is a GridField in {len(self.box[0])} dimensions, but the boundary has {d}")
        return instances(self.values, d, boundary, label, f"{name}.values")

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """The number of nodes on every axis, the corners of the box, and the values.

        The corners are in absolute coordinates, so that boundaries may share a row.
        """
        d, batch = target.boundary.dimension, len(data) if len(data) > 1 else None
        parts = []
        for g in data:
            v = target.parameter(g.values, f"{name}.values")
            batch = len(v) if v.ndim > d else batch
            sizes = tuple(v.shape[-d:])
            parts.append(table((*sizes, *g.box[0], *g.box[1]), v.reshape(-1, *sizes), target))

        def pull(g: np.ndarray) -> Parameters:
            return {"values": as_given(g[:, 3 * d :].reshape(-1, *data[0].values.shape[-d:]), data[0].values)}

        return PackedData("grid", batch, stacked(parts, target.namespace), pull=pull, linear=slice(3 * d, None))
