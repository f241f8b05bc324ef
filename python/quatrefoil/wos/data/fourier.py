"""Fourier series in the angle, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._arguments import array_like, finite, host_array, point, points_like
from ..._typing import ArrayLike
from ..region import Region
from .packed import Array, DataClass, PackedData, Parameters, Target, as_given, instances, stacked


class Fourier(DataClass):
    """Boundary values given by a Fourier series in the angle around a centre, in two dimensions.

    g = a0 + sum_m a_m cos(m theta) + b_m sin(m theta), theta = atan2(y - center_y, x - center_x).

    Parameters
    ----------
    coefficients : (K,) or (B, K), K odd
        [a0, a1, b1, a2, b2, ...].
    center : two real numbers

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> disc, x = qf.wos.Ball((0, 0), 1), np.array([[0.5, 0.0]])
    >>> u = qf.wos.solve(disc, x, dirichlet=qf.wos.Fourier([0, 1, 0]), walks=10_000, rng=0)  # u = x
    >>> bool(abs(u.value[0] - 0.5) < 5 * u.stderr[0])
    True
    """

    def __init__(self, coefficients: ArrayLike, center: ArrayLike = (0.0, 0.0)) -> None:
        coefficients = array_like(coefficients, "Fourier", "coefficients")
        c = host_array(coefficients, "Fourier", "coefficients", device="keep", differentiable=True)
        if c.ndim not in (1, 2) or c.shape[-1] % 2 == 0:
            raise ValueError(f"Fourier: coefficients has shape {c.shape}, expected (K,) or (B, K) with K odd: a0, a1, b1, ...")
        finite(c, "Fourier", "coefficients")
        self.coefficients: Any = coefficients
        self.center = point(center, "Fourier", "center")
        if len(self.center) != 2:
            raise ValueError(f"Fourier: center has {len(self.center)} coordinates, expected 2")

    def __call__(self, X: Any) -> np.ndarray:
        """Evaluate g with NumPy. Returns (n,) for points (n, 2) in absolute coordinates; with instances, (B, n) for (n, 2) or (B, n, 2)."""
        X = points_like(X, "Fourier", "X")
        c = host_array(self.coefficients, "Fourier", "coefficients", differentiable=True)
        c = c[:, None] if c.ndim == 2 else c
        theta = np.arctan2(X[..., 1] - self.center[1], X[..., 0] - self.center[0])[..., None]
        m = np.arange(1, (c.shape[-1] + 1) // 2)
        return np.asarray(c[..., 0] + (c[..., 1::2] * np.cos(m * theta) + c[..., 2::2] * np.sin(m * theta)).sum(axis=-1))

    def _parameters(self, d: int) -> list[tuple[Array, int]]:
        return [(self.coefficients, 1)]

    def _check(self, boundary: Region, label: str, name: str) -> int | None:
        if boundary.dimension != 2:
            raise ValueError(f"{label}: {name} is Fourier data, which needs two dimensions, but the boundary has {boundary.dimension}")
        return instances(self.coefficients, 1, boundary, label, f"{name}.coefficients")

    @classmethod
    def _pack(cls, data: Sequence[Any], target: Target, name: str) -> PackedData:
        """The scaled centre, then the coefficients. Shorter series are padded with zeros."""
        b, xp = target.boundary, target.namespace
        parts = [target.parameter(f.coefficients, f"{name}.coefficients") for f in data]
        batch = len(data) if len(data) > 1 else None if parts[0].ndim == 1 else len(parts[0])
        c = parts[0] if len(data) == 1 and batch is not None else stacked([part[None] for part in parts], xp)
        centre = (np.array([f.center for f in data]) - b._centre) / b._extent[:, None]
        rows = len(centre) if len(c) == 1 else len(c)
        if target.kind == "numpy":
            numbers = np.empty((rows, 2 + c.shape[1]))
            numbers[:, :2], numbers[:, 2:] = centre, c
        else:
            at = target.array(np.array(np.broadcast_to(centre, (rows, 2))))
            numbers = xp.concatenate([at, xp.broadcast_to(c, (rows, c.shape[1]))], 1)

        def pull(g: np.ndarray) -> Parameters:
            return {"coefficients": as_given(g[:, 2:], data[0].coefficients)}

        return PackedData("fourier", batch, numbers, pull=pull, linear=slice(2, None))
