"""Plots boundaries and results with matplotlib, the extra ``plot``."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .. import _arrays
from .._arguments import integer

Axes = Any
Array = Any


class Drawn(Protocol):
    """The part of a boundary's interface that plots need."""

    dimension: int

    @property
    def _count(self) -> int: ...

    def _outline(self, instance: int) -> np.ndarray: ...


def _axes(ax: Axes | None, dimension: int) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot: matplotlib is missing; pip install 'quatrefoil[plot]'") from error
    if ax is not None:
        return ax
    axes = plt.figure().add_subplot(projection="3d" if dimension == 3 else None)
    axes.set_aspect("equal")
    return axes


def plot_boundary(boundary: Drawn, ax: Axes | None = None, *, instance: int = 0, **style: Any) -> Axes:
    """Draw one instance of a boundary into ``ax`` or a new figure. ``style`` is passed on to the lines. Return the Axes."""
    at = integer(instance, "plot", "instance", 0, max(boundary._count - 1, 0))
    if boundary.dimension not in (2, 3) or boundary._count == 0:
        raise ValueError(f"plot: the boundary has {boundary._count} instances in {boundary.dimension} dimensions, expected 2 or 3")
    ax = _axes(ax, boundary.dimension)
    lines = boundary._outline(at)
    style = {"color": "0.3", "linewidth": 0.8, **style}
    if boundary.dimension == 2:
        from matplotlib.collections import LineCollection

        ax.add_collection(LineCollection(list(lines), **style))
    else:
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        ax.add_collection3d(Line3DCollection(list(lines), **{**style, "alpha": style.get("alpha", 0.3)}))
    low, high = lines.reshape(-1, boundary.dimension).min(axis=0), lines.reshape(-1, boundary.dimension).max(axis=0)
    margin = 0.03 * float((high - low).max())
    for name, a, b in zip("xyz", low, high):
        getattr(ax, f"set_{name}lim")(a - margin, b + margin)
    return ax


def plot_points(
    boundary: Drawn, points: Array, shown: Array, label: str, ax: Axes | None = None, *, instance: int = 0, **style: Any
) -> Axes:
    """Draw points (N, d) or (B, N, d) of one instance inside its boundary, coloured by (B, N) values, or with arrows (B, N, d)."""
    X, values = _arrays.to_host(points), _arrays.to_host(shown)
    at = integer(instance, "plot", "instance", 0, max(len(values) - 1, 0))
    ax = plot_boundary(boundary, ax, instance=at if boundary._count > 1 else 0)
    X, values = X[at if len(X) > 1 else 0] if X.ndim == 3 else X, values[at]
    if values.ndim == 2:
        ax.quiver(*X.T, *values.T, **style)
        return ax
    marks = ax.scatter(*X.T, c=values, **{"s": 6, "cmap": "viridis" if label == "standard error" else "RdBu_r", **style})
    ax.figure.colorbar(marks, ax=ax, label=label)
    return ax
