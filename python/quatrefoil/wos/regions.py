"""A diffusion that is constant in parts of a domain and jumps between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from .._arguments import number
from .mesh import Boundary, TriangleMesh
from .polygon import Polygon
from .rings import crossings
from .solid import SDF, Box

_NEAR = 1e-9  # shapes closer than this, relative to the extent, touch
_TOGETHER = 1 << 18  # pairs of an edge and a triangle that are tested together
_WEIGHTS = {  # weights of the corners of a segment or triangle, for points on it
    2: np.array([(8 - i, i) for i in range(9)]) / 8,
    3: np.array([(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]) / 4,
}


class Regions:
    """A diffusion that is constant in polygons or meshes and around them, and jumps at their sides.

    Use ``Problem(..., diffusion=Regions(...))`` in two or three dimensions. u and α ∂u/∂n are continuous.

    Parameters
    ----------
    outside : float
        α in the rest of the domain; positive.
    parts : list of (Polygon, TriangleMesh or Box, α)
        Polygons without holes or, in space, closed meshes, with their values of α. A box is converted. Parts are inside the domain and do
        not overlap, but may touch its boundary and each other, like layers.

    Raises
    ------
    ValueError, TypeError
        For values that are not positive, no parts, polygons with holes, batches of polygons, or meshes with gaps. ``Problem`` checks their
        positions.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> square, core = (qf.wos.Polygon(r * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])) for r in (1.0, 0.5))
    >>> plate = qf.wos.Problem(square, dirichlet=0.0, source=1.0, diffusion=qf.wos.Regions(1.0, [(core, 100.0)]))
    >>> u = plate.solve([[0.0, 0.0], [0.75, 0.0]], walks=100, rng=0)  # almost constant in the core
    >>> bool(0.09 < u.value[1] < u.value[0] < 0.3)
    True
    """

    def __init__(self, outside: float, parts: Sequence[tuple[Polygon | TriangleMesh, float]]) -> None:
        self.outside = number(outside, "Regions", "outside", positive=True)
        if not isinstance(parts, Sequence) or not len(parts):
            raise TypeError(f"Regions: parts is {parts!r}, expected a list of (Polygon, TriangleMesh or Box, value)")
        checked = []
        for k, part in enumerate(parts):
            shape = faceted(part[0]) if isinstance(part, (tuple, list)) and len(part) == 2 else None
            if not isinstance(shape, (Polygon, TriangleMesh)):
                raise TypeError(f"Regions: parts[{k}] is {part!r}, expected (Polygon, TriangleMesh or Box, value)")
            value = part[1]
            if isinstance(shape, Polygon) and (shape._batch is not None or shape.holes):
                raise ValueError(f"Regions: parts[{k}] is {shape!r}, expected one polygon without holes")
            if isinstance(shape, TriangleMesh) and not shape.watertight:
                raise ValueError(f"Regions: parts[{k}] is {shape!r} with gaps, expected a closed mesh")
            checked.append((shape, number(value, "Regions", f"parts[{k}]", positive=True)))
        self.parts = tuple(checked)

    def _check(self, domain: Boundary, label: str) -> None:
        """Raise ValueError unless the parts are inside the domain, do not overlap, and do not fill it."""
        domain = faceted(domain)
        for k, (shape, _) in enumerate(self.parts):
            if shape.dimension != domain.dimension:
                raise ValueError(f"{label}: parts[{k}] of diffusion is {shape!r}, but boundary is {domain!r}")
            others: list[tuple[Boundary, bool, str]] = [(domain, True, "the boundary")]
            others += [(other, False, f"parts[{j}]") for j, (other, _) in enumerate(self.parts) if j != k]
            for other, within, name in others:
                if _crosses(shape, other, within):
                    raise ValueError(f"{label}: parts[{k}] of diffusion crosses {name}; it must be {'inside' if within else 'outside'} it")
        if isinstance(domain, (Polygon, TriangleMesh)) and sum(_size(shape) for shape, _ in self.parts) > (1 - _NEAR) * _size(domain):
            raise ValueError(f"{label}: the parts of diffusion fill the domain; use outside for one of them")

    def _touching(self, domain: Boundary) -> bool:
        """Whether a part has a common point with another one or with the boundary, up to rounding."""
        shapes: list[Boundary] = [domain, *(shape for shape, _ in self.parts)]
        pairs = [(a, b) for a in shapes for b in shapes if a is not b and isinstance(a, (Polygon, TriangleMesh))]
        near = _NEAR * float(domain._extent[0])
        return any(b.closest_point(a._ends.reshape(-1, a.dimension)).distance.min() < near for a, b in pairs)

    def __repr__(self) -> str:
        return f"Regions({self.outside}, {list(self.parts)})"


def faceted(boundary: Boundary) -> Boundary:
    """Convert a box in two or three dimensions to a polygon or a mesh. Returns others unchanged."""
    if not isinstance(boundary, Box) or boundary.dimension > 3:
        return boundary
    corners = np.array(list(product(*zip(boundary.lo, boundary.hi))))
    if boundary.dimension == 2:
        return Polygon(corners[[0, 2, 3, 1]])
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return TriangleMesh(corners, [[a, *rest] for a, b, c, d in sides for rest in ((b, c), (c, d))])


def signed_size(shape: Polygon | TriangleMesh) -> float:
    """Twice the area of a polygon's outline, or six times the volume of a mesh; negative for the opposite orientation."""
    if isinstance(shape, TriangleMesh):
        a, b, c = np.moveaxis(shape._ends.reshape(-1, 3, 3) - shape._centre[0], 1, 0)
        return float((np.cross(a, b) * c).sum())
    x, y = (shape.vertices - shape._centre[0]).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def anchors_of(shape: Polygon | TriangleMesh) -> np.ndarray:
    """Points (M, n, d) on every segment or triangle, including its corners."""
    d = shape.dimension
    return np.asarray(np.einsum("ac,mcd->mad", _WEIGHTS[d], shape._ends.reshape(-1, d, d)))


def _size(shape: Polygon | TriangleMesh) -> float:
    """Twice the area of a polygon, or six times the volume of a mesh."""
    holes = [Polygon(hole) for hole in shape.holes] if isinstance(shape, Polygon) else []
    return abs(signed_size(shape)) - sum(abs(signed_size(hole)) for hole in holes)


def _crosses(a: Polygon | TriangleMesh, b: Boundary, within: bool) -> bool:
    """Whether a has points outside b, or with ``within=False`` inside b, by more than rounding errors.

    For a boundary b without facets, this is tested at the anchors of a.
    """
    near, d = _NEAR * float(b._extent[0]), a.dimension
    anchors = anchors_of(a).reshape(-1, d)
    of_b = np.asarray(b.signed_distance(anchors))
    if not isinstance(b, (Polygon, TriangleMesh)):
        beyond = isinstance(b, SDF) and ((anchors < b.lo - near) | (anchors > b.hi + near)).any()
        return bool(beyond or (of_b > near).any())
    of_a = np.asarray(a.signed_distance(anchors_of(b).reshape(-1, d)))
    if (of_b > near).any() if within else (of_b < -near).any() or bool((abs(of_b) <= near).all() and (abs(of_a) <= near).all()):
        return True
    if (of_a < -near).any():
        return True
    if isinstance(a, TriangleMesh):
        return _pierces(a, b) or _pierces(b, a)
    pairs = crossings((np.concatenate([a._ends, b._ends]) - np.tile(b._centre[0], 2)) / b._extent[0])
    return bool(((pairs[:, 0] < len(a._ends)) & (pairs[:, 1] >= len(a._ends))).any())


def _pierces(a: Polygon | TriangleMesh, b: Polygon | TriangleMesh) -> bool:
    """Whether an edge of mesh a crosses the inside of a triangle of mesh b."""
    corners, (origin, one, two) = a._ends.reshape(-1, 3, 3), np.moveaxis(b._ends.reshape(-1, 3, 3), 1, 0)
    one, two = one - origin, two - origin
    starts, sides = corners.reshape(-1, 3), (np.roll(corners, -1, axis=1) - corners).reshape(-1, 3)
    each = max(1, _TOGETHER // len(origin))
    for k in range(0, len(starts), each):
        p, side = starts[k : k + each, None], sides[k : k + each, None]
        normal, away = np.cross(side, two), p - origin
        det = (normal * one).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):  # edges parallel to a triangle do not cross it
            u, turned = (away * normal).sum(axis=-1) / det, np.cross(away, one)
            v, t = (side * turned).sum(axis=-1) / det, (two * turned).sum(axis=-1) / det
            if (np.minimum.reduce([u, v, 1 - u - v, t, 1 - t]) > _NEAR).any():
                return True
    return False
