"""A diffusion that is constant in parts of a polygon and jumps between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._arguments import number
from .polygon import Polygon


class Regions:
    """A diffusion that is constant in polygons and around them, and jumps at their sides.

    Use ``Problem(..., diffusion=Regions(...))`` in the plane, with operators (``Problem.operator``). u and α ∂u/∂n are continuous.

    Parameters
    ----------
    outside : float
        α in the rest of the domain; positive.
    parts : list of (Polygon, α)
        Polygons without holes inside the domain, with their values of α. They touch neither its boundary nor each other.

    Raises
    ------
    ValueError, TypeError
        For values that are not positive, no polygons, polygons with holes, or batches of polygons. ``Problem`` checks their positions.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> square, core = (qf.wos.Polygon(r * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])) for r in (1.0, 0.5))
    >>> plate = qf.wos.Problem(square, dirichlet=0.0, source=1.0, diffusion=qf.wos.Regions(1.0, [(core, 100.0)]))
    >>> of = plate.operator([[0.0, 0.0], [0.75, 0.0]], walks=1000, rng=0)
    >>> u = of.solve(0.0, 1.0)  # almost constant in the core
    >>> bool(0.09 < u.value[1] < u.value[0] < 0.3)
    True
    """

    def __init__(self, outside: float, parts: Sequence[tuple[Polygon, float]]) -> None:
        self.outside = number(outside, "Regions", "outside", positive=True)
        if not isinstance(parts, Sequence) or not len(parts):
            raise TypeError(f"Regions: parts is {parts!r}, expected a list of (Polygon, value)")
        checked = []
        for k, part in enumerate(parts):
            if not isinstance(part, (tuple, list)) or len(part) != 2 or not isinstance(part[0], Polygon):
                raise TypeError(f"Regions: parts[{k}] is {part!r}, expected (Polygon, value)")
            polygon, value = part
            if polygon._batch is not None or polygon.holes:
                raise ValueError(f"Regions: parts[{k}] is {polygon!r}, expected one polygon without holes")
            checked.append((polygon, number(value, "Regions", f"parts[{k}]", positive=True)))
        self.parts = tuple(checked)

    def _check(self, domain: Polygon, label: str) -> None:
        """Raise ValueError unless the parts are separate from each other and from the boundary of the domain."""
        for k, (polygon, _) in enumerate(self.parts):
            others = [(domain, True, "the boundary")]
            others += [(other, False, f"parts[{j}]") for j, (other, _) in enumerate(self.parts) if j != k]
            for other, within, name in others:
                if (other.contains(polygon.vertices) != within).any() or _meet(polygon, other):
                    where = "inside" if within else "outside"
                    raise ValueError(f"{label}: parts[{k}] of diffusion touches or crosses {name}; it must be {where} it")

    def __repr__(self) -> str:
        return f"Regions({self.outside}, {list(self.parts)})"


def _meet(a: Polygon, b: Polygon) -> bool:
    """Whether sides of two polygons have a common point, up to rounding."""
    p, q = a._ends[:, None], b._ends[None]

    def side(of: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray((of[..., 2] - of[..., 0]) * (x[..., 1] - of[..., 1]) - (of[..., 3] - of[..., 1]) * (x[..., 0] - of[..., 0]))

    crossing = (side(p, q[..., :2]) * side(p, q[..., 2:]) < 0) & (side(q, p[..., :2]) * side(q, p[..., 2:]) < 0)
    near = 1e-9 * float(b._extent[0])
    return bool(
        crossing.any() or b.closest_point(a.vertices).distance.min() < near or a.closest_point(b._ends[:, :2]).distance.min() < near
    )
