"""Plots of Chebyshev-Tucker tensors with matplotlib (install the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._arguments import integer, is_sequence, number

LABEL = "cheb.ChebTucker.plot"


def plot_slice(
    values: Callable[..., np.ndarray],
    domain: Sequence[tuple[float, float]],
    ax: Any,
    axes: int | Sequence[int] | None,
    at: Any,
    points: int,
    **style: Any,
) -> Any:
    """Plot a line along one axis or an image over two; ``values(x, y, ..)`` returns values on a tensor grid."""
    d = len(domain)
    shown = _shown(axes, d)
    fixed = _fixed(at, domain, shown)
    m = integer(points, LABEL, "points", 2)
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot: matplotlib is missing; pip install 'quatrefoil[plot]'") from error
    if ax is None:
        ax = plt.figure().add_subplot()
    lines = [np.linspace(*pair, m) if k in shown else np.array([fixed[k]]) for k, pair in enumerate(domain)]
    numbers = np.squeeze(values(*lines), axis=tuple(k for k in range(d) if k not in shown))
    ax.set_xlabel(f"x_{shown[0] + 1}")
    if len(shown) == 1:
        ax.plot(lines[shown[0]], numbers, **style)
        return ax
    numbers = numbers.T if shown[0] < shown[1] else numbers
    marks = ax.pcolormesh(lines[shown[0]], lines[shown[1]], numbers, **{"shading": "gouraud", "cmap": "RdBu_r", **style})
    ax.set_ylabel(f"x_{shown[1] + 1}")
    ax.figure.colorbar(marks, ax=ax)
    return ax


def _shown(axes: Any, d: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(min(d, 2)))
    names = tuple(axes) if is_sequence(axes, LABEL, "axes") else (axes,)
    shown = tuple(integer(k, LABEL, "axes", -d, d - 1) % d for k in names)
    if len(set(shown)) != len(shown) or len(shown) not in (1, 2):
        raise ValueError(f"{LABEL}: axes is {axes!r}, expected one axis or two distinct ones of {d}")
    return shown


def _fixed(at: Any, domain: Sequence[tuple[float, float]], shown: Sequence[int]) -> list[float]:
    """One coordinate per axis: ``at`` for those that are not shown, otherwise the middle of the domain."""
    fixed = [(lo + hi) / 2 for lo, hi in domain]
    if at is None:
        return fixed
    others = [k for k in range(len(domain)) if k not in shown]
    coordinates = list(at) if is_sequence(at, LABEL, "at") else [at]
    if len(coordinates) != len(others):
        raise ValueError(f"{LABEL}: at has {len(coordinates)} numbers, expected {len(others)}, one for each axis that is not plotted")
    for k, x in zip(others, coordinates):
        fixed[k] = number(x, LABEL, "at", negative=True)
    return fixed
