"""The values on the edges of a grid."""

from __future__ import annotations

from typing import Any

from ...product.dense import namespace

Array = Any


def edges(u: Array) -> Array:
    """The values on the edges one after the other; corners belong to two of them."""
    parts = [u[:1], u[-1:]] if u.ndim == 1 else [u[0, :], u[-1, :], u[:, 0], u[:, -1]]
    return namespace(u).concat(parts)


def add_to_edges(u: Array, values: Array) -> None:
    """The adjoint of ``edges``, in place."""
    if u.ndim == 1:
        u[:1] += values[:1]
        u[-1:] += values[1:]
        return
    n, m = u.shape
    u[0, :] += values[:m]
    u[-1, :] += values[m : 2 * m]
    u[:, 0] += values[2 * m : 2 * m + n]
    u[:, -1] += values[2 * m + n :]
