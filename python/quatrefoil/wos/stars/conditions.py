"""Checks ``neumann`` and ``robin`` of a problem, and builds the tables of the walk for the reflecting part of a boundary."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import host_array, ndim, number
from ..mesh import TriangleMesh
from ..polygon import Ball, Polygon
from .reflecting_2d import reflecting_polygon
from .reflecting_3d import reflecting_mesh
from .tables import Reflecting

_EXPECTED = {
    name: f"{parts}: where is a function of points, such as lambda X: X[:, 0] < 1, or contains one bool per segment or triangle"
    for name, parts in (("neumann", "(where, h)"), ("robin", "(where, mu, h)"))
}
_INNER = {  # weights of the corners at points inside a segment or triangle
    2: np.array([[0.5, 0.5], [0.98, 0.02], [0.02, 0.98]]),
    3: np.array([[1, 1, 1], [2.9, 0.05, 0.05], [0.05, 2.9, 0.05], [0.05, 0.05, 2.9]]) / 3,
}


def reflecting(boundary: Any, neumann: Any, robin: Any, screening: float, label: str) -> Reflecting | None:
    """The boundary with these conditions, or None if no part reflects."""
    code, mu = conditions(boundary, neumann, robin, label)
    if not (code > 0).any():
        return None
    if isinstance(boundary, TriangleMesh):
        return reflecting_mesh(boundary, code, mu, screening, label)
    return reflecting_polygon(boundary, code, mu, screening, label)


def by_facet(boundary: Any, name: str, condition: Any, label: str) -> Any:
    """Replace a function ``where`` in ``neumann`` or ``robin`` with its values: one entry per facet."""
    is_function = isinstance(condition, (tuple, list)) and condition and callable(condition[0])
    if not is_function or not isinstance(boundary, (Polygon, TriangleMesh)):
        return condition
    corners = boundary._ends.reshape(len(boundary._ends), boundary.dimension, -1)
    inner = np.einsum("pc,mcd->mpd", _INNER[boundary.dimension], corners)
    answers = np.asarray(condition[0](inner.reshape(-1, inner.shape[-1])))
    if answers.shape != (inner.shape[0] * inner.shape[1],) or answers.dtype != bool:
        got = f"{answers.dtype} of shape {answers.shape}, expected one bool per point of X"
        raise TypeError(f"{label}: {name}'s where(X) returned {got}; {name} is {_EXPECTED[name]}")
    answers = answers.reshape(inner.shape[:2])
    mixed = np.asarray(answers.any(axis=1) & ~answers.all(axis=1))
    if mixed.any():
        what = _facet(boundary, int(mixed.argmax()))
        raise ValueError(f"{label}: {name}'s where(X) is True on only a part of {what}; split it, or pass bools")
    if isinstance(boundary, TriangleMesh):
        return (answers[:, 0], *condition[1:])
    flat = np.zeros(boundary._first_vertex[-1], bool)
    flat[boundary._pairs[:, 0]] = answers[:, 0]
    rows = np.split(flat, boundary._first_vertex[1:-1])
    return (rows if len(rows) > 1 else rows[0], *condition[1:])


def instances_of(neumann: Any, robin: Any) -> dict[str, int]:
    """The number of instances in ``where`` and μ, by their names in errors. Omits those without a batch axis."""
    walls = (("neumann", neumann), ("robin", robin))
    return {
        f"{name}'s {part}": len(x)
        for name, condition in walls if isinstance(condition, (tuple, list))
        for part, x in zip(("where", "mu"), condition[:-1]) if ndim(x) == 2
    }  # fmt: skip


def conditions(boundary: Any, neumann: Any, robin: Any, label: str) -> tuple[np.ndarray, np.ndarray]:
    """For every segment or triangle, 0 (Dirichlet), 1 (Neumann) or 2 (Robin), and μ."""
    if not isinstance(boundary, (Polygon, TriangleMesh)):
        what = "a Ball, which has no segments" if isinstance(boundary, Ball) else type(boundary).__name__
        raise ValueError(f"{label}: neumann and robin need a Polygon or a TriangleMesh; boundary is {what}")
    code, mu = np.zeros(len(boundary._ends), np.int64), np.zeros(len(boundary._ends))
    for name, condition, number_of in (("neumann", neumann, 1), ("robin", robin, 2)):
        if condition is None:
            continue
        if not isinstance(condition, (tuple, list)) or len(condition) != number_of + 1:
            length = f" of length {len(condition)}" if isinstance(condition, (tuple, list)) else ""
            raise TypeError(f"{label}: {name} is {type(condition).__name__}{length}, expected a tuple {_EXPECTED[name]}")
        selected = _per_facet(boundary, condition[0], f"{name}'s where", label, bool)
        if (code[selected] > 0).any():
            facet = _facet(boundary, int((selected & (code > 0)).argmax()))
            raise ValueError(f"{label}: {facet} is in both neumann and robin, expected one of them")
        code[selected] = number_of
        if name == "robin":
            mu[selected] = _of_mu(boundary, condition[1], label)[selected]
    return code, mu


def _of_mu(boundary: Polygon | TriangleMesh, mu: Any, label: str) -> np.ndarray:
    if isinstance(mu, (int, float, np.integer, np.floating)) and not isinstance(mu, bool):
        return np.full(len(boundary._ends), number(mu, label, "robin's mu"))
    if callable(mu):
        facet = "segment" if isinstance(boundary, Polygon) else "triangle"
        raise TypeError(
            f"{label}: robin's mu is a function, expected a number, or one number per {facet}, such as its values at the midpoints"
        )
    values = _per_facet(boundary, mu, "robin's mu", label, float)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{label}: robin's mu contains negative or infinite numbers, expected finite nonnegative numbers")
    return values


def _facet(boundary: Polygon | TriangleMesh, row: int) -> str:
    """Names a facet by its entry in ``where``, which also counts segments of length 0."""
    if isinstance(boundary, TriangleMesh):
        return f"triangle {row}"
    polygon = int(np.searchsorted(boundary._first, row, side="right")) - 1
    return f"segment {boundary._pairs[row, 0] - boundary._first_vertex[polygon]} of polygon {polygon}"


def _per_facet(boundary: Polygon | TriangleMesh, values: Any, name: str, label: str, dtype: type) -> np.ndarray:
    """Entries in the order of the boundary's facets. ``values``: (M,) for a mesh or for every polygon, or one array (M,) per polygon."""
    sizes = np.diff(boundary._first_vertex if isinstance(boundary, Polygon) else boundary._first)
    if isinstance(values, (list, tuple)) and any(_arrays.kind(g) is not None for g in values):
        if boundary._batch is None or len(values) != boundary._count:
            raise ValueError(
                f"{label}: {name} is a list of length {len(values)}, expected one array for each of {boundary._count} boundaries"
            )
        rows = [_row(g, name, label, dtype) for g in values]
    else:
        row = _row(values, name, label, dtype)
        rows = [row] * boundary._count if row.ndim == 1 else list(row) * (boundary._count if len(row) == 1 else 1)
        if len(rows) != boundary._count:
            raise ValueError(f"{label}: {name} has {len(rows)} rows, expected one for each of {boundary._count} boundaries")
    for b, row in enumerate(rows):
        if row.shape != (sizes[b],):
            what = f"segment of polygon {b}" if isinstance(boundary, Polygon) else "triangle"
            raise ValueError(f"{label}: {name} has shape {row.shape}, expected ({sizes[b]},): one entry per {what}")
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype)
    return np.asarray(flat[boundary._pairs[:, 0]] if isinstance(boundary, Polygon) else flat)


def _row(values: Any, name: str, label: str, dtype: type) -> np.ndarray:
    if dtype is float:
        return np.asarray(host_array(values, label, name, device="copy", convert=True), np.float64)
    array = np.asarray(values if _arrays.kind(values) is None else _arrays.to_host(values))
    if isinstance(values, np.ma.MaskedArray) or array.dtype != bool:
        fix = "; for indices pass np.isin(np.arange(M), indices)" if array.dtype.kind in "iu" else ""
        what = "expected bool: True where the segment or triangle has the condition"
        raise TypeError(f"{label}: {name} has dtype {array.dtype}, {what}{fix}")
    return array
