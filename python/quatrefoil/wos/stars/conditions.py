"""Checks ``neumann`` and ``robin`` of a problem, and builds the tables of the walk for the reflecting part of a boundary."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import axes, number, numbers_like
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


def by_facet(boundary: Any, name: str, given: Any, label: str) -> Any:
    """Replace a function ``where`` in ``neumann`` or ``robin`` by its values: one entry per facet."""
    if not isinstance(given, (tuple, list)) or not given or not callable(given[0]) or not isinstance(boundary, (Polygon, TriangleMesh)):
        return given
    corners = boundary._ends.reshape(len(boundary._ends), boundary.dimension, -1)
    inner = np.einsum("pc,mcd->mpd", _INNER[boundary.dimension], corners)
    answers = np.asarray(given[0](inner.reshape(-1, inner.shape[-1])))
    what = "segment" if isinstance(boundary, Polygon) else "triangle"
    if answers.shape != (inner.shape[0] * inner.shape[1],) or answers.dtype != bool:
        got = f"{answers.dtype} of shape {answers.shape}, expected one bool per point of X"
        raise TypeError(f"{label}: {name}'s where(X) returned {got}; {name} is {_EXPECTED[name]}")
    answers = answers.reshape(inner.shape[:2])
    mixed = np.asarray(answers.any(axis=1) & ~answers.all(axis=1))
    if mixed.any():
        raise ValueError(
            f"{label}: {name}'s where(X) is True on only a part of {what} {int(mixed.argmax())} of {len(mixed)}; "
            f"split the {what}, or pass bools"
        )
    if isinstance(boundary, TriangleMesh):
        return (answers[:, 0], *given[1:])
    flat = np.zeros(boundary._first_vertex[-1], bool)
    flat[boundary._pairs[:, 0]] = answers[:, 0]
    rows = np.split(flat, boundary._first_vertex[1:-1])
    return (rows if len(rows) > 1 else rows[0], *given[1:])


def instances_of(neumann: Any, robin: Any) -> int | None:
    """The number of instances in ``where`` and μ, or None if they have no batch axis."""
    parts = [x for condition in (neumann, robin) if isinstance(condition, (tuple, list)) for x in condition[:-1] if axes(x) == 2]
    return max(map(len, parts)) if parts else None


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
            raise TypeError(f"{label}: {name} is {_said(condition)}, expected a tuple {_EXPECTED[name]}")
        here = _per_facet(boundary, condition[0], f"{name}'s where", label, bool)
        if (code[here] > 0).any():
            segment = int(np.flatnonzero(here & (code > 0))[0])
            raise ValueError(f"{label}: segment {segment} is in both neumann and robin, expected one of them")
        code[here] = number_of
        if name == "robin":
            mu[here] = _of_mu(boundary, condition[1], label)[here]
    return code, mu


def _said(given: Any) -> str:
    return f"{type(given).__name__} of length {len(given)}" if isinstance(given, (tuple, list)) else type(given).__name__


def _of_mu(boundary: Polygon | TriangleMesh, given: Any, label: str) -> np.ndarray:
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        return np.full(len(boundary._ends), number(given, label, "robin's mu"))
    if callable(given):
        raise TypeError(
            f"{label}: robin's mu is a function, expected a number, or one number per segment, such as its values at the midpoints"
        )
    mu = _per_facet(boundary, given, "robin's mu", label, float)
    if not (np.isfinite(mu) & (mu >= 0)).all():
        raise ValueError(f"{label}: robin's mu contains negative or infinite numbers, expected finite nonnegative numbers")
    return mu


def _per_facet(boundary: Polygon | TriangleMesh, given: Any, name: str, label: str, dtype: type) -> np.ndarray:
    """Entries in the order of the boundary's facets. ``given``: (M,) for a mesh or for every polygon, or one array (M,) per polygon."""
    sizes = np.diff(boundary._first_vertex if isinstance(boundary, Polygon) else boundary._first)
    if isinstance(given, (list, tuple)) and any(_arrays.kind(g) is not None for g in given):
        if boundary._batch is None or len(given) != boundary._count:
            raise ValueError(
                f"{label}: {name} is a list of length {len(given)}, expected one array for each of {boundary._count} boundaries"
            )
        rows = [_row(g, name, label, dtype) for g in given]
    else:
        row = _row(given, name, label, dtype)
        rows = [row] * boundary._count if row.ndim == 1 else list(row) * (boundary._count if len(row) == 1 else 1)
        if len(rows) != boundary._count:
            raise ValueError(f"{label}: {name} has {len(rows)} rows, expected one for each of {boundary._count} boundaries")
    for b, row in enumerate(rows):
        if row.shape != (sizes[b],):
            what = f"segment of polygon {b}" if isinstance(boundary, Polygon) else "triangle"
            raise ValueError(f"{label}: {name} has shape {row.shape}, expected ({sizes[b]},): one entry per {what}")
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype)
    return np.asarray(flat[boundary._pairs[:, 0]] if isinstance(boundary, Polygon) else flat)


def _row(given: Any, name: str, label: str, dtype: type) -> np.ndarray:
    if dtype is float:
        return np.asarray(numbers_like(given, label, name), np.float64)
    array = np.asarray(given if _arrays.kind(given) is None else _arrays.to_host(given))
    if isinstance(given, np.ma.MaskedArray) or array.dtype != bool:
        cure = "; for indices pass np.isin(np.arange(M), indices)" if array.dtype.kind in "iu" else ""
        what = "expected bool: True where the segment or triangle has the condition"
        raise TypeError(f"{label}: {name} has dtype {array.dtype}, {what}{cure}")
    return array
