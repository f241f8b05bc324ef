"""The starts of walks and their first balls, with array API functions in float64: csrc/wos/walk/README.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ... import _arrays
from ..._array_tools import double, nan_unless
from ..query.composition import closest, is_inside, point_on, rows_of, scaled
from ..query.composition_solids import is_solid, nearest_on_solid, radius_in_solid
from .composition_balls import MAX_SCREENED, SHRUNK
from .composition_domain import beyond_box
from .composition_expand import expand, gather
from .composition_trace import trace
from .composition_walk import walk, walk_vjp

__all__ = ["along", "along_vjp", "balls", "expand", "gather", "place", "replayed", "replayed_vjp", "trace", "walk", "walk_vjp"]


def place(xp: Any, points: Any, frame: Any, ends: Any, first: Any, closed: bool, outside: bool, grids: Any = None) -> Any:
    """The scaled points. Those outside are moved onto the boundary if within epsilon of it, otherwise NaN."""
    d, label = points.shape[-1], "wos.place"
    x = scaled(xp, points, frame[:, : d + 1])
    rows = rows_of(xp, x, first)
    epsilon = xp.reshape(xp.broadcast_to(frame[:, -1:], x.shape[:2]), (rows.x.shape[0],))
    if is_solid(ends, d):
        distance, at, _ = nearest_on_solid(xp, label, ends, rows.x)
        away = -distance if outside else distance
        beyond = away > 0
    else:
        beyond = is_inside(xp, label, ends, rows, closed) == outside
        d2, k, weights = closest(xp, ends, rows)
        away, at = xp.sqrt(d2), point_on(xp, ends, k, weights)
    start = xp.where(beyond[:, None], nan_unless(xp, (away <= epsilon)[:, None], at), rows.x)
    return xp.reshape(nan_unless(xp, rows.valid[:, None], start), x.shape)


def balls(xp: Any, start: Any, frame: Any, ends: Any, first: Any, screening: float, grids: Any = None) -> Any:
    """The radii of the first balls of pairs."""
    rows = rows_of(xp, double(xp, start), first)
    if is_solid(ends, start.shape[-1]):
        distance = radius_in_solid(xp, "wos.balls", ends, rows.x)
    else:
        distance = xp.sqrt(closest(xp, ends, rows)[0])
        distance = xp.where(beyond_box(xp, rows.x), xp.zeros_like(distance), distance)
    radius = xp.reshape(nan_unless(xp, rows.valid, distance), start.shape[:2])
    if screening > 0:
        radius = xp.minimum(radius, MAX_SCREENED / math.sqrt(screening) / frame[:, -2:-1])
    return SHRUNK * radius


def along(xp: Any, points: Any, value: Any, slope: Callable[[], Any]) -> Any:
    return value


def along_vjp(xp: Any, points: Any, value: Any, grad: Any, slope: Callable[[], Any]) -> Any:
    of_points = grad[..., None] * xp.asarray(slope(), device=grad.device)
    return xp.where(grad[..., None] == 0, xp.zeros_like(of_points), of_points), grad


def replayed(xp: Any, mean: Any, dirichlet: Any, source: Any, neumann: Any, robin: Any, pull: Callable[[Any], list[Any]]) -> Any:
    return mean


def replayed_vjp(
    xp: Any, mean: Any, dirichlet: Any, source: Any, neumann: Any, robin: Any, grad: Any, pull: Callable[[Any], list[Any]]
) -> Any:
    return grad, *(None if x is None else xp.asarray(x, device=grad.device) for x in pull(_arrays.to_host(grad)))
